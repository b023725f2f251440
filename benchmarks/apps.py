"""What bends first when one pipeline becomes a hundred apps: the tables of docs/scale.md, which need no AWS and no cluster.

Usage: python -m benchmarks.apps [--build-seconds SECONDS] [--pushes-an-hour NUMBER]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from functools import partial

from benchmarks import limits
from benchmarks.figures import read
from benchmarks.queueing import Account, all_ready, working_days

RESULTS = limits.ROOT / "benchmarks" / "results" / "results.json"
APPS = (10, 50, 100, 200)
#: How many builds run at once, and how many more may wait: five for each in CodeBuild's user guide ("Builds in AWS
#: CodeBuild"), none in what users of new accounts report.
ACCOUNTS = ((1, 0), (1, 5), (5, 25), (20, 0), (20, 100))
#: Calls a second and burst of kube-controller-manager, which creates pods, and of kube-scheduler, which binds them to nodes:
#: the defaults of Kubernetes 1.36, the first raised, both raised.
CLIENTS = {
    "model: 20 and 50": ((20, 30), (50, 100)),
    "model: 100 and 50": ((100, 200), (50, 100)),
    "model: 100 and 100": ((100, 200), (100, 200)),
}
PODS = (1, 10, 50, 200, 600)


def measured() -> dict[int, float]:
    """Return the measured seconds until so many pods on simulated nodes are ready."""
    _, _, _, curves = read(json.loads(RESULTS.read_text(encoding="utf-8")))
    (curve,) = [each for each in curves if each.name == "simulated nodes"]
    return {int(pods): seconds for pods, seconds in curve.points}


def builds(simulate: Callable[[int, Account], str], seconds: float) -> str:
    """Return a table with what a simulation says of each number of apps in each account."""
    heads = [f"{running} at once, {places or 'none'} may wait" for running, places in ACCOUNTS]
    rows = [[f"{apps}", *(simulate(apps, Account(*account, seconds)) for account in ACCOUNTS)] for apps in APPS]
    return _table(["apps", *heads], rows)


def in_a_day(pushes: float, apps: int, account: Account) -> str:
    """Push each app at random times, and say how long 95 of 100 builds wait at most, and how many fail."""
    working_days(apps, pushes, account)
    return f"{account.wait(0.95):.0f} s, {account.failed / (account.failed + len(account.waits)):.0%} fail"


def all_at_once(apps: int, account: Account) -> str:
    """Push every app at the same time, and say when the last build ends, and how many fail."""
    account.run((0, app) for app in range(apps))
    return f"{account.end / 60:.0f} min, {account.failed} fail"


def pods() -> str:
    """Return a table with the seconds until all pods are ready: measured, and by the model with raised limits."""
    seen = measured()
    rows = []
    for many in PODS:
        modelled = [f"{all_ready(many, clients, seen[1]):.1f} s" for clients in CLIENTS.values()]
        rows.append([f"{many}", f"{seen[many]:.1f} s" if many in seen else "", *modelled])
    return _table(["pods created at once", "measured", *CLIENTS], rows)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(cells)} |" for cells in (heads, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(heads), *lines[1:]]) + "\n"


def report(pushes: float, seconds: float) -> str:
    """Return all tables, as Markdown."""
    return "\n".join(
        [
            f"Pushes an hour to each app: {pushes:g}; seconds a build: {seconds:g}\n",
            limits.table(limits.limits(pushes, seconds)),
            "Pushes at random times: how long 95 of 100 builds wait at most, and how many pushes fail:\n",
            builds(partial(in_a_day, pushes), seconds),
            "All apps pushed at once: when the last build ends, and how many pushes fail:\n",
            builds(all_at_once, seconds),
            "Pods on simulated nodes: seconds until all are ready, by the calls a second of controllers and scheduler:\n",
            pods(),
        ]
    )


def _between(least: float, most: float, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1
    if not least <= number <= most:
        raise argparse.ArgumentTypeError(f"give a number from {least:g} to {most:g}, not {text[:20]!r}")
    return number


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.apps", description=__doc__.partition("\n")[0])
    parser.add_argument("--build-seconds", type=partial(_between, 1, 1800), default=120, help="what one build takes")
    parser.add_argument("--pushes-an-hour", type=partial(_between, 0.01, 60), default=1, help="to each app, on average")
    given = parser.parse_args()
    print(report(given.pushes_an_hour, given.build_seconds), end="")


if __name__ == "__main__":
    main()
