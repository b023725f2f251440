"""Fixtures that several test files share."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from rehearsal import reader

ROOT = Path(__file__).resolve().parent.parent


#: Files whose tests need the machine, of which there is one a host at a time. The first ones start and end machines of
#: their own, so they come before those that share a kept one.
MACHINE = (
    "test_rehearsal_machine",
    "test_rehearsal_kubernetes",
    "test_rehearse",
    "test_readme",
    "test_eks_identity",
    "test_rehearsal_engine",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests that need the machine into one order, behind the others of their files."""

    def place(item: pytest.Item) -> int:
        name = item.path.stem
        return 1 + MACHINE.index(name) if "rehearsal" in item.keywords and name in MACHINE else 0

    items.sort(key=place)


class OneMachine(LoadScopeScheduling):
    """Gives all files of ``MACHINE`` to one worker, the largest lot and so the first; the other tests run beside it."""

    def _split_scope(self, nodeid: str) -> str:
        return "machine" if Path(nodeid.partition("::")[0]).stem in MACHINE else nodeid


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> OneMachine:
    """Tell xdist how to spread the tests (its marker for groups does nothing under this pytest)."""
    return OneMachine(config, log)


@dataclass(frozen=True)
class Rehearsal:
    """A kept rehearsal as its reader finds it: a shell environment and a checkout."""

    env: dict[str, str]
    checkout: Path

    def run(self, *args: str, timeout: float = 120, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command as the reader."""
        return subprocess.run(
            args, env=self.env, cwd=self.checkout, capture_output=True, text=True, timeout=timeout, check=check
        )


@pytest.fixture(scope="session")
def rehearsal() -> Iterator[Rehearsal]:
    """AWS, GitHub and Docker on this machine, with no cluster and no stack yet; ended with the session."""
    started = subprocess.run(
        [ROOT / "scripts" / "rehearse.sh", "--keep"], capture_output=True, text=True, timeout=1800, check=False
    )
    assert started.returncode == 0, started.stdout + started.stderr
    try:
        yield Rehearsal(reader.recall(), reader.checkout_path())
    finally:
        subprocess.run([ROOT / "scripts" / "rehearse.sh", "stop"], check=True, timeout=120, capture_output=True)


@pytest.fixture(scope="session")
def cluster(rehearsal: Rehearsal) -> Rehearsal:
    """The rehearsal with the cluster and the kubectl role, made by scripts/setup-cluster.sh."""
    rehearsal.run("scripts/setup-cluster.sh", timeout=600)
    return rehearsal


@pytest.fixture(scope="session")
def stack(cluster: Rehearsal) -> Rehearsal:
    """The rehearsal with the stack too, made by scripts/create-stack.sh."""
    cluster.run("scripts/create-stack.sh", timeout=300)
    return cluster
