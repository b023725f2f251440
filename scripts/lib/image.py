"""Read an image as its registry describes it.

    python3 scripts/lib/image.py digest MANIFEST
    python3 scripts/lib/image.py config MANIFEST
    python3 scripts/lib/image.py bill MANIFEST CONFIG
    python3 scripts/lib/image.py linux/arm64 INDEX

Prints the digest of the image, of its configuration, of the layer that has /bom.json and nothing else, or of the image for
a platform. Fails if a file is no such document (https://github.com/opencontainers/image-spec), or there is none.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any


def digest(manifest: dict[str, Any], raw: bytes) -> str:
    """Return the digest of an image, which is that of its manifest's bytes."""
    if not manifest["schemaVersion"]:
        raise ValueError("no manifest")
    return "sha256:" + hashlib.sha256(raw).hexdigest()


def bill(manifest: dict[str, Any], config: dict[str, Any]) -> str:
    """Return the layer that copies /bom.json into the image, unless a later one runs a command, which may change it."""
    layers = iter(manifest["layers"])
    found = ""
    for step in config["history"]:
        layer = "" if step.get("empty_layer") else next(layers)["digest"]
        words = step.get("created_by", "").split()
        if layer and words[:2] == ["COPY", "/bom.json"]:
            found = layer
        elif layer and words[:1] != ["COPY"]:
            found = ""
    if not found:
        raise ValueError("no layer has /bom.json alone")
    return str(found)


def of_platform(index: dict[str, Any], system: str, architecture: str) -> str:
    """Return the manifest for a platform; of several variants, such as arm/v7, the first. One that is no index has none."""
    if "config" in index:
        return ""
    for each in index["manifests"]:
        if (each["platform"]["os"], each["platform"]["architecture"]) == (system, architecture):
            return str(each["digest"])
    raise ValueError(f"no image for {system}/{architecture}")


def main() -> None:
    """Run the command line."""
    what, *files = sys.argv[1:]
    raw = [Path(file).read_bytes() for file in files]
    try:
        documents = [json.loads(each) for each in raw]
        if what == "digest":
            print(digest(documents[0], raw[0]))
        elif what == "config":
            print(documents[0]["config"]["digest"])
        elif what == "bill":
            print(bill(*documents))
        else:
            print(of_platform(documents[0], *what.split("/")))
    except (ValueError, LookupError, TypeError, AttributeError, StopIteration) as error:
        sys.exit(f"image.py {what}: {error}")


if __name__ == "__main__":
    main()
