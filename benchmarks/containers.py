"""Builds images and runs containers in the rehearsal's Docker Engine, measures them, and puts them under load."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from benchmarks.releases import BenchmarkError
from rehearsal.docker import engine
from rehearsal.settings import settings
from rehearsal.waiting import until

#: Containers use the engine's own network, so that nothing between them and the caller is measured.
URL = f"http://{settings.engine_ip}:8080"
NAME = "benchmark"
CALLERS = 16
PATIENCE = 60.0
#: The server gets one core, as much as the pod's limit allows, and the callers another.
SERVER_CORE, CALLER_CORE = min(os.sched_getaffinity(0)), max(os.sched_getaffinity(0))


@dataclass(frozen=True)
class Load:
    """The result of a load: requests answered per second, the 99th percentile in ms, and the number of errors."""

    rate: float
    p99: float
    errors: int


class Docker:
    """The Docker client, with a configuration of its own, and the engine's API."""

    def __init__(self, home: Path) -> None:
        (home / ".docker").mkdir()
        proxies = {"default": {"httpsProxy": engine.proxy_url(), "noProxy": "127.0.0.1,localhost"}}
        (home / ".docker" / "config.json").write_text(json.dumps({"proxies": proxies}), encoding="utf-8")
        self._environment = {"PATH": engine.SYSTEM_PATH, "HOME": str(home), "DOCKER_BUILDKIT": "1"}
        transport = httpx.HTTPTransport(uds=str(settings.docker_socket))
        self._api = httpx.Client(transport=transport, base_url="http://docker", timeout=PATIENCE)

    def __call__(self, *args: str) -> str:
        """Run a Docker command and return its output.

        Raises:
            BenchmarkError: the command failed.
        """
        command = [engine.client(), "--host", f"unix://{settings.docker_socket}", *args]
        done = subprocess.run(
            command, env=self._environment, capture_output=True, text=True, timeout=600, check=False
        )  # fmt: skip
        if done.returncode:
            raise BenchmarkError(f"docker {' '.join(args)}: {done.stderr.strip()[-2000:]}")
        return done.stdout.strip()

    def build(self, directory: Path, tag: str, *options: str) -> float:
        """Build an image and return the seconds that it took."""
        begin = time.monotonic()
        self("build", "--quiet", "--tag", tag, *options, str(directory))
        return time.monotonic() - begin

    def image(self, name: str) -> tuple[float, int]:
        """Return an image's size in MB and its number of layers."""
        about: Any = json.loads(self("image", "inspect", name))[0]
        return about["Size"] / 1e6, len(about["RootFS"]["Layers"])

    @contextmanager
    def running(self, image: str, *command: str, options: tuple[str, ...] = ()) -> Iterator[float]:
        """Run a container and yield the seconds until its first good answer."""
        self("create", "--name", NAME, "--network", "host", "--no-healthcheck", *options, image, *command)
        try:
            begin = time.monotonic()
            self("start", NAME)
            until(self._answers, PATIENCE, "the container", lambda: self("logs", "--tail", "20", NAME), pause=0.005)
            yield time.monotonic() - begin
        finally:
            self("rm", "--force", NAME)

    @staticmethod
    def _answers() -> bool:
        try:
            return httpx.get(URL, timeout=5).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def memory(self) -> float:
        """Return the container's working set in MiB as the kubelet counts it: usage without inactive file pages."""
        memory = self._stats()["memory_stats"]
        # cgroup v1 has the first name, v2 the second.
        inactive = memory["stats"].get("total_inactive_file", memory["stats"].get("inactive_file", 0))
        return float(memory["usage"] - inactive) / 2**20

    def processor(self) -> float:
        """Return the CPU seconds that the container has used."""
        return float(self._stats()["cpu_stats"]["cpu_usage"]["total_usage"]) / 1e9

    def _stats(self) -> Any:
        answer = self._api.get(f"/containers/{NAME}/stats", params={"stream": "false", "one-shot": "true"})
        return answer.raise_for_status().json()


@contextmanager
def docker() -> Iterator[Docker]:
    """Yield a Docker client whose home directory is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as home:
        yield Docker(Path(home))


def start_load(seconds: float) -> subprocess.Popen[str]:
    """Start ``CALLERS`` callers, each of which sends its next request as soon as it has an answer."""
    script = Path(__file__).parent / "wrk.lua"
    options = ["--threads=1", f"--connections={CALLERS}", f"--duration={seconds:g}s", f"--script={script}"]
    return subprocess.Popen(
        ["taskset", "--cpu-list", str(CALLER_CORE), "wrk", *options, URL], stdout=subprocess.PIPE, text=True
    )


def end_load(wrk: subprocess.Popen[str]) -> Load:
    """Wait until a load has ended, and return its result.

    Raises:
        BenchmarkError: a request failed, or none was answered.
    """
    said, _ = wrk.communicate(timeout=PATIENCE * 2)
    seen = Load(**json.loads(said.splitlines()[-1]))
    if seen.errors or not seen.rate:
        raise BenchmarkError(f"{seen.errors} requests failed, {seen.rate:g} a second succeeded")
    return seen


def load(seconds: float) -> Load:
    """Put the server under load and return the result."""
    return end_load(start_load(seconds))
