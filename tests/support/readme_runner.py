"""Run the commands of README.md and its chapters as a learner would, and compare their output with what the pages show.

The order is that of reading: README.md from top to bottom. Where the numbered step "Go further" links a chapter
(``docs/NAME.md``), the commands of that chapter run, then README.md continues. Links to chapters elsewhere are only links.

The forms that the pages use:

- A ``bash`` fence is run. All fences run in one shell, so variables last as in a terminal.
- The ``text`` fence right after it shows its whole output, including standard error. Without one it prints nothing.
- In a text fence ``…`` matches anything within a line, and a line of only ``…`` matches any number of lines. A run of
  blanks matches any other, because the width of a column depends on its content.
- A ``bash refused`` fence is run and must fail: the refusal is the point.
- A ``bash`` fence with another word, and a ``powershell`` fence, is not run but counted under that word.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import selectors
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from markdown_it import MarkdownIt
from markdown_it.token import Token

ANY = "…"
REFUSED = "refused"
#: The numbered step in which the chapters run.
GO_FURTHER = "Go further"


@dataclass(frozen=True)
class Command:
    """One fence of commands: its page and place there, its text, and the output that the page shows."""

    page: str
    line: int
    section: str
    word: str
    script: str
    expected: str

    @property
    def is_run(self) -> bool:
        """Whether it can be run anywhere; a fence with a word needs what the word names."""
        return self.word in ("", REFUSED)


@dataclass(frozen=True)
class Result:
    """What a command printed; ``problem`` is empty when it did what the page says."""

    command: Command
    output: str
    status: int
    seconds: float
    problem: str


def commands(page: Path) -> list[Command]:
    """Every fence of commands on one page, in order, with the heading that it is under."""
    return [part for part in _parts(page) if isinstance(part, Command)]


def chapters(readme: Path) -> list[Path]:
    """The chapters that the step "Go further" links, in order."""
    return [part for part in _parts(readme) if isinstance(part, Path)]


def walk(readme: Path) -> list[Command]:
    """Every fence of commands of README.md and its chapters, in the order of reading."""
    found = []
    for part in _parts(readme):
        found += [part] if isinstance(part, Command) else commands(part)
    return found


def _parts(page: Path) -> Iterator[Command | Path]:
    """The commands of a page, and the chapters between them."""
    tokens = MarkdownIt().parse(page.read_text(encoding="utf-8"))
    section = ""
    for position, token in enumerate(tokens):
        if token.type == "heading_open":
            section = tokens[position + 1].content
        for child in token.children or ():
            target = re.fullmatch(r"docs/[\w-]+\.md", str(child.attrs.get("href", "")))
            if target and section.endswith(f". {GO_FURTHER}"):
                yield page.parent / target[0]
        words = token.info.split() if token.type == "fence" else []
        if words and words[0] in ("bash", "powershell"):
            word = " ".join(words[1:]) or ("" if words[0] == "bash" else words[0])
            yield Command(page.name, _line(token) + 1, section, word, token.content, _text_after(tokens, position))


def _line(token: Token) -> int:
    assert token.map, "a fence knows its lines"
    return token.map[0]


def _text_after(tokens: Sequence[Token], position: int) -> str:
    following = tokens[position + 1] if position + 1 < len(tokens) else None
    return following.content if following and following.type == "fence" and following.info == "text" else ""


def difference(expected: str, actual: str) -> str:
    """The first difference between ``actual`` and ``expected`` as a sentence; empty when there is none.

    The number of blanks in a run, and empty lines at the end, do not count.
    """
    wanted, got = ([" ".join(line.split()) for line in text.rstrip().splitlines()] for text in (expected, actual))
    states = _reachable(wanted, [0])
    for line in got:
        following = [state if wanted[state] == ANY else state + 1 for state in states if _fits(wanted, state, line)]
        if not following:
            here = max(states)
            return f"expected {wanted[here] if here < len(wanted) else 'no more output'!r}, got {line!r}"
        states = _reachable(wanted, following)
    return "" if len(wanted) in states else f"expected {wanted[max(states)]!r}, got the end of the output"


def _fits(wanted: Sequence[str], state: int, line: str) -> bool:
    if state == len(wanted):
        return False
    pattern = ".*".join(map(re.escape, wanted[state].split(ANY)))
    return wanted[state] == ANY or re.fullmatch(pattern, line) is not None


def _reachable(wanted: Sequence[str], states: Iterable[int]) -> set[int]:
    """``states``, and the states after lines of only ``…``, which may match no line at all."""
    reached: set[int] = set()
    for state in states:
        end = state
        while end < len(wanted) and wanted[end] == ANY:
            end += 1
        reached.update(range(state, end + 1))
    return reached


def skipped(readme: Path) -> Counter[str]:
    """How many fences are not run, by the word that says why."""
    return Counter(command.word for command in walk(readme) if not command.is_run)


def run_readme(readme: Path, cwd: Path, env: Mapping[str, str], limit: float = 900) -> Iterator[Result]:
    """Run the commands in ``cwd`` with ``env``, each for at most ``limit`` seconds; stop after the first problem."""
    with Shell(cwd, env) as shell:
        for command in filter(lambda each: each.is_run, walk(readme)):
            started = time.monotonic()
            output, status = shell.run(command.script, limit)
            result = Result(command, output, status, time.monotonic() - started, _problem(command, output, status))
            yield result
            if result.problem:
                return


def _problem(command: Command, output: str, status: int) -> str:
    if (status != 0) != (command.word == REFUSED):
        return f"ended with status {status}"
    return difference(command.expected, output)


class Shell:
    """One bash that runs one script after another, as a terminal does."""

    def __init__(self, cwd: Path, env: Mapping[str, str]) -> None:
        self._mark = f"end-{secrets.token_hex(8)}"
        self._process = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            cwd=cwd,
            env=dict(env),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._send("trap 'readme_status=$?' ERR")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _send(self, line: str) -> None:
        assert self._process.stdin
        self._process.stdin.write(f"{line}\n".encode())
        self._process.stdin.flush()

    def run(self, script: str, limit: float) -> tuple[str, int]:
        """Output and status of ``script``: the status of the last command in it that failed, else 0.

        Raises TimeoutError after ``limit`` seconds and EOFError when the script ended the shell.
        """
        with tempfile.NamedTemporaryFile("w", suffix=".sh") as file:
            file.write(script)
            file.flush()
            self._send(f"readme_status=0; source {file.name} </dev/null; echo; echo {self._mark} $readme_status")
            output, _, status = self._read(f"\n{self._mark} ", limit).rpartition(f"\n{self._mark} ")
        return output, int(status)

    def _read(self, mark: str, limit: float) -> str:
        assert self._process.stdout
        deadline = time.monotonic() + limit
        read = b""
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while not (mark.encode() in read and read.endswith(b"\n")):
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise TimeoutError(f"no end after {limit:.0f} s; so far:\n{read.decode(errors='replace')}")
                part = os.read(self._process.stdout.fileno(), 65536)
                if not part:
                    raise EOFError(f"the shell ended; so far:\n{read.decode(errors='replace')}")
                read += part
        return read.decode(errors="replace")
