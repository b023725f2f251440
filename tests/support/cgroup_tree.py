"""A made-up cgroup v2 hierarchy: ordinary files that follow the kernel's rules for the files that the rehearsal writes.

The rules are those of Documentation/admin-guide/cgroup-v2.rst, "Organizing Processes and Threads" and "Controlling
Controllers". Groups have PIDs of no real processes.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path, PosixPath
from typing import Any, ClassVar

CONTROLLERS = "cpuset cpu io memory hugetlb pids rdma misc"
#: Can be enabled in a group with processes, which makes the group the root of a threaded subtree.
THREADED = {"cpu", "cpuset", "perf_event", "pids"}
INTERFACE = ("cgroup.controllers", "cgroup.subtree_control", "cgroup.procs")


class Group(PosixPath):
    """A directory of the hierarchy; creating, writing and removing have the effects and errors of the kernel's."""

    #: Controllers that the kernel refuses, as it refuses ``cpu`` while a real-time process is in a group.
    refused: ClassVar[set[str]] = set()

    def mkdir(self, *args: Any, **kwargs: Any) -> None:
        """Create a group with its interface files."""
        super().mkdir(*args, **kwargs)
        if not (self / "cgroup.procs").exists():
            populate(self, (self.parent / "cgroup.subtree_control").read_text(), kind="domain")

    def rmdir(self) -> None:
        """Remove a group without processes and groups in it."""
        if words(self / "cgroup.procs") or any(path.is_dir() for path in self.iterdir()):
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), str(self))
        for file in self.iterdir():
            file.unlink()
        super().rmdir()

    def write_text(self, data: str, *args: Any, **kwargs: Any) -> int:
        """Write an interface file."""
        rule = {"cgroup.subtree_control": _switch, "cgroup.procs": _join}.get(self.name)
        if rule:
            refusal = rule(self.parent, data)
            if refusal:
                raise OSError(refusal, os.strerror(refusal), str(self))
            return len(data)
        return super().write_text(data, *args, **kwargs)


def populate(group: Path, controllers: str, *, kind: str = "", pids: str = "") -> None:
    """Write a group's interface files; without ``kind`` it is the real root, which has no cgroup.type."""
    for name, content in zip(INTERFACE, (controllers, "", pids), strict=True):
        Path(group / name).write_text(content)
    if kind:
        Path(group / "cgroup.type").write_text(kind)


def words(file: Path) -> set[str]:
    """Return the words of an interface file."""
    return set(Path(file).read_text().split())


def _set(file: Path, content: set[str]) -> None:
    Path(file).write_text(" ".join(sorted(content)))


def _switch(group: Path, change: str) -> int:
    """Enable or disable controllers for the groups below, all or none of them; return an error number or 0."""
    enabled = words(group / "cgroup.subtree_control")
    below = [path for path in Path(group).iterdir() if path.is_dir()]
    for word in change.split():
        sign, name = word[0], word[1:]
        if sign == "+" and name not in words(group / "cgroup.controllers"):
            return errno.ENOENT
        if sign == "+" and name in Group.refused:
            return errno.EINVAL
        if sign == "+" and name not in THREADED and _is_inner(group):
            return errno.EBUSY
        if sign == "-" and any(name in words(child / "cgroup.subtree_control") for child in below):
            return errno.EBUSY
        enabled = enabled | {name} if sign == "+" else enabled - {name}
    _set(group / "cgroup.subtree_control", enabled)
    for child in below:
        _set(child / "cgroup.controllers", enabled)
    return 0


def _join(group: Path, pid: str) -> int:
    """Move a process; return an error number or 0."""
    if words(group / "cgroup.subtree_control") and (group / "cgroup.type").exists():
        return errno.EBUSY
    if _is_inner(group.parent) and words(group.parent / "cgroup.subtree_control"):
        return errno.EOPNOTSUPP  # the parent is the root of a threaded subtree, so this group is "domain invalid"
    found = [path for path in (group, *group.iterdir(), group.parent) if (path / "cgroup.procs").exists()]
    source = next((path for path in found if pid in words(path / "cgroup.procs")), None)
    if source is None:
        return errno.ESRCH
    _set(source / "cgroup.procs", words(source / "cgroup.procs") - {pid})
    _set(group / "cgroup.procs", words(group / "cgroup.procs") | {pid})
    return 0


def _is_inner(group: Path) -> bool:
    """Whether a group other than the real root has processes."""
    return (group / "cgroup.type").exists() and bool(words(group / "cgroup.procs"))
