"""The policies of the learner and the function suffice for the stack in all its forms, and every piece is needed.

CloudFormation needs the learner's permissions, by AWS's own lists (rehearsal/emulator/caller_rights.py). The learner's
own commands are in test_rights_needed.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from rehearsal.emulator import decision_log
from tests.support.account import Aws
from tests.support.fixtures import Figure
from tests.support.names import CONNECTION, OLD_CONNECTION, OTHER_ROLE, ROLE, STACK, TOKEN
from tests.support.policies import LEARNER
from tests.support.privileges import Json, needless, pieces
from tests.support.template import TEMPLATE

pytestmark = [pytest.mark.services, pytest.mark.timeout(120)]

POLICY = LEARNER["stack"]
#: The statements for what CloudFormation does on the learner's behalf.
CALLED = ("StackRolesToServices", "StackResources", "StackAsk")
#: Every form of the stack, by parameters, one after another.
UPDATES: tuple[dict[str, str], ...] = (
    {"KubectlRoleName": OTHER_ROLE, "NotificationEmail": "ann@example.com", "ApprovalRequired": "true"},
    {"NotificationEmail": "ann@example.com", "Staging": "true"},
    {"NotificationEmail": "bob@example.com", "GitBranch": "main", "CodeBuildDockerImage": "aws/codebuild/standard:7.0"},
    {"GitHubToken": "", "ConnectionArn": CONNECTION},
    {"GitHubToken": "", "ConnectionArn": OLD_CONNECTION},
    {"GitHubToken": TOKEN, "NotificationEmail": "bob@example.com"},
)
#: The change to a policy: other names of its statements.
RENAMED: Json = {}
#: A change to each type of resource, which CloudFormation makes without replacing the resource.
CHANGES: dict[str, Json] = {
    "AWS::CodeBuild::Project": {"TimeoutInMinutes": 31},
    "AWS::CodePipeline::Pipeline": {"ExecutionMode": "QUEUED"},
    "AWS::CodePipeline::Webhook": {"Filters": [{"JsonPath": "$.ref", "MatchEquals": "refs/heads/changed"}]},
    "AWS::ECR::Repository": {"ImageScanningConfiguration": {"ScanOnPush": False}},
    "AWS::Events::Rule": {"Description": "changed"},
    "AWS::IAM::ManagedPolicy": RENAMED,
    "AWS::IAM::Role": {"MaxSessionDuration": 7200},
    "AWS::Lambda::Function": {"MemorySize": 512},
    "AWS::Logs::LogGroup": {"RetentionInDays": 60},
    "AWS::S3::Bucket": {"VersioningConfiguration": {"Status": "Suspended"}},
    "AWS::S3::BucketPolicy": RENAMED,
    "AWS::SNS::Topic": {"DisplayName": "changed"},
    "AWS::SNS::TopicPolicy": RENAMED,
    "AWS::SecretsManager::Secret": {"Description": "changed"},
    "Custom::KubectlRoleTrust": {"ServiceTimeout": 170},
}


def changed_template() -> str:
    """Return the template with a change to every resource."""
    resources = {name: changed(resource) for name, resource in TEMPLATE["Resources"].items()}
    return json.dumps({**TEMPLATE, "Resources": resources})


def changed(resource: Json) -> Json:
    properties, change = resource["Properties"], CHANGES[resource["Type"]]
    if change is RENAMED:
        document = properties["PolicyDocument"]
        renamed = [{**each, "Sid": f"Changed{number}"} for number, each in enumerate(document["Statement"])]
        change = {"PolicyDocument": {**document, "Statement": renamed}}
    return {**resource, "Properties": {**properties, **change}}


def make_learner(aws: Aws, policy: Json, name: str) -> Aws:
    """Return the account as seen by a user with only this policy; only CloudFormation is called as that user."""
    iam = aws.root("iam")
    iam.create_user(UserName=name)
    iam.put_user_policy(UserName=name, PolicyName="tutorial-stack", PolicyDocument=json.dumps(policy))
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return Aws(aws.url, aws.records, aws.keys, {"cloudformation": aws.client("cloudformation", **key)})


@pytest.fixture(scope="module", name="roles")
def _roles(aws: Aws) -> Iterator[None]:
    for role in (ROLE, OTHER_ROLE):
        aws.make_role(role)
    yield
    for role in (ROLE, OTHER_ROLE):
        aws.remove_role(role)


@dataclass
class Run:
    """A stack that took all its forms: the questions that IAM answered, the resources that the last update changed, and
    the function's policies.
    """

    questions: list[Json]
    changed: set[str]
    function: dict[str, Json]

    def of(self, name: str) -> list[Json]:
        """Return the questions about a user or role, by a part of its ARN."""
        return [each for each in self.questions if name in each["principal"]]


@pytest.fixture(scope="module", name="run")
def _run(aws: Aws, roles: None) -> Run:
    """Created, updated and deleted by a user with only the learner's policy."""
    assert roles is None
    learner = make_learner(aws, POLICY, "learner")
    bucket = learner.create(STACK)["ArtifactBucketName"]
    for given in UPDATES:
        assert learner.change("update", STACK, **given) == "UPDATE_COMPLETE", learner.reasons(STACK)
    before = len(updates(aws))
    assert learner.change("update", STACK, changed_template(), **UPDATES[-1]) == "UPDATE_COMPLETE", learner.reasons(
        STACK
    )
    changed_last = set(updates(aws)[before:])
    function = function_policies(aws)
    s3 = aws.root("s3")
    s3.put_object(Bucket=bucket, Key="Source/a.zip", Body=b"one")
    s3.delete_object(Bucket=bucket, Key="Source/a.zip")
    learner.delete(STACK)
    return Run(asked(aws), changed_last, function)


def updates(aws: Aws) -> list[str]:
    """Return the resource of each event that says that a resource was updated, the oldest event first."""
    pages = aws.root("cloudformation").get_paginator("describe_stack_events").paginate(StackName=STACK)
    events = [each for page in pages for each in page["StackEvents"]]
    return [each["LogicalResourceId"] for each in events[::-1] if each["ResourceStatus"] == "UPDATE_COMPLETE"]


def function_policies(aws: Aws) -> dict[str, Json]:
    """Return the policies of the function's role, by ARN or by name if inline."""
    iam = aws.root("iam")
    name = physical(aws, "TrustFunctionRole")
    (attached,) = iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]
    arn = attached["PolicyArn"]
    version = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
    return {
        arn: iam.get_policy_version(PolicyArn=arn, VersionId=version)["PolicyVersion"]["Document"],
        "write-log": iam.get_role_policy(RoleName=name, PolicyName="write-log")["PolicyDocument"],
    }


def physical(aws: Aws, logical_id: str) -> str:
    """Return the physical name of a resource of the stack."""
    found = aws.root("cloudformation").describe_stack_resource(StackName=STACK, LogicalResourceId=logical_id)
    return str(found["StackResourceDetail"]["PhysicalResourceId"])


def asked(aws: Aws) -> list[Json]:
    """Return every question that IAM answered."""
    return list(decision_log.read(aws.records.parent / "eks-rehearsal" / "run" / decision_log.path().name))


def test_learner_policy_suffices_for_all_forms_of_the_stack(run: Run, figure: Figure) -> None:
    questions = run.of(":user/learner")
    used = {each["action"] for each in questions if each["allowed"]}
    denied = {each["action"] for each in questions if not each["allowed"]}
    figure(
        "the learner's policy suffices to create, update and delete the stack",
        f"{len(used)} kinds of action, {len(denied)} denied",
    )
    assert denied == set()
    assert len(used) > 50


def test_learner_policy_suffices_to_update_every_resource(run: Run, figure: Figure) -> None:
    resources = set(TEMPLATE["Resources"])
    figure(
        "the learner's policy suffices to update each resource of the stack",
        f"{len(run.changed & resources)} of {len(resources)} resources",
    )
    assert run.changed >= resources
    assert set(CHANGES) == {each["Type"] for each in TEMPLATE["Resources"].values()}


def test_every_permission_for_cloudformation_is_needed(run: Run, figure: Figure) -> None:
    policy = POLICY | {"Statement": [each for each in POLICY["Statement"] if each["Sid"] in CALLED]}
    unused = needless(policy, run.of(":user/learner"))
    names = [name for name, _ in pieces(policy)]
    figure(
        "every permission that the learner's policy has for the stack is needed",
        f"{len(names) - len(unused)} of {len(names)}",
    )
    assert unused == []
    assert len(names) > 60


def test_every_permission_of_the_function_is_needed(run: Run, figure: Figure) -> None:
    # The emulator writes the function's log; on AWS its role does (Lambda developer guide, "Execution role").
    (policy,) = [each for name, each in run.function.items() if name != "write-log"]
    unused = needless(policy, run.of("TrustFunctionRole"))
    names = [name for name, _ in pieces(policy)]
    by_document = list(pieces(run.function["write-log"]))
    figure(
        "every permission of the function is needed",
        f"{len(names) - len(unused)} of {len(names)}, and {len(by_document)} by AWS's documents",
    )
    assert unused == []
    assert len(names) == 5


@pytest.mark.usefixtures("roles")
@pytest.mark.parametrize(
    "action",
    ["ecr:CreateRepository", "iam:PassRole", "codepipeline:ListWebhooks"],
)
def test_stack_reports_missing_permission(aws: Aws, action: str) -> None:
    (left,) = [left for name, left in pieces(POLICY) if name.split(": ")[0] in CALLED and name.endswith(f": {action}")]
    learner = make_learner(aws, left, f"without-{action.partition(':')[2]}")
    try:
        assert learner.change("create", STACK) != "CREATE_COMPLETE"
        assert f"is not authorized to perform: {action} on resource: " in aws.reasons(STACK)
    finally:
        aws.delete(STACK)


@pytest.mark.usefixtures("roles")
@pytest.mark.parametrize(
    "action",
    ["ecr:PutImageTagMutability", "lambda:UpdateFunctionConfiguration", "secretsmanager:UpdateSecret"],
)
def test_update_reports_missing_permission(aws: Aws, action: str) -> None:
    (left,) = [left for name, left in pieces(POLICY) if name.endswith(f": {action}")]
    learner = make_learner(aws, left, f"without-{action.partition(':')[2]}")
    aws.create(STACK)
    try:
        assert learner.change("update", STACK, changed_template()) != "UPDATE_COMPLETE"
        assert f"is not authorized to perform: {action} on resource: " in aws.reasons(STACK)
    finally:
        aws.delete(STACK)


@pytest.mark.slow
@pytest.mark.usefixtures("roles")
def test_function_reports_missing_permission(aws: Aws) -> None:
    aws.create(STACK)
    arn, policy = next(iter(function_policies(aws).items()))
    (left,) = [left for name, left in pieces(policy) if name.endswith("iam:UpdateAssumeRolePolicy")]
    aws.root("iam").create_policy_version(PolicyArn=arn, PolicyDocument=json.dumps(left), SetAsDefault=True)
    cloudformation = aws.root("cloudformation")
    cloudformation.delete_stack(StackName=STACK)
    assert aws.settle(STACK) == "DELETE_FAILED"
    assert "is not authorized to perform: iam:UpdateAssumeRolePolicy because" in aws.reasons(STACK)
    cloudformation.delete_stack(StackName=STACK, RetainResources=["KubectlRoleTrust"])
    assert aws.settle(STACK) == "DELETE_COMPLETE"
