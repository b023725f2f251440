"""Add the kubectl role to the ConfigMap aws-auth, or remove it, and keep everything else.

    kubectl get configmap/aws-auth -n kube-system -o json | aws_auth.py add|remove ROLE_ARN SAVE_TO >aws-auth-patch.yml
    kubectl get configmap/aws-auth -n kube-system -o json | aws_auth.py show ROLE_ARN

``show`` prints the user and the groups of the role, if it is mapped: separated by a tab, the groups by commas.

Reads the ConfigMap as JSON; empty input means that there is none. Prints a patch for ``kubectl patch --patch-file``, or
nothing if there is nothing to change. Saves the previous ConfigMap to SAVE_TO, for ``kubectl replace -f``. The patch names
the ``resourceVersion`` that was read, so that the API server returns Conflict if someone else has written in between
(Kubernetes API conventions, "Concurrency control and consistency").

map_roles.py edits the text of ``mapRoles``. A comment that cannot be kept is printed on standard error.

Exit codes: 0 done, 1 the input is not aws-auth, or cannot be parsed.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

if TYPE_CHECKING:
    from scripts.lib.map_roles import Entry, Unreadable, comments, edit, mapping
else:  # it is next to this program
    from map_roles import Entry, Unreadable, comments, edit, mapping

#: What the API server sets in an object's metadata, and a copy for a restore must not have.
SET_BY_SERVER = ("creationTimestamp", "generation", "managedFields", "resourceVersion", "selfLink", "uid")


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
        if verb == "show":
            print("\t".join(map(_printable, mapping(roles, role_arn))))
            return
        edited = edit(roles, role_arn, add=verb == "add")
    except Unreadable as error:
        sys.exit(
            f"aws-auth: mapRoles cannot be read ({error}); nothing was changed.{saved} "
            "Fix it with kubectl edit configmap/aws-auth -n kube-system, then run this again"
        )
    if edited != roles:
        for lost in (Counter(comments(roles)) - Counter(comments(edited))).elements():
            print(f"aws-auth: this comment is only in the copy, {rest[0]}: {_printable(lost)}", file=sys.stderr)
        print(dump(config_map(edited, present["metadata"]["resourceVersion"] if present else None)), end="")


def _printable(text: str) -> str:
    """Return a text without terminal escapes, and in ASCII, which every locale can print."""
    return "".join(each if each.isprintable() and each.isascii() else "?" for each in text)


if __name__ == "__main__":
    main()
