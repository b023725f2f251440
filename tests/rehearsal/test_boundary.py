"""The emulator's boundary: one module knows MiniStack's names, and imports between the rehearsal's packages point down."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from rehearsal.emulator import ministack
from tests.support.paths import ROOT

BOUNDARY = "rehearsal/emulator/ministack.py"
FOLDERS = ("benchmarks", "rehearsal", "scripts", "tests")

#: A module of MiniStack, as an import or in a string; its paths and variables; its distribution's name in a string.
MINISTACK_NAME = re.compile(
    r"^\s*(?:from|import)\s+ministack\b|\bministack\.(?:app|core|services)\b|_ministack\b|\bMINISTACK_|version\([\"']ministack[\"']",
    re.MULTILINE,
)

#: The rehearsal's packages and modules from the bottom up: each may import those above it in this list, and no others.
LAYERS = (
    ("settings",),
    ("doors", "secret", "waiting"),
    ("executions", "load", "progress", "sandbox", "emulator", "github"),
    ("console", "docker", "fronts", "kubernetes", "tutorial"),
    ("caches", "check", "codebuild", "learner"),
    ("codepipeline",),
    ("aws",),
    ("once", "readiness", "replay", "without_cluster"),
    ("rehearse",),
    ("practice",),
    ("actions",),
    ("__main__",),
)


def test_one_module_names_parts_of_ministack() -> None:
    code = [file for folder in FOLDERS for file in (ROOT / folder).rglob("*") if file.suffix in (".py", ".sh")]
    naming = [file for file in code if MINISTACK_NAME.search(file.read_text()) and file != Path(__file__)]
    assert naming == [ROOT / BOUNDARY]


@pytest.mark.parametrize(
    "line",
    [
        "from ministack.core import iam_evaluator",
        "    import ministack.app",
        'import_module("ministack.services.iam")._roles',
        'httpx.get(f"{url}/_ministack/health")',
        'env["MINISTACK_REGION"]',
        'metadata.version("ministack")',
    ],
)
def test_search_finds_a_name_of_ministack(line: str) -> None:
    assert MINISTACK_NAME.search(line)


def test_refuses_another_version_of_ministack(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda _: "1.5.34")
    with pytest.raises(
        SystemExit, match=r"ministack 1\.5\.34 is installed, but the rehearsal extends exactly 1\.5\.33"
    ):
        ministack.check_version()


def test_layers_name_every_package() -> None:
    found = {path.stem for path in (ROOT / "rehearsal").iterdir() if path.suffix == ".py" or any(path.glob("*.py"))}
    assert found - {"__init__"} == {name for layer in LAYERS for name in layer}


@pytest.mark.parametrize("level", range(len(LAYERS)))
def test_imports_point_down(level: int) -> None:
    below = {name for layer in LAYERS[:level] for name in layer}
    for name in LAYERS[level]:
        package = ROOT / "rehearsal" / name
        files = package.rglob("*.py") if package.is_dir() else [package.with_suffix(".py")]
        found = {
            each.split(".")[1] for file in files for each in imports(file.read_text()) if each.startswith("rehearsal.")
        }
        assert found - {name} <= below, name


def imports(source: str) -> set[str]:
    """Return the modules that a file imports; for ``from rehearsal import x``, that is ``rehearsal.x``."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found
