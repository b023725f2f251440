"""Shows each step as one line: what runs, its result and how long it took."""

from __future__ import annotations

import os
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from rich.console import Console
from rich.text import Text

from rehearsal import waiting

#: Lines of a failed step's output that are shown; enough for a stack's events or the end of a pod's log.
EXCERPT_LINES = 30

#: Seconds between the lines in which a slow step says what it is doing, if the output is not a terminal.
SIGN_OF_LIFE = 15.0


class StepFailed(Exception):
    """A step of the rehearsal did not succeed; the message is one line for the learner."""

    def __init__(self, message: str, excerpt: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.excerpt = list(excerpt)


@dataclass
class Progress:
    """Numbers the steps and shows each as one line, or with all of its output if ``verbose``."""

    logs: Path
    verbose: bool = False
    console: Console = field(default_factory=lambda: Console(highlight=False, soft_wrap=True))
    started: float = field(default_factory=time.monotonic)
    number: int = 0
    durations: list[tuple[str, float]] = field(default_factory=list)

    @contextmanager
    def step(self, title: str) -> Iterator[Callable[[str], None]]:
        """Run a block as the next numbered step; yields a function that shows what it is doing.

        A message passed to that function appears after the title while the step runs. The last message that starts with
        ``= `` stays there afterwards.
        """
        self.number += 1
        label = f"{self.number:>2}  {title}"
        began = shown = time.monotonic()
        result = ""
        with self.console.status(label) if self._live else _Silent() as status:

            def show(message: str) -> None:
                nonlocal result, shown
                if message.startswith("= "):
                    result = message[2:].strip()
                elif self._live:
                    status.update(Text.assemble(label, "  ", (message[: max(20, self.console.width - 50)], "dim")))
                elif time.monotonic() - shown > SIGN_OF_LIFE:
                    shown = time.monotonic()
                    self.console.print(Text(f"      {message}", style="dim"))

            try:
                yield show
            except BaseException:
                self._line("✗", "red", label, "", began)
                raise
        self.durations.append((title, time.monotonic() - began))
        self._line("✓", "green", label, result, began)

    def command(
        self, title: str, args: Sequence[str], *, env: Mapping[str, str], cwd: Path, timeout: float
    ) -> list[str]:
        """Run a program as a step and return its output's lines.

        Raises:
            StepFailed: it exited non-zero or ran longer than ``timeout`` seconds.
        """
        with self.step(title) as show:
            return self.run(args, env=env, cwd=cwd, timeout=timeout, show=show)

    def run(
        self,
        args: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: Path,
        timeout: float,
        show: Callable[[str], None] = lambda _: None,
    ) -> list[str]:
        """Run a program inside the current step; see ``command``."""
        name = " ".join(Path(part).name if part.startswith("/") else part for part in args)
        log = self.logs / f"step-{self.number:02}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        tail: deque[str] = deque(maxlen=EXCERPT_LINES)
        lines: list[str] = []
        process = subprocess.Popen(
            list(args),
            env=dict(env),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        try:
            with waiting.limit(timeout, lambda: _end(process)) as expired, log.open("a", encoding="utf-8") as copy:
                copy.write(f"$ {name}\n")
                for line in process.stdout or ():
                    copy.write(line)
                    lines.append(line.rstrip("\n"))
                    tail.append(line.rstrip("\n"))
                    if self.verbose:
                        self.console.print(Text("    " + line.rstrip("\n"), style="dim"))
                    elif line.strip():
                        show(line.strip())
                code = process.wait()
        finally:
            _end(process)
        if expired.is_set():
            raise StepFailed(f"{name} took longer than {waiting.bound(timeout):.0f} s", tail)
        if code:
            raise StepFailed(f"{name} exited with {code}", tail)
        return lines

    @property
    def _live(self) -> bool:
        return self.console.is_terminal and not self.verbose

    @property
    def elapsed(self) -> float:
        """Seconds since the rehearsal began."""
        return time.monotonic() - self.started

    def _line(self, mark: str, colour: str, label: str, result: str, began: float) -> None:
        took = time.monotonic() - began
        text = Text.assemble((mark, colour), " ", label)
        if result:
            text.append(f"  {result}", style="dim")
        self.console.print(text, Text(f"{took:.1f} s", style="dim"))


class _Silent:
    """Replaces the live status if the output is not a terminal."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def update(self, *_: object) -> None:
        """Show nothing: a log gets only the finished line."""


def _end(process: subprocess.Popen[str]) -> None:
    """End a program and everything it started in its process group, with SIGTERM before SIGKILL."""
    for number, patience in ((15, 5.0), (9, 5.0)):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            return
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            continue
