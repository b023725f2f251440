"""The calls of the AWS CLI that bin/aws recorded: service, operation, error code."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

BIN = Path(__file__).with_name("bin")
#: The code of a call that never ended.
UNFINISHED = "did not end"
#: Parts of the codes with which AWS denies a call for lack of rights.
DENIALS = ("AccessDenied", "Unauthorized", "NotAuthorized")


class Call(NamedTuple):
    """A service and an operation as on the command line, and an error code, empty if the call succeeded."""

    service: str
    operation: str
    error: str

    @property
    def is_denied(self) -> bool:
        """Whether the caller lacks the right to make this call."""
        return any(part in self.error for part in DENIALS)

    def __str__(self) -> str:
        return f"aws {self.service} {self.operation}: {self.error}"


@dataclass(frozen=True)
class Record:
    """The file of calls since the last reading."""

    file: Path

    def environment(self, path: str) -> dict[str, str]:
        """Return the variables that put bin/aws first on PATH."""
        program = shutil.which("aws", path=path) or "aws"
        return {"PATH": f"{BIN}:{path}", "CERTIFY_AWS": program, "CERTIFY_CALLS": str(self.file)}

    def new(self) -> list[Call]:
        """Return the calls in the order in which they began, and empty the file."""
        if not self.file.exists():
            return []
        lines = self.file.read_text(encoding="utf-8").splitlines()
        self.file.unlink()
        begun: dict[str, Call] = {}
        calls: list[Call] = []
        for what, number, first, second in (f"{line} ".split(" ", 3) for line in lines):
            if what == "begin":
                begun[number] = Call(first, second.strip(), UNFINISHED)
                calls.append(begun[number])
            elif number in begun:
                call = begun.pop(number)
                calls[calls.index(call)] = call._replace(error=_error(first, second.strip()))
        return calls


def _error(status: str, code: str) -> str:
    return code or ("" if status == "0" else f"exit code {status}")


def counted(calls: list[Call]) -> list[dict[str, str | int]]:
    """Return the different calls, each with how often it was made."""
    return [{**call._asdict(), "times": times} for call, times in Counter(calls).items()]
