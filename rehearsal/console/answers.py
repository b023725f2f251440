"""Requests the app's page as a visitor would, and remembers the last answers and changes of version."""

from __future__ import annotations

import time
from collections import deque
from typing import Any

import httpx

from rehearsal.console.snapshot import Answer, App, Change, Cluster, Execution, clean

REMEMBERED = 60  # answers
CHANGES = 4
SETTLED = 8  # answers; a version that none of them had is a change
GAP = 15.0  # seconds without an answer, after which the earlier answers are dropped
SHORT_COMMIT = 7  # characters of an abbreviated commit
HEADERS = {"Accept": "application/json", "User-Agent": "rehearsal-console"}


class Visitor:
    """A visitor of the app; each visit is a new connection, so that the Service chooses a pod each time."""

    async def read(self, address: str) -> Answer:
        """Return the answer of the app at ``address``."""
        at = time.time()
        try:
            async with httpx.AsyncClient(trust_env=False, timeout=2, headers=HEADERS) as client:
                response = await client.get(f"http://{address}/")
        except httpx.HTTPError as error:
            return _answer(at, error=clean(f"{type(error).__name__}: {error}".rstrip(": ")))
        try:
            body = response.json()
        except ValueError:
            body = {}
        return _answer(at, response.status_code, body if isinstance(body, dict) else {})


def _answer(at: float, status: int = 0, body: dict[str, Any] | None = None, error: str = "") -> Answer:
    body = body or {}
    return {
        "at": at,
        "status": status,
        "milliseconds": round((time.time() - at) * 1000, 1),
        "version": clean(body.get("version"), 64),
        "pod": clean(body.get("pod") or body.get("host") or body.get("hostname"), 80),
        "error": error,
    }


class Memory:
    """The last answers, the last changes of version, and the versions of the pods that answered."""

    def __init__(self) -> None:
        self.answers: deque[Answer] = deque(maxlen=REMEMBERED)
        self.changes: deque[Change] = deque(maxlen=CHANGES)
        self._pods: dict[str, str] = {}
        self._seen: set[str] = set()

    def add(self, answer: Answer, executions: list[Execution]) -> None:
        """Remember ``answer``; it is a change if none of the last ``SETTLED`` answers had its version.

        So a rollout, during which old and new pods answer in turn, is a single change. The first answer, also after a
        gap in which the page was closed, is not a change, because the version may have changed earlier.
        """
        if self.answers and answer["at"] - self.answers[-1]["at"] > GAP:
            self.answers.clear()
        first = not self.answers
        before = [one["version"] for one in self.answers if one["version"]]
        version = answer["version"]
        self.answers.append(answer)
        if not version:
            return
        self._pods[answer["pod"]] = version
        if not first and version not in before[-SETTLED:]:
            seconds = None if version in self._seen else _since_push(answer, executions)
            last = before[-1] if before else ""
            self.changes.append({"at": answer["at"], "before": last, "version": version, "seconds": seconds})
        self._seen.add(version)

    def app(self, address: str) -> App:
        """Return the app as the page shows it."""
        note = "" if address or self.answers else "No load balancer yet. It appears with the first deployment."
        return {
            "note": note,
            "url": f"http://{address}/" if address else "",
            "answers": list(self.answers),
            "changes": list(self.changes),
        }

    def name_versions(self, cluster: Cluster) -> Cluster:
        """Set the version of each pod that has answered, and of other pods with the same image."""
        pods = [pod for node in cluster["nodes"] for pod in node["pods"]] + cluster["waiting"]
        images = {pod["image"]: self._pods[pod["name"]] for pod in pods if pod["name"] in self._pods}
        for pod in pods:
            pod["version"] = self._pods.get(pod["name"]) or images.get(pod["image"], "")
        return cluster


def _since_push(answer: Answer, executions: list[Execution]) -> float | None:
    """Return the seconds since the start of the execution that deployed this version, if it is known."""
    for execution in executions:
        deployed = len(answer["version"]) >= SHORT_COMMIT and execution["revision"].startswith(answer["version"])
        if deployed and execution["started"]:
            return round(answer["at"] - execution["started"], 1)
    return None
