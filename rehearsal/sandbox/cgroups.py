"""The control groups of the rehearsal's containers: created at the start, removed at the end.

Unlike everything else in the sandbox, a cgroup outlives its processes. The code supports hosts with one directory per
controller (cgroup v1) and with the unified hierarchy (v2); only v1 has been tried.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

#: The directory, directly under each hierarchy's root, that holds all of the rehearsal's groups.
NAME = "eks-rehearsal"
ROOT = Path("/sys/fs/cgroup")
#: On a host that is a container, its own processes move here so that its root group can have controllers (cgroups(7):
#: "no internal processes"). A real root group does not need this.
LEAF = "eks-rehearsal-init"
CGROUP2_MAGIC = 0x63677270


def is_v2(root: Path = ROOT) -> bool:
    """Whether ``root`` is the unified hierarchy, by statfs(2)."""
    buffer = (ctypes.c_long * 32)()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.statfs(os.fsencode(root), ctypes.byref(buffer)):
        raise OSError(ctypes.get_errno(), "statfs", str(root))
    return int(buffer[0]) == CGROUP2_MAGIC


def create(name: str = NAME) -> None:
    """Create a group with every controller; ``name`` may be a path below ``NAME``."""
    if is_v2():
        _create_v2(name)
        return
    for controller in controllers():
        for parent in reversed([Path(name), *Path(name).parents][:-1]):
            group = controller / parent
            group.mkdir(exist_ok=True)
            if (group / "cpuset.cpus").exists():
                # A new cpuset is empty, and no process can run in an empty one (cpuset(7)).
                for file in ("cpuset.cpus", "cpuset.mems"):
                    (group / file).write_text((group.parent / file).read_text(encoding="ascii"), encoding="ascii")


def remove(name: str = NAME) -> None:
    """Remove a group and those below it, except where a process still runs."""
    for root in [ROOT] if is_v2() else controllers():
        for group, _, _ in os.walk(root / name, topdown=False):
            with contextlib.suppress(OSError):
                Path(group).rmdir()
    if is_v2():
        _empty_leaf()


def processes(name: str = NAME) -> set[int]:
    """Return the PIDs of all processes in a group and those below it."""
    found = set()
    for root in [ROOT] if is_v2() else [ROOT / "pids", ROOT / "memory", ROOT / "devices"]:
        for file in (root / name).rglob("cgroup.procs"):
            with contextlib.suppress(OSError):
                found |= {int(line) for line in file.read_text(encoding="ascii").split()}
    return found - {0}


def controllers() -> list[Path]:
    """Return the roots of the mounted v1 hierarchies, without the names that are links to others."""
    return [path for path in sorted(ROOT.iterdir()) if path.is_dir() and not path.is_symlink()]


def _create_v2(name: str) -> None:
    with contextlib.suppress(OSError):
        _enable(ROOT)
    if (ROOT / "cgroup.type").exists():  # only in a container: move its processes out of the way first
        (ROOT / LEAF).mkdir(exist_ok=True)
        _move(ROOT, ROOT / LEAF)
        _enable(ROOT)
    group = ROOT
    for part in Path(name).parts:
        group = group / part
        group.mkdir(exist_ok=True)
        _enable(group)


def _empty_leaf() -> None:
    leaf = ROOT / LEAF
    if leaf.is_dir():
        (ROOT / "cgroup.subtree_control").write_text(
            " ".join(f"-{name}" for name in _words(ROOT / "cgroup.subtree_control")), encoding="ascii"
        )
        _move(leaf, ROOT)
        leaf.rmdir()


def _enable(group: Path) -> None:
    for name in _words(group / "cgroup.controllers"):
        (group / "cgroup.subtree_control").write_text(f"+{name}", encoding="ascii")


def _move(source: Path, target: Path) -> None:
    for pid in list(_words(source / "cgroup.procs")):
        with contextlib.suppress(OSError):
            (target / "cgroup.procs").write_text(pid, encoding="ascii")


def _words(file: Path) -> Iterator[str]:
    yield from file.read_text(encoding="ascii").split()
