"""What a benchmark returns: figures with their goals, and the data of the picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any


@dataclass(frozen=True)
class Goal:
    """A limit for a figure's ratio or, if ``absolute``, for its value in the figure's unit."""

    limit: float
    at_least: bool = False
    absolute: bool = False

    def __str__(self) -> str:
        return f"at {'least' if self.at_least else 'most'} {self.limit:.3g}"

    def met(self, number: float) -> bool:
        """Whether a number is within the limit."""
        return number >= self.limit if self.at_least else number <= self.limit


@dataclass(frozen=True)
class Figure:
    """One row of the table: a measurement, and what it is compared with in the same run.

    Args:
        name: what was measured, as printed in the table.
        unit: ``s``, ``MB``, ``requests/s``, …; empty for a bare number.
        values: one value per repetition.
        against: what it is compared with; empty if nothing.
        other: the values of ``against``, measured alternately with ``values``.
        goal: the limit that the ratio or the value should be within.
        note: a few words that explain the numbers.
        run: when and where it was measured, if not in the run of the table's heading.
    """

    name: str
    unit: str
    values: Sequence[float]
    against: str = ""
    other: Sequence[float] = ()
    goal: Goal | None = None
    note: str = ""
    run: str = ""

    @property
    def value(self) -> float:
        """The median."""
        return median(self.values)

    @property
    def ratio(self) -> float | None:
        """The ratio of the medians; None if there is nothing to compare with."""
        return self.value / median(self.other) if self.other and median(self.other) else None

    @property
    def holds(self) -> bool | None:
        """Whether the goal is met; None if there is none."""
        number = self.value if self.goal and self.goal.absolute else self.ratio
        return None if self.goal is None or number is None else self.goal.met(number)


@dataclass(frozen=True)
class Timeline:
    """The parts of one push: name, beginning and end of each, in seconds since ``git push`` started."""

    name: str
    spans: Sequence[tuple[str, float, float]]
    #: Seconds until the first answer with the new version.
    live: float


@dataclass(frozen=True)
class Curve:
    """How a figure grows with the size of the work."""

    name: str
    across: str
    up: str
    points: Sequence[tuple[float, float]]


@dataclass
class Context:
    """The input of every benchmark: how much to measure, and the kept rehearsal as its learner finds it.

    Benchmarks add their ``timelines`` and ``curves`` for the picture. ``say`` reports progress.
    """

    env: dict[str, str]
    checkout: Path
    quick: bool = False
    repetitions: int = 3
    say: Callable[[str], None] = print
    timelines: list[Timeline] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)
    #: The machine and the run, for the heading of the table.
    facts: dict[str, Any] = field(default_factory=dict)


def write(context: Context, figures: Sequence[Figure]) -> dict[str, Any]:
    """Return all results as data that JSON can represent."""
    return {
        "facts": context.facts,
        "figures": [asdict(one) for one in figures],
        "timelines": [asdict(one) for one in context.timelines],
        "curves": [asdict(one) for one in context.curves],
    }


def together(earlier: dict[str, Any], later: dict[str, Any]) -> dict[str, Any]:
    """Return the results of two runs as ``write`` does.

    What the later one measured replaces what the earlier one measured, and says when and where that was.
    """
    run = f"{later['facts']['when']}, {later['facts']['machine']}"
    merged = {"facts": earlier["facts"]}
    names = {"figures": ("name", "against"), "timelines": ("name",), "curves": ("name", "across", "up")}
    for kind, key in names.items():
        found = {tuple(one[part] for part in key): one for one in earlier[kind]}
        found |= {
            tuple(one[part] for part in key): one | ({"run": run} if kind == "figures" else {}) for one in later[kind]
        }
        merged[kind] = list(found.values())
    return merged


def read(results: dict[str, Any]) -> tuple[dict[str, Any], list[Figure], list[Timeline], list[Curve]]:
    """Return what was passed to ``write``."""
    figures = [Figure(**{**one, "goal": Goal(**one["goal"]) if one["goal"] else None}) for one in results["figures"]]
    return (
        results["facts"],
        figures,
        [Timeline(**one) for one in results["timelines"]],
        [Curve(**one) for one in results["curves"]],
    )
