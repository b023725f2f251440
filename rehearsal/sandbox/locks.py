"""Locks that the kernel releases with the last process that holds them, so that none is ever stale."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

from rehearsal.sandbox import SandboxError


class Locked(SandboxError):
    """Another process holds the lock."""


@contextlib.contextmanager
def hold(path: Path) -> Iterator[int]:
    """Hold a file's lock (flock(2)) and yield its descriptor; a child that inherits it keeps the lock.

    Raises:
        Locked: another process holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Locked(f"another rehearsal is running on this machine ({path} is locked)") from None
        yield file.fileno()


def is_held(path: Path) -> bool:
    """Whether a process holds the file's lock."""
    try:
        with hold(path):
            return False
    except Locked:
        return True
