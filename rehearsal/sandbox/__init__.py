"""The sandbox that a rehearsal runs in: processes, mounts, networks and control groups of its own, supervised."""


class SandboxError(RuntimeError):
    """The sandbox cannot be started, entered, controlled or stopped; the message says why and what to do."""
