"""Boots the disk of guest_image.py with User-Mode Linux and runs commands in it.

User-Mode Linux is a real kernel that runs as processes of this machine
(https://docs.kernel.org/virt/uml/user_mode_linux_howto_v2.html), so a guest needs no hardware for virtual machines.
Debian's package user-mode-linux has one for x86-64. It has one processor, and neither cpuset nor hugetlb. Its clock is
SLOWNESS times slower than this machine's (slow_clock.c), so that all timeouts in the guest hold, also those of the
tutorial. The guest reads commands from a directory of this machine, and writes their output there. Its disk is a copy
that ends with it.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from rehearsal.docker import base_image
from rehearsal.kubernetes import build
from rehearsal.settings import settings
from tests.support.guest_image import image, run
from tests.support.paths import ROOT

NEEDED = ("linux.uml", "slirp-fullbolt", "cc")
MODULES = Path("/usr/lib/uml/modules")
MEMORY = "6G"
#: A guest does its work about this much slower than this machine when that is busy.
SLOWNESS = 10
#: Boot takes a minute on a busy machine.
BOOT_TIMEOUT = 1800
CACHE = "/root/.cache/eks-rehearsal"
TUTORIAL = "/root/tutorial"
#: Where the guest has what it gets from this machine.
FILL = f"""set -e
mkdir -p {CACHE} {TUTORIAL}
ln -s /programs/{settings.bin.name} /programs/base-image-*.tar {CACHE}
tar --extract --file=/programs/tutorial.tar --directory={TUTORIAL}
"""


@dataclass(frozen=True)
class Guest:
    """A running machine; ``share`` is a directory that it has as /share."""

    share: Path
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def run(self, script: str, *, timeout: float, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a shell script as root; where ``check`` finds that it failed, the error has the end of its output."""
        name = self.share / str(next(self.numbers))
        draft, code = name.with_suffix(".draft"), name.with_suffix(".code")
        draft.write_text(script, encoding="utf-8")
        draft.rename(name.with_suffix(".sh"))
        end = time.monotonic() + timeout
        while not code.exists():
            if time.monotonic() > end:
                raise subprocess.TimeoutExpired(script, timeout, *self._said(name))
            time.sleep(0.5)
        done = subprocess.CompletedProcess(script, int(code.read_text(encoding="ascii")), *self._said(name))
        assert not check or done.returncode == 0, f"{script}\n{done.stdout[-6000:]}\n{done.stderr[-3000:]}"
        return done

    def _said(self, name: Path) -> tuple[str, str]:
        files = (name.with_suffix(suffix) for suffix in (".out", ".err"))
        out, err = (file.read_text(encoding="utf-8", errors="replace") if file.exists() else "" for file in files)
        return out, err


@contextlib.contextmanager
def booted() -> Iterator[Guest]:
    """Boot a guest that has this checkout and this cache's programs, and end it with the block."""
    build.build(lambda _: None)
    if not base_image.is_made():
        base_image.make(lambda _: None)
    disk = image()
    with tempfile.TemporaryDirectory(dir=settings.cache, prefix="guest-booted-") as work:
        directory = Path(work)
        guest = Guest(directory / "share")
        guest.share.mkdir()
        with (directory / "console.log").open("wb") as console:
            kernel = subprocess.Popen(_kernel(directory, disk), stdin=subprocess.DEVNULL, stdout=console)
        try:
            guest.run(FILL, timeout=BOOT_TIMEOUT)
            yield guest
        finally:
            kernel.kill()
            kernel.wait()


def _programs(directory: Path) -> Path:
    """Make a disk with the kernel's modules and this machine's programs, base image and checkout."""
    root = directory / "programs"
    shutil.copytree(MODULES, root / "modules")
    shutil.copytree(settings.bin, root / settings.bin.name, copy_function=os.link)
    os.link(base_image.path(), root / base_image.path().name)
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    names = [name for name in files.stdout.split("\0") if name and (ROOT / name).exists()]
    run("tar", "--create", f"--file={root / 'tutorial.tar'}", f"--directory={ROOT}", *names)
    run("mke2fs", "-q", "-t", "ext4", "-d", str(root), str(directory / "programs.img"), "3G")
    return directory / "programs.img"


def _kernel(directory: Path, disk: Path) -> list[str]:
    """Return the command of the kernel, in a PID namespace, so that all its processes end with it."""
    clock = directory / "slow_clock.so"
    source = str(Path(__file__).with_name("slow_clock.c"))
    run("cc", "-O2", "-shared", "-fPIC", f"-DSLOWNESS={SLOWNESS}", "-o", str(clock), source)
    return [
        "setpriv", "--pdeathsig", "KILL", "unshare", "--pid", "--fork", "--kill-child",
        "env", "TMPDIR=/dev/shm", f"LD_PRELOAD={clock}", str(shutil.which("linux.uml")),
        f"mem={MEMORY}", "root=/dev/ubda", "rw", f"ubd0={directory / 'changes.img'},{disk}",
        f"ubd1r={_programs(directory)}", "con=null", "con0=null,fd:1", f"eth0=slirp,,{shutil.which('slirp-fullbolt')}",
        f"uml_dir={directory}/", f"hostfs={directory / 'share'}",
    ]  # fmt: skip
