"""A checkout whose path contains spaces, quotes, a newline and shell code, with the real AWS CLI."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.account import OPEN, Aws, run
from tests.support.desk import Desk, copy_of_checkout
from tests.support.hostile import AWKWARD, pwned

pytestmark = pytest.mark.services


def test_role_and_stack_from_an_awkward_checkout(desk: Desk, aws: Aws, tmp_path: Path) -> None:
    desk.checkout = copy_of_checkout(tmp_path / AWKWARD)
    run(desk, aws, "create-role.sh")
    assert aws.trust() == OPEN
    assert "==> The stack is CREATE_COMPLETE" in run(desk, aws, "create-stack.sh").splitlines()
    assert "Condition" in aws.trust()[0]
    assert pwned(tmp_path) == []
