"""What scripts print in situations that transcripts.txt does not have, word for word: what happened, and what to do.

A row is a call, the line, and answers that differ from those of a learner who has everything: a tool, a pattern of its
arguments, and its output. An output that begins with ``!`` is an error.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.names import ROLE_ARN
from tests.support.paths import ROOT
from tests.support.transcripts import ABSENT, API, learners_desk, learners_environment

IMAGE = "r/hello-world@sha256:" + "a" * 64
AWS = "!An error occurred ({}) when calling the X operation: y"
KUBECTL = "!Error from server ({}): y"
NO_ENTRY, NO_STACK = ABSENT["entry"], ABSENT["stack"]
POLICY = (ROOT / "iam-role-policy.json").read_text(encoding="utf-8")
CONNECTION = {"CONNECTION_ARN": "arn:aws:codeconnections:us-east-2:111122223333:connection/" + "0" * 36}
CONNECT = f"build/connect.sh eksctl-demo {ROLE_ARN}"

ROWS = [
    ("authorize-role.sh", "fix aws-auth, then run scripts/authorize-role.sh again", [("kubectl", "get configmap", "{}\n")]),
    ("authorize-role.sh", "aws-auth is unchanged: Error from server (Invalid): y",
     [("kubectl", "get configmap", KUBECTL.format("NotFound")), ("kubectl", "create -f .*patch", KUBECTL.format("Invalid"))]),
    ("authorize-role.sh", "cannot read aws-auth: nothing was changed", [("kubectl", "get configmap", KUBECTL.format("Invalid"))]),
    ("authorize-role.sh", "the cluster's authentication mode is NEW: this script supports API, API_AND_CONFIG_MAP and CONFIG_MAP",
     [("aws", "authenticationMode", "NEW\n")]),
    ("authorize-role.sh --remove", "==> The role has no access entry: nothing to remove", [API, NO_ENTRY]),
    ("authorize-role.sh", "cannot read the age of role UdacityFlaskDeployCBKubectlRole: its access entry is unchanged",
     [API, ("aws", "describe-access-entry", "build\tdeployers\t2026-01-02T00:00:00+00:00\n"), ("aws", "get-role ", AWS.format("Throttling"))]),
    ("authorize-role.sh",
     "cannot determine whether the access entry is older than the role: delete the entry in the EKS console, then run this again",
     [API, ("aws", "describe-access-entry", "build\tdeployers\tyesterday\n")]),
    ("authorize-role.sh",
     "cannot ask the cluster whether the role may deploy: fix the error above; you need the right to create subjectaccessreviews",
     [API, NO_ENTRY, ("kubectl", "create -f .*reviews.json", KUBECTL.format("Forbidden"))]),
    (CONNECT, "access denied: UdacityFlaskDeployCBKubectlRole must trust this build and have the policy of iam-role-policy.json: run scripts/create-role.sh, then scripts/create-stack.sh", [("aws", "update-kubeconfig", AWS.format("AccessDenied"))]),
    ("build/connect.sh a:b " + ROLE_ARN, "a:b is not a cluster name", []),
    ("build/install-kubectl.sh bin", "kubectl cannot query the cluster: if it reports Unauthorized, aws-auth does not list this role; run scripts/authorize-role.sh", [("kubectl", "version", KUBECTL.format("Unauthorized"))]),
    ("build/install-kubectl.sh bin", "kubectl does not report the cluster's version", [("kubectl", "version", "{}\n")]),
    (f"build/deploy.sh {IMAGE}", "cannot read deployment/hello-world in hello-world, so nothing was changed: if access was refused, run scripts/authorize-role.sh; then retry the build", [("kubectl", "get deployment/", KUBECTL.format("Forbidden"))]),
    (f"build/deploy.sh {IMAGE}", "the first deployment failed, so there is nothing to roll back to: its pods are kept for you to inspect",
     [("kubectl", "rollout status", "!error: deployment hello-world exceeded its progress deadline")]),
    (f"build/deploy.sh {IMAGE}", "hello-world is not rolled back, because someone changed it in the meantime: see scripts/status.sh",
     [("kubectl", "get deployment/.*image", "other"), ("kubectl", "get deployment/.*revision", "3|before"),
      ("kubectl", "rollout status", "!error: deployment hello-world exceeded its progress deadline")]),
    ("check-github.sh", "GITHUB_TOKEN: its owner may not manage the webhooks of learner/aws_pipeline; fork it, or ask for the admin role",
     [("BODY", "", '{"permissions": {"admin": false}}')]),
    ("check-github.sh", "GITHUB_TOKEN: it may not manage the webhooks of learner/aws_pipeline; give it the permissions Contents (read) and Webhooks (write)", [("ANSWER", "", "200 none"), ("HOOKS", "", "403")]),
    ("check-github.sh", "CONNECTION_ARN: the connection cannot be read: fix the error above",
     [*CONNECTION.items(), ("aws", "get-connection", AWS.format("Throttling"))]),
    ("check-github.sh", "CONNECTION_ARN: the connection does not exist in us-east-2; check the ARN",
     [*CONNECTION.items(), ("aws", "get-connection", AWS.format("ResourceNotFoundException"))]),
    ("check-github.sh", "CONNECTION_ARN: the connection is PENDING; complete it in the console: Developer Tools, Settings, Connections, Update pending connection", [*CONNECTION.items(), ("aws", "get-connection", "PENDING\n")]),
    ("check-github.sh", "==> Not known: whether learner/aws_pipeline exists: GitHub does not show it to everyone, so it is private, misspelt or out of reach", [*CONNECTION.items(), ("aws", "get-connection", "AVAILABLE\n"), ("ANSWER", "", "404 none")]),
    ("check-github.sh", "GitHub: the certificate is not GitHub's: your network replaces it; set CURL_CA_BUNDLE to the certificate of your company's proxy", [("curl", "", "!60")]),
    ("create-cluster.sh", "cluster eksctl-demo is DELETING: wait until it is gone, or run scripts/teardown.sh, then run this again",
     [("aws", "describe-cluster .*status", "DELETING\n")]),
    ("create-cluster.sh", "cannot list the cluster's add-ons", [("aws", "list-addons", AWS.format("Throttling"))]),
    ("create-cluster.sh", "cannot get the endpoint of cluster eksctl-demo in us-east-2: see the error above; if the cluster does not exist, run scripts/create-cluster.sh", [("aws", "update-kubeconfig .*--kubeconfig", AWS.format("Throttling"))]),
    ("create-role.sh", "role arn:aws:iam::111122223333:role/a/b has a path, so the cluster would not recognise it: set KUBECTL_ROLE_NAME to another name", [("aws", "get-role ", "arn:aws:iam::111122223333:role/a/b\n")]),
    ("create-role.sh", "==> Its policy eks-describe is up to date", [("aws", "get-role-policy", POLICY)]),
    ("create-stack.sh", "cannot read the parameters of stack aws-pipeline: fix the error above, then run this again",
     [("aws", "describe-stacks .*Parameters", AWS.format("Throttling"))]),
    ("create-stack.sh", "cannot read the template of stack aws-pipeline: fix the error above, then run this again",
     [("aws", "get-template", AWS.format("Throttling"))]),
    ("create-stack.sh", "==> Set GitHubToken to the token that was given", []),
    ("create-stack.sh", "==> Replace the template with the one of this checkout", []),
    ("create-stack.sh", "==> The stack is UPDATE_ROLLBACK_COMPLETE",  # and nothing is to be changed
     [("aws", "describe-stacks .*StackStatus", "UPDATE_ROLLBACK_COMPLETE\n"),
      ("aws", "update-stack", AWS.format("ValidationError") + ": No updates are to be performed.")]),
    ("preflight.sh", "unknown plan        of the account; the free plan starts only types that are eligible for the free tier", [("aws", "freetier", AWS.format("AccessDenied"))]),
    ("teardown.sh --yes", "the check for leftovers failed: follow its message above, then run this again", [NO_STACK, ("aws", "list-buckets", AWS.format("Throttling"))]),
    ("create-role.sh", "AWS does not accept your credentials: renew them (aws configure, aws login or aws sso login), then try again",
     [("aws", "get-caller-identity", "!something new")]),
    ("preflight.sh", 'FAILED  eksctl      0.1.0: install 0.231 or later as described in the README under "What you need"',
     [("eksctl", "version", "0.1.0\n")]),
    ("setup-cluster.sh now", "unexpected argument now: see scripts/setup-cluster.sh -h", []),
]  # fmt: skip


@pytest.mark.parametrize(
    ("call", "line", "answers"), ROWS, ids=[f"{call.split()[0]}: {line[:40]}" for call, line, _ in ROWS]
)
def test_script_says(call: str, line: str, answers: list[tuple[str, ...]], tmp_path: Path) -> None:
    desk = learners_desk(tmp_path)
    for tool, pattern, answer in (
        ("kubectl", "get configmap", KUBECTL.format("NotFound")), NO_ENTRY,
        *(each for each in answers if len(each) == 3 and each[0] in ("aws", "kubectl", "eksctl", "curl")),
    ):  # fmt: skip
        error = answer.removeprefix("!") if answer.startswith("!") else ""
        code = int(error) if error.isdigit() else int(bool(error))
        desk.answer(tool, pattern, stdout="" if error else answer, stderr=error + "\n" if error else "", code=code)
    environment = learners_environment(desk)
    environment |= {each[0]: each[-1] for each in answers if each[0].isupper()}
    if "CONNECTION_ARN" in environment:
        del environment["GITHUB_TOKEN"]
    script, *arguments = call.split()
    done = desk.run(script, *arguments, **environment)
    assert line in (done.stdout + done.stderr).splitlines(), done.stdout + done.stderr
