"""Runs commands inside the sandbox, from outside or from inside it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rehearsal.sandbox import identity
from rehearsal.settings import settings


def run(
    args: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    netns: str | None = None,
    check: bool = True,
    **options: Any,
) -> subprocess.CompletedProcess[Any]:
    """Run a command inside the sandbox, in the network namespace ``netns`` if one is named.

    ``env`` is the whole environment of the command, as in ``subprocess.run``, which takes the other options too. One
    variable is added, by which footprint.py recognizes the rehearsal's processes.

    Raises:
        SandboxError: no sandbox is running.
        subprocess.CalledProcessError: the command failed and ``check`` is true.
    """
    environment = {**(os.environ if env is None else env), "REHEARSAL_RUN": str(settings.run)}
    return subprocess.run([*_enter(netns), *map(str, args)], env=environment, check=check, **options)


def _enter(netns: str | None) -> list[str]:
    """Return the words to put before a command so that it runs inside the sandbox."""
    enter: list[str] = []
    if not identity.inside():
        pid = str(identity.living().pid)
        # --wdns (not --wd) is resolved inside; both need the directory to be visible there, and it is.
        enter = ["nsenter", "--target", pid, "--mount", "--pid", f"--wdns={Path.cwd()}"]
    if netns:
        # A second step, because the path is in the sandbox's own /run.
        enter += ["nsenter", f"--net=/run/netns/{netns}"]
    return enter
