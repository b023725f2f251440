"""Shows each step as one line: what runs, its result and how long it took. Steps can run side by side."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rich import progress as display
from rich.console import Console
from rich.table import Column
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


class Stopped(StepFailed):
    """A step was stopped or not begun, because another one failed or the rehearsal was interrupted."""


@dataclass
class Progress:
    """Numbers the steps and shows each as one line, or with all of its output if ``verbose``."""

    logs: Path
    verbose: bool = False
    console: Console = field(default_factory=lambda: Console(highlight=False, soft_wrap=True))
    started: float = field(default_factory=time.monotonic)
    #: All steps so far.
    steps: list[Step] = field(default_factory=list)
    #: Number of the first step that failed, or 0.
    failed: int = 0

    def __post_init__(self) -> None:
        self.live = display.Progress(
            display.SpinnerColumn(),
            display.TextColumn("{task.description}", markup=False),
            display.TextColumn(
                "{task.fields[doing]}", style="dim", markup=False, table_column=Column(ratio=1, no_wrap=True)
            ),
            display.TimeElapsedColumn(),
            console=self.console,
            transient=True,
            expand=True,
            disable=self.verbose or not self.console.is_interactive,
        )
        self.lock = threading.RLock()
        #: The programs that are ended if a step fails.
        self.running: set[subprocess.Popen[str]] = set()
        self._stopping = False

    @property
    def number(self) -> int:
        """How many steps have begun."""
        return len(self.steps)

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """Run a block as the next numbered step; yields a function that shows what it is doing.

        Raises:
            Stopped: another step failed, so this one does not begin.
        """
        with self.lock:
            self.check_not_stopping()
            step = Step(self, self.number + 1, title)
            self.steps.append(step)
            self.live.start()
        mark, colour = "✓", "green"
        try:
            yield step
        except BaseException as error:
            mark, colour = "✗", "red"
            step.result = "stopped" if isinstance(error, Stopped) else ""
            if not isinstance(error, Stopped):
                self.failed = self.failed or step.number
            raise
        finally:
            step.ended = time.monotonic()
            with self.lock:
                self.live.remove_task(step.task)
                if not self.live.tasks:
                    self.live.stop()
                self.console.print(Text.assemble((mark, colour), " ", *step.summary()))

    def command(
        self, title: str, args: Sequence[str], *, env: Mapping[str, str], cwd: Path, timeout: float
    ) -> list[str]:
        """Run a program as a step and return its output's lines.

        Raises:
            StepFailed: it exited non-zero or ran longer than ``timeout`` seconds.
            Stopped: another step failed meanwhile.
        """
        with self.step(title) as step:
            return step.run(args, env=env, cwd=cwd, timeout=timeout)

    @contextmanager
    def alongside(self, work: Callable[[], object]) -> Iterator[Future[None]]:
        """Run ``work`` in a thread while the block runs, and wait for both. The first that fails stops the other.

        Yields what the block can wait on if it needs the work.

        Raises:
            Exception: the error of the one that failed first.
        """
        with ThreadPoolExecutor(1) as pool:
            other = pool.submit(self._stop_on_failure, work)
            try:
                yield other
                other.result()
            except BaseException as error:
                self._stop()
                cause = other.exception()
                if isinstance(error, Stopped) and cause:
                    raise cause from None
                raise

    def _stop_on_failure(self, work: Callable[[], object]) -> None:
        try:
            work()
        except BaseException:
            self._stop()
            raise

    def _stop(self) -> None:
        """End the programs of all steps, and let no further step begin."""
        with self.lock:
            self._stopping = True
            running = list(self.running)
        for process in running:
            _end(process)

    def check_not_stopping(self) -> None:
        """Raise ``Stopped`` if another step has failed or the rehearsal was interrupted."""
        if self._stopping:
            raise Stopped("stopped, because another step failed or the rehearsal was interrupted")

    @property
    def elapsed(self) -> float:
        """Seconds since the rehearsal began."""
        return time.monotonic() - self.started


class Step:
    """A step that runs. Calling it shows what it is doing after its title; a message after ``= `` is its result."""

    def __init__(self, progress: Progress, number: int, title: str) -> None:
        self.progress = progress
        self.number = number
        self.title = title
        self.result = ""
        self.began = self.shown = self.ended = time.monotonic()
        self.task = progress.live.add_task(f"{number:>2}  {title}", total=None, doing="")

    def __call__(self, message: str) -> None:
        """Show a message."""
        console = self.progress.console
        if message.startswith("= "):
            self.result = message[2:].strip()
        elif not self.progress.live.disable:
            self.progress.live.update(self.task, doing=message)
        elif time.monotonic() - self.shown > SIGN_OF_LIFE:
            self.shown = time.monotonic()
            console.print(Text(f"  {self.number:>2}  {message}", style="dim"))

    def summary(self) -> Iterator[str | tuple[str, str]]:
        """Yield the parts of the line that remains of this step."""
        yield f"{self.number:>2}  {self.title}"
        if self.result:
            yield f"  {self.result}", "dim"
        yield f" {time.monotonic() - self.began:.1f} s", "dim"

    def run(
        self, args: Sequence[str], *, env: Mapping[str, str], cwd: Path, timeout: float, to_the_end: bool = False
    ) -> list[str]:
        """Run a program in this step, write its output to the step's log, and return its lines.

        ``to_the_end`` is for a program that must not be stopped halfway: if another step fails, this one still ends.

        Raises:
            StepFailed: it exited non-zero or ran longer than ``timeout`` seconds.
            Stopped: another step failed meanwhile.
        """
        name = " ".join(Path(part).name if part.startswith("/") else part for part in args)
        log = self.progress.logs / f"step-{self.number:02}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        tail: deque[str] = deque(maxlen=EXCERPT_LINES)
        lines: list[str] = []
        with (
            self._started(args, env, cwd, timeout if to_the_end else 0) as process,
            waiting.limit(timeout, lambda: _end(process)) as expired,
            log.open("a", buffering=1, encoding="utf-8") as copy,
        ):
            copy.write(f"$ {name}\n")
            for line in process.stdout or ():
                copy.write(line)
                lines.append(line.rstrip("\n"))
                tail.append(line.rstrip("\n"))
                if self.progress.verbose:
                    self.progress.console.print(Text("    " + line.rstrip("\n"), style="dim"))
                elif line.strip():
                    self(line.strip())
            code = process.wait()
        if expired.is_set():
            raise StepFailed(f"{name} took longer than {waiting.bound(timeout):.0f} s", tail)
        if code:
            self.progress.check_not_stopping()
            raise StepFailed(f"{name} exited with {code}", tail)
        return lines

    @contextmanager
    def _started(
        self, args: Sequence[str], env: Mapping[str, str], cwd: Path, patience: float
    ) -> Iterator[subprocess.Popen[str]]:
        """Start a program; after the block and ``patience`` seconds, end it and everything in its process group."""
        with self.progress.lock:
            self.progress.check_not_stopping()
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
            if not patience:
                self.progress.running.add(process)
        try:
            yield process
        finally:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(patience)
            _end(process)
            self.progress.running.discard(process)


def _end(process: subprocess.Popen[str]) -> None:
    """End a program and everything it started in its process group, with SIGTERM before SIGKILL."""
    for number, patience in ((15, 5.0), (9, 5.0)):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience)
