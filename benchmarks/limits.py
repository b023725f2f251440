"""How many apps fit into each limit that they share: what one app uses, and how much room there is.

What one app uses is counted in the files of this repository. The room, its source and what to do then are in limits.toml.
"""

from __future__ import annotations

import ast
import json
import re
import textwrap
import tomllib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
LIMITS = Path(__file__).with_suffix(".toml")
#: A build pushes its tags cache, commit, content and files (buildspec.yml).
TAGS = 4
#: Pods of EKS's add-ons: aws-node and kube-proxy on each node, and two each of CoreDNS and metrics-server.
SYSTEM_A_NODE, SYSTEM = 2, 4
#: What of the stack's function decides the trust policy, without any call of AWS.
TRUST = {"KEY, SID", "as_list", "only", "builds", "limit"}
#: The role of one stack's builds; CloudFormation ends the name with up to 13 characters of its own.
ARN = "arn:aws:iam::111122223333:role/aws-pipeline-{:02}-CodeBuildRole-1ABCDEFGHIJKL"


class _Template(yaml.SafeLoader):
    """Reads a template of CloudFormation without its functions."""


_Template.add_multi_constructor("!", lambda *_: None)


@dataclass(frozen=True)
class Limit:
    """One limit, ``room`` in all, of which each app uses ``use``; ``apps`` of them fit."""

    name: str
    room: int
    use: float
    apps: int
    source: str
    then: str


def limits(pushes: float, seconds: float) -> list[Limit]:
    """Return all limits, the first that is reached first, for so many pushes an hour to each app and seconds a build."""
    uses, made = one_app(pushes, seconds), []
    for each in tomllib.loads(LIMITS.read_text(encoding="utf-8"))["limit"]:
        kind = each.pop("uses")
        room = each.pop("room", None) or room_for_pods(uses["pods"])
        apps = stacks_in_trust(room) if kind == "characters" else int(room / uses[kind] + 1e-9)
        made.append(Limit(room=room, use=uses[kind], apps=apps, **each))
    return sorted(made, key=lambda limit: limit.apps)


def one_app(pushes: float, seconds: float) -> Mapping[str, float]:
    """Return what one app uses: resources of the stack by type, and objects and calls by name."""
    template = yaml.load((ROOT / "ci-cd-codepipeline.cfn.yml").read_text(encoding="utf-8"), _Template)  # noqa: S506 (safe)
    objects = list(yaml.safe_load_all((ROOT / "deployment.yml").read_text(encoding="utf-8")))
    base = set(re.findall(r"public\.ecr\.aws/\S+", (ROOT / "Dockerfile").read_text(encoding="utf-8")))
    return {
        **Counter(resource["Type"] for resource in template["Resources"].values()),
        "pods": sum(each["spec"]["minReplicas"] for each in objects if each["kind"] == "HorizontalPodAutoscaler"),
        "load balancers": sum(each["spec"].get("type") == "LoadBalancer" for each in objects),
        "characters": len(json.dumps(ARN.format(1))) + 1,
        "builds": pushes * seconds / 3600,
        "pulls a second": pushes * len(base) / 3600,
        "tags a second": pushes * TAGS / 3600,
    }


def room_for_pods(surge: float) -> int:
    """Return how many pods of apps the nodes of settings.sh hold, while one app has its ``surge`` of new pods."""
    settings = (ROOT / "settings.sh").read_text(encoding="utf-8")
    nodes, each = (int(re.findall(rule, settings)[0]) for rule in (r"NODE_COUNT:=(\d+)", r"up to (\d+) pods"))
    return nodes * (each - SYSTEM_A_NODE) - SYSTEM - int(surge)


def stacks_in_trust(characters: int) -> int:
    """Return how many stacks can share a kubectl role whose trust policy has at most so many characters.

    The function of the template itself adds them, and IAM counts no white space (IAM user guide, "IAM and AWS STS quotas").
    """
    text = (ROOT / "trust.json").read_text(encoding="utf-8").replace("<PARTITION>", "aws")
    policy = json.loads(text.replace("<ACCOUNT_ID>", "111122223333"))
    limit = _function()["limit"]
    stacks = 0
    while True:
        policy["Statement"] = limit(policy["Statement"], ARN.partition(":role/")[0] + ":root", None, ARN.format(stacks))
        if len(json.dumps(policy, separators=(",", ":"))) > characters:
            return stacks
        stacks += 1


def _function() -> dict[str, Any]:
    """Return the part of the stack's function that decides the trust policy."""
    template = (ROOT / "ci-cd-codepipeline.cfn.yml").read_text(encoding="utf-8")
    code = re.findall(r"ZipFile: \|\n((?: {10}.*\n|\n)+)", template)[0]
    tree = ast.parse(textwrap.dedent(code))
    tree.body = [node for node in tree.body if _name(node) in TRUST]
    names: dict[str, Any] = {}
    exec(compile(tree, "ZipFile", "exec"), names)  # noqa: S102 (this repository's own code)
    return names


def _name(node: ast.stmt) -> str:
    """Return the name that a statement gives a value or a function."""
    if isinstance(node, ast.Assign):
        return ast.unparse(node.targets[0]).strip("()")
    return getattr(node, "name", "")


def table(found: list[Limit]) -> str:
    """Return the limits as Markdown."""
    lines = ["| apps that fit | limit | room | one app uses | then |", "|---|---|---|---|---|"]
    lines += [
        f"| {each.apps:,} | [{each.name}]({each.source}) | {each.room:,} | {each.use:.3g} | {each.then} |"
        for each in found
    ]
    return "\n".join(lines) + "\n"
