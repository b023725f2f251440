"""Fixtures for the tests of the rehearsal."""

from __future__ import annotations

import pytest

from rehearsal.progress import Progress
from rehearsal.tutorial import Tutorial
from tests.support.fixtures import Rehearsal


@pytest.fixture(scope="module")
def tutorial(stack: Rehearsal, tmp_path_factory: pytest.TempPathFactory) -> Tutorial:
    """Return the tutorial of the kept rehearsal, whose last commit is released."""
    found = Tutorial(Progress(tmp_path_factory.mktemp("steps")), stack.env, stack.checkout)
    found.release()
    return found
