"""Fixtures that several test files share."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from rehearsal import reader

ROOT = Path(__file__).resolve().parent.parent


#: These start and end a machine of their own, and there is one a host at a time: they come before the kept one.
FIRST = ("test_rehearsal_machine", "test_rehearsal_kubernetes", "test_rehearse", "test_readme")


@pytest.hookimpl(tryfirst=True)  # xdist reads the groups in the same hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests that need the machine into one order and one worker; the others run beside them."""

    def place(item: pytest.Item) -> int:
        name = item.path.stem
        if "rehearsal" not in item.keywords:
            return 0
        return 1 + (FIRST.index(name) if name in FIRST else len(FIRST))

    items.sort(key=place)
    for item in items:
        if "rehearsal" in item.keywords:
            item.add_marker(pytest.mark.xdist_group("rehearsal"))


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
