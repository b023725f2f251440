"""Asks the app what a visitor would see, and remembers the last answers and when they changed."""

from __future__ import annotations

import time
from collections import deque
from typing import Any

import httpx

from rehearsal.console.snapshot import Answer, App, Change, Cluster, Execution, clean

REMEMBERED = 60
CHANGES = 4
SETTLED = 8
GAP = 15.0  # seconds
SHORT_COMMIT = 7  # characters, as git abbreviates
HEADERS = {"Accept": "application/json", "User-Agent": "rehearsal-console"}


class Visitor:
    """One visitor of the app. Each visit is a new connection, so that the Service picks a pod anew."""

    async def read(self, address: str) -> Answer:
        """Return what the app at ``address`` answers."""
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
    said = body or {}
    return {
        "at": at,
        "status": status,
        "milliseconds": round((time.time() - at) * 1000, 1),
        "version": clean(said.get("version"), 64),
        "pod": clean(said.get("pod") or said.get("host") or said.get("hostname"), 80),
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
        """Remember ``answer``; a version that none of the few before it had is a change.

        During a rollout old and new pods answer in turn, which is one change and not many. After a time in which nobody
        looked, nothing is known of when a version came.
        """
        if self.answers and answer["at"] - self.answers[-1]["at"] > GAP:
            self.answers.clear()
        looked = bool(self.answers)
        before = [one["version"] for one in self.answers if one["version"]]
        version = answer["version"]
        self.answers.append(answer)
        if not version:
            return
        self._pods[answer["pod"]] = version
        if looked and version not in before[-SETTLED:]:
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
        """Return ``cluster`` with the version of each pod of which it, or its image, is known."""
        pods = [pod for node in cluster["nodes"] for pod in node["pods"]] + cluster["waiting"]
        images = {pod["image"]: self._pods[pod["name"]] for pod in pods if pod["name"] in self._pods}
        for pod in pods:
            pod["version"] = self._pods.get(pod["name"]) or images.get(pod["image"], "")
        return cluster


def _since_push(answer: Answer, executions: list[Execution]) -> float | None:
    """Return the time from the start of the execution that brought this version, if one is known."""
    for execution in executions:
        brought = len(answer["version"]) >= SHORT_COMMIT and execution["revision"].startswith(answer["version"])
        if brought and execution["started"]:
            return round(answer["at"] - execution["started"], 1)
    return None
