"""Fixtures for the tests of the template."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.function import Function


@pytest.fixture
def function(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Function:
    return Function(monkeypatch, tmp_path)
