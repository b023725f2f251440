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

from rehearsal import executions, waiting
from rehearsal.emulator.client import root
from rehearsal.progress import Progress, StepFailed
from rehearsal.settings import settings

#: Bounds in seconds, far above what the slowest machine tried so far needs, so that only a hang exceeds them.
SETUP_TIMEOUT = 420.0
STACK_TIMEOUT = 180.0
RELEASE_TIMEOUT = 300.0
TEARDOWN_TIMEOUT = 300.0

NAMESPACE = "hello-world"
PIPELINE = "aws-pipeline"
ROLE = "UdacityFlaskDeployCBKubectlRole"


@dataclass(frozen=True)
class WalkStep:
    """A step of the walk as the learner takes it: ``says`` is two sentences, which the replay shows."""

    title: str
    command: str
    says: str


SETUP = WalkStep(
    "Create the cluster and the role, authorize the role",
    "scripts/setup-cluster.sh",
    "The script creates an EKS cluster with two nodes, and the IAM role that a build assumes to deploy. It then adds the "
    "role to the cluster's aws-auth, with no more rights than a deployment needs.",
)
STACK = WalkStep(
    "Create the stack",
    "scripts/create-stack.sh",
    "CloudFormation creates the image repository, the build project, the pipeline and all that they need. The new "
    "pipeline starts at once with the newest commit.",
)
FIRST_RELEASE = WalkStep(
    "See the first commit go live",
    "scripts/status.sh",
    "CodeBuild tests the commit, builds an image and deploys it, and the load balancer gets its address. The app's answer "
    "names its commit and the pod that it came from.",
)
PUSH = WalkStep(
    "Push a commit, see it live",
    'git commit -q -a -m "Greet from EKS" && git push -q',
    "GitHub announces the commit, and the pipeline tests, builds and releases it. During the rollout, old and new pods "
    "answer in turn, and no request is lost.",
)
BAD_PUSH = WalkStep(
    "Push a bad commit, see it undone",
    'git commit -q -a -m "Probe a path that does not exist" && git push -q',
    "The new pods never become ready, because their readiness probes ask for a path that the app does not have. The build "
    "fails and rolls the Deployment back, and the old pods answer all the time.",
)
STATUS = WalkStep(
    "Show the status",
    "scripts/status.sh",
    "One screen shows what exists, what runs and what failed. The last good commit is still live.",
)
TEARDOWN = WalkStep(
    "Tear everything down",
    "scripts/teardown.sh --yes",
    "The script deletes the app with its load balancer, the stack, the role and the cluster. Then it looks for leftovers "
    "and finds none, so nothing costs money any more.",
)
#: In this order by ``rehearsal.rehearse.walk``.
WALK = (SETUP, STACK, FIRST_RELEASE, PUSH, BAD_PUSH, STATUS, TEARDOWN)


@dataclass
class Push:
    """A pushed commit; ``moments`` are durations and times after ``git push`` began, in seconds."""

    commit: str
    pushed: float
    moments: dict[str, float] = field(default_factory=dict)


class Tutorial:
    """Runs the tutorial's own scripts from the learner's checkout, in the learner's environment."""

    def __init__(self, progress: Progress, env: Mapping[str, str], checkout: Path) -> None:
        self.progress = progress
        self.env = env
        self.checkout = checkout

    # Steps

    def setup_cluster(self) -> None:
        """Create the cluster and the kubectl role, and authorize the role in the cluster."""
        self._script(SETUP, SETUP_TIMEOUT)

    def create_role(self) -> None:
        """Create only the kubectl role, without a cluster to authorize it in."""
        self._script(WalkStep("Create the role", "scripts/create-role.sh", ""), 120)

    def create_stack(self) -> None:
        """Create ECR, S3, Lambda, CodeBuild and CodePipeline from the template."""
        self._script(STACK, STACK_TIMEOUT)

    def first_release(self) -> None:
        """Wait until the app answers from the first commit; a new pipeline starts automatically."""
        with self.progress.step(FIRST_RELEASE.title) as show:
            commit = self._git("rev-parse", "HEAD")
            self._await_execution(commit, show)
            answer = self.await_answer(lambda got: got.get("version") == commit, 60)
            show(
                f"= {self.address()} answers {answer.get('message')!r}, version {commit[:7]}, from {answer.get('host')}"
            )

    def release(self) -> None:
        """Wait until the pipeline has released the checkout's last commit, of an app that need not be the tutorial's."""
        with self.progress.step("Release the app by the pipeline") as show:
            self._await_execution(self._git("rev-parse", "HEAD"), show)

    def first_source(self) -> None:
        """Wait until the pipeline has fetched the first commit; without a cluster it gets no further than Source."""
        codepipeline = self._client("codepipeline")

        def source() -> dict[str, Any]:
            state: dict[str, Any] = codepipeline.get_pipeline_state(name=PIPELINE)["stageStates"][0]["actionStates"][0]
            return state

        def has_succeeded() -> bool:
            return bool(source().get("latestExecution", {}).get("status") == "Succeeded")

        with self.progress.step("See the pipeline fetch the first commit from GitHub") as show:
            commit = self._git("rev-parse", "HEAD")
            waiting.until(has_succeeded, 60, "stage Source to succeed", lambda: f"Its state: {source()}", pause=0.25)
            fetched = source()["currentRevision"]["revisionId"]
            if fetched != commit:
                raise StepFailed(f"the pipeline fetched {fetched}, not {commit}")
            show(f"= {commit[:7]} is in the artifact bucket")

    def delete_stack_and_role(self) -> None:
        """Delete what teardown.sh deletes besides the cluster, by the same calls."""
        with self.progress.step("Delete the stack and the role") as step:
            for args in (
                ["aws", "cloudformation", "delete-stack", "--stack-name", PIPELINE],
                ["aws", "cloudformation", "wait", "stack-delete-complete", "--stack-name", PIPELINE],
                ["aws", "iam", "delete-role-policy", "--role-name", ROLE, "--policy-name", "eks-describe"],
                ["aws", "iam", "delete-role", "--role-name", ROLE],
            ):
                step.run(args, env=self.env, cwd=self.checkout, timeout=120)

    def push_change(self) -> Push:
        """Change the greeting, push the commit, and wait until the load balancer's address answers with it."""
        with self.progress.step(PUSH.title) as show:
            push = self._push("Greet from EKS", {"app.py": ("Hello, World!", "Hello, EKS!")})
            seen = threading.Thread(target=self._note_live, args=(push,), daemon=True)
            seen.start()
            execution = self._await_execution(push.commit, show)
            seen.join(60)
            if "live" not in push.moments:
                raise StepFailed(f"the pipeline succeeded, but {self.address()} does not answer from {push.commit[:7]}")
            self._note_stages(push, execution)
            show(f"= live {push.moments['live']:.1f} s after git push")
            return push

    def push_bad_change(self) -> None:
        """Push a commit that never becomes ready; the pipeline must fail and the old version must keep answering."""
        with self.progress.step(BAD_PUSH.title) as show:
            before = self.answer()
            stop = threading.Event()
            lost: list[str] = []
            watch = threading.Thread(target=self._count_lost, args=(stop, lost), daemon=True)
            watch.start()
            try:
                push = self._push("Probe a path that does not exist", {"deployment.yml": ("/readyz", "/missing")})
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
        """Show the state of everything on one screen."""
        self._script(STATUS, 120)

    def teardown(self) -> None:
        """Delete everything; the script then checks that nothing is left."""
        self._script(TEARDOWN, TEARDOWN_TIMEOUT)

    # Observations

    def kubectl(self, *args: str) -> str:
        """Run kubectl as the learner and return its output."""
        return self._output(["kubectl", *args], within=120)

    def address(self) -> str:
        """Return the URL of the app's Service, whatever its name, or an empty string while it has no address."""
        query = "jsonpath={.items[*].status.loadBalancer.ingress[0]['hostname','ip']}"
        got = self.kubectl("get", "services", "--namespace", NAMESPACE, "--output", query).split()
        return f"http://{got[0]}/" if got else ""

    def answer(self) -> dict[str, Any]:
        """Return the app's answer, which is JSON."""
        got = httpx.get(
            self.address(), headers={"Accept": "application/json"}, timeout=waiting.bound(3), trust_env=False
        )
        got.raise_for_status()
        body: dict[str, Any] = got.json()
        return body

    def await_answer(self, good: Callable[[dict[str, Any]], bool], patience: float) -> dict[str, Any]:
        """Call the app until an answer is good, and return that answer.

        Raises:
            TimeoutError: none was within ``patience`` seconds; the message ends with the last answer or error.
        """
        last: object = "nothing"

        def ask() -> dict[str, Any]:
            nonlocal last
            try:
                last = body = self.answer()
            except (httpx.HTTPError, ValueError) as error:
                last = error
                return {}
            return body if good(body) else {}

        return waiting.until(ask, patience, "the app to answer as expected", lambda: f"Last answer: {last}", pause=0.2)

    # Parts

    def _script(self, step: WalkStep, timeout: float) -> None:
        args = step.command.split()
        self.progress.command(f"{step.title}  ({args[0]})", args, env=self.env, cwd=self.checkout, timeout=timeout)

    def _output(self, args: list[str], within: float = 60) -> str:
        done = subprocess.run(
            args,
            env=dict(self.env),
            cwd=self.checkout,
            capture_output=True,
            text=True,
            timeout=waiting.bound(within),
            check=False,
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
                raise StepFailed(f"{name} does not contain {old!r}, which this step replaces")
            path.write_text(text.replace(old, new), encoding="utf-8")
        self._git("commit", "--quiet", "--all", "--message", subject)
        began = time.monotonic()
        self._git("push", "--quiet")
        return Push(self._git("rev-parse", "HEAD"), began, {"pushed": time.monotonic() - began})

    def push_all(self, subject: str) -> None:
        """Commit and push whatever has changed in the checkout."""
        self._git("add", "--all")
        self._git("commit", "--quiet", "--allow-empty", "--message", subject)
        self._git("push", "--quiet")

    def _client(self, service: str) -> Any:
        return boto3.client(
            service,
            endpoint_url=self.env["AWS_ENDPOINT_URL"],
            region_name=settings.region,
            aws_access_key_id=self.env["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.env["AWS_SECRET_ACCESS_KEY"],
        )

    def _await_execution(self, commit: str, show: Callable[[str], None], wanted: str = "Succeeded") -> dict[str, Any]:
        codepipeline = self._client("codepipeline")
        try:
            execution = executions.follow(
                codepipeline, PIPELINE, commit, RELEASE_TIMEOUT, lambda: show(self._last_build_line())
            )
        except TimeoutError as error:
            raise StepFailed(str(error), self.build_log()) from error
        if execution["status"] != wanted:
            raise StepFailed(f"the execution of {commit[:7]} is {execution['status']}, not {wanted}", self.build_log())
        return execution

    def build_log(self) -> list[str]:
        """Return the newest build's last lines."""
        logs = sorted((settings.run / "builds").glob("*.log"), key=lambda path: path.stat().st_mtime)
        return logs[-1].read_text(encoding="utf-8", errors="replace").splitlines()[-30:] if logs else []

    def _last_build_line(self) -> str:
        lines = [line for line in self.build_log() if line.strip()]
        return lines[-1].strip() if lines else ""

    def _note_live(self, push: Push) -> None:
        try:
            self.await_answer(lambda got: got.get("version") == push.commit, RELEASE_TIMEOUT)
            push.moments["live"] = time.monotonic() - push.pushed
        except (StepFailed, TimeoutError):
            return

    def _count_lost(self, stop: threading.Event, lost: list[str]) -> None:
        address = self.address()
        while not stop.wait(0.1):
            try:
                httpx.get(address, timeout=waiting.bound(3), trust_env=False).raise_for_status()
            except httpx.HTTPError as error:
                lost.append(f"{type(error).__name__}: {error}")

    def _note_stages(self, push: Push, execution: Mapping[str, Any]) -> None:
        """Add the durations of the pipeline's actions and of the build's phases, as AWS reports them."""
        # As the account's root, because the learner's policy does not have the rights that only this table needs.
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
