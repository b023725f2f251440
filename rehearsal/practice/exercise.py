"""Reads the exercises: one TOML file each, so that a new one is one new file.

Fields: ``title``; ``level``, 1 to 3; ``story``, what a colleague says; ``hints``, each a step further; ``break`` and
``solution``, commands for bash in the learner's checkout and environment; ``explanation``; ``causes``, how many faults there
are; ``row``, words of the row of docs/troubleshooting.md, and ``symptom``, a command that shows them if a tool prints them;
``wrong``, three repairs that do not solve it.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DIRECTORY = Path(__file__).with_name("exercises")
#: What the commands of an exercise can call, such as ``colleague_pushes``.
FUNCTIONS = Path(__file__).with_name("functions.sh")


@dataclass(frozen=True)
class Exercise:
    """An exercise; ``name`` is that of its file."""

    name: str
    title: str
    level: int
    story: str
    hints: tuple[str, ...]
    breaks: str
    solution: str
    explanation: str
    row: str
    wrong: tuple[str, ...]
    causes: int = 1
    symptom: str = ""


def every() -> list[Exercise]:
    """Return all exercises, the easy ones first."""
    return sorted(map(read, DIRECTORY.glob("*.toml")), key=lambda each: (each.level, each.name))


def read(path: Path) -> Exercise:
    """Read the file of an exercise.

    Raises:
        TypeError: a field is missing, or is none of an exercise.
    """
    fields: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    fields["breaks"] = fields.pop("break", "")
    texts = {name: value.strip() for name, value in fields.items() if isinstance(value, str)}
    texts |= {name: " ".join(texts[name].split("\n")) for name in ("story", "explanation")}
    lists = {name: tuple(each.strip() for each in value) for name, value in fields.items() if isinstance(value, list)}
    return Exercise(name=path.stem, **{**fields, **texts, **lists})
