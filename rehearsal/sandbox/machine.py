"""The machine namespace: one tree of processes, mounts and networks that ends, whole, with its first process.

``start`` makes a mount and a PID namespace whose process 1 is supervisord. Every program, container, mount and network
namespace of the rehearsal lives inside, so killing process 1 removes them all (pid_namespaces(7)), also after a
``kill -9`` of whoever started it. What the kernel does not remove with it are cgroup directories and RUN; ``stop``
does. Programs in the machine use the host's network unless they name a namespace of the machine's own (network.py).
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from xmlrpc.client import Fault, ServerProxy

from supervisor.xmlrpc import SupervisorTransport

from rehearsal.sandbox import cgroups, locks, network
from rehearsal.sandbox import programs as _programs
from rehearsal.sandbox.programs import Program
from rehearsal.settings import settings

__all__ = [
    "MachineError",
    "Program",
    "declare",
    "entry",
    "exclusive",
    "forget",
    "inside",
    "is_running",
    "kill_program",
    "program_state",
    "programs",
    "run",
    "start",
    "start_program",
    "stop",
    "stop_program",
    "wait_until",
]

START_TIMEOUT = 20.0
STOP_TIMEOUT = 30.0
NETWORK_TIMEOUT = 10.0

#: What the machine's programs see of the environment of whoever started it; no credential and no proxy is among it.
KEPT = ("HOME", "LANG", "LC_ALL", "TZ", "XDG_CACHE_HOME", "REHEARSAL_PORT", "SSL_CERT_FILE", "SSL_CERT_DIR")


class MachineError(RuntimeError):
    """The machine cannot be started, stopped or asked; the message says why and what to do."""


@dataclass(frozen=True)
class Identity:
    """What tells a running machine from a stale record of one: a PID alone is used again, also after a reboot."""

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


def identity_file() -> Path:
    """Where process 1 writes who it is, as the host counts."""
    return settings.run / "machine.json"


@contextlib.contextmanager
def exclusive() -> Iterator[None]:
    """Hold the lock that allows one rehearsal at a time.

    Raises:
        MachineError: another one holds it.
    """
    with _held(settings.cache / "lock"):
        yield


def start(programs: Iterable[Program] = ()) -> None:
    """Make the machine, its networks and the programs that run from its start; what a killed one left is removed first.

    Raises:
        MachineError: not root on Linux, an address or port is taken, or the machine did not come up.
    """
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        raise MachineError("the cluster needs root on Linux")
    _end()
    with _held(_life()) as lock:
        _clean()
        _check_network()
        check_ports()
        for name in ("log", "supervisor.d", "tmp"):
            (settings.run / name).mkdir(parents=True)
        (settings.run / "supervisord.conf").write_text(_programs.render_daemon(), encoding="utf-8")
        for program in programs:
            _write(replace(program, autostart=True))
        _launch(lock)
    wait_until(_answers, START_TIMEOUT, "the machine to answer", _start_log)


def stop() -> None:
    """End the machine and remove all that is left of it; does nothing where there is none.

    Raises:
        MachineError: something would not go within a bounded time.
    """
    _end()
    if settings.run.exists():
        with _held(_life()):
            _clean()


def is_running() -> bool:
    """Whether a machine of this cache runs."""
    return _running() is not None


def inside() -> bool:
    """Whether this process is in the machine already."""
    identity = _recorded()
    return bool(identity and identity.mounts == str(Path("/proc/self/ns/mnt").readlink()) and identity.boot == _boot())


def run(
    args: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    netns: str | None = None,
    check: bool = True,
    **options: Any,
) -> subprocess.CompletedProcess[Any]:
    """Run a command inside the machine, in its network namespace ``netns`` if one is named.

    ``env`` is the whole environment of the command, as in ``subprocess.run``, which takes the other options too; one
    variable is added, by which footprint.py knows our processes.

    Raises:
        MachineError: there is no machine.
        subprocess.CalledProcessError: the command failed and ``check`` is true.
    """
    environment = {**(os.environ if env is None else env), "REHEARSAL_RUN": str(settings.run)}
    return subprocess.run([*entry(netns), *map(str, args)], env=environment, check=check, **options)


def entry(netns: str | None = None) -> list[str]:
    """Return the words to put before a command so that it runs inside the machine.

    Raises:
        MachineError: there is no machine.
    """
    enter: list[str] = []
    if not inside():
        pid = str(_living().pid)
        # --wdns (not --wd) is resolved inside; both need the directory to be visible there, and it is.
        enter = ["nsenter", "--target", pid, "--mount", "--pid", f"--wdns={Path.cwd()}"]
    if netns:
        # A second step, because the path is one of the machine's own /run.
        enter += ["nsenter", f"--net=/run/netns/{netns}"]
    return enter


def declare(declared: Iterable[Program]) -> None:
    """Make programs known to the running machine, which starts those with ``autostart``; known ones are replaced."""
    names = []
    for program in declared:
        _write(program)
        names.append(program.name)
    supervisor = _supervisor()
    added, changed, _ = supervisor.reloadConfig()[0]
    for name in names:
        if name in changed:
            supervisor.stopProcessGroup(name)
            supervisor.removeProcessGroup(name)
        if name in added or name in changed:
            supervisor.addProcessGroup(name)


def forget(names: Iterable[str]) -> None:
    """Stop programs, all at once, and drop their declarations; unknown names are passed over."""
    supervisor = _supervisor()
    known = {name for name, _, _ in programs()} & set(names)
    for name in known:
        with contextlib.suppress(Fault):  # it does not run
            supervisor.stopProcess(name, False)
    gone = ("STOPPED", "EXITED", "FATAL")
    wait_until(lambda: all(program_state(name)[0] in gone for name in known), STOP_TIMEOUT, f"{sorted(known)} to end")
    for name in known:
        supervisor.removeProcessGroup(name)
        (settings.run / "supervisor.d" / f"{name}.conf").unlink(missing_ok=True)
    supervisor.reloadConfig()


def start_program(name: str) -> None:
    """Start a declared program; does nothing if it runs.

    Raises:
        MachineError: it is not declared or cannot be executed.
    """
    try:
        _supervisor().startProcess(name, False)
    except Fault as fault:
        if "ALREADY_STARTED" not in fault.faultString:
            raise MachineError(f"cannot start {name}: {fault.faultString}") from fault


def stop_program(name: str) -> None:
    """Stop a program and wait for its end; does nothing if it does not run.

    Raises:
        MachineError: it is not declared.
    """
    try:
        _supervisor().stopProcess(name)
    except Fault as fault:
        if "NOT_RUNNING" not in fault.faultString:
            raise MachineError(f"cannot stop {name}: {fault.faultString}") from fault


def kill_program(name: str) -> None:
    """Send a running program SIGKILL; supervisord starts it again at once.

    Raises:
        MachineError: it is not declared or does not run.
    """
    try:
        _supervisor().signalProcess(name, "KILL")
    except Fault as fault:
        raise MachineError(f"cannot kill {name}: {fault.faultString}") from fault


def program_state(name: str) -> tuple[str, int]:
    """Return a program's state in supervisord's words (RUNNING, STOPPED ...) and its PID inside the machine, or 0.

    Raises:
        MachineError: it is not declared.
    """
    try:
        info: Any = _supervisor().getProcessInfo(name)
    except Fault as fault:
        raise MachineError(f"no program {name}: {fault.faultString}") from fault
    return info["statename"], info["pid"]


def programs() -> list[tuple[str, str, str]]:
    """Return name, state and supervisord's words on since when (``pid 17, uptime 0:01:02``) of each declared program."""
    found: Any = _supervisor().getAllProcessInfo()
    return [(info["name"], info["statename"], info["description"]) for info in found]


def wait_until(
    good: Callable[[], bool], patience: float, what: str, explain: Callable[[], str] = lambda: "", pause: float = 0.02
) -> None:
    """Ask ``good`` until it is true.

    Raises:
        MachineError: it was not within ``patience`` seconds; the message ends with what ``explain`` returns.
    """
    end = time.monotonic() + patience
    while not good():
        if time.monotonic() > end:
            raise MachineError(f"waited {patience:.0f} s for {what}. {explain()}".rstrip())
        time.sleep(pause)


def _launch(lock: int) -> None:
    """Start process 1, which keeps ``lock`` for life; its parent leaves as soon as it is forked."""
    environment = {name: os.environ[name] for name in KEPT if name in os.environ}
    environment |= {
        "PATH": os.pathsep.join([str(settings.venv_bin), str(settings.bin), "/usr/sbin", "/usr/bin", "/sbin", "/bin"]),
        "TMPDIR": str(settings.run / "tmp"),
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    init = [sys.executable, "-m", "rehearsal.sandbox.init", str(lock)]
    with (settings.run / "log" / "machine.log").open("wb") as log:
        subprocess.run(
            ["unshare", "--mount", "--propagation", "private", "--pid", *init],
            cwd=settings.root,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=(lock,),
            start_new_session=True,
            timeout=START_TIMEOUT,
            check=False,
        )


def _end() -> None:
    """Kill process 1 and wait until all that only it kept alive is gone."""
    if inside():
        raise MachineError("the machine cannot be ended from inside")
    if _recorded() is None and locks.is_held(_life()):
        # Its starter was killed just now: it is about to write who it is.
        wait_until(lambda: is_running() or not locks.is_held(_life()), START_TIMEOUT, "a machine that is being started")
    identity = _running()
    if identity:
        with contextlib.suppress(ProcessLookupError):
            os.kill(identity.pid, signal.SIGKILL)
        wait_until(lambda: not identity.alive(), STOP_TIMEOUT, f"process {identity.pid} to end")
    if settings.run.exists():
        wait_until(lambda: not locks.is_held(_life()), STOP_TIMEOUT, "the machine's lock")
        # The kernel removes networks in its own time, after their last process. A link that stays is another machine's.
        with contextlib.suppress(MachineError):
            wait_until(lambda: not network.exists(), NETWORK_TIMEOUT, network.HOST_LINK)


def _clean() -> None:
    """Remove what outlives the processes of a machine."""
    if settings.run.exists():
        cgroups.remove()
        shutil.rmtree(settings.run)


def record(pid: int) -> None:
    """Write who the machine's process 1 is; process 1 calls this itself, so that no moment is without a record."""
    target = identity_file()
    draft = target.with_suffix(".new")
    draft.write_text(json.dumps(asdict(Identity.of(pid))), encoding="utf-8")
    draft.replace(target)


def _recorded() -> Identity | None:
    try:
        return Identity(**json.loads(identity_file().read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _running() -> Identity | None:
    identity = _recorded()
    return identity if identity and (inside() or identity.alive()) else None


def _living() -> Identity:
    identity = _running()
    if identity is None:
        raise MachineError("no rehearsal is running on this machine")
    return identity


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def _supervisor() -> Any:
    """Return supervisord's XML-RPC interface, reached through the machine's own /run."""
    path = _programs.SOCKET if inside() else Path(f"/proc/{_living().pid}/root{_programs.SOCKET}")
    transport = SupervisorTransport(None, None, f"unix://{path}")
    return ServerProxy("http://127.0.0.1", transport=transport).supervisor


def _answers() -> bool:
    try:
        return bool(_supervisor().getState()["statename"] == "RUNNING")
    except (OSError, MachineError):
        return False


def _start_log() -> str:
    with contextlib.suppress(OSError):
        lines = (settings.run / "log" / "machine.log").read_text(encoding="utf-8", errors="replace").splitlines()
        return "It said: " + " / ".join(lines[-3:]) if lines else ""
    return ""


def _write(program: Program) -> None:
    path = settings.run / "supervisor.d" / f"{program.name}.conf"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(program.render())


def _check_network() -> None:
    try:
        network.check_free()
    except network.AddressTakenError as error:
        raise MachineError(str(error)) from error


def check_ports() -> None:
    """Find out whether the rehearsal's ports are free.

    Raises:
        MachineError: one is not; the message says how to choose others.
    """
    for port in range(settings.ports.base, settings.ports.base + 13):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                raise MachineError(f"port {port} is taken; set REHEARSAL_PORT to the first of 13 free ports") from None


def _life() -> Path:
    return settings.cache / "machine.lock"


@contextlib.contextmanager
def _held(path: Path) -> Iterator[int]:
    try:
        with locks.hold(path) as descriptor:
            yield descriptor
    except locks.Locked as error:
        raise MachineError(str(error)) from error
