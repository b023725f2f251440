"""Read an image as its registry describes it.

    python3 scripts/lib/image.py digest MANIFEST
    python3 scripts/lib/image.py config MANIFEST
    python3 scripts/lib/image.py bill MANIFEST CONFIG

Prints the digest of the image, of its configuration, or of the layer that has /bom.json and nothing else. Fails if a
file is no such document (https://github.com/opencontainers/image-spec), or there is no such layer.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any


def bill(manifest: dict[str, Any], config: dict[str, Any]) -> str:
    """Return the layer that copies /bom.json into the image, unless a later one runs a command, which may change it."""
    layers = iter(manifest["layers"])
    found = ""
    for step in config["history"]:
        digest = "" if step.get("empty_layer") else next(layers)["digest"]
        words = step.get("created_by", "").split()
        if digest and words[:2] == ["COPY", "/bom.json"]:
            found = digest
        elif digest and words[:1] != ["COPY"]:
            found = ""
    if not found:
        raise ValueError("no layer has /bom.json alone")
    return str(found)


def main() -> None:
    """Run the command line."""
    what, *files = sys.argv[1:]
    raw = [Path(file).read_bytes() for file in files]
    try:
        documents = [json.loads(each) for each in raw]
        if what == "digest" and documents[0]["schemaVersion"]:
            print("sha256:" + hashlib.sha256(raw[0]).hexdigest())
        else:
            print(documents[0]["config"]["digest"] if what == "config" else bill(*documents))
    except (ValueError, LookupError, TypeError, AttributeError, StopIteration) as error:
        sys.exit(f"image.py {what}: {error}")


if __name__ == "__main__":
    main()
