#!/usr/bin/env python3
"""The rehearsal's stand-in for eksctl, which INTERRUPT=create or INTERRUPT=delete kills, with the script that runs it,
while it waits for its first stack.
"""

from __future__ import annotations

import os
import signal
import sys

from rehearsal.kubernetes import eksctl

settle = eksctl.settle


def interrupted(stack: str) -> str:
    """Wait for a stack, or kill the script."""
    if os.environ.get("INTERRUPT") == sys.argv[1]:
        os.kill(0, signal.SIGKILL)
    return settle(stack)


if __name__ == "__main__":
    eksctl.settle = interrupted
    sys.exit(eksctl.main())
