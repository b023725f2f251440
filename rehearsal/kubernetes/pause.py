"""The image of pod sandboxes: a program that holds a pod's namespaces open and does nothing else.

It is written here instruction by instruction, because the official one is in a registry and a compiler may be missing.
It waits for no event and without end (``ppoll`` with four zeros, https://man7.org/linux/man-pages/man2/poll.2.html).
containerd ends a sandbox with SIGKILL, so the program handles no signal.
"""

from __future__ import annotations

import platform
import struct
from pathlib import Path

from rehearsal.kubernetes import image

IMAGE = "localhost/pause:1"
#: Name of the image's file in ``settings.bin``.
ARCHIVE = "pause.tar"

X86_64 = (
    b"\x31\xff"  # xor edi, edi
    b"\x31\xf6"  # xor esi, esi
    b"\x31\xd2"  # xor edx, edx
    b"\x45\x31\xd2"  # xor r10d, r10d
    b"\xb8\x0f\x01\x00\x00"  # mov eax, 271 (ppoll)
    b"\x0f\x05"  # syscall
    b"\xeb\xee"  # jmp to the first instruction
)
AARCH64 = struct.pack(
    "<7I",
    0xD2800000,  # mov x0, 0
    0xD2800001,  # mov x1, 0
    0xD2800002,  # mov x2, 0
    0xD2800003,  # mov x3, 0
    0xD2800928,  # mov x8, 73 (ppoll)
    0xD4000001,  # svc 0
    0x17FFFFFA,  # b to the first instruction
)
#: Number of the architecture in an ELF file, and the program.
MACHINES = {"x86_64": (62, X86_64), "aarch64": (183, AARCH64)}
#: Where the program is in memory.
ADDRESS = 0x400000


def program(machine: str = platform.machine()) -> bytes:
    """Return a static ELF file for ``machine``: a header, one segment to load (``man 5 elf``) and the instructions."""
    number, code = MACHINES[machine]
    headers = 64 + 56
    size = headers + len(code)
    identification = b"\x7fELF" + bytes([2, 1, 1]) + bytes(9)  # 64 bits, little-endian, version 1
    header = struct.pack("<HHIQQQIHHHHHH", 2, number, 1, ADDRESS + headers, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    readable_and_executable = 5
    segment = struct.pack("<IIQQQQQQ", 1, readable_and_executable, 0, ADDRESS, ADDRESS, size, size, 0x10000)
    return identification + header + segment + code


def write_image(archive: Path) -> None:
    """Write the image, named ``IMAGE``, to ``archive``."""
    image.write(archive, IMAGE, {"/pause": program()}, ["/pause"])
