"""Builds the app's image and tries one container of it, with the limits and the rights that deployment.yml gives it."""

from __future__ import annotations

import http.client
import re
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from rehearsal import waiting
from rehearsal.docker import engine
from rehearsal.load import Load
from rehearsal.progress import Step, StepFailed
from rehearsal.readiness.manifest import Manifest
from rehearsal.settings import settings

#: Far above what the slowest machine needs, in seconds.
BUILD_TIMEOUT = 600.0
#: The published port at the engine's address (learner.write_client_files).
PORT = 8080
#: Paths that are tried if no probe's path answers: common ones, and the home page.
COMMON_PATHS = ("/healthz", "/readyz", "/health", "/ping", "/")
#: Windows of the load after which memory is measured, their length in seconds and the rate of each kind of request.
WINDOWS, WINDOW, RATE = 4, 4.0, 100
NAME = "trial"


@dataclass(frozen=True)
class Sample:
    """The container's memory in use, in bytes, after so many requests; as the kubelet counts it, without caches."""

    requests: int
    memory: int


@dataclass
class Trial:
    """What was seen of one container. Times are in seconds."""

    built: bool = False
    log: str = ""
    #: When a request was first answered; None if none was within the allowed time.
    started: float | None = None
    #: Statuses by path, of requests that name the container by its address, as the kubelet does.
    statuses: dict[str, int] = field(default_factory=dict)
    #: The user ID of its first process; None if it ended.
    user: int | None = None
    #: TCP ports on which it listens.
    ports: list[int] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    stopped: float = 0.0
    #: The exit code, 137 after SIGKILL; None before its end.
    code: int | None = None
    out_of_memory: bool = False

    def path(self, probes: list[str]) -> str:
        """Return the path that answers like a healthy app: a probe's own, or one of the common ones; or nothing."""
        return next((path for path in [*probes, *COMMON_PATHS] if healthy(self.statuses.get(path, 0))), "")

    def page(self, probes: list[str]) -> str:
        """Return the path for visitors: not that of a probe if possible, as /readyz fails on purpose during a shutdown."""
        return "/" if healthy(self.statuses.get("/", 0)) else self.path(probes)


def healthy(status: int) -> bool:
    """Whether a probe accepts this status (https://kubernetes.io/docs/concepts/configuration/liveness-readiness-startup-probes/)."""
    return http.client.OK <= status < http.client.BAD_REQUEST


def answered(status: int, _body: bytes) -> str:
    """Read an answer of any healthy app, for ``Load``.

    Raises:
        ValueError: the status is an error.
    """
    if not healthy(status):
        raise ValueError(f"status {status}")
    return ""


def try_out(checkout: Path, manifest: Manifest, env: Mapping[str, str], step: Step) -> Trial:
    """Build the image, start one container, ask it, load it and stop it."""
    trial = Trial()
    docker = _Docker(env, checkout)
    try:
        for target in (["--target=test"], [f"--tag={NAME}"]):
            step.run(docker.command("build", *target, "."), env=docker.env, cwd=checkout, timeout=BUILD_TIMEOUT)
    except StepFailed as error:
        trial.log = "\n".join(error.excerpt) or str(error)
        return trial
    trial.built = True
    arguments = [str(part) for part in manifest.container.get("args", [])]
    command = [str(part) for part in manifest.container.get("command", [])]
    if command:
        arguments = [*command[1:], *arguments]
    entry = [f"--entrypoint={command[0]}"] if command else []
    options = [f"--name={NAME}", f"--publish={PORT}:{manifest.port}", *manifest.docker_options(), *entry]
    docker.run("run", "--detach", *options, NAME, *arguments)
    try:
        step("start it")
        _start(trial, docker, manifest)
        if page := trial.page(manifest.paths):
            step("send it requests")
            _load(trial, f"http://{settings.engine_ip}:{PORT}{page}", manifest.headers)
        step("stop it")
        _stop(trial, docker, manifest)
    finally:
        docker.run("rm", "--force", NAME)
    return trial


def _start(trial: Trial, docker: _Docker, manifest: Manifest) -> None:
    """Wait for an answer as long as Kubernetes would, and look at what listens meanwhile."""
    began = time.monotonic()
    while trial.started is None and docker.state("Running") == "true":
        if _status(manifest.paths[0] if manifest.paths else "/", manifest.headers):
            trial.started = time.monotonic() - began
        elif time.monotonic() - began > waiting.bound(manifest.start_allowed):
            break
        else:
            time.sleep(0.1)
    status = docker.run("exec", NAME, "cat", "/proc/1/status")
    if found := re.search(r"(?m)^Uid:\s+(\d+)", status):
        trial.user = int(found[1])
    trial.ports = _listening(docker.run("exec", NAME, "cat", "/proc/net/tcp", "/proc/net/tcp6"))
    if trial.started is not None:
        for path in dict.fromkeys([*manifest.paths, *COMMON_PATHS]):
            trial.statuses[path] = _status(path, manifest.headers)


def _status(path: str, headers: Mapping[str, str]) -> int:
    """Return the status of one request, or 0 if there is no answer."""
    with suppress(httpx.HTTPError):
        url = f"http://{settings.engine_ip}:{PORT}{path}"
        return httpx.get(url, headers=dict(headers), timeout=waiting.bound(3), trust_env=False).status_code
    return 0


def _listening(tables: str) -> list[int]:
    """Return the ports of the sockets that listen, which is state 0A in proc_pid_net(5)."""
    found = re.findall(r"(?m)^\s*\d+: [0-9A-F]+:([0-9A-F]{4}) \S+ 0A ", tables)
    return sorted({int(port, 16) for port in found})


def _load(trial: Trial, url: str, headers: Mapping[str, str]) -> None:
    sent = 0
    for _ in range(WINDOWS):
        with Load(url, RATE, headers, answered) as load:
            time.sleep(WINDOW)
        sent += load.total
        trial.lost += [f"{loss.kind} {loss.reason}" for loss in load.lost]
        if not (memory := _memory()):
            return
        trial.samples.append(Sample(sent, memory))


def _memory() -> int:
    """Return the container's memory in use, or 0 if it has ended."""
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(settings.docker_socket)), timeout=waiting.bound(20)) as api:
        stats = (
            api.get(f"http://docker/containers/{NAME}/stats?stream=false&one-shot=true").json().get("memory_stats", {})
        )
    details = stats.get("stats", {})
    # cgroup v1 and v2
    return int(stats.get("usage", 0)) - int(details.get("total_inactive_file", details.get("inactive_file", 0)))


def _stop(trial: Trial, docker: _Docker, manifest: Manifest) -> None:
    began = time.monotonic()
    docker.run("stop", f"--time={manifest.stop_allowed:.0f}", NAME)
    trial.stopped = time.monotonic() - began
    trial.code = int(docker.state("ExitCode"))
    trial.out_of_memory = docker.state("OOMKilled") == "true"
    trial.log = docker.run("logs", NAME)


class _Docker:
    """The learner's docker command; a command that fails returns what it said."""

    def __init__(self, env: Mapping[str, str], directory: Path) -> None:
        self.env = {**env, "DOCKER_BUILDKIT": "1"}
        self.directory = directory

    @staticmethod
    def command(*args: str) -> list[str]:
        return [engine.client(), *args]

    def run(self, *args: str) -> str:
        done = subprocess.run(
            self.command(*args),
            env=self.env,
            cwd=self.directory,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=waiting.bound(120),
            check=False,
        )
        return done.stdout

    def state(self, name: str) -> str:
        return self.run("inspect", f"--format={{{{.State.{name}}}}}", NAME).strip()
