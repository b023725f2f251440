"""kill -9 of every script that changes something, before and after each external command; then it is run again.

The points are found by tracing an undisturbed run (tests/support/tracing.py). After the kill the account, the cluster and the
kubeconfig are listed past the scripts. From every state that a kill can leave, the script is run again and must end where
the undisturbed run ended; a third run must change nothing, counted before AWS's endpoint and in the cluster. A state that
was seen before needs no second proof, nor does one that left everything as it was: that is the undisturbed run.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.stack.test_stack import ROLE, Aws, aws
from tests.support.tracing import Run, moments
from tests.support.worlds import PARTS, World, world

__all__ = ["aws"]
pytestmark = pytest.mark.services

Figure = Callable[[str, object], None]

MORE = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]})
#: Each script, its arguments, and the parts that are there when it begins.
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
        self.begin_anew()
        self.start = desk.state()
        self.points = list(moments(self.run().points))
        self.goal = self.left = desk.state()
        self.states = [self.start]
        self.tried = self.killed = 0

    def begin_anew(self) -> None:
        """Put everything back to where the script begins."""
        self.desk.empty()
        self.desk.fill(*self.given)

    def run(self, **environment: str) -> Run:
        """Run the script undisturbed."""
        done = self.desk.run(self.script, *self.arguments, **environment)
        assert done.code == 0, done.output
        return done

    def kill(self, moment: str) -> None:
        """Kill it at one point; where that left a new state, see it end as it should."""
        if self.left != self.start:
            self.begin_anew()
        self.tried += 1
        done = self.desk.run(self.script, *self.arguments, kill=moment)
        self.left = self.desk.state()
        if not done.killed:  # it had fewer questions to ask, as its waits were shorter
            assert (done.code, self.left) == (0, self.goal), f"{moment}\n{done.output}"
            return
        self.killed += 1
        if self.left not in self.states:
            self.states.append(self.left)
            self.converges(moment)

    def converges(self, moment: str) -> None:
        """Run it again, and a third time."""
        self.run()
        self.left = self.desk.state()
        assert self.left == self.goal, moment
        self.changes_nothing()

    def changes_nothing(self) -> None:
        """Run it where everything is done; the token is not given again, so that nothing new is asked for."""
        self.desk.endpoint.changes()
        writes = self.desk.writes()
        self.run(GITHUB_TOKEN="")
        assert self.desk.endpoint.changes() == []
        assert self.desk.writes() == writes
        assert self.desk.state() == self.goal

    def told(self) -> str:
        """The figure."""
        return (
            f"{self.script}: killed at {self.killed} of {self.tried} points, which left {len(self.states)} different states; "
            f"each ended as undisturbed, third run 0 changing calls"
        )


def test_killed_after_each_call_of_aws(desk: World, figure: Figure) -> None:
    sweep = Sweep(desk, "create-role.sh")
    sweep.changes_nothing()
    after = [moment for moment in sweep.points if moment.startswith("after") and ":aws:" in moment]
    for moment in after:
        sweep.kill(moment)
    assert len(after) >= 6
    assert sweep.killed == len(after)
    assert len(sweep.states) == 3  # nothing, a role without its policy, all
    figure("kill -9 after each AWS call, then run again: the same end, nothing doubled", sweep.told())


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("script", SCRIPTS)
def test_killed_at_every_command(script: str, desk: World, figure: Figure) -> None:
    sweep = Sweep(desk, script)
    sweep.changes_nothing()
    for moment in sweep.points:
        sweep.kill(moment)
    assert sweep.killed >= len(sweep.points) * 0.9
    assert len(sweep.states) >= 2
    figure(
        "kill -9 before and after every external command, then run again: the same end, nothing doubled", sweep.told()
    )


@pytest.mark.slow
def test_killed_while_eksctl_makes_the_cluster(desk: World) -> None:
    sweep = Sweep(desk, "create-cluster.sh")
    sweep.begin_anew()
    assert desk.run("create-cluster.sh", INTERRUPT="up").killed
    desk.activate()  # EKS goes on by itself
    sweep.converges("within eksctl")


@pytest.mark.slow
def test_killed_while_eksctl_deletes_the_cluster(desk: World) -> None:
    sweep = Sweep(desk, "teardown.sh")
    sweep.begin_anew()
    assert desk.run("teardown.sh", "--yes", INTERRUPT="down").killed
    sweep.converges("within eksctl")


@pytest.mark.slow
def test_the_token_given_again_makes_one_call_that_changes_nothing(desk: World, figure: Figure) -> None:
    sweep = Sweep(desk, "create-stack.sh")
    desk.endpoint.changes()
    said = sweep.run().output
    calls = desk.endpoint.changes()
    assert calls == ["UpdateStack"]  # the stack does not show its token, so only AWS can tell that it is the same one
    assert "==> The stack is up to date" in said.splitlines()
    assert desk.state() == sweep.goal
    figure(
        "create-stack.sh a third time, the token given again", f"{len(calls)} call, which AWS answers with: no updates"
    )


@pytest.mark.slow
def test_a_state_that_differs_is_seen(desk: World) -> None:
    """The listings by which the tests above judge are not blind."""
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
