"""The report of a run: one JSON document, written after every step, with nothing private in it.

``differences`` lists in words all that was not as the README says; it is empty if the run proves the README. ``steps``
has an entry for each fence of commands, ``calls`` in it the calls of the AWS CLI. ``not_seen`` names what a run cannot see.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .calls import UNFINISHED, Call, counted
from .pages import Command
from .redact import Redaction

NOT_SEEN = [
    "the calls of eksctl, of CloudFormation and of builds: only their outcome is seen",
    "the steps before step 3, which need a person, and the chapters below docs",
    "the bill",
]
LAST_LINES = 15


class Report:
    """Collects what happened and keeps the file up to date."""

    def __init__(self, file: Path, redaction: Redaction, content: dict[str, Any]) -> None:
        self.file = file
        self._redaction = redaction
        self.content = content

    @classmethod
    def load(cls, file: Path, redaction: Redaction) -> Report:
        """Return the report of an earlier run, to be continued."""
        return cls(file, redaction, json.loads(file.read_text(encoding="utf-8")))

    @property
    def differences(self) -> list[str]:
        """All that was not as the README says."""
        found: list[str] = self.content["differences"]
        return found

    def begin(self, command: Command) -> None:
        """Record that a step begins."""
        where = {"section": command.section, "page": command.page, "line": command.line}
        self.content["steps"].append({**where, "problem": "did not end", "seconds": None, "calls": []})
        self.save()

    def end(self, seconds: float, problem: str, output: str, calls: list[Call]) -> str:
        """Record how the last step ended; return all that was not as the README says, empty if nothing."""
        step = self.content["steps"][-1]
        problem = _explained(problem, calls)
        step |= {"problem": problem, "seconds": round(seconds, 1), "calls": counted(calls)}
        if problem:
            step["last_lines"] = [line[:300] for line in output.splitlines()[-LAST_LINES:]]
            self.differ(problem, step)
        self.save()
        return problem

    def differ(self, what: str, step: dict[str, Any] | None = None) -> None:
        """Record a difference, and the step in which it was found."""
        self.differences.append(f"step {step['section']}, line {step['line']}: {what}" if step else what)

    def interrupted(self, calls: list[Call]) -> None:
        """Record that the run was killed, with the calls of the step in which it was."""
        self.differ("the run was killed", *self.content["steps"][-1:])
        if self.content["steps"] and self.content["steps"][-1]["seconds"] is None:
            self.content["steps"][-1]["calls"] = counted(calls)

    def teardown(self, seconds: float, left: list[str], calls: list[Call]) -> None:
        """Record how the teardown ended: what is left, in one line each."""
        self.content["teardown"] = {"seconds": round(seconds, 1), "left": left, "calls": counted(calls)}
        for each in left:
            self.differ(f"left after the teardown: {each}")
        self.content["result"] = "differs from the README" if self.differences else "as the README says"
        self.save()

    def save(self) -> None:
        """Write the file, so that a kill at any moment leaves a whole one."""
        new = self.file.with_suffix(".new")
        public = self._redaction.document(self.content)
        new.write_text(json.dumps(public, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        new.replace(self.file)


def _explained(problem: str, calls: list[Call]) -> str:
    """The problem with the calls that may explain it; a denied call is a problem of its own."""
    shown = {str(call): None for call in calls if call.is_denied}
    if problem:
        shown |= {str(call): None for call in [call for call in calls if call.error][-1:]}
        shown |= {str(call): None for call in calls if call.error == UNFINISHED}
    return "; ".join([*([problem] if problem else []), *shown])
