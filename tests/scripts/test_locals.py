"""Functions keep their variables to themselves: what no other code reads is local."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from tests.support.shell_syntax import Node, literal, nodes, source, tree

SCRIPTS = [ROOT / "settings.sh", *sorted((ROOT / "scripts").rglob("*.sh"))]
#: A counter, which lasts from one call to the next.
COUNTER = "start_check: checks"


def assigned(function: Node) -> Iterator[str]:
    """Yield the names that a function gives a value for itself, not for a command that it starts."""
    for node in nodes(function):
        words = node.get("Args") or []
        if node.get("Type") == "CallExpr" and not words:
            yield from (each["Name"]["Value"] for each in node.get("Assigns") or [])
        elif node.get("Type") == "CallExpr" and literal(words[0]) in ("read", "mapfile"):
            yield from (literal(each) for each in words[1:] if re.fullmatch(r"\w+", literal(each)))
        elif "Loop" in node and "Name" in node["Loop"]:
            yield node["Loop"]["Name"]["Value"]


def declared(function: Node) -> Iterator[str]:
    """Yield the names that a function declares."""
    for node in nodes(function):
        if node.get("Type") == "DeclClause":
            yield from (each["Name"]["Value"] for each in node["Args"] if "Name" in each)


@functools.cache
def free(text: str) -> dict[str, set[str]]:
    """Return the variables that each function of a script takes from outside, and those of what is in no function."""
    found: dict[str, set[str]] = {}
    rest = text
    for function in (node for node in nodes(tree(text)) if node.get("Type") == "FuncDecl"):
        body = source(text, function, function)
        rest = rest.replace(body, "")
        found[body] = names(body) - {*declared(function)}
    return found | {"": names(rest)}


def names(text: str) -> set[str]:
    """Return the names of the variables that a text reads or assigns."""
    return {name for pair in re.findall(r"\$\{?[#!]?([a-z]\w*)|\b([a-z]\w*)\+?=", text) for name in pair if name}


def leaks(text: str, others: list[str]) -> list[str]:
    """Return what functions of a script assign without declaring it, though no other code shares it."""
    functions = [free(each) for each in {text, *others}]
    return [
        f"{function['Name']['Value']}: {name}"
        for function in nodes(tree(text))
        if function.get("Type") == "FuncDecl"
        for name in sorted({*assigned(function)} - {*declared(function)})
        if name.islower()  # others are settings, or for other programs
        and not any(
            name in shared
            for each in functions
            for body, shared in each.items()
            if body != source(text, function, function)
        )
    ]


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_variable_that_only_a_function_reads_is_local(path: Path) -> None:
    is_library = path.parent.name == "lib"
    others = [each.read_text(encoding="utf-8") for each in SCRIPTS if is_library or each.parent.name == "lib"]
    assert [each for each in leaks(path.read_text(encoding="utf-8"), others) if each != COUNTER] == []


def test_variable_that_is_not_local_is_found() -> None:
    text = "f() {\n  one=1\n  local two=2\n  for three in x; do read -r four; done\n  five=5 true\n}\n"
    assert leaks(text, []) == ["f: four", "f: one", "f: three"]
    assert leaks(text, ["g() {\n  local one\n  one=1\n}\n"]) == ["f: four", "f: one", "f: three"]
    assert leaks(text, ["echo $one ${three} $four\n"]) == []
