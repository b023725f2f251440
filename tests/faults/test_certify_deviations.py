"""certify.sh names what is not as the README says, and leaves nothing: with the real scripts and the real AWS CLI.

AWS is on loopback; eksctl and kubectl are stand-ins. Each deviation is planted in a tool or in what the page promises.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from rehearsal.waiting import until
from tests.support.account import Aws
from tests.support.certify import Learner, make_repository, page
from tests.support.fixtures import Figure
from tests.support.names import ACCOUNT, CLUSTER, ROLE, STACK
from tests.support.worlds import World, world

pytestmark = [pytest.mark.services, pytest.mark.slow, pytest.mark.timeout(1800)]

STEPS = {
    3: ("3. Check", "5", "source settings.sh\naws sts get-caller-identity --query Account --output text", ACCOUNT),
    4: ("4. Create the cluster", "5", "scripts/create-cluster.sh", "…"),
    5: ("5. Create the role", "5",
        'scripts/create-role.sh\naws iam get-role --role-name "$KUBECTL_ROLE_NAME" --query Role.Arn --output text',
        f"…\narn:aws:iam::{ACCOUNT}:role/{ROLE}"),
    6: ("6. Authorise the role", "5", "scripts/authorize-role.sh", "…"),
    8: ("8. Create the stack", "5", "scripts/create-stack.sh", "…\n==> The stack is CREATE_COMPLETE\n…"),
    13: ("13. Delete everything", "5", "scripts/teardown.sh --yes\naws eks list-clusters --query clusters",
         "…\n==> Nothing is left\n[]"),
}  # fmt: skip


@pytest.fixture(scope="module", name="desk")
def _desk(aws: Aws, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(aws, tmp_path_factory.mktemp("desk")) as found:
        docker = found.tracer.home / "tools" / "docker"
        docker.write_text("#!/bin/sh\n")
        docker.chmod(0o755)
        make_repository(found.tracer.checkout, page(*STEPS.values()))
        yield found


@dataclass
class Desk:
    """A learner with an empty account."""

    world: World
    learner: Learner
    nothing: dict[str, Any]

    def left(self) -> list[object]:
        """Return what a run has left anywhere."""
        state = self.world.state()
        return [*self.learner.left(), *([state] if state != self.nothing else [])]

    def shown(self) -> str:
        """Return the differences that the report names."""
        return "\n".join(self.learner.report()["differences"])

    def write(self, readme: str) -> None:
        """Replace the page, in a commit."""
        (self.learner.checkout / "README.md").write_text(readme)
        commit = ["git", "commit", "--quiet", "--all", "--allow-empty", "--message", "Change the page"]
        subprocess.run(commit, cwd=self.learner.checkout, check=True, timeout=60)


def desks(world: World, home: Path) -> Iterator[Desk]:
    """Yield a desk, and clean up after what was done at it."""
    world.empty()
    learner = Learner(world.tracer.checkout, world.tracer.environment, home)
    try:
        yield Desk(world, learner, world.state())
    finally:
        learner.end()
        shutil.rmtree(learner.planted, ignore_errors=True)
        shutil.rmtree(learner.home, ignore_errors=True)
        subprocess.run(["git", "worktree", "prune"], cwd=learner.checkout, check=True, timeout=60)


@pytest.fixture(name="at")
def _at(desk: World, tmp_path: Path) -> Iterator[Desk]:
    yield from desks(desk, tmp_path / "planted")


def error(code: str, operation: str, text: str) -> str:
    """Return commands that fail as the AWS CLI does."""
    return f'echo "An error occurred ({code}) when calling the {operation} operation: {text}" >&2; exit 254'


@dataclass(frozen=True)
class Deviation:
    """What is not as the page says, in which steps, and the words of the report that name it."""

    name: str
    steps: tuple[int, ...]
    named: tuple[str, ...]
    faults: tuple[tuple[str, str, str], ...] = ()
    swap: tuple[str, str] = ("", "")
    environment: dict[str, str] = field(default_factory=dict)

    def plant(self, desk: Desk) -> None:
        """Write the page, and plant the faults in the tools."""
        desk.write(page(*(STEPS[number] for number in self.steps)).replace(*self.swap))
        for program, pattern, commands in self.faults:
            desk.learner.plant(program, pattern, commands)


ROLE_FAILS = ("step 5. Create the role, line ", "ended with status ")
CLUSTER_FAILS = ("step 4. Create the cluster, line ", "ended with status 1")
DENIED = error("AccessDenied", "CreateRole", f"User: arn:aws:iam::{ACCOUNT}:user/learner is not authorized")
QUOTA = "You have requested more vCPU capacity than your current vCPU limit of 1 allows"
DEVIATIONS = [
    Deviation("a missing right", (3, 5, 13), (*ROLE_FAILS, "aws iam create-role: AccessDenied"),
              (("aws", "*' iam create-role '*", DENIED),)),
    Deviation("another output", (3, 13), ("step 13. Delete everything, line ", "expected '==> Everything is gone', got the end"),
              swap=("==> Nothing is left", "==> Everything is gone")),
    Deviation("a slow stack", (3, 5, 8, 13), ("step 8. Create the stack: took ", " minutes, not 0.1"),
              (("aws", "*' cloudformation create-stack '*", "sleep 8"),), ("8. [Create the stack](#x): 5", "8. [Create the stack](#x): 0.1")),
    Deviation("a quota", (3, 4, 13), CLUSTER_FAILS, (("eksctl", "*' create '*", error("VcpuLimitExceeded", "RunInstances", QUOTA)),)),
    Deviation("an instance type that the account may not launch", (3, 4, 13), CLUSTER_FAILS,
              (("eksctl", "*' create '*", error("InvalidParameterCombination", "RunInstances", "not eligible for Free Tier")),)),
    Deviation("another region", (3, 4, 13), CLUSTER_FAILS, environment={"AWS_REGION": "eu-west-1"}),
    Deviation("a stack that rolls back", (3, 5, 8, 13), ("step 8. Create the stack, line ", "ended with status 1"),
              (("aws", "*' cloudformation create-stack '*", 'touch "$HOME/rolls-back"'),
               ("aws", "*' describe-stacks '*StackStatus*", '[ ! -e "$HOME/rolls-back" ] || { rm "$HOME/rolls-back"; echo ROLLBACK_COMPLETE; exit; }'))),
    Deviation("a call that is throttled to the end", (3, 5, 13), (*ROLE_FAILS, "aws iam put-role-policy: Throttling"),
              (("aws", "*' iam put-role-policy '*", error("Throttling", "PutRolePolicy", "Rate exceeded")),)),
    Deviation("an endpoint that does not answer", (3, 4, 13), (*CLUSTER_FAILS, "aws eks describe-cluster: exit code 255"),
              (("aws", "*' eks describe-cluster '*", '[ -e "$HOME/asked" ] || { touch "$HOME/asked"; echo Could not connect >&2; exit 255; }'),)),
]  # fmt: skip
#: Words that the last lines of the failing step have, too, where the difference alone does not say the cause.
CAUSES = {
    "a quota": "VcpuLimitExceeded",
    "an instance type that the account may not launch": "eligible for Free Tier",
    "another region": "eu-west-1",
    "a stack that rolls back": "ROLLBACK_COMPLETE",
}


def test_each_deviation_is_named_and_nothing_is_left(
    desk: World, tmp_path: Path, figure: Figure, subtests: pytest.Subtests
) -> None:
    found = 0
    for number, deviation in enumerate(DEVIATIONS):
        with subtests.test(deviation.name):
            for at in desks(desk, tmp_path / str(number)):
                deviation.plant(at)
                done = at.learner.run("--yes", timeout=600, **deviation.environment)
                assert done.returncode == 1, done.stdout
                assert [words for words in deviation.named if words not in at.shown()] == [], at.shown() + done.stdout
                last = "\n".join(at.learner.report()["steps"][-1].get("last_lines", []))
                assert CAUSES.get(deviation.name, "") in last, last
                assert at.left() == []
                found += 1
    figure("certify.sh names each deviation from the README, and leaves nothing", f"{found} of {len(DEVIATIONS)}")
    assert found == len(DEVIATIONS)


def test_clean_run_names_nothing_and_leaves_nothing(at: Desk) -> None:
    at.write(page(*STEPS.values()))
    done = at.learner.run("--yes", timeout=600)
    report = at.learner.report()
    assert done.returncode == 0, done.stdout + at.shown()
    assert report["differences"] == []
    made = {(call["service"], call["operation"]) for step in report["steps"] for call in step["calls"]}
    assert {("cloudformation", "create-stack"), ("iam", "create-role"), ("eks", "list-clusters")} <= made
    assert at.left() == []


def test_a_leftover_is_named_and_deleted_by_a_second_teardown(at: Desk) -> None:
    """Something of the tutorial's name, which no part of the tutorial deletes, appears during the run."""
    logs = at.world.aws.root("logs")
    at.write(page(STEPS[3], STEPS[5], STEPS[13]))
    group = f"/aws/lambda/{STACK}-Function"
    at.learner.plant("aws", "*' iam create-role '*", f"PATH=$REAL aws logs create-log-group --log-group-name {group}")
    done = at.learner.run("--yes", timeout=600, REAL=at.learner.env["PATH"])
    assert done.returncode == 1
    assert "left after the teardown: log group: " in at.shown()
    assert "run scripts/certify.sh --teardown" in done.stdout.splitlines()[-1]
    logs.delete_log_group(logGroupName=group)
    at.learner.run("--teardown", timeout=600)
    assert at.learner.report()["teardown"]["left"] == []
    assert at.left() == []


def test_a_command_that_hangs_ends_with_the_time(at: Desk) -> None:
    at.write(page(STEPS[3], STEPS[5], STEPS[13]))
    at.learner.plant("aws", "*' iam create-role '*", "sleep 900")
    done = at.learner.run("--yes", timeout=600, CERTIFY_MINUTES="1")
    assert done.returncode == 1
    assert "step 5. Create the role, line " in at.shown()
    assert "did not end: the time is over; aws iam create-role: did not end" in at.shown()
    assert at.left() == []


def test_credentials_that_expire_are_named_and_a_later_teardown_finishes(at: Desk) -> None:
    at.write(page(STEPS[3], STEPS[5], STEPS[13]))
    expired = error("ExpiredToken", "GetRole", "The security token included in the request is expired")
    at.learner.plant("aws", "*' iam create-role '*", 'touch "$HOME/expired"')
    at.learner.plant("aws", "*", f'if [ -e "$HOME/expired" ] && [[ $* != *create-role* ]]; then {expired}; fi')
    done = at.learner.run("--yes", timeout=600)
    assert done.returncode == 1
    assert "ExpiredToken" in at.shown()
    assert "left after the teardown: AWS does not accept your credentials" in at.shown()
    assert at.left() != []
    (at.learner.planted / "aws").unlink()
    at.learner.run("--teardown", timeout=600)
    assert at.learner.report()["teardown"]["left"] == []
    assert at.left() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_run_that_ends_while_the_stack_is_created_leaves_nothing(number: signal.Signals, at: Desk) -> None:
    """Ctrl-C tears down at once; after a kill, --teardown does."""
    at.write(page(STEPS[3], STEPS[5], STEPS[8], STEPS[13]))
    begun = at.learner.planted / "begun"
    at.learner.plant("aws", "*' describe-stacks '*StackStatus*", f'[ ! -e "{begun}" ] || sleep 1')
    at.learner.plant("aws", "*' cloudformation create-stack '*", f'touch "{begun}"')
    output = at.learner.interrupt(at.learner.start("--yes"), number, begun.exists)
    if number == signal.SIGKILL:
        until(lambda: at.world.aws.settle(STACK) != "", 60, "the stack")
        output = at.learner.run("--teardown", timeout=600).stdout
        assert "step 8. Create the stack, line " in at.shown()
        assert "the run was killed" in at.shown()
    else:
        assert "stopped by SIGINT" in at.shown(), output
    assert at.learner.report()["teardown"]["left"] == [], output
    assert at.left() == []


def test_a_cluster_that_was_there_before_is_not_deleted(at: Desk) -> None:
    at.world.fill("cluster")
    before = at.world.state()
    done = at.learner.run("--yes")
    assert done.returncode == 1
    assert f"    cluster: {CLUSTER}" in done.stdout.splitlines()
    assert at.world.state() == before
