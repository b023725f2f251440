"""Fixtures for the tests of the scripts."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.account import Aws
from tests.support.builds import Build, made_build
from tests.support.desk import Desk
from tests.support.names import ROLE, STACK
from tests.support.paths import FAKES


@pytest.fixture
def desk(aws: Aws, cli: Path, tmp_path: Path) -> Desk:
    """The scripts with the real AWS CLI, whose calls are recorded, an empty account, and a GitHub that agrees."""
    desk = Desk(tmp_path / "desk")
    desk.take_time()
    desk.answer("aws", "", real=str(cli))
    desk.answer("curl", "", real=str(FAKES / "github.sh"))
    if aws.settle(STACK) != "DELETE_COMPLETE":
        aws.root("cloudformation").delete_stack(StackName=STACK)
        aws.settle(STACK)
    if any(role["RoleName"] == ROLE for role in aws.root("iam").list_roles()["Roles"]):
        aws.remove_role(ROLE)
    return desk


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """A build's shell, with stand-ins for its tools."""
    return made_build(tmp_path)
