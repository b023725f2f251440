"""Which process is process 1 of the sandbox. That process records itself; all others read the record."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from rehearsal.sandbox import SandboxError
from rehearsal.settings import settings


@dataclass(frozen=True)
class Identity:
    """Distinguishes a running process from a stale record. A PID alone cannot: it is reused, also after a reboot."""

    pid: int
    started: int
    boot: str
    mounts: str

    @classmethod
    def of(cls, pid: int) -> Identity:
        """Read the identity of process ``pid`` from /proc.

        Raises:
            OSError: there is no such process.
        """
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
        if stat[0] in ("Z", "X"):
            raise ProcessLookupError(pid)
        return cls(pid, int(stat[19]), _boot(), str(Path(f"/proc/{pid}/ns/mnt").readlink()))

    def alive(self) -> bool:
        """Whether exactly this process still runs."""
        try:
            return Identity.of(self.pid) == self
        except OSError:
            return False


def file() -> Path:
    """Where process 1 records its identity, with its PID as the host sees it."""
    return settings.run / "sandbox.json"


def record(pid: int) -> None:
    """Write the identity of process 1; it calls this itself, so that it never runs without a record."""
    draft = file().with_suffix(".new")
    draft.write_text(json.dumps(asdict(Identity.of(pid))), encoding="utf-8")
    draft.replace(file())


def recorded() -> Identity | None:
    """Return the recorded identity, whether or not that process still runs."""
    try:
        return Identity(**json.loads(file().read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def running() -> Identity | None:
    """Return the identity of the running sandbox's process 1, if there is one."""
    identity = recorded()
    return identity if identity and (inside() or identity.alive()) else None


def living() -> Identity:
    """Return the identity of the running sandbox's process 1.

    Raises:
        SandboxError: no sandbox is running.
    """
    identity = running()
    if identity is None:
        raise SandboxError("no rehearsal is running on this machine")
    return identity


def inside() -> bool:
    """Whether the calling process runs inside the sandbox."""
    identity = recorded()
    return bool(identity and identity.mounts == str(Path("/proc/self/ns/mnt").readlink()) and identity.boot == _boot())


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
