"""The promises of tests/README.md: each has a figure that a test recorded, and that can take another value."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from tests.support import figures
from tests.support.paths import ROOT

Call = tuple[str, str, ast.expr]


def calls() -> Iterator[Call]:
    """Yield the place, the promise and the figure of each call of ``figure``."""
    for file in sorted(figures.TESTS.rglob("test_*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "figure":
                assert isinstance(node.args[0], ast.Constant), f"{file.name}:{node.lineno}: not a literal"
                yield f"{file.relative_to(ROOT)}:{node.lineno}", str(node.args[0].value), node.args[1]


def cannot_differ(figure: ast.expr) -> bool:
    """Whether a figure has a number that is a literal, other than one case, or the same value on both sides of "of"."""
    parts = figure.values if isinstance(figure, ast.JoinedStr) else [figure]
    text = "".join(
        str(part.value) if isinstance(part, ast.Constant) else "{" + ast.unparse(part).strip("f'\"{}") + "}"
        for part in parts
    )
    literal = "".join(str(part.value) for part in parts if isinstance(part, ast.Constant))
    same = re.search(r"\{(.+)\} of ~?\{\1\}", text)
    return bool(same or re.search(r"\d", re.sub(r" of 1\b", "", literal))) or (len(parts) == 1 and literal != "")


def test_promises_are_those_that_tests_record() -> None:
    promises = {promise for _, promise, _ in calls()}
    assert set(figures.recorded()) == promises
    assert promises <= set(figures.promised())


def test_page_shows_what_was_recorded() -> None:
    page = figures.PAGE.read_text(encoding="utf-8")
    assert page == figures.rendered(page, figures.recorded())


def test_page_quotes_the_record() -> None:
    (first_run,) = figures.recorded()["the documented container rehearses the whole tutorial"].values()
    minutes = figures.numbers(first_run)[0] / 60
    page = (ROOT / "docs" / "environments.md").read_text(encoding="utf-8")
    assert f"{minutes:.0f} minutes while the machine was busy" in page


@pytest.mark.parametrize("call", list(calls()), ids=lambda call: call[0])
def test_figure_can_differ(call: Call) -> None:
    assert not cannot_differ(call[2])


@pytest.mark.parametrize(
    "figure",
    ["'2 of 2 kept'", "'yes'", "f'{len(x)} of {len(x)}'", "f'0 of {len(x)}'", "f'{good} of 3'", "f'{good} of 10'"],
)
def test_figure_that_cannot_differ_is_found(figure: str) -> None:
    assert cannot_differ(ast.parse(figure, mode="eval").body)


@pytest.mark.parametrize(
    "figure",
    ["f'{good} of {len(x)} kept'", "f'{good:d} of 1'", "f'{good:d} of 1 cases'", "load", "f'~{took:.0f} s, {load}'"],
)
def test_figure_that_can_differ(figure: str) -> None:
    assert not cannot_differ(ast.parse(figure, mode="eval").body)


@pytest.mark.parametrize(
    ("figure", "record", "agree"),
    [
        ("200 of 200 kept, after ~90 rejections", "200 of 200 kept, after ~356 rejections", True),
        ("3 of 200 kept, after ~356 rejections", "200 of 200 kept, after ~356 rejections", False),
        ("200 of 200 kept, after ~9000 rejections", "200 of 200 kept, after ~356 rejections", False),
        ("after ~4 s", "after ~1 s", True),
        ("after 4 s", "after 1 s", False),
        ("1,000 of 1,000", "1000 of 1000", True),
        ("5 of 5 scripts", "5 of 5", False),
    ],
)
def test_run_agrees_with_the_record(figure: str, record: str, agree: bool) -> None:
    assert figures.agrees(figure, record) is agree
    found = list(figures.contradictions({"a promise": {"a test": figure}}, {"a promise": {"a test": record}}))
    assert (found == []) is agree


def test_figure_without_a_record_is_a_contradiction() -> None:
    assert list(figures.contradictions({"a promise": {"a test": "1 of 1"}}, {"a promise": {}})) == [
        "a promise: '1 of 1', but recorded is None (a test)"
    ]


def test_page_has_the_sum_or_the_range() -> None:
    record = {"p": {"a": "~11 s, 0 of ~1000 lost", "b": "~21 s, 2 of ~20 lost", "c": "x 2.38.5"}}
    assert figures.rendered("| p | how | old |\n| q | how | old |\n", record) == (
        "| p | how | ~11 to 21 s, 2 of ~1,020 lost, x 2.38.5 |\n| q | how | old |\n"
    )


def test_taken_are_the_runs_figures_and_those_of_other_tests() -> None:
    record = {
        "p": {"kept[1]": "1 of 1", "gone": "1 of 1", "changed": "1 of 1"},
        "q": {"gone": "1 of 1"},
        "s": {"": "9"},
    }
    assert figures.taken(record, {"p": {"changed": "2 of 2"}, "r": {"kept[2]": "3"}}, {"kept", "changed"}) == {
        "p": {"changed": "2 of 2", "kept[1]": "1 of 1"},
        "r": {"kept[2]": "3"},
        "s": {"": "9"},
    }
