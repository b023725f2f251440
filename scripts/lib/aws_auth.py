"""Add the kubectl role to the ConfigMap aws-auth, or remove it, and keep everything else.

    kubectl get configmap/aws-auth -n kube-system -o json | aws_auth.py add|remove ROLE_ARN SAVE_TO >aws-auth-patch.yml
    kubectl get configmap/aws-auth -n kube-system -o json | aws_auth.py show ROLE_ARN

``show`` prints the user and the groups of the role, if it is mapped: separated by a tab, the groups by commas.

Reads the ConfigMap as JSON; empty input means that there is none. Prints a patch for ``kubectl patch --patch-file``, or
nothing if there is nothing to change. Saves the previous ConfigMap to SAVE_TO, for ``kubectl replace -f``. The patch names
the ``resourceVersion`` that was read, so that the API server returns Conflict if someone else has written in between
(Kubernetes API conventions, "Concurrency control and consistency").

``mapRoles`` is a string in the ConfigMap: a YAML list of mappings (EKS user guide, "Grant IAM users access to Kubernetes
with a ConfigMap"). It is edited as text, to keep comments and order, and parsed again to verify that only the one entry
changed. A text that cannot be parsed is never changed. A comment that cannot be kept is printed on standard error.

Exit codes: 0 done, 1 the input is not aws-auth, or cannot be parsed.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

USERNAME, GROUP = "build", "deployers"

Entry = dict[str, Any]
NOTHING = (None, "", "null", "~")  # how people and tools write an empty list
DEEPEST = 8  # a list of mappings with lists of groups is nested 3 deep
#: What the API server sets in an object's metadata, and a copy for a restore must not have.
SET_BY_SERVER = ("creationTimestamp", "generation", "managedFields", "resourceVersion", "selfLink", "uid")


class Unreadable(Exception):
    """EKS would not accept this ``mapRoles``, or this is not aws-auth; the message says where and why."""


def read_config_map(given: bytes) -> Entry | None:
    """Return aws-auth as kubectl prints it, or None if there is none.

    Raises:
        Unreadable: it is not the whole ConfigMap, so that a patch made from it could destroy what it lacks.
    """
    if not given.strip():
        return None
    try:
        found = json.loads(given)
        json.dumps(found, ensure_ascii=False).encode()  # fails on half of a surrogate pair
    except RecursionError as error:
        raise Unreadable("it is nested too deeply") from error
    except ValueError as error:
        raise Unreadable("it is not JSON") from error
    metadata = found.get("metadata") if isinstance(found, dict) else None
    if not isinstance(metadata, dict) or found.get("kind") != "ConfigMap":
        raise Unreadable("its kind is not ConfigMap")
    for key, value in {"name": "aws-auth", "namespace": "kube-system"}.items():
        if metadata.get(key) != value:
            raise Unreadable(f"its {key} is not {value}")
    if not isinstance(metadata.get("resourceVersion"), str) or not metadata["resourceVersion"]:
        raise Unreadable("it has no resourceVersion")
    for key, value in {**found, **metadata}.items():
        if key in {"data", "binaryData", "labels", "annotations"} and not _is_map_of_text(value):
            raise Unreadable(f"its {key} is not a map of text")
    return dict(found)


def _is_map_of_text(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(each, str) for each in value.values())


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


def mapping(text: str, role_arn: str) -> list[str]:
    """Return the user and the groups to which ``mapRoles`` maps the role, or nothing if it does not.

    Of several entries, the last counts (aws-iam-authenticator, pkg/mapper/configmap).

    Raises:
        Unreadable: the text cannot be parsed.
    """
    own = [role for role in read_roles(text) if role.get("rolearn", "").lower() == role_arn.lower()]
    groups = own[-1].get("groups", []) if own else []
    return [str(own[-1].get("username", "")), ",".join(map(str, groups))] if own and isinstance(groups, list) else []


def edit(text: str, role_arn: str, *, add: bool) -> str:
    """Return ``mapRoles`` with the role's entry added, corrected or removed, and everything else unchanged.

    Raises:
        Unreadable: the text cannot be parsed, or cannot be edited without changing something else.
    """
    roles = read_roles(text)
    own = [number for number, role in enumerate(roles) if role.get("rolearn", "").lower() == role_arn.lower()]
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


class _PatchDumper(yaml.SafeDumper):
    """Writes multi-line strings as blocks, like ``kubectl get -o yaml``."""


def _text(dumper: _PatchDumper, value: str) -> yaml.Node:
    block = re.fullmatch(r"[ -~\n]+\n", value) and not re.search(r" \n|^[ \n]", value)
    style = "|" if block else '"' if re.search(r"[^ -~]", value) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_PatchDumper.add_representer(str, _text)


def dump(document: object) -> str:
    """Return a document as YAML that every parser reads the same way."""
    return yaml.dump(document, Dumper=_PatchDumper, sort_keys=False, width=10_000, allow_unicode=False)


def config_map(roles: str, version: str | None = None) -> Entry:
    """Return aws-auth, or a patch for it, with this ``mapRoles``."""
    metadata = {"name": "aws-auth", "namespace": "kube-system"}
    if version:
        metadata["resourceVersion"] = version
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"mapRoles": roles}}


def copy_of(present: Entry | None) -> str:
    """Return the YAML from which ``kubectl replace -f`` restores everything that someone has set."""
    if present is None:
        return dump(config_map("") | {"data": {}})
    kept = {key: value for key, value in present["metadata"].items() if key not in SET_BY_SERVER}
    return dump(config_map("") | {"data": {}} | present | {"metadata": kept})


def main() -> None:
    """Run the command line."""
    verb, role_arn, *rest = sys.argv[1:]
    try:
        present = read_config_map(sys.stdin.buffer.read())  # kubectl writes UTF-8 in every locale
        copy = copy_of(present)
    except (Unreadable, RecursionError) as error:
        why = error if isinstance(error, Unreadable) else "it is nested too deeply"
        sys.exit(f"aws-auth: kubectl's answer is not the ConfigMap aws-auth ({why}); nothing was changed")
    roles = (present or {}).get("data", {}).get("mapRoles", "")
    saved = f" A copy is in {rest[0]}." if rest else ""
    if rest:
        Path(rest[0]).write_text(copy, encoding="utf-8")
    try:
        mapped = mapping(roles, role_arn)
        edited = edit(roles, role_arn, add=verb == "add") if rest else roles
    except Unreadable as error:
        sys.exit(
            f"aws-auth: mapRoles cannot be read ({error}); nothing was changed.{saved} "
            "Fix it with kubectl edit configmap/aws-auth -n kube-system, then run this again"
        )
    if verb == "show":
        print("\t".join(map(_printable, mapped)))
    elif edited != roles:
        for lost in (Counter(comments(roles)) - Counter(comments(edited))).elements():
            print(f"aws-auth: this comment is only in the copy, {rest[0]}: {_printable(lost)}", file=sys.stderr)
        print(dump(config_map(edited, present["metadata"]["resourceVersion"] if present else None)), end="")


def _printable(text: str) -> str:
    """Return a text without terminal escapes, and in ASCII, which every locale can print."""
    return "".join(each if each.isprintable() and each.isascii() else "?" for each in text)


if __name__ == "__main__":
    main()
