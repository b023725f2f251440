"""The line of status.sh about how well the pipeline delivers, with made-up histories in both forms of the AWS CLI's times."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from tests.support.desk import IDENTITY, Desk
from tests.support.paths import ROOT

#: Minutes ago, status, minutes from start to end.
History = list[tuple[float, str, float]]
Shown = Callable[[float], Any]


def version_1(seconds: float) -> float:
    """A time as version 1 of the AWS CLI prints it."""
    return round(seconds, 3)


def version_2(seconds: float) -> str:
    """A time as version 2 of the AWS CLI prints it: in the zone of the computer."""
    return datetime.fromtimestamp(seconds, timezone(timedelta(hours=-7))).isoformat()


def rows(history: History, shown: Shown) -> str:
    """The newest execution comes first, as in AWS's answer."""
    now = time.time()
    found = [
        [status, shown(now - 60 * ago), "0123456", "Change", shown(now - 60 * (ago - lasted))]
        for ago, status, lasted in history
    ]
    return json.dumps(found)


def executions(verb: str, given: str) -> str:
    return subprocess.run(
        [sys.executable, ROOT / "scripts" / "lib" / "executions.py", verb],
        input=given, capture_output=True, text=True, check=True, timeout=60,
    ).stdout  # fmt: skip


NONE_YET = "no execution has succeeded or failed yet"
HISTORIES: dict[str, tuple[History, str]] = {
    "no execution": ([], NONE_YET),
    "the first one is in progress": ([(1, "InProgress", 1)], NONE_YET),
    "none had a verdict": ([(1, "Stopping", 1), (2, "Stopped", 1), (3, "Superseded", 1), (4, "Cancelled", 1)], NONE_YET),
    "one": ([(60, "Succeeded", 4)], "live after 4 min (median), 0 of 1 failed (0%)"),
    "one that failed": ([(60, "Failed", 10)], "none was live, 1 of 1 failed (100%), failing for 50 min"),
    "those without a verdict do not count": (
        [(5, "InProgress", 5), (40, "Stopped", 20), (50, "Superseded", 9), (60, "Succeeded", 4), (90, "Cancelled", 1)],
        "live after 4 min (median), 0 of 1 failed (0%)",
    ),
    "the median, not the mean": (
        [(60, "Succeeded", 3), (90, "Succeeded", 60), (120, "Succeeded", 5)],
        "live after 5 min (median), 0 of 3 failed (0%)",
    ),
    "well again, after two failures in a row": (
        [(60, "Succeeded", 10), (80, "Failed", 10), (100, "Failed", 10), (150, "Succeeded", 10)],
        "live after 10 min (median), 2 of 4 failed (50%), well again after 40 min (median)",
    ),
    "well again twice, and failing now": (
        [(3, "InProgress", 3), (15, "Failed", 5), (60, "Succeeded", 5), (80, "Failed", 5), (180, "Succeeded", 5), (240, "Failed", 5)],
        "live after 5 min (median), 3 of 5 failed (60%), well again after 40 min (median), failing for 10 min",
    ),
    "one that began earlier ended later": (  # as after a retry of its failed stage
        [(60, "Failed", 5), (90, "Succeeded", 55)],
        "live after 55 min (median), 1 of 2 failed (50%), well again after 20 min (median)",
    ),
    "seconds, hours and days": (
        [(6, "Succeeded", 1.5), (6000, "Failed", 6)],
        "live after 90 s (median), 1 of 2 failed (50%), well again after 4 days (median)",
    ),
    "hours": ([(400, "Succeeded", 180)], "live after 3 hours (median), 0 of 1 failed (0%)"),
}  # fmt: skip


@pytest.mark.parametrize("shown", [version_1, version_2])
@pytest.mark.parametrize("name", HISTORIES)
def test_figures_of_a_history(name: str, shown: Shown) -> None:
    history, line = HISTORIES[name]
    assert executions("delivery", rows(history, shown)) == f"{line}\n"


@pytest.mark.parametrize(
    ("item", "printed"),
    [("Plain", "Plain"), ('{"ProviderType": 1}', '{"ProviderType": 1}'), ("[1]", "[1]"), ("One\nTwo", "One"), ("\x1b[31mred", "?[31mred")],
)  # fmt: skip
def test_a_message_is_printed_as_one_line_of_text(item: str, printed: str) -> None:
    given = json.dumps([["Failed", 1.7e9, "0123456", item, 1.7e9]])
    assert executions("list", given) == f"Failed  2023-11-14T22:13:20+00:00  0123456  {printed}\n"


@pytest.mark.parametrize("shown", [version_1, version_2])
def test_status_ends_with_the_figures_of_the_last_twenty(shown: Shown, tmp_path: Path) -> None:
    desk = Desk(tmp_path / "desk")
    desk.answer(*IDENTITY[:2], **IDENTITY[2])
    desk.answer(
        "aws", "get-role", stderr="An error occurred (NoSuchEntity) when calling GetRole: no such role", code=254
    )
    desk.answer("aws", "describe-cluster", stderr="An error occurred (ResourceNotFoundException) when", code=254)
    desk.answer("aws", "describe-stacks", stdout="CREATE_COMPLETE\n")
    history: History = [(60 * hour, "Succeeded", 4) for hour in range(1, 6)]
    desk.answer("aws", "list-pipeline-executions", stdout=rows(history, shown))
    done = desk.run("status.sh")
    assert done.returncode == 0, done.stderr
    *_, first, second, third, last = done.stdout.splitlines()
    assert last == "delivery    live after 4 min (median), 0 of 5 failed (0%)"
    for line in (first, second, third):
        assert re.fullmatch(r" {12}Succeeded  20\d\d-\d\d-\d\dT[\d:.]+[+-]\d\d:00  0123456  Change", line), line
    (call,) = [each for each in desk.calls() if "list-pipeline-executions" in each]
    assert call[call.index("--max-items") + 1] == "20"
