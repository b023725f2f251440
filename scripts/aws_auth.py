"""Add the kubectl role to the ConfigMap aws-auth, or take it out, and keep everything else that is in there.

    kubectl get configmap/aws-auth -n kube-system -o json | aws_auth.py add|remove ROLE_ARN SAVE_TO >aws-auth-patch.yml

Reads the ConfigMap as JSON, or nothing where there is none. Prints a patch for ``kubectl patch --patch-file``; prints
nothing where nothing is to be changed. Saves what was there to SAVE_TO. The patch names the ``resourceVersion`` that
was read, so that the API server answers Conflict if somebody else has written since (Kubernetes API conventions,
"Concurrency control and consistency").

``mapRoles`` is a text within the ConfigMap: a YAML list of mappings (EKS user guide, "Grant IAM users access to Kubernetes with
a ConfigMap"). It is edited as text, so that comments and order stay, and read again to prove that only the one entry
changed. A text that cannot be understood is never written to.

Exit codes: 0 done, 1 aws-auth cannot be understood.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

USERNAME = "build"
GROUP = "deployers"

Entry = dict[str, Any]


class Unreadable(Exception):
    """``mapRoles`` is not what EKS would accept; the message says where and why."""


class _StrictLoader(yaml.SafeLoader):
    """Refuses a key that stands twice in a mapping, of which YAML keeps one at random."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for position, key in enumerate(keys):
            if key in keys[:position]:
                raise Unreadable(f"line {node.start_mark.line + 1}: {key} stands twice in one entry")
        return super().construct_mapping(node, deep)


def read_roles(text: str) -> list[Entry]:
    """Return the entries of ``mapRoles``.

    Raises:
        Unreadable: it is not YAML, not a list of mappings, or uses aliases.
    """
    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text)):
            raise Unreadable("it uses YAML aliases, which this program does not edit")
        roles = yaml.load(text, Loader=_StrictLoader)  # noqa: S506 (a SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise Unreadable(f"line {line}: {error.problem}") from error
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise Unreadable(" ".join(str(error).split()) or type(error).__name__) from error
    if roles is None:
        return []
    if not isinstance(roles, list):
        raise Unreadable("it is not a list")
    for number, role in enumerate(roles, 1):
        if not isinstance(role, dict) or not isinstance(role.get("rolearn", ""), str):
            raise Unreadable(f"entry {number} is not a mapping with a rolearn")
    return roles


def wanted(role_arn: str, present: Entry | None = None) -> Entry:
    """Return the role's entry as it should be; unknown keys of one that is present stay."""
    return {**(present or {}), "groups": [GROUP], "rolearn": role_arn, "username": USERNAME}


def edit(text: str, role_arn: str, *, add: bool) -> str:
    """Return ``mapRoles`` with the role's entry added, corrected or removed, and all else as it was.

    Raises:
        Unreadable: the text cannot be understood.
    """
    roles = read_roles(text)
    own = [number for number, role in enumerate(roles) if role.get("rolearn", "").lower() == role_arn.lower()]
    goal = [role for number, role in enumerate(roles) if number not in own]
    entry = wanted(role_arn, roles[own[-1]] if own else None)
    if [roles[number] for number in own] == ([entry] if add else []):
        return text
    goal += [entry] if add else []
    edited = _without(text, own)
    if add:
        edited = _with(edited, entry)
    if _reads_as(edited, goal):
        return edited
    return yaml.safe_dump(goal, sort_keys=True) if goal else ""


def _reads_as(text: str, goal: list[Entry]) -> bool:
    try:
        return read_roles(text) == goal
    except Unreadable:
        return False


def _without(text: str, numbers: Iterable[int]) -> str:
    """Cut entries out of a block list, each from its dash to its last word."""
    root = yaml.compose(text)
    if not isinstance(root, yaml.SequenceNode) or root.flow_style:
        return text
    lines = text.splitlines(keepends=True)
    for number in sorted(numbers, reverse=True):
        node = root.value[number]
        del lines[node.start_mark.line : max(_last_lines(node)) + 1]
    return "".join(lines)


def _last_lines(node: yaml.Node) -> Iterable[int]:
    """Yield the last line of each word within; an outer node's own end lies behind the comments that follow."""
    if isinstance(node, yaml.CollectionNode) and node.value and not node.flow_style:
        for part in node.value:
            for inner in part if isinstance(part, tuple) else (part,):
                yield from _last_lines(inner)
    else:
        yield node.end_mark.line - (node.end_mark.column == 0 and node.end_mark.line > node.start_mark.line)


def _with(text: str, entry: Entry) -> str:
    """Append an entry with the indentation and line ends that the text has."""
    root = yaml.compose(text)
    indent = " " * root.start_mark.column if isinstance(root, yaml.SequenceNode) else ""
    newline = "\r\n" if "\r\n" in text else "\n"
    added = yaml.safe_dump([entry], sort_keys=True)
    body = "".join(indent + line + newline for line in added.splitlines())
    return text + (newline if text and not text.endswith("\n") else "") + body


class _PatchDumper(yaml.SafeDumper):
    """Writes plain text of several lines as a block, as ``kubectl get -o yaml`` does."""


def _text(dumper: _PatchDumper, value: str) -> yaml.Node:
    block = re.fullmatch(r"[ -~\n]+\n", value) and not re.search(r" \n|^[ \n]", value)
    style = "|" if block else '"' if re.search(r"[^ -~]", value) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_PatchDumper.add_representer(str, _text)


def dump(document: object) -> str:
    """Return a document as YAML that any parser reads alike."""
    return yaml.dump(document, Dumper=_PatchDumper, sort_keys=False, width=10_000, allow_unicode=False)


def config_map(roles: str, version: str | None = None) -> Entry:
    """Return aws-auth, or a patch of it, with this ``mapRoles``."""
    metadata = {"name": "aws-auth", "namespace": "kube-system"}
    if version:
        metadata["resourceVersion"] = version
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"mapRoles": roles}}


def main() -> None:
    """Run the command line."""
    verb, role_arn, save_to = sys.argv[1:]
    given = sys.stdin.read()
    try:
        present: Entry = json.loads(given) if given.strip() else {}
    except ValueError:
        sys.exit("aws-auth: kubectl's answer is not JSON; nothing was changed")
    data = present.get("data") or {}
    Path(save_to).write_text(dump({**config_map(""), "data": data}), encoding="utf-8")
    roles = data.get("mapRoles", "")
    try:
        edited = edit(roles, role_arn, add=verb == "add")
    except Unreadable as error:
        sys.exit(
            f"aws-auth: mapRoles cannot be read ({error}); nothing was changed. A copy is in {save_to}: "
            "put it right with kubectl edit configmap/aws-auth -n kube-system, then run this again"
        )
    if edited != roles:
        print(dump(config_map(edited, present.get("metadata", {}).get("resourceVersion"))), end="")


if __name__ == "__main__":
    main()
