"""The text of ``mapRoles`` in the ConfigMap aws-auth: what it says of a role, and edits that keep everything else.

``mapRoles`` is a string: a YAML list of mappings (EKS user guide, "Grant IAM users access to Kubernetes with a
ConfigMap"). It is edited as text, to keep comments and order, and parsed again to verify that only the one entry changed.
A text that cannot be parsed is never changed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import yaml

USERNAME, GROUP = "build", "deployers"

Entry = dict[str, Any]
NOTHING = (None, "", "null", "~")  # how people and tools write an empty list
DEEPEST = 8  # a list of mappings with lists of groups is nested 3 deep


class Unreadable(Exception):
    """EKS would not accept this ``mapRoles``, or this is not aws-auth; the message says where and why."""


class _StrictLoader(yaml.BaseLoader):
    """Reads every scalar as its literal text, and rejects what another YAML parser might read differently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for position, key in enumerate(keys):
            if key in keys[:position]:
                raise Unreadable(f"line {node.start_mark.line + 1}: {key!a} appears twice in one entry")
        return super().construct_mapping(node, deep)


def read_roles(text: str) -> list[Entry]:
    """Return the entries of ``mapRoles``.

    Raises:
        Unreadable: it is not YAML, not a list of mappings, or uses a form that ``edit`` cannot preserve.
    """
    try:
        _check_form(text)
        roles = yaml.load(text, Loader=_StrictLoader)  # noqa: S506 (creates only strings, lists and mappings)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise Unreadable(f"line {line}: {error.problem}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise Unreadable(" ".join(str(error).split())) from error
    roles = [] if roles in NOTHING else roles
    if not isinstance(roles, list):
        raise Unreadable("it is not a list")
    for number, role in enumerate(roles, 1):
        if not isinstance(role, dict) or not isinstance(role.get("rolearn", ""), str):
            raise Unreadable(f"entry {number} is not a mapping with a rolearn")
    return roles


def _check_form(text: str) -> None:
    depth = 0
    for event in yaml.parse(text):
        if isinstance(event, yaml.AliasEvent) or getattr(event, "tag", None) or getattr(event, "value", "") == "<<":
            raise Unreadable("it uses YAML aliases, merge keys or tags, which are not supported")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise Unreadable("it is not a list of mappings")


def _own(roles: list[Entry], role_arn: str) -> list[int]:
    """Return the positions of the role's entries; the authenticator ignores the case of an ARN."""
    return [number for number, role in enumerate(roles) if role.get("rolearn", "").lower() == role_arn.lower()]


def mapping(text: str, role_arn: str) -> list[str]:
    """Return the user and the groups to which ``mapRoles`` maps the role, or nothing if it does not.

    Of several entries, the last counts (aws-iam-authenticator, pkg/mapper/configmap).

    Raises:
        Unreadable: the text cannot be parsed.
    """
    roles = read_roles(text)
    own = _own(roles, role_arn)
    last = roles[own[-1]] if own else {}
    groups = last.get("groups", [])
    return [str(last.get("username", "")), ",".join(map(str, groups))] if own and isinstance(groups, list) else []


def edit(text: str, role_arn: str, *, add: bool) -> str:
    """Return ``mapRoles`` with the role's entry added, corrected or removed, and everything else unchanged.

    Raises:
        Unreadable: the text cannot be parsed, or cannot be edited without changing something else.
    """
    roles = read_roles(text)
    own = _own(roles, role_arn)
    others = [role for number, role in enumerate(roles) if number not in own]
    known = {"groups": [GROUP], "rolearn": role_arn, "username": USERNAME}
    entry = [{**(roles[own[-1]] if own else {}), **known}] if add else []  # keep unknown keys of an existing entry
    if [roles[number] for number in own] == entry:
        return text
    for cut in (_cut_lines, _cut_nodes):
        try:
            edited = _with(cut(text, own), entry)
            if read_roles(edited) == others + entry:
                return edited
        except (Unreadable, yaml.YAMLError):
            continue
    raise Unreadable("its format does not allow one entry to be changed on its own")


def _cut_lines(text: str, numbers: Iterable[int]) -> str:
    """Remove entries from a block list, each from its dash to its last line."""
    root = yaml.compose(text)
    if not isinstance(root, yaml.SequenceNode) or root.flow_style:
        return text
    lines = text.splitlines(keepends=True)
    for number in sorted(numbers, reverse=True):
        node = root.value[number]
        del lines[node.start_mark.line : max(_last_lines(node)) + 1]
    return "".join(lines)


def _cut_nodes(text: str, numbers: Iterable[int]) -> str:
    """Remove entries from any list and write the others as a block list, which keeps their scalars but no comments."""
    root = yaml.compose(text, Loader=yaml.BaseLoader)
    items = root.value if isinstance(root, yaml.SequenceNode) else []
    kept = yaml.SequenceNode(
        "tag:yaml.org,2002:seq", [item for number, item in enumerate(items) if number not in numbers]
    )
    return str(yaml.serialize(kept, Dumper=yaml.BaseDumper)) if kept.value else ""


def _last_lines(node: yaml.Node) -> Iterable[int]:
    """Yield the last line of each scalar inside; a collection's own end mark is after the comments that follow it."""
    if isinstance(node, yaml.CollectionNode) and node.value and not node.flow_style:
        for part in node.value:
            for inner in part if isinstance(part, tuple) else (part,):
                yield from _last_lines(inner)
    else:
        yield node.end_mark.line - (node.end_mark.column == 0 and node.end_mark.line > node.start_mark.line)


def comments(text: str) -> list[str]:
    """Return the comments of a YAML text: what is between its tokens and not white space, and after ``|`` or ``>``."""
    found: list[str] = []
    end = 0
    for token in yaml.scan(text):
        found += re.findall("#.*", text[end : token.start_mark.index])
        end = max(end, token.end_mark.index)
        if isinstance(token, yaml.ScalarToken) and token.style in {"|", ">"}:
            found += re.findall(r"^\S+\s+(#.*)", text[token.start_mark.index : end])
    return found + re.findall("#.*", text[end:])


def _with(text: str, entry: list[Entry]) -> str:
    """Append an entry with the indentation and line endings of the text."""
    if not entry:
        return text
    root = yaml.compose(text)
    indent = " " * root.start_mark.column if isinstance(root, yaml.SequenceNode) else ""
    newline = "\r\n" if "\r\n" in text else "\n"
    body = "".join(indent + line + newline for line in yaml.safe_dump(entry).splitlines())
    return text + (newline if text and not text.endswith("\n") else "") + body
