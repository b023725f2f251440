"""The stages of the Dockerfile."""

from __future__ import annotations

from tests.support.paths import ROOT


def stages() -> dict[str, list[str]]:
    """Return the instructions of each stage, with continuation lines joined."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line.startswith("FROM "):
            found[line.split()[-1]] = [line]
        elif found and line.strip() and not line.startswith("#"):
            found[list(found)[-1]].append(" ".join(line.split()))
    return found
