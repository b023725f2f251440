"""What the scripts print and call in usual situations, in tests/scripts/transcripts.txt.

``python -m tests.support.transcripts`` writes that file: a change of the scripts is then seen in its diff, with each
option of each call and each word of the output. The tests next to it say which of it matters and why.
"""

from __future__ import annotations

import json
import re
import shlex
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.desk import Desk, copy_of_checkout
from tests.support.names import CONNECTION, ROLE, ROLE_ARN, TOKEN
from tests.support.paths import FAKES, ROOT

FILE = ROOT / "tests" / "scripts" / "transcripts.txt"
IMAGE = "111122223333.dkr.ecr.us-east-2.amazonaws.com/hello-world@sha256:" + "a" * 64
CONTEXT = "arn:aws:eks:us-east-2:111122223333:cluster/eksctl-demo"
ABSENT = {
    "cluster": ("aws", "describe-cluster ", "ResourceNotFoundException) when calling DescribeCluster: No cluster"),
    "stack": ("aws", "describe-stacks", "ValidationError) when calling DescribeStacks: Stack with id x does not exist"),
    "role": ("aws", "get-role ", "NoSuchEntity) when calling GetRole: no such role"),
    "aws-auth": ("kubectl", "get configmap", "NotFound): configmaps aws-auth not found"),
    "success": ("kubectl", "rollout status", "Timeout): deployment hello-world exceeded its progress deadline"),
    "namespace": ("kubectl", "get namespace", "NotFound): namespaces hello-world not found"),
    "rights": (
        "aws",
        "describe-|get-service-quota|get-account-plan-state",
        "AccessDeniedException) when calling X: denied",
    ),
}
#: What else the tools answer; the last rule that matches wins.
MORE = (
    ("kubectl", "version --client", json.dumps({"clientVersion": {"gitVersion": "v1.36.3"}}, indent=2)),
    ("aws", "freetier get-account-plan-state", "PAID\n"),
    ("aws", "describe-stacks", "CREATE_COMPLETE\n"),
    ("aws", "describe-stacks .*Parameters", "[]\n"),
    ("aws", "describe-stacks .*Outputs", "PipelineName\taws-pipeline\n"),
    ("aws", "get-role ", f"{ROLE_ARN}\n"),
    ("aws", "get-role .*CreateDate", "2026-01-01T00:00:00+00:00\n"),
    ("kubectl", "get nodes --output name", "node/node-1\nnode/node-2\n"),
    ("kubectl", "get-contexts", f"{CONTEXT}\n"),
    ("kubectl", "get --raw", f"1234567 {IMAGE}\n"),
)  # fmt: skip

#: What a call begins with.
CALL = "$ "
#: After such a line, calls run at the same time: they come after the output, in alphabetical order.
PARALLEL = re.compile(r"^==> (Check what the tutorial needs|Look for leftovers in .*)$")


@dataclass(frozen=True)
class Situation:
    """A script, its arguments, what is absent, and answers that differ: a tool, a pattern, and one answer after the other.

    An answer that begins with ``!`` is an error. ``when`` is a title instead of a list of what differs; ``variables`` are
    more of the environment.
    """

    call: str
    absent: tuple[str, ...] = ()
    differs: tuple[tuple[str, ...], ...] = ()
    when: str = ""
    variables: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        told = [f"no {each}" for each in self.absent]
        told += [f"{answer.strip()!r}" for _, _, *answers in self.differs for answer in answers]
        return f"{self.call} [{self.when or ', '.join(told)}]"


#: The revision before the release, and the image that it deployed.
UNDO = (
    ("kubectl", "get deployment/hello-world .*image", IMAGE),
    ("kubectl", "get deployment/hello-world .*revision", f"3|{IMAGE}"),
)
#: What create-stack.sh may find: no stack, one that is like the settings, and one with other values.
NO_STACK = "!An error occurred (ValidationError) when calling DescribeStacks: Stack with id x does not exist"
ALIKE = {"EksClusterName": "eksctl-demo", "AppNamespace": "hello-world", "KubectlRoleName": ROLE, "GitHubUser": "learner",
         "GitSourceRepo": "aws_pipeline", "GitBranch": "master", "KubectlRoleId": "AROA0123456789ABCDEFG"}  # fmt: skip
OTHER = ALIKE | {
    "EksClusterName": "old",
    "KubectlRoleName": "OldRole",
    "GitBranch": "main",
    "ApprovalRequired": "false",
}
TEMPLATE = (ROOT / "ci-cd-codepipeline.cfn.yml").read_text(encoding="utf-8")


def stack(*states: str, present: dict[str, str] | None = None, template: str = "") -> tuple[tuple[str, ...], ...]:
    """Return the answers about a stack that passes through these states, with these parameters and this template."""
    parameters = [{"ParameterKey": name, "ParameterValue": value} for name, value in (present or {}).items()]
    return (
        ("aws", "describe-stacks .*StackStatus", *(each if each == NO_STACK else f"{each}\n" for each in states)),
        ("aws", "describe-stacks .*Parameters", json.dumps(parameters)),
        ("aws", "get-template ", template),
        ("aws", "get-role .*RoleId", "AROA0123456789ABCDEFG\n"),
    )


def connection(answer: str) -> tuple[tuple[str, str], ...]:
    """Return the variables of a learner with a connection, and what GitHub answers without a token."""
    return (("GITHUB_TOKEN", ""), ("CONNECTION_ARN", CONNECTION), ("ANSWER", answer))


#: The access entry of a role that may deploy.
ENTRY = (("aws", "describe-access-entry", "build\tdeployers\t2026-01-02T00:00:00+00:00\n"),)
AVAILABLE = (("aws", "get-connection", "AVAILABLE\n"),)
SITUATIONS = (
    Situation("preflight.sh"),
    Situation("preflight.sh", differs=(("aws", "get-service-quota", "2.0\n"), ("aws", "freetier", "FREE\n"))),
    Situation("preflight.sh", ("rights",)),
    Situation("preflight.sh", (), AVAILABLE, "a repository that GitHub does not show", connection("404 none")),
    Situation("preflight.sh", when="no credential for GitHub", variables=(("GITHUB_TOKEN", ""),)),
    Situation(
        "preflight.sh",
        differs=(
            ("aws", "--version", "aws-cli/1.18.0 Python/3.8.2 Linux/5.4.0\n"),
            ("aws", "get-caller-identity", "arn:aws:iam::111122223333:root\n"),
            ("aws", "describe-cluster-versions", "1.37\tSTANDARD_SUPPORT\n1.36\tEXTENDED_SUPPORT\n"),
            ("aws", "describe-instance-type-offerings", "1\n"),
            ("aws", "get-account-plan-state", "FREE\n"),
            ("aws", "free-tier-eligible", "t3.micro t3.small\n"),
            ("aws", "get-service-quota", "3.0\n"),
            ("eksctl", "version", "0.180.0\n"),
            ("kubectl", "version --client", '{"clientVersion": {"gitVersion": "v1.34.3"}}'),
            ("curl", "--version", "curl 7.54.0\n"),
        ),
        when="nothing fits",
        variables=(("ANSWER", "401 none"),),
    ),
    Situation("setup-cluster.sh", (), ENTRY),
    Situation("check-github.sh"),
    Situation("check-github.sh", when="a token without scopes", variables=(("ANSWER", "200 none"),)),
    Situation("check-github.sh", (), AVAILABLE, "a connection", connection("200 none")),
    Situation(
        "check-github.sh",
        when="another name",
        variables=(
            ("ANSWER", "301 none"),
            ("HEADERS", "Location: https://api.github.com/repositories/70"),
            ("BODY", '{"full_name": "learner/new-name"}'),
        ),
    ),
    Situation("create-cluster.sh", ("cluster",)),
    Situation("create-cluster.sh", ("cluster", "stack")),
    Situation("create-cluster.sh"),
    Situation("create-cluster.sh", (), (("aws", "list-addons", "vpc-cni\n"),)),
    Situation("create-role.sh", ("role",)),
    Situation("create-role.sh"),
    Situation("create-stack.sh", ("role",)),
    Situation(
        "create-stack.sh", when="no stack and no token", differs=stack(NO_STACK), variables=(("GITHUB_TOKEN", ""),)
    ),
    Situation("create-stack.sh", (), stack(NO_STACK, NO_STACK, "CREATE_IN_PROGRESS", "CREATE_COMPLETE"), "no stack"),
    Situation(
        "create-stack.sh",
        when="a failure",
        differs=(
            *stack(NO_STACK, NO_STACK, "ROLLBACK_COMPLETE"),
            ("aws", "describe-stack-events", "AWS::S3::Bucket\tCREATE_FAILED\tBucket\tit exists\n"),
        ),
    ),
    Situation(
        "create-stack.sh",
        when="a stack of an earlier attempt",
        differs=stack("ROLLBACK_COMPLETE", "ROLLBACK_COMPLETE", "DELETE_COMPLETE", "CREATE_COMPLETE"),
    ),
    Situation(
        "create-stack.sh",
        when="an update that was not rolled back",
        differs=stack(*["UPDATE_ROLLBACK_FAILED"] * 2, "UPDATE_ROLLBACK_COMPLETE", "UPDATE_COMPLETE", present=ALIKE),
    ),
    Situation("create-stack.sh", (), stack("UPDATE_ROLLBACK_FAILED", present=ALIKE), "a rollback that fails again"),
    Situation(
        "create-stack.sh",
        when="other settings, of which one is given; the terminal has variables with names of the scripts' own",
        differs=stack("UPDATE_COMPLETE", present=OTHER),
        variables=(
            ("KUBECTL_ROLE_NAME", "NewRole"),
            ("APPROVAL_REQUIRED", "true"),
            ("given", "CLUSTER_NAME"),
            ("python", "/nonexistent"),
        ),
    ),
    Situation(
        "create-stack.sh",
        when="nothing to change",
        differs=stack("UPDATE_ROLLBACK_COMPLETE", present=ALIKE, template=TEMPLATE),
        variables=(("GITHUB_TOKEN", ""), ("ANSWER", "200 none")),
    ),
    Situation("authorize-role.sh", ("aws-auth", "namespace")),
    Situation("authorize-role.sh", (), ENTRY),
    Situation("authorize-role.sh --remove"),
    Situation("status.sh"),
    Situation("status.sh", ("cluster", "stack", "role")),
    Situation("leftovers.sh"),
    Situation("leftovers.sh", ("cluster", "stack", "role"), (("kubectl", "get-contexts", ""),)),
    Situation("teardown.sh --yes", ("cluster", "stack", "role"), (("kubectl", "get-contexts", ""),)),
    Situation("build/connect.sh eksctl-demo " + ROLE_ARN),
    Situation(f"build/deploy.sh {IMAGE}"),
    Situation(f"build/deploy.sh {IMAGE}", ("success",), UNDO),
    Situation("build/content-tag.sh"),
)


def shown(line: str) -> str:
    """Return a line of output, or of a call as it would be typed after ``$``."""
    return CALL + shlex.join(json.loads(line, strict=False)).replace("\n", "\\n") if line.startswith('["') else line


def learners_desk(home: Path) -> Desk:
    """Return the desk of a learner who has everything, and whose token GitHub accepts."""
    desk = Desk(home / "desk", copy_of_checkout(home / "checkout"))
    for name in ("Dockerfile", ".dockerignore", "buildspec.yml"):
        (desk.checkout / name).write_text("FROM scratch\n", encoding="utf-8")
    (desk.home / "bin" / "docker").symlink_to(FAKES / "docker.sh")
    desk.answer_as_if_present()
    for tool, pattern, answer in MORE:
        desk.answer(tool, pattern, stdout=answer)
    desk.answer("curl", "", real=str(FAKES / "github.sh"))
    given = desk.home / "given"  # keeps what it is given on standard input
    given.write_text('#!/bin/sh\n{ cat && echo; } >>"$FAKES/calls"\n', encoding="utf-8")
    given.chmod(0o755)
    desk.answer("aws", "(create|update)-stack ", real=str(given))
    return desk


def learners_environment(desk: Desk) -> dict[str, str]:
    """Return the variables of that learner's terminal."""
    return {
        "GITHUB_TOKEN": TOKEN,
        "ANSWER": "200 repo, admin:repo_hook",
        "KUBECONFIG": str(desk.home / "kubeconfig"),
    }


def transcript(situation: Situation, home: Path) -> str:
    """Return what a script calls, prints and returns, without what differs between runs."""
    desk = learners_desk(home)
    desk.note_pauses()
    for tool, pattern, *answers in situation.differs:
        desk.answer_in_turn(tool, pattern, *answers)
    for tool, pattern, error in (ABSENT[name] for name in situation.absent):
        desk.answer(
            tool,
            pattern,
            stderr=f"An error occurred ({error}\n" if tool == "aws" else f"Error from server ({error}\n",
            code=1,
        )
    script, *arguments = situation.call.split()
    with (desk.home / "calls").open("a", encoding="utf-8") as output:  # so that the calls are between what is printed
        done = desk.run(
            script,
            *arguments,
            output=output.fileno(),
            **(learners_environment(desk) | dict(situation.variables)),
        )
    lines = [shown(line) for line in (desk.home / "calls").read_text(encoding="utf-8").splitlines()]
    first = next((at for at, line in enumerate(lines, 1) if PARALLEL.match(line)), len(lines))
    lines[first:] = sorted(lines[first:], key=lambda line: line if line.startswith(CALL) else "")
    text = "\n".join([f"## {situation}", *lines, f"exit {done.returncode}"])
    for path, name in ((home / "desk", "HOME"), (home / "checkout", "CHECKOUT"), (ROOT, "ROOT")):
        text = text.replace(str(path), name)
    text = re.sub(r"^(ok +(python3|git|curl) +)\S+$", r"\1VERSION", text, flags=re.MULTILINE)
    return re.sub(r"(tmp|eksctl-demo|kubeconfig)\.\w{6,}", r"\1.RANDOM", text) + "\n"


def transcripts() -> Iterator[str]:
    """Yield the transcript of each situation."""
    for situation in SITUATIONS:
        with tempfile.TemporaryDirectory() as home:
            yield transcript(situation, Path(home))


if __name__ == "__main__":
    FILE.write_text("\n".join(transcripts()), encoding="utf-8")
