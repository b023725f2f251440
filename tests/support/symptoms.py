"""The rows of docs/troubleshooting.md, and the cases that prove them: the cause planted, the words seen, the remedy applied.

A case is a table of a TOML file, ``tests/docs/symptoms.toml`` for those that need no cluster and
``tests/rehearsal/symptoms.toml`` for the others:

- ``words``: back-quoted words of the row's first cell, or a list of them; of a row without any, the whole cell
- ``has``: what exists before, some of PARTS in tests/support/worlds.py; without a cluster only
- ``break``: commands that plant the cause
- ``see``: a command whose output has the words; before ``break``, it has not all of them
- ``shows``: what the output has, if the row quotes no words, or quotes what is not in the output
- ``remedy``: what the row says, in its own commands; one of those has to be in a case of the row
- ``well``: a command that then succeeds, and whose output does not have the words; ``see``, if not given
- ``test``: instead of all these, the id of an older test that does the same, and that has the words in its text

Commands are for bash, and run in one shell, so that a variable lasts.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from rehearsal.practice import exercise
from scripts.lib.certify.shell import Shell
from tests.support.paths import ROOT

PAGE = ROOT / "docs" / "troubleshooting.md"
TABLES = (ROOT / "tests" / "docs" / "symptoms.toml", ROOT / "tests" / "rehearsal" / "symptoms.toml")
#: Marks words that AWS's documents give, and a cause that no rehearsal has.
FROM_DOCUMENTS = "†"
ANY = "…"
_ROW = re.compile(r"^\| (.+) \| (.+) \| (.+) \|$", re.MULTILINE)
_QUOTED = re.compile(rf"`([^`]+)`({FROM_DOCUMENTS}?)")
_COMMAND = re.compile(r"(?:[A-Z_]+=\S+ )?(?:scripts/|aws |export |git |kubectl )")


@dataclass(frozen=True)
class Row:
    """A row of the page."""

    see: str
    because: str
    do: str

    @property
    def words(self) -> dict[str, bool]:
        """The words that the first cell quotes, and whether they are from AWS's documents; if none, the cell itself."""
        quoted = {words: bool(mark) for words, mark in _QUOTED.findall(self.see)}
        return quoted or {self.see.rstrip(FROM_DOCUMENTS): self.see.endswith(FROM_DOCUMENTS)}

    @property
    def is_provoked(self) -> bool:
        """Whether some of its words are not from AWS's documents."""
        return not all(self.words.values())

    @property
    def commands(self) -> list[str]:
        """The whole commands of the last cell."""
        return [each for each, _ in _QUOTED.findall(self.do) if _COMMAND.match(each) and not each.endswith("=")]


@dataclass(frozen=True)
class Case:
    """A case, as the module describes it."""

    words: tuple[str, ...]
    breaks: str = ""
    see: str = ""
    remedy: str = ""
    well: str = ""
    shows: str = ""
    test: str = ""
    has: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.words[0][:50]

    @property
    def row(self) -> Row:
        """The first row that has its words."""
        return next(row for row in rows() if {*self.words} <= {*row.words})

    @property
    def wanted(self) -> tuple[str, ...]:
        """What the output has to have."""
        return (self.shows,) if self.shows else self.words

    def problem(self, shell: Shell, limit: float) -> str:
        """Go through the case, each command for ``limit`` seconds at most; return what is not as it says."""
        wanted = self.wanted
        before, _ = shell.run(self.see, limit)
        if seen(before, *wanted):
            return f"{wanted} is seen before its cause is planted:\n{before}"
        output, status = shell.run(self.breaks, limit)
        if status:
            return f"the cause cannot be planted:\n{output}"
        broken, _ = shell.run(self.see, limit)
        if not seen(broken, *wanted):
            return f"{wanted} is not seen:\n{broken}"
        cure, status = shell.run(self.remedy, limit)
        if status:
            return f"the remedy fails:\n{cure}"
        output, status = shell.run(self.well or self.see, limit)
        if status or seen(output, *wanted):
            return f"the remedy does not help, status {status}:\n{cure}\n{output}"
        return ""


@cache
def rows() -> tuple[Row, ...]:
    """Return every row of the page's tables."""
    found = [Row(*cells) for cells in _ROW.findall(PAGE.read_text(encoding="utf-8"))]
    return tuple(row for row in found if row.see != "you see")


def cases(file: Path) -> list[Case]:
    """Return the cases of a table.

    Raises:
        TypeError: a case has a field that it should not have.
    """
    tables = tomllib.loads(file.read_text(encoding="utf-8"))["case"]
    return [_case(**each) for each in tables]


def _case(words: str | list[str], **fields: Any) -> Case:
    commands = fields.pop("break", "")
    return Case((words,) if isinstance(words, str) else tuple(words), commands, **fields)


def exercised(row: Row) -> bool:
    """Whether an exercise of the practice is about the row."""
    return any(each.row in row.see for each in exercise.every())


def seen(output: str, *wanted: str) -> bool:
    """Whether an output has all these words, in which ``…`` is any text and a blank any space."""
    return all(_pattern(words).search(output) for words in wanted)


def _pattern(words: str) -> re.Pattern[str]:
    parts = (r"\s+".join(map(re.escape, part.split())) for part in words.split(ANY))
    return re.compile(r".*?".join(parts), re.DOTALL)
