"""The template as a stack: created, updated and deleted on the emulator, with IAM enforced.

No cluster and no pipeline runs (tests/support/stack_aws.py). The tests check what the stack changes outside itself, and
that it leaves nothing behind.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from tests.support.account import OPEN, Aws, environment, held, refused, run
from tests.support.desk import Desk
from tests.support.names import ACCOUNT, CONNECTION, OLD_CONNECTION, OTHER_ROLE, ROLE, ROLE_ARN, TOKEN
from tests.support.paths import ROOT
from tests.support.policies import LEARNER

pytestmark = pytest.mark.services


@pytest.fixture
def role(aws: Aws) -> Iterator[None]:
    """A new kubectl role."""
    aws.make_role()
    yield
    aws.remove_role(ROLE)


@pytest.fixture(scope="class")
def stack(aws: Aws) -> Iterator[dict[str, str]]:
    """The outputs of a stack created with only a token and a user."""
    aws.make_role()
    yield aws.create("aws-pipeline")
    aws.delete("aws-pipeline")
    aws.remove_role(ROLE)


@pytest.mark.usefixtures("stack")
class TestStackWithDefaults:
    """A stack with the template's defaults: only a token and a user are given."""

    def test_outputs(self, stack: dict[str, str]) -> None:
        assert set(stack) == {
            "ArtifactBucketName",
            "CodeBuildProjectName",
            "CodeBuildRoleArn",
            "EcrRepositoryUri",
            "KubectlRoleArn",
            "PipelineName",
            "PipelineUrl",
        }
        assert stack["EcrRepositoryUri"].startswith(
            f"{ACCOUNT}.dkr.ecr.us-east-2.amazonaws.com/aws-pipeline-ecrrepository-"
        )
        assert stack["PipelineName"] == stack["CodeBuildProjectName"] == "aws-pipeline"

    def test_trust_is_narrowed_to_the_builds(self, aws: Aws, stack: dict[str, str]) -> None:
        assert aws.trust() == held(stack["CodeBuildRoleArn"])

    def test_only_builds_may_assume_the_role(self, aws: Aws, stack: dict[str, str]) -> None:
        assert stack["KubectlRoleArn"] == ROLE_ARN
        assert may_assume(aws, stack["CodeBuildRoleArn"])

    def test_kubectl_role_may_describe_only_its_cluster(self, aws: Aws, stack: dict[str, str]) -> None:
        asked = {
            "eksctl-demo": "allowed",
            "other": "implicitDeny",
        }
        for cluster, decision in asked.items():
            arn = f"arn:aws:eks:us-east-2:{ACCOUNT}:cluster/{cluster}"
            assert _decision(aws, stack["KubectlRoleArn"], "eks:DescribeCluster", arn) == decision
        assert _decision(aws, stack["KubectlRoleArn"], "eks:ListClusters", "*") == "implicitDeny"

    def test_only_the_pipeline_has_the_token(self, aws: Aws) -> None:
        cloudformation = aws.root("cloudformation")
        answers = [
            cloudformation.describe_stacks(StackName="aws-pipeline"),
            cloudformation.describe_stack_events(StackName="aws-pipeline"),
            cloudformation.describe_stack_resources(StackName="aws-pipeline"),
            cloudformation.get_template(StackName="aws-pipeline"),
        ]
        assert TOKEN not in json.dumps(answers, default=str)
        records = json.loads(aws.records.read_text(encoding="utf-8"))
        assert TOKEN in json.dumps(records["AWS::CodePipeline::Pipeline"])
        assert TOKEN not in json.dumps(records["AWS::CodePipeline::Webhook"])

    def test_webhook_secret_is_resolved_and_long(self, aws: Aws) -> None:
        webhook = json.loads(aws.records.read_text(encoding="utf-8"))["AWS::CodePipeline::Webhook"]
        secret = webhook["AuthenticationConfiguration"]["SecretToken"]
        assert len(secret) == 64
        assert secret.isalnum()

    def test_only_the_tags_that_are_never_deployed_by_name_are_mutable(self, aws: Aws, stack: dict[str, str]) -> None:
        name = stack["EcrRepositoryUri"].partition("/")[2]
        (repository,) = aws.root("ecr").describe_repositories(repositoryNames=[name])["repositories"]
        assert repository["imageTagMutability"] == "IMMUTABLE_WITH_EXCLUSION"
        assert [each["filter"] for each in repository["imageTagMutabilityExclusionFilters"]] == ["cache", "files-*"]

    def test_second_update_changes_nothing(self, aws: Aws) -> None:
        with pytest.raises(ClientError, match="No updates are to be performed"):
            aws.change("update", "aws-pipeline")

    def test_update_keeps_the_trust(self, aws: Aws, stack: dict[str, str]) -> None:
        assert aws.change("update", "aws-pipeline", GitBranch="main", ApprovalRequired="true") == "UPDATE_COMPLETE"
        stages = json.loads(aws.records.read_text(encoding="utf-8"))["AWS::CodePipeline::Pipeline"]["Stages"]
        assert [stage["Name"] for stage in stages] == ["Source", "Approve", "Build"]
        assert "EnvironmentVariables" not in stages[-1]["Actions"][0]["Configuration"]
        assert aws.trust() == held(stack["CodeBuildRoleArn"])

    def test_update_adds_staging(self, aws: Aws) -> None:
        assert aws.change("update", "aws-pipeline", Staging="true", ApprovalRequired="true") == "UPDATE_COMPLETE"
        stages = json.loads(aws.records.read_text(encoding="utf-8"))["AWS::CodePipeline::Pipeline"]["Stages"]
        assert [stage["Name"] for stage in stages] == ["Source", "Staging", "Approve", "Production"]
        variables = [
            json.loads(stages[number]["Actions"][0]["Configuration"]["EnvironmentVariables"]) for number in (1, 3)
        ]
        assert variables == [
            [{"name": "APP_NAMESPACE", "value": "hello-world-staging"}],
            [{"name": "IMAGE", "value": "#{Staging.IMAGE}"}],
        ]

    def test_update_moves_the_trust_to_another_role(self, aws: Aws, stack: dict[str, str]) -> None:
        aws.make_role(OTHER_ROLE)
        assert aws.change("update", "aws-pipeline", KubectlRoleName=OTHER_ROLE) == "UPDATE_COMPLETE"
        assert (aws.trust(), aws.trust(OTHER_ROLE)) == (OPEN, held(stack["CodeBuildRoleArn"]))
        assert aws.change("update", "aws-pipeline") == "UPDATE_COMPLETE"
        assert (aws.trust(), aws.trust(OTHER_ROLE)) == (held(stack["CodeBuildRoleArn"]), OPEN)
        aws.remove_role(OTHER_ROLE)

    def test_update_to_a_missing_role_rolls_back(self, aws: Aws, stack: dict[str, str]) -> None:
        assert aws.change("update", "aws-pipeline", KubectlRoleName="Missing") == "UPDATE_ROLLBACK_COMPLETE"
        assert "role Missing does not exist: run scripts/create-role.sh" in aws.reasons("aws-pipeline")
        assert aws.trust() == held(stack["CodeBuildRoleArn"])


def _service_session(aws: Aws, role_arn: str, caller: dict[str, str]) -> dict[str, str]:
    """Return credentials of a service role, by opening its trust to a user for a moment."""
    iam, name = aws.root("iam"), role_arn.rpartition("/")[2]
    before = iam.get_role(RoleName=name)["Role"]["AssumeRolePolicyDocument"]
    iam.update_assume_role_policy(
        RoleName=name, PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": OPEN})
    )
    try:
        return aws.act_as(role_arn, **caller)
    finally:
        iam.update_assume_role_policy(RoleName=name, PolicyDocument=json.dumps(before))


def _decision(aws: Aws, role_arn: str, action: str, resource: str) -> str:
    answer = aws.root("iam").simulate_principal_policy(
        PolicySourceArn=role_arn, ActionNames=[action], ResourceArns=[resource]
    )
    return str(answer["EvaluationResults"][0]["EvalDecision"])


@pytest.mark.usefixtures("role")
def test_delete_restores_the_trust_and_leaves_nothing(aws: Aws) -> None:
    before = _everything(aws)
    outputs = aws.create("short", NotificationEmail="ann@example.com", ApprovalRequired="true")
    s3, bucket = aws.root("s3"), outputs["ArtifactBucketName"]
    for body in (b"one", b"two"):
        s3.put_object(Bucket=bucket, Key="Source/a.zip", Body=body)
    s3.put_object(Bucket=bucket, Key="Source/b.zip", Body=b"three")
    s3.delete_object(Bucket=bucket, Key="Source/b.zip")
    aws.delete("short")
    assert aws.trust() == OPEN
    assert _everything(aws) == before


def _everything(aws: Aws) -> dict[str, list[str]]:
    """Return the names of everything that a stack may leave behind."""
    return {
        "roles": sorted(each["RoleName"] for each in aws.root("iam").list_roles()["Roles"]),
        "policies": sorted(each["Arn"] for each in aws.root("iam").list_policies(Scope="Local")["Policies"]),
        "buckets": sorted(each["Name"] for each in aws.root("s3").list_buckets()["Buckets"]),
        "functions": sorted(each["FunctionName"] for each in aws.root("lambda").list_functions()["Functions"]),
        "repositories": sorted(
            each["repositoryName"] for each in aws.root("ecr").describe_repositories()["repositories"]
        ),
        "projects": sorted(aws.root("codebuild").list_projects()["projects"]),
        "groups": sorted(each["logGroupName"] for each in aws.root("logs").describe_log_groups()["logGroups"]),
        "secrets": sorted(each["Name"] for each in aws.root("secretsmanager").list_secrets()["SecretList"]),
        "topics": sorted(each["TopicArn"] for each in aws.root("sns").list_topics()["Topics"]),
        "rules": sorted(each["Name"] for each in aws.root("events").list_rules()["Rules"]),
        "records": sorted(json.loads(aws.records.read_text(encoding="utf-8"))) if aws.records.exists() else [],
    }


@pytest.mark.usefixtures("role")
def test_two_stacks_share_a_role(aws: Aws, cli: Path, tmp_path: Path) -> None:
    """They are created, updated and deleted one after the other and at once; one creation fails."""
    first, second = (aws.create(name)["CodeBuildRoleArn"] for name in ("first", "second"))
    assert aws.trust() == held(first, second)
    assert may_assume(aws, first)
    assert may_assume(aws, second)
    assert "            the stack's builds" in status(aws, cli, tmp_path, "first")
    assert f"            {second}" in status(aws, cli, tmp_path, "first")

    aws.delete("first")
    assert aws.trust() == held(second)
    assert may_assume(aws, second)
    assert status(aws, cli, tmp_path, "second") == [f"role        {ROLE}, which only the stack's builds may assume"]

    assert aws.change("create", "third", EksClusterName="x", KubectlRoleName="Missing") == "ROLLBACK_COMPLETE"
    aws.delete("third")
    assert aws.trust() == held(second)

    assert aws.change("update", "second", KubectlRoleName="Missing") == "UPDATE_ROLLBACK_COMPLETE"
    assert aws.trust() == held(second)

    for name in ("first", "third"):
        aws.begin("create", name)
    assert [aws.settle(name) for name in ("first", "third")] == ["CREATE_COMPLETE"] * 2
    assert aws.trust() == held(second, *(aws.outputs(name)["CodeBuildRoleArn"] for name in ("first", "third")))

    for name in ("second", "third"):
        aws.root("cloudformation").delete_stack(StackName=name)
    assert [aws.settle(name) for name in ("second", "third")] == ["DELETE_COMPLETE"] * 2
    assert aws.trust() == held(aws.outputs("first")["CodeBuildRoleArn"])
    aws.delete("first")
    assert aws.trust() == OPEN


def may_assume(aws: Aws, builds: str) -> bool:
    """Whether sessions of the builds' role may assume the kubectl role, and a user with every right may not."""
    iam = aws.root("iam")
    iam.create_user(UserName="bob")
    anybody = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    iam.put_user_policy(UserName="bob", PolicyName="all", PolicyDocument=json.dumps(anybody))
    bob = iam.create_access_key(UserName="bob")["AccessKey"]
    try:
        assert refused(aws.act_as, ROLE_ARN, **bob) == "AccessDenied"
        return bool(aws.act_as(ROLE_ARN, **_service_session(aws, builds, bob)))
    finally:
        iam.delete_access_key(UserName="bob", AccessKeyId=bob["AccessKeyId"])
        iam.delete_user_policy(UserName="bob", PolicyName="all")
        iam.delete_user(UserName="bob")


def status(aws: Aws, cli: Path, directory: Path, stack: str) -> list[str]:
    """Return what status.sh says about the role, with this stack in settings.sh."""
    desk = Desk(Path(tempfile.mkdtemp(dir=directory)) / "desk")
    desk.take_time()
    desk.answer("aws", "", real=str(cli))
    desk.answer("aws", "list-pipeline-executions", stdout="[]")
    lines = run(desk, aws, "status.sh", STACK_NAME=stack).splitlines()
    return lines[1 : next(number for number, line in enumerate(lines) if line.startswith("cluster "))]


@pytest.mark.parametrize("connection", [CONNECTION, OLD_CONNECTION])
@pytest.mark.usefixtures("role")
def test_connection_instead_of_the_token(connection: str, aws: Aws) -> None:
    aws.create("connected", GitHubToken="", ConnectionArn=connection)
    records = json.loads(aws.records.read_text(encoding="utf-8"))
    assert "AWS::CodePipeline::Webhook" not in records
    (source,) = records["AWS::CodePipeline::Pipeline"]["Stages"][0]["Actions"]
    assert source["Configuration"]["ConnectionArn"] == connection
    pipeline_role = records["AWS::CodePipeline::Pipeline"]["RoleArn"]
    action = f"{connection.split(':')[2]}:UseConnection"
    assert _decision(aws, pipeline_role, action, connection) == "allowed"
    assert _decision(aws, pipeline_role, action, connection[:-1] + "0") == "implicitDeny"
    aws.delete("connected")


def test_keeps_other_trust_statements(aws: Aws) -> None:
    ec2 = {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
    aws.make_role(statements=[ec2])
    outputs = aws.create("short")
    own = aws.trust()[1]
    assert aws.trust()[0] == ec2
    assert own["Sid"] == "OnlyBuilds"
    assert [{key: value for key, value in own.items() if key != "Sid"}] == held(outputs["CodeBuildRoleArn"])
    aws.delete("short")
    assert aws.trust() == [ec2]
    aws.remove_role(ROLE)


def test_create_after_a_failure_for_a_missing_role(aws: Aws) -> None:
    assert aws.change("create", "short") == "ROLLBACK_COMPLETE"
    aws.delete("short")
    aws.make_role()
    assert aws.trust() == OPEN
    outputs = aws.create("short")
    assert aws.trust() == held(outputs["CodeBuildRoleArn"])
    aws.delete("short")
    aws.remove_role(ROLE)


def test_missing_role_rolls_back_with_a_remedy(aws: Aws) -> None:
    before = _everything(aws)
    assert aws.change("create", "short", KubectlRoleName="Missing") == "ROLLBACK_COMPLETE"
    assert "role Missing does not exist: run scripts/create-role.sh, then try again" in aws.reasons("short")
    aws.delete("short")
    assert _everything(aws) == before


def test_delete_succeeds_without_the_role(aws: Aws) -> None:
    aws.make_role()
    aws.create("short")
    aws.remove_role(ROLE)
    aws.delete("short")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"GitHubToken": ""}, "Enter GitHubToken or ConnectionArn"),
        ({"ConnectionArn": CONNECTION}, "Enter only one of GitHubToken and ConnectionArn"),
        ({"GitHubToken": "short"}, "GitHub personal access token"),
        ({"GitHubUser": "-"}, "GitHub user"),
        ({"CodeBuildDockerImage": "aws/codebuild/standard:4.0"}, "CodeBuildDockerImage"),
        ({"ApprovalRequired": "yes"}, "ApprovalRequired"),
        ({"Staging": "yes"}, "Staging"),
    ],
)
def test_wrong_parameters_create_nothing(aws: Aws, given: dict[str, str], message: str) -> None:
    before = _everything(aws)
    with pytest.raises(ClientError, match=message):
        aws.change("create", "wrong", **given)
    assert _everything(aws) == before


@pytest.mark.parametrize("name", LEARNER)
def test_iam_accepts_the_learner_policies(aws: Aws, name: str) -> None:
    document = json.dumps(LEARNER[name])
    policy = aws.root("iam").create_policy(PolicyName="learner", PolicyDocument=document)["Policy"]
    aws.root("iam").delete_policy(PolicyArn=policy["Arn"])


def test_readme_gives_the_user_every_policy(aws: Aws, cli: Path) -> None:
    (fence,) = re.findall(
        r"^```bash account\n(aws iam create-user.*?)^```", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE
    )
    path = f"{cli.parent}{os.pathsep}{os.environ['PATH']}"
    shell = {**os.environ, **environment(aws), "PATH": path, "AWS_DEFAULT_REGION": "us-east-2", "AWS_PAGER": ""}
    subprocess.run(["bash", "-euc", fence], cwd=ROOT, env=shell, timeout=250, check=True, capture_output=True)
    attached = aws.root("iam").list_attached_user_policies(UserName="learner")["AttachedPolicies"]
    assert {each["PolicyName"] for each in attached} == {f"tutorial-{name}" for name in LEARNER}
    (stack,) = [each["PolicyArn"] for each in attached if each["PolicyName"] == "tutorial-stack"]
    version = aws.root("iam").get_policy_version(PolicyArn=stack, VersionId="v1")["PolicyVersion"]
    assert version["Document"] == LEARNER["stack"]
