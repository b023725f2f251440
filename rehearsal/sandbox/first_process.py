"""Process 1 of the sandbox: sets up the mounts and networks that everything inside shares, then becomes supervisord.

lifecycle.py runs it as ``unshare --mount --pid python -m rehearsal.sandbox.first_process LOCK``. unshare(1) leaves its
own process outside the new PID namespace, so this one forks once, and the child is process 1.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from rehearsal import waiting
from rehearsal.sandbox import identity, network
from rehearsal.settings import settings

#: Below 5, because supervisord closes every inherited descriptor from 5 on.
LOCK_DESCRIPTOR = 3

#: Values that the kubelet requires and would otherwise write to the host's kernel (kubelet: setupKernelTunables).
#: Ordinary files with these values cover the real ones, in this mount namespace only.
KERNEL_TUNABLES = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}

#: Directories of the host that some program always writes to; each is covered by an empty one.
COVERED = ("/var/log", "/etc/docker", "/etc/cni")
#: These are covered by a layer that takes the writes, because the directories that programs write to may not exist yet.
LAYERED = ("/var/lib", "/opt")


def main() -> None:
    """Fork, and let the child become process 1 of the sandbox."""
    lock = int(sys.argv[1])
    if os.fork():
        os._exit(0)
    # /proc is still the host's here, so this is the PID as the host sees it.
    identity.record(int(Path("/proc/self").readlink().name))
    os.dup2(lock, LOCK_DESCRIPTOR, inheritable=True)
    if lock != LOCK_DESCRIPTOR:
        os.close(lock)
    mount_private()
    network.create_vpc()
    daemon = [sys.executable, "-m", "supervisor.supervisord", "-c", str(settings.run / "supervisord.conf")]
    os.execv(sys.executable, daemon)  # noqa: S606  # process 1 must become supervisord, not start it


def mount_private() -> None:
    """Give the sandbox its own /proc and /run, and cover what it must not change on the host."""
    resolver = Path("/etc/resolv.conf").read_bytes()
    _mount("-t", "proc", "proc", "/proc")
    _mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run")
    for name in ("netns", "lock"):
        (Path("/run") / name).mkdir()
    for covered in COVERED:
        if Path(covered).is_dir():
            _mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", covered)
    for layered in map(Path, LAYERED):
        if layered.is_dir() and layered not in settings.cache.parents and layered not in settings.root.parents:
            _layer(layered)
    _keep_resolver(resolver)
    tunables = settings.run / "tunables"
    tunables.mkdir()
    for name, value in KERNEL_TUNABLES.items():
        file = tunables / name.replace("/", ".")
        file.write_text(value + "\n", encoding="ascii")
        if Path("/proc/sys", name).exists():
            _mount("--bind", str(file), f"/proc/sys/{name}")


def _layer(directory: Path) -> None:
    """Mount a layer in memory over a directory (overlayfs), so that writes do not reach the host."""
    parts = {name: Path("/run/layers") / directory.name / name for name in ("upper", "work")}
    for part in parts.values():
        part.mkdir(parents=True)
    options = f"lowerdir={directory},upperdir={parts['upper']},workdir={parts['work']}"
    _mount("-t", "overlay", "-o", options, "overlay", str(directory))


def _keep_resolver(content: bytes) -> None:
    """If /etc/resolv.conf is a link into /run, restore its content there."""
    target = Path(os.path.realpath("/etc/resolv.conf"))
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)


def _mount(*args: str) -> None:
    subprocess.run(["mount", *args], check=True, timeout=waiting.bound(10))


if __name__ == "__main__":
    main()
