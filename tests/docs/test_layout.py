"""Where things are: tests share code through tests/support, and each helper is defined once."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.support.paths import ROOT

TESTS = ROOT / "tests"
PATHS = TESTS / "support" / "paths.py"


def modules(*directories: str) -> Iterator[tuple[Path, ast.Module]]:
    for directory in directories:
        for file in sorted((ROOT / directory).rglob("*.py")):
            yield file.relative_to(ROOT), ast.parse(file.read_text(encoding="utf-8"))


def imported(tree: ast.Module) -> Iterator[str]:
    """The dotted name of each module, and of each name, that a file imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module or ''}.{alias.name}" for alias in node.names)


def test_no_test_imports_from_a_test() -> None:
    found = [
        f"{file}: {name}"
        for file, tree in modules("tests")
        for name in imported(tree)
        if any(part.startswith("test_") or part == "conftest" for part in name.split("."))
    ]
    assert found == []


def test_only_tests_import_from_tests() -> None:
    found = [
        f"{file}: {name}"
        for file, tree in modules("benchmarks", "rehearsal", "scripts")
        for name in imported(tree)
        if name.split(".")[0] == "tests"
    ]
    assert found == []


def test_root_of_the_repository_is_defined_once() -> None:
    climbs = re.compile(r"__file__.*\.(parents\[|parent\.parent)")
    found = [file for file in TESTS.rglob("*.py") if climbs.search(file.read_text(encoding="utf-8"))]
    assert found == [PATHS]


def test_names_of_test_files_are_unique() -> None:
    """tests/conftest.py orders files by their names."""
    names = [file.name for file in TESTS.rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))
