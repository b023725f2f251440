"""docs/scale.md: its tables are what its command prints, its words agree with them, and the simulations with theory."""

from __future__ import annotations

import math
import random
import re
import subprocess
import sys

import pytest

from benchmarks import apps, limits
from benchmarks.queueing import PATIENCE, Account, all_ready
from tests.support.paths import ROOT
from tests.support.template import TEMPLATE

RESULTS = ROOT / "benchmarks" / "results" / "apps.md"
PAGE = ROOT / "docs" / "scale.md"


def run(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.apps", *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def tables(text: str) -> list[str]:
    return re.findall(r"^\|.*\n(?:\|.*\n)+", text, re.MULTILINE)


def cells(table: str, first: str) -> list[str]:
    """The cells of the row of a table that begins with this one."""
    (row,) = [line for line in table.splitlines() if line.startswith(f"| {first} |")]
    return [cell.strip() for cell in row.strip("|").split("|")]


def test_tables_of_the_page_are_what_the_command_prints() -> None:
    printed = run()
    assert (printed.stderr, printed.returncode) == ("", 0)
    assert RESULTS.read_text(encoding="utf-8") == printed.stdout, f"python -m benchmarks.apps > {RESULTS}"
    shown = [table for table in tables(PAGE.read_text(encoding="utf-8")) if table.count("\n") > 2]
    assert shown == tables(printed.stdout)


def test_words_of_the_page_agree_with_the_tables() -> None:
    first, day, _, pods = tables(RESULTS.read_text(encoding="utf-8"))
    template = [limit.use for limit in limits.limits(1, 120) if limit.name.startswith("pods")]
    nodes = limits.room_for_pods(0) + limits.SYSTEM + 2 * limits.SYSTEM_A_NODE
    page = " ".join(PAGE.read_text(encoding="utf-8").split())
    assert f"those of {limits.stacks_in_trust(2048)} stacks" in page
    assert f"the quota to 4,096 characters, for {limits.stacks_in_trust(4096)} stacks" in page
    assert f"hold {nodes} pods. Of these, {limits.SYSTEM + 2 * limits.SYSTEM_A_NODE} are EKS's own" in page
    assert f"and {template[0]} places stay free" in page
    assert f"{cells(day, '10')[1].split()[2]} of the pushes to only 10 apps fail" in page
    assert f"need 200 new pods: about {float(cells(pods, '200')[1].split()[0]):.0f} seconds" in page
    assert cells(day, "200")[-1] == "0 s, 0% fail", "With 20 at once, no push to 200 apps waits for long"
    order = [int(row.split("|")[1].replace(",", "")) for row in first.splitlines()[2:]]
    assert order == sorted(order)


def test_what_one_app_uses_is_what_the_files_create() -> None:
    uses = limits.one_app(pushes=2, seconds=90)
    kinds = [each["Type"] for each in TEMPLATE["Resources"].values()]
    assert {kind: uses[kind] for kind in kinds} == {kind: kinds.count(kind) for kind in kinds}
    assert (uses["pods"], uses["load balancers"], uses["builds"]) == (2, 1, 0.05)
    content = (ROOT / "scripts" / "build" / "content-tag.sh").read_text(encoding="utf-8")
    assert len(re.findall(r"^ *print_tag ", content, re.MULTILINE)) == limits.TAGS - len(["cache", "commit"])


def test_room_for_pods_follows_the_settings() -> None:
    assert limits.room_for_pods(2) == 2 * 17 - 2 * 2 - 4 - 2


def test_each_limit_names_its_source() -> None:
    found = limits.limits(1, 120)
    assert len(found) > 10
    assert [each for each in found if not each.source.startswith("https://") or not each.then] == []


def erlang_b(load: float, builds: int) -> float:
    """The part that is refused if nothing may wait (Erlang's loss formula, for any distribution of the durations)."""
    parts = [load**number / math.factorial(number) for number in range(builds + 1)]
    return parts[-1] / sum(parts)


def poisson(rate: float, pushes: int) -> list[tuple[float, int]]:
    """Pushes at random times, each of another app."""
    chance, now, made = random.Random(1), 0.0, []  # noqa: S311 (not a secret)
    for app in range(pushes):
        now += chance.expovariate(rate)
        made.append((now, app))
    return made


@pytest.mark.parametrize(("builds", "load"), [(1, 0.5), (3, 2.0), (5, 4.0)])
def test_refused_builds_follow_erlangs_formula(builds: int, load: float) -> None:
    account = Account(builds, places=0, seconds=10)
    account.run(poisson(load / 10, 40_000))
    assert account.failed / 40_000 == pytest.approx(erlang_b(load, builds), rel=0.05)


def test_waits_of_a_long_queue_follow_pollaczek_and_khinchine() -> None:
    load = 0.7
    account = Account(1, places=10_000, seconds=10)
    account.run(poisson(load / 10, 40_000))
    assert account.failed == 0
    assert sum(account.waits) / len(account.waits) == pytest.approx(10 * load / (2 * (1 - load)), rel=0.1)


def test_one_build_of_an_app_runs_and_only_its_newest_push_waits() -> None:
    account = Account(5, places=25, seconds=60)
    account.run([(0, 1), (1, 1), (2, 1), (3, 1), (10, 2)])
    assert sorted(account.waits) == [0, 0, 57]
    assert account.failed == 0


def test_a_build_that_waits_too_long_is_dropped() -> None:
    account = Account(1, places=5, seconds=PATIENCE * 0.6)
    account.run([(0, app) for app in range(4)])
    assert (account.waits, account.failed) == ([0, PATIENCE * 0.6], 2)
    assert TEMPLATE["Resources"]["CodeBuildProject"]["Properties"]["QueuedTimeoutInMinutes"] * 60 == PATIENCE


def test_model_of_the_control_plane_agrees_with_the_measurement() -> None:
    measured = apps.measured()
    assert len(measured) >= 4
    default = next(iter(apps.CLIENTS.values()))
    for pods, seconds in measured.items():
        assert all_ready(pods, default, measured[1]) == pytest.approx(seconds, rel=0.2), pods


@pytest.mark.parametrize(
    ("option", "value"),
    [("--build-seconds", "x"), ("--build-seconds", "0"), ("--build-seconds", "inf"), ("--pushes-an-hour", "nan")],
)
def test_a_wrong_number_is_refused_in_one_line(option: str, value: str) -> None:
    done = run(option, value)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"argument {option}: give a number from" in done.stderr.splitlines()[-1]
