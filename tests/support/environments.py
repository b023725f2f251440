"""Python environments other than the one that the tests run in."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.support.paths import ROOT


def environment(group: str) -> Path:
    """Return the programs' directory of a dependency group's environment; the first call installs it, in minutes."""
    done = subprocess.run(
        ["scripts/dev/venv.sh", group], cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=500, check=True
    )
    return Path(done.stdout.strip()) / "bin"
