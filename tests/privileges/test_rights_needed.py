"""Nothing in deployer-rbac.yml and in the roles' policies can be left out: each verb and action is removed in turn.

What a removal breaks is seen for real, in the kept rehearsal: by scripts/build/deploy.sh as the deployer, and by executions of
the pipeline. What the learner's own commands need is read from what IAM was asked meanwhile; what CloudFormation does in
the learner's name, and the function's role, are in test_privilege_learner.py.
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
from rehearsal.emulator import decisions
from rehearsal.emulator.client import root
from rehearsal.settings import settings
from rehearsal.waiting import until
from tests.support.fixtures import Figure, Rehearsal
from tests.support.paths import ROOT
from tests.support.privileges import needless, pieces

pytestmark = [pytest.mark.rehearsal, pytest.mark.slow, pytest.mark.timeout(600)]

Json = dict[str, Any]
ROLE, BINDING = yaml.safe_load_all((ROOT / "deployer-rbac.yml").read_text(encoding="utf-8"))
NAMESPACE, PIPELINE = "privilege-test", "aws-pipeline"
BUILDS = f"/aws/codebuild/{PIPELINE}"

#: The deployments, each of which shows some of the verbs to be needed.
FIRST, AGAIN, CHANGE, FAILURE = "first", "again", "change", "failure"
SHOWN_BY = {
    "pods get": FAILURE,
    "pods/log get": FAILURE,
    "create": FIRST,
    "get": FIRST,
    "watch": AGAIN,
    "patch": CHANGE,
    "list": FAILURE,
}

#: Actions that nothing here asks for, and why they stay.
BY_DOCUMENT = {
    "CodeBuildRole s3:GetObjectVersion": "CodeBuild user guide, the service role's policy",
    "CodeBuildRole ecr:GetDownloadUrlForLayer": "a build on another host pulls the cache; here all builds share one host",
    "PipelineRole s3:GetObject": "CodePipeline user guide, the service role's policy",
    "PipelineRole s3:GetObjectVersion": "CodePipeline user guide, the service role's policy",
}
#: What tells of a missing action where no message names it: nothing is in the log; Docker's question has no body.
TOLD_BY = {"logs:PutLogEvents": r"\n\[\]$", "ecr:BatchCheckLayerAvailability": "HTTP 403"}
#: Actions that only the build of a new image uses.
NEW_IMAGE = ("ecr:GetAuthorizationToken", "ecr:*Layer*", "ecr:PutImage")


def verbs() -> list[tuple[str, str, Json]]:
    """Each resource and verb of the Role, and the Role without it."""
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
    """The user ``build`` of the group ``deployers`` in a namespace of its own, with a shell as a build has it."""

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
        """Give the deployer a Role's rights, and no others."""
        self.admin("apply", "-f", "-", stdin=json.dumps(role))

    def clear(self) -> None:
        """Have nothing deployed."""
        self.admin("delete", "deployments,services,pdb,hpa", "hello-world", "--ignore-not-found", "--wait=false")

    def deploy(self, kind: str) -> tuple[int, str]:
        """Run scripts/build/deploy.sh as the deployer: its exit code and all that it says."""
        if kind == FIRST:
            self.clear()
        (self.directory / "deployment.yml").write_text(self._manifest(kind), encoding="utf-8")
        done = subprocess.run(
            ["bash", "scripts/build/deploy.sh", self.image], cwd=self.directory, env=self.environment,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=150, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout

    def _manifest(self, kind: str) -> str:
        """deployment.yml, with short waits; what is asked of the cluster is the same."""
        objects = list(yaml.safe_load_all((ROOT / "deployment.yml").read_text(encoding="utf-8")))
        deployment, service = objects[:2]
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        deployment["spec"] |= {"minReadySeconds": 0, "progressDeadlineSeconds": 8 if kind == FAILURE else 30}
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
    """The deployer with the whole Role, and the image that is live; its namespace goes at the end."""
    directory = tmp_path_factory.mktemp("deployer")
    shutil.copytree(ROOT / "scripts", directory / "scripts")
    shutil.copy(ROOT / "settings.sh", directory)
    script = directory / "scripts" / "build/deploy.sh"
    # A wait that cannot end well is cut short.
    script.write_text(re.sub(r"SECONDS \+ \d+", "SECONDS + 30", script.read_text(encoding="utf-8")), encoding="utf-8")
    kubeconfig = yaml.safe_load((settings.run / "kubernetes" / "super-admin.conf").read_text(encoding="utf-8"))
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
    """Return the image that the pipeline made live, once it has."""
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
        (SHOWN_BY.get(f"{resource} {verb}") or SHOWN_BY[verb], resource, verb, left) for resource, verb, left in verbs()
    ]
    silent = {}
    for kind, resource, verb, left in sorted(cases, key=lambda each: order.index(each[0])):
        deployer.allow(left)
        code, said = deployer.deploy(kind)
        # A kubectl that may not watch tries to list, and says that it may not.
        tried = "(watch|list)" if verb == "watch" else verb
        if code == 0 or not re.search(f'User "build" cannot {tried} resource "{resource}"', said.replace("\\", "")):
            silent[f"{resource} {verb}"] = said
    assert sorted(silent) == [], silent
    figure("every verb of the deployer is needed", f"{len(cases)} of {len(cases)}")


@dataclass
class Pipeline:
    """The stack's pipeline, started by hand or by a commit, and what its execution and build say."""

    stack: Rehearsal
    changed: bool = False
    known: str = ""

    def run(self, *, commit: bool) -> tuple[str, str]:
        """Execute, on a commit with another image if asked: how the execution ended, and all that was said."""
        if commit:
            self.changed = True
            self.push(f"{uuid.uuid4()}\n")
        else:
            root("codepipeline").start_pipeline_execution(name=PIPELINE)
        return self.wait()

    def push(self, end: str) -> None:
        """Push app.py with an end of its own."""
        app = self.stack.checkout / "app.py"
        text = app.read_text(encoding="utf-8").partition("\n# privilege-test ")[0].rstrip("\n") + "\n"
        app.write_text(text + (f"\n# privilege-test {end}" if end else ""), encoding="utf-8")
        self.stack.run("git", "commit", "--quiet", "--all", "--message", "Change the image")
        self.stack.run("git", "push", "--quiet")

    def wait(self) -> tuple[str, str]:
        """Wait until nothing is under way."""

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
        """The reasons that the actions give, and a line with the build's log as CloudWatch Logs has it."""
        actions = root("codepipeline").list_action_executions(
            pipelineName=PIPELINE, filter={"pipelineExecutionId": execution}
        )["actionExecutionDetails"]
        results = [each["output"].get("executionResult", {}) for each in actions]
        builds = [each["externalExecutionId"] for each in results if PIPELINE in each.get("externalExecutionId", "")]
        return f"{json.dumps(results)}\n{json.dumps([line for build in builds for line in _log(build)])}"


def _log(build: str) -> list[str]:
    """The lines of a build's log; none where there is no stream for it."""
    logs, stream = root("logs"), build.partition(":")[2]
    try:
        events = logs.filter_log_events(logGroupName=BUILDS, logStreamNames=[stream])["events"]
    except logs.exceptions.ResourceNotFoundException:
        return []
    return [event["message"] for event in events]


@pytest.fixture(scope="module", name="pipeline")
def _pipeline(stack: Rehearsal) -> Iterator[Pipeline]:
    """The pipeline at rest; afterwards the commit that was live is live again."""
    live_image(stack)
    pipeline = Pipeline(stack)
    pipeline.wait()
    yield pipeline
    if pipeline.changed:
        pipeline.push("")
        assert pipeline.wait()[0] == "Succeeded"


def policies() -> dict[str, tuple[str, str]]:
    """The roles that an execution uses, each with its name and its policy's name."""
    listed = root("cloudformation").describe_stack_resources(StackName=PIPELINE)["StackResources"]
    names = {each["LogicalResourceId"]: each["PhysicalResourceId"] for each in listed}
    return {
        "PipelineRole": (names["PipelineRole"], "fetch-and-start"),
        "CodeBuildRole": (names["CodeBuildRole"], "build-and-deploy"),
        "kubectl role": ("UdacityFlaskDeployCBKubectlRole", "eks-describe"),
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
                told = TOLD_BY.get(action, f"not authorized to perform: {action} ")
                if not re.search(told, said) or (status == "Succeeded" and action != "logs:PutLogEvents"):
                    silent[f"{role} {action}"] = f"{status}: {said[-2000:]}"
        finally:
            iam.put_role_policy(RoleName=name, PolicyName=policy_name, PolicyDocument=json.dumps(policy))
    assert sorted(silent) == [], silent
    figure("every action of the pipeline's roles is needed", f"{shown} of {shown}, and {documented} by AWS's documents")


#: What the learner's own rights are for, where none of the scripts of ``test_every_right_of_the_learners_commands`` uses them.
ELSEWHERE = {
    "scripts/create-stack.sh, after a failure": ("cloudformation:ContinueUpdateRollback", "cloudformation:DescribeStackEvents"),
    "scripts/create-stack.sh, with other parameters": ("cloudformation:GetTemplate", "cloudformation:UpdateStack"),
    "scripts/teardown.sh": ("cloudformation:DeleteStack", "iam:DeleteRole", "iam:DeleteRolePolicy"),
    "scripts/authorize-role.sh, in a cluster of mode API": ("eks:*AccessEntry", "arn:aws:eks:*:access-entry/*"),
    "README, the approval": ("codepipeline:PutApprovalResult", "arn:aws:codepipeline:*:aws-pipeline/*"),
    "README and the console, the connection": ("codeconnections:*",),
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
def test_every_right_of_the_learners_commands_is_needed(stack: Rehearsal, figure: Figure) -> None:
    for script in ("preflight.sh", "create-stack.sh", "status.sh", "leftovers.sh"):
        done = stack.run(f"scripts/{script}", check=False)  # two of them end with 1 while a cluster stands
        assert "not authorized" not in done.stdout + done.stderr
    asked = [each for each in decisions.read(decisions.path()) if each["principal"].endswith(":user/learner")]
    document = (ROOT / "docs" / "learner-policy.json").read_text(encoding="utf-8")
    policy = json.loads(document.replace("<ACCOUNT_ID>", settings.account))
    own = [
        each for each in policy["Statement"] if "aws:CalledVia" not in str(each) and each["Action"] != "iam:PassRole"
    ]
    policy["Statement"] = own
    unused = [name.partition(": ")[2] for name in needless(policy, asked)]
    known = [pattern for patterns in ELSEWHERE.values() for pattern in patterns]
    assert [name for name in unused if not any(fnmatchcase(name, pattern) for pattern in known)] == []
    count = len(list(pieces(policy)))
    figure(
        "every permission that the learner's policy has for their own commands is needed",
        f"{count - len(unused)} of {count} by the scripts of one run",
    )
