"""Keeps what IAM was asked and what it said: RUN/decisions.jsonl, each different question once.

A policy can be held against it afterwards: a right that no recorded question needed is not needed.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rehearsal.emulator.extensions import Extensions, Json
from rehearsal.settings import settings

_writing = threading.Lock()
_known: set[str] = set()


def path() -> Path:
    """Where the decisions are."""
    return settings.run / "decisions.jsonl"


def keep(context: Any, decision: str) -> None:
    """Write down one question, as IAM's evaluator gets it, and its answer."""
    line = json.dumps(
        {
            "principal": re.sub(r":sts:(.*):assumed-role/([^/]+)/.*", r":iam:\1:role/\2", context.principal_arn),
            "action": context.action,
            "resource": context.resource_arn,
            "context": {name: value for name, value in context.service_context.items() if value},
            "allowed": decision == "Allow",
        },
        default=str,
    )
    with _writing:
        if line not in _known:
            _known.add(line)
            with path().open("a", encoding="utf-8") as file:
                file.write(line + "\n")


def read(file: Path) -> Iterator[Json]:
    """Give each kept question: principal (a role, not its session), action, resource, context and allowed."""
    return (json.loads(line) for line in file.read_text(encoding="utf-8").splitlines())


def register(extensions: Extensions) -> None:
    """Tell MiniStack."""
    path().parent.mkdir(parents=True, exist_ok=True)
    extensions.on_decision(keep)
