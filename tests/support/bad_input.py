"""All known wrong calls of the scripts (setting, argument, document), each with the only line it must print."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.desk import SCRIPTS, copy_of_checkout
from tests.support.names import TOKEN
from tests.support.paths import ROOT

ARN = "arn:aws:codeconnections:us-east-2:111122223333:connection/aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
ROLE = "arn:aws:iam::111122223333:role/deployer"
IMAGE = "111122223333.dkr.ecr.us-east-2.amazonaws.com/hello@sha256:" + "a" * 64

REMEDY = {
    "AWS_REGION": "a region such as us-east-2",
    "CLUSTER_NAME": "1 to 100 letters, digits, hyphens and underscores, starting with a letter or digit",
    "KUBERNETES_VERSION": "a minor version such as 1.36",
    "NODE_TYPE": "an instance type such as t3.medium",
    "NODE_COUNT": "a number from 1 to 99",
    "AUTHENTICATION_MODE": "API_AND_CONFIG_MAP, CONFIG_MAP or API",
    "KUBECTL_ROLE_NAME": "the role's name, 1 to 64 characters, without a path, not its ARN",
    "STACK_NAME": "1 to 100 letters, digits and hyphens, starting with a letter",
    "APP_NAMESPACE": "1 to 63 lower-case letters, digits and hyphens",
    "GITHUB_USER": "the owner of the repository on GitHub, such as octocat",
    "GITHUB_REPO": "the repository's name alone, such as aws_pipeline",
    "GITHUB_BRANCH": "a branch name such as master or release/1.2",
}

#: Setting, value, and the value as printed in the message.
SETTINGS = [
    ("AWS_REGION", "ohio", "ohio"),
    ("AWS_REGION", "us-east-2a", "us-east-2a"),
    ("AWS_REGION", "US-EAST-2", "US-EAST-2"),
    ("AWS_REGION", "aws-global", "aws-global"),
    ("AWS_REGION", "amazon-east-1", "amazon-east-1"),
    ("AWS_REGION", "us-east-2 --profile x", r"us-east-2\ --profile\ x"),
    ("CLUSTER_NAME", "my cluster", r"my\ cluster"),
    ("CLUSTER_NAME", "-demo", "-demo"),
    ("CLUSTER_NAME", "_demo", "_demo"),
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
    ("NODE_TYPE", f"{'t' * 22}.medium", f"{'t' * 22}.medium"),
    ("NODE_TYPE", f"t3.{'m' * 21}", f"t3.{'m' * 21}"),
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
    ("APP_NAMESPACE", "kube-System", "kube-System"),
    ("GITHUB_USER", "octo cat", r"octo\ cat"),
    ("GITHUB_USER", "-octocat", "-octocat"),
    ("GITHUB_USER", "octocat/", "octocat/"),
    ("GITHUB_USER", "https://github.com/octocat", "https://github.com/octocat"),
    ("GITHUB_REPO", "octocat/aws_pipeline", "octocat/aws_pipeline"),
    ("GITHUB_REPO", "..", ".."),
    ("GITHUB_REPO", "aws_pipeline.git", "aws_pipeline.git"),
    ("GITHUB_REPO", "https://github.com/octocat/aws_pipeline", "https://github.com/octocat/aws_pipeline"),
    ("GITHUB_REPO", "a?b=c", r"a\?b=c"),
    ("GITHUB_BRANCH", "my branch", r"my\ branch"),
    ("GITHUB_BRANCH", "-delete", "-delete"),
    ("GITHUB_BRANCH", "master/", "master/"),
    ("GITHUB_BRANCH", "master?x", r"master\?x"),
    ("GITHUB_BRANCH", "refs~1", r"refs~1"),
    ("GITHUB_USER", "a" * 40, "a" * 40),
    ("GITHUB_USER", "-".join("a" * 21), "-".join("a" * 21)),
]  # fmt: skip

#: Setting, value and message of checks that only create-stack.sh makes, or that a pattern cannot express.
OPTIONS = [
    ("APP_NAMESPACE", "default", "APP_NAMESPACE is default: set it to a namespace for the app alone, in settings.sh or the environment"),
    ("APP_NAMESPACE", "kube-system", "APP_NAMESPACE is kube-system: set it to a namespace for the app alone, in settings.sh or the environment"),
    ("GITHUB_BRANCH", "a..b", "GITHUB_BRANCH is a..b: set it to a branch name such as master or release/1.2, in settings.sh or the environment"),
    ("GITHUB_BRANCH", "a//b", "GITHUB_BRANCH is a//b: set it to a branch name such as master or release/1.2, in settings.sh or the environment"),
    ("GITHUB_BRANCH", "x.lock", "GITHUB_BRANCH is x.lock: set it to a branch name such as master or release/1.2, in settings.sh or the environment"),
    ("GITHUB_TOKEN", "ghp_short", "GITHUB_TOKEN does not look like a GitHub token: copy it again, without spaces or quotes around it"),
    ("GITHUB_TOKEN", f"{TOKEN}\n", "GITHUB_TOKEN does not look like a GitHub token: copy it again, without spaces or quotes around it"),
    ("GITHUB_TOKEN", f'{TOKEN}"', "GITHUB_TOKEN does not look like a GitHub token: copy it again, without spaces or quotes around it"),
    ("GITHUB_TOKEN", f'"\nurl = "https://x/{TOKEN}', "GITHUB_TOKEN does not look like a GitHub token: copy it again, without spaces or quotes around it"),
    ("CONNECTION_ARN", "aws-pipeline", "CONNECTION_ARN is aws-pipeline: set it to a connection's ARN, in settings.sh or the environment"),
    ("STAGING", "yes", "STAGING is yes: set it to true or false, in settings.sh or the environment"),
    ("APPROVAL_REQUIRED", "yes", "APPROVAL_REQUIRED is yes: set it to true or false, in settings.sh or the environment"),
    ("FAIL_ON_SEVERITY", "high", "FAIL_ON_SEVERITY is high: set it to NONE, LOW, MEDIUM, HIGH or CRITICAL, in settings.sh or the environment"),
    ("NOTIFICATION_EMAIL", "me", "NOTIFICATION_EMAIL is me: set it to one email address, in settings.sh or the environment"),
    ("NOTIFICATION_EMAIL", "a@b.c,d@e.f", r"NOTIFICATION_EMAIL is a@b.c\,d@e.f: set it to one email address, in settings.sh or the environment"),
    ("CODEBUILD_IMAGE", "ubuntu:24.04", "CODEBUILD_IMAGE is ubuntu:24.04: set it to an image that the template lists, such as aws/codebuild/standard:8.0, in settings.sh or the environment"),
    ("CODEBUILD_IMAGE", "aws/codebuild/standard:4.0", "CODEBUILD_IMAGE is aws/codebuild/standard:4.0: set it to an image that the template lists, such as aws/codebuild/standard:8.0, in settings.sh or the environment"),
    ("CODEBUILD_IMAGE", "aws/codebuild/standard:8x0", "CODEBUILD_IMAGE is aws/codebuild/standard:8x0: set it to an image that the template lists, such as aws/codebuild/standard:8.0, in settings.sh or the environment"),
    ("CONNECTION_ARN", ARN.replace("codeconnections", "codestar-notifications"),
     "CONNECTION_ARN is arn:aws:codestar-notifications:us-east-2:111122223333:connec: set it to a connection's ARN, in settings.sh or the environment"),
    ("NOTIFICATION_EMAIL", "a@b.c\n", r"NOTIFICATION_EMAIL is $'a@b.c\n': set it to one email address, in settings.sh or the environment"),
    ("APPROVAL_REQUIRED", "$(touch pwned)", r"APPROVAL_REQUIRED is \$\(touch\ pwned\): set it to true or false, in settings.sh or the environment"),
    ("TMPDIR", "-x", "TMPDIR is -x: set it to the absolute path of a directory"),
    ("TMPDIR", "tmp", "TMPDIR is tmp: set it to the absolute path of a directory"),
]  # fmt: skip

MINUTES = "set it to a number from 1 to 480, in the environment"
#: Setting, value and message of checks that only certify.sh makes; the token is set.
CERTIFY = [
    ("CERTIFY_MINUTES", "0", f"CERTIFY_MINUTES is 0: {MINUTES}"),
    ("CERTIFY_MINUTES", "481", f"CERTIFY_MINUTES is 481: {MINUTES}"),
    ("CERTIFY_MINUTES", "3h", f"CERTIFY_MINUTES is 3h: {MINUTES}"),
    ("CERTIFY_MINUTES", "a[$(touch pwned)]", rf"CERTIFY_MINUTES is a\[\$\(touch\ pwned\)\]: {MINUTES}"),
    ("NODE_TYPE", "x9.large", "NODE_TYPE is x9.large, whose price is unknown: set it to a type in scripts/lib/cost.py"),
    (
        "CERTIFY_MINUTES",
        "90",
        "certify.sh: there is no terminal to confirm on: pass --yes to start without confirmation",
    ),
    ("CONNECTION_ARN", ARN, "GITHUB_TOKEN and CONNECTION_ARN are both set: unset one of them"),
]

ADDRESS = "set it to one email address, in settings.sh or the environment"
DOLLARS = "set it to whole US dollars a month, such as 20, in settings.sh or the environment"
#: Setting, value and message of checks that only budget.sh makes; the address is set.
BUDGET = [
    ("BUDGET_EMAIL", "", f"BUDGET_EMAIL is '': {ADDRESS}"),
    ("BUDGET_EMAIL", "me", f"BUDGET_EMAIL is me: {ADDRESS}"),
    ("BUDGET_EMAIL", "a@b.c,Address=d@e.f", rf"BUDGET_EMAIL is a@b.c\,Address=d@e.f: {ADDRESS}"),
    ("BUDGET_AMOUNT", "0", f"BUDGET_AMOUNT is 0: {DOLLARS}"),
    ("BUDGET_AMOUNT", "$20", rf"BUDGET_AMOUNT is \$20: {DOLLARS}"),
    ("BUDGET_AMOUNT", "20.5", f"BUDGET_AMOUNT is 20.5: {DOLLARS}"),
]

#: Script, arguments and message.
CONNECT = "name a cluster and the ARN of a role: see scripts/build/connect.sh -h"
DEPLOY = "name one image by its digest, as in REPOSITORY@sha256:...: see scripts/build/deploy.sh -h"
FIND = "name a repository and a commit: see scripts/build/find-image.sh -h"
FINDINGS = "name one image by its digest, and LOW, MEDIUM, HIGH or CRITICAL: see scripts/build/check-findings.sh -h"
GROUPS = "name one of the groups uv, scripts, rehearsal, dev, benchmarks, checkov, awscli"
ARGUMENTS: list[tuple[str, tuple[str, ...], str]] = [
    *[(script, ("--force",), f"unexpected argument --force: see scripts/{script} -h")
      for script in ("setup-cluster.sh", "create-cluster.sh", "create-role.sh", "create-stack.sh", "status.sh", "preflight.sh",
                     "check-github.sh", "leftovers.sh", "budget.sh", "test.sh", "build/content-tag.sh", "build/deploy.sh", "build/connect.sh", "build/install-kubectl.sh",
                     "build/pull-base.sh")],
    ("authorize-role.sh", ("--remove", "--force"), "unexpected argument --force: see scripts/authorize-role.sh -h"),
    ("authorize-role.sh", ("--remove=yes",), "unexpected argument --remove=yes: see scripts/authorize-role.sh -h"),
    ("authorize-role.sh", ("",), "unexpected argument '': see scripts/authorize-role.sh -h"),
    ("teardown.sh", (), "teardown.sh: there is no terminal to confirm on: pass --yes to delete without confirmation"),
    ("teardown.sh", ("-y",), "unexpected argument -y: see scripts/teardown.sh -h"),
    ("teardown.sh", ("--yes", "eksctl-demo"), "unexpected argument eksctl-demo: see scripts/teardown.sh -h"),
    ("teardown.sh", ("--yes --remove",), r"unexpected argument --yes\ --remove: see scripts/teardown.sh -h"),
    ("teardown.sh", ("$(touch pwned)",), r"unexpected argument \$\(touch\ pwned\): see scripts/teardown.sh -h"),
    ("certify.sh", ("--force",), "unexpected argument --force: see scripts/certify.sh -h"),
    ("certify.sh", ("--minutes=90",), "unexpected argument --minutes=90: see scripts/certify.sh -h"),
    ("certify.sh", ("--yes", "90"), "unexpected argument 90: see scripts/certify.sh -h"),
    ("certify.sh", ("--yes", "--teardown"), "--yes and --teardown are both given: pass one of them"),
    ("certify.sh", (), "neither GITHUB_TOKEN nor CONNECTION_ARN is set: set one, as in step 7 of the README"),
    ("test.sh", ("--fast", "--all"), r"unexpected argument --fast\ --all: see scripts/test.sh -h"),
    ("build/connect.sh", (), CONNECT),
    ("build/connect.sh", ("demo",), CONNECT),
    ("build/connect.sh", ("demo", ROLE, "more"), CONNECT),
    ("build/connect.sh", ("demo", "deployer"), CONNECT),
    ("build/connect.sh", ("demo", ROLE.replace("role/", "user/")), CONNECT),
    ("build/connect.sh", ("demo", ROLE.replace("111122223333", "11112222333")), CONNECT),
    ("build/connect.sh", ("demo", ROLE + ";touch pwned"), CONNECT),
    ("build/connect.sh", ("a/b", ROLE), "a/b is not a cluster name"),
    ("build/connect.sh", ("", ROLE), "'' is not a cluster name"),
    ("build/connect.sh", ("a" * 101, ROLE), "a" * 60 + " is not a cluster name"),
    ("build/connect.sh", ("a$(touch pwned)", ROLE), r"a\$\(touch\ pwned\) is not a cluster name"),
    ("build/connect.sh", ("demo", ROLE), "KUBECONFIG is not set, or begins with a hyphen: set it to the file to write"),
    ("build/deploy.sh", (), DEPLOY),
    ("build/deploy.sh", (IMAGE, IMAGE), DEPLOY),
    ("build/deploy.sh", (IMAGE.partition("@")[0] + ":latest",), DEPLOY),
    ("build/deploy.sh", (IMAGE[:-1],), DEPLOY),
    ("build/deploy.sh", (IMAGE.replace("aaaa", "AAAA"),), DEPLOY),
    ("build/deploy.sh", (IMAGE + "\n        command: [sh]",), DEPLOY),
    ("build/deploy.sh", ("$(touch pwned)" + IMAGE,), DEPLOY),
    ("build/deploy.sh", (IMAGE.removeprefix("111122223333.dkr.ecr.us-east-2.amazonaws.com/hello"),), DEPLOY),
    ("build/find-image.sh", (), FIND),
    ("build/find-image.sh", (IMAGE.partition("@")[0], "c" * 129), FIND),
    ("build/find-image.sh", (IMAGE, "c"), FIND),
    ("build/check-findings.sh", (IMAGE, "HIGH", "LOW"), FINDINGS),
    ("build/check-findings.sh", (IMAGE, "NONE"), FINDINGS),
    ("build/install-kubectl.sh", (), "name a directory: see scripts/build/install-kubectl.sh -h"),
    ("build/install-kubectl.sh", ("",), "name a directory: see scripts/build/install-kubectl.sh -h"),
    ("build/install-kubectl.sh", ("/tmp", "/tmp"), "name a directory: see scripts/build/install-kubectl.sh -h"),
    ("build/together.sh", (), "give each command a name: see scripts/build/together.sh -h"),
    ("build/together.sh", ("name",), "give each command a name: see scripts/build/together.sh -h"),
    ("learner-policy.sh", (), "name a policy, scripts, stack or cluster: see scripts/learner-policy.sh -h"),
    ("learner-policy.sh", ("../trust",), "name a policy, scripts, stack or cluster: see scripts/learner-policy.sh -h"),
    ("learner-policy.sh", ("stack", "cluster"), "name a policy, scripts, stack or cluster: see scripts/learner-policy.sh -h"),
    ("dev/venv.sh", (), f"{GROUPS}, not '': see scripts/dev/venv.sh -h"),
    ("dev/venv.sh", ("docs",), f"{GROUPS}, not docs: see scripts/dev/venv.sh -h"),
    ("dev/venv.sh", ("dev", "x"), rf"{GROUPS}, not dev\ x: see scripts/dev/venv.sh -h"),
    ("dev/packages.sh", (), "packages.sh: name one of minimal, rehearsal, tests, slow and benchmarks"),
    ("dev/packages.sh", ("all",), "packages.sh: name one of minimal, rehearsal, tests, slow and benchmarks"),
    ("dev/packages.sh", ("minimal", "tests"), "packages.sh: name one of minimal, rehearsal, tests, slow and benchmarks"),
]  # fmt: skip

Edit = Callable[[str], str | bytes | None]


def used(script: str) -> tuple[str, ...]:
    """Return the settings that a script says it uses, by default all."""
    text = (ROOT / "scripts" / script).read_text(encoding="utf-8")
    named = re.search(r"^uses=\((.*)\)$", text, re.MULTILINE)
    return tuple(named[1].split()) if named else tuple(REMEDY)


#: Each script that reads settings.sh, and the settings that it uses.
USED = {script: used(script) for script in SCRIPTS
        if "\nsource scripts/lib/common.sh\n" in (ROOT / "scripts" / script).read_text()}  # fmt: skip


def without(_: str) -> None:
    """Delete the file."""


def text(new: str | bytes) -> Edit:
    """Replace the file's content."""
    return lambda _: new


def swap(old: str, new: str) -> Edit:
    """Make a typo: replace one text by another."""

    def edit(before: str) -> str:
        assert old in before
        return before.replace(old, new)

    return edit


def other(file: str) -> Edit:
    """Replace the file by another one of the tutorial."""
    return text((ROOT / file).read_bytes())


RULES = "it must contain Role and RoleBinding, once each, and nothing else"
NO_OBJECT = "it contains no object"
ACTION = "each statement must have an Action, and Allow or Deny as its Effect"
PLACE = "deployment.yml: no container of a Deployment has the image CONTAINER_IMAGE, where the digest goes: set it"
LINES = len((ROOT / "settings.sh").read_text(encoding="utf-8").splitlines())
#: File, edit and message.
DOCUMENTS: list[tuple[str, Edit, str]] = [
    ("trust.json", without, "No such file or directory"),
    ("trust.json", text(""), "Expecting value: line 1 column 1 (char 0)"),
    ("trust.json", text("---\nVersion: x\n"), "Expecting value: line 1 column 1 (char 0)"),
    ("trust.json", swap('"Version": "2012-10-17",', '"Version": "2012-10-17"'), "Expecting ',' delimiter: line 3 column 3 (char 30)"),
    ("trust.json", swap("<ACCOUNT_ID>", "<YOUR_ACCOUNT>"), "unknown placeholder <YOUR_ACCOUNT>"),
    ("trust.json", swap("<ACCOUNT_ID>", "<account id>"), "unknown placeholder <account id>"),
    ("trust.json", text("[]"), "its Version must be 2012-10-17"),
    ("trust.json", swap("2012-10-17", "2026-11-23"), "its Version must be 2012-10-17"),
    ("trust.json", swap("Statement", "Statements"), "its Statement must be a list of at least one statement"),
    ("trust.json", swap('"Allow"', '"allow"'), ACTION),
    ("trust.json", swap("Action", "Actions"), ACTION),
    ("trust.json", other("iam-role-policy.json"), "no statement has a Principal"),
    ("trust.json", text(b"\xff\xfe{}"), "'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"),
    ("iam-role-policy.json", without, "No such file or directory"),
    ("iam-role-policy.json", text("{"), "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
    ("iam-role-policy.json", swap("<CLUSTER_NAME>", "<CLUSTER>"), "unknown placeholder <CLUSTER>"),
    ("iam-role-policy.json", swap('"Allow"', '"Permit"'), ACTION),
    ("iam-role-policy.json", text('{"Version": "2012-10-17", "Statement": []}'), "its Statement must be a list of at least one statement"),
    ("iam-role-policy.json", other("trust.json"), "no statement has a Resource"),
    ("docs/policies/stack.json", text("{"), "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
    ("docs/policies/stack.json", other("trust.json"), "no statement has a Resource"),
    ("deployer-rbac.yml", without, "No such file or directory"),
    ("deployer-rbac.yml", text(""), NO_OBJECT),
    ("deployer-rbac.yml", text("- kind: Role\n"), NO_OBJECT),
    ("deployer-rbac.yml", swap("  name: deployer\n", "\tname: deployer\n"), "line 7: found character '\\t' that cannot start any token"),
    ("deployer-rbac.yml", swap("kind: Role\n", "kind: ClusterRole\n"), RULES),
    ("deployer-rbac.yml", lambda before: before + "---\nkind: Namespace\n", RULES),
    ("deployer-rbac.yml", lambda before: before.rpartition("---")[0], RULES),
    ("deployer-rbac.yml", swap("  name: deployer\n", "  name: deployer\n  namespace: kube-system\n"),
     "its objects must not set a namespace: APP_NAMESPACE sets it"),
    ("ci-cd-codepipeline.cfn.yml", without, "No such file or directory"),
    ("ci-cd-codepipeline.cfn.yml", text("# nothing\n"), NO_OBJECT),
    ("ci-cd-codepipeline.cfn.yml", text("Resources:\n\tEcrRepository: x\n"), "line 2: found character '\\t' that cannot start any token"),
    ("ci-cd-codepipeline.cfn.yml", text("<html>Sign in</html>"), NO_OBJECT),
    ("ci-cd-codepipeline.cfn.yml", text("Resources: {a: [}\n"), "line 1: expected the node content, but found '}'"),
    ("deployment.yml", without, 'deployment.yml cannot be read: the path "deployment.yml" does not exist: fix it'),
    ("deployment.yml", text(""), "deployment.yml has no Deployment: add one whose image is CONTAINER_IMAGE"),
    ("deployment.yml", swap("kind: Deployment", "kind: DaemonSet"),
     "deployment.yml: DaemonSet hello-world runs pods, but only the rollout of a Deployment can be waited for and undone: leave it out"),
    ("deployment.yml", swap("image: CONTAINER_IMAGE", "image: nginx"), PLACE),
    ("settings.sh", without, "No such file or directory"),
    ("settings.sh", swap(': "${CLUSTER_NAME:=eksctl-demo}"', "CLUSTER_NAME = eksctl-demo"), "line 22: CLUSTER_NAME: command not found"),
    ("settings.sh", swap(': "${CLUSTER_NAME:=eksctl-demo}"', "CLUSTER_NAME=my cluster"), "line 22: cluster: command not found"),
    ("settings.sh", swap(': "${AWS_REGION:=us-east-2}"', ""), f"line {LINES}: AWS_REGION: unbound variable"),
    ("settings.sh", lambda before: before + "fi\n", f"line {LINES + 1}: syntax error near unexpected token `fi'"),
    ("settings.sh", text("<<<<<<< HEAD\n"), "line 1: syntax error near unexpected token `<<<'"),
]  # fmt: skip

READ_BY = {"trust.json": "create-role.sh", "iam-role-policy.json": "create-role.sh", "deployer-rbac.yml": "authorize-role.sh",
           "ci-cd-codepipeline.cfn.yml": "create-stack.sh", "deployment.yml": "build/deploy.sh", "settings.sh": "create-cluster.sh",
           "docs/policies/stack.json": "learner-policy.sh"}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A wrong call, and the line that it must print."""

    name: str
    script: str
    line: str
    arguments: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    file: str = ""
    edit: Edit | None = None

    def checkout(self, target: Path) -> Path:
        """Return the checkout to run it in: this one, or a copy with the edited document."""
        if not self.edit:
            return ROOT
        copy = copy_of_checkout(target)
        edited = self.edit((ROOT / self.file).read_text(encoding="utf-8"))
        (copy / self.file).unlink(missing_ok=True)
        if edited is not None:
            (copy / self.file).write_bytes(edited if isinstance(edited, bytes) else edited.encode())
        return copy


def cases() -> Iterator[Case]:
    """Yield every case."""
    for name, value, shown in SETTINGS:
        line = f"{name} is {shown}: set it to {REMEDY[name]}, in settings.sh or the environment"
        yield Case(f"{name}={value[:20]!r}", "setup-cluster.sh", line, environment={name: value})
    line = "CLUSTER_NAME is a_b: set it to a name without underscores, which eksctl does not accept, in settings.sh or the environment"
    yield Case("create-cluster.sh with an underscore", "create-cluster.sh", line, environment={"CLUSTER_NAME": "a_b"})
    for name, value, line in OPTIONS:
        yield Case(f"{name}={value[:20]!r}", "create-stack.sh", line, environment={name: value})
    for name, value, line in CERTIFY:
        yield Case(
            f"certify.sh {name}={value[:20]!r}", "certify.sh", line, environment={"GITHUB_TOKEN": TOKEN, name: value}
        )
    for name, value, line in BUDGET:
        given = {"BUDGET_EMAIL": "a@b.example", name: value}
        yield Case(f"budget.sh {name}={value[:20]!r}", "budget.sh", line, environment=given)
    line = "settings.sh has Windows line ends: save it with Unix line ends (LF), and set git config --global core.autocrlf input"
    yield Case(
        "settings.sh with CRLF", "status.sh", line, file="settings.sh", edit=lambda before: before.replace("\n", "\r\n")
    )
    for script, names in USED.items():
        line = rf"{names[-1]} is a\ b: set it to {REMEDY[names[-1]]}, in settings.sh or the environment"
        yield Case(f"{script} with a wrong setting", script, line, environment={names[-1]: "a b"})
    for script in ("create-stack.sh", "preflight.sh", "check-github.sh"):
        line = "GITHUB_TOKEN and CONNECTION_ARN are both set: unset one of them"
        yield Case(f"{script} with both", script, line, environment={"GITHUB_TOKEN": TOKEN, "CONNECTION_ARN": ARN})
    for script, arguments, line in ARGUMENTS:
        yield Case(f"{script} {arguments}"[:60], script, line, arguments)
    yield Case("a kubeconfig with a hyphen", "build/connect.sh", "KUBECONFIG is not set, or begins with a hyphen: set it to the file to write",
               ("demo", ROLE), {"KUBECONFIG": "-x"})  # fmt: skip
    for number, (file, edit, problem) in enumerate(DOCUMENTS):
        script = READ_BY[file]
        line = (
            problem
            if file == "deployment.yml"
            else f'{file}: {problem}: fix it; "git diff -- {file}" shows what was changed'
        )
        if file == "settings.sh":
            line = line.replace("settings.sh: ", "settings.sh cannot be used: ", 1)
        arguments = {"build/deploy.sh": (IMAGE,), "learner-policy.sh": ("stack",)}.get(script, ())
        yield Case(f"{file} {number}", script, line, arguments, file=file, edit=edit)


CASES = list(cases())
