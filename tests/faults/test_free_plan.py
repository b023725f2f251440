"""create-cluster.sh in an account on AWS's free plan, which starts only some instance types."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.account import Aws
from tests.support.worlds import world

pytestmark = pytest.mark.services


def test_type_that_the_plan_refuses_is_replaced_on_the_next_run(aws: Aws, tmp_path: Path) -> None:
    plan = aws.records.parent / "eks-rehearsal" / "run" / "account-plan"
    plan.parent.mkdir(parents=True, exist_ok=True)
    plan.write_text("FREE\n")
    with world(aws, tmp_path) as learner:
        refused = learner.run("create-cluster.sh", timeout=200)
        assert refused.code == 1
        assert "The specified instance type is not eligible for Free Tier" in refused.output
        assert learner.cluster().get("nodes", []) == []
        done = learner.run("create-cluster.sh", NODE_TYPE="t3.small", timeout=200)
        assert done.code == 0, done.output
        assert learner.cluster()["nodes"] == ["node-1", "node-2"]
