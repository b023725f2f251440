"""The learner's machine fails: full disk, wrong clock, no directory for temporary files, no network. One clear line each.

Each script runs in its own namespaces, in which the disk is really full and there really is no network. The clock is
simulated by AWS's response to a signature of an hour ago.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tests.support.desk import IDENTITY, Desk, copy_of_checkout
from tests.support.faulty_proxy import FaultyProxy
from tests.support.fixtures import Figure
from tests.support.names import CLUSTER, ROLE_ARN, TOKEN
from tests.support.paths import FAKES, ROOT

pytestmark = pytest.mark.services
IMAGE = "111122223333.dkr.ecr.us-east-2.amazonaws.com/app@sha256:" + "0" * 64
#: Every script that needs temporary files, with valid arguments.
CALLS: dict[str, tuple[str, ...]] = {
    "authorize-role.sh": (),
    "budget.sh": (),
    "build/check-findings.sh": (f"111122223333.dkr.ecr.us-east-2.amazonaws.com/app@sha256:{'a' * 64}", "HIGH"),
    "check-github.sh": (),
    "certify.sh": ("--yes",),
    "build/connect.sh": (CLUSTER, ROLE_ARN),
    "build/content-tag.sh": (),
    "create-cluster.sh": (),
    "create-role.sh": (),
    "create-stack.sh": (),
    "build/deploy.sh": (IMAGE,),
    "build/find-image.sh": ("111122223333.dkr.ecr.us-east-2.amazonaws.com/app", "a" * 40),
    "build/install-kubectl.sh": ("bin",),
    "build/pull-base.sh": (),
    "learner-policy.sh": ("stack",),
    "leftovers.sh": (),
    "preflight.sh": (),
    "setup-cluster.sh": (),
    "status.sh": (),
    "teardown.sh": ("--yes",),
}
#: Scripts whose first call to AWS gets the caller's identity.
ASKING = (
    "authorize-role.sh",
    "budget.sh",
    "create-cluster.sh",
    "create-role.sh",
    "create-stack.sh",
    "learner-policy.sh",
    "leftovers.sh",
    "status.sh",
    "teardown.sh",
)
NO_ANSWER = (
    "AWS is unreachable or returns errors: check the network, and HTTPS_PROXY if you use a proxy, then try again"
)
CLOCK = "AWS rejects requests because your computer's clock is wrong: synchronise it, then try again"
FULL = 'mount -t tmpfs -o size=8k full "{0}"; head -c 100000 /dev/zero >"{0}/full" 2>/dev/null || true'


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A checkout, stand-ins that answer by rule, and a GitHub that accepts the token."""
    desk = Desk(tmp_path / "desk", copy_of_checkout(tmp_path / "checkout"))
    for name in ("Dockerfile", ".dockerignore", "deployment.yml"):
        shutil.copy(ROOT / name, desk.checkout)
    desk.answer(*IDENTITY[:2], **IDENTITY[2])
    desk.answer("aws", "describe-cluster .*authenticationMode", stdout="API_AND_CONFIG_MAP\n")
    desk.answer("curl", "", real=str(FAKES / "github.sh"))
    desk.answer("kubectl", "get namespace", stdout="")
    return desk


def confined(
    desk: Desk, script: str, setup: str = ":", network: bool = True, **environment: str
) -> CompletedProcess[str]:
    """Run a script in its own namespaces, after some setup commands."""
    options = ["--mount", *([] if os.geteuid() == 0 else ["--map-root-user"]), *([] if network else ["--net"])]
    inside = desk.checkout / "inside"
    inside.write_text(
        f'#!/bin/sh\nexec unshare {" ".join(options)} sh -euc \'{setup}; cd "$PWD"; exec "$@"\' inside "$@"\n',
        encoding="utf-8",
    )
    inside.chmod(0o755)
    given = {"GITHUB_TOKEN": TOKEN, "ANSWER": "200 repo", "KUBECONFIG": str(desk.home / "kubeconfig")}
    given |= {"BUDGET_EMAIL": "ann@example.com"} | environment
    return desk.run("../inside", f"scripts/{script}", *CALLS[script], timeout=90, **given)


def changed(desk: Desk) -> list[str]:
    """Return the calls that may have changed something."""
    verbs = ("create", "delete", "put", "update-", "apply", "patch", "label", "continue")
    calls = [" ".join(call) for call in desk.calls()]
    return [call for call in calls if any(f" {verb}" in call for verb in verbs) and "kubeconfig" not in call]


def said(done: CompletedProcess[str], line: str) -> bool:
    """Whether it failed and this is its last line."""
    return done.returncode == 1 and done.stderr.splitlines()[-1:] == [line]


def assert_all(good: dict[str, bool]) -> None:
    assert [script for script, is_good in good.items() if not is_good] == []


def test_no_script_is_forgotten() -> None:
    """together.sh itself needs no file but that of its commands' output."""
    common = [path for path in (ROOT / "scripts").rglob("*.sh") if "source scripts/lib/common.sh\n" in path.read_text()]
    assert {str(path.relative_to(ROOT / "scripts")) for path in common} - {"build/together.sh"} == set(CALLS)


def test_unwritable_tmpdir(desk: Desk, figure: Figure) -> None:
    line = "cannot write to /proc: free some space there, or set TMPDIR to another directory"
    good = {}
    for script in CALLS:
        done = confined(desk, script, TMPDIR="/proc")
        good[script] = said(done, line) and len(done.stderr.splitlines()) == 1
    figure("/tmp is not writable: one line, no calls", f"{sum(good.values())} of {len(CALLS)} scripts")
    assert_all(good)
    assert desk.calls() == []


def test_full_disk(desk: Desk, figure: Figure) -> None:
    full = desk.home / "full"
    full.mkdir()
    line = f"cannot write to {full}: free some space there, or set TMPDIR to another directory"
    good = {}
    for script in CALLS:
        done = confined(desk, script, FULL.format(full), TMPDIR=str(full))
        good[script] = said(done, line) and len(done.stderr.splitlines()) == 1
    figure("the disk is full: one line, no calls", f"{sum(good.values())} of {len(CALLS)} scripts")
    assert_all(good)
    assert desk.calls() == []


def test_no_space_for_the_python_environment(desk: Desk, figure: Figure) -> None:
    cache = desk.home / "cache"
    cache.mkdir()
    desk.answer("kubectl", "get configmap/aws-auth", stdout="{}")
    done = confined(desk, "authorize-role.sh", FULL.format(cache), XDG_CACHE_HOME=str(cache))
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("cannot ")]
    assert "No space left on device" in line
    figure("no space for the Python environment: one line, cluster unchanged", f"{not changed(desk):d} of 1")
    assert changed(desk) == []


def test_checkout_may_be_read_only(desk: Desk) -> None:
    """If the checkout is on a full or read-only disk, the scripts work as long as there is space elsewhere."""
    desk.answer("aws", "get-role ", stdout=f"{ROLE_ARN}\n")
    done = confined(
        desk,
        "create-role.sh",
        'mount --bind "$PWD" "$PWD"; mount -o remount,ro,bind "$PWD"; ! touch "$PWD/x" 2>/dev/null',
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def late() -> Iterator[str]:
    """An endpoint that rejects every signature as an hour old."""
    proxy = FaultyProxy("http://127.0.0.1:9", plan=lambda _: "skewed")
    with proxy.serving():
        yield proxy.url


def real(desk: Desk, *tools: str) -> None:
    """Use the real tools."""
    for tool in tools:
        desk.answer(tool, "", real=str(shutil.which(tool)))


KEYS = {
    "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI",
    "AWS_EC2_METADATA_DISABLED": "true",
}
FEW = ("create-role.sh", "preflight.sh")


def wrong_clock(desk: Desk, url: str, scripts: tuple[str, ...]) -> dict[str, bool]:
    real(desk, "aws")
    good = {}
    for script in scripts:
        done = confined(desk, script, AWS_ENDPOINT_URL=url, AWS_MAX_ATTEMPTS="1", **KEYS)
        good[script] = said(done, CLOCK) or reported(done, CLOCK)
    return good


def reported(done: CompletedProcess[str], line: str) -> bool:
    """Whether preflight.sh reports the account with the error's own words and this line."""
    accounts = [each for each in done.stdout.splitlines() if each.startswith("FAILED  account     ")]
    return done.returncode == 1 and len(accounts) == 1 and accounts[0].endswith(f": {line}")


def test_wrong_clock(desk: Desk, late: str, figure: Figure) -> None:
    good = wrong_clock(desk, late, FEW)
    figure("the clock is an hour off: one line (sample)", f"{sum(good.values())} of {len(FEW)} scripts")
    assert_all(good)


@pytest.mark.slow
def test_wrong_clock_for_each_script(desk: Desk, late: str, figure: Figure) -> None:
    good = wrong_clock(desk, late, ASKING)
    figure("the clock is an hour off: one line", f"{sum(good.values())} of {len(ASKING)} scripts")
    assert_all(good)


def no_network(desk: Desk, scripts: tuple[str, ...]) -> dict[str, bool]:
    real(desk, "aws", "curl")
    lines = {
        "check-github.sh": "GitHub: api.github.com cannot be reached: check the network, and HTTPS_PROXY if you use a proxy",
        "build/connect.sh": "cannot get the endpoint of cluster eksctl-demo in us-east-2: fix the error above, then run this again",
        "build/install-kubectl.sh": "cannot fetch https://dl.k8s.io/release/stable-1.36.txt: check the network, and HTTPS_PROXY if you use a proxy",
    }
    good = {}
    for script in scripts:
        if script == "build/install-kubectl.sh":
            desk.answer("kubectl", "version", stdout='"minor": "30"\n"minor": "36"\n')  # too old for the cluster
        done = confined(desk, script, network=False, AWS_MAX_ATTEMPTS="1", **KEYS)
        good[script] = (
            reported(done, NO_ANSWER) if script == "preflight.sh" else said(done, lines.get(script, NO_ANSWER))
        )
    return good


def test_no_network(desk: Desk, figure: Figure) -> None:
    good = no_network(desk, FEW)
    figure("no network: one line (sample)", f"{sum(good.values())} of {len(FEW)} scripts")
    assert_all(good)


@pytest.mark.slow
def test_no_network_for_each_script(desk: Desk, figure: Figure) -> None:
    scripts = (*ASKING, "check-github.sh", "build/connect.sh", "build/install-kubectl.sh")
    good = no_network(desk, scripts)
    figure("no network: one line", f"{sum(good.values())} of {len(scripts)} scripts")
    assert_all(good)
