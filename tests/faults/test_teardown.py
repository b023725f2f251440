"""teardown.sh, run twice: with any part missing, with any command failing, after a failed setup, and with resources that
are not the tutorial's.

What is left is listed without the scripts (tests/support/inventory.py), and scripts/leftovers.sh must agree.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml

from rehearsal.waiting import until
from tests.support.account import Aws
from tests.support.fixtures import Figure
from tests.support.names import ACCOUNT, CLUSTER, ROLE, STACK
from tests.support.worlds import GIVEN, PARTS, World, world

pytestmark = [pytest.mark.services, pytest.mark.timeout(600)]

Remove = Callable[[World], object]
CONTEXT = f"arn:aws:eks:us-east-2:{ACCOUNT}:cluster/{CLUSTER}"
TRUST = json.dumps({"Version": "2012-10-17", "Statement": []})


@pytest.fixture(scope="module", name="desk")
def _desk(aws: Aws, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """An account and a cluster that the tests of this file fill and empty."""
    with world(aws, tmp_path_factory.mktemp("desk")) as found:
        yield found


def emptied(desk: World) -> dict[str, Any]:
    """Empty the account, and return what the listing shows."""
    desk.empty()
    return desk.state()


def torn_down(desk: World, nothing: dict[str, Any]) -> str:
    """Tear down twice; check that nothing is left and that the second run changes nothing. Return the first output."""
    first = desk.run("teardown.sh", "--yes")
    assert first.code == 0, first.output
    assert first.output.splitlines()[-1] == "==> Nothing is left"
    assert desk.state() == nothing
    desk.endpoint.changes()
    second = desk.run("teardown.sh", "--yes")
    assert second.code == 0, second.output
    assert desk.endpoint.changes() == []
    return first.output


def of_stack(desk: World, kind: str) -> str:
    """Return the physical name of the stack's resource of a type."""
    resources = desk.aws.root("cloudformation").describe_stack_resources(StackName=STACK)["StackResources"]
    return next(str(each["PhysicalResourceId"]) for each in resources if each["ResourceType"] == kind)


def without(*names: str) -> Remove:
    """Remove facts from the cluster's state."""

    def remove(desk: World) -> None:
        state = desk.cluster()
        desk.state_file.write_text(json.dumps({name: value for name, value in state.items() if name not in names}))

    return remove


def change_role_map(text: str) -> Remove:
    """Replace the text of aws-auth."""
    return lambda desk: desk.state_file.write_text(json.dumps(desk.cluster() | {"roles": text}))


def without_kubeconfig(*kinds: str) -> Remove:
    """Remove entries from the kubeconfig."""

    def remove(desk: World) -> None:
        content = yaml.safe_load(desk.kubeconfig.read_text())
        desk.kubeconfig.write_text(yaml.safe_dump(content | {kind: [] for kind in kinds}))

    return remove


def delete(service: str, verb: str, argument: str, kind: str) -> Remove:
    """Delete the stack's resource of a type, but not the stack."""
    return lambda desk: getattr(desk.aws.root(service), verb)(**{argument: of_stack(desk, kind)})


def delete_record(desk: World) -> None:
    """Delete the cluster and its stacks without eksctl."""
    for name in ("nodegroup-nodes", "cluster"):
        desk.aws.delete(f"eksctl-{CLUSTER}-{name}")


def role_of(desk: World, stack: str) -> str:
    """Return the name of the role in one of eksctl's stacks."""
    resources = desk.aws.root("cloudformation").describe_stack_resources(StackName=f"eksctl-{CLUSTER}-{stack}")
    return next(
        str(each["PhysicalResourceId"]) for each in resources["StackResources"] if "IAM" in each["ResourceType"]
    )


MISSING: dict[str, Remove] = {
    "nothing": lambda _: None,
    "app": without("app"),
    "namespace": without("app", "namespace", "labels", "rules"),
    "rules of the namespace": without("rules"),
    "stack": lambda desk: desk.aws.delete(STACK),
    "role": lambda desk: desk.aws.remove_role(ROLE),
    "policy of the role": lambda desk: desk.aws.root("iam").delete_role_policy(
        RoleName=ROLE, PolicyName="eks-describe"
    ),
    "entry in aws-auth": change_role_map("- {rolearn: nodes}\n"),
    "aws-auth": without("roles"),
    "valid aws-auth": change_role_map("\t- tab"),
    "cluster": delete_record,
    "role of the nodes": lambda desk: desk.aws.root("iam").delete_role(RoleName=role_of(desk, "nodegroup-nodes")),
    "bucket": delete("s3", "delete_bucket", "Bucket", "AWS::S3::Bucket"),
    "image repository": delete("ecr", "delete_repository", "repositoryName", "AWS::ECR::Repository"),
    "log group": delete("logs", "delete_log_group", "logGroupName", "AWS::Logs::LogGroup"),
    "build project": delete("codebuild", "delete_project", "name", "AWS::CodeBuild::Project"),
    "webhook's secret": delete("secretsmanager", "delete_secret", "SecretId", "AWS::SecretsManager::Secret"),
    "budget": lambda desk: desk.aws.root("budgets").delete_budget(AccountId=ACCOUNT, BudgetName=f"{STACK}-budget"),
    "context": without_kubeconfig("contexts"),
    "all but the context": without_kubeconfig("clusters", "users"),
    "kubeconfig": lambda desk: desk.kubeconfig.unlink(),
}


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_teardown_with_any_part_missing(desk: World, figure: Figure, subtests: pytest.Subtests) -> None:
    clean = 0
    for part, remove in MISSING.items():
        with subtests.test(part):
            nothing = emptied(desk)
            desk.fill(*PARTS)
            remove(desk)
            torn_down(desk, nothing)
            clean += 1
    figure("teardown with any one part missing, run twice: nothing is left", f"{clean} of {len(MISSING)} parts")
    assert clean == len(MISSING)


def test_teardown_of_everything(desk: World, figure: Figure) -> None:
    nothing = emptied(desk)
    desk.fill(*PARTS)
    bucket, images = of_stack(desk, "AWS::S3::Bucket"), of_stack(desk, "AWS::ECR::Repository")
    desk.aws.root("s3").put_object(Bucket=bucket, Key="Source/a.zip", Body=b"a")
    manifest = json.dumps({"schemaVersion": 2, "config": {}, "layers": []})
    desk.aws.root("ecr").put_image(repositoryName=images, imageManifest=manifest, imageTag="one")
    said = desk.run("teardown.sh", "--yes").output
    left = [kind for kind, found in desk.state().items() if found != nothing[kind]]
    desk.endpoint.changes()
    second = desk.run("teardown.sh", "--yes")
    changes = desk.endpoint.changes()
    figure(
        "teardown of everything, with images and artifacts, run twice: nothing is left",
        f"{len(left)} left, {len(changes)} changing calls in the second run",
    )
    assert (left, changes, second.code) == ([], [], 0), said + second.output
    assert "==> Remove the role from aws-auth" in said.splitlines()


def fails_at(desk: World, point: str, nothing: dict[str, Any]) -> str:
    """Tear down with one command failing: the cluster goes, and the next run deletes the rest. Return the output."""
    desk.fill(*PARTS)
    done = desk.run("teardown.sh", "--yes", fail=point)
    assert done.code in (0, 1), done.output
    if ":eksctl:" not in point:
        assert desk.aws.root("eks").list_clusters()["clusters"] == [], done.output
        assert desk.cluster() == {}
    if done.code:
        assert re.search("above, then run this again|run it again|delete them", done.output.splitlines()[-1]), (
            done.output
        )
        again = desk.run("teardown.sh", "--yes")
        assert again.code == 0, again.output
    assert desk.state() == nothing
    return done.output


def test_teardown_deletes_the_cluster_if_the_stack_stays(desk: World) -> None:
    nothing = emptied(desk)
    said = fails_at(desk, "teardown:aws:5", nothing)
    assert "planted failure at teardown:aws:5" in said
    assert said.splitlines()[-1] == f"failed: the stack {STACK}: fix the errors above, then run this again"


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_teardown_with_any_command_failing(desk: World, figure: Figure, subtests: pytest.Subtests) -> None:
    nothing = emptied(desk)
    desk.fill(*PARTS)
    points = desk.run("teardown.sh", "--yes").points
    points = [each for each in points[points.index("teardown:aws:2") :] if not each.startswith("leftovers:")]
    good = 0
    for point in points:
        with subtests.test(point):
            fails_at(desk, point, emptied(desk))
            good += 1
    figure(
        "teardown with any one command failing: the cluster goes, and the next run deletes the rest",
        f"{good} of {len(points)} commands",
    )
    assert good == len(points) > 30
    assert desk.state() == nothing


def fail_before_the_nodes(desk: World) -> None:
    """create-cluster.sh was killed while eksctl ran; EKS continues, and has not finished when the teardown starts."""
    slow = desk.aws.records.with_name("slow")
    slow.touch()
    assert desk.run("create-cluster.sh", INTERRUPT="create").killed
    until(lambda: desk.aws.root("eks").list_clusters()["clusters"], 10, "the cluster's record", pause=0.1)
    assert desk.aws.root("eks").describe_cluster(name=CLUSTER)["cluster"]["status"] == "CREATING"
    slow.unlink()


def fail_in_the_stack(desk: World) -> None:
    """The stack rolled back."""
    desk.fill("cluster", "role", "mapping")
    assert desk.aws.change("create", STACK, **GIVEN, KubectlRoleName="Nobody") == "ROLLBACK_COMPLETE"


def fail_during_the_stack(desk: World) -> None:
    """create-stack.sh was killed right after it had requested the stack."""
    desk.fill("cluster", "role", "mapping")
    points = desk.run("create-stack.sh").points
    desk.aws.delete(STACK)
    creation = points[points.index("create-stack:python3:1") + 1]
    assert desk.run("create-stack.sh", kill=f"after {creation}").killed


def leave_stacks_of_eksctl(desk: World) -> None:
    """eksctl's stacks exist, but the cluster was deleted without eksctl."""
    topic = "Resources: {Topic: {Type: AWS::SNS::Topic}}"
    for name in ("cluster", "nodegroup-nodes"):
        desk.aws.root("cloudformation").create_stack(StackName=f"eksctl-{CLUSTER}-{name}", TemplateBody=topic)


SETUPS: dict[str, Remove] = {
    "before anything": lambda _: None,
    "while eksctl creates the cluster": fail_before_the_nodes,
    "after the cluster": lambda desk: desk.fill("cluster"),
    "with a role without a policy": lambda desk: (
        desk.fill("cluster"),
        MISSING["policy of the role"](filled(desk, "role")),
    ),
    "with a namespace and no mapping": lambda desk: desk.fill("cluster", "namespace", "role"),
    "after the stack has rolled back": fail_in_the_stack,
    "while the stack is created": fail_during_the_stack,
    "with only eksctl's stacks": leave_stacks_of_eksctl,
}


def filled(desk: World, *parts: str) -> World:
    """Create more parts, and return the desk."""
    desk.fill(*parts)
    return desk


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_teardown_after_failed_setup(desk: World, figure: Figure, subtests: pytest.Subtests) -> None:
    clean = 0
    for where, set_up in SETUPS.items():
        with subtests.test(where):
            nothing = emptied(desk)
            set_up(desk)
            torn_down(desk, nothing)
            clean += 1
    figure("teardown after a failed setup, run twice: nothing is left", f"{clean} of {len(SETUPS)} places")
    assert clean == len(SETUPS)


@pytest.mark.slow
def test_teardown_keeps_what_is_not_the_tutorials(desk: World) -> None:
    desk.empty()
    iam, s3 = desk.aws.root("iam"), desk.aws.root("s3")
    iam.create_role(RoleName="eksctl-other-cluster-ServiceRole", AssumeRolePolicyDocument=TRUST)
    s3.create_bucket(Bucket="others", CreateBucketConfiguration={"LocationConstraint": "us-east-2"})
    others = desk.state()
    desk.fill(*PARTS)
    content = yaml.safe_load(desk.kubeconfig.read_text())
    theirs = [CONTEXT + "-2", CONTEXT.replace("us-east-2", "eu-west-1"), CONTEXT.replace(ACCOUNT, "444455556666")]
    for kind in ("contexts", "clusters", "users"):
        content[kind] += [{"name": name} for name in theirs]
    desk.kubeconfig.write_text(yaml.safe_dump(content))
    torn_down(desk, others | {"kubeconfig": dict.fromkeys(("contexts", "clusters", "users"), theirs)})
    s3.delete_bucket(Bucket="others")


@pytest.mark.slow
def test_leftovers_reports_everything(desk: World, figure: Figure) -> None:
    nothing = emptied(desk)
    desk.fill(*PARTS)
    bucket, images = of_stack(desk, "AWS::S3::Bucket"), of_stack(desk, "AWS::ECR::Repository")
    desk.aws.root("logs").create_log_group(logGroupName=f"/aws/lambda/{STACK}-TrustFunction-1")
    done = desk.run("leftovers.sh")
    assert done.code == 1
    named = {
        f"stack: {STACK}",
        f"cluster: {CLUSTER}",
        f"role: {ROLE}",
        f"role: {role_of(desk, 'cluster')}",
        f"bucket: {bucket}",
        f"image repository: {images}",
        f"budget: {STACK}-budget",
        f"log group: /aws/codebuild/{STACK}",
        f"log group: /aws/lambda/{STACK}-TrustFunction-1",
        f"kubeconfig context: {CONTEXT}",
    }
    found = {line for line in named if f"    {line}" in done.output.splitlines()}
    figure("leftovers.sh reports every kind of leftover", f"{len(found)} of {len(named)}")
    assert found == named
    assert desk.state() != nothing
    desk.aws.root("logs").delete_log_group(logGroupName=f"/aws/lambda/{STACK}-TrustFunction-1")
