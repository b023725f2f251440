"""Runs a build's commands one after another, each in the state that the previous one left.

Follows https://docs.aws.amazon.com/codebuild/latest/userguide/build-spec-ref.html#build-spec-ref-versions: in version
0.2 the current directory and the variables carry over from command to command. As CodeBuild's logs show
(``script.sh: line 4``), each command is a script of its own. So shell options (``set -e``) and functions do not outlive
their command, and ``exit`` ends the command, not the build.
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

from rehearsal import secret, waiting

#: ``-a`` exports every variable that the command sets, because the next command reads it from the environment. A trap
#: saves the state of commands that exit; the last line saves that of commands that set their own trap.
_SCRIPT = """cd "$(cat {state}/directory)" || exit 1
. {state}/environment
__state() {{ export -p >{state}/environment; pwd >{state}/directory; }}
trap __state EXIT
set -a
. {state}/command
set -- $?; __state; exit "$1"
"""


class TimedOut(Exception):
    """The build ran out of time."""


class Stopped(Exception):
    """The build was stopped."""


class Shell:
    """The shell of one build.

    Args:
        state: a directory for the files of the shell itself.
        source: the working directory of the first command.
        environment: the complete environment of the first command.
        output: the file descriptor for standard output and standard error.
        shell: ``bash`` or ``/bin/sh``.
        enter: the command prefix that runs a command in the build's container.
        deadline: the ``time.monotonic`` value at which the build times out.
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
        """Run a command and return its exit status.

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
        """Set a variable for the following commands."""
        with (self.state / "environment").open("a", encoding="utf-8") as file:
            file.write(f"export {name}={shlex.quote(value)}\n")

    def variables(self) -> dict[str, str]:
        """Return the environment after the last command."""
        result = subprocess.run(
            [self.shell, "-c", '. "$0"; env -0', str(self.state / "environment")],
            env={"PATH": self.path},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=waiting.bound(10),
            check=True,
        )
        entries = result.stdout.decode(errors="replace").split("\0")
        return dict(entry.split("=", 1) for entry in entries if "=" in entry)

    def stop(self) -> None:
        """Kill the running command; this call of ``run``, or the next one, raises Stopped."""
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
        secret.write(self.state / name, text)
