"""Records what IAM was asked and what it answered in RUN/decisions.jsonl, each distinct question once.

Tests compare policies with the log: a permission that no recorded question needed is not needed.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path

from rehearsal.emulator.extensions import Extensions, Json, Question
from rehearsal.settings import settings

_writing = threading.Lock()
_known: set[str] = set()


def path() -> Path:
    """Return the log's file."""
    return settings.run / "decisions.jsonl"


def keep(question: Question, allowed: bool) -> None:
    """Write one question and its answer to the log."""
    line = json.dumps(
        {
            "principal": re.sub(r":sts:(.*):assumed-role/([^/]+)/.*", r":iam:\1:role/\2", question.principal),
            "action": question.action,
            "resource": question.resource,
            "context": {name: value for name, value in question.context.items() if value},
            "allowed": allowed,
        },
        default=str,
    )
    with _writing:
        if line not in _known:
            _known.add(line)
            with path().open("a", encoding="utf-8") as file:
                file.write(line + "\n")


def read(file: Path) -> Iterator[Json]:
    """Yield each question of a log: principal (a role, not its session), action, resource, context and allowed."""
    return (json.loads(line) for line in file.read_text(encoding="utf-8").splitlines())


def register(extensions: Extensions) -> None:
    """Record every decision from now on."""
    path().parent.mkdir(parents=True, exist_ok=True)
    extensions.on_decision(keep)
