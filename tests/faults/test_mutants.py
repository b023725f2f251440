"""Mutants: small faults that operators make of every line, most of which a test has to notice.

``python -m tests.faults.mutants.run`` tries all of them.
"""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from tests.faults.mutants.operators import OPERATORS, Mutant, is_fit, mutants
from tests.faults.mutants.run import Result, check, every_mutant, first, noticed_by, score, survivors, tried
from tests.faults.planted.run import Copy, Unfit
from tests.support.figures import functions
from tests.support.fixtures import Figure
from tests.support.paths import ROOT

#: Scripts without mutants: they start tests, or a rehearsal on this machine.
LEFT_OUT = {"scripts/test.sh", "scripts/rehearse.sh"}
SAMPLE, SEED = 30, 8
#: So many of the sample may survive without being listed: less than 5 %.
NEW = 1


def texts(file: str, text: str, operator: str) -> list[str]:
    return [mutated for mutant, mutated in mutants(file, text) if mutant.operator == operator]


@pytest.mark.parametrize(
    ("file", "text", "operator", "expected"),
    [
        (
            "a.sh",
            "one --two \\\n  three\nfour five\n",
            "delete",
            ["four five\n", "one --two\nfour five\n", "one --two \\\n  three\n"],
        ),
        ("a.yml", "a:\n  b: c\nd: e\n", "delete", ["d: e\n", "a:\nd: e\n", "a:\n  b: c\n"]),
        ("a.sh", 'if [[ -n $a && "$b" == c ]]; then\n', "negate", ['if ! [[ -n $a && "$b" == c ]]; then\n']),
        ("a.yml", "seconds: 10\n", "more", ["seconds: 21\n"]),
        ("a.yml", "seconds: 10\n", "less", ["seconds: 2\n"]),
        ("a.sh", "echo $1 >&2\nexit 1\n", "more", ["echo $1 >&2\nexit 3\n"]),
        ("a.sh", "f || return 1\n", "more", []),
        ("a.sh", "f || return 1\n", "less", ["f || return 0\n"]),
        ("a.sh", "f && return 0\n", "more", ["f && return 1\n"]),
        ("a.sh", 'say "All is well"\n', "string", ['say "All is wellx"\n']),
        ("a.sh", 'aws iam x --role-name "$a" --output text\n', "flag", ['aws iam x "$a" --output text\n']),
        ("Dockerfile", "COPY app.py /app/src\n", "path", ["COPY app.py /app/srcx\n"]),
        ("a.yml", "Resource: arn:aws:s3:::a\n", "resource", ["Resource: *\n"]),
        ("a.yml", "Role: !GetAtt A.Arn\n", "resource", ["Role: !GetAtt AWS::StackName\n"]),
        ("a.sh", "one a\ntwo b\n", "swap", ["two b\none a\n"]),
        ("buildspec.yml", "- a: 1\n  b: 2\n- c\n", "swap", ["- c\n- a: 1\n  b: 2\n"]),
        ("a.yml", "a: 1\nb: 2\n", "swap", []),
        ("a.sh", "# a comment\nfi\n", "delete", []),
        ("a.sh", "a # until it is 1\n", "negate", []),
        ("a.yml", "Description: >-\n  One and\n  two.\na: b\n", "delete", ["Description: >-\n  One and\n  two.\n"]),
    ],
)
def test_operator(file: str, text: str, operator: str, expected: list[str]) -> None:
    assert texts(file, text, operator) == expected


def test_every_operator_makes_mutants() -> None:
    assert {mutant.operator for mutant, _ in every_mutant()} == {*OPERATORS, "delete", "swap"}


def test_every_mutant_has_a_key_of_its_own() -> None:
    assert [key for key, count in Counter(str(mutant) for mutant, _ in every_mutant()).items() if count > 1] == []


@pytest.mark.parametrize(
    ("file", "text", "mutated", "fit"),
    [
        ("a.yml", "a: 'b'\n", "a: b\n", False),
        ("a.yml", "a: b\n", "a: [\n", False),
        ("a.yml", "a: b\n", "a: !Ref b\n", True),
        ("a.json", '{"a": 1}', '{"a": 1 }', False),
        ("a.sh", "if a; then\nfi\n", "fi\n", False),
        ("a.sh", "a\n", "b\n", True),
    ],
)
def test_mutant_parses_and_says_something_else(file: str, text: str, mutated: str, fit: bool) -> None:
    assert is_fit(file, text, mutated) is fit


def test_every_file_has_mutants_and_tests_that_exist() -> None:
    root = ("ci-cd-codepipeline.cfn.yml", "buildspec.yml", "deployment.yml", "deployer-rbac.yml", "trust.json",
            "iam-role-policy.json", "aws-auth-patch.yml", "Dockerfile", "settings.sh")  # fmt: skip
    scripts = {str(file.relative_to(ROOT)) for file in (ROOT / "scripts").rglob("*.sh")}
    assert set(noticed_by()) == {*root, *scripts - LEFT_OUT}
    named = {word for steps in noticed_by().values() for step in steps for word in step if ".py" in word}
    assert [test for test in named if not (ROOT / test).is_file() and test.partition("[")[0] not in functions()] == []


def test_every_listed_survivor_is_a_mutant() -> None:
    """A survivor whose line has changed is removed from the list, or tried again."""
    present = {mutant for mutant, _ in every_mutant()}
    assert [str(each.mutant) for each in survivors() if each.mutant not in present] == []


def test_every_listed_survivor_has_a_reason() -> None:
    assert [str(each.mutant) for each in survivors() if len(each.reason.split()) < 4] == []


def test_score_is_of_each_file_and_together() -> None:
    results = [Result("a: x", "a", True, 1), Result("a: y", "a", False, 2), Result("b: z", "b", False, 3)]
    assert list(score(results)) == [
        "a: 1 of 2 noticed, 50.0% survived, 0 equivalent, 3 s",
        "b: 1 of 1 noticed, 0.0% survived, 0 equivalent, 3 s",
        "together: 2 of 3 noticed, 33.3% survived, 0 equivalent, 6 s",
    ]


def test_tests_that_noticed_most_mutants_of_a_file_come_first() -> None:
    noticed = [("a", "rare"), ("a", "often"), ("a", "often"), ("b", "other"), ("a", "")]
    assert first([Result("", file, not test, 1, test) for file, test in noticed], "a") == ["often", "rare"]


#: pytest's report of a failed test, of a file that cannot be loaded, and of one that ran out of time.
FAILED = '<testcase classname="tests.stack.test_a" name="test_b[c d]"><failure message="assert 1 == 2"/></testcase>'
BROKEN = '<testcase classname="" name="tests.stack.test_a"><error message="collection failure"/></testcase>'
LATE = FAILED.replace("assert 1 == 2", "Failed: Timeout (&gt;300.0s) from pytest-timeout.")


class Reports(Copy):
    """A copy whose runs of tests end with these reports, one after the other; the last one has no more failures."""

    def __init__(self, *reports: str) -> None:
        self.reports, self.ran = [*reports], list[str]()

    def run(self, arguments: list[str], _: float) -> int:
        option = next(each for each in arguments if each.startswith("--junitxml="))
        self.ran.append(arguments[0])
        Path(option.partition("=")[2]).write_text(
            f"<testsuite>{self.reports.pop(0) if self.reports else ''}</testsuite>"
        )
        return 1


def test_failed_test_is_named() -> None:
    assert Reports(FAILED).failed(["a"], 1) == "tests/stack/test_a.py::test_b[c d]"
    assert Reports(BROKEN).failed(["a"], 1) == "tests/stack/test_a.py"
    assert Reports('<testcase classname="tests.stack.test_a" name="test_b"/>').failed(["a"], 1) is None


def test_a_test_that_ran_out_of_time_runs_again() -> None:
    test = "tests/stack/test_a.py::test_b[c d]"
    assert Reports(LATE, LATE).failed(["a"], 1) == test
    assert (copy := Reports(LATE)).failed(["a"], 1) is None
    assert copy.ran == ["a", test]


def test_what_notices_a_mutant_has_to_pass_without_it() -> None:
    results = [Result("", "a", True, 1), Result("", "a", False, 1, "test")]
    check(Reports(), results)
    with pytest.raises(Unfit, match="fails without a mutant"):
        check(Reports(FAILED), results)


LEAVES = """
import pathlib, subprocess
def test_leaves_a_process():
    subprocess.Popen(["setsid", "sleep", "1000"])
def test_finds_none():
    found = [path.read_text() for path in pathlib.Path("/proc").glob("[0-9]*/comm")]
    assert "sleep\\n" not in found
"""


def test_what_a_mutant_leaves_running_is_ended(tmp_path: Path) -> None:
    """Once, a mutant of together.sh started twenty thousand processes."""
    with Copy(tmp_path) as copy:
        (copy.checkout / "tests" / "test_leaves.py").write_text(LEAVES)
        ran = [copy.run([f"tests/test_leaves.py::{name}"], 60) for name in ("test_leaves_a_process", "test_finds_none")]
    assert ran == [0, 0]


def sample() -> list[tuple[Mutant, str]]:
    drawn = random.Random(SEED).sample(list(every_mutant()), SAMPLE)  # noqa: S311 - not a secret
    return [(mutant, text) for mutant, text in drawn if is_fit(mutant.file, (ROOT / mutant.file).read_text(), text)]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_mutants_of_a_sample_are_noticed(tmp_path: Path, figure: Figure) -> None:
    """Not every survivor is known, so some of the sample may be new."""
    known = {str(each.mutant): each.equivalent for each in survivors()}
    results: list[Result] = []
    with Copy(tmp_path) as copy:
        for mutant, text in sample():
            results.append(tried(copy, mutant, text, results))
        check(copy, results)
    survived = [each.key for each in results if each.survived]
    equivalent = [key for key in survived if known.get(key)]
    figure(
        "mutants that do not mean the same are noticed (sample)",
        f"~{len(results) - len(survived)} of ~{len(results) - len(equivalent)}, and ~{len(equivalent)} mean the same",
    )
    assert len(new := [key for key in survived if key not in known]) <= NEW, new
