"""Which exercise is in progress, for as long as the rehearsal runs, and which are solved, for good."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rehearsal.settings import settings

#: Which exercises the learner has solved.
SOLVED = settings.cache / "practice.json"


@dataclass
class Session:
    """The exercise in progress.

    ``base`` is the branch's newest commit before it broke, ``before`` the facts of then and ``objects`` the cluster's objects
    that they are made of; ``broken`` names the facts that it changed.
    """

    exercise: str
    base: str
    before: dict[str, Any]
    objects: list[dict[str, Any]]
    broken: list[str] = field(default_factory=list)
    hints: int = 0

    def save(self) -> None:
        """Keep it in the rehearsal's directory."""
        _file().write_text(json.dumps(asdict(self), default=str), encoding="utf-8")

    def end(self) -> None:
        """Have no exercise in progress."""
        _file().unlink()


def current() -> Session | None:
    """Return the exercise in progress, if there is one."""
    if not _file().exists():
        return None
    return Session(**json.loads(_file().read_text(encoding="utf-8")))


def solved() -> dict[str, dict[str, Any]]:
    """Return when each exercise was solved, and with how many hints."""
    return dict(json.loads(SOLVED.read_text(encoding="utf-8"))) if SOLVED.exists() else {}


def note_solved(session: Session) -> None:
    """Keep that the exercise in progress is solved."""
    entry = {"on": dt.datetime.now().astimezone().date().isoformat(), "hints": session.hints}
    text = json.dumps(solved() | {session.exercise: entry}, indent=1)
    SOLVED.write_text(text + "\n", encoding="utf-8")


def _file() -> Path:
    return settings.run / "practice.json"
