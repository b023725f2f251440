"""The second run of each script of the tutorial, when nothing is left to do."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from benchmarks.figures import Context, Figure, Goal
from benchmarks.releases import BenchmarkError, Releases

#: The scripts of the setup, in order.
SCRIPTS = ("preflight", "create-cluster", "create-role", "authorize-role", "create-stack")
#: Calls that change nothing in AWS or in the cluster.
ASKING = re.compile(r"(get|describe|list|batch-get|wait|version|--version|update-kubeconfig|config|diff)\b")
#: Creates SubjectAccessReviews, which the API server answers and does not keep.
REVIEWS = re.compile(r"kubectl .*\bcreate -f \S+/reviews\.json\b")

#: Comes before a program on PATH and records its arguments.
_SHIM = """#!/bin/sh
echo "{name} $*" >>"{calls}"
exec "{program}" "$@"
"""


def measure(context: Context) -> list[Figure]:
    """Time each script when everything is done, without the startup time of the AWS CLI."""
    releases, figures = Releases(context), []
    with tempfile.TemporaryDirectory() as work:
        calls = Path(work) / "calls"
        env = dict(context.env)
        for name in ("aws", "kubectl", "eksctl"):
            program = shutil.which(name, path=env["PATH"])
            shim = Path(work) / name
            shim.write_text(_SHIM.format(name=name, calls=calls, program=program), encoding="utf-8")
            shim.chmod(0o755)
        env["PATH"] = f"{work}{os.pathsep}{env['PATH']}"
        for script in SCRIPTS:
            totals, starts = [], []
            for _ in range(context.repetitions):
                calls.write_text("", encoding="utf-8")
                began = time.monotonic()
                said = releases.run(f"scripts/{script}.sh", env=env)
                totals.append(time.monotonic() - began)
                made = calls.read_text(encoding="utf-8").splitlines()
                refuse_changes(script, made, said)
                starts.append(sum(line.startswith("aws ") for line in made) * _start_of_aws(context.env))
            figures.append(_second_run(script, totals, starts))
            context.say(f"second run of scripts/{script}.sh: {median(totals):.1f} s")
    return figures


def _second_run(script: str, totals: list[float], starts: list[float]) -> Figure:
    own = [max(0.0, total - start) for total, start in zip(totals, starts, strict=True)]
    note = (
        f"{median(totals):.1f} s in all, of which {median(starts):.1f} s are starts of the AWS CLI; it changed nothing"
    )
    return Figure(f"second run of scripts/{script}.sh", "s", own, goal=Goal(3, absolute=True), note=note)


def refuse_changes(script: str, calls: Sequence[str], said: str = "") -> None:
    """Check that a script made read-only calls, or calls whose answer says that nothing was to be changed.

    Raises:
        BenchmarkError: a call changed something.
    """
    for call in calls:
        program, _, rest = call.partition(" ")
        words = re.sub(r"(?<!\S)--?[^\s=]+(=\S*| [^-\s]\S*)?", "", rest).split()
        verb = words[1] if program == "aws" and len(words) > 1 else " ".join(words[:1])
        # These two change nothing if nothing is to be done, and say so.
        unchanged = {"apply": "unchanged", "update-stack": "is up to date"}.get(verb)
        if not (unchanged and unchanged in said) and not ASKING.match(verb or "version") and not REVIEWS.match(call):
            raise BenchmarkError(f"the second run of scripts/{script}.sh changed something: {call}")


def _start_of_aws(env: dict[str, str]) -> float:
    began = time.monotonic()
    subprocess.run(["aws", "--version"], env=env, capture_output=True, check=True, timeout=60)
    return time.monotonic() - began
