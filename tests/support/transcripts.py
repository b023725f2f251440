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

from tests.support.aws_auth import config_map
from tests.support.desk import NO_STAGING, Desk, copy_of_checkout
from tests.support.names import CONNECTION, ROLE, ROLE_ARN, TOKEN
from tests.support.paths import FAKES, ROOT

FILE = ROOT / "tests" / "scripts" / "transcripts.txt"
IMAGE = "111122223333.dkr.ecr.us-east-2.amazonaws.com/hello-world@sha256:" + "a" * 64
CONTEXT = "arn:aws:eks:us-east-2:111122223333:cluster/eksctl-demo"
NO_STACK = (
    "!An error occurred (ValidationError) when calling the DescribeStacks operation: Stack with id x does not exist"
)
NO_ENTRY = "!An error occurred (ResourceNotFoundException) when calling the DescribeAccessEntry operation: no entry"
#: The differences where something is absent, by its name.
ABSENT = {
    "cluster": (
        "aws",
        "describe-cluster ",
        "!An error occurred (ResourceNotFoundException) when calling DescribeCluster: No cluster",
    ),
    "stack": ("aws", "describe-stacks", NO_STACK),
    "entry": ("aws", "describe-access-entry", NO_ENTRY),
    "role": ("aws", "get-role ", "!An error occurred (NoSuchEntity) when calling GetRole: no such role"),
    "aws-auth": ("kubectl", "get configmap", "!Error from server (NotFound): configmaps aws-auth not found"),
    "success": (
        "kubectl",
        "rollout status",
        "!Error from server (Timeout): deployment hello-world exceeded its progress deadline",
    ),
    "namespace": ("kubectl", "get namespace", "!Error from server (NotFound): namespaces hello-world not found"),
    "rights": (
        "aws",
        "describe-|get-service-quota|get-account-plan-state",
        "!An error occurred (AccessDeniedException) when calling X: denied",
    ),
}
BUILDS = "arn:aws:iam::111122223333:role/aws-pipeline-CodeBuildRole-1"


def trust(*principals: str) -> dict[str, object]:
    """Return the policy of a role that these may assume."""
    statement = {"Effect": "Allow", "Principal": {"AWS": [*principals]}, "Action": "sts:AssumeRole"}
    return {"Version": "2012-10-17", "Statement": [statement]}


#: An execution in progress, and before that one that failed and one that succeeded.
EXECUTIONS = [
    [status, f"2026-11-2{day}T10:00:00+00:00", str(day) * 40, f"Change {day}", f"2026-11-2{day}T10:0{day}:00+00:00"]
    for status, day in (("InProgress", 4), ("Succeeded", 3), ("Failed", 2), ("Succeeded", 1))
]


def aws_auth(*roles: str) -> str:
    """Return the ConfigMap aws-auth, in which these roles are users, as kubectl prints it."""
    mapped = (f"- {{rolearn: '{role}', username: build, groups: [deployers]}}\n" for role in roles)
    return json.dumps(config_map("".join(mapped)))


#: What else the tools answer; the last rule that matches wins.
MORE = (
    ("kubectl", "version --client", json.dumps({"clientVersion": {"gitVersion": "v1.36.3"}}, indent=2)),
    ("aws", "freetier get-account-plan-state", "PAID\n"),
    ("aws", "describe-stacks", "CREATE_COMPLETE\n"),
    ("aws", "describe-stacks .*Parameters", "[]\n"),
    ("aws", "describe-stacks .*Outputs", "PipelineName\taws-pipeline\n"),
    ("aws", "get-role ", f"{ROLE_ARN}\n"),
    ("aws", "get-role .*CreateDate", "2026-01-01T00:00:00+00:00\n"),
    ("aws", "get-role .*AssumeRolePolicyDocument", json.dumps(trust(BUILDS))),
    ("aws", "describe-stacks .*CodeBuildRoleArn", f"{BUILDS}\n"),
    ("aws", "describe-cluster .*upgradePolicy", "ACTIVE, 1.36, STANDARD, API_AND_CONFIG_MAP\n"),
    ("aws", "list-pipeline-executions", json.dumps(EXECUTIONS)),
    ("kubectl", "get services ", "192.0.2.1\n"),
    ("kubectl", "get pods .*wide", "NAME            READY   STATUS\nhello-world-1   1/1     Running\n"),
    ("kubectl", "get nodes$", "NAME     STATUS\nnode-1   Ready\n"),
    ("kubectl", "get nodes --output name", "node/node-1\nnode/node-2\n"),
    ("kubectl", "get-contexts", f"{CONTEXT}\n"),
    ("kubectl", "get --raw", f"1234567 {IMAGE}\n"),
)  # fmt: skip

#: What a call begins with.
CALL = "$ "
#: After such a line, calls run at the same time: they come after the output, in alphabetical order.
PARALLEL = re.compile(r"^(==> (Check what the tutorial needs|Look for leftovers in .*)|account  .*)$")


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


#: An error of each kind, as an answer.
DENIED = "!An error occurred (AccessDenied) when calling the X operation: no"
NO_BUDGET = "!An error occurred (NotFoundException) when calling the DescribeBudget operation: no budget"
#: As a variable: a pause takes 17 minutes, so that what never happens is soon waited for in vain.
HURRY = ("HASTE", "1000")
LONGEST = (("BUDGET_EMAIL", "a" * 64 + "@mail.example.com"), ("BUDGET_AMOUNT", "999999"))
EMAIL = ("BUDGET_EMAIL", "learner@example.com")
API = ("aws", "describe-cluster .*authenticationMode", "API\n")
ENTRY = "build\tdeployers\t2026-01-02T00:00:00+00:00\n"
OTHER_ROLE = "arn:aws:iam::111122223333:role/nodes"
NODE_GROUP = "describe-stacks --stack-name eksctl-eksctl-demo-nodegroup-nodes "
STAGING = ("kubectl", NO_STAGING, "hello-world-staging")
#: The revision before the release, and the image that it deployed.
UNDO = (
    ("kubectl", "get deployment/hello-world .*image", IMAGE),
    ("kubectl", "get deployment/hello-world .*revision", f"3|{IMAGE}"),
)
#: The parameters of a stack that is like the settings, and of one with other values.
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


#: The answer about a connection that GitHub has confirmed.
AVAILABLE = (("aws", "get-connection", "AVAILABLE\n"),)
TIMED_OUT, UNREACHABLE = "!error: timed out waiting for the condition", "!Unable to connect to the server: i/o timeout"
VERDICT = '!error: deployment "hello-world" exceeded its progress deadline'
ROLLED_OUT = 'deployment "hello-world" successfully rolled out\n'
WAIT, HEALTH = ("kubectl", "rollout status .*=10s"), ("kubectl", "rollout status .*=20s")
#: As find_stuck_pods in scripts/lib/rollout.sh asks for it.
STUCK = (
    "=hello-world\t3\told\n=hello-world\t4\tnew\n=old\t\told-1\n0\t\t\n"
    "=new\t\tnew-1\n2\tCrashLoopBackOff\tback-off 20s\n"
)
CONNECT, DEPLOY = f"build/connect.sh eksctl-demo {ROLE_ARN}", f"build/deploy.sh {IMAGE}"
SITUATIONS = (
    Situation("preflight.sh", variables=(("checks", "5"), ("pending", "x"))),
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
    Situation("setup-cluster.sh", (), (("aws", "describe-access-entry", ENTRY),)),
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
    Situation(
        "create-cluster.sh", when="it is being created, an add-on is missing, and the node group failed",
        differs=(
            ("aws", "describe-cluster .*status", "CREATING\n", "UPDATING\n", "ACTIVE\n"),
            ("aws", "list-addons", "coredns\tkube-proxy\tvpc-cni\n"),
            ("aws", NODE_GROUP, "CREATE_IN_PROGRESS\n", "CREATE_FAILED\n", NO_STACK),
            ("kubectl", "get nodes --no-headers", "node-1 NotReady\nnode-2 Ready\n", "node-1 Ready\nnode-2 Ready\n"),
        ),
    ),
    Situation(
        "create-cluster.sh", ("cluster",), (("aws", "describe-stacks", "ROLLBACK_COMPLETE\n", NO_STACK),),
        "an earlier creation failed",
    ),
    Situation("create-cluster.sh", (), (("aws", "describe-cluster .*status", DENIED),), "the cluster cannot be read"),
    Situation("create-cluster.sh", (), (("aws", "describe-cluster .*status", "CREATING\n"),), "the cluster is never ready", (HURRY,)),
    Situation("create-cluster.sh", (), (("kubectl", "get nodes --no", "node-1 NotReady\n"),), "a node is never ready", (HURRY,)),
    Situation("create-role.sh", ("role",)),
    Situation("create-role.sh"),
    Situation("create-stack.sh", ("role",)),
    Situation(
        "create-stack.sh", when="no stack and no token", differs=stack(NO_STACK), variables=(("GITHUB_TOKEN", ""),)
    ),
    Situation(
        "authorize-role.sh", when="with staging, while someone else changes aws-auth",
        differs=(
            ("kubectl", "get namespace hello-world-staging", "hello-world-staging privileged"),
            ("kubectl", "get configmap", aws_auth(), aws_auth(OTHER_ROLE), aws_auth(OTHER_ROLE, ROLE_ARN)),
            ("kubectl", " patch ", "!Error from server (Conflict): the object has been modified", "patched\n"),
        ),
        variables=(("STAGING", "true"),),
    ),
    Situation(
        "authorize-role.sh", when="someone else creates aws-auth at the same time",
        differs=(
            ("kubectl", "get configmap", "!Error from server (NotFound): configmaps aws-auth not found", aws_auth(ROLE_ARN)),
            ("kubectl", "create -f .*aws-auth", "!Error from server (AlreadyExists): configmaps aws-auth already exists"),
        ),
    ),
    Situation(
        "authorize-role.sh", when="someone else changes aws-auth all the time", variables=(HURRY,),
        differs=(("kubectl", "get configmap", aws_auth()), ("kubectl", " patch ", "!Error from server (Conflict): no")),
    ),
    Situation("authorize-role.sh", (), (API, ("aws", "describe-access-entry", NO_ENTRY, ENTRY)), "there is no entry"),
    Situation(
        "authorize-role.sh", (), (API, ("aws", "describe-access-entry", ENTRY.replace("2026", "2025"), ENTRY)),
        "the entry is of an earlier role",
    ),
    Situation(
        "authorize-role.sh", (), (API, ("aws", "describe-access-entry", ENTRY.replace("build", "admin"), ENTRY)),
        "the entry is of another user",
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
    Situation("authorize-role.sh", (), (("aws", "describe-access-entry", ENTRY),)),
    Situation("authorize-role.sh --remove"),
    Situation(
        "authorize-role.sh --remove", when="there are both",
        differs=(("aws", "describe-access-entry", ENTRY), ("kubectl", "get configmap", aws_auth(ROLE_ARN))),
    ),
    Situation("status.sh", (), (("aws", "describe-access-entry", ENTRY),), "all is well"),
    Situation(
        "status.sh", when="there is staging, and what is unusual is shown",
        differs=(
            STAGING,
            ("aws", "get-role .*AssumeRolePolicyDocument", json.dumps(trust(BUILDS, "arn:aws:iam::111122223333:root"))),
            ("aws", "describe-access-entry", "nobody\t\t2026-01-02T00:00:00+00:00\n"),
            ("kubectl", "get services -n hello-world-staging", " "),
            ("kubectl", "get pods -n hello-world-staging", f"{'0123456789' * 12}\n"),
            ("aws", "list-pipeline-executions", "!An error occurred (PipelineNotFoundException) when calling X: no"),
        ),
    ),
    Situation(
        "status.sh", (), (("aws", "AssumeRolePolicyDocument", "{}\n"),), "no trust policy, and variables named as the script's",
        (("reported", "2"), ("ended", "1"), ("failed_line", "1")),
    ),
    Situation("status.sh", ("stack",), (("aws", "describe-cluster .*upgradePolicy", "CREATING, 1.36, -, API\n"),)),
    Situation(
        "status.sh", ("stack",), (("aws", "describe-access-entry", ENTRY), ("kubectl", "get pods", "!error: no")),
        "the pods cannot be read",
    ),
    Situation("status.sh", ("cluster", "stack", "role")),
    Situation("leftovers.sh"),
    Situation("leftovers.sh", ("cluster", "stack", "role"), (("kubectl", "get-contexts", ""),)),
    Situation(
        "leftovers.sh", when="of each kind",
        differs=(
            ("aws", "list-stacks", "eksctl-eksctl-demo-cluster\n"), ("aws", "list-clusters", "eksctl-demo\n"),
            ("aws", "list-roles", "aws-pipeline-CodeBuildRole-1\taws-pipeline-PipelineRole-1\n"),
            ("aws", "describe-repositories", "aws-pipeline-x\n"), ("aws", "describe-budget", "aws-pipeline-budget\n"),
            ("aws", "list-buckets", "aws-pipeline-z\n"), ("aws", "describe-log-groups", "None\naws-pipeline-y\n"),
            ("aws", "describe-instances", "i-1\n"), ("aws", "describe-volumes", "vol-1\tvol-2\n"),
            ("aws", "describe-addresses", "192.0.2.1\n"), ("aws", "describe-nat-gateways", "nat-1\n"),
            ("aws", "describe-vpcs", "vpc-1\n"), ("aws", "describe-security-groups", "sg-1\n"),
        ),
    ),
    Situation("leftovers.sh", (), (("aws", "describe-volumes", DENIED), ("kubectl", "get-contexts", "")), "one kind cannot be listed"),
    Situation("leftovers.sh", (), (("kubectl", "get-contexts", "!error: no"),), "the kubeconfig cannot be read"),
    Situation(
        "teardown.sh --yes", ("cluster", "stack", "role"), (("kubectl", "get-contexts", ""),), variables=(("failed", "x"),)
    ),
    Situation(
        "teardown.sh --yes", when="everything is there, and the stack keeps a bucket",
        differs=(
            STAGING,
            ("aws", "describe-cluster .*status", "UPDATING\n", "ACTIVE\n"),
            ("aws", "describe-stacks --stack-name aws-pipeline", "UPDATE_IN_PROGRESS\n", "CREATE_COMPLETE\n", "DELETE_FAILED\n", NO_STACK),
            ("aws", "describe-stack-events", "AWS::S3::Bucket\tDELETE_FAILED\tBucket\tnot empty\nAWS::CloudFormation::Stack\tDELETE_IN_PROGRESS\tx\ty\n"),
            ("aws", "describe-stack-resources", "bucket-1\n"),
            ("aws", "list-object-versions", '{"Objects": [{"Key": "a", "VersionId": "1"}]}', '{"Objects": []}'),
            ("aws", "describe-access-entry", ENTRY),
            ("aws", NODE_GROUP, "DELETE_FAILED\n", NO_STACK),
            ("aws", "describe-stacks --stack-name eksctl-eksctl-demo-cluster", "DELETE_COMPLETE\n"),
            ("kubectl", "get configmap", aws_auth(ROLE_ARN)),
            ("kubectl", "get-contexts", f"{CONTEXT}\n", ""),
            ("kubectl", "config delete", "!warning: this removed your active context"),
            ("aws", "describe-budget", "aws-pipeline-budget\n", NO_BUDGET),
        ),
    ),
    Situation(
        "teardown.sh --yes", when="nothing can be deleted",
        differs=(
            ("aws", "update-kubeconfig", DENIED), ("aws", "describe-stacks", DENIED), ("aws", "get-role ", DENIED),
            ("eksctl", "delete", "!Error: no"), ("kubectl", "get-contexts", "!error: no"),
        ),
    ),
    Situation(
        "teardown.sh --yes", ("stack", "role"),
        (("aws", "describe-cluster .*status", "CREATING\n"), ("kubectl", "get-contexts", "")), "the cluster is never settled", (HURRY,),
    ),
    Situation(
        "teardown.sh --yes", ("cluster", "role"),
        (("aws", "describe-stacks", "DELETE_IN_PROGRESS\n"), ("kubectl", "get-contexts", "")),
        "no stack is ever deleted, and eksctl has none", (HURRY, ("CLUSTER_NAME", "my_cluster")),
    ),
    Situation("budget.sh", (), (("aws", "describe-budget", NO_BUDGET),), "there is none", LONGEST),
    Situation(
        "budget.sh", when="the amount and the alarms differ", variables=(EMAIL,),
        differs=(
            ("aws", "describe-budget", "50.0\n"),
            ("aws", "describe-subscribers.*Threshold=50 ", NO_BUDGET),
            ("aws", "describe-subscribers.*Threshold=100 ", "a@example.com\tb@example.com\n"),
        ),
    ),
    Situation(
        "budget.sh", when="there is nothing to change", variables=(EMAIL,),
        differs=(("aws", "describe-budget", "20.0\n"), ("aws", "describe-subscribers", f"a@example.com\t{EMAIL[1]}\n")),
    ),
    Situation(CONNECT),
    Situation(
        CONNECT,
        differs=(
            ("aws", "update-kubeconfig", "!An error occurred (AccessDenied) when calling the AssumeRole operation"),
        ),
        when="the role does not trust the build",
    ),
    Situation(
        CONNECT,
        differs=(("aws", "update-kubeconfig", "!An error occurred (ResourceNotFoundException): No cluster found"),),
        when="no cluster",
    ),
    Situation(
        "build/install-kubectl.sh bin",
        differs=(("kubectl", "deployer version", '{"minor": "35"}\n{"minor": "36"}\n'),),
        when="a kubectl of the version before",
    ),
    Situation("build/install-kubectl.sh bin", differs=(("kubectl", "deployer version", "!error: Unauthorized"),)),
    Situation(DEPLOY),
    Situation("build/deploy.sh --check"),
    Situation(DEPLOY, ("success",), UNDO),
    Situation(DEPLOY, ("success",), when="the first deployment fails"),
    Situation(DEPLOY, differs=(("kubectl", "--ignore-not-found", UNREACHABLE),), when="no answer at first"),
    Situation(DEPLOY, differs=(*UNDO, ("kubectl", "apply", UNREACHABLE)), when="no answer to the change"),
    Situation(
        DEPLOY,
        differs=(
            *UNDO,
            ("kubectl", "--ignore-not-found", UNREACHABLE, f"3|{IMAGE}"),
            ("kubectl", "apply", UNREACHABLE, UNREACHABLE, "deployment.apps/hello-world configured\n"),
            (*WAIT, UNREACHABLE, TIMED_OUT, ROLLED_OUT),
            (
                "kubectl",
                "get --raw",
                "an older version",
                "!Error from server (ServiceUnavailable): no",
                f"1234567 {IMAGE}\n",
            ),
        ),
        when="some answers are lost",
    ),
    Situation(
        DEPLOY,
        differs=(
            *UNDO,
            (*WAIT, TIMED_OUT),
            ("kubectl", "get replicasets,pods", STUCK),
            ("kubectl", "get pods .*jsonpath", "old-1 True\nnew-1 False\n"),
            ("kubectl", "logs .*previous", "ModuleNotFoundError: No module named 'flsk'\n"),
            ("kubectl", "rollout undo", UNREACHABLE, "!error: unable to find specified revision 3 in history"),
            (*HEALTH, VERDICT, UNREACHABLE, ROLLED_OUT),
        ),
        when="its pods do not start",
    ),
    Situation(
        DEPLOY,
        differs=(
            *UNDO,
            ("kubectl", "get --raw", "!Error from server (InternalError): no"),
            ("kubectl", "get pods .*jsonpath", "!Error from server (Forbidden): no pods"),
            ("kubectl", "rollout undo", "!Error from server (Forbidden): no rollback"),
        ),
        when="the app fails, and the role may not undo",
    ),
    Situation(DEPLOY, differs=(*UNDO, (*WAIT, VERDICT), (*HEALTH, UNREACHABLE)), when="no answer after the rollback"),
    Situation(
        "build/check-findings.sh " + IMAGE + " HIGH",
        differs=(
            (
                "aws",
                "describe-image-scan-findings",
                "!An error occurred (ScanNotFoundException) when calling DescribeImageScanFindings: no scan",
                '["PENDING", null]\n',
                '["COMPLETE", [["LOW", "CVE-2026-0001", null, null], ["HIGH", "CVE-2026-0002", null, null]]]\n',
            ),
        ),
        when="one of the findings is HIGH",
    ),
    Situation("build/content-tag.sh"),
)  # fmt: skip


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
    for tool, pattern, *answers in (*situation.differs, *(ABSENT[name] for name in situation.absent)):
        desk.answer_in_turn(tool, pattern, *answers)
    script, *arguments = situation.call.split()
    with (desk.home / "calls").open("a", encoding="utf-8") as output:  # so that the calls are between what is printed
        done = desk.run(
            script,
            *arguments,
            output=output.fileno(),
            **(learners_environment(desk) | dict(situation.variables)),
        )
    called = (desk.home / "calls").read_text(encoding="utf-8").splitlines()
    lines = [without_what_differs(shown(line), home) for line in called]
    first = next((at for at, line in enumerate(lines, 1) if PARALLEL.match(line)), len(lines))
    lines[first:] = sorted(lines[first:], key=lambda line: line if line.startswith(CALL) else "")
    return "\n".join([f"## {situation}", *lines, f"exit {done.returncode}", ""])


def without_what_differs(line: str, home: Path) -> str:
    """Return a line without what differs between runs and machines."""
    for path, name in ((home / "desk", "HOME"), (home / "checkout", "CHECKOUT"), (ROOT, "ROOT")):
        line = line.replace(str(path), name)
    line = re.sub(r"^(ok +(python3|git|curl) +)\S+$", r"\1VERSION", line)
    return re.sub(r"(tmp|eksctl-demo|kubeconfig)\.\w{6,}", r"\1.RANDOM", line)


def transcripts() -> Iterator[str]:
    """Yield the transcript of each situation."""
    for situation in SITUATIONS:
        with tempfile.TemporaryDirectory() as home:
            yield transcript(situation, Path(home))


if __name__ == "__main__":
    FILE.write_text("\n".join(transcripts()), encoding="utf-8")
