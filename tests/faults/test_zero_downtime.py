"""Nobody who asks is turned away: not by releases, nor an undo, a node that is drained, or the autoscaler.

Fifty requests a second on kept connections and fifty more on a new connection each, in a kept rehearsal; none is
repeated, so each one that fails counts.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from benchmarks.load import Load
from rehearsal.tutorial import APP
from rehearsal.waiting import until
from tests.support.fixtures import Figure, Rehearsal
from tests.support.releases import Releases

pytestmark = [pytest.mark.rehearsal, pytest.mark.slow, pytest.mark.timeout(300)]

ROLLOUTS = 10


@pytest.fixture(scope="module", name="releases")
def _releases(stack: Rehearsal, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Releases]:
    releases = Releases(stack, tmp_path_factory.mktemp("releases"))
    yield releases
    releases.restore()


def test_rollouts(releases: Releases, figure: Figure) -> None:
    images = [releases.image("blue"), releases.image("green")]
    took = []
    with Load(releases.address()) as load:
        for number in range(ROLLOUTS):
            run = releases.deploy(images[number % 2])
            assert run.code == 0, run.log
            took.append(run.seconds)
        releases.settle()
    load.assert_none_lost()
    assert load.versions["blue"] > 0 < load.versions["green"]
    figure("ten rollouts lose no request", f"{load}, each {min(took):.1f} to {max(took):.1f} s")


def test_an_undo(releases: Releases, figure: Figure) -> None:
    assert releases.deploy(releases.image("red")).code == 0
    releases.settle()
    with Load(releases.address()) as load:
        releases.kubectl("rollout", "undo", f"deployment/{APP}")
        releases.settle()
    load.assert_none_lost()
    assert len(load.versions) == 2
    figure("a rollback loses no request", load)


def test_a_node_drained(releases: Releases, figure: Figure) -> None:
    """Each node in turn, as for an upgrade of its system; afterwards the pods come back to it."""
    releases.settle()
    with Load(releases.address()) as load:
        for node in ("node-1", "node-2"):
            try:
                releases.kubectl("drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=90s")
                assert node not in releases.pods("{.spec.nodeName}")
            finally:
                releases.kubectl("uncordon", node)
            releases.settle()
    load.assert_none_lost()
    figure("draining each node in turn loses no request", load)


@contextmanager
def scales_down_at_once(releases: Releases) -> Iterator[None]:
    """Without the five minutes for which an autoscaler thinks over whether fewer pods do."""
    patch = {"spec": {"behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}}}}
    releases.kubectl("patch", "hpa", APP, "--type=merge", f"--patch={json.dumps(patch)}")
    try:
        yield
    finally:
        whole = [{"op": "remove", "path": "/spec/behavior"}]
        releases.kubectl("patch", "hpa", APP, "--type=json", f"--patch={json.dumps(whole)}")


def test_the_autoscaler(releases: Releases, figure: Figure) -> None:
    """More requests than two pods should bear make it start others; when they end it stops those."""
    releases.settle()
    address = releases.address()

    def pods() -> int:
        return releases.pods("{.status.conditions[?(@.type=='Ready')].status}{.metadata.deletionTimestamp}").count(
            "True"
        )

    with Load(address) as load, scales_down_at_once(releases):
        until(lambda: pods() == 2, 120, "two pods")
        with Load(address, rate=150) as more:
            most = until(lambda: pods() > 2 and pods(), 120, "more pods")
        until(lambda: pods() == 2, 150, "two pods again")
        releases.settle()
    load.assert_none_lost()
    more.assert_none_lost()
    figure("scaling up and down loses no request", f"{load}, from 2 pods to {most} and back")
