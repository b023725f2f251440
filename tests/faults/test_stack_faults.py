"""The stack in each state in which something went wrong: what the scripts say, and that they find the way out.

The states come about by real failures: the function of the template's copy fails, stalls or dies where ``moods`` says so.
The template is otherwise as it is, and AWS on this machine brings the stack into the state itself.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess
from textwrap import indent

import pytest

from tests.conftest import Figure
from tests.stack.test_stack import ACCOUNT, OPEN, ROLE, Aws, aws, held
from tests.support.desk import TOKEN, Desk, copy_of_checkout
from tests.support.paths import FAKES
from tests.support.tracing import warm_aws

__all__ = ["aws"]
pytestmark = [pytest.mark.services, pytest.mark.slow, pytest.mark.timeout(600)]
STACK = "aws-pipeline"
FULFIL = "def fulfil(request, new, old):\n"
PLANTED = """\
import os
mood = json.load(open({moods!r})).get(request)
if mood == "fails":
    raise OSError("planted at " + request)
if mood == "stalls":
    time.sleep(25)
if mood == "dies":
    os._exit(1)
if mood == "forgets":
    return
"""
DOOMED = """
Resources:
  Doomed:
    Type: Custom::Doomed
    DependsOn: Pipeline
    Properties:
      ServiceToken: arn:aws:lambda:us-east-2:111122223333:function:missing
      ServiceTimeout: 5
"""


@dataclass
class Learner:
    """Somebody who runs the scripts in a checkout whose template has the planted faults."""

    aws: Aws
    desk: Desk
    environment: dict[str, str]
    moods: Path

    def let(self, **moods: str) -> None:
        """Say how the function behaves from now on: Create, Update or Delete ``fails``, ``stalls``, ``dies``, ``forgets``."""
        self.moods.write_text(json.dumps(moods), encoding="utf-8")
        if "dies" in moods.values():  # nobody answers CloudFormation, which waits so long
            text = self.template().read_text(encoding="utf-8")
            self.template().write_text(text.replace("ServiceTimeout: 180", "ServiceTimeout: 20"), encoding="utf-8")

    def run(self, script: str, *arguments: str, **environment: str) -> CompletedProcess[str]:
        """Run a script; its exit code is looked at by the caller."""
        return self.desk.run(script, *arguments, timeout=240, **self.environment | environment)

    def good(self, script: str, *arguments: str, **environment: str) -> str:
        """Run a script that must succeed; what it says."""
        done = self.run(script, *arguments, **environment)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def bad(self, script: str, *arguments: str, **environment: str) -> str:
        """Run a script that must fail with exit code 1; what it says on standard error."""
        done = self.run(script, *arguments, **environment)
        assert done.returncode == 1, done.stdout + done.stderr
        return done.stderr

    def state(self) -> str:
        """What the status script says of the stack."""
        (line,) = [line for line in self.run("status.sh").stdout.splitlines() if line.startswith("stack ")]
        return line.split(None, 1)[1]

    def template(self) -> Path:
        """The template of the checkout."""
        return self.desk.checkout / "ci-cd-codepipeline.cfn.yml"

    def narrowed(self) -> bool:
        """Whether only the stack's builds may assume the kubectl role."""
        outputs = self.aws.root("cloudformation").describe_stacks(StackName=STACK)["Stacks"][0]["Outputs"]
        (builds,) = [each["OutputValue"] for each in outputs if each["OutputKey"] == "CodeBuildRoleArn"]
        return bool(self.aws.trust() == held(builds))


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a warm AWS CLI."""
    with warm_aws(tmp_path_factory.mktemp("warm")) as environment:
        yield environment["WARM_AWS"]


@pytest.fixture
def learner(aws: Aws, warm: str, tmp_path: Path) -> Iterator[Learner]:
    """A learner with the kubectl role and without a stack."""
    desk = Desk(tmp_path / "desk", copy_of_checkout(tmp_path / "checkout"))
    desk.answer("aws", "", real=str(FAKES / "aws.py"))
    desk.answer("curl", "", real=str(FAKES / "github.sh"))
    environment = {
        "AWS_ENDPOINT_URL": aws.url,
        "AWS_ACCESS_KEY_ID": ACCOUNT,
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_EC2_METADATA_DISABLED": "true",
        "WARM_AWS": warm,
        "GITHUB_TOKEN": TOKEN,
        "ANSWER": "200 repo",
    }
    learner = Learner(aws, desk, environment, tmp_path / "moods.json")
    learner.let()
    text = learner.template().read_text(encoding="utf-8")
    assert FULFIL in text
    text = text.replace(FULFIL, FULFIL + indent(PLANTED.format(moods=str(learner.moods)), " " * 14))
    learner.template().write_text(text, encoding="utf-8")
    aws.make_role()
    yield learner
    learner.let()
    if aws.settle(STACK) != "DELETE_COMPLETE":
        _empty_buckets(aws)
        _delete(aws)
    if any(role["RoleName"] == ROLE for role in aws.root("iam").list_roles()["Roles"]):
        aws.remove_role(ROLE)


def _delete(aws: Aws) -> None:
    try:
        aws.delete(STACK)
    except AssertionError:  # a test failed half way; what it left must not fail the others
        aws.root("cloudformation").delete_stack(StackName=STACK, DeletionMode="FORCE_DELETE_STACK")
        aws.settle(STACK)


def _empty_buckets(aws: Aws) -> None:
    s3 = aws.root("s3")
    for bucket in s3.list_buckets()["Buckets"]:
        found = s3.list_object_versions(Bucket=bucket["Name"])
        for each in [*found.get("Versions", []), *found.get("DeleteMarkers", [])]:
            s3.delete_object(Bucket=bucket["Name"], Key=each["Key"], VersionId=each["VersionId"])


@pytest.mark.parametrize("mood", ["fails", "dies"])
def test_function_fails_on_create(mood: str, learner: Learner, figure: Figure) -> None:
    learner.let(Create=mood)
    told = learner.bad("create-stack.sh")
    assert "KubectlRoleTrust: " in told
    assert ("planted at Create" in told) == (mood == "fails")
    assert told.splitlines()[-1].startswith("stack aws-pipeline is ROLLBACK_COMPLETE: fix the errors above")
    assert learner.state() == "aws-pipeline, ROLLBACK_COMPLETE"
    learner.let()
    said = learner.good("create-stack.sh")
    assert "==> Delete the stack of an earlier attempt, which is ROLLBACK_COMPLETE" in said
    assert learner.narrowed()
    figure("a stack whose function fails says why, and the next run mends it", f"create, {mood}: yes")


def test_function_fails_on_update(learner: Learner, figure: Figure) -> None:
    learner.good("create-stack.sh")
    learner.aws.remove_role(ROLE)
    learner.aws.make_role()
    learner.let(Update="fails")
    told = learner.bad("create-stack.sh")
    assert "KubectlRoleTrust: OSError: planted at Update" in told
    # The rollback asks the function once more, which fails again.
    assert told.splitlines()[-1].startswith("stack aws-pipeline is UPDATE_ROLLBACK_FAILED: fix the errors above")
    assert learner.state() == "aws-pipeline, UPDATE_ROLLBACK_FAILED"
    told = learner.bad("create-stack.sh")
    assert told.splitlines()[-1].startswith("stack aws-pipeline is UPDATE_ROLLBACK_FAILED: fix the errors above")
    learner.let()
    assert "==> Finish the rollback of an earlier update" in learner.good("create-stack.sh")
    assert learner.narrowed()
    figure("a stack whose function fails says why, and the next run mends it", "update: yes")


@pytest.mark.parametrize("mood", ["fails", "dies"])
def test_function_fails_on_delete(mood: str, learner: Learner, figure: Figure) -> None:
    learner.let(Delete=mood)
    learner.good("create-stack.sh")
    told = learner.bad("teardown.sh", "--yes")
    assert "KubectlRoleTrust: " in told
    assert told.splitlines()[-1].startswith("stack aws-pipeline is DELETE_FAILED: fix the errors above")
    assert learner.state() == "aws-pipeline, DELETE_FAILED"
    learner.let()
    # AWS keeps what a resource that failed needs, so that the function can be asked again. This machine's does not: here
    # the way out is the one that CloudFormation has for a function that is gone.
    cloudformation = learner.aws.root("cloudformation")
    cloudformation.delete_stack(StackName=STACK, RetainResources=["KubectlRoleTrust"])
    assert learner.aws.settle(STACK) == "DELETE_COMPLETE"
    assert learner.good("teardown.sh", "--yes").splitlines()[-1] == "==> Nothing is left"
    figure("a stack whose function fails says why, and the next run mends it", f"delete, {mood}: by --retain-resources")


@pytest.mark.parametrize("then", ["create-stack.sh", "teardown.sh"])
def test_rollback_that_goes_on_is_waited_for(then: str, learner: Learner, figure: Figure) -> None:
    text = learner.template().read_text(encoding="utf-8")
    learner.let(Delete="stalls")
    cloudformation = learner.aws.root("cloudformation")
    cloudformation.create_stack(
        StackName=STACK, TemplateBody=text.replace("\nResources:\n", DOOMED), Capabilities=["CAPABILITY_IAM"],
        Parameters=[{"ParameterKey": "GitHubUser", "ParameterValue": "learner"}, {"ParameterKey": "GitHubToken", "ParameterValue": TOKEN}],
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while _status(learner.aws) != "ROLLBACK_IN_PROGRESS":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert learner.state() == "aws-pipeline, ROLLBACK_IN_PROGRESS"
    assert _status(learner.aws) == "ROLLBACK_IN_PROGRESS"
    if then == "create-stack.sh":
        said = learner.good(then)
        assert "==> Delete the stack of an earlier attempt, which is ROLLBACK_COMPLETE" in said
        assert learner.narrowed()
    else:
        assert learner.good(then, "--yes").splitlines()[-1] == "==> Nothing is left"
    figure("a rollback that goes on is waited for", f"then {then}: done")


def _status(aws: Aws) -> str:
    return str(aws.root("cloudformation").describe_stacks(StackName=STACK)["Stacks"][0]["StackStatus"])


@pytest.mark.parametrize("then", ["teardown.sh", "create-stack.sh"])
def test_bucket_that_fills_up_again(then: str, learner: Learner, figure: Figure) -> None:
    """The function empties the bucket; here it does not, as when something is put there between emptying and deletion."""
    learner.good("create-stack.sh")
    s3 = learner.aws.root("s3")
    (bucket,) = [each["Name"] for each in s3.list_buckets()["Buckets"]]
    s3.put_object(Bucket=bucket, Key="Source/a.zip", Body=b"one")
    learner.let(Delete="forgets")
    told = learner.bad("teardown.sh", "--yes")
    assert "    ArtifactBucket: " in told
    assert "not empty" in told.lower() or "BucketNotEmpty" in told
    assert told.splitlines()[-1].startswith("stack aws-pipeline is DELETE_FAILED: fix the errors above")
    assert learner.state() == "aws-pipeline, DELETE_FAILED"
    _empty_buckets(learner.aws)
    learner.let()
    if then == "teardown.sh":
        assert learner.good(then, "--yes").splitlines()[-1] == "==> Nothing is left"
    else:
        assert "the stack is DELETE_FAILED" in learner.good(then)
        assert learner.narrowed()
    figure("a bucket that is not empty is named, and the next run carries on once it is", f"{then}: yes")


def test_registry_with_images(learner: Learner, figure: Figure) -> None:
    learner.good("create-stack.sh")
    ecr = learner.aws.root("ecr")
    (repository,) = [each["repositoryName"] for each in ecr.describe_repositories()["repositories"]]
    for tag in ("one", "two", "cache"):
        manifest = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "annotations": {"t": tag},
        }
        ecr.put_image(repositoryName=repository, imageTag=tag, imageManifest=json.dumps(manifest))
    assert len(ecr.list_images(repositoryName=repository)["imageIds"]) == 3
    assert learner.good("teardown.sh", "--yes").splitlines()[-1] == "==> Nothing is left"
    assert ecr.describe_repositories()["repositories"] == []
    figure("a registry with images goes with the stack", "3 of 3 images gone")


def test_kubectl_role_deleted_and_made_again(learner: Learner, figure: Figure) -> None:
    learner.good("create-stack.sh")
    learner.aws.remove_role(ROLE)
    assert learner.bad("create-stack.sh", GITHUB_TOKEN="").splitlines()[-1].endswith("run scripts/create-role.sh")
    learner.good("create-role.sh")
    assert learner.aws.trust() == OPEN
    learner.good("create-stack.sh", GITHUB_TOKEN="")
    assert learner.narrowed()
    assert "The stack is up to date" in learner.good("create-stack.sh", GITHUB_TOKEN="")
    figure("a kubectl role that was made again is narrowed by the next create-stack.sh", "yes")


def test_kubectl_role_gone_at_teardown(learner: Learner) -> None:
    learner.good("create-stack.sh")
    learner.aws.remove_role(ROLE)
    said = learner.good("teardown.sh", "--yes").splitlines()
    assert "==> There is no role UdacityFlaskDeployCBKubectlRole" in said
    assert said[-1] == "==> Nothing is left"
