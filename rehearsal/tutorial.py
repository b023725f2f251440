"""The tutorial's steps in the order of its README, each run as a learner would run it."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import httpx

from rehearsal.emulator.client import root
from rehearsal.progress import Progress, StepFailed
from rehearsal.settings import settings

#: Bounds, in seconds; far above what the slowest machine that was tried needs, so that only a hang meets them.
SETUP_TIMEOUT = 420.0
STACK_TIMEOUT = 180.0
RELEASE_TIMEOUT = 300.0
TEARDOWN_TIMEOUT = 300.0

NAMESPACE = "hello-world"
APP = "hello-world"
PIPELINE = "aws-pipeline"
ROLE = "UdacityFlaskDeployCBKubectlRole"


@dataclass
class Push:
    """A pushed commit and the moments it passed, in seconds after ``git push`` was given."""

    commit: str
    pushed: float
    moments: dict[str, float] = field(default_factory=dict)


class Tutorial:
    """Runs the tutorial's own scripts from the learner's checkout, in the learner's environment."""

    def __init__(self, progress: Progress, env: Mapping[str, str], checkout: Path) -> None:
        self.progress = progress
        self.env = env
        self.checkout = checkout

    # Steps of the README

    def setup_cluster(self) -> None:
        """Steps 1 to 3: the cluster, the role and its authorisation."""
        self._script("Create cluster and role, authorise the role", ["scripts/setup-cluster.sh"], SETUP_TIMEOUT)

    def create_role(self) -> None:
        """The kubectl role alone, where there is no cluster to authorise it in."""
        self._script("Create the role", ["scripts/create-role.sh"], 120)

    def create_stack(self) -> None:
        """Step 4: ECR, S3, Lambda, CodeBuild and CodePipeline from the template."""
        self._script("Create the stack", ["scripts/create-stack.sh"], STACK_TIMEOUT)

    def first_release(self) -> None:
        """A new pipeline starts by itself; wait until its first commit answers."""
        with self.progress.step("First commit goes live by itself") as show:
            commit = self._git("rev-parse", "HEAD")
            self._await_execution(commit, show)
            answer = self.await_answer(lambda got: got.get("version") == commit, 60)
            show(
                f"= {self.address()} answers {answer.get('message')!r}, version {commit[:7]}, from {answer.get('host')}"
            )

    def first_source(self) -> None:
        """A new pipeline starts by itself; without a cluster its stage Source is as far as it can get."""
        with self.progress.step("The pipeline takes the first commit from GitHub") as show:
            commit = self._git("rev-parse", "HEAD")
            end = time.monotonic() + 60
            while time.monotonic() < end:
                stage = self._client("codepipeline").get_pipeline_state(name=PIPELINE)["stageStates"][0]
                action = stage["actionStates"][0]
                if action.get("latestExecution", {}).get("status") == "Succeeded":
                    if action["currentRevision"]["revisionId"] != commit:
                        raise StepFailed(f"the pipeline took {action['currentRevision']['revisionId']}, not {commit}")
                    show(f"= {commit[:7]} lies in the artifact bucket")
                    return
                time.sleep(0.25)
            raise StepFailed(f"stage Source did not succeed: {stage}")

    def delete_stack_and_role(self) -> None:
        """What teardown.sh deletes beside the cluster, by the same calls."""
        with self.progress.step("Delete the stack and the role") as show:
            for args in (
                ["aws", "cloudformation", "delete-stack", "--stack-name", PIPELINE],
                ["aws", "cloudformation", "wait", "stack-delete-complete", "--stack-name", PIPELINE],
                ["aws", "iam", "delete-role-policy", "--role-name", ROLE, "--policy-name", "eks-describe"],
                ["aws", "iam", "delete-role", "--role-name", ROLE],
            ):
                self.progress.run(args, env=self.env, cwd=self.checkout, timeout=120, show=show)

    def push_change(self) -> Push:
        """Change the greeting, push it and follow it until the load balancer's address answers with it."""
        with self.progress.step("Push a commit, see it live") as show:
            push = self._push("Greet from EKS", {"app.py": ("Hello, World!", "Hello, EKS!")})
            seen = threading.Thread(target=self._note_live, args=(push,), daemon=True)
            seen.start()
            execution = self._await_execution(push.commit, show)
            seen.join(60)
            if "live" not in push.moments:
                raise StepFailed(f"the pipeline is green, but {self.address()} does not answer with {push.commit[:7]}")
            self._note_stages(push, execution)
            show(f"= live {push.moments['live']:.1f} s after git push")
            return push

    def push_bad_change(self) -> None:
        """Push a commit that never becomes ready; the pipeline must be red and the old version keep answering."""
        with self.progress.step("Push a bad commit, see it undone") as show:
            before = self.answer()
            stop = threading.Event()
            lost: list[str] = []
            watch = threading.Thread(target=self._count_lost, args=(stop, lost), daemon=True)
            watch.start()
            try:
                push = self._push("Look for readiness where there is none", {"deployment.yml": ("/readyz", "/missing")})
                execution = self._await_execution(push.commit, show, wanted="Failed")
            finally:
                stop.set()
                watch.join(10)
            after = self.answer()
            if after.get("version") != before.get("version"):
                raise StepFailed(f"a failed release changed the answer from {before} to {after}")
            if lost:
                raise StepFailed(f"requests were lost while a release failed: {lost[0]}", lost)
            self._git("revert", "--no-edit", "HEAD")
            took = time.monotonic() - push.pushed
            show(
                f"= execution {execution['pipelineExecutionId'][:8]} failed and was undone in {took:.0f} s, no request lost"
            )

    def status(self) -> None:
        """The one screen that says what there is."""
        self._script("Ask for the status", ["scripts/status.sh"], 120)

    def teardown(self) -> None:
        """Last step: delete everything, and have the script look for what is left."""
        self._script("Tear everything down", ["scripts/teardown.sh", "--yes"], TEARDOWN_TIMEOUT)

    # Observations

    def address(self) -> str:
        """URL of the app's Service, or an empty string as long as it has no address."""
        query = "jsonpath={.status.loadBalancer.ingress[0]['hostname','ip']}"
        got = self._output(["kubectl", "get", "service", APP, "--namespace", NAMESPACE, "--output", query])
        return f"http://{got.strip()}/" if got.strip() else ""

    def answer(self) -> dict[str, Any]:
        """What the app says now, as JSON."""
        got = httpx.get(self.address(), headers={"Accept": "application/json"}, timeout=3, trust_env=False)
        got.raise_for_status()
        body: dict[str, Any] = got.json()
        return body

    def await_answer(self, good: Callable[[dict[str, Any]], bool], patience: float) -> dict[str, Any]:
        """Ask until an answer is good.

        Raises:
            StepFailed: none was within ``patience`` seconds.
        """
        end = time.monotonic() + patience
        last: object = "nothing"
        while time.monotonic() < end:
            try:
                body = self.answer()
                if good(body):
                    return body
                last = body
            except (httpx.HTTPError, ValueError) as error:
                last = error
            time.sleep(0.2)
        raise StepFailed(f"the app did not answer as expected within {patience:.0f} s; last: {last}")

    # Parts

    def _script(self, title: str, args: list[str], timeout: float) -> None:
        self.progress.command(f"{title}  ({args[0]})", args, env=self.env, cwd=self.checkout, timeout=timeout)

    def _output(self, args: list[str]) -> str:
        done = subprocess.run(
            args, env=dict(self.env), cwd=self.checkout, capture_output=True, text=True, timeout=60, check=False
        )
        if done.returncode:
            raise StepFailed(f"{' '.join(args[:3])} failed: {done.stderr.strip()}")
        return done.stdout.strip()

    def _git(self, *args: str) -> str:
        return self._output(["git", *args])

    def _push(self, subject: str, edits: Mapping[str, tuple[str, str]]) -> Push:
        for name, (old, new) in edits.items():
            path = self.checkout / name
            text = path.read_text(encoding="utf-8")
            if old not in text:
                raise StepFailed(f"{name} does not contain {old!r}, which this step edits")
            path.write_text(text.replace(old, new), encoding="utf-8")
        self._git("commit", "--quiet", "--all", "--message", subject)
        began = time.monotonic()
        self._git("push", "--quiet")
        return Push(self._git("rev-parse", "HEAD"), began, {"pushed": time.monotonic() - began})

    def _client(self, service: str) -> Any:
        return boto3.client(
            service,
            endpoint_url=self.env["AWS_ENDPOINT_URL"],
            region_name=settings.region,
            aws_access_key_id=self.env["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.env["AWS_SECRET_ACCESS_KEY"],
        )

    def _await_execution(self, commit: str, show: Callable[[str], None], wanted: str = "Succeeded") -> dict[str, Any]:
        pipelines = self._client("codepipeline")
        end = time.monotonic() + RELEASE_TIMEOUT
        status = "not started"
        while time.monotonic() < end:
            found = pipelines.list_pipeline_executions(pipelineName=PIPELINE)["pipelineExecutionSummaries"]
            for execution in found:
                revisions = [source.get("revisionId") for source in execution.get("sourceRevisions", [])]
                if commit not in revisions:
                    continue
                status = execution["status"]
                if status == wanted:
                    return dict(execution)
                if status in ("Failed", "Stopped", "Superseded", "Succeeded", "Cancelled"):
                    raise StepFailed(f"the execution for {commit[:7]} is {status}, not {wanted}", self.build_log())
            show(self._doing())
            time.sleep(0.25)
        raise StepFailed(f"the execution for {commit[:7]} is {status} after {RELEASE_TIMEOUT:.0f} s", self.build_log())

    def build_log(self) -> list[str]:
        """Return the newest build's last lines."""
        logs = sorted((settings.run / "builds").glob("*.log"), key=lambda path: path.stat().st_mtime)
        return logs[-1].read_text(encoding="utf-8", errors="replace").splitlines()[-30:] if logs else []

    def _doing(self) -> str:
        lines = [line for line in self.build_log() if line.strip()]
        return lines[-1].strip() if lines else ""

    def _note_live(self, push: Push) -> None:
        try:
            self.await_answer(lambda got: got.get("version") == push.commit, RELEASE_TIMEOUT)
            push.moments["live"] = time.monotonic() - push.pushed
        except StepFailed:
            return

    def _count_lost(self, stop: threading.Event, lost: list[str]) -> None:
        address = self.address()
        while not stop.wait(0.1):
            try:
                httpx.get(address, timeout=3, trust_env=False).raise_for_status()
            except httpx.HTTPError as error:
                lost.append(f"{type(error).__name__}: {error}")

    def _note_stages(self, push: Push, execution: Mapping[str, Any]) -> None:
        """Add the durations of the pipeline's actions and the build's phases, as AWS reports them."""
        # As the account's root: the learner's policy has no right that only this table would need.
        details = root("codepipeline").list_action_executions(
            pipelineName=PIPELINE, filter={"pipelineExecutionId": execution["pipelineExecutionId"]}
        )["actionExecutionDetails"]
        for action in sorted(details, key=lambda action: action["startTime"]):
            took = (action["lastUpdateTime"] - action["startTime"]).total_seconds()
            push.moments[f"stage {action['stageName']}"] = took
            if action["input"]["actionTypeId"]["provider"] != "CodeBuild":
                continue
            build = action["output"]["executionResult"]["externalExecutionId"]
            for phase in root("codebuild").batch_get_builds(ids=[build])["builds"][0]["phases"]:
                if "endTime" in phase:
                    took = (phase["endTime"] - phase["startTime"]).total_seconds()
                    push.moments[f"phase {phase['phaseType'].lower()}"] = took
