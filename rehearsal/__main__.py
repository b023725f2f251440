"""``python -m rehearsal``: runs a rehearsal, shows or stops a kept one, or cleans up. scripts/rehearse.sh calls this."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def main() -> int:
    """Parse the command line and return an exit code: 0 done, 1 failed, 2 wrong arguments."""
    parser = argparse.ArgumentParser(prog="scripts/rehearse.sh", description="Rehearse the tutorial on this machine.")
    parser.add_argument(
        "action", nargs="?", choices=("run", "practice", "status", "env", "stop", "clean"), default="run"
    )
    parser.add_argument("what", nargs="?", help="of practice: list, hint, check, solution, reset, or an exercise")
    parser.add_argument(
        "--keep", action="store_true", help="leave everything running, so that you can follow the README by hand"
    )
    parser.add_argument("--app", type=Path, metavar="DIR", help="rehearse with your own Flask app, and report on it")
    parser.add_argument("--record", type=Path, metavar="FILE", help="write a replay: one HTML file")
    parser.add_argument("--from", dest="caller", type=Path, default=Path(), help="what DIR is relative to")
    parser.add_argument("--verbose", action="store_true", help="show all output of every step")
    parser.add_argument("--without-cluster", action="store_true", help="only what needs neither root nor Docker")
    given = parser.parse_args()
    if given.what and given.action != "practice":
        parser.error(f"{given.action} takes no {given.what}")
    if given.action != "run" and (given.app or given.keep or given.record or given.verbose or given.without_cluster):
        parser.error(f"{given.action} takes no options")
    if (given.keep or given.app) and given.without_cluster:
        parser.error(f"{'--keep' if given.keep else '--app'} and --without-cluster cannot be combined")
    if given.record and (given.app or given.keep or given.without_cluster):
        parser.error("--record records the whole tutorial, without --app, --keep and --without-cluster")
    from rehearsal.actions import act  # noqa: PLC0415 - takes a second, for which a wrong argument need not wait

    return act(given)


if __name__ == "__main__":
    sys.exit(main())
