"""Rollouts under load, with deployment.yml as it is and with one setting changed: how long they take, what they lose.

The load is 50 requests a second on kept connections and 50 on new ones.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from copy import deepcopy
from typing import Any

from benchmarks.figures import Context, Figure
from benchmarks.releases import APP, Releases
from rehearsal.load import Load
from rehearsal.tutorial import NAMESPACE

#: Changes a Deployment's spec in place.
Change = Callable[[dict[str, Any]], None]


def _as_it_is(_spec: dict[str, Any]) -> None:
    """Change nothing."""


def _pre_stop(seconds: int) -> Change:
    def change(spec: dict[str, Any]) -> None:
        _container(spec)["lifecycle"] = {"preStop": {"sleep": {"seconds": seconds}}} if seconds else {}

    return change


def _nothing_before_the_end(spec: dict[str, Any]) -> None:
    """Remove the pause before SIGTERM and the one after it."""
    _pre_stop(0)(spec)
    at_once = "sed 's/^DRAIN_SECONDS = .*/DRAIN_SECONDS = 0/' gunicorn.conf.py >/dev/shm/conf.py"
    _container(spec)["command"] = ["sh", "-c", f"{at_once} && exec gunicorn --config /dev/shm/conf.py"]


def _min_ready(seconds: int) -> Change:
    def change(spec: dict[str, Any]) -> None:
        spec["minReadySeconds"] = seconds

    return change


def _one_at_a_time(spec: dict[str, Any]) -> None:
    spec["strategy"]["rollingUpdate"] = {"maxSurge": 1, "maxUnavailable": 0}


def _readiness(seconds: int) -> Change:
    def change(spec: dict[str, Any]) -> None:
        _container(spec)["readinessProbe"]["periodSeconds"] = seconds

    return change


def _container(spec: dict[str, Any]) -> dict[str, Any]:
    container: dict[str, Any] = spec["template"]["spec"]["containers"][0]
    return container


AS_IT_IS = "deployment.yml as it is"
VARIANTS: dict[str, Change] = {
    AS_IT_IS: _as_it_is,
    "preStop 2 s in place of 5": _pre_stop(2),
    "no preStop": _pre_stop(0),
    "no preStop, and no pause in gunicorn.conf.py": _nothing_before_the_end,
    "minReadySeconds 0 in place of 2": _min_ready(0),
    "minReadySeconds 10": _min_ready(10),
    "maxSurge 1 in place of 100%": _one_at_a_time,
    "readiness asked each second, not each five": _readiness(1),
}


def measure(context: Context) -> list[Figure]:
    """Measure a rollout with each variant."""
    releases = Releases(context)
    spec = json.loads(releases.kubectl("deployment", APP, "{.spec}"))
    seen: dict[str, tuple[list[float], str]] = {}
    try:
        for name, change in VARIANTS.items():
            varied = deepcopy(spec)
            change(varied)
            # Roll out once first: the pods that a measured rollout terminates must have the variant too.
            _roll(releases, varied)
            with Load(releases.address) as load:
                times = [_roll(releases, varied) for _ in range(context.repetitions)]
            seen[name] = times, f"{len(load.lost)} of {load.total} requests lost"
            context.say(f"rollouts, {name}: {max(times):.1f} s at most, {seen[name][1]}")
    finally:
        _roll(releases, spec)
    ours, lost = seen.pop(AS_IT_IS)
    return [
        Figure(f"a rollout under load, {AS_IT_IS}", "s", ours, note=lost),
        *(Figure(f"a rollout under load, {name}", "s", times, AS_IT_IS, ours, note=lost)
          for name, (times, lost) in seen.items()),
    ]  # fmt: skip


def _roll(releases: Releases, spec: dict[str, Any]) -> float:
    """Replace all pods and wait until the old ones are gone; return the seconds until the rollout was complete."""
    template = deepcopy(spec["template"])
    template["metadata"].setdefault("annotations", {})["benchmark"] = str(time.time_ns())
    whole = {"minReadySeconds": spec["minReadySeconds"], "strategy": spec["strategy"], "template": template}
    patch = [{"op": "replace", "path": f"/spec/{name}", "value": value} for name, value in whole.items()]
    begin = time.monotonic()
    releases.run("kubectl", "patch", "deployment", APP, "-n", NAMESPACE, "--type=json", f"--patch={json.dumps(patch)}")
    releases.await_rollout()
    took = time.monotonic() - begin
    releases.settle()
    return took
