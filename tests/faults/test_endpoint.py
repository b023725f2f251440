"""Every call of the scripts to AWS meets throttling, expired credentials, errors, lost responses, timeouts and HTML.

A transient fault must go unnoticed. A lasting one must end the script at once, with exit code 1 and a remedy, and the
next run must continue from there; only teardown.sh deletes the rest first. tests/support/faulty_proxy.py is between the real AWS CLI and AWS.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from tests.support.account import Aws, environment
from tests.support.desk import Desk
from tests.support.faulty_proxy import Call, FaultyProxy, passes_through
from tests.support.fixtures import Figure
from tests.support.names import ACCOUNT, CLUSTER, ROLE, ROLE_ARN, STACK
from tests.support.paths import FAKES
from tests.support.tracing import warm_aws

pytestmark = pytest.mark.services
NO_CONFIGMAP = 'Error from server (NotFound): configmaps "aws-auth" not found\n'

#: Faults after which the AWS CLI retries, and those that persist.
PASSING = ("throttled", "broken", "unavailable", "dropped", "slow")
LASTING = ("expired", "page", "xhtml", "throttled", "broken", "unavailable", "dropped", "lost")
#: What the script's errors must contain.
WORDS = {
    "throttled": "Rate exceeded",
    "expired": "expired",
    "broken": "internal error",
    "unavailable": "503|Service Unavailable|Service Temporarily Unavailable",
    "dropped": "Connection was closed",
    "lost": "Connection was closed|AlreadyExists|already exists|NoSuchEntity",
    "slow": "Read timeout",
    "page": "invalid XML|missing from the answer|Internal Server Error|Cluster not found|In function",
    "xhtml": "Result'|missing from the answer|Cluster not found|In function|is CREATE_COMPLETE",
}
REMEDY = re.compile(r"try again|run (it|this) again|run scripts/|above")
#: Messages that say that something does not exist, and what.
CLAIMS = {
    "There is no stack aws-": "stack",
    "stack       none": "stack",
    "Create the stack": "stack",
    "There is no role": "role",
    "role        none": "role",
    "Create the role": "role",
    "There is no cluster": "cluster",
    "cluster     none": "cluster",
    "Nothing is left": "anything",
}
#: Calls with an empty response, from which a page of well-formed XML cannot be distinguished.
EMPTY_ANSWERS = ("PutRolePolicy", "DeleteRolePolicy", "DeleteRole")
#: The occurrences of a call in one run that meet a fault; later ones are only polls of a wait.
OCCURRENCES = 4
#: Random parts of names and ids.
RANDOM = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|(?<=-)[0-9A-Za-z]{12,14}\b")
CHANGING = re.compile(r" (Create|Delete|Put|Update|Attach|Continue)[A-Z]| (POST|PUT|DELETE) ")

GETS_READY: dict[str, tuple[str, ...]] = {
    "create-role.sh": (),
    "create-stack.sh": ("role",),
    "status.sh": ("role", "cluster", "stack"),
    "leftovers.sh": (),
    "preflight.sh": (),
    "build/connect.sh": ("role", "cluster"),
    "teardown.sh": ("role", "cluster", "stack"),
}
#: Scripts for which not all kinds of fault are tried: this one handles the errors of its parallel queries in one place.
KINDS = {"leftovers.sh": ("expired", "page", "xhtml", "dropped")}
#: Calls of leftovers.sh, which teardown.sh runs at its end, and which is tried separately.
AT_THE_END = re.compile(r"ListStacks|ListRoles|^ecr |^logs |^s3 |^ec2 |/clusters$")
ARGUMENTS = {"teardown.sh": ("--yes",), "build/connect.sh": (CLUSTER, ROLE_ARN)}


@dataclass
class World:
    """AWS behind a faulty proxy, and the scripts in front of it."""

    aws: Aws
    proxy: FaultyProxy
    desk: Desk
    environment: dict[str, str]
    builder: dict[str, str]

    def there(self) -> set[str]:
        """Return which of stack, role and cluster exist."""
        found = set()
        if self.aws.settle(STACK) != "DELETE_COMPLETE":
            found.add("stack")
        if any(role["RoleName"] == ROLE for role in self.aws.root("iam").list_roles()["Roles"]):
            found.add("role")
        if self.aws.root("eks").list_clusters()["clusters"]:
            found.add("cluster")
        return found | ({"anything"} if found else set())

    def prepare(self, *wanted: str) -> None:
        """Create these, and delete everything else."""
        (self.desk.home / "kubeconfig").unlink(missing_ok=True)
        found = self.there()
        if "stack" in found - set(wanted):
            self.aws.delete(STACK)
        if "role" in found - set(wanted):
            iam = self.aws.root("iam")
            for name in iam.list_role_policies(RoleName=ROLE)["PolicyNames"]:
                iam.delete_role_policy(RoleName=ROLE, PolicyName=name)
            iam.delete_role(RoleName=ROLE)
        if "cluster" in found - set(wanted):
            self.aws.root("eks").delete_cluster(name=CLUSTER)
        for thing in wanted:
            if thing not in found:
                {"role": self.aws.make_role, "cluster": self._make_cluster, "stack": self._make_stack}[thing]()

    def _make_stack(self) -> None:
        self.aws.create(STACK, GitHubUser="learner")

    def _make_cluster(self) -> None:
        run = self.aws.records.parent / "eks-rehearsal" / "run"
        (run / "kubernetes").mkdir(parents=True, exist_ok=True)
        (run / "ca.pem").write_text("no certificate", encoding="utf-8")
        record = {"endpoint": "https://127.0.0.1:1", "certificate_authority": str(run / "ca.pem")}
        (run / "kubernetes" / "cluster.json").write_text(json.dumps(record), encoding="utf-8")
        iam = self.aws.root("iam")
        if all(role["RoleName"] != "control-plane" for role in iam.list_roles()["Roles"]):
            self.aws.make_role("control-plane")
        network = {"subnetIds": ["subnet-1", "subnet-2"]}
        self.aws.root("eks").create_cluster(
            name=CLUSTER, roleArn=f"arn:aws:iam::{ACCOUNT}:role/control-plane", resourcesVpcConfig=network
        )

    def run(self, script: str, plan: Callable[[Call], str], **environment: str) -> tuple[int, str, str, float]:
        """Run a script while the proxy follows a plan; return exit code, output, errors and seconds."""
        self.proxy.begin(plan)
        before, began = self.there(), time.monotonic()
        keys = self.builder if script in ("build/connect.sh", "preflight.sh") else {}
        given = self.environment | keys | environment
        done = self.desk.run(script, *ARGUMENTS.get(script, ()), timeout=200, **given)
        seconds = time.monotonic() - began
        for claim, thing in CLAIMS.items():
            if claim in done.stdout:
                assert thing not in before & self.there(), f"{script} says: {claim}\n{done.stderr}"
        return done.returncode, done.stdout, done.stderr, seconds


@pytest.fixture(scope="module")
def world(aws: Aws, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The scripts, a warm AWS CLI whose timeout is $PATIENCE, and a GitHub that accepts the token."""
    home = tmp_path_factory.mktemp("world")
    proxy = FaultyProxy(aws.url, canned={"codepipeline ListPipelineExecutions": '{"pipelineExecutionSummaries": []}'})
    with warm_aws(home / "warm") as warm, proxy.serving():
        desk = Desk(home / "desk")
        desk.take_time()
        _shim(
            desk,
            "aws",
            f'[ "$5" != --version ] || {{ echo aws-cli/2.31.0; exit; }}; exec {FAKES / "aws.py"} "$@" ${{PATIENCE:+--cli-read-timeout "$PATIENCE"}}',
        )
        away = f"AWS_ENDPOINT_URL={aws.url} {FAKES / 'aws.py'} eks delete-cluster --name {CLUSTER} >/dev/null"
        _shim(desk, "eksctl", f"case $1 in version) echo 0.231.0 ;; delete) {away} ;; esac")
        desk.answer("curl", "", real=str(FAKES / "github.sh"))
        desk.answer("kubectl", "version", stdout='{"clientVersion": {"gitVersion": "v1.36.3"}}')
        desk.answer("kubectl", "get configmap/aws-auth", stderr=NO_CONFIGMAP, code=1)
        iam = aws.root("iam")
        iam.create_user(UserName="builder")  # root cannot assume roles, and preflight.sh refuses it
        rights = {"Effect": "Allow", "Action": "*", "Resource": "*"}
        document = json.dumps({"Version": "2012-10-17", "Statement": [rights]})
        iam.put_user_policy(UserName="builder", PolicyName="assume", PolicyDocument=document)
        keys = iam.create_access_key(UserName="builder")["AccessKey"]
        yield World(
            aws, proxy, desk,
            environment(
                aws,
                AWS_ENDPOINT_URL=proxy.url,
                AWS_MAX_ATTEMPTS="2",
                WARM_AWS=warm["WARM_AWS"],
                KUBECONFIG=str(desk.home / "kubeconfig"),
            ),
            {"AWS_ACCESS_KEY_ID": keys["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": keys["SecretAccessKey"]},
        )  # fmt: skip


def _shim(desk: Desk, name: str, body: str) -> None:
    path = desk.home / "bin" / name
    path.unlink()
    path.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
    path.chmod(0o755)


def first_attempt(kind: str) -> Callable[[Call], str]:
    """A plan in which every call meets the fault once."""
    return lambda call: kind if call.attempt == 1 else ""


class NextCall:
    """A plan in which the first call that has not met the fault yet meets it, at every attempt."""

    def __init__(self, kind: str, spare: re.Pattern[str] | None = None) -> None:
        self.kind, self.spare = kind, spare
        self.had: set[tuple[str, int]] = set()
        self.begin()

    def begin(self) -> None:
        """Start another run."""
        self.faulty: Call | None = None
        self._numbers: dict[str, set[int]] = {}

    def __call__(self, call: Call) -> str:
        if self.faulty:
            return self.kind if call.number == self.faulty.number else ""
        seen = self._numbers.setdefault(call.name, set())
        seen.add(call.number)
        key = (call.name, len(seen))
        silent = self.kind == "xhtml" and call.name.endswith(EMPTY_ANSWERS)
        spared = self.spare is not None and self.spare.search(call.name)
        if key in self.had or len(seen) > OCCURRENCES or silent or spared:
            return ""
        self.had.add(key)
        self.faulty = call
        return self.kind


def passes(world: World, script: str, kinds: tuple[str, ...]) -> tuple[str, list[str]]:
    """Let every call of a script meet each fault once; return the figure, and the runs in which it was noticed."""
    world.prepare(*GETS_READY[script])
    code, clean, errors, _ = world.run(script, passes_through)
    assert code == 0, clean + errors
    after, faults, unnoticed, slowest = world.there(), 0, 0, 0.0
    noticed: list[str] = []
    for kind in kinds:
        world.prepare(*GETS_READY[script])
        code, output, errors, seconds = world.run(script, first_attempt(kind), PATIENCE="3" if kind == "slow" else "")
        same = (code, RANDOM.sub("…", output), world.there()) == (0, RANDOM.sub("…", clean), after)
        planted = sum(bool(call.fault) for call in world.proxy.calls)
        faults, unnoticed = faults + planted, unnoticed + planted * same
        noticed += [] if same else [f"{kind}: {output}{errors}"]
        slowest = max(slowest, seconds)
    return f"{unnoticed} of {faults} unnoticed, slowest run ~{slowest:.0f} s", noticed


def lasts(world: World, script: str, kinds: tuple[str, ...]) -> tuple[str, list[str]]:
    """Let each call of a script fail persistently in turn, each run continuing after the last.

    Return the figure, and what is wrong with the reports.
    """
    planted, slowest = 0, 0.0
    wrong: list[str] = []
    for kind in kinds:
        world.prepare(*GETS_READY[script])
        plan = NextCall(kind, AT_THE_END if script == "teardown.sh" else None)
        for _ in range(60):
            if script == "teardown.sh":  # one run deletes almost everything
                world.prepare(*GETS_READY[script])
            plan.begin()
            code, output, errors, seconds = world.run(script, plan, PATIENCE="3" if kind == "slow" else "")
            if not plan.faulty:
                break
            planted += 1
            slowest = max(slowest, seconds)
            try:
                assert_reported(world, script, plan, code, output, errors)
            except AssertionError as error:
                wrong.append(f"{plan.faulty}: {error}")
        assert code == 0, f"{kind}: {output}{errors}"
        assert seconds < 60
    return f"{planted - len(wrong)} of {planted} reported with a remedy, slowest run ~{slowest:.0f} s", wrong


def assert_reported(world: World, script: str, plan: NextCall, code: int, output: str, errors: str) -> None:
    """Check that the run ended at the faulty call, or deleted the cluster all the same, and said why and what to do."""
    assert plan.faulty
    context = f"{plan.kind} at {plan.faulty}\n{output}\n{errors}"
    if "cannot remove the role's entry" in errors:  # the one failure that stops nothing
        return
    assert code == 1, context
    later = [call.name for call in world.proxy.calls if call.number > plan.faulty.number]
    if script == "teardown.sh" and "==> Look for the cluster" in output:
        assert "cluster" not in world.there(), context
    else:
        assert not any(CHANGING.search(name) for name in later), context
    assert re.search(f"{WORDS[plan.kind]}|AWS (is unreachable|rejects|does not accept)", errors + output), context
    assert REMEDY.search(errors.splitlines()[-1]), context
    assert "Traceback" not in errors, context
    assert "Nothing is left" not in output, context


def test_transient_fault_goes_unnoticed(world: World, figure: Figure) -> None:
    seen, noticed = passes(world, "create-role.sh", ("dropped",))
    figure("a transient AWS fault goes unnoticed, at any call (sample)", seen)
    assert noticed == []


def test_lasting_fault_is_reported(world: World, figure: Figure) -> None:
    seen, wrong = lasts(world, "create-role.sh", ("page",))
    figure("a lasting AWS fault is reported with a remedy, at any call, and the next run completes (sample)", seen)
    assert wrong == []


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("script", GETS_READY)
def test_every_transient_fault_goes_unnoticed(script: str, world: World, figure: Figure) -> None:
    seen, noticed = passes(world, script, PASSING)
    figure("a transient AWS fault goes unnoticed, at any call", seen)
    assert noticed == []


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("script", GETS_READY)
def test_every_lasting_fault_is_reported(script: str, world: World, figure: Figure) -> None:
    seen, wrong = lasts(world, script, KINDS.get(script, LASTING))
    figure("a lasting AWS fault is reported with a remedy, at any call, and the next run completes", seen)
    assert wrong == []
