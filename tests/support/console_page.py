"""The console page for a world that a test defines, and what a browser shows of it."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import Chrome

from rehearsal.console.__main__ import serve_until
from rehearsal.console.app import application
from rehearsal.console.screenshot import CHROMIUM, DRIVER, wait_until
from rehearsal.console.snapshot import (
    Answer,
    Build,
    Cluster,
    Execution,
    Pipeline,
    Pod,
    clean,
    no_build,
    no_cluster,
    no_pipeline,
)
from rehearsal.console.watch import Watch

OLD, NEW = "1f0c9a7e5b3d2846a9c1e07f5d3b2a4968c7e1f0", "5d6e7f8091a2b3c4d5e6f708192a3b4c5d6e7f80"
HOSTILE = "<img src=x onerror=\"document.title='taken'\"><script>document.title='taken'</script>"


class Scripted:
    """A world that the test defines."""

    def __init__(self) -> None:
        self.pipeline: Pipeline = no_pipeline("No pipeline yet. It appears with the stack.")
        self.build: Build = no_build("No build yet.")
        self.now: Cluster = no_cluster("No cluster yet.")
        self.versions = [OLD]
        self.reads = 0

    async def aws(self) -> tuple[Pipeline, Build]:
        """Return the pipeline and the build that the test set."""
        self.reads += 1
        return self.pipeline, self.build

    async def cluster(self) -> Cluster:
        """Return a copy of the cluster that the test set."""
        return json.loads(json.dumps(self.now))  # type: ignore[no-any-return]

    async def app(self, _address: str) -> Answer:
        """Answer with each version in turn; an empty version is a failed request."""
        self.versions.append(self.versions.pop(0))
        return answer(self.versions[0], at=time.time())

    def deployed(self) -> None:
        """Set up two nodes with a pod of the first version each."""
        self.now = {
            **no_cluster(""),
            "version": "v1.36.3",
            "address": "10.250.1.1",
            "rollout": "rolled out: 2 of 2 available",
            "nodes": [
                {
                    "name": f"node-{number}",
                    "address": f"10.250.0.1{number}",
                    "ready": True,
                    "schedulable": True,
                    "pods": [pod(f"hello-world-6f9c7d8b5-{OLD[number : number + 5]}", "sha256:" + OLD)],
                    "others": 2,
                }
                for number in (1, 2)
            ],
        }

    def pushed(self) -> None:
        """Set up a running build of a new commit."""
        began = time.time() - 14
        self.pipeline = {
            "note": "",
            "name": "aws-pipeline",
            "stages": [
                stage("Source", "Succeeded", summary="Say good morning instead", revision=NEW, since=began + 2),
                stage("Build", "InProgress", since=began + 3),
            ],
            "executions": [
                execution(NEW, "InProgress", "Say good morning instead", began),
                execution(OLD, "Succeeded", "Answer with the commit and the pod", began - 400, began - 361),
                execution("9b1d4c", "Failed", "Break a test on purpose", began - 900, began - 880),
            ],
        }
        phases = [("DOWNLOAD_SOURCE", 0.4), ("INSTALL", 1.2), ("PRE_BUILD", 4.8), ("BUILD", None)]
        self.build = {
            **no_build(""),
            "id": "aws-pipeline:8f1c",
            "status": "IN_PROGRESS",
            "started": began + 3,
            "phases": [
                {"name": name, "status": "SUCCEEDED" if seconds else "IN_PROGRESS", "seconds": seconds}
                for name, seconds in phases
            ],
            "lines": [
                "[Container] 2026/11/23 20:00:05 Entering phase PRE_BUILD",
                "==> Test the image",
                *(f"tests/test_app.py::test_{name} PASSED" for name in ("hello", "json", "healthz", "readyz", "stops")),
                "[Container] 2026/11/23 20:00:09 Phase complete: PRE_BUILD State: SUCCEEDED",
                "[Container] 2026/11/23 20:00:09 Entering phase BUILD",
                "==> Build the image",
                *(f"#{number} [{number}/6] RUN step {number}" for number in range(1, 7)),
            ],
        }

    def failed(self) -> None:
        """Let the build fail, with markup in its log."""
        self.pipeline["stages"][1] = stage("Build", "Failed", error="Build terminated with state: FAILED")
        self.pipeline["executions"][0].update({"status": "Failed", "ended": time.time()})
        self.build.update(
            {
                "status": "FAILED",
                "ended": time.time(),
                "error": "BUILD FAILED: Error while executing command: scripts/build/deploy.sh. Reason: exit status 1",
                "lines": [*self.build["lines"], clean(HOSTILE), "E   AssertionError: expected good morning"],
            }
        )
        self.build["phases"][-1].update({"status": "FAILED", "seconds": 8.1})


def answer(version: str = OLD, at: float = 0.0, by: str = "hello-world-6f9c7d8b5-f0c9a") -> Answer:
    """Return an answer with ``version``, or a failed request if it is empty."""
    error = "" if version else "ConnectError: connection refused"
    return {
        "at": at,
        "status": 200 if version else 0,
        "milliseconds": 2.5,
        "version": version,
        "pod": by,
        "error": error,
    }


def execution(revision: str, status: str, message: str, started: float, ended: float | None = None) -> Execution:
    """Return an execution of the pipeline."""
    return {
        "id": f"e-{revision}",
        "status": status,
        "revision": revision,
        "message": message,
        "trigger": "Webhook",
        "started": started,
        "ended": ended,
    }


def stage(name: str, status: str, **action: Any) -> Any:
    """Return a stage with one action of the same name."""
    empty = {"summary": "", "revision": "", "url": "", "since": None, "error": "", "approval": False}
    return {
        "name": name,
        "status": status,
        "open": True,
        "queued": 0,
        "actions": [{"name": name, "status": status, **empty, **action}],
    }


def pod(name: str, image: str, status: str = "Running", ready: bool = True) -> Pod:
    """Return a pod whose version is not known yet."""
    return {
        "name": name,
        "image": image,
        "version": "",
        "status": status,
        "ready": ready,
        "staging": False,
        "restarts": 0,
    }


needs_chromium = pytest.mark.skipif(
    not (Path(CHROMIUM).exists() and Path(DRIVER).exists()), reason="needs Debian's chromium and chromium-driver"
)


@contextmanager
def serving(world: Scripted, port: int = 0, watch: Watch | None = None) -> Iterator[str]:
    """Serve the page for ``world``, with ten reads a second, or for ``watch``, and yield its URL."""
    app = application(world, 0.1)
    app.state.watch = watch or app.state.watch
    listener = socket.create_server(("127.0.0.1", port))
    stop = threading.Event()

    async def stopped() -> None:
        await asyncio.to_thread(stop.wait)

    url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
    bind = f"fd://{listener.detach()}"  # the server closes it
    thread = threading.Thread(target=lambda: asyncio.run(serve_until(app, bind, stopped)))
    thread.start()
    try:
        yield url
    finally:
        stop.set()
        thread.join(10)


def shows(driver: Chrome, selector: str, text: str) -> None:
    """Wait until an element shows ``text``."""
    wait_until(driver, f"document.querySelector({json.dumps(selector)})?.innerText.includes({json.dumps(text)})")


def browser_log(driver: Chrome) -> list[str]:
    """Return the browser's log: errors of the page and violations of its policy."""
    return [entry["message"] for entry in driver.get_log("browser")]  # type: ignore[no-untyped-call]
