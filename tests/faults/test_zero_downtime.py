"""No request is lost: during releases, a rollback, the drain of a node, or scaling.

The load is 50 requests a second on kept connections and 50 on new ones, in a kept rehearsal. None is retried, so every
failure counts.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from rehearsal.load import Load
from rehearsal.waiting import until
from tests.support.fixtures import Figure, Rehearsal
from tests.support.names import APP
from tests.support.releases import Releases

pytestmark = [pytest.mark.rehearsal, pytest.mark.slow, pytest.mark.timeout(300)]

ROLLOUTS = 10


@pytest.fixture(scope="module", name="releases")
def _releases(stack: Rehearsal, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Releases]:
    releases = Releases(stack, tmp_path_factory.mktemp("releases"))
    yield releases
    releases.restore()


def test_rollouts_lose_no_request(releases: Releases, figure: Figure) -> None:
    images = [releases.image("blue"), releases.image("green")]
    with Load(releases.address()) as load:
        for number in range(ROLLOUTS):
            run = releases.deploy(images[number % 2])
            assert run.code == 0, run.log
        releases.settle()
    load.assert_none_lost()
    assert load.versions["blue"] > 0 < load.versions["green"]
    figure("ten rollouts lose no request", load)


def test_rollback_loses_no_request(releases: Releases, figure: Figure) -> None:
    assert releases.deploy(releases.image("red")).code == 0
    releases.settle()
    with Load(releases.address()) as load:
        releases.kubectl("rollout", "undo", f"deployment/{APP}")
        releases.settle()
    load.assert_none_lost()
    assert len(load.versions) == 2
    figure("a rollback loses no request", load)


def test_drain_loses_no_request(releases: Releases, figure: Figure) -> None:
    """Each node in turn, as for an upgrade; afterwards pods run on it again."""
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
    """Disable the autoscaler's stabilisation window of five minutes."""
    patch = {"spec": {"behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}}}}
    releases.kubectl("patch", "hpa", APP, "--type=merge", f"--patch={json.dumps(patch)}")
    try:
        yield
    finally:
        whole = [{"op": "remove", "path": "/spec/behavior"}]
        releases.kubectl("patch", "hpa", APP, "--type=json", f"--patch={json.dumps(whole)}")


def test_scaling_loses_no_request(releases: Releases, figure: Figure) -> None:
    """More load than two pods should bear makes it add pods; without the load it removes them."""
    releases.settle()
    address = releases.address()

    def pods() -> int:
        return releases.pods("{.status.conditions[?(@.type=='Ready')].status}{.metadata.deletionTimestamp}").count(
            "True"
        )

    with Load(address) as load, scales_down_at_once(releases):
        until(lambda: pods() == 2, 120, "two pods", pause=0.2)
        with Load(address, rate=150) as more:
            most = until(lambda: pods() > 2 and pods(), 120, "more pods", pause=0.2)
        least = until(lambda: pods() == 2 and pods(), 150, "two pods again", pause=0.2)
        releases.settle()
    load.assert_none_lost()
    more.assert_none_lost()
    figure("scaling up and down loses no request", f"{load}, from ~{most} pods to {least}")
