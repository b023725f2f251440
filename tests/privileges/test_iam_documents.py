"""trust.json, iam-role-policy.json and docs/policies: valid, minimal, and sufficient for the scripts.

What eksctl needs, in docs/policies/cluster.json, is in test_cluster_policy.py.
"""

from __future__ import annotations

import functools
import json
import re
import subprocess
import sys
from fnmatch import fnmatchcase
from typing import Any

import botocore.session
import pytest
from botocore import xform_name

from rehearsal.emulator import caller_rights, service_reference
from tests.support.account import rendered
from tests.support.names import ACCOUNT, CLUSTER, REGION
from tests.support.paths import ROOT
from tests.support.policies import LEARNER, MADE
from tests.support.privileges import as_list
from tests.support.template import TEMPLATE

CALL = re.compile(r"\baws ([a-z0-9-]+) ([a-z-]+)(?: ([a-z-]+))?")

#: The permissions of AWS CLI commands that are not named after them; None if they need no permission.
RIGHT_OF = {
    "budgets create-budget": "budgets:ModifyBudget",
    "budgets create-notification": "budgets:ModifyBudget",
    "budgets delete-budget": "budgets:ModifyBudget",
    "budgets describe-budget": "budgets:ViewBudget",
    "budgets describe-subscribers-for-notification": "budgets:ViewBudget",
    "budgets update-budget": "budgets:ModifyBudget",
    "budgets update-subscriber": "budgets:ModifyBudget",
    "s3api delete-objects": "s3:DeleteObject",
    "s3api list-buckets": "s3:ListAllMyBuckets",
    "s3api list-object-versions": "s3:ListBucketVersions",
    "service-quotas get-service-quota": "servicequotas:GetServiceQuota",
    "iam wait": "iam:GetRole",
    "eks update-kubeconfig": "eks:DescribeCluster",
    "eks get-token": None,
    "logs tail": "logs:FilterLogEvents",
    "sts get-caller-identity": None,
}
#: Permissions that no command in scripts/*.sh has the name of, and what needs them.
OTHER_USES = {
    "cloudformation:CreateStack": "create-stack.sh, which takes the verb from a variable",
    "cloudformation:UpdateStack": "create-stack.sh, which takes the verb from a variable",
    "cloudformation:CreateUploadBucket": "the console, to upload the template",
    "cloudformation:GetTemplateSummary": "the console, to show the template's parameters",
    "s3:CreateBucket": "the console, to upload the template",
    "s3:GetObject": "the console, to upload the template",
    "s3:PutObject": "the console, to upload the template",
    "codeconnections:CreateConnection": "the documents, the connection to GitHub",
    "codeconnections:DeleteConnection": "the documents, the connection to GitHub",
    "codeconnections:GetConnection": "check-github.sh, which takes the service from the ARN",
    "codestar-connections:GetConnection": "check-github.sh, which takes the service from the ARN",
    "codestar-connections:PassConnection": "CodePipeline, to which the stack passes an older connection",
    "codestar-connections:UseConnection": "CodePipeline, to which the stack passes an older connection",
    "codeconnections:GetIndividualAccessToken": "the console, to finish the connection",
    "codeconnections:GetInstallationUrl": "the console, to finish the connection",
    "codeconnections:ListConnections": "the console, to show the connection",
    "codeconnections:ListInstallationTargets": "the console, to finish the connection",
    "codeconnections:PassConnection": "CodePipeline, to which the stack passes the connection",
    "codeconnections:StartOAuthHandshake": "the console, to finish the connection",
    "codeconnections:UpdateConnectionInstallation": "the console, to finish the connection",
    "codeconnections:UseConnection": "CodePipeline, to which the stack passes the connection",
    "codebuild:BatchGetBuilds": "the console, a build's page",
    "codepipeline:GetPipeline": "the console, the pipeline's page",
    "codepipeline:GetPipelineState": "the documents, the approval; the console, the pipeline's page",
    "codepipeline:ListActionExecutions": "the console, the pipeline's history",
    "codepipeline:PutApprovalResult": "the documents, the approval",
    "codepipeline:RetryStageExecution": "the console, to retry a stage",
    "codepipeline:RollbackStage": "the documents, to return production to an earlier image",
    "codepipeline:StartPipelineExecution": "the documents, to start the pipeline by hand",
    "s3:DeleteObjectVersion": "teardown.sh, whose delete-objects names the versions",
    "iam:PassRole": "CloudFormation, which passes each service its role",
    "logs:FilterLogEvents": "the documents, aws logs tail",
    "logs:GetLogEvents": "the console, a build's log",
}

#: The statements of all policies, by the policy's name and their own.
STATEMENTS: dict[str, Any] = {
    f"{name}.{statement['Sid']}": statement for name, policy in LEARNER.items() for statement in policy["Statement"]
}


def own(*names: str) -> set[str]:
    """Return the permissions of the learner's own commands, without those that CloudFormation uses on their behalf."""
    return {
        action
        for name, statement in STATEMENTS.items()
        if name.partition(".")[0] in names and "aws:CalledVia" not in json.dumps(statement)
        for action in as_list(statement["Action"])
    }


#: The permissions of commands of the AWS CLI; eksctl's other ones are for its own stacks.
CALLED = own("scripts", "stack") | {action for action in own("cluster") if action.startswith("eks:")}


def setting(name: str) -> str:
    """Return a setting's default in settings.sh."""
    found = re.search(rf': "\${{{name}:=([^}}]*)}}"', (ROOT / "settings.sh").read_text(encoding="utf-8"))
    assert found, name
    return found[1]


@functools.cache
def calls(text: str) -> set[str]:
    """Return the AWS operations that a text calls with the AWS CLI, as ``service operation``."""
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
    """Return the IAM action that a call needs."""
    service, operation = call.split()
    return RIGHT_OF.get(call, f"{service}:{''.join(word.capitalize() for word in operation.split('-'))}")


def commands_of_scripts() -> str:
    """Return what a learner's shell runs: the scripts without comments, and without those of builds."""
    paths = [
        path
        for path in [*(ROOT / "scripts").glob("*.sh"), *(ROOT / "scripts" / "lib").glob("*.sh")]
        if path.name != "rehearse.sh"
    ]
    lines = [line for path in paths for line in path.read_text(encoding="utf-8").splitlines()]
    return "\n".join(line for line in lines if not line.lstrip().startswith("#"))


# --- trust.json and iam-role-policy.json -----------------------------------------------------------------------------


def test_trust_policy_allows_the_account_only() -> None:
    assert rendered(ROOT / "trust.json") == {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, "Action": "sts:AssumeRole"}
        ],
    }


def test_role_policy_allows_one_cluster_only() -> None:
    assert rendered(ROOT / "iam-role-policy.json") == {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Action": "eks:DescribeCluster",
                "Resource": f"arn:aws:eks:{REGION}:{ACCOUNT}:cluster/{CLUSTER}",
            }
        ],
    }


PLACEHOLDERS = ("PARTITION", "ACCOUNT_ID", "REGION", "CLUSTER_NAME", "KUBECTL_ROLE_NAME", "STACK_NAME")


@pytest.mark.parametrize(
    "name", ["trust.json", "iam-role-policy.json", *(f"docs/policies/{each}.json" for each in LEARNER)]
)
def test_documents_have_known_placeholders_only(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert "<ACCOUNT_ID>" in text
    assert set(re.findall(r"<([^>]*)>", text)) <= {*PLACEHOLDERS, "stack_name"}
    assert not re.search(r"\d{12}", text)


@pytest.mark.parametrize("name", ["trust.json", "iam-role-policy.json"])
def test_placeholders_can_be_filled_in(name: str) -> None:
    values = [f"{name}=value" for name in PLACEHOLDERS]
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


# --- docs/policies ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LEARNER)
def test_learner_policies_are_far_from_the_limit_of_a_managed_policy(name: str) -> None:
    # 6,144 characters without white space, and ten policies for a user (IAM user guide, "IAM and AWS STS quotas").
    text = (ROOT / "docs" / "policies" / f"{name}.json").read_text(encoding="utf-8")
    assert len(re.sub(r"\s", "", text)) <= 5400
    assert len(LEARNER) <= 10


def test_learner_policies_are_those_that_the_readme_attaches() -> None:
    (attached,) = re.findall(
        r"^for policy in ([a-z ]+); do$", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert sorted(attached.split()) == sorted(LEARNER)


@pytest.mark.parametrize("call", sorted(calls(commands_of_scripts())))
def test_learner_policy_allows_the_scripts_calls(call: str) -> None:
    needed = right(call)
    assert needed is None or needed in CALLED


def test_learner_policy_allows_the_documents_calls() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    fences = re.findall(r"^```bash[^\n]*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    by_an_administrator = {"iam create-user", "iam create-policy", "iam attach-user-policy"}
    needed = {right(call) for call in calls("\n".join(fences)) - by_an_administrator} - {None}
    assert needed <= CALLED


@pytest.mark.parametrize("action", sorted(own("scripts", "stack")))
def test_learner_policy_has_no_unused_permission(action: str) -> None:
    called = {right(call) for call in calls(commands_of_scripts())}
    assert (action in called) != (action in OTHER_USES)


def test_learner_policy_allows_no_whole_service() -> None:
    actions = [action for statement in STATEMENTS.values() for action in as_list(statement["Action"])]
    assert not [action for action in actions if action.endswith(":*") or action == "*"]
    assert not [action for action in own(*LEARNER) if "*" in action]


def test_account_wide_permissions_are_read_only_or_have_no_narrower_resource() -> None:
    everywhere = [statement for statement in STATEMENTS.values() if "*" in as_list(statement["Resource"])]
    actions = {action for statement in everywhere for action in as_list(statement["Action"])}
    changing = {action for action in actions if not re.match(r"Describe|List|Get", action.partition(":")[2])}
    assert changing == {
        "cloudformation:CreateUploadBucket",
        "codeconnections:CreateConnection",
        "codeconnections:StartOAuthHandshake",
        "eks:CreateCluster",
        "sns:Unsubscribe",
    }
    required = {action: (service_reference.details(action) or {})["resourceTypes"] for action in changing}
    assert [action for action, types in required.items() if any(each["required"] for each in types)] == []


def test_learner_policy_has_the_settings_names() -> None:
    region, cluster = setting("AWS_REGION"), setting("CLUSTER_NAME")
    assert STATEMENTS["scripts.Cluster"]["Resource"] == [
        f"arn:aws:eks:{region}:{ACCOUNT}:cluster/{cluster}",
        f"arn:aws:eks:{region}:{ACCOUNT}:access-entry/{cluster}/*",
    ]
    assert (
        STATEMENTS["scripts.KubectlRole"]["Resource"] == f"arn:aws:iam::{ACCOUNT}:role/{setting('KUBECTL_ROLE_NAME')}"
    )
    stack = setting("STACK_NAME")
    assert STATEMENTS["stack.Stack"]["Resource"] == f"arn:aws:cloudformation:{region}:{ACCOUNT}:stack/{stack}/*"
    assert all(
        stack in resource or "WebhookSecret" in resource for resource in STATEMENTS["stack.StackResources"]["Resource"]
    )
    assert set(re.findall(r"arn:aws:[a-z0-9-]+:([a-z0-9-]+):", json.dumps(LEARNER))) == {region}


def test_stack_resources_are_changed_by_cloudformation_only() -> None:
    called_via = {"ForAnyValue:StringEquals": {"aws:CalledVia": "cloudformation.amazonaws.com"}}
    assert STATEMENTS["stack.StackResources"]["Condition"] == called_via
    assert STATEMENTS["stack.StackAsk"]["Condition"] == called_via


def test_roles_are_passed_to_the_templates_services_only() -> None:
    statement = STATEMENTS["stack.StackRolesToServices"]
    assert statement["Action"] == "iam:PassRole"
    assumed = [
        each["Properties"]["AssumeRolePolicyDocument"]["Statement"][0]["Principal"]["Service"]
        for each in TEMPLATE["Resources"].values()
        if each["Type"] == "AWS::IAM::Role"
    ]
    assert sorted(statement["Condition"]["StringEquals"]["iam:PassedToService"]) == sorted(assumed)
    assert statement["Resource"] == f"arn:aws:iam::{ACCOUNT}:role/{setting('STACK_NAME')}-*"


def test_learner_policy_covers_every_resource_type() -> None:
    types = {each["Type"] for each in TEMPLATE["Resources"].values()}
    assert types == set(MADE)
    statement = STATEMENTS["stack.StackResources"]
    for arn in MADE.values():
        service = arn.split(":")[2]
        assert any(fnmatchcase(arn, pattern) for pattern in statement["Resource"]), arn
        assert any(action.startswith(f"{service}:") for action in statement["Action"]), service


@pytest.mark.parametrize("operation", caller_rights.HANDLERS)
def test_stack_policy_has_what_each_resource_needs(operation: str) -> None:
    given = [action for each in LEARNER["stack"]["Statement"] for action in as_list(each["Action"])]
    missing = {
        action
        for resource in TEMPLATE["Resources"].values()
        for action in caller_rights.actions(resource["Type"], operation, resource["Properties"])
        if not any(fnmatchcase(action, pattern) for pattern in given)
    }
    assert missing == set()
