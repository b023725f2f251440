"""What a benchmark gives back: figures with their goals, and what the picture is drawn from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any


@dataclass(frozen=True)
class Goal:
    """A bound for a figure's ratio, or for the value itself (``absolute``), in the figure's unit."""

    limit: float
    at_least: bool = False
    absolute: bool = False

    def __str__(self) -> str:
        return f"at {'least' if self.at_least else 'most'} {self.limit:.3g}"

    def met(self, number: float) -> bool:
        """Whether a number keeps the bound."""
        return number >= self.limit if self.at_least else number <= self.limit


@dataclass(frozen=True)
class Figure:
    """One row of the table: what was measured, beside what it is compared with, in the same run.

    Args:
        name: what was measured, as the table says it.
        unit: ``s``, ``MB``, ``requests/s``, …; empty for a bare number.
        values: one for each repetition.
        against: what it is compared with; empty if with nothing.
        other: the values of that, measured in turn with ``values``.
        goal: what the ratio or the value should keep.
        note: what the learner has to know beside the numbers, in a few words.
    """

    name: str
    unit: str
    values: Sequence[float]
    against: str = ""
    other: Sequence[float] = ()
    goal: Goal | None = None
    note: str = ""

    @property
    def value(self) -> float:
        """The median."""
        return median(self.values)

    @property
    def ratio(self) -> float | None:
        """The medians' ratio; nothing where there is nothing to compare with."""
        return self.value / median(self.other) if self.other and median(self.other) else None

    @property
    def holds(self) -> bool | None:
        """Whether the goal is met; nothing where there is none."""
        number = self.value if self.goal and self.goal.absolute else self.ratio
        return None if self.goal is None or number is None else self.goal.met(number)


@dataclass(frozen=True)
class Timeline:
    """What one push went through: name, begin and end of each part, in seconds after ``git push`` was given."""

    name: str
    spans: Sequence[tuple[str, float, float]]
    #: The moment of the first answer with the new version.
    live: float


@dataclass(frozen=True)
class Curve:
    """How a figure grows."""

    name: str
    across: str
    up: str
    points: Sequence[tuple[float, float]]


@dataclass
class Context:
    """What every benchmark is given: how much to measure, and the kept rehearsal as its learner finds it.

    ``timelines`` and ``curves`` are the picture's; a benchmark adds its own. ``say`` tells the terminal what goes on.
    """

    env: dict[str, str]
    checkout: Path
    quick: bool = False
    repetitions: int = 3
    say: Callable[[str], None] = print
    timelines: list[Timeline] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)
    #: What the machine and the run were, for the head of the report.
    facts: dict[str, Any] = field(default_factory=dict)


def write(context: Context, figures: Sequence[Figure]) -> dict[str, Any]:
    """Return all results in a form that JSON can hold."""
    return {
        "facts": context.facts,
        "figures": [asdict(one) for one in figures],
        "timelines": [asdict(one) for one in context.timelines],
        "curves": [asdict(one) for one in context.curves],
    }


def read(results: dict[str, Any]) -> tuple[dict[str, Any], list[Figure], list[Timeline], list[Curve]]:
    """Return what ``write`` was given."""
    figures = [Figure(**{**one, "goal": Goal(**one["goal"]) if one["goal"] else None}) for one in results["figures"]]
    return (
        results["facts"],
        figures,
        [Timeline(**one) for one in results["timelines"]],
        [Curve(**one) for one in results["curves"]],
    )
