"""Staging and production in a kept rehearsal: the same digest in both, a red staging, going back, and no request lost.

The load is 50 requests a second on each, half of them on new connections. None is retried, so every failure counts.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from rehearsal.emulator.client import root
from rehearsal.load import Load
from rehearsal.tutorial import NAMESPACE, PIPELINE
from rehearsal.waiting import until
from tests.support.fixtures import Figure, Rehearsal
from tests.support.names import APP
from tests.support.releases import Releases

pytestmark = [pytest.mark.rehearsal, pytest.mark.slow, pytest.mark.timeout(900)]

STAGING = f"{NAMESPACE}-staging"
PROMOTIONS = 10
RATE = 25  # requests a second of each kind
CRASH = {"gunicorn.conf.py": 'raise RuntimeError("there is no database")\n'}


class Environments(Releases):
    """A pipeline with staging: each push goes to both environments."""

    def change_stack(self, *, staging: bool) -> None:
        """Add or remove staging as the learner does."""
        value = f"STAGING={str(staging).lower()}"
        self.stack.run("env", value, "scripts/authorize-role.sh")
        self.stack.run("env", value, "scripts/create-stack.sh", timeout=300)

    def may(self, verb: str, resource: str, namespace: str) -> bool:
        """Whether the pipeline's group may do this."""
        identity = ("--as", "build", "--as-group", "deployers")
        done = self.stack.run("kubectl", "auth", "can-i", verb, resource, "-n", namespace, *identity, check=False)
        return done.stdout.strip() == "yes"

    def promote(self) -> str:
        """Push a commit that changes the image, and wait until it is live in both environments; return the image."""
        assert self.end_of(self.push(**{"app.py": f"# {time.time_ns()}\n"})) == "Succeeded"
        (image,) = {self.runs(STAGING), self.runs(NAMESPACE)}
        return image

    def settle_both(self) -> None:
        """Wait until no rollout is in progress and no pod is terminating, in either environment."""
        self.settle()
        self.kubectl("rollout", "status", f"deployment/{APP}", "--namespace", STAGING, "--timeout=90s")
        leaving = ("get", "pods", "--namespace", STAGING, "--output=jsonpath={.items[*].metadata.deletionTimestamp}")
        until(lambda: not self.kubectl(*leaving), 60, "pods to terminate", pause=0.2)

    def runs(self, namespace: str) -> str:
        """Return the image of the environment's Deployment."""
        path = "{.spec.template.spec.containers[0].image}"
        return self.kubectl("get", "deployment", APP, "--namespace", namespace, f"--output=jsonpath={path}")

    def load(self, namespace: str) -> Load:
        """Return a load on the environment."""
        path = "{.status.loadBalancer.ingress[0].ip}"
        found = self.kubectl("get", "service", APP, "--namespace", namespace, f"--output=jsonpath={path}")
        return Load(f"http://{found}/", rate=RATE)


@pytest.fixture(scope="module", name="both")
def _both(stack: Rehearsal, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Environments]:
    both = Environments(stack, tmp_path_factory.mktemp("environments"))
    assert not both.may("patch", "deployments", STAGING)
    try:
        both.change_stack(staging=True)
        both.promote()
        yield both
    finally:
        both.stack.run("env", "STAGING=false", "scripts/create-stack.sh", timeout=300)
        both.kubectl("delete", "namespace", STAGING, "--ignore-not-found", "--timeout=120s")
        both.restore()


def stages_of(commit: str) -> list[str]:
    """Return the stages that the execution of a commit entered, the last first."""
    summaries = root("codepipeline").list_pipeline_executions(pipelineName=PIPELINE)["pipelineExecutionSummaries"]
    (found,) = [each for each in summaries if each["sourceRevisions"][0]["revisionId"] == commit]
    details = root("codepipeline").list_action_executions(
        pipelineName=PIPELINE, filter={"pipelineExecutionId": found["pipelineExecutionId"]}
    )["actionExecutionDetails"]
    return [each["stageName"] for each in details]


def test_group_has_its_rights_in_both_namespaces_only(both: Environments) -> None:
    assert all(both.may("patch", "deployments", each) for each in (NAMESPACE, STAGING))
    refused = [("get", "secrets", STAGING), ("create", "pods/exec", STAGING), ("patch", "deployments", "default")]
    assert not any(both.may(*each) for each in refused)


def test_promotions_lose_no_request(both: Environments, figure: Figure) -> None:
    both.settle_both()
    with both.load(STAGING) as staging, both.load(NAMESPACE) as production:
        images = [both.promote() for _ in range(PROMOTIONS)]
        both.settle_both()
    assert len(set(images)) == PROMOTIONS
    for load in (staging, production):
        load.assert_none_lost()
        assert len(load.versions) >= PROMOTIONS
    figure("ten promotions lose no request", f"staging: {staging}; production: {production}")


def test_red_staging_does_not_reach_production(both: Environments, figure: Figure) -> None:
    before = both.promote()
    both.settle_both()
    with both.load(STAGING) as staging, both.load(NAMESPACE) as production:
        red = both.push(**CRASH)
        assert both.end_of(red) == "Failed"
    assert stages_of(red) == ["Staging", "Source"]
    assert (both.runs(STAGING), both.runs(NAMESPACE)) == (before, before)
    for load in (staging, production):
        load.assert_none_lost()
        assert len(load.versions) == 1
    figure(
        "a commit that crashes in staging does not reach production", f"staging: {staging}; production: {production}"
    )


def test_production_goes_back_to_the_digest_before(both: Environments, figure: Figure) -> None:
    """By the learner's own rights; staging keeps the newer release."""
    pipeline = ("--pipeline-name", PIPELINE, "--output", "text")
    before, after = both.promote(), both.promote()
    both.settle_both()
    target = both.stack.run(
        "aws", "codepipeline", "list-pipeline-executions", *pipeline, "--filter", "succeededInStage={stageName=Production}",
        "--query", "pipelineExecutionSummaries[?executionType=='STANDARD'] | [1].pipelineExecutionId",
    ).stdout.strip()  # fmt: skip
    with both.load(NAMESPACE) as load:
        began = time.monotonic()
        both.stack.run(
            "aws", "codepipeline", "rollback-stage", *pipeline, "--stage-name", "Production",
            "--target-pipeline-execution-id", target,
        )  # fmt: skip
        until(lambda: both.runs(NAMESPACE) == before, 120, "the digest before", pause=0.2)
        both.settle_both()
        took = time.monotonic() - began
    load.assert_none_lost()
    assert (both.runs(STAGING), len(load.versions)) == (after, 2)
    figure("production goes back to the digest before", f"after ~{took:.0f} s, {load}")
