"""Controls the programs in the running sandbox through supervisord's XML-RPC interface."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from xmlrpc.client import Fault, ServerProxy

from supervisor.xmlrpc import SupervisorTransport

from rehearsal import secret, waiting
from rehearsal.sandbox import SandboxError, identity, programs
from rehearsal.sandbox.programs import Program
from rehearsal.settings import settings

#: Seconds for programs to end.
STOP_TIMEOUT = 30.0


def configure(initial: Iterable[Program]) -> None:
    """Write the configuration that supervisord reads at its start, with the programs that it starts first."""
    (settings.run / "supervisor.d").mkdir(parents=True)
    (settings.run / "supervisord.conf").write_text(programs.render_daemon(), encoding="utf-8")
    for program in initial:
        _write(program)


def answers() -> bool:
    """Whether supervisord runs and answers."""
    try:
        return bool(_supervisord().getState()["statename"] == "RUNNING")
    except (OSError, SandboxError):
        return False


def declare(declared: Iterable[Program]) -> None:
    """Add programs to supervisord, which starts those with ``autostart``; a program that it has already is replaced."""
    names = []
    for program in declared:
        _write(program)
        names.append(program.name)
    supervisord = _supervisord()
    added, changed, _ = supervisord.reloadConfig()[0]
    for name in names:
        if name in changed:
            supervisord.stopProcessGroup(name)
            supervisord.removeProcessGroup(name)
        if name in added or name in changed:
            supervisord.addProcessGroup(name)


def forget(names: Iterable[str]) -> None:
    """Stop programs, all at once, and remove them from supervisord; unknown names are ignored.

    Raises:
        TimeoutError: one did not end in time.
    """
    supervisord = _supervisord()
    known = {name for name, _, _ in states()} & set(names)
    for name in known:
        with contextlib.suppress(Fault):  # it does not run
            supervisord.stopProcess(name, False)
    ended = ("STOPPED", "EXITED", "FATAL")
    waiting.until(lambda: all(state(name)[0] in ended for name in known), STOP_TIMEOUT, f"{sorted(known)} to end")
    for name in known:
        supervisord.removeProcessGroup(name)
        _configuration(name).unlink(missing_ok=True)
    supervisord.reloadConfig()


def start(name: str) -> None:
    """Start a declared program; does nothing if it runs.

    Raises:
        SandboxError: it is not declared or cannot be executed.
    """
    try:
        _supervisord().startProcess(name, False)
    except Fault as fault:
        if "ALREADY_STARTED" not in fault.faultString:
            raise SandboxError(f"cannot start {name}: {fault.faultString}") from fault


def stop(name: str) -> None:
    """Stop a program and wait until it has ended; does nothing if it does not run.

    Raises:
        SandboxError: it is not declared.
    """
    try:
        _supervisord().stopProcess(name)
    except Fault as fault:
        if "NOT_RUNNING" not in fault.faultString:
            raise SandboxError(f"cannot stop {name}: {fault.faultString}") from fault


def kill(name: str) -> None:
    """Send SIGKILL to a running program; supervisord restarts it at once.

    Raises:
        SandboxError: it is not declared or does not run.
    """
    try:
        _supervisord().signalProcess(name, "KILL")
    except Fault as fault:
        raise SandboxError(f"cannot kill {name}: {fault.faultString}") from fault


def state(name: str) -> tuple[str, int]:
    """Return a program's state as supervisord names it (RUNNING, STOPPED ...) and its PID inside the sandbox, or 0.

    Raises:
        SandboxError: it is not declared.
    """
    try:
        info: Any = _supervisord().getProcessInfo(name)
    except Fault as fault:
        raise SandboxError(f"no program {name}: {fault.faultString}") from fault
    return info["statename"], info["pid"]


def states() -> list[tuple[str, str, str]]:
    """Return each declared program's name, state and supervisord's description (``pid 17, uptime 0:01:02``)."""
    found: Any = _supervisord().getAllProcessInfo()
    return [(info["name"], info["statename"], info["description"]) for info in found]


def _supervisord() -> Any:
    """Return supervisord's XML-RPC interface, whose socket is in the sandbox's own /run."""
    path = programs.SOCKET if identity.inside() else Path(f"/proc/{identity.living().pid}/root{programs.SOCKET}")
    transport = SupervisorTransport(None, None, f"unix://{path}")
    return ServerProxy("http://127.0.0.1", transport=transport).supervisor


def _configuration(name: str) -> Path:
    return settings.run / "supervisor.d" / f"{name}.conf"


def _write(program: Program) -> None:
    """Write a program's configuration; readable only by its owner, since its environment may hold keys."""
    secret.write(_configuration(program.name), program.render())
