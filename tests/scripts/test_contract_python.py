"""render.py and stack_parameters.py: their output, and how they reject wrong input."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.support.names import TOKEN
from tests.support.paths import ROOT
from tests.support.template import TEMPLATE

CONNECTION = "arn:aws:codeconnections:us-east-2:111122223333:connection/01234567-89ab-cdef-0123-456789abcdef"
SETTINGS = {
    "CLUSTER_NAME": "eksctl-demo",
    "KUBECTL_ROLE_NAME": "deployer",
    "GITHUB_USER": "octocat",
    "GITHUB_REPO": "aws_pipeline",
    "GITHUB_BRANCH": "main",
}
GIVEN = {
    "EksClusterName": "eksctl-demo",
    "KubectlRoleName": "deployer",
    "GitHubUser": "octocat",
    "GitSourceRepo": "aws_pipeline",
    "GitBranch": "main",
}
SECRETS = {"GitHubToken", "ConnectionArn"}
OPTIONS = set(TEMPLATE["Parameters"]) - set(GIVEN) - SECRETS


def module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / "lib" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def python(script: str, *arguments: str, given: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-B", ROOT / "scripts" / "lib" / script, *arguments],
        input=given, env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


# --- render.py

STATEMENT = {"Action": "a:B", "Effect": "Allow", "Resource": "*"}


def policy(**more: Any) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": [STATEMENT]} | more)


def render(text: str, **values: str) -> str:
    return str(module("render").render(text, values))


def test_fills_in_placeholders_in_values_only() -> None:
    statement = STATEMENT | {"Resource": ["<A>:<B_C>:<A>", 1, True, None], "<A>": {"x": "<A>"}}
    filled = STATEMENT | {"Resource": ["1:d=e:1", 1, True, None], "<A>": {"x": "1"}}
    assert json.loads(render(policy(Statement=[statement]), A="1", B_C="d=e")) == json.loads(policy(Statement=[filled]))


def test_equal_policies_render_to_equal_strings() -> None:
    text = policy()
    other = json.dumps(dict(reversed(json.loads(text).items())), indent=3)
    assert other != text
    assert render(other) == render(text) == json.dumps(json.loads(text), sort_keys=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (policy(Statement=[STATEMENT | {"Resource": "<WHO>"}]), "unknown placeholder <WHO>"),
        (policy(Version="2012-10-18"), "its Version must be 2012-10-17"),
        ("[]", "its Version must be 2012-10-17"),
        (policy(Statement=[]), "its Statement must be a list of at least one statement"),
        (policy(Statement=STATEMENT), "its Statement must be a list of at least one statement"),
        (policy(Statement=[STATEMENT, "x"]), "each statement must have an Action"),
        (policy(Statement=[STATEMENT | {"Effect": "allow"}]), "each statement must have an Action"),
        (policy(Statement=[STATEMENT | {"Action": []}]), "each statement must have an Action"),
        ("{", "Expecting property name enclosed in double quotes: line 1 column 2"),
        ("", "Expecting value: line 1 column 1"),
    ],
)
def test_rejects_an_invalid_policy(text: str, message: str) -> None:
    with pytest.raises(ValueError, match="^" + message.replace("[", r"\[")):
        render(text, A="b")


def test_accepts_both_versions_and_effects() -> None:
    text = policy(Version="2008-10-17", Statement=[STATEMENT, STATEMENT | {"Effect": "Deny"}])
    assert json.loads(render(text)) == json.loads(text)


def test_render_prints_one_line_and_splits_at_the_first_equals_sign(tmp_path: Path) -> None:
    file = tmp_path / "document.json"
    file.write_text(policy(Statement=[STATEMENT | {"Resource": "<A>"}]), encoding="utf-8")
    done = python("render.py", str(file), "A=b=c=d")
    assert (done.returncode, done.stderr, done.stdout.count("\n")) == (0, "", 1)
    assert json.loads(done.stdout)["Statement"][0]["Resource"] == "b=c=d"


@pytest.mark.parametrize(("text", "message"), [("{}", "its Version must be"), (None, "")])
def test_render_error_names_the_file(text: str | None, message: str, tmp_path: Path) -> None:
    file = tmp_path / "document.json"
    if text:
        file.write_text(text, encoding="utf-8")
    done = python("render.py", str(file), "A=b")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"{file}: {message}")
    assert done.stderr.count("\n") == 1


# --- stack_parameters.py


def parameters(verb: str, token: str = "", **settings: str) -> tuple[dict[str, str], set[str]]:
    """Return the parameters that get a value, and those that keep theirs."""
    present = TEMPLATE["Parameters"] if verb == "update-stack" else {}
    rows = module("stack_parameters").stack_parameters(settings, token, present)
    kept = {row["ParameterKey"] for row in rows if row.get("UsePreviousValue") is True}
    given = {row["ParameterKey"]: row["ParameterValue"] for row in rows if "ParameterValue" in row}
    assert len(kept) + len(given) == len(rows)
    return given, kept


def test_new_stack_gets_settings_and_defaults() -> None:
    both = {"GitHubToken": TOKEN, "ConnectionArn": ""}
    assert parameters("create-stack", TOKEN, **SETTINGS) == (GIVEN | both, set())


def test_update_keeps_parameters_without_a_setting() -> None:
    assert parameters("update-stack", **SETTINGS) == (GIVEN, OPTIONS | SECRETS)
    assert parameters("update-stack") == ({}, set(TEMPLATE["Parameters"]))


@pytest.mark.parametrize("verb", ["create-stack", "update-stack"])
def test_token_clears_the_connection_and_vice_versa(verb: str) -> None:
    given, kept = parameters(verb, TOKEN, **SETTINGS)
    assert given == GIVEN | {"GitHubToken": TOKEN, "ConnectionArn": ""}
    assert not kept & SECRETS
    given, kept = parameters(verb, **SETTINGS, CONNECTION_ARN=CONNECTION)
    assert given == GIVEN | {"GitHubToken": "", "ConnectionArn": CONNECTION}
    assert not kept & SECRETS


def test_empty_options_are_ignored() -> None:
    options = {"CODEBUILD_IMAGE": "aws/codebuild/standard:7.0", "APPROVAL_REQUIRED": "true", "NOTIFICATION_EMAIL": ""}
    given, kept = parameters("update-stack", **SETTINGS, **options)
    assert given == GIVEN | {"CodeBuildDockerImage": "aws/codebuild/standard:7.0", "ApprovalRequired": "true"}
    assert kept == OPTIONS - {"CodeBuildDockerImage", "ApprovalRequired"} | SECRETS


def test_parameter_that_the_stack_does_not_have_yet_gets_its_default() -> None:
    """CloudFormation rejects UsePreviousValue for it, when a stack of an older template is updated."""
    rows = module("stack_parameters").stack_parameters(SETTINGS, "", {"GitHubToken", "ConnectionArn", "GitBranch"})
    assert {row["ParameterKey"] for row in rows if "UsePreviousValue" in row} == SECRETS


PRESENT = GIVEN | {"CodeBuildDockerImage": "i", "ApprovalRequired": "false", "GitHubToken": "****", "ConnectionArn": ""}


@pytest.fixture
def present(tmp_path: Path) -> str:
    """A file with the stack's parameters."""
    file = tmp_path / "present.json"
    file.write_text(json.dumps([{"ParameterKey": name, "ParameterValue": value} for name, value in PRESENT.items()]))
    return str(file)


@pytest.mark.parametrize(("verb", "kept"), [("create-stack", False), ("update-stack", True)])
def test_token_is_read_from_standard_input(verb: str, kept: bool, present: str) -> None:
    done = python("stack_parameters.py", verb, *([present] if kept else []), given=TOKEN, **SETTINGS)
    rows = json.loads(done.stdout)
    assert {"ParameterKey": "GitHubToken", "ParameterValue": TOKEN} in rows
    assert any("UsePreviousValue" in row for row in rows) is kept


@pytest.mark.parametrize(
    ("settings", "lines"),
    [
        ({}, []),
        ({"APPROVAL_REQUIRED": "false"}, []),
        ({"APPROVAL_REQUIRED": "true"}, ["Change ApprovalRequired from 'false' to 'true'"]),
        ({"GITHUB_BRANCH": "other"}, ["Change GitBranch from 'main' to 'other'"]),
        ({"CONNECTION_ARN": CONNECTION}, [f"Change ConnectionArn from '' to '{CONNECTION}'"]),
        ({"NOTIFICATION_EMAIL": "a@b.cd"}, ["Change NotificationEmail from '' to 'a@b.cd'"]),
    ],
)
def test_lists_what_an_update_changes(settings: dict[str, str], lines: list[str], present: str) -> None:
    done = python("stack_parameters.py", "changes", present, **SETTINGS | settings)
    assert (done.stdout.splitlines(), done.stderr) == (lines, "")


#: What settings.sh sets in another clone, without a change to it.
SHIPPED = {
    "CLUSTER_NAME": "eksctl-demo",
    "APP_NAMESPACE": "hello-world",
    "KUBECTL_ROLE_NAME": "UdacityFlaskDeployCBKubectlRole",
}
CLONE = SHIPPED | {"GITHUB_USER": "someone", "GITHUB_REPO": "fork", "GITHUB_BRANCH": "my-change"}
OTHER_STACK = {
    "EksClusterName": "c",
    "AppNamespace": "n",
    "KubectlRoleName": "r",
    "GitHubUser": "u",
    "GitSourceRepo": "p",
    "GitBranch": "b",
}
KEPT = {
    "CLUSTER_NAME": "c",
    "APP_NAMESPACE": "n",
    "KUBECTL_ROLE_NAME": "r",
    "GITHUB_USER": "u",
    "GITHUB_REPO": "p",
    "GITHUB_BRANCH": "b",
}


@pytest.mark.parametrize(
    ("settings", "given"),
    [({}, []), *(({}, [name]) for name in KEPT), ({"CLUSTER_NAME": "edited"}, ["CLUSTER_NAME"]), ({}, list(KEPT))],
)  # fmt: skip
def test_stack_keeps_what_no_one_gave(settings: dict[str, str], given: list[str]) -> None:
    kept = module("stack_parameters").kept(CLONE | settings, given, OTHER_STACK)
    assert kept == {name: value for name, value in KEPT.items() if name not in given}


@pytest.mark.parametrize("name", SHIPPED)
def test_edit_of_the_settings_counts_as_given(name: str) -> None:
    assert name not in module("stack_parameters").kept(CLONE | {name: "edited"}, [], OTHER_STACK)


def test_shipped_values_are_the_templates_defaults() -> None:
    assert (
        SHIPPED.items()
        <= {
            module("stack_parameters").PARAMETERS.get(name): value
            for name, value in module("stack_parameters").defaults().items()
        }.items()
    )
