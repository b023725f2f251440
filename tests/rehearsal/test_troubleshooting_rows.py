"""The symptoms of docs/troubleshooting.md that need the cluster: planted, seen, and cured by the row's own remedy."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from rehearsal.github import model
from rehearsal.practice import exercise, facts, practice
from rehearsal.practice.restore import restore
from rehearsal.practice.session import Session
from rehearsal.secret import root_keys
from rehearsal.settings import settings
from rehearsal.tutorial import Tutorial
from scripts.lib.certify.shell import Shell
from tests.support.fixtures import Figure
from tests.support.learners_shell import FUNCTIONS
from tests.support.paths import ROOT
from tests.support.symptoms import TABLES, Case, cases

pytestmark = [pytest.mark.rehearsal, pytest.mark.slow, pytest.mark.timeout(900)]
#: What the console does for the owner of a connection.
COMPLETE = "from rehearsal.codepipeline import connections; connections.complete(sys.argv[1])"


@pytest.fixture
def shell(tutorial: Tutorial) -> Iterator[Shell]:
    """The learner's terminal where everything works; afterwards everything works again."""
    before, objects = facts.collect()
    start = Session("", practice.head(), before, objects)
    variables = {
        "RUN": str(settings.run),
        "ROOT_KEYS": " ".join(root_keys(settings.run)),
        "TOKENS": str(model.tokens_file()),
        "COMPLETE": f"cd {ROOT} && {sys.executable} -c 'import sys; {COMPLETE}'",
    }
    with Shell(tutorial.checkout, {**tutorial.env, **variables}) as found:
        found.run(f". {exercise.FUNCTIONS}; . {FUNCTIONS}; source settings.sh", 10)
        yield found
    restore(start, tutorial)
    assert practice.symptoms() == []


@pytest.mark.parametrize("case", [case for case in cases(TABLES[1]) if not case.test], ids=str)
def test_symptom(case: Case, shell: Shell, figure: Figure) -> None:
    problem = case.problem(shell, 300)
    figure("a symptom is provoked by its cause and cured by its row's remedy", f"{not problem:d} of 1 cases")
    assert problem == ""
