"""Show the latest executions of a pipeline, or how well it delivers. docs/figures.md defines the figures.

    executions.py list <executions.json
    executions.py delivery <executions.json

executions.json is a list of [status, startTime, revisionId, revisionSummary, lastUpdateTime], as ListPipelineExecutions
of the AWS CodePipeline API reference returns them. ``list`` prints the newest three, ``delivery`` one line about all.
"""

from __future__ import annotations

import json
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scripts.lib.is_later import seconds
else:  # it is next to this program
    from is_later import seconds

#: How many executions ``list`` prints.
NEWEST = 3


@dataclass(frozen=True)
class Verdict:
    """An execution that succeeded or failed; its times are in seconds since 1970."""

    succeeded: bool
    started: int
    ended: int


def verdicts(rows: list[list[Any]]) -> list[Verdict]:
    """Return the executions that succeeded or failed, in the order of their ends. Others say nothing about a commit."""
    found = [
        Verdict(status == "Succeeded", seconds(str(started)), seconds(str(ended)))
        for status, started, _, _, ended in rows
        if status in ("Succeeded", "Failed")
    ]
    return sorted(found, key=lambda each: each.ended)


def outages(found: list[Verdict]) -> tuple[list[int], int | None]:
    """Return for how many seconds each series of failures lasted, and since when one lasts that has not ended."""
    lasted, since = [], None
    for each in found:
        if not each.succeeded:
            since = each.ended if since is None else since
        elif since is not None:
            lasted.append(each.ended - since)
            since = None
    return lasted, since


def duration(length: float) -> str:
    """Return seconds in the largest unit of which there are two or more."""
    units = ((86400, "days"), (3600, "hours"), (60, "min"))
    size, unit = next((each for each in units if length >= 2 * each[0]), (1, "s"))
    return f"{length / size:.0f} {unit}"


def delivery(rows: list[list[Any]], now: float) -> str:
    """Return the three figures in one line."""
    found = verdicts(rows)
    if not found:
        return "no execution has succeeded or failed yet"
    leads = [each.ended - each.started for each in found if each.succeeded]
    failed = len(found) - len(leads)
    lasted, since = outages(found)
    parts = [f"live after {duration(median(leads))} (median)" if leads else "none was live"]
    parts.append(f"{failed} of {len(found)} failed ({100 * failed / len(found):.0f}%)")
    if lasted:
        parts.append(f"well again after {duration(median(lasted))} (median)")
    if since is not None:
        parts.append(f"failing for {duration(max(0, now - since))}")
    return ", ".join(parts)


def shown(item: Any) -> str:
    """Return a value as one line of text, without terminal escapes."""
    with suppress(KeyError, TypeError, ValueError):
        item = json.loads(item)["CommitMessage"]  # the source action of a connection wraps the message in JSON
    if isinstance(item, (int, float)):  # a timestamp: version 1 of the AWS CLI, or cli_timestamp_format = wire
        item = datetime.fromtimestamp(int(item), UTC).isoformat()
    return "".join(each if each.isprintable() else "?" for each in str(item or "-").split("\n")[0])


def main() -> None:
    """Run the command line."""
    rows = json.load(sys.stdin)
    if sys.argv[1] == "list":
        for row in rows[:NEWEST]:
            print(*map(shown, row[:4]), sep="  ")
    else:
        print(delivery(rows, time.time()))


if __name__ == "__main__":
    main()
