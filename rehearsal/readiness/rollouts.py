"""Rolls the app out, undoes that and drains a node in the rehearsal's cluster, and counts the requests lost meanwhile."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

from rehearsal import waiting
from rehearsal.load import Load
from rehearsal.readiness.manifest import Manifest
from rehearsal.readiness.trial import answered
from rehearsal.tutorial import NAMESPACE

NODE = "node-1"


@dataclass(frozen=True)
class Event:
    """Something that replaces pods, and the requests sent and lost meanwhile; ``reasons`` are those of the lost ones."""

    name: str
    sent: int
    reasons: tuple[str, ...] = ()


class Rollouts:
    """The live app.

    Args:
        kubectl: runs kubectl as the cluster's administrator, in the learner's environment.
        manifest: the names of its objects.
        url: where the load is sent, at the load balancer.
    """

    def __init__(self, kubectl: Callable[..., str], manifest: Manifest, url: str) -> None:
        self.kubectl = kubectl
        self.deployment = f"deployment/{manifest.deployment}"
        self.headers = manifest.headers
        self.url = url

    def events(self) -> list[Event]:
        """Cause each event in turn."""
        return [
            self._event("a rollout", lambda: self._in_namespace("rollout", "restart", self.deployment)),
            self._event("an undo", lambda: self._in_namespace("rollout", "undo", self.deployment)),
            self._event("a drain", self._drain),
        ]

    def restarts(self) -> int:
        """Return how often containers were restarted."""
        pods = json.loads(self._in_namespace("get", "pods", "--output=json"))["items"]
        return sum(one["restartCount"] for pod in pods for one in pod["status"].get("containerStatuses", []))

    def _event(self, name: str, cause: Callable[[], object]) -> Event:
        self._settle()
        with Load(self.url, headers=self.headers, read=answered) as load:
            cause()
            self._settle()
        return Event(name, load.total, tuple(f"{loss.kind} {loss.reason}" for loss in load.lost))

    def _drain(self) -> None:
        try:
            self.kubectl("drain", NODE, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=90s")
        finally:
            self.kubectl("uncordon", NODE)

    def _settle(self) -> None:
        """Wait until no rollout is in progress and no pod is terminating."""
        self._in_namespace("rollout", "status", self.deployment, "--timeout=90s")
        waiting.until(
            lambda: "deletionTimestamp" not in self._in_namespace("get", "pods", "--output=json"),
            90,
            "pods to end",
            pause=0.5,
        )

    def _in_namespace(self, *args: str) -> str:
        return self.kubectl("--namespace", NAMESPACE, *args)
