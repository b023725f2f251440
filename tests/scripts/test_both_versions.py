"""The scripts do the same with both major versions of the AWS CLI: what they change, what is there after, what they print.

Every call goes to the AWS on loopback that the other tests use; eksctl, kubectl and GitHub are stand-ins.
"""

from __future__ import annotations

import platform
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.account import Aws
from tests.support.aws_version_2 import unpacked
from tests.support.fixtures import Figure
from tests.support.names import CLUSTER
from tests.support.worlds import World, world

pytestmark = [pytest.mark.services, pytest.mark.slow, pytest.mark.timeout(1800)]

#: The walk, each script twice, since a second run reads what the first has made. This AWS has no executions of pipelines,
#: so status.sh fails at its end.
WALK = ("create-cluster.sh", "create-role.sh", "authorize-role.sh", "create-stack.sh", "status.sh", "teardown.sh --yes")
#: What differs between two runs with the same version: times, ids, and where the files are.
VARIES = re.compile(
    r"\d{4}-\d\d-\d\d[T ][0-9:.]+\S*|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|(?<=-)[0-9A-Za-z]{12,14}\b|/\S+"
)


@dataclass(frozen=True)
class Seen:
    """A run of a script: its exit code, its changing calls, its output without what varies, and the state after it."""

    script: str
    code: int
    changes: list[str]
    output: list[str]
    state: object


def walked(world: World) -> list[Seen]:
    found = []
    for script in (each for each in WALK for _ in range(2)):
        world.endpoint.changes()
        run = world.tracer.run(*script.split(), timeout=600)
        lines = [VARIES.sub("*", line.removeprefix("aws: [ERROR]: ")).strip() for line in run.output.splitlines()]
        changes = [VARIES.sub("*", each) for each in world.endpoint.changes()]
        found.append(Seen(script, run.code, changes, lines, world.state()))
    return found


@pytest.mark.skipif((sys.platform, platform.machine()) != ("linux", "x86_64"), reason="the package is for x86-64 Linux")
def test_walk_is_the_same_with_both_versions(aws: Aws, tmp_path: Path, figure: Figure) -> None:
    with world(aws, tmp_path / "one") as first:
        by_version_1 = walked(first)
    with world(aws, tmp_path / "two") as second:
        link = tmp_path / "two" / "tools" / "aws"
        link.unlink()
        link.symlink_to(unpacked(tmp_path))
        by_version_2 = walked(second)
    assert [each.script for each in by_version_1 if each.code] == ["status.sh"] * 2
    assert any(CLUSTER in line for each in by_version_1 for line in each.output)
    for one, two in zip(by_version_1, by_version_2, strict=True):
        assert one == two
    figure("the scripts do the same with both major versions of the AWS CLI", f"{len(by_version_2)} runs")
