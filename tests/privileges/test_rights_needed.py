"""Every permission in deployer-rbac.yml and the roles' policies is needed: each verb and action is removed in turn.

What a removal breaks is tried in the kept rehearsal, by scripts/build/deploy.sh as the deployer and by executions of the
pipeline. The learner's own commands are compared with IAM's decisions. What CloudFormation does on the learner's behalf,
and the function's role, are in test_learner_rights.py.
"""

from __future__ import annotations

import copy
import json
import os
import re
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
import yaml

from rehearsal import executions
from rehearsal.emulator import decision_log
from rehearsal.emulator.client import root
from rehearsal.settings import settings
from rehearsal.waiting import until
from tests.support.fixtures import Figure, Rehearsal
from tests.support.names import ROLE as KUBECTL_ROLE
from tests.support.names import STACK
from tests.support.paths import ROOT
from tests.support.policies import LEARNER
from tests.support.privileges import needless, pieces

pytestmark = [pytest.mark.rehearsal, pytest.mark.slow, pytest.mark.timeout(600)]

Json = dict[str, Any]
ROLE, BINDING = yaml.safe_load_all((ROOT / "deployer-rbac.yml").read_text(encoding="utf-8"))
NAMESPACE, PIPELINE = "privilege-test", STACK
BUILDS = f"/aws/codebuild/{PIPELINE}"

#: The kinds of deployment, each of which needs some of the verbs.
FIRST, AGAIN, CHANGE, FAILURE = "first", "again", "change", "failure"
SHOWN_BY = {
    "pods get": FAILURE,
    "pods/log get": FAILURE,
    "services/proxy get": AGAIN,
    "deployments list": AGAIN,
    "create": FIRST,
    "get": FIRST,
    "patch": CHANGE,
    "list": FAILURE,
}

#: Verbs that are needed only if kubectl or the API server does not use WatchList, and what turns it off in kubectl.
WITHOUT_WATCH_LIST = {"deployments list": {"KUBE_FEATURE_WatchListClient": "false"}}

#: Verbs and actions that nothing fails without here, and why they are needed.
BY_DOCUMENT = {
    "deployments watch": "kubectl's reference: rollout status watches; without the verb, it lists at growing intervals",
    "CodeBuildRole s3:GetObjectVersion": "CodeBuild user guide, the service role's policy",
    "CodeBuildRole ecr:GetDownloadUrlForLayer": "a build on another host pulls the cache; here all builds share a host",
    "PipelineRole s3:GetObject": "CodePipeline user guide, the service role's policy",
    "PipelineRole s3:GetObjectVersion": "CodePipeline user guide, the service role's policy",
}
#: Signs of a missing action that no message names: an empty log, and a status, since Docker's HEAD request has no body.
SIGN_OF = {"logs:PutLogEvents": r"\n\[\]$", "ecr:BatchCheckLayerAvailability": "HTTP 403"}
#: Actions that only building a new image needs.
NEW_IMAGE = ("ecr:GetAuthorizationToken", "ecr:*Layer*", "ecr:PutImage")


def verbs() -> list[tuple[str, str, Json]]:
    """Return each resource and verb of the Role, and the Role without it."""
    found = []
    for index, rule in enumerate(ROLE["rules"]):
        for verb in rule["verbs"]:
            left = copy.deepcopy(ROLE)
            left["rules"][index]["verbs"].remove(verb)
            left["rules"] = [each for each in left["rules"] if each["verbs"]]
            found.append((rule["resources"][0], verb, left))
    return found


@dataclass
class Deployer:
    """The user ``build`` of the group ``deployers`` in its own namespace, with a shell like a build's."""

    directory: Path
    image: str
    environment: dict[str, str]
    count: int = 0

    def admin(self, *args: str, stdin: str = "") -> str:
        """Run kubectl as an administrator."""
        kubeconfig = settings.run / "kubernetes" / "super-admin.conf"
        command = ["kubectl", "--kubeconfig", str(kubeconfig), "--namespace", NAMESPACE, *args]
        done = subprocess.run(
            command, env=self.environment, input=stdin, capture_output=True, text=True, timeout=90, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def allow(self, role: Json) -> None:
        """Give the deployer the permissions of a Role, and no others."""
        self.admin("apply", "-f", "-", stdin=json.dumps(role))

    def clear(self) -> None:
        """Delete what is deployed."""
        self.admin("delete", "deployments,services,pdb,hpa", "hello-world", "--ignore-not-found", "--wait=false")

    def deploy(self, kind: str, **environment: str) -> tuple[int, str]:
        """Run scripts/build/deploy.sh as the deployer; return its exit code and output."""
        if kind == FIRST:
            self.clear()
        (self.directory / "deployment.yml").write_text(self._manifest(kind), encoding="utf-8")
        done = subprocess.run(
            ["bash", "scripts/build/deploy.sh", self.image], cwd=self.directory, env=self.environment | environment,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=150, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout

    def _manifest(self, kind: str) -> str:
        """Return deployment.yml with shorter waits, which needs the same permissions."""
        objects = list(yaml.safe_load_all((ROOT / "deployment.yml").read_text(encoding="utf-8")))
        deployment, service = objects[:2]
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        deployment["spec"] |= {"minReadySeconds": 0, "progressDeadlineSeconds": 8 if kind == FAILURE else 15}
        del container["lifecycle"]
        container["readinessProbe"]["periodSeconds"] = 1
        service["spec"]["type"] = "ClusterIP"
        if kind == CHANGE:
            self.count += 1
            for each in objects:
                each["metadata"]["annotations"] = {"change": str(self.count)}
        if kind == FAILURE:
            container["readinessProbe"]["httpGet"]["path"] = "/missing"
        return str(yaml.safe_dump_all(objects))


@pytest.fixture(scope="module", name="deployer")
def _deployer(stack: Rehearsal, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployer]:
    """The deployer with the live image; its namespace is deleted at the end."""
    directory = tmp_path_factory.mktemp("deployer")
    shutil.copytree(ROOT / "scripts", directory / "scripts")
    shutil.copy(ROOT / "settings.sh", directory)
    kubeconfig = yaml.safe_load((settings.run / "kubernetes" / "super-admin.conf").read_text(encoding="utf-8"))
    kubeconfig["contexts"][0]["name"] = "deployer"
    kubeconfig["users"][0]["user"] |= {"as": "build", "as-groups": ["deployers", "system:authenticated"]}
    (directory / "kubeconfig").write_text(json.dumps(kubeconfig), encoding="utf-8")
    environment = {
        "PATH": f"{settings.bin}:{os.environ['PATH']}",
        "HOME": str(directory),
        "KUBECONFIG": str(directory / "kubeconfig"),
        "APP_NAMESPACE": NAMESPACE,
        "GITHUB_USER": "octocat",
    }
    image = live_image(stack)
    deployer = Deployer(directory, image, environment)
    deployer.admin("create", "namespace", NAMESPACE)
    try:
        deployer.admin("create", "-f", "-", stdin=json.dumps(BINDING))
        yield deployer
    finally:
        deployer.admin("delete", "namespace", NAMESPACE, "--wait=false")


def live_image(stack: Rehearsal) -> str:
    """Return the image that the pipeline has deployed; wait for it first."""
    query = "jsonpath={.spec.template.spec.containers[0].image}"
    command = ("kubectl", "-n", "hello-world", "get", "deployments", "hello-world", "-o", query)
    return until(lambda: stack.run(*command, check=False).stdout, 120, "the first release", pause=1)


def test_every_verb_of_the_deployer_is_needed(deployer: Deployer, figure: Figure) -> None:
    deployer.allow(ROLE)
    for kind, code in {FIRST: 0, CHANGE: 0, FAILURE: 1, AGAIN: 0}.items():
        got, said = deployer.deploy(kind)
        assert (got, "forbidden" in said) == (code, False), said
    order = (CHANGE, FAILURE, AGAIN, FIRST)
    cases = [
        (SHOWN_BY.get(f"{resource} {verb}") or SHOWN_BY[verb], resource, verb, left)
        for resource, verb, left in verbs()
        if f"{resource} {verb}" not in BY_DOCUMENT
    ]
    silent = {}
    for kind, resource, verb, left in sorted(cases, key=lambda each: order.index(each[0])):
        deployer.allow(left)
        code, said = deployer.deploy(kind, **WITHOUT_WATCH_LIST.get(f"{resource} {verb}", {}))
        if code == 0 or f'User "build" cannot {verb} resource "{resource}"' not in said.replace("\\", ""):
            silent[f"{resource} {verb}"] = said
    documented = len(verbs()) - len(cases)
    figure(
        "every verb of the deployer is needed",
        f"{len(cases) - len(silent)} of {len(cases)}, and {documented} by kubectl's reference",
    )
    assert sorted(silent) == [], silent


@dataclass
class Pipeline:
    """The stack's pipeline, started manually or by a commit, and the messages of its execution and build."""

    stack: Rehearsal
    changed: bool = False
    known: str = ""

    def run(self, *, commit: bool) -> tuple[str, str]:
        """Run an execution, with a new image if ``commit``; return its status and all messages."""
        if commit:
            self.changed = True
            self.push(f"{uuid.uuid4()}\n")
        else:
            root("codepipeline").start_pipeline_execution(name=PIPELINE)
        return self.wait()

    def push(self, end: str) -> None:
        """Push app.py with another last line."""
        app = self.stack.checkout / "app.py"
        text = app.read_text(encoding="utf-8").partition("\n# privilege-test ")[0].rstrip("\n") + "\n"
        app.write_text(text + (f"\n# privilege-test {end}" if end else ""), encoding="utf-8")
        self.stack.run("git", "commit", "--quiet", "--all", "--message", "Change the image")
        self.stack.run("git", "push", "--quiet")

    def wait(self) -> tuple[str, str]:
        """Wait until the newest execution has ended; return its status and all messages."""

        def ended() -> Json:
            newest = root("codepipeline").list_pipeline_executions(pipelineName=PIPELINE)["pipelineExecutionSummaries"][
                0
            ]
            known = newest["pipelineExecutionId"] == self.known
            return {} if known or newest["status"] not in executions.FINAL else dict(newest)

        newest = until(ended, 150, "the execution", pause=0.3)
        self.known = newest["pipelineExecutionId"]
        return str(newest["status"]), self._said(self.known)

    @staticmethod
    def _said(execution: str) -> str:
        """Return the actions' results, and a line with the build's log from CloudWatch Logs."""
        actions = root("codepipeline").list_action_executions(
            pipelineName=PIPELINE, filter={"pipelineExecutionId": execution}
        )["actionExecutionDetails"]
        results = [each["output"].get("executionResult", {}) for each in actions]
        builds = [each["externalExecutionId"] for each in results if PIPELINE in each.get("externalExecutionId", "")]
        return f"{json.dumps(results)}\n{json.dumps([line for build in builds for line in _log(build)])}"


def _log(build: str) -> list[str]:
    """Return the lines of a build's log; none if its stream does not exist."""
    logs, stream = root("logs"), build.partition(":")[2]
    try:
        events = logs.filter_log_events(logGroupName=BUILDS, logStreamNames=[stream])["events"]
    except logs.exceptions.ResourceNotFoundException:
        return []
    return [event["message"] for event in events]


@pytest.fixture(scope="module", name="pipeline")
def _pipeline(stack: Rehearsal) -> Iterator[Pipeline]:
    """The pipeline when idle; afterwards the original app.py is live again."""
    live_image(stack)
    pipeline = Pipeline(stack)
    pipeline.wait()
    yield pipeline
    if pipeline.changed:
        pipeline.push("")
        assert pipeline.wait()[0] == "Succeeded"


def policies() -> dict[str, tuple[str, str]]:
    """Return the roles that an execution uses, with their names and policy names."""
    listed = root("cloudformation").describe_stack_resources(StackName=PIPELINE)["StackResources"]
    names = {each["LogicalResourceId"]: each["PhysicalResourceId"] for each in listed}
    return {
        "PipelineRole": (names["PipelineRole"], "fetch-and-start"),
        "CodeBuildRole": (names["CodeBuildRole"], "build-and-deploy"),
        "kubectl role": (KUBECTL_ROLE, "eks-describe"),
    }


def test_every_action_of_the_roles_is_needed(pipeline: Pipeline, figure: Figure) -> None:
    iam, silent, documented, shown = root("iam"), {}, 0, 0
    for role, (name, policy_name) in policies().items():
        policy = iam.get_role_policy(RoleName=name, PolicyName=policy_name)["PolicyDocument"]
        try:
            for piece, left in pieces(policy):
                action = piece.partition(": ")[2]
                if f"{role} {action}" in BY_DOCUMENT:
                    documented += 1
                    continue
                if left["Statement"]:
                    iam.put_role_policy(RoleName=name, PolicyName=policy_name, PolicyDocument=json.dumps(left))
                else:
                    iam.delete_role_policy(RoleName=name, PolicyName=policy_name)
                status, said = pipeline.run(commit=any(fnmatchcase(action, each) for each in NEW_IMAGE))
                shown += 1
                sign = SIGN_OF.get(action, f"not authorized to perform: {action} ")
                if not re.search(sign, said) or (status == "Succeeded" and action != "logs:PutLogEvents"):
                    silent[f"{role} {action}"] = f"{status}: {said[-2000:]}"
        finally:
            iam.put_role_policy(RoleName=name, PolicyName=policy_name, PolicyDocument=json.dumps(policy))
    figure(
        "every action of the pipeline's roles is needed",
        f"{shown - len(silent)} of {shown}, and {documented} by AWS's documents",
    )
    assert sorted(silent) == [], silent


#: What needs the learner's other permissions, which the scripts of the test below do not use.
ELSEWHERE = {
    "scripts/create-stack.sh, after a failure": ("cloudformation:ContinueUpdateRollback", "cloudformation:DescribeStackEvents"),
    "scripts/create-stack.sh, with other parameters": ("cloudformation:GetTemplate", "cloudformation:UpdateStack"),
    "scripts/teardown.sh": (
        "cloudformation:DeleteStack", "iam:DeleteRole", "iam:DeleteRolePolicy", "s3:DeleteObject*", "s3:ListBucketVersions",
    ),
    "scripts/authorize-role.sh, in a cluster of mode API": ("eks:*AccessEntry", "arn:aws:eks:*:access-entry/*"),
    "the documents, the approval": ("codepipeline:PutApprovalResult", "arn:aws:codepipeline:*:aws-pipeline/*"),
    "the documents, staging": ("codepipeline:RollbackStage",),
    "the documents, the bill of materials": ("s3:GetObject",),
    "scripts/budget.sh": ("budgets:ModifyBudget",),
    "the documents and the console, the connection": ("codeconnections:*", "codestar-connections:*"),
    "scripts/preflight.sh, the account's plan": ("freetier:GetAccountPlanState",),
    "the console, the upload of the template": (
        "cloudformation:CreateUploadBucket", "cloudformation:GetTemplateSummary", "s3:CreateBucket", "s3:GetObject", "s3:PutObject",
        "arn:aws:cloudformation:*", "arn:aws:s3:::cf-templates-*",
    ),
    "the console, the stack's page": ("cloudformation:DescribeStackResources",),
    "the console, the pipeline's page": (
        "codepipeline:GetPipeline", "codepipeline:ListActionExecutions", "codepipeline:RetryStageExecution",
        "codepipeline:StartPipelineExecution",
    ),
    "the console, a build's page": ("codebuild:BatchGetBuilds", "logs:*", "arn:aws:codebuild:*", "arn:aws:logs:*"),
}  # fmt: skip


@pytest.mark.timeout(300)
def test_every_permission_of_the_learners_commands_is_needed(stack: Rehearsal, figure: Figure) -> None:
    for script in ("preflight.sh", "create-stack.sh", "status.sh", "leftovers.sh"):
        done = stack.run(f"scripts/{script}", check=False)  # two of them exit with 1 while a cluster exists
        assert "not authorized" not in done.stdout + done.stderr
    asked = [each for each in decision_log.read(decision_log.path()) if each["principal"].endswith(":user/learner")]
    given = [each for name in ("scripts", "stack") for each in LEARNER[name]["Statement"]]
    own = [each for each in given if "aws:CalledVia" not in str(each) and each["Action"] != "iam:PassRole"]
    policy = LEARNER["scripts"] | {"Statement": own}
    unused = [name.partition(": ")[2] for name in needless(policy, asked)]
    known = [pattern for patterns in ELSEWHERE.values() for pattern in patterns]
    count = len(list(pieces(policy)))
    figure(
        "every permission that the learner's policy has for their own commands is needed",
        f"{count - len(unused)} of {count} by the scripts of one run",
    )
    assert [name for name in unused if not any(fnmatchcase(name, pattern) for pattern in known)] == []
