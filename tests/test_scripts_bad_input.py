"""A wrong setting ends with exit code 2 and one line that names it and the remedy, and nothing was called."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.scripts import ROOT, TOKEN, Desk, copy_of_checkout

NAME = "1 to 100 letters, digits and hyphens"
REMEDY = {
    "AWS_REGION": "a region such as us-east-2",
    "CLUSTER_NAME": f"{NAME}, a letter or digit first",
    "KUBERNETES_VERSION": "a minor version such as 1.36",
    "NODE_TYPE": "an instance type such as t3.medium",
    "NODE_COUNT": "a number from 1 to 99",
    "AUTHENTICATION_MODE": "API_AND_CONFIG_MAP, CONFIG_MAP or API",
    "KUBECTL_ROLE_NAME": "the role's name, 1 to 64 characters, not its ARN and without a path",
    "STACK_NAME": f"{NAME}, a letter first",
    "APP_NAMESPACE": "1 to 63 lower-case letters, digits and hyphens",
    "GITHUB_USER": "the owner of the repository on GitHub, such as octocat",
    "GITHUB_REPO": "the repository's name alone, such as aws_pipeline",
    "GITHUB_BRANCH": "a branch name such as master or release/1.2",
}

#: Setting, value, and the value as the message shows it.
WRONG = [
    ("AWS_REGION", "ohio", "ohio"),
    ("AWS_REGION", "us-east-2a", "us-east-2a"),
    ("AWS_REGION", "US-EAST-2", "US-EAST-2"),
    ("AWS_REGION", "us-east-2 --profile x", r"us-east-2\ --profile\ x"),
    ("CLUSTER_NAME", "my cluster", r"my\ cluster"),
    ("CLUSTER_NAME", "-demo", "-demo"),
    ("CLUSTER_NAME", "demo_1", "demo_1"),
    ("CLUSTER_NAME", "démo", r"$'d\303\251mo'"),
    ("CLUSTER_NAME", "a" * 101, "a" * 60),
    ("CLUSTER_NAME", "$(touch pwned)", r"\$\(touch\ pwned\)"),
    ("CLUSTER_NAME", "`touch pwned`", r"\`touch\ pwned\`"),
    ("CLUSTER_NAME", "a;touch pwned", r"a\;touch\ pwned"),
    ("CLUSTER_NAME", 'a"b', r"a\"b"),
    ("CLUSTER_NAME", "a'b", r"a\'b"),
    ("CLUSTER_NAME", "a\nb", r"$'a\nb'"),
    ("CLUSTER_NAME", "demo\n", r"$'demo\n'"),
    ("CLUSTER_NAME", "demo\r", r"$'demo\r'"),
    ("CLUSTER_NAME", "arn:aws:eks:us-east-2:111122223333:cluster/demo", "arn:aws:eks:us-east-2:111122223333:cluster/demo"),
    ("KUBERNETES_VERSION", "1", "1"),
    ("KUBERNETES_VERSION", "v1.36", "v1.36"),
    ("KUBERNETES_VERSION", "1.36.3", "1.36.3"),
    ("KUBERNETES_VERSION", "latest", "latest"),
    ("KUBERNETES_VERSION", "2.0", "2.0"),
    ("NODE_TYPE", "t3", "t3"),
    ("NODE_TYPE", "t3.medium,t3.large", r"t3.medium\,t3.large"),
    ("NODE_TYPE", "T3.MEDIUM", "T3.MEDIUM"),
    ("NODE_COUNT", "0", "0"),
    ("NODE_COUNT", "two", "two"),
    ("NODE_COUNT", "-1", "-1"),
    ("NODE_COUNT", "2.5", "2.5"),
    ("NODE_COUNT", "100", "100"),
    ("NODE_COUNT", "a[$(touch pwned)]", r"a\[\$\(touch\ pwned\)\]"),
    ("AUTHENTICATION_MODE", "api", "api"),
    ("AUTHENTICATION_MODE", "IAM", "IAM"),
    ("KUBECTL_ROLE_NAME", "arn:aws:iam::111122223333:role/x", "arn:aws:iam::111122223333:role/x"),
    ("KUBECTL_ROLE_NAME", "team/deployer", "team/deployer"),
    ("KUBECTL_ROLE_NAME", "a" * 65, "a" * 60),
    ("KUBECTL_ROLE_NAME", "-x", "-x"),
    ("KUBECTL_ROLE_NAME", "a*", r"a\*"),
    ("STACK_NAME", "1st", "1st"),
    ("STACK_NAME", "aws_pipeline", "aws_pipeline"),
    ("STACK_NAME", "a" * 101, "a" * 60),
    ("STACK_NAME", "-stack", "-stack"),
    ("APP_NAMESPACE", "Hello", "Hello"),
    ("APP_NAMESPACE", "hello_world", "hello_world"),
    ("APP_NAMESPACE", "hello-", "hello-"),
    ("APP_NAMESPACE", "a" * 64, "a" * 60),
    ("APP_NAMESPACE", "--all", "--all"),
    ("GITHUB_USER", "octo cat", r"octo\ cat"),
    ("GITHUB_USER", "-octocat", "-octocat"),
    ("GITHUB_USER", "octocat/", "octocat/"),
    ("GITHUB_USER", "https://github.com/octocat", "https://github.com/octocat"),
    ("GITHUB_REPO", "octocat/aws_pipeline", "octocat/aws_pipeline"),
    ("GITHUB_REPO", "..", ".."),
    ("GITHUB_REPO", "https://github.com/octocat/aws_pipeline", "https://github.com/octocat/aws_pipeline"),
    ("GITHUB_REPO", "a?b=c", r"a\?b=c"),
    ("GITHUB_BRANCH", "my branch", r"my\ branch"),
    ("GITHUB_BRANCH", "-delete", "-delete"),
    ("GITHUB_BRANCH", "master/", "master/"),
    ("GITHUB_BRANCH", "master?x", r"master\?x"),
    ("GITHUB_BRANCH", "refs~1", r"refs~1"),
]  # fmt: skip

#: Scripts, environment and arguments whose combination is wrong, and the first line.
WRONG_TOGETHER = [
    ("APP_NAMESPACE", "default", "APP_NAMESPACE is default: set it to a namespace of the app's own, in settings.sh or the environment"),
    ("APP_NAMESPACE", "kube-system", "APP_NAMESPACE is kube-system: set it to a namespace of the app's own, in settings.sh or the environment"),
    ("GITHUB_BRANCH", "a..b", "GITHUB_BRANCH is a..b: set it to a branch name such as master or release/1.2, in settings.sh or the environment"),
    ("GITHUB_BRANCH", "a//b", "GITHUB_BRANCH is a//b: set it to a branch name such as master or release/1.2, in settings.sh or the environment"),
    ("GITHUB_BRANCH", "x.lock", "GITHUB_BRANCH is x.lock: set it to a branch name such as master or release/1.2, in settings.sh or the environment"),
    ("GITHUB_TOKEN", "ghp_short", "GITHUB_TOKEN does not look like a GitHub token: copy it again, without spaces or quotes around it"),
    ("GITHUB_TOKEN", f"{TOKEN}\n", "GITHUB_TOKEN does not look like a GitHub token: copy it again, without spaces or quotes around it"),
    ("GITHUB_TOKEN", f'{TOKEN}"', "GITHUB_TOKEN does not look like a GitHub token: copy it again, without spaces or quotes around it"),
    ("GITHUB_TOKEN", f'"\nurl = "https://x/{TOKEN}', "GITHUB_TOKEN does not look like a GitHub token: copy it again, without spaces or quotes around it"),
    ("CONNECTION_ARN", "aws-pipeline", "CONNECTION_ARN is aws-pipeline: set it to a connection's ARN, in settings.sh or the environment"),
    ("APPROVAL_REQUIRED", "yes", "APPROVAL_REQUIRED is yes: set it to true or false, in settings.sh or the environment"),
    ("NOTIFICATION_EMAIL", "me", "NOTIFICATION_EMAIL is me: set it to one e-mail address, in settings.sh or the environment"),
    ("NOTIFICATION_EMAIL", "a@b.c,d@e.f", r"NOTIFICATION_EMAIL is a@b.c\,d@e.f: set it to one e-mail address, in settings.sh or the environment"),
    ("CODEBUILD_IMAGE", "ubuntu:24.04", "CODEBUILD_IMAGE is ubuntu:24.04: set it to an image such as aws/codebuild/standard:8.0, in settings.sh or the environment"),
]  # fmt: skip


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path / "desk")


def assert_refused(desk: Desk, script: str, first_line: str, **environment: str) -> None:
    done = desk.run(script, **environment)
    assert done.stderr.splitlines() == [first_line]
    assert done.returncode == 2
    assert done.stdout == ""
    assert desk.calls() == []
    assert not list(ROOT.rglob("pwned"))


@pytest.mark.parametrize(("setting", "value", "shown"), WRONG, ids=[f"{s}={v[:20]!r}" for s, v, _ in WRONG])
def test_wrong_setting(setting: str, value: str, shown: str, desk: Desk) -> None:
    line = f"{setting} is {shown}: set it to {REMEDY[setting]}, in settings.sh or the environment"
    assert_refused(desk, "create-cluster.sh", line, **{setting: value})


@pytest.mark.parametrize(
    ("setting", "value", "line"), WRONG_TOGETHER, ids=[f"{s}={v[:20]!r}" for s, v, _ in WRONG_TOGETHER]
)
def test_wrong_in_create_stack(setting: str, value: str, line: str, desk: Desk) -> None:
    assert_refused(desk, "create-stack.sh", line, **{setting: value})


@pytest.mark.parametrize(
    "script", ["authorize-role.sh", "create-role.sh", "create-stack.sh", "leftovers.sh", "preflight.sh", "setup-cluster.sh",
               "status.sh", "teardown.sh", "check-github.sh"],
)  # fmt: skip
def test_each_script_looks_at_the_settings_first(script: str, desk: Desk) -> None:
    line = r"CLUSTER_NAME is a\ b: set it to 1 to 100 letters, digits and hyphens, a letter or digit first, in settings.sh or the environment"
    assert_refused(desk, script, line, CLUSTER_NAME="a b")


@pytest.mark.parametrize("script", ["create-stack.sh", "preflight.sh", "check-github.sh"])
def test_token_and_connection_exclude_each_other(script: str, desk: Desk) -> None:
    arn = "arn:aws:codeconnections:us-east-2:111122223333:connection/aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
    line = "GITHUB_TOKEN and CONNECTION_ARN are both set: unset one of them"
    assert_refused(desk, script, line, GITHUB_TOKEN=TOKEN, CONNECTION_ARN=arn)


def test_no_repository_is_known(desk: Desk, tmp_path: Path) -> None:
    desk.checkout = copy_of_checkout(tmp_path / "no origin")
    line = "GITHUB_USER is not set: this checkout has no origin on GitHub, so set it in settings.sh or the environment"
    assert_refused(desk, "create-stack.sh", line, GITHUB_USER="", GIT_CEILING_DIRECTORIES=str(tmp_path))


def test_a_wrong_token_is_not_repeated(desk: Desk) -> None:
    done = desk.run("create-stack.sh", GITHUB_TOKEN="secret with spaces")
    assert "secret" not in done.stdout + done.stderr
