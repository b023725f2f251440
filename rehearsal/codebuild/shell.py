"""Runs a build's commands one after another, so that each finds what the one before left.

Follows https://docs.aws.amazon.com/codebuild/latest/userguide/build-spec-ref.html#build-spec-ref-versions: in version
0.2 the current directory and variables carry over from command to command. As CodeBuild's own logs show
(``script.sh: line 4``), each command is a script, between which directory and variables are handed on. So shell options
(``set -e``) and functions end with their command, and ``exit`` ends the command, not the build.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

#: Everything the command sets is exported (``-a``), because the next command reads it back from the environment. State is
#: kept by a trap, for commands that exit, and again at the end, for those that set a trap of their own.
_SCRIPT = """cd "$(cat {state}/directory)" || exit 1
. {state}/environment
__state() {{ export -p >{state}/environment; pwd >{state}/directory; }}
trap __state EXIT
set -a
. {state}/command
set -- $?; __state; exit "$1"
"""


class TimedOut(Exception):
    """The build had no time left for the command."""


class Stopped(Exception):
    """The build was stopped while the command ran."""


class Shell:
    """The shell of one build.

    Args:
        state: a directory for the shell's own files.
        source: where the first command starts.
        environment: the whole environment of the first command.
        output: the descriptor that takes standard output and error.
        shell: ``bash`` or ``/bin/sh``.
        enter: words that put a command into the build's container.
        deadline: the ``time.monotonic`` moment at which the build has used up its time.
    """

    def __init__(
        self,
        state: Path,
        source: Path,
        environment: Mapping[str, str],
        output: int,
        *,
        shell: str = "/bin/sh",
        enter: Sequence[str] = (),
        deadline: float = float("inf"),
    ) -> None:
        self.state = state
        self.output = output
        self.shell = shell
        self.enter = tuple(enter)
        self.deadline = deadline
        self.path = environment.get("PATH", os.defpath)
        self._stopped = False
        self._process: subprocess.Popen[bytes] | None = None
        state.mkdir(parents=True, exist_ok=True)
        exports = (f"export {name}={shlex.quote(value)}\n" for name, value in environment.items())
        self._write("environment", "".join(exports))
        self._write("directory", f"{source}\n")

    def run(self, command: str, *, user: str = "") -> int:
        """Run a command to its end and return its exit status.

        Raises:
            TimedOut: the deadline passed; the command was killed.
            Stopped: ``stop`` was called; the command was killed.
        """
        self._write("command", command + "\n")
        self._write("script", _SCRIPT.format(state=shlex.quote(str(self.state))))
        become = ["runuser", "-u", user, "--"] if user else []
        for file in self.state.iterdir() if user else ():
            shutil.chown(file, user)
        process = subprocess.Popen(
            [*self.enter, *become, self.shell, str(self.state / "script")],
            env={"PATH": self.path},
            stdin=subprocess.DEVNULL,
            stdout=self.output,
            stderr=self.output,
            start_new_session=True,
        )
        self._process = process
        try:
            return self._wait(process)
        finally:
            self._process = None

    def set(self, name: str, value: str) -> None:
        """Give a variable a value, for the commands to come."""
        with (self.state / "environment").open("a", encoding="utf-8") as file:
            file.write(f"export {name}={shlex.quote(value)}\n")

    def variables(self) -> dict[str, str]:
        """Return the environment that the last command left."""
        result = subprocess.run(
            [self.shell, "-c", '. "$0"; env -0', str(self.state / "environment")],
            env={"PATH": self.path},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=10,
            check=True,
        )
        entries = result.stdout.decode(errors="replace").split("\0")
        return dict(entry.split("=", 1) for entry in entries if "=" in entry)

    def stop(self) -> None:
        """Kill the command that runs; ``run`` raises Stopped, now or when it is called next."""
        self._stopped = True
        if process := self._process:
            self._kill(process)

    def _wait(self, process: subprocess.Popen[bytes]) -> int:
        while not self._stopped:
            left = self.deadline - time.monotonic()
            if left <= 0:
                self._kill(process)
                raise TimedOut
            with suppress(subprocess.TimeoutExpired):
                status = process.wait(min(left, 0.5))
                if not self._stopped:
                    return status
        self._kill(process)
        raise Stopped

    @staticmethod
    def _kill(process: subprocess.Popen[bytes]) -> None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def _write(self, name: str, text: str) -> None:
        descriptor = os.open(self.state / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
