"""The texts that a person reads avoid the words of tests/docs/style.toml, and the check reads texts but no code."""

from __future__ import annotations

import pytest

from tests.support.paths import ROOT
from tests.support.prose import files, findings


@pytest.mark.parametrize("name", files())
def test_file_avoids_words_of_the_style(name: str) -> None:
    found = list(findings(name, (ROOT / name).read_text(encoding="utf-8")))
    assert not found, "\n" + "\n".join(found)


def test_files_include_every_kind_of_text() -> None:
    assert {"README.md", "app.py", "scripts/test.sh", ".ci/run", "Dockerfile", "buildspec.yml"} <= set(files())


@pytest.mark.parametrize(
    ("name", "text", "lines"),
    [
        ("a.md", "One\n\nnobody and\nNobody\n", [3, 4]),
        ("a.md", "It does so by\nitself.\n", [1]),
        ("a.md", "`nobody` and [a user](nobody.md)\n\n```\nnobody\n```\n", []),
        ("a.md", "| one | nobody |\n|---|---|\n| `nobody` | nobody |\n", [1, 3]),
        ("a.py", 'nobody = 1\n"""One.\n\nNobody is ``nobody``."""\n', [4]),
        ("a.py", "x = 1  # nobody\n# It does so by\n# itself\n", [1, 2]),
        ("a.py", 'x = f"no: {nobody}, {nobody()}"\ny = f"no: {x} nobody"\nz = "nobody"\n', [2]),
        ("a.py", "def test_nobody_knows(): ...\ndef nobody_knows(): ...\n", [1]),
        ("a.sh", 'nobody=1\necho "$nobody ${nobody}"  # nobody\n', [2]),
        ("a.yml", "# One\nkey: nobody\n", [2]),
    ],
)
def test_reads_texts_and_no_code(name: str, text: str, lines: list[int]) -> None:
    found = [line.split('"')[0] for line in findings(name, text)]
    assert found == [f"{name}:{line}: " for line in lines]


@pytest.mark.parametrize(
    ("text", "use"),
    [
        ("a fault to mend", "fix"),
        ("as it should be", "correct, up to date"),
        ("it stands there", "is"),
        ("it stands for AWS, a stand-in", None),
        ("a screen reader, a stand-in", None),
        ("the reader", "learner"),
        ("goes on to the next", None),
        ("the other way round", "vice versa, reversed"),
        ("it was told", "say, report, distinguish"),
    ],
)
def test_rules_find_words_and_not_their_neighbours(text: str, use: str | None) -> None:
    assert [line.partition(": use ")[2] for line in findings("a.md", text)] == ([use] if use else [])
