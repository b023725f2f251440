"""kill -9 of every script that changes something, before and after each external command, followed by a rerun.

The points are found by tracing an undisturbed run (tests/support/tracing.py). After the kill, the account, the cluster
and the kubeconfig are listed without the scripts. From every state that a kill can leave, a rerun must end in the same
state as the undisturbed run; a third run must change nothing, counted in front of AWS and in the cluster. A state that
was seen before is not tried again, nor is the initial one, which is the undisturbed run.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.account import Aws
from tests.support.fixtures import Figure
from tests.support.names import ROLE
from tests.support.tracing import Run, moments
from tests.support.worlds import PARTS, World, world

pytestmark = pytest.mark.services


MORE = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]})
#: Each script, its arguments, and the parts that exist when it starts.
SCRIPTS = {
    "create-cluster.sh": ((), ()),
    "create-role.sh": ((), ("cluster",)),
    "authorize-role.sh": ((), ("cluster", "role")),
    "create-stack.sh": ((), ("cluster", "role")),
    "teardown.sh": (("--yes",), PARTS),
}


@pytest.fixture(scope="module", name="desk")
def _desk(aws: Aws, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """An account and a cluster that the tests of this file fill and empty."""
    with world(aws, tmp_path_factory.mktemp("desk")) as found:
        yield found


class Sweep:
    """One script, killed at many points."""

    def __init__(self, desk: World, script: str) -> None:
        self.desk, self.script = desk, script
        self.arguments, self.given = SCRIPTS[script]
        self.reset()
        self.start = desk.state()
        self.points = list(moments(self.run().points))
        self.goal = self.left = desk.state()
        self.states = [self.start]
        self.tried = self.killed = 0
        self.changes: list[str] = []

    def reset(self) -> None:
        """Restore the state in which the script starts."""
        self.desk.empty()
        self.desk.fill(*self.given)

    def run(self, **environment: str) -> Run:
        """Run the script undisturbed."""
        done = self.desk.run(self.script, *self.arguments, **environment)
        assert done.code == 0, done.output
        return done

    def kill(self, moment: str) -> None:
        """Kill it at one point; if that left a new state, check that a rerun converges."""
        if self.left != self.start:
            self.reset()
        self.tried += 1
        done = self.desk.run(self.script, *self.arguments, kill=moment)
        self.left = self.desk.state()
        if not done.killed:  # it made fewer calls, because its waits were shorter
            assert (done.code, self.left) == (0, self.goal), f"{moment}\n{done.output}"
            return
        self.killed += 1
        if self.left not in self.states:
            self.states.append(self.left)
            self.converges(moment)

    def converges(self, moment: str) -> None:
        """Rerun it, and run it a third time."""
        self.run()
        self.left = self.desk.state()
        assert self.left == self.goal, moment
        self.changes_nothing()

    def changes_nothing(self) -> None:
        """Run it when everything is done, without the token, which would cause an update."""
        self.desk.endpoint.changes()
        writes = self.desk.writes()
        self.run(GITHUB_TOKEN="")
        self.changes += self.desk.endpoint.changes()
        assert self.changes == []
        assert self.desk.writes() == writes
        assert self.desk.state() == self.goal

    def figure(self) -> str:
        """Return the figure."""
        return f"{self.script} ~{self.killed} of ~{self.tried}"


def test_converges_after_kill_at_each_aws_call(desk: World, figure: Figure) -> None:
    sweep = Sweep(desk, "create-role.sh")
    sweep.changes_nothing()
    after = [moment for moment in sweep.points if moment.startswith("after") and ":aws:" in moment]
    for moment in after:
        sweep.kill(moment)
    figure(
        "kill -9 after each AWS call, then rerun: same end state, no duplicates",
        f"{sweep.killed} of {len(after)} points, {len(sweep.states)} different states, "
        f"{len(sweep.changes)} changing calls in the third run",
    )
    assert len(after) >= 5
    assert sweep.killed == len(after)
    assert len(sweep.states) == 3  # nothing, a role without its policy, everything


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("script", SCRIPTS)
def test_converges_after_kill_at_every_command(script: str, desk: World, figure: Figure) -> None:
    sweep = Sweep(desk, script)
    sweep.changes_nothing()
    for moment in sweep.points:
        sweep.kill(moment)
    assert sweep.killed >= len(sweep.points) * 0.9
    assert len(sweep.states) >= 2
    figure("kill -9 before and after every external command, then rerun: same end state, no duplicates", sweep.figure())


@pytest.mark.slow
def test_converges_after_kill_while_eksctl_creates_the_cluster(desk: World) -> None:
    sweep = Sweep(desk, "create-cluster.sh")
    sweep.reset()
    assert desk.run("create-cluster.sh", INTERRUPT="create").killed  # CloudFormation continues
    sweep.converges("within eksctl")


@pytest.mark.slow
def test_converges_after_kill_while_eksctl_deletes_the_cluster(desk: World) -> None:
    sweep = Sweep(desk, "teardown.sh")
    sweep.reset()
    assert desk.run("teardown.sh", "--yes", INTERRUPT="delete").killed
    sweep.converges("within eksctl")


@pytest.mark.slow
def test_same_token_again_makes_one_call_that_changes_nothing(desk: World, figure: Figure) -> None:
    sweep = Sweep(desk, "create-stack.sh")
    desk.endpoint.changes()
    said = sweep.run().output
    calls = desk.endpoint.changes()
    updates = "==> The stack is up to date" not in said.splitlines()
    figure(
        "create-stack.sh run a third time, with the token, changes nothing", f"{len(calls)} call, {updates:d} updates"
    )
    assert calls == ["UpdateStack"]  # the stack hides its token, so only AWS can compare it
    assert not updates
    assert desk.state() == sweep.goal


@pytest.mark.slow
def test_listings_show_differences(desk: World) -> None:
    """The listings that the tests above compare do show differences."""
    desk.empty()
    desk.fill("cluster", "role")
    before: dict[str, Any] = desk.state()
    desk.aws.root("iam").put_role_policy(RoleName=ROLE, PolicyName="more", PolicyDocument=MORE)
    assert desk.state() != before
    desk.endpoint.changes()
    assert desk.run("authorize-role.sh").code == 0
    assert desk.writes() > 0
    desk.empty()
    assert desk.run("create-role.sh").code == 0
    assert desk.endpoint.changes() == ["CreateRole", "PutRolePolicy"]
