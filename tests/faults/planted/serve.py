"""Runs tests in forks of a process that has imported what they import, which takes most of a short test's time.

Run in a copy of the checkout, ``python -m tests.faults.planted.serve`` reads lines of JSON, each with pytest's arguments
and a timeout, and answers each with pytest's exit code.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable

import pytest

#: Third-party modules that the tests import. Nothing of the checkout, which changes with each fault.
IMPORTED = ("awscli.customizations.cloudformation.yamlhelper", "boto3", "botocore.session", "flask", "hypothesis",
            "kubernetes_validate", "xdist.scheduler", "yaml")  # fmt: skip
TOO_LONG = -1


def forked(work: Callable[[], int], patience: float) -> int:
    """Run ``work`` in a silent fork; return its exit code, or TOO_LONG after ``patience`` seconds."""
    if not (child := os.fork()):
        os.setsid()
        silence = os.open(os.devnull, os.O_RDWR)
        for descriptor in range(3):
            os.dup2(silence, descriptor)
        os._exit(work())
    deadline = time.monotonic() + patience
    try:
        while time.monotonic() < deadline:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.01)
        os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return TOO_LONG
    finally:
        end_the_others()


def end_the_others() -> None:
    """End what a test has left running, if this is the first process of a namespace, which only the tests use."""
    if os.getpid() != 1:
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(-1, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)


def prepare() -> None:
    """Import what the forks will need."""
    for name in IMPORTED:
        importlib.import_module(name)
    # A file that changes twice in a second would not invalidate its bytecode.
    sys.dont_write_bytecode = True


def main() -> None:
    """Serve until the end of standard input."""
    prepare()
    for line in sys.stdin:
        arguments, patience = json.loads(line)
        print(forked(lambda given=arguments: int(pytest.main(given)), patience), flush=True)


if __name__ == "__main__":
    main()
