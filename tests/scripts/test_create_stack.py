"""create-role.sh and create-stack.sh against the emulator: once, twice and after a failure."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.support.account import OPEN, Aws, environment, run
from tests.support.desk import Desk, copy_of_checkout
from tests.support.names import ACCOUNT, ROLE, STACK, TOKEN
from tests.support.paths import ROOT

pytestmark = pytest.mark.services
UNKNOWN = """\
  Unknown:
    Type: Custom::Unknown
    Properties:
      ServiceToken: arn:aws:lambda:us-east-2:111122223333:function:missing
      ServiceTimeout: 5
"""
CHANGES = ("create-", "delete-", "put-", "update-", "attach-", "continue-")


def changes(desk: Desk) -> list[str]:
    """Return the operations that can change something."""
    return [word for call in desk.calls() if call[0] == "aws" for word in call[5:7] if word.startswith(CHANGES)]


def policy(aws: Aws) -> object:
    return aws.root("iam").get_role_policy(RoleName=ROLE, PolicyName="eks-describe")["PolicyDocument"]["Statement"]


def test_role_is_created_once(desk: Desk, aws: Aws) -> None:
    run(desk, aws, "create-role.sh")
    assert aws.trust() == OPEN
    assert policy(aws) == [
        {
            "Effect": "Allow",
            "Action": "eks:DescribeCluster",
            "Resource": f"arn:aws:eks:us-east-2:{ACCOUNT}:cluster/eksctl-demo",
        }
    ]
    desk.forget()
    said = run(desk, aws, "create-role.sh")
    assert changes(desk) == []
    assert "==> The role already exists" in said.splitlines()


def test_corrects_the_policy_and_keeps_a_narrowed_trust(desk: Desk, aws: Aws) -> None:
    narrow = [OPEN[0] | {"Condition": {"ArnEquals": {"aws:PrincipalArn": f"arn:aws:iam::{ACCOUNT}:role/builds"}}}]
    aws.make_role(ROLE, narrow)
    run(desk, aws, "create-role.sh", CLUSTER_NAME="other")
    assert changes(desk) == ["put-role-policy"]
    assert aws.trust() == narrow
    assert "cluster/other" in json.dumps(policy(aws))


def test_stack_is_created_then_updated_then_unchanged(desk: Desk, aws: Aws) -> None:
    run(desk, aws, "create-role.sh")
    assert "==> The stack is CREATE_COMPLETE" in run(desk, aws, "create-stack.sh").splitlines()
    assert "Condition" in aws.trust()[0]
    assert "UPDATE_COMPLETE" in run(desk, aws, "create-stack.sh", GITHUB_TOKEN="", APPROVAL_REQUIRED="true")
    assert "Approve" in json.dumps(json.loads(aws.records.read_text()))
    desk.forget()
    assert "==> The stack is up to date" in run(desk, aws, "create-stack.sh", GITHUB_TOKEN="").splitlines()
    assert changes(desk) == []
    assert "UPDATE_COMPLETE" in run(desk, aws, "create-stack.sh", GITHUB_TOKEN="", APPROVAL_REQUIRED="false")
    assert changes(desk) == ["update-stack"]
    assert TOKEN in aws.records.read_text()
    assert TOKEN not in json.dumps(desk.calls())
    assert [path.name for path in desk.home.iterdir() if path.is_dir() and path.name.startswith("tmp.")] == []


def parameters(aws: Aws) -> dict[str, str]:
    (stack,) = aws.root("cloudformation").describe_stacks(StackName=STACK)["Stacks"]
    return {each["ParameterKey"]: each["ParameterValue"] for each in stack["Parameters"]}


def test_update_changes_only_what_was_given(desk: Desk, aws: Aws, tmp_path: Path) -> None:
    """From another clone, on another branch, in a terminal without the exports of the first."""
    other = {
        "CLUSTER_NAME": "other",
        "GITHUB_BRANCH": "release",
        "APP_NAMESPACE": "shop",
        "KUBECTL_ROLE_NAME": "OtherRole",
    }
    try:
        run(desk, aws, "create-role.sh", **other)
        run(desk, aws, "create-stack.sh", **other)
        before = parameters(aws)
        desk.checkout = copy_of_checkout(tmp_path / "another clone")
        for command in (["init", "-b", "my-change"], ["remote", "add", "origin", "https://github.com/someone/fork"]):
            subprocess.run(["git", *command], cwd=desk.checkout, check=True, capture_output=True, timeout=30)
        said = run(desk, aws, "create-stack.sh", GITHUB_TOKEN="", GITHUB_USER="", APPROVAL_REQUIRED="true").splitlines()
        after = parameters(aws)
        settings = desk.checkout / "settings.sh"
        settings.write_text(settings.read_text().replace("GITHUB_BRANCH:=", "GITHUB_BRANCH:=main"))
        edited = run(desk, aws, "create-stack.sh", GITHUB_TOKEN="", GITHUB_USER="").splitlines()
        assert parameters(aws) == after | {"GitBranch": "main"}
    finally:
        aws.delete(STACK)
        aws.remove_role("OtherRole")
    assert after == before | {"ApprovalRequired": "true"}
    assert "==> Keep the stack's GITHUB_BRANCH, release, not my-change: to change it, export GITHUB_BRANCH" in said
    assert "==> Check learner/aws_pipeline, branch release, on GitHub" in said
    assert [line for line in said if line.startswith("==> Change ")] == [
        "==> Change ApprovalRequired from 'false' to 'true'"
    ]
    assert said.index("==> Change ApprovalRequired from 'false' to 'true'") < said.index(
        "==> Update the stack aws-pipeline"
    )
    assert [line for line in edited if line.startswith("==> Change ")] == [
        "==> Change GitBranch from 'release' to 'main'"
    ]


#: Another value of each setting, and where it must arrive: a variable of the builds, a part of the pipeline, or nowhere,
#: as no script that builds run reads it.
OTHER = {
    "AWS_REGION": ("us-east-2", "CodeBuild sets it"),
    "CLUSTER_NAME": ("other-cluster", "EKS_CLUSTER_NAME"),
    "KUBERNETES_VERSION": ("1.35", "settings.sh of the commit"),
    "NODE_TYPE": ("t3.large", ""),
    "NODE_COUNT": ("3", ""),
    "AUTHENTICATION_MODE": ("API", ""),
    "KUBECTL_ROLE_NAME": ("OtherRole", "EKS_KUBECTL_ROLE_ARN"),
    "STACK_NAME": ("other-stack", ""),
    "APP_NAMESPACE": ("other-namespace", "APP_NAMESPACE"),
    "GITHUB_USER": ("other-user", "pipeline"),
    "GITHUB_REPO": ("other-repository", "pipeline"),
    "GITHUB_BRANCH": ("other-branch", "pipeline"),
}


def test_every_setting_reaches_what_uses_it(desk: Desk, aws: Aws) -> None:
    """Exported for one command, as in ``APP_NAMESPACE=other scripts/create-stack.sh``."""
    settings = (ROOT / "settings.sh").read_text(encoding="utf-8")
    assert set(re.findall(r"\$\{([A-Z_]+):=", settings)) == set(OTHER)
    values = {name: value for name, (value, _) in OTHER.items()}
    try:
        run(desk, aws, "create-role.sh", **values)
        run(desk, aws, "create-stack.sh", **values)
        (project,) = aws.root("codebuild").batch_get_projects(names=["other-stack"])["projects"]
        pipeline = aws.records.read_text()
    finally:
        aws.delete("other-stack")
        aws.remove_role("OtherRole")
    variables = {each["name"]: each["value"] for each in project["environment"]["environmentVariables"]}
    used = "".join(file.read_text() for file in [*(ROOT / "scripts/build").iterdir(), ROOT / "buildspec.yml"])
    for name, (value, where) in OTHER.items():
        if where in variables:
            assert variables[where].endswith(value), name
        elif where == "pipeline":
            assert f'"{value}"' in pipeline, name
        elif not where:
            assert f"${name}" not in used, f"a build uses {name}, which it cannot know"
            assert f"${{{name}" not in used, f"a build uses {name}, which it cannot know"
    assert "builds use only\n# KUBERNETES_VERSION" in settings


def test_missing_token_fails_before_any_change(desk: Desk, aws: Aws) -> None:
    run(desk, aws, "create-role.sh")
    desk.forget()
    done = desk.run("create-stack.sh", **environment(aws, GITHUB_TOKEN=""))
    assert done.returncode == 1
    assert done.stderr.startswith(
        "GITHUB_TOKEN is not set: export a GitHub token, or export the ARN of a connection as CONNECTION_ARN"
    )
    assert changes(desk) == []


def test_missing_role_fails_before_any_change(desk: Desk, aws: Aws) -> None:
    done = desk.run("create-stack.sh", **environment(aws))
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f"role {ROLE} does not exist: run scripts/create-role.sh"
    assert changes(desk) == []


def test_rolled_back_stack_is_replaced(desk: Desk, aws: Aws) -> None:
    run(desk, aws, "create-role.sh")
    aws.root("cloudformation").create_stack(StackName=STACK, TemplateBody="Resources:\n" + UNKNOWN)
    assert aws.settle(STACK) == "ROLLBACK_COMPLETE"
    said = run(desk, aws, "create-stack.sh").splitlines()
    assert "==> Delete the stack of an earlier attempt, which is ROLLBACK_COMPLETE" in said
    assert "==> The stack is CREATE_COMPLETE" in said


def test_failed_stack_is_explained(desk: Desk, aws: Aws, tmp_path: Path) -> None:
    run(desk, aws, "create-role.sh")
    desk.checkout = copy_of_checkout(tmp_path / "broken checkout")
    template = desk.checkout / "ci-cd-codepipeline.cfn.yml"
    template.write_text(template.read_text().replace("\nResources:\n", "\nResources:\n" + UNKNOWN))
    done = desk.run("create-stack.sh", timeout=240, **environment(aws))
    assert done.returncode == 1
    assert "stack aws-pipeline is ROLLBACK_COMPLETE: fix the errors above, then run this again" in done.stderr
    assert any(line.startswith("    Unknown: ") for line in done.stderr.splitlines())
