"""The page as a program of the machine; apart from what it runs, so that whoever starts it need not load that."""

from __future__ import annotations

import sys

from rehearsal.programs import Program


def program() -> Program:
    """Return the page as a program of the machine."""
    return Program("console", [sys.executable, "-m", "rehearsal.console"])
