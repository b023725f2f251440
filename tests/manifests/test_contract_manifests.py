"""deployment.yml: how a pod stops."""

from __future__ import annotations

from typing import Any

import yaml

from tests.support.paths import ROOT

DEPLOYMENT: dict[str, Any] = next(iter(yaml.safe_load_all((ROOT / "deployment.yml").read_text(encoding="utf-8"))))


def test_pod_pauses_before_it_stops() -> None:
    """Nodes learn of the changed endpoints some seconds after the kubelet sends SIGTERM."""
    (container,) = DEPLOYMENT["spec"]["template"]["spec"]["containers"]
    lifecycle = container.get("lifecycle", {})
    assert set(lifecycle) == {"preStop"}
    assert 1 <= lifecycle["preStop"].get("sleep", {}).get("seconds", 0) <= 15
