"""Every row of docs/troubleshooting.md is provoked and cured as it says, or marked as from AWS's documents.

The cases that need no cluster run here; tests/support/symptoms.py has their form.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.account import Aws
from tests.support.fixtures import Figure
from tests.support.learners_shell import Learner, learner
from tests.support.paths import ROOT
from tests.support.symptoms import FROM_DOCUMENTS, TABLES, Case, Row, cases, exercised, rows, seen

CASES = [case for table in TABLES for case in cases(table)]
HERE = cases(TABLES[0])


def unproven(row: Row) -> list[str]:
    """Return the words of a row that no case has, and that are not marked."""
    proven = {words for case in CASES if case.row == row for words in case.words}
    return [words for words, marked in row.words.items() if not (marked or words in proven or exercised(row))]


def test_every_row_is_proven_or_marked(figure: Figure) -> None:
    table = rows()
    provoked = [row for row in table if row.is_provoked]
    figure(
        "every symptom of docs/troubleshooting.md has a case, or is from AWS's documents",
        f"{len(provoked)} of {len(table)} rows, {len(table) - len(provoked)} from AWS's documents",
    )
    assert {row.see: unproven(row) for row in table if unproven(row)} == {}


def test_no_words_are_marked_that_a_case_proves() -> None:
    assert [words for case in CASES for words in case.words if case.row.words[words]] == []


@pytest.mark.parametrize("row", [row for row in rows() if row.is_provoked], ids=lambda row: row.see[:50])
def test_cases_apply_the_rows_own_commands(row: Row) -> None:
    own = [case for case in CASES if case.row == row and not case.test]
    applied = "\n".join(f"{case.remedy}\n{case.well}\n{case.see}" for case in own)
    assert not own or not row.commands or any(command in applied for command in row.commands), row.do


@pytest.mark.parametrize("case", [case for case in CASES if case.test], ids=str)
def test_older_test_sees_the_words(case: Case) -> None:
    file, _, name = case.test.partition("::")
    text = (ROOT / file).read_text(encoding="utf-8")
    assert f"def {name}(" in text
    assert seen(text, *case.wanted)


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.parent.name)
def test_shellcheck_finds_nothing_in_the_cases(table: Path) -> None:
    texts = ["\n".join([case.breaks, case.see, case.remedy, case.well]) for case in cases(table) if not case.test]
    text = "".join(f"case_{number}() {{\n{each}\n}}\ncase_{number}\n" for number, each in enumerate(texts))
    # As in a terminal: 2312 and 2164, a command that fails shows its error; 2154 and 1091, variables and functions from
    # elsewhere; 2016, code for another shell; 2155 and 2292, the page's own style.
    options = ["--shell=bash", "--exclude=SC1091,SC2016,SC2154,SC2155,SC2164,SC2292,SC2312"]
    command = [f"{sys.exec_prefix}/bin/shellcheck", *options, "-"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout == ""


def test_page_explains_its_mark() -> None:
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    assert len(re.findall(FROM_DOCUMENTS, page.partition("## ")[0])) == 1


@pytest.mark.parametrize(
    ("words", "output"),
    [("a … c", "a b c"), ("a …", "so: a\nb"), ("a b", "a\n  b"), ("x", "axb"), ("(y)", "(y)")],
)
def test_words_are_seen(words: str, output: str) -> None:
    assert seen(output, words)


@pytest.mark.parametrize(("words", "output"), [("a … c", "c b a"), ("a b", "ab"), (".", "x")])
def test_words_are_not_seen(words: str, output: str) -> None:
    assert not seen(output, words)


@pytest.fixture(scope="module")
def ann(aws: Aws, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Learner]:
    with learner(aws, tmp_path_factory.mktemp("learner")) as found:
        yield found


@pytest.mark.services
@pytest.mark.parametrize("case", [case for case in HERE if not case.test], ids=str)
def test_symptom(case: Case, ann: Learner, figure: Figure) -> None:
    with ann.shell(case.has) as shell:
        problem = case.problem(shell, 120)
    figure("a symptom is provoked by its cause and cured by its row's remedy", f"{not problem:d} of 1 cases")
    assert problem == ""
