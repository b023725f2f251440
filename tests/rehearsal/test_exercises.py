"""Every exercise in a real rehearsal: broken, not solved by doing nothing or by three wrong repairs, solved by its solution."""

from __future__ import annotations

import contextlib
import io
import subprocess
from pathlib import Path

import pytest
from rich.console import Console

from rehearsal.practice import exercise, facts, practice, session
from rehearsal.tutorial import Tutorial
from tests.support.fixtures import Figure
from tests.support.symptoms import seen

pytestmark = [pytest.mark.rehearsal, pytest.mark.slow, pytest.mark.timeout(1800)]


class Desk:
    """What the learner of an exercise does and sees."""

    def __init__(self, tutorial: Tutorial, exercise: exercise.Exercise) -> None:
        self.tutorial, self.exercise = tutorial, exercise
        self.screen = io.StringIO()
        self.console = Console(file=self.screen, width=200)

    def begin(self) -> session.Session:
        if session.current():  # of a test that failed
            self.reset()
        practice.begin(self.console, self.tutorial, self.exercise)
        started = session.current()
        assert started
        return started

    def reset(self) -> None:
        practice.reset(self.console, self.tutorial)

    def sees(self, words: str) -> bool:
        return seen(practice.run(self.exercise.symptom, self.tutorial, self.tutorial.env), words)

    def repair(self, commands: str) -> None:
        # A wrong repair may fail at once.
        with contextlib.suppress(subprocess.CalledProcessError):
            practice.run(commands, self.tutorial, self.tutorial.env)


def files() -> str:
    """Return what stands for the files of the branch's newest commit."""
    command = ["git", "rev-parse", f"{practice.head()}^{{tree}}"]
    return subprocess.run(
        command, cwd=facts.repository(), capture_output=True, text=True, check=True, timeout=60
    ).stdout


@pytest.mark.parametrize("each", exercise.every(), ids=lambda each: each.name)
def test_exercise(
    each: exercise.Exercise, tutorial: Tutorial, figure: Figure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "SOLVED", tmp_path / "practice.json")  # the learner has not solved it
    desk = Desk(tutorial, each)
    started = desk.begin()
    try:
        assert practice.verdict(started), "not broken, or solved by doing nothing"
        assert not each.symptom or desk.sees(each.row)
        solved_by = []
        for commands in each.wrong:
            before, files_before = facts.collect()[0], files()
            desk.repair(commands)
            if not practice.verdict(started):
                solved_by.append(commands)
            if (before, files_before) != (facts.collect()[0], files()):
                desk.reset()
                started = desk.begin()
        desk.repair(each.solution)
        now = facts.collect()[0]
        left = {name: (started.before.get(name), now.get(name)) for name in facts.differences(started.before, now)}
        assert practice.verdict(started) == [], left
        solved = practice.check(desk.console)
        figure(
            "an exercise is solved by its solution, and by nothing else that its author names",
            f"{solved:d} of 1, and {len(solved_by)} of {len(each.wrong)} wrong repairs",
        )
        assert (solved, solved_by) == (True, [])
        assert "Solved" in desk.screen.getvalue()
    finally:
        if session.current():
            desk.reset()
