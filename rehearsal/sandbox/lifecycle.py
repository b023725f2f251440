"""Starts and stops the sandbox: one tree of processes, mounts and networks that ends with its first process.

``start`` makes a mount and a PID namespace whose process 1 is supervisord. Every program, container, mount and network
namespace of the rehearsal lives inside, so killing process 1 removes them all (pid_namespaces(7)), even when the
process that started it was killed first. The kernel does not remove cgroup directories and RUN; ``stop`` does. Programs
in the sandbox use the host's network unless they name a network namespace of the sandbox (network.py).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from rehearsal import waiting
from rehearsal.sandbox import SandboxError, cgroups, identity, locks, network, supervisor
from rehearsal.sandbox.programs import Program, last_words, log_file
from rehearsal.settings import VARIABLES, inherited, settings

START_TIMEOUT = 20.0
STOP_TIMEOUT = 30.0
NETWORK_TIMEOUT = 10.0

#: Variables that the sandbox's programs inherit from the caller; no credential and no proxy is among them.
KEPT = (
    "HOME",
    "LANG",
    "LC_ALL",
    "TZ",
    "REHEARSAL_CONSOLE",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    *VARIABLES,
)


@contextlib.contextmanager
def exclusive() -> Iterator[None]:
    """Hold the lock that allows one rehearsal at a time.

    Raises:
        SandboxError: another rehearsal holds it.
    """
    with locks.hold(settings.cache / "lock"):
        yield


def start(programs: Callable[[], Iterable[Program]] = list) -> None:
    """Start the sandbox, its networks and its first programs, after removing what a killed one left behind.

    ``programs`` is called after that removal, because it may write files to RUN.

    Raises:
        SandboxError: the caller is not root on Linux, or an address or port is taken.
        TimeoutError: the sandbox did not start in time; the message has the last lines of its log.
    """
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        raise SandboxError("the cluster needs root on Linux")
    _end()
    with locks.hold(_lifelong_lock()) as lock:
        _clean()
        network.check_free()
        network.check_ports()
        for name in ("log", "tmp"):
            (settings.run / name).mkdir(parents=True)
        supervisor.configure(replace(program, autostart=True) for program in programs())
        cgroups.create()  # here, because process 1 does not see the host's processes
        _launch(lock)
    waiting.until(supervisor.answers, START_TIMEOUT, "the sandbox to start", lambda: last_words("sandbox"))


def stop() -> None:
    """End the sandbox and remove what it leaves; does nothing if there is none.

    Raises:
        SandboxError: the caller is inside the sandbox.
        TimeoutError: a process did not end in time.
    """
    _end()
    if settings.run.exists():
        with locks.hold(_lifelong_lock()):
            _clean()


def is_running() -> bool:
    """Whether a sandbox of this cache directory runs."""
    return identity.running() is not None


def _launch(lock: int) -> None:
    """Start process 1, which keeps ``lock`` as long as it lives; its parent exits as soon as it has forked."""
    environment = inherited(KEPT)
    environment |= {
        "PATH": os.pathsep.join([str(settings.venv_bin), str(settings.bin), "/usr/sbin", "/usr/bin", "/sbin", "/bin"]),
        "TMPDIR": str(settings.run / "tmp"),
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    first_process = [sys.executable, "-m", "rehearsal.sandbox.first_process", str(lock)]
    with log_file("sandbox").open("wb") as log:
        subprocess.run(
            ["unshare", "--mount", "--propagation", "private", "--pid", *first_process],
            cwd=settings.root,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=(lock,),
            start_new_session=True,
            timeout=waiting.bound(START_TIMEOUT),
            check=False,
        )


def _end() -> None:
    """Kill process 1 and wait until everything that only it kept alive is gone."""
    if identity.inside():
        raise SandboxError("the sandbox cannot be stopped from inside")
    if identity.recorded() is None and _is_locked():
        # The process that started it has just been killed: process 1 is about to record itself.
        waiting.until(lambda: is_running() or not _is_locked(), START_TIMEOUT, "a sandbox that is starting")
    running = identity.running()
    if running:
        with contextlib.suppress(ProcessLookupError):
            os.kill(running.pid, signal.SIGKILL)
        waiting.until(lambda: not running.alive(), STOP_TIMEOUT, f"process {running.pid} to end")
    if settings.run.exists():
        waiting.until(lambda: not _is_locked(), STOP_TIMEOUT, "the sandbox's lock")
        # The kernel removes networks some time after their last process. A link that stays is another sandbox's.
        with contextlib.suppress(TimeoutError):
            waiting.until(lambda: not network.exists(), NETWORK_TIMEOUT, network.HOST_LINK)


def _clean() -> None:
    """Remove what outlives the sandbox's processes."""
    if settings.run.exists():
        if not network.exists():  # or else the groups belong to another sandbox, like the network
            cgroups.remove()
        shutil.rmtree(settings.run)


def _lifelong_lock() -> Path:
    """The lock that process 1 holds as long as it lives."""
    return settings.cache / "sandbox.lock"


def _is_locked() -> bool:
    return locks.is_held(_lifelong_lock())
