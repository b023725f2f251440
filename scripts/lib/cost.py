"""Print the hourly and daily cost of the tutorial's resources. This is the only place for prices.

    python3 scripts/lib/cost.py NODE_TYPE NODE_COUNT [MINUTES]

With MINUTES, prints instead what they cost at most, with a build in progress all the time, or "unknown". With STAGING=true in
the environment, staging has a load balancer too.

On-demand prices in US dollars for us-east-2, from the pricing pages of Amazon EKS, EC2, EBS, Elastic Load Balancing, VPC,
CodeBuild and Secrets Manager, as of November 2026; other regions differ somewhat. Without MINUTES, builds (CodeBuild
bills by the minute) are not included. Never included: storage (a few cents a month), and CPU credits, $0.05 an hour for
each vCPU that a T3 node uses beyond its baseline.
"""

from __future__ import annotations

import math
import os
import sys
from dataclasses import dataclass

AS_OF = "November 2026, us-east-2"
HOURS_A_MONTH = 730

CONTROL_PLANE = 0.10
LOAD_BALANCER = 0.025
PUBLIC_ADDRESS = 0.005
VOLUME_GB_MONTH = 0.08
SECRET_MONTH = 0.40  # the webhook's; with a connection there is none
BUILD_MINUTE = 0.005  # general1.small, Linux
NODE_TYPES = {"t3.small": 0.0208, "t3.medium": 0.0416, "t3.large": 0.0832, "t3a.medium": 0.0376, "t4g.medium": 0.0336}

VOLUME_GB = 20
ZONES = 3  # eksctl uses three; the load balancer has an address in each


@dataclass(frozen=True)
class Item:
    """One line of the bill; ``price`` is in US dollars per hour and unit, or None if it is unknown."""

    name: str
    count: int
    price: float | None


def bill(node_type: str, nodes: int, balancers: int = 1) -> list[Item]:
    """Return the resources that cost money from setup to teardown."""
    return [
        Item("EKS control plane", 1, CONTROL_PLANE),
        Item(f"node {node_type}", nodes, NODE_TYPES.get(node_type)),
        Item(f"node disk, {VOLUME_GB} GB gp3", nodes, VOLUME_GB * VOLUME_GB_MONTH / HOURS_A_MONTH),
        Item("load balancer", balancers, LOAD_BALANCER),
        Item("public IPv4 address", nodes + ZONES * balancers, PUBLIC_ADDRESS),
        Item("webhook secret", 1, SECRET_MONTH / HOURS_A_MONTH),
    ]


def hourly(items: list[Item]) -> float:
    """Return the total of the known prices, in US dollars per hour."""
    return sum(item.count * (item.price or 0) for item in items)


def most(items: list[Item], minutes: int) -> str:
    """Return what these minutes cost at most, rounded up to ten cents, or "unknown"."""
    if any(item.price is None for item in items):
        return "unknown"
    return f"${math.ceil(10 * minutes * (hourly(items) / 60 + BUILD_MINUTE)) / 10:.2f}"


def main() -> None:
    """Run the command line."""
    items = bill(sys.argv[1], int(sys.argv[2]), balancers=2 if os.environ.get("STAGING") == "true" else 1)
    if sys.argv[3:]:
        print(most(items, int(sys.argv[3])))
        return
    total = hourly(items)
    parts = ", ".join(f"{item.count} {item.name}" + ("" if item.price else " (price unknown)") for item in items)
    print(f"about ${total:.2f} an hour, ${24 * total:.2f} a day ({AS_OF}): {parts}")


if __name__ == "__main__":
    main()
