#!/usr/bin/env python3
"""Stand-in for ``kubectl label --local``, with which deploy.sh reads deployment.yml: prints the same columns.

tests/faults/test_releases.py compares it with kubectl.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml


def objects(text: str) -> Iterator[dict[str, Any]]:
    """Yield the objects of a manifest, and those of its lists."""
    for each in yaml.safe_load_all(text):
        yield from each["items"] if each and each["kind"].endswith("List") else [each] if each else []


def containers(value: Any) -> Iterator[Any]:
    """Yield every container at any depth."""
    if isinstance(value, dict):
        yield from value.get("containers") or []
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else []:
        yield from containers(item)


def row(each: dict[str, Any]) -> str:
    """Return the columns of one object."""
    spec = each.get("spec") or {}
    pod = (spec.get("template") or {}).get("spec") or {}
    used = [*(pod.get("initContainers") or []), *(pod.get("containers") or [])]
    fields = [
        each.get("kind", ""),
        each["metadata"].get("name", ""),
        str(spec.get("paused", "")).lower(),
        spec.get("progressDeadlineSeconds", ""),
        " ".join(str(container["name"]) for container in containers(spec)),
        " ".join(str(container["image"]) for container in used if "image" in container),
    ]
    annotations = each["metadata"].get("annotations") or {}
    fields += [annotations.get(f"release-check/{name}", "") for name in ("url", "answer")]
    return "|".join(map(str, fields))


def main(namespace: str, file: Path) -> None:
    """Run the command line."""
    if not file.exists():
        sys.exit(f'error: the path "{file}" does not exist')
    try:
        found = list(objects(file.read_text(encoding="utf-8")))
    except yaml.YAMLError as error:
        sys.exit(f"error: error parsing {file}: error converting YAML to JSON: yaml: {error.__class__.__name__}")
    for each in found:
        if (other := each["metadata"].get("namespace", namespace)) != namespace:
            sys.exit(
                f'error: the namespace from the provided object "{other}" does not match the namespace "{namespace}". '
                f"You must pass '--namespace={other}' to perform this operation."
            )
    print(*map(row, found), sep="\n")


if __name__ == "__main__":
    words = sys.argv[1:]
    main(words[words.index("--namespace") + 1], Path(words[words.index("--filename") + 1]))
