"""The commands of README.md and its chapters, and the output that the pages show.

The order is that of reading: README.md from top to bottom. Where the numbered step "Go further" links a chapter
(``docs/NAME.md``), the commands of that chapter run, then README.md continues. Links to chapters elsewhere are only links.

The forms that the pages use:

- A ``bash`` fence is run. All fences run in one shell, so variables last as in a terminal.
- The ``text`` fence right after it shows its whole output, including standard error. Without one it prints nothing.
- In a text fence ``…`` matches anything within a line, and a line of only ``…`` matches any number of lines. A run of
  blanks matches any other, because the width of a column depends on its content.
- A ``bash refused`` fence is run and must fail: the refusal is the point.
- A ``bash`` fence with another word, and a ``powershell`` fence, is not run but counted under that word.

Fences begin at the left margin, with three backquotes; tests compare what is found here with what a parser of Markdown finds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ANY = "…"
REFUSED = "refused"
#: The numbered step in which the chapters run.
GO_FURTHER = "Go further"

_FENCE = re.compile(r"^```([^\n`]*)\n(.*?)^```[ ]*$", re.MULTILINE | re.DOTALL)
_TEXT = re.compile(r"\s*^```text\n(.*?)^```[ ]*$", re.MULTILINE | re.DOTALL)
#: A fence, a heading or the link of a chapter, whichever comes first.
_PART = re.compile(rf"{_FENCE.pattern}|^#+ ([^\n]*)$|\]\((docs/[\w-]+\.md)\)", re.MULTILINE | re.DOTALL)


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

    def problem(self, output: str, status: int) -> str:
        """Return how a run of it differs from the page, as a sentence; empty if it does not."""
        if (status != 0) != (self.word == REFUSED):
            return f"ended with status {status}"
        return difference(self.expected, output)


def commands(page: Path) -> list[Command]:
    """Return every fence of commands on one page, in order, with the heading that it is under."""
    return [part for part in _parts(page) if isinstance(part, Command)]


def chapters(readme: Path) -> list[Path]:
    """Return the chapters that the step "Go further" links, in order."""
    return [part for part in _parts(readme) if isinstance(part, Path)]


def walk(readme: Path) -> list[Command]:
    """Return every fence of commands of README.md and its chapters, in the order of reading."""
    found = []
    for part in _parts(readme):
        found += [part] if isinstance(part, Command) else commands(part)
    return found


def _parts(page: Path) -> Iterator[Command | Path]:
    """The commands of a page, and the chapters between them."""
    text = page.read_text(encoding="utf-8")
    section = ""
    for match in _PART.finditer(text):
        info, script, heading, chapter = match.groups()
        if heading is not None:
            section = heading.strip()
        elif chapter and section.endswith(f". {GO_FURTHER}"):
            yield page.parent / chapter
        words = (info or "").split()
        if words and words[0] in ("bash", "powershell"):
            word = " ".join(words[1:]) or ("" if words[0] == "bash" else words[0])
            shown = _TEXT.match(text, match.end())
            line = text.count("\n", 0, match.start()) + 1
            yield Command(page.name, line, section, word, script, shown[1] if shown else "")


def difference(expected: str, actual: str) -> str:
    """Return the first difference between ``actual`` and ``expected`` as a sentence; empty when there is none.

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
