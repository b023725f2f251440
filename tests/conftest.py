"""Fixtures that several files share, and the order in which the tests run."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from rehearsal import learner
from rehearsal.sandbox import footprint
from tests.support import figures
from tests.support.account import Aws, started_account
from tests.support.fixtures import Figure, Rehearsal, WholeRehearsal
from tests.support.paths import FAKES, ROOT
from tests.support.process_list import ProcessList
from tests.support.tracing import warm_aws

#: Files whose tests need the machine. There is one machine per host, so these files run one after another.
MACHINE = {file.stem for file in (ROOT / "tests").rglob("test_*.py") if "pytest.mark.rehearsal" in file.read_text()}
#: Run first: files that start and stop machines of their own, and those that start with nothing created. The others share
#: what the fixtures create.
FIRST = (
    "test_sandbox",
    "test_kubernetes",
    "test_rehearse",
    "test_interrupted_cluster",
    "test_readme",
    "test_certify_rehearsal",
)
#: Run last: files that count lost requests, when no other tests compete for the processors. The one that cuts off nodes
#: comes at the very end.
LAST = ("test_promotions", "test_zero_downtime", "test_releases")
assert {*FIRST, *LAST} <= MACHINE, "a file was renamed"
#: The figures of this run.
FIGURES = pytest.StashKey[figures.Record]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the tests that need the machine; the other tests of their files come before them."""

    def place(item: pytest.Item) -> int:
        if "rehearsal" not in item.keywords:
            return -len(FIRST) - 1
        name = item.path.stem
        if name in FIRST:
            return FIRST.index(name) - len(FIRST)
        return LAST.index(name) + 1 if name in LAST else 0

    items.sort(key=place)


class OneMachine(LoadScopeScheduling):
    """Assigns all files of ``MACHINE`` to one worker; the other workers run the other tests."""

    def _split_scope(self, nodeid: str) -> str:
        return "machine" if Path(nodeid.partition("::")[0]).stem in MACHINE else nodeid


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Lower the priority of tests that do not need the machine, since the others take longest."""
    if "PYTEST_XDIST_WORKER" in os.environ and item.path.stem not in MACHINE and os.nice(0) == 0:
        os.nice(5)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> OneMachine:
    """Set the scheduler, since xdist's own marker for groups has no effect in this version of pytest."""
    return OneMachine(config, log)


@pytest.fixture
def figure(record_property: Callable[[str, object], None]) -> Figure:
    """Return a function that records a figure for a promise of tests/README.md (tests/support/figures.py)."""

    def record(promise: str, value: object) -> None:
        record_property("figure", [promise, str(value)])

    return record


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Keep the figures of this run, and fail the run if the record contradicts one."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or hasattr(session.config, "workerinput"):
        return
    run: figures.Record = {}
    for report in [*reporter.stats.get("passed", []), *reporter.stats.get("failed", [])]:
        for name, value in report.user_properties:
            if name == "figure":
                run.setdefault(value[0], {})[report.nodeid] = value[1]
    session.config.stash[FIGURES] = run
    if run:
        figures.LAST_RUN.parent.mkdir(parents=True, exist_ok=True)
        figures.LAST_RUN.write_text(json.dumps(run), encoding="utf-8")
    if session.exitstatus == pytest.ExitCode.OK and any(figures.contradictions(run, figures.recorded())):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print the figures of this run, and those that the record contradicts."""
    if run := config.stash.get(FIGURES, {}):
        terminalreporter.section("figures")
        for promise, values in run.items():
            terminalreporter.write_line(f"| {promise} | {figures.together(values.values())} |")
    if found := list(figures.contradictions(run, figures.recorded())):
        terminalreporter.section("figures that tests/record.json contradicts", red=True)
        for line in found:
            terminalreporter.write_line(line)
        terminalreporter.write_line("If these are right, run python -m tests.support.figures and commit.")


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aws]:
    """An account on a free port of the loopback address, one for each file."""
    with started_account(tmp_path_factory.mktemp("aws")) as account:
        yield account


@pytest.fixture(scope="module")
def cli(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The real AWS CLI, imported once for each file: its start takes longer than its calls."""
    directory = tmp_path_factory.mktemp("cli")
    with warm_aws(directory) as variables:
        program = directory / "aws"
        program.write_text(f'#!/bin/sh\nWARM_AWS={variables["WARM_AWS"]} exec {FAKES / "aws.py"} "$@"\n')
        program.chmod(0o755)
        yield program


@pytest.fixture(scope="session")
def whole_rehearsal(tmp_path_factory: pytest.TempPathFactory) -> WholeRehearsal:
    """Rehearse the whole tutorial and record it, once for all tests that check the result."""
    replay = tmp_path_factory.mktemp("whole") / "replay.html"
    before, processes = footprint.snapshot(), ProcessList()
    with processes.watched():
        done = subprocess.run(
            [ROOT / "scripts" / "rehearse.sh", "--record", replay],
            capture_output=True,
            text=True,
            timeout=1400,
            check=False,
        )
    return WholeRehearsal(done, processes, footprint.difference(before, footprint.snapshot()), replay)


@pytest.fixture(scope="session")
def rehearsal() -> Iterator[Rehearsal]:
    """AWS, GitHub and Docker on this machine, with no cluster and no stack yet; stopped with the session."""
    started = subprocess.run(
        [ROOT / "scripts" / "rehearse.sh", "--keep"], capture_output=True, text=True, timeout=1800, check=False
    )
    assert started.returncode == 0, started.stdout + started.stderr
    try:
        yield Rehearsal(learner.recall(), learner.checkout_path())
    finally:
        subprocess.run([ROOT / "scripts" / "rehearse.sh", "stop"], check=True, timeout=120, capture_output=True)


@pytest.fixture(scope="session")
def cluster(rehearsal: Rehearsal) -> Rehearsal:
    """The rehearsal with the cluster and the kubectl role, created by scripts/setup-cluster.sh."""
    rehearsal.run("scripts/setup-cluster.sh", timeout=600)
    return rehearsal


@pytest.fixture(scope="session")
def stack(cluster: Rehearsal) -> Rehearsal:
    """The rehearsal with the stack too, created by scripts/create-stack.sh."""
    cluster.run("scripts/create-stack.sh", timeout=300)
    return cluster
