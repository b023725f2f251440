"""Releases a change of the app, by the pipeline or by hand, and times it until the first answer with the change."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from benchmarks.figures import Context, Timeline
from rehearsal import executions, learner
from rehearsal.docker import engine
from rehearsal.emulator.client import root, root_environment
from rehearsal.settings import settings
from rehearsal.tutorial import NAMESPACE, PIPELINE
from rehearsal.waiting import until

#: The Deployment and the Service of the tutorial's app.
APP = "hello-world"
#: Seconds between two requests for the live version, which is the precision of the measurement.
POLL = 0.05
#: Seconds after which a release has failed.
PATIENCE = 300.0

Edit = Callable[[Path, str], None]


class BenchmarkError(Exception):
    """Something could not be measured."""


@dataclass
class Release:
    """A change and the times at which it passed each part, on the clock of ``time.time``."""

    version: str
    began: float = field(default_factory=time.time)
    live: float = 0.0
    ended: float = 0.0
    marks: list[tuple[str, float]] = field(default_factory=list)

    def mark(self, name: str) -> None:
        """Record that the part ``name`` is over."""
        self.marks.append((name, time.time()))

    @property
    def took(self) -> float:
        """Seconds from the first command to the first answer with the change."""
        return self.live - self.began

    def timeline(self, name: str) -> Timeline:
        """Lay out the parts one after another; what comes after ``live`` is the end of the rollout."""
        spans, begin = [], self.began
        for part, end in [*((part, end) for part, end in self.marks if end < self.live), ("pods", self.live)]:
            spans.append((part, begin - self.began, end - self.began))
            begin = end
        return Timeline(name, spans, self.took)


def change_code(tree: Path, stamp: str) -> None:
    """Change one line of app.py, the greeting."""
    _replace(tree / "app.py", r'"Hello, [^"]*!"', f'"Hello, {stamp}!"')


def change_dependency(tree: Path, stamp: str) -> None:
    """Change requirements.txt, so that every package is reinstalled."""
    _replace(tree / "requirements.txt", r"\A(# changed .*\n)?", f"# changed {stamp}\n")


def change_nothing(tree: Path, stamp: str) -> None:
    """Change a file that is not part of the image."""
    with (tree / "README.md").open("a", encoding="utf-8") as file:
        file.write(f"\n{stamp}\n")


class Releases:
    """Releases changes in a kept rehearsal that has a cluster, a stack and a first release.

    Args:
        context: the rehearsal.
    """

    def __init__(self, context: Context) -> None:
        self.env = dict(context.env)
        self.checkout = context.checkout
        self.address = f"http://{self.kubectl('service', APP, '{.status.loadBalancer.ingress[0].ip}')}/"
        self.repository = self._image().partition("@")[0].partition(":")[0]

    # The pipeline

    def push(self, edit: Edit, *, buildspec: str = "buildspec.yml") -> Release:
        """Commit and push a change, and follow it until it is live and the old pods are gone."""
        self.commit(edit, buildspec=buildspec)
        return self._follow(self.run("git", "rev-parse", "HEAD").strip())

    def push_many(self, count: int) -> tuple[Release, list[str]]:
        """Push commits in quick succession; return the last one's release and the final states of all executions."""
        known = len(self.executions())
        commits = []
        for _ in range(count):
            self.commit(change_code)
            commits.append(self.run("git", "rev-parse", "HEAD").strip())
        for commit in commits[:-1]:
            self._git_push(commit)
        release = self._follow(commits[-1])

        def ended() -> list[str]:
            states = [one["status"] for one in self.executions()]
            return states[:count] if "InProgress" not in states and len(states) == known + count else []

        return release, until(ended, PATIENCE, f"the end of {count} executions", pause=0.5)

    def _follow(self, commit: str) -> Release:
        release = Release(commit)
        with self._watching(release):
            self._git_push(commit)
            release.mark("git push")
            execution = self.await_execution(commit)
        release.ended = _moment(execution["lastUpdateTime"])
        release.marks += self._parts(execution["pipelineExecutionId"])
        self.settle()
        return release

    def _git_push(self, commit: str) -> None:
        self.run("git", "push", "--quiet", "origin", f"{commit}:{learner.BRANCH}")

    def push_without_effect(self) -> float:
        """Push a commit that does not change the image; return the seconds until its execution has ended.

        Raises:
            BenchmarkError: something in the cluster changed.
        """
        before = self._state()
        self.commit(change_nothing)
        version, began = self.run("git", "rev-parse", "HEAD").strip(), time.time()
        self._git_push(version)
        ended = _moment(self.await_execution(version)["lastUpdateTime"])
        if self._state() != before:
            raise BenchmarkError(
                f"a commit that does not change the image changed the cluster: {before}, {self._state()}"
            )
        return ended - began

    def commit(self, edit: Edit, *, buildspec: str = "buildspec.yml") -> None:
        """Commit a change to the learner's checkout, with a buildspec of this repository."""
        shutil.copy(settings.root / buildspec, self.checkout / "buildspec.yml")
        edit(self.checkout, _stamp())
        self.run("git", "commit", "--quiet", "--all", "--message", "Measure a push")

    def await_execution(self, commit: str) -> dict[str, Any]:
        """Wait until the execution of a commit has succeeded, and return its summary."""
        found = executions.follow(root("codepipeline"), PIPELINE, commit, PATIENCE)
        if found["status"] != "Succeeded":
            raise BenchmarkError(f"the execution of {commit[:7]} is {found['status']}, not Succeeded")
        return found

    def executions(self) -> list[dict[str, Any]]:
        """Return the pipeline's executions, newest first."""
        pages = root("codepipeline").get_paginator("list_pipeline_executions").paginate(pipelineName=PIPELINE)
        return [one for page in pages for one in page["pipelineExecutionSummaries"]]

    def _parts(self, execution: str) -> list[tuple[str, float]]:
        """Return the end of each part of an execution, from CodePipeline, CodeBuild and the build's log."""
        details = root("codepipeline").list_action_executions(
            pipelineName=PIPELINE, filter={"pipelineExecutionId": execution}
        )["actionExecutionDetails"]
        actions = {one["stageName"]: one for one in details}
        build = actions["Build"]["output"]["executionResult"]["externalExecutionId"]
        phases = root("codebuild").batch_get_builds(ids=[build])["builds"][0]["phases"]
        ends = {one["phaseType"].lower(): _moment(one["endTime"]) for one in phases if "endTime" in one}
        marks = [("webhook, source", _moment(actions["Source"]["lastUpdateTime"])), ("start", ends["download_source"])]
        marks += [(name, ends[name]) for name in ("install", "pre_build", "build") if name in ends]
        log = (settings.run / "builds" / f"{build.partition(':')[2]}.log").read_text(encoding="utf-8", errors="replace")
        deploying = re.search(
            r"\[Container\] (\S+ \S+) Running command (bash scripts/build/deploy\.sh|kubectl apply)", log
        )
        if deploying:
            began = datetime.strptime(deploying[1], "%Y/%m/%d %H:%M:%S.%f").replace(tzinfo=UTC)
            marks.append(("push", began.timestamp()))
        return marks

    # By hand

    @contextmanager
    def by_hand(self) -> Iterator[Callable[[Edit], Release]]:
        """Yield a function that releases a change with plain commands, already logged in to the registry."""
        with tempfile.TemporaryDirectory() as work:
            tree, docker = Path(work) / "tree", Path(work) / "docker"
            shutil.copytree(self.checkout, tree, ignore=shutil.ignore_patterns(".git"))
            docker.mkdir()
            proxies = {"default": {"httpsProxy": engine.proxy_url(), "noProxy": "127.0.0.1,localhost"}}
            (docker / "config.json").write_text(json.dumps({"proxies": proxies}), encoding="utf-8")
            env = self.env | {"DOCKER_CONFIG": str(docker), "DOCKER_BUILDKIT": "1"}
            password = self.run("aws", "ecr", "get-login-password", env=self.env | root_environment())
            host = self.repository.partition("/")[0]
            self.run(engine.client(), "login", "--username", "AWS", "--password-stdin", host, env=env, given=password)

            def release(edit: Edit) -> Release:
                version = f"hand-{_stamp()}"
                image = f"{self.repository}:{version}"
                edit(tree, version)
                made = Release(version)
                with self._watching(made):
                    given = ("--build-arg", f"VERSION={version}", "--tag", image)
                    self.run(engine.client(), "build", *given, str(tree), env=env)
                    made.mark("docker build")
                    self.run(engine.client(), "push", "--quiet", image, env=env)
                    made.mark("docker push")
                    self.run("kubectl", "set", "image", f"deployment/{APP}", f"{APP}={image}", "-n", NAMESPACE)
                    made.mark("kubectl set image")
                    self.await_rollout()
                made.ended = time.time()
                self.settle()
                return made

            yield release

    # Observation

    @contextmanager
    def _watching(self, release: Release) -> Iterator[None]:
        """Poll for the version while the block runs, and afterwards until it answers."""
        watcher = threading.Thread(target=self._watch, args=(release,), daemon=True)
        watcher.start()
        yield
        watcher.join(30)
        if not release.live:
            raise BenchmarkError(f"{self.address} does not answer with {release.version}")

    def _watch(self, release: Release) -> None:
        # A new connection for each request, since a kept one stays with its pod.
        limits, headers = httpx.Limits(max_keepalive_connections=0), {"Accept": "application/json"}
        with httpx.Client(limits=limits, headers=headers, timeout=3, trust_env=False) as client:

            def is_live() -> bool:
                try:
                    return bool(client.get(self.address).json().get("version") == release.version)
                except (httpx.HTTPError, ValueError):
                    return False

            with suppress(TimeoutError):  # _watching reports it
                until(is_live, PATIENCE, release.version, pause=POLL)
                release.live = time.time()

    def await_rollout(self) -> None:
        """Wait until all pods of the newest version are ready; old ones may still be terminating."""
        self.run("kubectl", "rollout", "status", f"deployment/{APP}", "-n", NAMESPACE, "--timeout=120s")

    def settle(self) -> None:
        """Wait until only the pods of the last release are left."""
        self.await_rollout()

        def settled() -> bool:
            pods = json.loads(self.run("kubectl", "get", "pods", "-n", NAMESPACE, "--output", "json"))["items"]
            return not any("deletionTimestamp" in pod["metadata"] for pod in pods)

        until(settled, 60, "the pods of the previous release to terminate", pause=0.5)

    def kubectl(self, kind: str, name: str, path: str) -> str:
        """Return a field of an object of the app."""
        return self.run("kubectl", "get", kind, name, "-n", NAMESPACE, "--output", f"jsonpath={path}")

    def _image(self) -> str:
        return self.kubectl("deployment", APP, "{.spec.template.spec.containers[0].image}")

    def _state(self) -> tuple[str, str, str]:
        """What a commit without effect must not change: the image, the generation and the pods."""
        pods = self.run("kubectl", "get", "pods", "-n", NAMESPACE, "--output", "name")
        return self._image(), self.kubectl("deployment", APP, "{.metadata.generation}"), pods

    def run(self, *args: str, env: Mapping[str, str] | None = None, given: str = "", timeout: float = PATIENCE) -> str:
        """Run a command as the learner and return its output."""
        done = subprocess.run(
            args, env=env or self.env, cwd=self.checkout, input=given, capture_output=True, text=True, timeout=timeout,
            check=False,
        )  # fmt: skip
        if done.returncode:
            raise BenchmarkError(f"{' '.join(args[:3])} failed: {done.stderr.strip()[-600:]}")
        return done.stdout


def _replace(path: Path, pattern: str, text: str) -> None:
    changed, count = re.subn(pattern, text, path.read_text(encoding="utf-8"), count=1)
    if not count:
        raise BenchmarkError(f"{path.name} has no {pattern}")
    path.write_text(changed, encoding="utf-8")


def _moment(value: Any) -> float:
    return float(value.timestamp())


def _stamp() -> str:
    return datetime.now(UTC).strftime("%H%M%S%f")
