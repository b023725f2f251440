"""The types of the fixtures of tests/conftest.py."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.support.process_list import ProcessList

#: Records a value under a promise of tests/README.md.
Figure = Callable[[str, object], None]


@dataclass(frozen=True)
class Rehearsal:
    """A kept rehearsal as its learner finds it: a shell environment and a checkout."""

    env: dict[str, str]
    checkout: Path

    def run(self, *args: str, timeout: float = 120, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command as the learner."""
        return subprocess.run(
            args, env=self.env, cwd=self.checkout, capture_output=True, text=True, timeout=timeout, check=check
        )


@dataclass(frozen=True)
class WholeRehearsal:
    """The output of a whole rehearsal, the processes seen during it, what it left on this machine, and its replay."""

    done: subprocess.CompletedProcess[str]
    processes: ProcessList
    left: list[str]
    replay: Path
