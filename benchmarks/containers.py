"""Images and containers of the rehearsal's Docker Engine, with what they weigh, and a load on them."""

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

#: Containers use the engine's own network, as nothing between them and the caller is to be measured.
URL = f"http://{settings.engine_ip}:8080"
NAME = "benchmark"
CALLERS = 16
PATIENCE = 60.0
#: The server gets one core, which is what the pod's limit gives it, and whoever asks it another.
SERVER_CORE, CALLER_CORE = min(os.sched_getaffinity(0)), max(os.sched_getaffinity(0))


@dataclass(frozen=True)
class Load:
    """What a load met: good answers a second, milliseconds until half and until 99 % of them, and the others."""

    rate: float
    p50: float
    p99: float
    errors: int


class Docker:
    """The client, with a configuration of its own, and the engine's API."""

    def __init__(self, home: Path) -> None:
        (home / ".docker").mkdir()
        proxies = {"default": {"httpsProxy": engine.proxy_url(), "noProxy": "127.0.0.1,localhost"}}
        (home / ".docker" / "config.json").write_text(json.dumps({"proxies": proxies}), encoding="utf-8")
        self._environment = {"PATH": engine.SYSTEM_PATH, "HOME": str(home), "DOCKER_BUILDKIT": "1"}
        transport = httpx.HTTPTransport(uds=str(settings.docker_socket))
        self._api = httpx.Client(transport=transport, base_url="http://docker", timeout=PATIENCE)

    def __call__(self, *args: str) -> str:
        """Give a command and return what it prints.

        Raises:
            BenchmarkError: it failed.
        """
        command = [engine.client(), "--host", f"unix://{settings.docker_socket}", *args]
        done = subprocess.run(
            command, env=self._environment, capture_output=True, text=True, timeout=600, check=False
        )  # fmt: skip
        if done.returncode:
            raise BenchmarkError(f"docker {' '.join(args)}: {done.stderr.strip()[-2000:]}")
        return done.stdout.strip()

    def build(self, directory: Path, tag: str, *options: str) -> float:
        """Build an image and return how many seconds that took."""
        begin = time.monotonic()
        self("build", "--quiet", "--tag", tag, *options, str(directory))
        return time.monotonic() - begin

    def image(self, name: str) -> tuple[float, int]:
        """Return an image's size in MB and its number of layers."""
        about: Any = json.loads(self("image", "inspect", name))[0]
        return about["Size"] / 1e6, len(about["RootFS"]["Layers"])

    @contextmanager
    def running(self, image: str, *command: str, options: tuple[str, ...] = ()) -> Iterator[float]:
        """Run a container and give the seconds until its first good answer."""
        self("create", "--name", NAME, "--network", "host", "--no-healthcheck", *options, image, *command)
        try:
            begin = time.monotonic()
            self("start", NAME)
            self._until_it_answers(begin)
            yield time.monotonic() - begin
        finally:
            self("rm", "--force", NAME)

    def _until_it_answers(self, begin: float) -> None:
        while time.monotonic() < begin + PATIENCE:
            try:
                if httpx.get(URL, timeout=5).status_code == 200:
                    return
            except httpx.TransportError:
                time.sleep(0.005)
        raise BenchmarkError(f"no answer from the container; it said: {self('logs', '--tail', '20', NAME)}")

    def memory(self) -> float:
        """Return the container's working set in MiB, as the kubelet counts it: in use, less what can be dropped."""
        memory = self._stats()["memory_stats"]
        # The first is in cgroup v1, the second in v2.
        dropped = memory["stats"].get("total_inactive_file", memory["stats"].get("inactive_file", 0))
        return float(memory["usage"] - dropped) / 2**20

    def processor(self) -> float:
        """Return the seconds of a core that the container has used."""
        return float(self._stats()["cpu_stats"]["cpu_usage"]["total_usage"]) / 1e9

    def _stats(self) -> Any:
        answer = self._api.get(f"/containers/{NAME}/stats", params={"stream": "false", "one-shot": "true"})
        return answer.raise_for_status().json()


@contextmanager
def docker() -> Iterator[Docker]:
    """Give the client a home for as long as it is used."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as home:
        yield Docker(Path(home))


def start_load(seconds: float) -> subprocess.Popen[str]:
    """Have ``CALLERS`` callers ask again and again, each as soon as it was answered."""
    script = Path(__file__).parent / "wrk.lua"
    options = ["--threads=1", f"--connections={CALLERS}", f"--duration={seconds:g}s", f"--script={script}"]
    return subprocess.Popen(
        ["taskset", "--cpu-list", str(CALLER_CORE), "wrk", *options, URL], stdout=subprocess.PIPE, text=True
    )


def end_load(wrk: subprocess.Popen[str]) -> Load:
    """Wait for a load's end.

    Raises:
        BenchmarkError: a caller got no good answer.
    """
    said, _ = wrk.communicate(timeout=PATIENCE * 2)
    seen = Load(**json.loads(said.splitlines()[-1]))
    if seen.errors or not seen.rate:
        raise BenchmarkError(f"of the load's requests {seen.errors} failed, {seen.rate:g} a second did not")
    return seen


def load(seconds: float) -> Load:
    """Put the server under load."""
    return end_load(start_load(seconds))
