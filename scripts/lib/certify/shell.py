"""A shell that runs one script after another, as a terminal does."""

from __future__ import annotations

import contextlib
import os
import secrets
import selectors
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self


def _ignore(_: str) -> None:
    """Keep nothing."""


class Shell:
    """A shell in a session of its own, so that a signal from the terminal does not reach its commands.

    ``seen`` is called with each part of the output. The shell's programs inherit the open files ``inherited``.
    """

    def __init__(
        self,
        cwd: Path,
        env: Mapping[str, str],
        seen: Callable[[str], object] = _ignore,
        inherited: Sequence[int] = (),
    ) -> None:
        self._mark = f"end-{secrets.token_hex(8)}"
        self._seen = seen
        commands, self._input = os.pipe()
        self._output, output = os.pipe()
        self._process = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            cwd=cwd,
            env=dict(env),
            stdin=commands,
            stdout=output,
            stderr=output,
            start_new_session=True,
            pass_fds=inherited,
        )
        os.close(commands)
        os.close(output)
        self._send("trap 'readme_status=$?' ERR")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        os.close(self._input)
        os.close(self._output)

    @property
    def group(self) -> int:
        """The process group of the shell and its commands."""
        return self._process.pid

    def without_mark(self, output: str) -> str:
        """Return the output without the line that marks its end."""
        return output.partition(f"\n{self._mark}")[0]

    def _send(self, line: str) -> None:
        os.write(self._input, f"{line}\n".encode())

    def run(self, script: str, limit: float) -> tuple[str, int]:
        """Return the output and the status of ``script``: that of the last command in it that failed, else 0.

        Raises:
            TimeoutError: it did not end within ``limit`` seconds.
            EOFError: it ended the shell.
        """
        with tempfile.NamedTemporaryFile("w", suffix=".sh", encoding="utf-8") as file:
            file.write(script)
            file.flush()
            self._send(f"readme_status=0; source {file.name} </dev/null; echo; echo {self._mark} $readme_status")
            output, _, status = self._read(f"\n{self._mark} ", limit).rpartition(f"\n{self._mark} ")
        return output, int(status)

    def _read(self, mark: str, limit: float) -> str:
        deadline = time.monotonic() + limit
        read = b""
        with selectors.DefaultSelector() as selector:
            selector.register(self._output, selectors.EVENT_READ)
            while not (mark.encode() in read and read.endswith(b"\n")):
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise TimeoutError(f"no end after {limit:.0f} s; so far:\n{read.decode(errors='replace')}")
                part = os.read(self._output, 65536)
                if not part:
                    raise EOFError(f"the shell ended; so far:\n{read.decode(errors='replace')}")
                read += part
                self._seen(part.decode(errors="replace"))
        return read.decode(errors="replace")
