"""tests/README.md and the tests name the same promises."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from tests.support.paths import ROOT

TESTS = ROOT / "tests"
ROW = re.compile(r"^\| ([^|]+?) \| ([^|]+?) \| ([^|]+?) \|$", re.MULTILINE)


def promised() -> dict[str, str]:
    """Return the table of tests/README.md: the figure of each promise."""
    table = (TESTS / "README.md").read_text(encoding="utf-8").partition("## Promises and figures")[2]
    rows = ROW.findall(table.partition("\n## ")[0])
    return {promise: figure for promise, _, figure in rows[1:]}


def recorded() -> Iterator[str]:
    """Yield the promises for which a test records a figure: the first argument of each call of ``figure``."""
    for file in TESTS.rglob("test_*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "figure":
                assert isinstance(node.args[0], ast.Constant), f"{file.name}:{node.lineno}: not a literal"
                yield str(node.args[0].value)


def test_promises_are_those_that_tests_record() -> None:
    assert set(promised()) == set(recorded())


def test_every_promise_has_a_figure() -> None:
    assert [promise for promise, figure in promised().items() if not re.search(r"\d|cannot|no ", figure)] == []
