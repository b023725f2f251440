"""cost.py counts what is billed by the hour and names what is billed by use."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.support.paths import ROOT


def cost(*arguments: str) -> str:
    return subprocess.run(
        [sys.executable, ROOT / "scripts" / "lib" / "cost.py", *arguments],
        capture_output=True, text=True, check=True, timeout=60,
    ).stdout.strip()  # fmt: skip


@pytest.mark.parametrize(
    ("node_type", "nodes", "surplus"),
    [("t3.medium", "2", "$0.16"), ("t3.medium", "3", "$0.24"), ("t3.large", "2", "$0.14"), ("t4g.medium", "2", "$0.13")],
)  # fmt: skip
def test_credits_cost_what_is_above_the_baseline(node_type: str, nodes: str, surplus: str) -> None:
    """Two vCPUs with a baseline of 20% (large: 30%), at $0.05 an hour (T4g: $0.04)."""
    assert f"up to {surplus} an hour of CPU credits" in cost(node_type, nodes)


def test_names_everything_that_is_billed_by_use() -> None:
    _, by_use = cost("t3.medium", "2").split("; and ")
    assert re.sub(r"[\d.]+", "N", by_use) == (
        "$N an hour of builds, up to $N an hour of CPU credits while all nodes are busy, $N a GB of answers, "
        "$N a GB of logs, $N and $N a GB and month of images and artifacts"
    )
    assert "credits" not in cost("m5.large", "2")


def test_a_limit_includes_builds_and_busy_nodes() -> None:
    """An hour: 0.238 for what exists, 0.42 for builds, 0.16 for credits, rounded up to ten cents."""
    assert cost("t3.medium", "2", "60") == "$0.90"
    assert cost("x9.large", "2", "60") == "unknown"
