"""The stand-in for a tool: it records each word as it was given, and answers by the latest rule that matches."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support.desk import Desk
from tests.support.hostile import AWKWARD

WORDS = [
    "--query",
    "a[?b=='c'].d",
    "",
    "two words",
    'say "x" \\n',
    "first\nsecond",
    "tab\there",
    "\x1b[1m",
    "é\u202e",
    AWKWARD,
    "$(x)&1",
]


def called(desk: Desk, *words: str) -> subprocess.CompletedProcess[str]:
    desk.write_rules()
    return subprocess.run(
        [desk.home / "bin" / "aws", *words],
        env={"FAKES": str(desk.home), "LC_ALL": "C"},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


def test_records_each_word_as_it_was_given(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "desk")
    assert called(desk, *WORDS).returncode == 0
    called(desk)
    assert desk.calls() == [["aws", *WORDS], ["aws"]]
    assert not [*tmp_path.rglob("pwned")]


def test_answers_by_the_latest_rule_that_matches(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "desk")
    desk.answer("aws", "get-x", stdout="before\n")
    desk.answer("aws", "^get-x .*last$", stdout="it's\n$(x)\n", stderr="why\n", code=3)
    desk.answer("kubectl", "", stdout="another tool")
    done = called(desk, "get-x", "--lines", "one\ntwo", "last")
    assert (done.stdout, done.stderr, done.returncode) == ("it's\n$(x)\n", "why\n", 3)
    assert called(desk, "get-x").stdout == "before\n"
    assert called(desk, "get-y").stdout == ""


def test_becomes_a_real_program(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "desk")
    desk.answer("aws", "", real="/bin/echo")
    assert called(desk, "a  b", "c").stdout == "a  b c\n"


@pytest.mark.parametrize("pattern", [r"a\d", "a(?!b)", r"[\s\S]*", "a.*?b"])
def test_pattern_that_only_python_knows_is_refused(pattern: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        Desk(tmp_path / "desk").answer("aws", pattern)


def test_malformed_pattern_is_no_mismatch(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "desk")
    desk.answer("aws", "a(b")
    done = called(desk, "c")
    assert (done.returncode, done.stderr) == (99, "not an extended regular expression: a(b\n")
