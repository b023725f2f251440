"""The stand-ins of CodePipeline and CodeBuild run the pipeline of a small stack, without root, Docker or a cluster."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import io
import itertools
import json
import os
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from rehearsal.executions import FINAL, follow
from tests.support import loopback
from tests.support.loopback import Loopback, eventually
from tests.support.names import ACCOUNT, REGION
from tests.support.paths import ROOT

Json = dict[str, Any]
pytestmark = [pytest.mark.services, pytest.mark.timeout(180)]

TOKEN = "ghp_" + "a" * 36
WEAK_TOKEN = "ghp_" + "b" * 36
SECRET = "a webhook's secret"
QUICK = "version: 0.2\nphases: {build: {commands: [cat app.txt]}}\n"
BAD = "version: 0.2\nphases: {build: {commands: ['echo because >&2; exit 7']}}\n"
#: The tutorial's own check, before what stands for the deployment.
CHECKED = """\
version: 0.2
phases:
  post_build:
    commands:
      - bash scripts/build/check-findings.sh "IMAGE" HIGH
      - echo now live
"""
KEEPS = """\
version: 0.2
phases: {build: {commands: [cat app.txt, 'echo ''{"purl": "pkg:pypi/flask@3.1.3"}'' >bom.json']}}
artifacts: {files: ['bom.*']}
"""
WHOLE = """\
version: 0.2
env:
  exported-variables: [COLOUR]
phases:
  build:
    commands:
      - COLOUR=blue
      - test -f app.txt && test ! -x app.txt && cat app.txt
      - aws sts get-caller-identity --query Arn --output text
      - echo "$CODEBUILD_RESOLVED_SOURCE_VERSION $CODEBUILD_INITIATOR $FROM_PIPELINE"
"""


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loopback]:
    """Start AWS and GitHub with a repository, a token with all scopes and one with ``public_repo`` only."""
    with loopback.started(tmp_path_factory.mktemp("cache")) as running:
        running.python(
            f"from rehearsal import github; github.create_repository('me', 'app'); github.add_token('{TOKEN}', 'me');"
            f"github.add_token('{WEAK_TOKEN}', 'me', ['public_repo'])"
        )
        yield running


def push(aws: Loopback, work: Path, buildspec: str, text: str, branch: str = "master") -> str:
    """Push a commit with a buildspec and one other file; return its id."""
    if not (work / ".git").exists():
        aws.git("clone", "--quiet", "https://github.com/me/app.git", str(work))
    aws.git("checkout", "--quiet", "-B", branch, cwd=work)
    (work / "buildspec.yml").write_text(buildspec)
    (work / "app.txt").write_text(text)
    (work / "app.txt").chmod(0o755)
    aws.git("add", "--all", cwd=work)
    aws.git("commit", "--quiet", "--allow-empty", "--message", f"Say {text}", cwd=work)
    aws.git("push", "--quiet", "--force", "origin", branch, cwd=work, token=TOKEN)
    return aws.git("rev-parse", "HEAD", cwd=work).stdout.strip()


def role(service: str, statements: list[Json], condition: Json | None = None) -> Json:
    trust: Json = {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}
    if condition:
        trust["Condition"] = condition
    policy = {"PolicyName": "p", "PolicyDocument": {"Version": "2012-10-17", "Statement": statements}}
    document = {"Version": "2012-10-17", "Statement": [trust]}
    return {"Type": "AWS::IAM::Role", "Properties": {"AssumeRolePolicyDocument": document, "Policies": [policy]}}


def allow(actions: list[str], resource: Any) -> Json:
    return {"Effect": "Allow", "Action": actions, "Resource": resource}


def template(name: str, **changes: Any) -> Json:
    """Return a template like the tutorial's: bucket, project, pipeline, webhook and least-privilege roles."""
    bucket: Json = {"Fn::GetAtt": ["Bucket", "Arn"]}
    objects = {"Fn::Join": ["", [bucket, "/*"]]}
    project = f"arn:aws:codebuild:{REGION}:{ACCOUNT}:project/{name}"
    logs = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:/builds/{name}:*"
    source = {
        "Name": "Source",
        "ActionTypeId": {"Category": "Source", "Owner": "ThirdParty", "Provider": "GitHub", "Version": "1"},
        "Configuration": {
            "Owner": "me",
            "Repo": "app",
            "Branch": changes.get("branch", "master"),
            "OAuthToken": changes.get("token", TOKEN),
            "PollForSourceChanges": False,
        },
        "OutputArtifacts": [{"Name": "App"}],
        "Namespace": "Source",
    }
    variables = [{"name": "FROM_PIPELINE", "value": "#{Source.CommitId}", "type": "PLAINTEXT"}]
    build = {
        "Name": "Build",
        "ActionTypeId": {"Category": "Build", "Owner": "AWS", "Provider": "CodeBuild", "Version": "1"},
        "Configuration": {"ProjectName": {"Ref": "Project"}, "EnvironmentVariables": json.dumps(variables)},
        "InputArtifacts": [{"Name": "App"}],
        "OutputArtifacts": changes.get("outputs", []),
    }
    approve = {
        "Name": "Approve",
        "Actions": [
            {
                "Name": "Ask",
                "ActionTypeId": {"Category": "Approval", "Owner": "AWS", "Provider": "Manual", "Version": "1"},
            }
        ],
    }
    stages = [{"Name": "Source", "Actions": [changes.get("source", source)]}]
    stages += [approve] if changes.get("approval") else []
    stages += [{"Name": "Build", "Actions": [build]}]
    if changes.get("staged"):
        image = json.dumps([{"name": "IMAGE", "value": "#{Release.IMAGE}"}])
        first = build | {"Namespace": "Release"}
        last = build | {"Name": "Deploy", "Configuration": build["Configuration"] | {"EnvironmentVariables": image}}
        stages[-1:] = [{"Name": "Staging", "Actions": [first]}, {"Name": "Production", "Actions": [last]}]
    resources: Json = {
        "Bucket": {"Type": "AWS::S3::Bucket", "Properties": {"BucketName": f"{name}-bucket"}},
        "Log": {"Type": "AWS::Logs::LogGroup", "Properties": {"LogGroupName": f"/builds/{name}"}},
        "BuildRole": role(
            "codebuild.amazonaws.com",
            [
                allow(["logs:CreateLogStream", "logs:PutLogEvents"], logs),
                allow(["s3:GetObject"], objects),
                *changes.get("build_rights", []),
            ],
            {
                "ArnEquals": {"aws:SourceArn": changes.get("trusted", project)},
                "StringEquals": {"aws:SourceAccount": ACCOUNT},
            },
        ),
        "PipelineRole": role(
            changes.get("principal", "codepipeline.amazonaws.com"),
            [
                allow(["s3:GetObject", "s3:PutObject"], objects),
                allow(["s3:GetBucketVersioning"], bucket),
                *changes.get("rights", [allow(["codebuild:StartBuild", "codebuild:BatchGetBuilds"], project)]),
            ],
        ),
        "Project": {
            "Type": "AWS::CodeBuild::Project",
            "Properties": {
                "Name": name,
                "ServiceRole": {"Fn::GetAtt": ["BuildRole", "Arn"]},
                "Source": {"Type": "CODEPIPELINE"},
                "Artifacts": {"Type": "CODEPIPELINE"},
                "Environment": {
                    "Type": "LINUX_CONTAINER",
                    "Image": "aws/codebuild/standard:7.0",
                    "ComputeType": "BUILD_GENERAL1_SMALL",
                },
                "LogsConfig": {"CloudWatchLogs": {"Status": "ENABLED", "GroupName": {"Ref": "Log"}}},
            },
        },
        "Pipeline": {
            "Type": "AWS::CodePipeline::Pipeline",
            "Properties": {
                "Name": name,
                "PipelineType": "V2",
                "ExecutionMode": changes.get("mode", "SUPERSEDED"),
                "RoleArn": {"Fn::GetAtt": ["PipelineRole", "Arn"]},
                "ArtifactStore": {"Type": "S3", "Location": {"Ref": "Bucket"}},
                "Stages": stages,
            },
        },
    }
    if "source" not in changes:
        resources["Hook"] = {
            "Type": "AWS::CodePipeline::Webhook",
            "Properties": {
                "Authentication": "GITHUB_HMAC",
                "AuthenticationConfiguration": {"SecretToken": SECRET},
                "Filters": [{"JsonPath": "$.ref", "MatchEquals": "refs/heads/{Branch}"}],
                "TargetPipeline": {"Ref": "Pipeline"},
                "TargetAction": "Source",
                "TargetPipelineVersion": 1,
                "RegisterWithThirdParty": changes.get("register", True),
            },
        }
    return {
        "Resources": resources,
        "Outputs": {"Url": {"Value": {"Fn::GetAtt": ["Hook", "Url"]}}} if "Hook" in resources else {},
    }


class Stack:
    """A stack and its pipeline."""

    def __init__(self, aws: Loopback, name: str) -> None:
        self.aws, self.name = aws, name
        self.pipelines = aws.client("codepipeline")

    def create(self, **changes: Any) -> Json:
        cloudformation = self.aws.client("cloudformation")
        cloudformation.create_stack(
            StackName=self.name,
            TemplateBody=json.dumps(template(self.name, **changes)),
            Capabilities=["CAPABILITY_IAM"],
        )
        return self.settled()

    def update(self, **changes: Any) -> Json:
        self.aws.client("cloudformation").update_stack(
            StackName=self.name,
            TemplateBody=json.dumps(template(self.name, **changes)),
            Capabilities=["CAPABILITY_IAM"],
        )
        return self.settled()

    def settled(self) -> Json:
        def done() -> Any:
            found = self.aws.client("cloudformation").describe_stacks(StackName=self.name)["Stacks"][0]
            return found if not found["StackStatus"].endswith("IN_PROGRESS") else None

        return dict(eventually(done))

    def reason(self) -> str:
        events = self.aws.client("cloudformation").describe_stack_events(StackName=self.name)["StackEvents"]
        return " / ".join(
            one.get("ResourceStatusReason", "") for one in events if one["ResourceStatus"].endswith("FAILED")
        )

    def delete(self) -> None:
        """Delete the stack and the content of its bucket, if they exist."""
        s3 = self.aws.client("s3")
        with contextlib.suppress(s3.exceptions.NoSuchBucket):
            for one in s3.list_objects_v2(Bucket=f"{self.name}-bucket").get("Contents", []):
                s3.delete_object(Bucket=f"{self.name}-bucket", Key=one["Key"])
        cloudformation = self.aws.client("cloudformation")
        cloudformation.delete_stack(StackName=self.name)
        cloudformation.get_waiter("stack_delete_complete").wait(
            StackName=self.name, WaiterConfig={"Delay": 0.1, "MaxAttempts": 100}
        )

    def executions(self) -> list[Json]:
        return list(self.pipelines.list_pipeline_executions(pipelineName=self.name)["pipelineExecutionSummaries"])

    def ended(self, identifier: str | None = None) -> Json:
        """Wait until an execution, by default the newest, has ended."""

        def done() -> Any:
            found = [one for one in self.executions() if identifier in (None, one["pipelineExecutionId"])]
            return found[0] if found and found[0]["status"] in FINAL else None

        return dict(eventually(done, 30))

    def of_commit(self, commit: str) -> Json:
        """Wait until the execution of a commit has ended."""
        return follow(self.pipelines, self.name, commit, 30)

    def action(self, stage: str) -> Json:
        for one in self.pipelines.get_pipeline_state(name=self.name)["stageStates"]:
            if one["stageName"] == stage:
                return dict(one["actionStates"][0].get("latestExecution", {}))
        raise AssertionError(stage)

    def awaiting(self) -> Json:
        """Wait until the approval is in progress."""
        return dict(
            eventually(lambda: found if (found := self.action("Approve")).get("status") == "InProgress" else None)
        )

    def build(self) -> Json:
        identifier = self.action("Build")["externalExecutionId"]
        return dict(self.aws.client("codebuild").batch_get_builds(ids=[identifier])["builds"][0])

    def log(self) -> str:
        where = self.build()["logs"]
        got = self.aws.client("logs").get_log_events(
            logGroupName=where["groupName"], logStreamName=where["streamName"], startFromHead=True
        )
        return "".join(one["message"] for one in got["events"])


@pytest.fixture
def make(aws: Loopback) -> Iterator[Callable[..., Stack]]:
    """Create stacks and delete them after the test."""
    made: list[Stack] = []

    def create(name: str, **changes: Any) -> Stack:
        stack = Stack(aws, name)
        made.append(stack)
        found = stack.create(**changes)
        assert found["StackStatus"] == "CREATE_COMPLETE", stack.reason()
        return stack

    yield create
    for stack in made:
        stack.delete()


def test_push_starts_a_build_of_its_commit(aws: Loopback, make: Callable[..., Stack], tmp_path: Path) -> None:
    first = push(aws, tmp_path / "work", WHOLE, "one")
    stack = make("delivery")
    assert stack.of_commit(first)["status"] == "Succeeded"
    assert stack.executions()[0]["trigger"]["triggerType"] == "CreatePipeline"
    second = push(aws, tmp_path / "work", WHOLE, "two")
    execution = stack.of_commit(second)
    assert execution["status"] == "Succeeded"
    assert execution["trigger"]["triggerType"] == "Webhook"
    assert execution["sourceRevisions"][0]["revisionSummary"] == "Say two"
    log = stack.log()
    assert "\ntwo" in log
    assert f"{second} codepipeline/delivery {second}" in log
    assert ":assumed-role/delivery-BuildRole" in log
    assert "AWSCodeBuild-" in log
    build = stack.build()
    assert build["buildStatus"] == "SUCCEEDED"
    assert build["resolvedSourceVersion"] == second
    assert build["exportedEnvironmentVariables"] == [{"name": "COLOUR", "value": "blue"}]
    assert [one["phaseType"] for one in build["phases"]] == [
        "SUBMITTED", "QUEUED", "PROVISIONING", "DOWNLOAD_SOURCE", "INSTALL", "PRE_BUILD", "BUILD", "POST_BUILD",
        "UPLOAD_ARTIFACTS", "FINALIZING", "COMPLETED",
    ]  # fmt: skip
    details = stack.pipelines.list_action_executions(
        pipelineName="delivery", filter={"pipelineExecutionId": execution["pipelineExecutionId"]}
    )["actionExecutionDetails"]
    assert [one["actionName"] for one in details] == ["Build", "Source"]
    assert details[1]["output"]["outputVariables"]["CommitId"] == second
    location = details[0]["input"]["inputArtifacts"][0]["s3location"]
    data = aws.client("s3").get_object(Bucket=location["bucket"], Key=location["key"])["Body"].read()
    assert sorted(zipfile.ZipFile(io.BytesIO(data)).namelist()) == ["app.txt", "buildspec.yml"]


def test_output_artifact_is_kept_if_the_builds_role_may_write_it(
    aws: Loopback, make: Callable[..., Stack], tmp_path: Path
) -> None:
    """The role of the build writes it: https://docs.aws.amazon.com/codebuild/latest/userguide/setting-up-service-role.html."""
    commit = push(aws, tmp_path / "work", KEEPS, "kept")
    stack = make("kept", outputs=[{"Name": "Sbom"}])
    assert stack.of_commit(commit)["status"] == "Failed"
    message = stack.action("Build")["errorDetails"]["message"]
    assert "Phase: UPLOAD_ARTIFACTS, Code: CLIENT_ERROR" in message
    assert "not authorized to perform: s3:PutObject" in message
    stack.update(
        outputs=[{"Name": "Sbom"}], build_rights=[allow(["s3:PutObject"], "arn:aws:s3:::kept-bucket/*/Sbom/*")]
    )
    commit = push(aws, tmp_path / "work", KEEPS, "kept now")
    assert stack.of_commit(commit)["status"] == "Succeeded"
    newest = stack.pipelines.list_action_executions(pipelineName="kept")["actionExecutionDetails"][0]
    (made,) = newest["output"]["outputArtifacts"]
    assert made["name"] == "Sbom"
    assert re.fullmatch(r"kept/Sbom/[A-Za-z0-9]{7}", made["s3location"]["key"])
    where = made["s3location"]
    data = aws.client("s3").get_object(Bucket=where["bucket"], Key=where["key"])["Body"].read()
    assert zipfile.ZipFile(io.BytesIO(data)).namelist() == ["bom.json"]
    assert "Expanding bom.*" in stack.log()
    assert "Found 1 file(s)" in stack.log()


def test_learner_gets_the_bill_of_materials_by_the_documented_command(
    aws: Loopback, make: Callable[..., Stack], tmp_path: Path
) -> None:
    push(aws, tmp_path / "work", KEEPS, "bill")
    right = allow(["s3:PutObject"], "arn:aws:s3:::bill-bucket/*/Sbom/*")
    stack = make("bill", outputs=[{"Name": "Sbom"}], build_rights=[right])
    assert stack.ended()["status"] == "Succeeded"
    given = (
        (ROOT / "docs/policies/scripts.json").read_text().replace("<PARTITION>", "aws").replace("<stack_name>", "bill")
    )
    (read,) = [one for one in json.loads(given)["Statement"] if one["Sid"] == "ReadBillOfMaterials"]
    lists = allow(["codepipeline:ListActionExecutions"], f"arn:aws:codepipeline:{REGION}:{ACCOUNT}:bill")
    chapter = (ROOT / "docs" / "how-a-build-works.md").read_text(encoding="utf-8")
    (command,) = re.findall(r"```bash\n(WHERE=.+?)```", chapter, re.DOTALL)
    iam = aws.client("iam")
    iam.create_user(UserName="reader")
    keys = iam.create_access_key(UserName="reader")["AccessKey"]
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{aws.port}",
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": keys["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": keys["SecretAccessKey"],
        "STACK_NAME": "bill",
    }
    for rights, expected in (([lists], ""), ([lists, read], '"purl": "pkg:pypi/flask@3.1.3\n')):
        policy = json.dumps({"Version": "2012-10-17", "Statement": rights})
        iam.put_user_policy(UserName="reader", PolicyName="p", PolicyDocument=policy)
        done = subprocess.run(
            ["bash", "-c", command],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.stdout == expected, done.stderr


def test_tokens_and_secrets_are_masked(aws: Loopback, make: Callable[..., Stack], tmp_path: Path) -> None:
    push(aws, tmp_path / "work", QUICK, "masked")
    stack = make("masked")
    stack.ended()
    client = stack.pipelines
    everything = json.dumps(
        [
            client.get_pipeline(name="masked"),
            client.list_action_executions(pipelineName="masked"),
            client.get_pipeline_state(name="masked"),
            client.list_webhooks(),
        ],
        default=str,
    )
    assert TOKEN not in everything
    assert SECRET not in everything
    assert "****" in everything


def test_failed_build_gives_the_reason(aws: Loopback, make: Callable[..., Stack], tmp_path: Path) -> None:
    commit = push(aws, tmp_path / "work", BAD, "bad")
    stack = make("failing")
    assert stack.of_commit(commit)["status"] == "Failed"
    error = stack.action("Build")["errorDetails"]
    assert error["code"] == "JobFailed"
    assert "Build terminated with state: FAILED. Phase: BUILD, Code: COMMAND_EXECUTION_ERROR" in error["message"]
    assert "exit status 7" in error["message"]
    assert "because" in stack.log()


def test_only_a_failed_stage_can_be_retried(aws: Loopback, make: Callable[..., Stack], tmp_path: Path) -> None:
    push(aws, tmp_path / "work", BAD, "bad again")
    stack = make("retried")
    execution = stack.ended()
    identifier = execution["pipelineExecutionId"]
    first = stack.action("Build")["externalExecutionId"]
    stack.pipelines.retry_stage_execution(
        pipelineName="retried", stageName="Build", pipelineExecutionId=identifier, retryMode="FAILED_ACTIONS"
    )
    eventually(
        lambda: (
            stack.action("Build")["externalExecutionId"] != first
            if "externalExecutionId" in stack.action("Build")
            else False
        )
    )
    assert stack.ended(identifier)["status"] == "Failed"
    with pytest.raises(ClientError, match="StageNotRetryable"):
        stack.pipelines.retry_stage_execution(
            pipelineName="retried", stageName="Source", pipelineExecutionId=identifier, retryMode="FAILED_ACTIONS"
        )


def test_webhook_ignores_other_branches_and_rejects_wrong_signatures(
    aws: Loopback, make: Callable[..., Stack], tmp_path: Path
) -> None:
    push(aws, tmp_path / "work", QUICK, "hook")
    stack = make("hooked")
    stack.ended()
    before = len(stack.executions())
    push(aws, tmp_path / "work", QUICK, "elsewhere", branch="feature")
    outputs = stack.settled()["Outputs"]
    path = outputs[0]["OutputValue"].partition(".webhooks.aws")[2]
    body = json.dumps({"ref": "refs/heads/master", "after": "0" * 40}).encode()
    for signature in ("", "sha256=" + hmac.new(b"wrong", body, hashlib.sha256).hexdigest()):
        request = urllib.request.Request(
            f"http://127.0.0.1:{aws.port + 4}{path}", body, {"X-Hub-Signature-256": signature}
        )
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=5)
    time.sleep(0.5)
    assert len(stack.executions()) == before


def test_deleting_the_stack_removes_its_hook_at_github(
    aws: Loopback, make: Callable[..., Stack], tmp_path: Path
) -> None:
    push(aws, tmp_path / "work", QUICK, "unhook")
    hooks = aws.run / "github" / "me" / "app.hooks.json"
    stack = make("unhooked")
    count = len(json.loads(hooks.read_text()))
    stack.ended()
    stack.delete()
    eventually(lambda: len(json.loads(hooks.read_text())) == count - 1)


def test_approval_lets_the_execution_continue_and_rejection_fails_it(
    aws: Loopback, make: Callable[..., Stack], tmp_path: Path
) -> None:
    push(aws, tmp_path / "work", QUICK, "approved")
    stack = make("approved", approval=True)
    waiting = stack.awaiting()
    put = stack.pipelines.put_approval_result
    where = {"pipelineName": "approved", "stageName": "Approve", "actionName": "Ask"}
    with pytest.raises(ClientError, match="InvalidApprovalToken"):
        put(**where, token="not-the-token-not-the-token-not-the-1", result={"summary": "", "status": "Approved"})
    put(**where, token=waiting["token"], result={"summary": "fine", "status": "Approved"})
    assert stack.ended()["status"] == "Succeeded"
    assert stack.action("Approve")["summary"] == "fine"
    with pytest.raises(ClientError, match="ApprovalAlreadyCompleted"):
        put(**where, token=waiting["token"], result={"summary": "", "status": "Rejected"})
    stack.pipelines.start_pipeline_execution(name="approved")
    again = stack.awaiting()
    put(**where, token=again["token"], result={"summary": "no", "status": "Rejected"})
    assert stack.ended()["status"] == "Failed"
    assert "Rejected" in stack.action("Approve")["errorDetails"]["message"]


def test_newer_execution_supersedes_the_waiting_one(aws: Loopback, make: Callable[..., Stack], tmp_path: Path) -> None:
    push(aws, tmp_path / "work", QUICK, "s")
    stack = make("superseded", approval=True)
    stack.awaiting()
    second = stack.pipelines.start_pipeline_execution(name="superseded")["pipelineExecutionId"]
    eventually(lambda: _inbound(stack, "Approve") == second)
    third = stack.pipelines.start_pipeline_execution(name="superseded")["pipelineExecutionId"]
    assert stack.ended(second)["status"] == "Superseded"
    assert eventually(lambda: _inbound(stack, "Approve") == third)


def test_queued_executions_keep_their_order(aws: Loopback, make: Callable[..., Stack], tmp_path: Path) -> None:
    push(aws, tmp_path / "work", QUICK, "q")
    stack = make("queued", approval=True, mode="QUEUED")
    stack.awaiting()
    first = stack.executions()[0]["pipelineExecutionId"]
    later = [stack.pipelines.start_pipeline_execution(name="queued")["pipelineExecutionId"] for _ in range(2)]
    for identifier in [first, *later]:
        eventually(lambda wanted=identifier: _within(stack, "Approve") == wanted)
        token = eventually(lambda: stack.action("Approve").get("token"))
        result = {"summary": "", "status": "Approved"}
        where = {"pipelineName": "queued", "stageName": "Approve", "actionName": "Ask"}
        stack.pipelines.put_approval_result(**where, token=token, result=result)
        assert stack.ended(identifier)["status"] == "Succeeded"


#: Takes the image of staging, or makes one; fails with ``bad`` in staging; waits while there is a file ``hold``.
STAGED = """\
version: 0.2
env: {exported-variables: [IMAGE]}
phases:
  build:
    commands:
      - 'if [ -z "$IMAGE" ] && grep bad app.txt; then exit 1; fi'
      - 'while [ -n "$IMAGE" ] && [ -e %s ]; do sleep 0.1; done'
      - '[ -n "$IMAGE" ] || IMAGE="image of $(cat app.txt)"'
      - 'echo "runs $IMAGE"'
"""


@pytest.fixture
def staged(aws: Loopback, make: Callable[..., Stack], tmp_path: Path) -> tuple[Stack, Callable[[str], str], Path]:
    """Create a pipeline with staging and production; return it, a function that pushes, and the file that holds production."""
    hold = tmp_path / "hold"

    def pushes(text: str) -> str:
        return push(aws, tmp_path / "work", STAGED % hold, text)

    pushes("zero")
    stack = make(f"staged-{tmp_path.name[:20].strip('_').replace('_', '-')}", staged=True)
    assert stack.ended()["status"] == "Succeeded"
    return stack, pushes, hold


def images(stack: Stack, execution: Json) -> list[str]:
    """Return the image of each stage of an execution, the last stage first."""
    details = stack.pipelines.list_action_executions(
        pipelineName=stack.name, filter={"pipelineExecutionId": execution["pipelineExecutionId"]}
    )["actionExecutionDetails"]
    return [one["output"]["outputVariables"]["IMAGE"] for one in details if one["stageName"] != "Source"]


def test_production_takes_the_image_of_staging(staged: tuple[Stack, Callable[[str], str], Path]) -> None:
    stack, pushes, _ = staged
    execution = stack.of_commit(pushes("one"))
    assert execution["status"] == "Succeeded"
    assert images(stack, execution) == ["image of one", "image of one"]
    builds = stack.pipelines.list_action_executions(pipelineName=stack.name)["actionExecutionDetails"]
    assert {one["input"]["configuration"].get("ProjectName") for one in builds} == {None, stack.name}


def test_red_staging_does_not_reach_production(staged: tuple[Stack, Callable[[str], str], Path]) -> None:
    stack, pushes, _ = staged
    execution = stack.of_commit(pushes("bad"))
    assert execution["status"] == "Failed"
    details = stack.pipelines.list_action_executions(
        pipelineName=stack.name, filter={"pipelineExecutionId": execution["pipelineExecutionId"]}
    )["actionExecutionDetails"]
    assert [one["stageName"] for one in details] == ["Staging", "Source"]


def test_each_stage_runs_one_execution_and_both_run_at_once(
    staged: tuple[Stack, Callable[[str], str], Path],
) -> None:
    """While production is busy, staging continues; the newest of those that wait for production is the next one."""
    stack, pushes, hold = staged
    hold.touch()
    pushes("one")
    first = eventually(lambda: _within(stack, "Production"))
    pushes("two")
    second = eventually(lambda: _inbound(stack, "Production"))
    assert _within(stack, "Production") == first
    third = pushes("three")
    assert stack.ended(second)["status"] == "Superseded"
    hold.unlink()
    assert stack.ended(first)["status"] == "Succeeded"
    last = stack.of_commit(third)
    assert images(stack, last) == ["image of three", "image of three"]
    runs = [
        (one["startTime"], one["lastUpdateTime"])
        for one in stack.pipelines.list_action_executions(pipelineName=stack.name)["actionExecutionDetails"]
        if one["stageName"] == "Production"
    ]
    runs.sort()
    assert all(ended <= began for (_, ended), (began, _) in itertools.pairwise(runs))


def test_rollback_promotes_an_earlier_image(staged: tuple[Stack, Callable[[str], str], Path]) -> None:
    stack, pushes, hold = staged
    good, newer = stack.of_commit(pushes("good")), stack.of_commit(pushes("newer"))
    roll_back = partial(stack.pipelines.rollback_stage, pipelineName=stack.name)
    to = {"targetPipelineExecutionId": good["pipelineExecutionId"]}
    done = stack.ended(roll_back(stageName="Production", **to)["pipelineExecutionId"])
    assert (done["status"], done["executionType"]) == ("Succeeded", "ROLLBACK")
    assert done["rollbackMetadata"] == {"rollbackTargetPipelineExecutionId": good["pipelineExecutionId"]}
    assert done["trigger"]["triggerType"] == "ManualRollback"
    assert done["sourceRevisions"] == good["sourceRevisions"]
    assert images(stack, done) == ["image of good"], "one stage runs, and nothing is built"
    suitable = stack.pipelines.list_pipeline_executions(
        pipelineName=stack.name, filter={"succeededInStage": {"stageName": "Production"}}
    )["pipelineExecutionSummaries"]
    assert [one["pipelineExecutionId"] for one in suitable][:3] == [
        one["pipelineExecutionId"] for one in (done, newer, good)
    ]
    with pytest.raises(ClientError, match="UnableToRollbackStage"):
        roll_back(stageName="Source", **to)
    with pytest.raises(ClientError, match="UnableToRollbackStage"):
        roll_back(stageName="Production", targetPipelineExecutionId=done["pipelineExecutionId"])
    hold.touch()
    running = roll_back(stageName="Production", **to)["pipelineExecutionId"]
    eventually(lambda: _within(stack, "Production"))
    with pytest.raises(ClientError, match="UnableToRollbackStage"):
        roll_back(stageName="Production", **to)
    hold.unlink()
    stack.ended(running)
    stack.update(staged=True, mode="QUEUED")
    with pytest.raises(ClientError, match="PipelineExecutionOutdated"):
        roll_back(stageName="Production", **to)


def test_stop_waits_for_running_actions_unless_it_abandons_them(
    aws: Loopback, make: Callable[..., Stack], tmp_path: Path
) -> None:
    push(aws, tmp_path / "work", QUICK, "stop")
    stack = make("stopped", approval=True)
    stack.awaiting()
    identifier = stack.executions()[0]["pipelineExecutionId"]
    stop = {"pipelineName": "stopped", "pipelineExecutionId": identifier}
    stack.pipelines.stop_pipeline_execution(**stop, abandon=False, reason="wait")
    with pytest.raises(ClientError, match="DuplicatedStopRequest"):
        stack.pipelines.stop_pipeline_execution(**stop, abandon=False)
    stack.pipelines.stop_pipeline_execution(**stop, abandon=True, reason="enough")
    assert stack.ended()["status"] == "Stopped"
    assert stack.action("Approve")["status"] == "Abandoned"


def test_disabled_transition_holds_executions(aws: Loopback, make: Callable[..., Stack], tmp_path: Path) -> None:
    push(aws, tmp_path / "work", QUICK, "t")
    stack = make("closed", approval=True)
    where = {"pipelineName": "closed", "stageName": "Build", "transitionType": "Inbound"}
    stack.pipelines.disable_stage_transition(**where, reason="not today")
    waiting = stack.awaiting()
    stack.pipelines.put_approval_result(
        pipelineName="closed", stageName="Approve", actionName="Ask", token=waiting["token"],
        result={"summary": "", "status": "Approved"},
    )  # fmt: skip
    eventually(lambda: _inbound(stack, "Build"))
    stack.pipelines.enable_stage_transition(**where)
    assert stack.ended()["status"] == "Succeeded"


def test_missing_permission_of_the_pipeline_role_is_named(
    aws: Loopback, make: Callable[..., Stack], tmp_path: Path
) -> None:
    push(aws, tmp_path / "work", QUICK, "r")
    stack = make("unprivileged", rights=[])
    assert stack.ended()["status"] == "Failed"
    assert "codebuild:StartBuild" in stack.action("Build")["errorDetails"]["message"]


def test_build_fails_if_its_role_trusts_another_project(
    aws: Loopback, make: Callable[..., Stack], tmp_path: Path
) -> None:
    push(aws, tmp_path / "work", QUICK, "trust")
    stack = make("mistrusted", trusted=f"arn:aws:codebuild:{REGION}:{ACCOUNT}:project/other")
    assert stack.ended()["status"] == "Failed"
    assert "CodeBuild cannot assume the service role" in stack.action("Build")["errorDetails"]["message"]


REFUSED = {
    "an unknown token": ({"token": "ghp_" + "f" * 36}, "StatusCode: 401.*Bad credentials"),
    "a token that may not manage webhooks": ({"token": WEAK_TOKEN}, "StatusCode: 404"),
    "a role that trusts another service": ({"principal": "ec2.amazonaws.com"}, "not authorized to perform AssumeRole"),
    "an unknown execution mode": ({"mode": "FASTEST"}, "executionMode"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_stack_with_an_error_is_rolled_back(aws: Loopback, case: str) -> None:
    changes, expected = REFUSED[case]
    name = f"refused-{list(REFUSED).index(case)}"
    stack = Stack(aws, name)
    found = stack.create(**changes)
    assert found["StackStatus"] == "ROLLBACK_COMPLETE"
    assert re.search(expected, stack.reason()), stack.reason()
    with pytest.raises(ClientError, match="PipelineNotFound"):
        stack.pipelines.get_pipeline(name=name)


def test_connection_needs_a_permission_and_a_completed_handshake(
    aws: Loopback, make: Callable[..., Stack], tmp_path: Path
) -> None:
    push(aws, tmp_path / "work", QUICK, "c")
    connections = aws.client("codeconnections")
    arn = connections.create_connection(ProviderType="GitHub", ConnectionName="c")["ConnectionArn"]
    source = {
        "Name": "Source",
        "ActionTypeId": {"Category": "Source", "Owner": "AWS", "Provider": "CodeStarSourceConnection", "Version": "1"},
        "Configuration": {"ConnectionArn": arn, "FullRepositoryId": "me/app", "BranchName": "master"},
        "OutputArtifacts": [{"Name": "App"}],
        "Namespace": "Source",
    }
    project = f"arn:aws:codebuild:{REGION}:{ACCOUNT}:project/connected"
    rights = [allow(["codebuild:StartBuild", "codebuild:BatchGetBuilds"], project)]
    stack = make("connected", source=source, rights=rights)
    assert stack.ended()["status"] == "Failed"
    assert "codeconnections:UseConnection" in stack.action("Source")["errorDetails"]["message"]
    stack.update(source=source, rights=[*rights, allow(["codeconnections:UseConnection"], arn)])
    started = stack.pipelines.start_pipeline_execution(name="connected")["pipelineExecutionId"]
    assert stack.ended(started)["status"] == "Failed"
    assert "not available" in stack.action("Source")["errorDetails"]["message"]
    aws.python(f"from rehearsal.codepipeline import connections; connections.complete('{arn}')")
    assert connections.get_connection(ConnectionArn=arn)["Connection"]["ConnectionStatus"] == "AVAILABLE"
    commit = push(aws, tmp_path / "work", QUICK, "connected")
    execution = stack.of_commit(commit)
    assert execution["status"] == "Succeeded"
    assert execution["trigger"]["triggerType"] == "WebhookV2"
    (source_revision,) = execution["sourceRevisions"]
    assert source_revision["revisionSummary"] == '{"ProviderType":"GitHub","CommitMessage":"Say connected"}'


def test_events_of_state_changes_reach_a_target(aws: Loopback, make: Callable[..., Stack], tmp_path: Path) -> None:
    queue = aws.client("sqs").create_queue(QueueName="events")["QueueUrl"]
    events = aws.client("events")
    pattern = {"source": ["aws.codepipeline"], "detail": {"pipeline": ["reported"], "state": ["SUCCEEDED", "FAILED"]},
               "detail-type": ["CodePipeline Pipeline Execution State Change"]}  # fmt: skip
    events.put_rule(Name="reported", EventPattern=json.dumps(pattern))
    events.put_targets(Rule="reported", Targets=[{"Id": "q", "Arn": f"arn:aws:sqs:{REGION}:{ACCOUNT}:events"}])
    push(aws, tmp_path / "work", QUICK, "reported")
    make("reported").ended()
    got = eventually(lambda: aws.client("sqs").receive_message(QueueUrl=queue).get("Messages"))
    event = json.loads(got[0]["Body"])
    assert event["detail"]["state"] == "SUCCEEDED"
    assert event["resources"] == [f"arn:aws:codepipeline:{REGION}:{ACCOUNT}:reported"]


def test_users_policy_limits_codepipeline(aws: Loopback, make: Callable[..., Stack], tmp_path: Path) -> None:
    push(aws, tmp_path / "work", QUICK, "u")
    make("allowed").ended()
    iam = aws.client("iam")
    iam.create_user(UserName="viewer")
    statement = allow(["codepipeline:GetPipelineState"], f"arn:aws:codepipeline:{REGION}:{ACCOUNT}:allowed")
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.put_user_policy(UserName="viewer", PolicyName="p", PolicyDocument=policy)
    keys = iam.create_access_key(UserName="viewer")["AccessKey"]
    viewer = aws.client("codepipeline", keys)
    assert viewer.get_pipeline_state(name="allowed")["pipelineName"] == "allowed"
    for call in (
        lambda: viewer.get_pipeline_state(name="other"),
        lambda: viewer.start_pipeline_execution(name="allowed"),
        viewer.list_pipelines,
    ):
        with pytest.raises(ClientError, match="AccessDenied"):
            call()


def test_users_policy_limits_codeconnections(aws: Loopback) -> None:
    iam = aws.client("iam")
    iam.create_user(UserName="connector")
    statements = [
        allow(["codeconnections:CreateConnection"], "*"),  # cannot be limited to a resource
        allow(["codeconnections:GetConnection"], f"arn:aws:codeconnections:{REGION}:{ACCOUNT}:*"),
    ]
    policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
    iam.put_user_policy(UserName="connector", PolicyName="p", PolicyDocument=policy)
    connector = aws.client("codeconnections", iam.create_access_key(UserName="connector")["AccessKey"])
    arn = connector.create_connection(ProviderType="GitHub", ConnectionName="mine")["ConnectionArn"]
    assert connector.get_connection(ConnectionArn=arn)["Connection"]["ConnectionStatus"] == "PENDING"
    with pytest.raises(ClientError, match="AccessDenied"):
        connector.delete_connection(ConnectionArn=arn)


def test_only_its_pipeline_can_start_a_codepipeline_project(
    aws: Loopback, make: Callable[..., Stack], tmp_path: Path
) -> None:
    push(aws, tmp_path / "work", QUICK, "p")
    make("alone").ended()
    with pytest.raises(ClientError, match="started by its pipeline"):
        aws.client("codebuild").start_build(projectName="alone")
    assert len(aws.client("codebuild").list_builds_for_project(projectName="alone")["ids"]) == 1
    project = aws.client("codebuild").batch_get_projects(names=["alone"])["projects"][0]
    assert project["logsConfig"]["cloudWatchLogs"]["groupName"] == "/builds/alone"


def _inbound(stack: Stack, name: str) -> str:
    """Return the execution that waits to enter a stage."""
    for one in stack.pipelines.get_pipeline_state(name=stack.name)["stageStates"]:
        if one["stageName"] == name:
            return str(one.get("inboundExecution", {}).get("pipelineExecutionId", ""))
    return ""


def _within(stack: Stack, name: str) -> str:
    """Return the execution in a stage."""
    for one in stack.pipelines.get_pipeline_state(name=stack.name)["stageStates"]:
        if one["stageName"] == name and one.get("latestExecution", {}).get("status") == "InProgress":
            return str(one["latestExecution"]["pipelineExecutionId"])
    return ""


def test_findings_stop_a_build_before_it_deploys(aws: Loopback, make: Callable[..., Stack], tmp_path: Path) -> None:
    """With the right that the template gives its builds; the image is fixed, and the next build deploys it."""
    ecr, work = aws.client("ecr"), tmp_path / "work"
    repository = ecr.create_repository(repositoryName="shop", imageScanningConfiguration={"scanOnPush": True})[
        "repository"
    ]

    def pushed(number: int) -> str:
        manifest = json.dumps({"schemaVersion": 2, "config": {}, "layers": [], "annotations": {"number": str(number)}})
        image = ecr.put_image(repositoryName="shop", imageManifest=manifest, imageTag=str(number))["image"]
        name = f"{repository['repositoryUri']}@{image['imageId']['imageDigest']}"
        return push(aws, work, CHECKED.replace("IMAGE", name), str(number), "checked")

    aws.git("clone", "--quiet", "https://github.com/me/app.git", str(work))
    shutil.copytree(ROOT / "scripts", work / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "settings.sh", work)
    attributes = [{"key": "package_name", "value": "zlib"}, {"key": "package_version", "value": "1.3"}]
    finding = {"name": "CVE-2026-0001", "severity": "CRITICAL", "attributes": attributes}
    scan = aws.run / "scan.json"
    scan.write_text(json.dumps({"findings": [finding]}))
    commit = pushed(1)
    right = allow(["ecr:DescribeImageScanFindings"], repository["repositoryArn"])
    stack = make("checked", branch="checked", build_rights=[right])
    assert follow(stack.pipelines, "checked", commit, 120)["status"] == "Failed", stack.log()
    assert "    CRITICAL  CVE-2026-0001  zlib 1.3\nnot deployed, because of the findings above: " in stack.log()
    assert "now live" not in stack.log()
    scan.unlink()
    assert follow(stack.pipelines, "checked", pushed(2), 120)["status"] == "Succeeded", stack.log()
    assert "==> Nothing of severity HIGH or worse; found: nothing\n" in stack.log()
    assert "\nnow live\n" in stack.log()
