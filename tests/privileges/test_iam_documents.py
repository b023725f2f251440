"""trust.json, iam-role-policy.json and docs/learner-policy.json: valid, narrow, and enough for what the scripts call."""

from __future__ import annotations

import functools
import json
import re
import subprocess
import sys
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore import xform_name

from tests.support.paths import ROOT
from tests.support.template import TEMPLATE

ACCOUNT = "111122223333"
LEARNER = ROOT / "docs" / "learner-policy.json"
CALL = re.compile(r"\baws ([a-z0-9-]+) ([a-z-]+)(?: ([a-z-]+))?")

#: Commands of the AWS CLI whose right is not named after them; None needs no right.
RIGHT_OF = {
    "s3api list-buckets": "s3:ListAllMyBuckets",
    "service-quotas get-service-quota": "servicequotas:GetServiceQuota",
    "iam wait": "iam:GetRole",
    "eks update-kubeconfig": "eks:DescribeCluster",
    "eks get-token": None,
    "logs tail": "logs:FilterLogEvents",
    "sts get-caller-identity": None,
}
#: Rights that no command of scripts/*.sh stands for by name, and what needs them.
OTHER_USES = {
    "cloudformation:CreateStack": "create-stack.sh, by the name that it is given",
    "cloudformation:UpdateStack": "create-stack.sh, by the name that it is given",
    "cloudformation:CreateUploadBucket": "the console, to upload the template",
    "cloudformation:DescribeStackResources": "the console, the stack's Resources tab",
    "cloudformation:GetTemplateSummary": "the console, to show the template's parameters",
    "s3:CreateBucket": "the console, to upload the template",
    "s3:GetObject": "the console, to upload the template",
    "s3:PutObject": "the console, to upload the template",
    "codeconnections:CreateConnection": "README, the connection to GitHub",
    "codeconnections:DeleteConnection": "README, the connection to GitHub",
    "codeconnections:GetIndividualAccessToken": "the console, to finish the connection",
    "codeconnections:GetInstallationUrl": "the console, to finish the connection",
    "codeconnections:ListConnections": "the console, to show the connection",
    "codeconnections:ListInstallationTargets": "the console, to finish the connection",
    "codeconnections:PassConnection": "CodePipeline, which the stack gives the connection",
    "codeconnections:StartOAuthHandshake": "the console, to finish the connection",
    "codeconnections:UpdateConnectionInstallation": "the console, to finish the connection",
    "codeconnections:UseConnection": "CodePipeline, which the stack gives the connection",
    "codebuild:BatchGetBuilds": "the console, a build's page",
    "codepipeline:GetPipeline": "the console, the pipeline's page",
    "codepipeline:GetPipelineState": "README, the approval; the console, the pipeline's page",
    "codepipeline:ListActionExecutions": "the console, the pipeline's history",
    "codepipeline:PutApprovalResult": "README, the approval",
    "codepipeline:RetryStageExecution": "the console, to retry a stage",
    "codepipeline:StartPipelineExecution": "README, to start the pipeline by hand",
    "iam:PassRole": "CloudFormation, which hands each service its role",
    "logs:FilterLogEvents": "README, aws logs tail",
    "logs:GetLogEvents": "the console, a build's log",
}
#: A name of each type of the stack's resources, as CloudFormation makes it.
MADE = {
    "AWS::CodeBuild::Project": f"arn:aws:codebuild:us-east-2:{ACCOUNT}:project/aws-pipeline",
    "AWS::CodePipeline::Pipeline": f"arn:aws:codepipeline:us-east-2:{ACCOUNT}:aws-pipeline",
    "AWS::CodePipeline::Webhook": f"arn:aws:codepipeline:us-east-2:{ACCOUNT}:webhook:aws-pipeline-Webhook-1ABC",
    "AWS::ECR::Repository": f"arn:aws:ecr:us-east-2:{ACCOUNT}:repository/aws-pipeline-ecrrepository-1abc",
    "AWS::Events::Rule": f"arn:aws:events:us-east-2:{ACCOUNT}:rule/aws-pipeline-NotificationRule-1ABC",
    "AWS::IAM::ManagedPolicy": f"arn:aws:iam::{ACCOUNT}:policy/aws-pipeline-TrustFunctionPolicy-1ABC",
    "AWS::IAM::Role": f"arn:aws:iam::{ACCOUNT}:role/aws-pipeline-CodeBuildRole-1ABC",
    "AWS::Lambda::Function": f"arn:aws:lambda:us-east-2:{ACCOUNT}:function:aws-pipeline-TrustFunction-1ABC",
    "AWS::Logs::LogGroup": f"arn:aws:logs:us-east-2:{ACCOUNT}:log-group:aws-pipeline-TrustFunctionLogs-1ABC:*",
    "AWS::S3::Bucket": "arn:aws:s3:::aws-pipeline-artifactbucket-1abc",
    "AWS::S3::BucketPolicy": "arn:aws:s3:::aws-pipeline-artifactbucket-1abc",
    "AWS::SNS::Topic": f"arn:aws:sns:us-east-2:{ACCOUNT}:aws-pipeline-NotificationTopic-1ABC",
    "AWS::SNS::TopicPolicy": f"arn:aws:sns:us-east-2:{ACCOUNT}:aws-pipeline-NotificationTopic-1ABC",
    "AWS::SecretsManager::Secret": f"arn:aws:secretsmanager:us-east-2:{ACCOUNT}:secret:WebhookSecret-1ABC-x",
    "Custom::KubectlRoleTrust": f"arn:aws:lambda:us-east-2:{ACCOUNT}:function:aws-pipeline-TrustFunction-1ABC",
}


def document(path: Path) -> Any:
    """A document with the account filled in."""
    return json.loads(path.read_text(encoding="utf-8").replace("<ACCOUNT_ID>", ACCOUNT))


def as_list(value: Any) -> list[Any]:
    """IAM takes one value in place of a list."""
    return value if isinstance(value, list) else [value]


STATEMENTS: dict[str, Any] = {statement["Sid"]: statement for statement in document(LEARNER)["Statement"]}
#: What the learner's own commands use, apart from what CloudFormation does in their name.
DIRECT = {
    action
    for statement in STATEMENTS.values()
    if "aws:CalledVia" not in json.dumps(statement)
    for action in as_list(statement["Action"])
}


def setting(name: str) -> str:
    """The default that settings.sh gives."""
    found = re.search(rf': "\${{{name}:=([^}}]*)}}"', (ROOT / "settings.sh").read_text(encoding="utf-8"))
    assert found, name
    return found[1]


@functools.cache
def calls(text: str) -> set[str]:
    """The operations of AWS that a text calls by the AWS CLI, as ``service operation``."""
    session = botocore.session.get_session()
    services = set(session.get_available_services()) | {"s3api"}
    found = set()
    for service, operation, _ in CALL.findall(text):
        name = f"{service} {operation}"
        if service in services:
            model = session.get_service_model("s3" if service == "s3api" else service)
            known = {xform_name(each, "-") for each in model.operation_names}
            if operation in known or name in RIGHT_OF:
                found.add(name)
    return found


def right(call: str) -> str | None:
    """The IAM action that a call needs."""
    service, operation = call.split()
    return RIGHT_OF.get(call, f"{service}:{''.join(word.capitalize() for word in operation.split('-'))}")


def commands_of_scripts() -> str:
    """What a learner's shell runs: the scripts without their comments, and without those that builds run."""
    paths = [
        path
        for path in [*(ROOT / "scripts").glob("*.sh"), *(ROOT / "scripts" / "lib").glob("*.sh")]
        if path.name != "rehearse.sh"
    ]
    lines = [line for path in paths for line in path.read_text(encoding="utf-8").splitlines()]
    return "\n".join(line for line in lines if not line.lstrip().startswith("#"))


# --- trust.json and iam-role-policy.json -----------------------------------------------------------------------------


def test_trust_is_in_the_account() -> None:
    assert document(ROOT / "trust.json") == {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, "Action": "sts:AssumeRole"}
        ],
    }


def test_role_sees_one_cluster_and_nothing_else() -> None:
    assert document(ROOT / "iam-role-policy.json") == {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Action": "eks:DescribeCluster",
                "Resource": f"arn:aws:eks:<REGION>:{ACCOUNT}:cluster/<CLUSTER_NAME>",
            }
        ],
    }


@pytest.mark.parametrize("name", ["trust.json", "iam-role-policy.json", "docs/learner-policy.json"])
def test_placeholders_are_those_that_the_readme_names(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert "<ACCOUNT_ID>" in text
    assert set(re.findall(r"<[^>]*>", text)) <= {"<ACCOUNT_ID>", "<REGION>", "<CLUSTER_NAME>"}
    assert not re.search(r"\d{12}", text)


@pytest.mark.parametrize("name", ["trust.json", "iam-role-policy.json"])
def test_placeholders_can_be_filled_in(name: str) -> None:
    values = [f"ACCOUNT_ID={ACCOUNT}", "REGION=us-east-2", "CLUSTER_NAME=eksctl-demo"]
    done = subprocess.run(
        [sys.executable, "scripts/lib/render.py", name, *values],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    assert "<" not in done.stdout
    assert json.loads(done.stdout)["Version"] == "2012-10-17"


# --- docs/learner-policy.json --------------------------------------------------------------------------------------


def test_learner_policy_fits_a_managed_policy() -> None:
    assert len(re.sub(r"\s", "", json.dumps(document(LEARNER)))) <= 6144


@pytest.mark.parametrize("call", sorted(calls(commands_of_scripts())))
def test_learner_may_do_what_the_scripts_call(call: str) -> None:
    needed = right(call)
    assert needed is None or needed in DIRECT


def test_learner_may_do_what_the_readme_calls() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    fences = re.findall(r"^```bash[^\n]*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    by_an_administrator = {"iam create-user", "iam create-policy", "iam attach-user-policy"}
    needed = {right(call) for call in calls("\n".join(fences)) - by_an_administrator} - {None}
    assert needed <= DIRECT


@pytest.mark.parametrize("action", sorted(DIRECT))
def test_learner_has_no_right_without_a_use(action: str) -> None:
    called = {right(call) for call in calls(commands_of_scripts())}
    assert (action in called) != (action in OTHER_USES)


def test_no_right_is_a_whole_service() -> None:
    actions = [action for statement in STATEMENTS.values() for action in as_list(statement["Action"])]
    assert not [action for action in actions if action.endswith(":*") or action == "*"]
    assert not [action for action in DIRECT if "*" in action]


def test_what_concerns_the_whole_account_only_asks() -> None:
    everywhere = [statement for statement in STATEMENTS.values() if "*" in as_list(statement["Resource"])]
    actions = [action.split(":")[1] for statement in everywhere for action in as_list(statement["Action"])]
    assert not [action for action in actions if not re.match(r"Describe|List|Get", action)]


def test_names_are_those_of_the_settings() -> None:
    text = LEARNER.read_text(encoding="utf-8")
    region, cluster = setting("AWS_REGION"), setting("CLUSTER_NAME")
    assert STATEMENTS["Cluster"]["Resource"] == [
        f"arn:aws:eks:{region}:{ACCOUNT}:cluster/{cluster}",
        f"arn:aws:eks:{region}:{ACCOUNT}:access-entry/{cluster}/*",
    ]
    assert STATEMENTS["KubectlRole"]["Resource"] == f"arn:aws:iam::{ACCOUNT}:role/{setting('KUBECTL_ROLE_NAME')}"
    stack = setting("STACK_NAME")
    assert STATEMENTS["Stack"]["Resource"] == f"arn:aws:cloudformation:{region}:{ACCOUNT}:stack/{stack}/*"
    assert all(
        stack in resource or "WebhookSecret" in resource for resource in STATEMENTS["StackResources"]["Resource"]
    )
    assert set(re.findall(r"arn:aws:[a-z]+:([a-z0-9-]+):", text)) == {region}


def test_resources_of_the_stack_are_made_by_cloudformation_alone() -> None:
    called_via = {"ForAnyValue:StringEquals": {"aws:CalledVia": "cloudformation.amazonaws.com"}}
    assert STATEMENTS["StackResources"]["Condition"] == called_via
    assert STATEMENTS["StackAsk"]["Condition"] == called_via


def test_roles_are_handed_to_the_services_that_the_template_names() -> None:
    statement = STATEMENTS["StackRolesToServices"]
    assert statement["Action"] == "iam:PassRole"
    assumed = [
        each["Properties"]["AssumeRolePolicyDocument"]["Statement"][0]["Principal"]["Service"]
        for each in TEMPLATE["Resources"].values()
        if each["Type"] == "AWS::IAM::Role"
    ]
    assert sorted(statement["Condition"]["StringEquals"]["iam:PassedToService"]) == sorted(assumed)
    assert statement["Resource"] == f"arn:aws:iam::{ACCOUNT}:role/{setting('STACK_NAME')}-*"


def test_every_type_of_the_template_is_covered() -> None:
    types = {each["Type"] for each in TEMPLATE["Resources"].values()}
    assert types == set(MADE)
    statement = STATEMENTS["StackResources"]
    for arn in MADE.values():
        service = arn.split(":")[2]
        assert any(fnmatchcase(arn, pattern) for pattern in statement["Resource"]), arn
        assert any(action.startswith(f"{service}:") for action in statement["Action"]), service
