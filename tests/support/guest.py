"""Boots the image of guest_image.py in QEMU and runs commands in it over SSH on the loopback address.

QEMU emulates the processor (TCG), so a guest runs anywhere, but slowly. Its clock counts instructions (``-icount``): the
guest takes itself for a computer of 1,000 million instructions a second, however slow and busy this machine is, so that
all timeouts in it hold. Its disk is a copy that ends with it. It reaches package registries as this machine does.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rehearsal import waiting
from rehearsal.docker import base_image
from rehearsal.kubernetes import build
from rehearsal.settings import settings
from tests.support.guest_image import Image, image, run
from tests.support.loopback import reserved_ports
from tests.support.paths import ROOT

CORES, MEMORY = 2, 6144
#: Boot takes two minutes on an idle machine.
BOOT_TIMEOUT = 3600
CACHE = "/root/.cache/eks-rehearsal"
TUTORIAL = "/root/tutorial"


@dataclass(frozen=True)
class Guest:
    """A running machine."""

    image: Image
    port: int
    console: Path

    def run(
        self, script: str, *, timeout: float, check: bool = True, stdin: object = subprocess.DEVNULL
    ) -> subprocess.CompletedProcess[str]:
        """Run a shell script as root; where ``check`` finds that it failed, the error has the end of its output."""
        done = subprocess.run(
            [*self._ssh(), script], stdin=stdin, capture_output=True, text=True, timeout=timeout, check=False
        )  # type: ignore[call-overload]
        assert not check or done.returncode == 0, f"{script}\n{done.stdout[-6000:]}\n{done.stderr[-3000:]}"
        return done

    def send(self, *names: str, source: Path, target: str) -> None:
        """Copy files and directories of this machine into a directory of the guest."""
        pack = ["tar", "--create", f"--directory={source}", "--exclude=__pycache__", *names]
        with subprocess.Popen(pack, stdout=subprocess.PIPE) as packing:
            self.run(f"mkdir -p {target} && tar --extract --directory={target}", timeout=3600, stdin=packing.stdout)
        assert packing.returncode == 0

    def _ssh(self) -> list[str]:
        options = ["BatchMode=yes", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR",
                   "ConnectTimeout=600", "ServerAliveInterval=60", "ServerAliveCountMax=20"]  # fmt: skip
        words = [word for option in options for word in ("-o", option)]
        return ["ssh", "-F", os.devnull, "-i", str(self.image.key), *words, "-p", str(self.port), "root@127.0.0.1"]


@contextlib.contextmanager
def booted() -> Iterator[Guest]:
    """Boot a guest that has this checkout and this cache's programs, and end it with the block."""
    build.build(lambda _: None)
    if not base_image.is_made():
        base_image.make(lambda _: None)
    made = image()
    with tempfile.TemporaryDirectory(dir=settings.cache, prefix="booted-") as work, reserved_ports(1) as port:
        programs = Path(work) / "programs.img"
        run("mke2fs", "-q", "-t", "ext4", "-d", str(settings.bin), str(programs), "2G")
        guest = Guest(made, port, Path(work) / "console.log")
        qemu = subprocess.Popen(_qemu(guest, programs), stdin=subprocess.DEVNULL, env=os.environ | {"TMPDIR": work})
        try:
            waiting.until(
                lambda: qemu.poll() is not None or _is_up(guest), BOOT_TIMEOUT, "the guest", guest.console.read_text, 5
            )
            assert qemu.poll() is None, "QEMU has ended: see its message above"
            guest.run(f"mkdir -p {CACHE}/bin-{settings.kubernetes_version} && mount -o ro /dev/vdb $_", timeout=3600)
            guest.send(base_image.path().name, source=settings.cache, target=CACHE)
            files = subprocess.run(
                ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
            )
            guest.send(*filter(None, files.stdout.split("\0")), source=ROOT, target=TUTORIAL)
            yield guest
        finally:
            qemu.kill()
            qemu.wait()


def _qemu(guest: Guest, programs: Path) -> list[str]:
    drives = [f"file={guest.image.disk},snapshot=on", f"file={programs},readonly=on"]
    return [
        "setpriv", "--pdeathsig", "KILL", "nice", "-n", "5",
        "qemu-system-x86_64", "-machine", "q35", "-accel", "tcg,thread=single,tb-size=1024", "-cpu", "Nehalem",
        "-icount", "shift=0,sleep=on,align=off",
        "-smp", str(CORES), "-m", str(MEMORY), "-no-reboot", "-display", "none", "-monitor", "none",
        "-serial", f"file:{guest.console}",
        "-kernel", str(guest.image.kernel), "-initrd", str(guest.image.initrd),
        "-append", "root=/dev/vda rw console=ttyS0 net.ifnames=0 quiet",
        *(word for drive in drives for word in ("-drive", f"{drive},format=raw,if=virtio,cache=unsafe")),
        "-netdev", f"user,id=net,ipv6=off,hostfwd=tcp:127.0.0.1:{guest.port}-:22", "-device", "virtio-net-pci,netdev=net",
        "-device", "virtio-rng-pci",
    ]  # fmt: skip


def _is_up(guest: Guest) -> bool:
    """Whether systemd has started everything."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        state = guest.run("systemctl is-system-running", timeout=600, check=False).stdout.strip()
        return state in ("running", "degraded")
    return False
