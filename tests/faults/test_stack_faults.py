"""The stack in each failed state: what the scripts report, and that they recover from it.

The failures are real: in a copy of the template, the function fails, stalls or dies as ``moods`` says, and AWS on this
machine brings the stack into the state. The rest of the template is unchanged.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess
from textwrap import indent

import pytest

from rehearsal.waiting import until
from tests.support.account import OPEN, Aws, environment, held
from tests.support.desk import Desk, copy_of_checkout
from tests.support.fixtures import Figure
from tests.support.names import ROLE, STACK, TOKEN
from tests.support.paths import FAKES
from tests.support.tracing import warm_aws

pytestmark = [pytest.mark.services, pytest.mark.slow, pytest.mark.timeout(600)]
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
    """Runs the scripts in a checkout whose template has the planted faults."""

    aws: Aws
    desk: Desk
    environment: dict[str, str]
    moods: Path

    def let(self, **moods: str) -> None:
        """Set the function's behaviour: Create, Update or Delete ``fails``, ``stalls``, ``dies`` or ``forgets``."""
        self.moods.write_text(json.dumps(moods), encoding="utf-8")
        if "dies" in moods.values():  # CloudFormation waits this long for a response
            text = self.template().read_text(encoding="utf-8")
            self.template().write_text(text.replace("ServiceTimeout: 180", "ServiceTimeout: 20"), encoding="utf-8")

    def run(self, script: str, *arguments: str, **environment: str) -> CompletedProcess[str]:
        """Run a script without checking its exit code."""
        return self.desk.run(script, *arguments, timeout=240, **self.environment | environment)

    def good(self, script: str, *arguments: str, **environment: str) -> str:
        """Run a script that must succeed; return its standard output."""
        done = self.run(script, *arguments, **environment)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def bad(self, script: str, *arguments: str, **environment: str) -> str:
        """Run a script that must fail with exit code 1; return its standard error."""
        done = self.run(script, *arguments, **environment)
        assert done.returncode == 1, done.stdout + done.stderr
        return done.stderr

    def state(self) -> str:
        """Return what status.sh says about the stack."""
        (line,) = [line for line in self.run("status.sh").stdout.splitlines() if line.startswith("stack ")]
        return line.split(None, 1)[1]

    def template(self) -> Path:
        """Return the path of the checkout's template."""
        return self.desk.checkout / "ci-cd-codepipeline.cfn.yml"

    def restricted(self) -> bool:
        """Whether only the stack's builds may assume the kubectl role."""
        outputs = self.aws.root("cloudformation").describe_stacks(StackName=STACK)["Stacks"][0]["Outputs"]
        (builds,) = [each["OutputValue"] for each in outputs if each["OutputKey"] == "CodeBuildRoleArn"]
        return bool(self.aws.trust() == held(builds))


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a warm AWS CLI."""
    with warm_aws(tmp_path_factory.mktemp("warm")) as variables:
        yield variables["WARM_AWS"]


@pytest.fixture
def learner(aws: Aws, warm: str, tmp_path: Path) -> Iterator[Learner]:
    """A learner with the kubectl role and without a stack."""
    desk = Desk(tmp_path / "desk", copy_of_checkout(tmp_path / "checkout"))
    desk.take_time()
    desk.answer("aws", "", real=str(FAKES / "aws.py"))
    desk.answer("curl", "", real=str(FAKES / "github.sh"))
    learner = Learner(aws, desk, environment(aws, WARM_AWS=warm), tmp_path / "moods.json")
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
    except AssertionError:  # a test failed halfway; the others must not fail too
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
    errors = learner.bad("create-stack.sh")
    assert "KubectlRoleTrust: " in errors
    assert ("planted at Create" in errors) == (mood == "fails")
    assert errors.splitlines()[-1].startswith("stack aws-pipeline is ROLLBACK_COMPLETE: fix the errors above")
    assert learner.state() == "aws-pipeline, ROLLBACK_COMPLETE"
    learner.let()
    said = learner.good("create-stack.sh")
    assert "==> Delete the stack of an earlier attempt, which is ROLLBACK_COMPLETE" in said
    figure("a stack whose function fails says why, and the next run repairs it", f"{learner.restricted():d} of 1")
    assert learner.restricted()


def test_function_fails_on_update(learner: Learner, figure: Figure) -> None:
    learner.good("create-stack.sh")
    learner.aws.remove_role(ROLE)
    learner.aws.make_role()
    learner.let(Update="fails")
    errors = learner.bad("create-stack.sh")
    assert "KubectlRoleTrust: OSError: planted at Update" in errors
    # The rollback invokes the function again, which fails again.
    assert errors.splitlines()[-1].startswith("stack aws-pipeline is UPDATE_ROLLBACK_FAILED: fix the errors above")
    assert learner.state() == "aws-pipeline, UPDATE_ROLLBACK_FAILED"
    errors = learner.bad("create-stack.sh")
    assert errors.splitlines()[-1].startswith("stack aws-pipeline is UPDATE_ROLLBACK_FAILED: fix the errors above")
    learner.let()
    assert "==> Finish the rollback of an earlier update" in learner.good("create-stack.sh")
    figure("a stack whose function fails says why, and the next run repairs it", f"{learner.restricted():d} of 1")
    assert learner.restricted()


@pytest.mark.parametrize("mood", ["fails", "dies"])
def test_function_fails_on_delete(mood: str, learner: Learner, figure: Figure) -> None:
    learner.let(Delete=mood)
    learner.good("create-stack.sh")
    errors = learner.bad("teardown.sh", "--yes")
    assert "KubectlRoleTrust: " in errors
    assert any(line.startswith("stack aws-pipeline is DELETE_FAILED: fix the errors") for line in errors.splitlines())
    assert errors.splitlines()[-1].startswith("failed: the stack aws-pipeline: fix the errors above")
    assert learner.state() == "aws-pipeline, DELETE_FAILED"
    learner.let()
    # AWS keeps what a failed resource needs, so the function can be invoked again. The emulator does not, so retain the
    # resource, as CloudFormation documents for a function that no longer exists.
    cloudformation = learner.aws.root("cloudformation")
    cloudformation.delete_stack(StackName=STACK, RetainResources=["KubectlRoleTrust"])
    assert learner.aws.settle(STACK) == "DELETE_COMPLETE"
    gone = learner.good("teardown.sh", "--yes").splitlines()[-1] == "==> Nothing is left"
    figure("a stack whose function fails says why, and the next run repairs it", f"{gone:d} of 1")
    assert gone


@pytest.mark.parametrize("then", ["create-stack.sh", "teardown.sh"])
def test_scripts_wait_for_rollback_in_progress(then: str, learner: Learner, figure: Figure) -> None:
    text = learner.template().read_text(encoding="utf-8")
    learner.let(Delete="stalls")
    cloudformation = learner.aws.root("cloudformation")
    cloudformation.create_stack(
        StackName=STACK, TemplateBody=text.replace("\nResources:\n", DOOMED), Capabilities=["CAPABILITY_IAM"],
        Parameters=[{"ParameterKey": "GitHubUser", "ParameterValue": "learner"}, {"ParameterKey": "GitHubToken", "ParameterValue": TOKEN}],
    )  # fmt: skip
    until(lambda: _status(learner.aws) == "ROLLBACK_IN_PROGRESS", 60, "the rollback")
    assert learner.state() == "aws-pipeline, ROLLBACK_IN_PROGRESS"
    assert _status(learner.aws) == "ROLLBACK_IN_PROGRESS"
    if then == "create-stack.sh":
        said = learner.good(then)
        assert "==> Delete the stack of an earlier attempt, which is ROLLBACK_COMPLETE" in said
        good = learner.restricted()
    else:
        good = learner.good(then, "--yes").splitlines()[-1] == "==> Nothing is left"
    figure("the scripts wait for a rollback in progress", f"{good:d} of 1")
    assert good


def _status(aws: Aws) -> str:
    return str(aws.root("cloudformation").describe_stacks(StackName=STACK)["Stacks"][0]["StackStatus"])


@pytest.mark.parametrize("then", ["teardown.sh", "create-stack.sh"])
def test_artifact_that_arrives_after_the_bucket_was_emptied(then: str, learner: Learner, figure: Figure) -> None:
    """The function does not empty the bucket, as if a Source action uploaded the object between emptying and deletion."""
    learner.let(Delete="forgets")
    learner.good("create-stack.sh")
    s3 = learner.aws.root("s3")
    (bucket,) = [each["Name"] for each in s3.list_buckets()["Buckets"]]
    for key in ("Source/a.zip", "Source/b c.zip", "Source/a.zip"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"one")
    s3.delete_object(Bucket=bucket, Key="Source/a.zip")
    if then == "teardown.sh":
        done = learner.run(then, "--yes")
        assert "    ArtifactBucket: " in done.stderr
        assert f"==> Empty the bucket {bucket}" in done.stdout.splitlines()
        assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "==> Nothing is left"), done.stdout + done.stderr
    else:
        learner.aws.root("cloudformation").delete_stack(StackName=STACK)
        assert learner.aws.settle(STACK) == "DELETE_FAILED"
        learner.let()
        said = learner.good(then)
        assert "Delete the stack of an earlier attempt, which is DELETE_FAILED" in said
        assert f"==> Empty the bucket {bucket}" in said.splitlines()
        assert learner.restricted()
    left = [each["Name"] for each in s3.list_buckets()["Buckets"]]
    figure(
        "an artifact that arrives after the bucket was emptied is deleted with the stack",
        f"{bucket not in left:d} of 1",
    )
    assert bucket not in left


def test_teardown_deletes_images(learner: Learner, figure: Figure) -> None:
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
    images = len(ecr.list_images(repositoryName=repository)["imageIds"])
    assert images == 3
    assert learner.good("teardown.sh", "--yes").splitlines()[-1] == "==> Nothing is left"
    left = [each["repositoryName"] for each in ecr.describe_repositories()["repositories"]]
    kept = sum(len(ecr.list_images(repositoryName=name)["imageIds"]) for name in left)
    figure("an image repository with images is deleted with the stack", f"{images - kept} of {images} images deleted")
    assert left == []


def test_recreated_kubectl_role_is_restricted_again(learner: Learner, figure: Figure) -> None:
    learner.good("create-stack.sh")
    learner.aws.remove_role(ROLE)
    assert learner.bad("create-stack.sh", GITHUB_TOKEN="").splitlines()[-1].endswith("run scripts/create-role.sh")
    learner.good("create-role.sh")
    assert learner.aws.trust() == OPEN
    learner.good("create-stack.sh", GITHUB_TOKEN="")
    figure("the next create-stack.sh restricts a kubectl role that was recreated", f"{learner.restricted():d} of 1")
    assert learner.restricted()
    assert "The stack is up to date" in learner.good("create-stack.sh", GITHUB_TOKEN="")


def test_teardown_without_kubectl_role(learner: Learner) -> None:
    learner.good("create-stack.sh")
    learner.aws.remove_role(ROLE)
    said = learner.good("teardown.sh", "--yes").splitlines()
    assert "==> There is no role UdacityFlaskDeployCBKubectlRole" in said
    assert said[-1] == "==> Nothing is left"
