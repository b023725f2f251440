"""Run the commands of README.md and its chapters as a learner would, and compare their output with what the pages show.

scripts/lib/certify/pages.py describes the order and the forms that the pages use.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from scripts.lib.certify.pages import Command, walk
from scripts.lib.certify.shell import Shell


@dataclass(frozen=True)
class Result:
    """What a command printed; ``problem`` is empty when it did what the page says."""

    command: Command
    output: str
    status: int
    seconds: float
    problem: str


def skipped(readme: Path) -> Counter[str]:
    """How many fences are not run, by the word that says why."""
    return Counter(command.word for command in walk(readme) if not command.is_run)


def run_readme(readme: Path, cwd: Path, env: Mapping[str, str], limit: float = 900) -> Iterator[Result]:
    """Run the commands in ``cwd`` with ``env``, each for at most ``limit`` seconds; stop after the first problem."""
    watched, alive = os.pipe()
    with os.fdopen(watched), os.fdopen(alive, "w"), Shell(cwd, env, inherited=[watched]) as shell:
        # A killed run of the tests takes its shell with it. disown, so that no command waits for this one.
        shell.run(f"(read -r -u {watched}; kill -KILL 0) >/dev/null 2>&1 & disown; exec {watched}<&-", limit)
        for command in filter(lambda each: each.is_run, walk(readme)):
            started = time.monotonic()
            output, status = shell.run(command.script, limit)
            problem = command.problem(output, status)
            yield Result(command, output, status, time.monotonic() - started, problem)
            if problem:
                return
