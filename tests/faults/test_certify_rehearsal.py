"""certify.sh in a kept rehearsal, with real Kubernetes, Docker and git: the whole README, and deviations planted outside."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rehearsal.emulator.client import root
from rehearsal.learner import USER
from scripts.lib.certify.pages import commands
from tests.support.certify import Learner
from tests.support.fixtures import Figure, Rehearsal
from tests.support.inventory import inventory

pytestmark = [pytest.mark.rehearsal, pytest.mark.slow, pytest.mark.timeout(1200)]


@pytest.fixture
def learner(rehearsal: Rehearsal, tmp_path: Path) -> Iterator[Learner]:
    """The rehearsal's learner with nothing created yet; checks that nothing is left."""
    clients: dict[str, Any] = {}

    def client(service: str) -> Any:
        return clients.setdefault(service, root(service))

    before = inventory(client)
    begun = rehearsal.run("git", "rev-parse", "HEAD").stdout.strip()
    found = Learner(rehearsal.checkout, rehearsal.env, tmp_path / "planted")
    yield found
    found.end()
    rehearsal.run("git", "reset", "--quiet", "--hard", begun)
    assert found.left() == []
    assert inventory(client) == before
    shutil.rmtree(found.home)  # its log is what the next run is waited for by


def differences(learner: Learner) -> str:
    return "\n".join(learner.report()["differences"])


def test_clean_run_names_nothing(learner: Learner, figure: Figure, capsys: pytest.CaptureFixture[str]) -> None:
    started = time.monotonic()
    done = learner.run("--yes", timeout=1000)
    report = learner.report()
    with capsys.disabled():
        print(f"\n{done.stdout}")
    assert done.returncode == 0, done.stdout + json.dumps(report, indent=1)
    assert report["differences"] == []
    wanted = [each.line for each in commands(learner.checkout / "README.md") if each.is_run]
    ran = [step["line"] for step in report["steps"]]
    calls = sum(call["times"] for step in report["steps"] for call in step["calls"])
    seconds = time.monotonic() - started
    figure(
        "certify.sh runs the README and finds no difference",
        f"{len(ran)} of {len(wanted)} commands, ~{calls} calls of the AWS CLI recorded, ~{seconds:.0f} s",
    )
    assert ran == wanted
    assert calls > 100


def test_a_quota_is_named(learner: Learner) -> None:
    done = learner.run("--yes", NODE_COUNT="90")
    assert done.returncode == 1
    assert "step 3. Check everything before you pay for anything, line " in differences(learner)
    assert any("vCPU quota" in line for line in learner.report()["steps"][-1]["last_lines"])
    assert learner.report()["teardown"]["left"] == []


def test_a_missing_right_is_named(learner: Learner) -> None:
    denial = {"Effect": "Deny", "Action": "eks:DescribeClusterVersions", "Resource": "*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [denial]})
    root("iam").put_user_policy(UserName=USER, PolicyName="denial", PolicyDocument=document)
    try:
        done = learner.run("--yes")
    finally:
        root("iam").delete_user_policy(UserName=USER, PolicyName="denial")
    assert done.returncode == 1
    assert "aws eks describe-cluster-versions: AccessDenied" in differences(learner)
    assert learner.report()["teardown"]["left"] == []


def test_a_failed_build_is_named(learner: Learner) -> None:
    with (learner.checkout / "tests" / "test_app.py").open("a", encoding="utf-8") as file:
        file.write("\n\ndef test_that_fails() -> None:\n    assert False\n")
    commit = ["git", "commit", "--quiet", "--all", "--message", "Break a test"]
    subprocess.run(commit, cwd=learner.checkout, check=True, timeout=60)
    done = learner.run("--yes", timeout=1000)
    assert done.returncode == 1
    assert "step 9. See the first release, line " in differences(learner)
    assert "expected 'Succeeded', got 'Failed'" in differences(learner)
    assert learner.report()["teardown"]["left"] == [], done.stdout


def test_teardown_finishes_after_a_kill_while_the_cluster_is_created(learner: Learner) -> None:
    learner.interrupt(learner.start("--yes"), signal.SIGKILL, learner.wait_for("==> Create the cluster"))
    done = learner.run("--teardown", timeout=600)
    assert "step 4. Create the cluster, line " in differences(learner)
    assert "the run was killed" in differences(learner)
    assert learner.report()["teardown"]["left"] == [], done.stdout
