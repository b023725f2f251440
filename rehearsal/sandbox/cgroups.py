"""The control groups of the rehearsal's containers: created at the start, removed at the end.

Unlike everything else in the sandbox, a cgroup outlives its processes. The code supports hosts with one directory per
controller (cgroup v1) and with the unified hierarchy (cgroup v2, Documentation/admin-guide/cgroup-v2.rst).

In the unified hierarchy, groups get only those controllers that the root's ``cgroup.subtree_control`` enables, so the
rehearsal enables all of them there, and restores at the end what was there before. runc, too, enables all of them.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterable
from pathlib import Path

from rehearsal.sandbox import SandboxError
from rehearsal.settings import settings

#: The directory, directly under each hierarchy's root, that holds all of the rehearsal's groups.
NAME = "eks-rehearsal"
ROOT = Path("/sys/fs/cgroup")
#: In a container, the root of the visible hierarchy is an ordinary group, which cannot have both processes and
#: controllers ("no internal process constraint"). So its processes move here while the rehearsal runs.
LEAF = "eks-rehearsal-init"
#: The controllers without which the kubelet or runc refuses to start, by the version of control groups.
NEEDED = {
    1: {"cpu", "cpuacct", "cpuset", "devices", "freezer", "memory", "pids"},
    2: {"cpu", "memory", "pids"},
}
#: A kubelet does not start if the root has one of these controllers but its own group does not (kubelet: cgroupV2impl).
KUBELET = NEEDED[2] | {"cpuset", "hugetlb"}
CGROUP2_MAGIC = 0x63677270
#: Rounds of moving processes, because one may fork while it is moved.
ROUNDS = 20
REMEDY = "in a container, start it with --privileged and --cgroupns=private"


def is_v2(root: Path = ROOT) -> bool:
    """Whether ``root`` is the unified hierarchy, by statfs(2)."""
    buffer = (ctypes.c_long * 32)()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.statfs(os.fsencode(root), ctypes.byref(buffer)):
        raise OSError(ctypes.get_errno(), "statfs", str(root))
    return int(buffer[0]) == CGROUP2_MAGIC


def create(name: str = NAME) -> None:
    """Create a group with every controller; ``name`` may be a path below ``NAME``.

    The first call must come from the host's PID namespace, because it may move processes.

    Raises:
        SandboxError: this machine does not allow it.
    """
    groups = [Path(name), *Path(name).parents][-2::-1]  # from the top, without "."
    try:
        if is_v2():
            _create_v2(groups)
        else:
            _create_v1(groups)
    except OSError as error:
        raise SandboxError(f"cannot create the control group {name}: {error}; {REMEDY}") from error


def remove(name: str = NAME) -> None:
    """Remove a group and those below it, except where a process still runs; with ``NAME``, restore the root too."""
    for root in hierarchies():
        if root == ROOT and name == NAME:
            for group in _children(ROOT / NAME):
                _remove(group)
            _restore_root()
        _remove(root / name)
    if name == NAME and not (ROOT / NAME).exists():
        _record().unlink(missing_ok=True)


def processes(name: str = NAME) -> set[int]:
    """Return the PIDs of all processes in a group and those below it, as the caller's PID namespace has them."""
    roots = [ROOT] if is_v2() else [ROOT / "pids", ROOT / "memory", ROOT / "devices"]
    return {int(pid) for root in roots for file in (root / name).rglob("cgroup.procs") for pid in _pids(file.parent)}


def hierarchies() -> list[Path]:
    """Return the root of the unified hierarchy, or those of the v1 hierarchies without names that link to others."""
    if is_v2():
        return [ROOT]
    return [path for path in sorted(ROOT.iterdir()) if path.is_dir() and not path.is_symlink()]


def controllers() -> set[str]:
    """Return the names of the controllers that groups can have here."""
    if is_v2():
        return _words(ROOT / "cgroup.controllers")
    return {name for path in hierarchies() for name in path.name.split(",")}  # several may share a hierarchy


def _create_v1(groups: Iterable[Path]) -> None:
    for controller in hierarchies():
        for group in (controller / name for name in groups):
            group.mkdir(exist_ok=True)
            if (group / "cpuset.cpus").exists():
                # A new cpuset is empty, and no process can run in an empty one (cpuset(7)).
                for file in ("cpuset.cpus", "cpuset.mems"):
                    (group / file).write_text((group.parent / file).read_text(encoding="ascii"), encoding="ascii")


def _create_v2(groups: Iterable[Path]) -> None:
    missing = NEEDED[2] - controllers()
    if missing:
        raise SandboxError(
            f"{ROOT} has no controller {', '.join(sorted(missing))}: enable it on the kernel's command line"
        )
    if not (ROOT / NAME).exists():
        (ROOT / NAME).mkdir()
        _remember_root()
    if (ROOT / "cgroup.type").exists():  # every group has this file except the real root
        _empty_root()
    for group in (ROOT, *(ROOT / name for name in groups)):
        group.mkdir(exist_ok=True)
        _enable(group)


def _empty_root() -> None:
    """Move the processes in the root to a group below it."""
    for _ in range(ROUNDS):
        if not _pids(ROOT):
            return
        # A group with processes can have threaded controllers only, and then no process can move to a group below it.
        _switch(ROOT, "-", _enabled(ROOT))
        (ROOT / LEAF).mkdir(exist_ok=True)
        _move(ROOT, ROOT / LEAF)


def _restore_root() -> None:
    """Undo what ``create`` changed in the root, as far as the groups that are still there allow."""
    if not ((ROOT / NAME).exists() and _record().exists()):
        return
    before = set(_record().read_text(encoding="ascii").split())
    leaf = ROOT / LEAF
    _switch(ROOT / NAME, "-", _enabled(ROOT / NAME))
    _switch(ROOT, "-", _enabled(ROOT) if leaf.exists() else _enabled(ROOT) - before)
    for _ in range(ROUNDS):
        if leaf.exists() and _pids(leaf):
            _move(leaf, ROOT)
    _remove(leaf)
    _switch(ROOT, "+", before - _enabled(ROOT))


def _remember_root() -> None:
    """Record which controllers the root enables, before the first change."""
    draft = _record().with_suffix(".new")
    draft.parent.mkdir(parents=True, exist_ok=True)
    draft.write_text(" ".join(sorted(_enabled(ROOT))), encoding="ascii")
    draft.replace(_record())


def _record() -> Path:
    """Lives as long as the group ``NAME``: without that, for example after a restart of the machine, it says nothing."""
    return settings.cache / "subtree_control"


def _enable(group: Path) -> None:
    """Enable every controller for the groups below, except those that the kernel refuses and no container needs."""
    wanted = _words(group / "cgroup.controllers") - _enabled(group)
    refused = _switch(group, "+", wanted)
    if refused.keys() & KUBELET:
        reasons = ", ".join(f"{name} ({error.strerror})" for name, error in sorted(refused.items()) if name in KUBELET)
        raise SandboxError(f"{group} refuses its controllers: {reasons}; {REMEDY}")


def _switch(group: Path, sign: str, names: set[str]) -> dict[str, OSError]:
    """Enable (+) or disable (-) controllers one by one, and return those that the kernel refuses, with its reason."""
    refused = {}
    for name in sorted(names):
        try:
            (group / "cgroup.subtree_control").write_text(f"{sign}{name}", encoding="ascii")
        except OSError as error:
            refused[name] = error
    return refused


def _enabled(group: Path) -> set[str]:
    return _words(group / "cgroup.subtree_control")


def _move(source: Path, target: Path) -> None:
    for pid in _pids(source):
        with contextlib.suppress(OSError):  # it has ended
            (target / "cgroup.procs").write_text(pid, encoding="ascii")


def _pids(group: Path) -> set[str]:
    """Return the PIDs of a group's processes. The file has 0 for those outside this process's PID namespace."""
    try:
        return _words(group / "cgroup.procs") - {"0"}
    except OSError:  # the group has been removed, or is threaded
        return set()


def _remove(group: Path) -> None:
    """Remove a group and those below it."""
    for child in _children(group):
        _remove(child)
    with contextlib.suppress(OSError):
        group.rmdir()


def _children(group: Path) -> list[Path]:
    return [path for path in group.iterdir() if path.is_dir()] if group.is_dir() else []


def _words(file: Path) -> set[str]:
    return set(file.read_text(encoding="ascii").split())
