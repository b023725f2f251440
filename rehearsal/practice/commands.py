"""``scripts/rehearse.sh practice``: begins an exercise, in a rehearsal that it starts if none is kept, or helps with one."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

from rich.console import Console

from rehearsal import learner, rehearse
from rehearsal.practice import practice
from rehearsal.progress import Progress, StepFailed
from rehearsal.sandbox import lifecycle
from rehearsal.settings import settings
from rehearsal.tutorial import Tutorial


def run(what: str | None) -> int:
    """Run what the command line names: ``list``, ``hint``, ``check``, ``solution``, ``reset`` or an exercise.

    Returns 1 if a check finds that the exercise is not solved.

    Raises:
        NotNow, NotPossible: that does not fit what is in progress.
        StepFailed: an exercise could not begin, or not be reset.
    """
    console = Console(highlight=False)
    if what == "list":
        practice.listed(console)
    elif what == "hint":
        practice.hint(console)
    elif what == "solution":
        practice.solution(console)
    elif what == "check":
        return 0 if practice.check(console) else 1
    elif what == "reset":
        _bounded(lambda: practice.reset(console, _tutorial(console)))
    else:
        exercise = practice.chosen(what)
        if not lifecycle.is_running() and rehearse.run(keep=rehearse.walk_to_first_release, verbose=False) != 0:
            return 1
        _bounded(lambda: practice.begin(console, _tutorial(console), exercise))
    return 0


def _bounded(work: Callable[[], None]) -> None:
    """Run ``work`` while no other command changes the rehearsal."""
    with lifecycle.exclusive():
        try:
            work()
        except subprocess.CalledProcessError as error:
            output = str(error.stdout or error.stderr or "").splitlines()
            raise StepFailed(f"{output[-1] if output else error}", output[-20:]) from error


def _tutorial(console: Console) -> Tutorial:
    steps = Progress(settings.cache / "logs" / "steps", console=console)
    return Tutorial(steps, learner.recall(), learner.checkout_path())
