"""REHEARSAL_PATIENCE: one factor for all bounds of waiting in the rehearsal."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from dataclasses import replace

import pytest

from rehearsal import waiting
from rehearsal.settings import settings
from tests.support.paths import ROOT

#: Files whose bounds are not the machine's: builds, bounded by an hour, and what runs outside the rehearsal.
UNBOUND = {"build.py", "official.py", "toolchain.py", "base_image.py", "screenshot.py", "cfnresponse.py"}
#: The console page, which asks again at once.
RETRIED = "console"


def test_factor_multiplies_every_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "settings", replace(settings, patience=30))
    answers = iter([False] * 3 + [True])
    assert waiting.until(lambda: next(answers), 0.01, "the fourth answer", pause=0.02)
    with waiting.limit(0.01, lambda: None) as expired:
        assert not expired.wait(0.05)
        assert expired.wait(5)
    assert waiting.bound(2) == 60


def test_error_names_the_time_that_was_waited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "settings", replace(settings, patience=0.5))
    with pytest.raises(TimeoutError, match="waited 1 s for the moon"):
        waiting.until(lambda: False, 2, "the moon")


@pytest.mark.parametrize("value", ["x", "-1", "0", "nan", "inf", "1e9", "1001"])
def test_rejects_a_factor_that_is_none(value: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "rehearsal.settings"],
        cwd=ROOT, env=os.environ | {"REHEARSAL_PATIENCE": value}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"rehearse.sh: REHEARSAL_PATIENCE is not a number from 0.1 to 1000: '{value}'")


def test_every_bound_of_a_call_takes_the_factor() -> None:
    """A plain number as ``timeout`` would not."""
    plain = []
    for file in sorted((ROOT / "rehearsal").rglob("*.py")):
        if file.name in UNBOUND or RETRIED in file.parts:
            continue
        for call in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call):
                plain += [f"{file.relative_to(ROOT)}:{call.lineno}" for value in bounds(call) if not is_bound(value)]
    assert plain == []


def bounds(call: ast.Call) -> list[ast.expr]:
    """Return the values of a call's ``timeout``, except of calls of this repository's own functions."""
    own = isinstance(call.func, ast.Attribute) and ast.unparse(call.func) in ("progress.command", "step.run")
    return [] if own else [word.value for word in call.keywords if word.arg == "timeout"]


def is_bound(value: ast.expr) -> bool:
    """Whether a value is ``waiting.bound(...)``, has one in it, or is a parameter, which a caller has bound."""
    return "waiting.bound" in ast.unparse(value) or ast.unparse(value) == "timeout"
