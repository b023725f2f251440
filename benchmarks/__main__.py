"""Runs the benchmarks: times a whole rehearsal, then measures the other figures in one that is kept."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import re
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.figures import Context, Figure, Goal, together, write
from benchmarks.releases import BenchmarkError
from benchmarks.steps import ENDED
from rehearsal import learner
from rehearsal.progress import Progress, StepFailed
from rehearsal.sandbox import lifecycle
from rehearsal.settings import settings
from rehearsal.tutorial import Tutorial

#: Modules with ``measure(context)``; those that need no pipeline come first.
PARTS = ("application", "cold", "delivery", "deploying", "rollouts", "second_runs", "scale")
REHEARSE = settings.root / "scripts" / "rehearse.sh"
#: Seconds that a rehearsal may take.
PATIENCE = 1800
#: The first words of the rehearsal's steps that are not part of the tutorial.
OVERHEAD = ("Build ", "Make ", "Start ", "Compare ")


def whole_rehearsal() -> Figure:
    """Rehearse everything once, with all programs built, and compare it with the tutorial's own steps."""
    done = subprocess.run([REHEARSE], capture_output=True, text=True, timeout=PATIENCE, check=False)
    if done.returncode:
        raise BenchmarkError(f"the rehearsal failed:\n{done.stdout[-2000:]}")
    whole, parts = times(done.stdout)
    return Figure("whole rehearsal, warm", "s", [whole], "its steps of the tutorial alone", [parts], Goal(1.15))


def times(said: str) -> tuple[float, float]:
    """Return the seconds of a whole rehearsal and of the tutorial's steps, from its output."""
    whole = re.search(r"Whole rehearsal: (\d+) s", said)
    steps = ENDED.findall(said)
    if whole is None or not steps:
        raise BenchmarkError("the rehearsal printed no times")
    own = (float(took) for title, took in steps if not title.startswith(OVERHEAD))
    return float(whole[1]), sum(own)


def prepare(context: Context) -> None:
    """Bring the kept rehearsal to the state after the tutorial's first release."""
    for script in ("setup-cluster", "create-stack"):
        context.say(f"scripts/{script}.sh")
        subprocess.run(
            [f"scripts/{script}.sh"],
            env=context.env,
            cwd=context.checkout,
            capture_output=True,
            check=True,
            timeout=600,
        )
    tutorial = Tutorial(Progress(settings.run / "log"), context.env, context.checkout)
    if not _is_released(tutorial):
        tutorial.first_release()


def _is_released(tutorial: Tutorial) -> bool:
    try:
        return bool(tutorial.address())
    except StepFailed:
        return False


def machine_name() -> str:
    """Describe the machine in a few words."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    words = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    model = re.search(r"model name\s*: (.+)", words)
    return f"{os.cpu_count()} cores of {model[1] if model else platform.machine()}, {memory:.0f} GB of memory"


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="benchmarks/run.sh")
    parser.add_argument("--quick", action="store_true", help="measure once, with small sizes, to see that it works")
    parser.add_argument("--only", default="", help=f"measure these, and keep the others: rehearsal, {', '.join(PARTS)}")
    parser.add_argument("--results", type=Path, default=settings.root / "benchmarks" / "results")
    given = parser.parse_args()
    wanted = given.only.split(",") if given.only else ["rehearsal", *PARTS]
    began = time.monotonic()

    def say(message: str) -> None:
        print(f"{time.monotonic() - began:6.0f} s  {message}", flush=True)

    figures: list[Figure] = []
    failed: list[str] = []
    kept = lifecycle.is_running()
    if "rehearsal" in wanted and not kept and not given.quick:
        say("rehearse the whole tutorial")
        figures.append(whole_rehearsal())
    if not kept:
        subprocess.run([REHEARSE, "--keep"], stdout=subprocess.DEVNULL, check=True, timeout=PATIENCE)
    try:
        repetitions = 1 if given.quick else 3
        context = Context(learner.recall(), learner.checkout_path(), given.quick, repetitions, say)
        context.facts = {
            "machine": machine_name(), "when": datetime.now(UTC).strftime("%d %B %Y"), "repetitions": repetitions
        }  # fmt: skip
        prepare(context)
        for part in PARTS:
            if part in wanted:
                try:
                    figures += importlib.import_module(f"benchmarks.{part}").measure(context)
                except (BenchmarkError, TimeoutError, subprocess.SubprocessError) as error:
                    failed.append(part)
                    say(f"{part} failed: {error}")
    finally:
        if not kept:
            subprocess.run([REHEARSE, "stop"], stdout=subprocess.DEVNULL, check=True, timeout=300)
    given.results.mkdir(parents=True, exist_ok=True)
    file = given.results / "results.json"
    results = write(context, figures)
    if given.only and file.exists():
        results = together(json.loads(file.read_text(encoding="utf-8")), results)
    file.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    say(f"done: {given.results}")
    if failed:
        sys.exit(f"not measured: {', '.join(failed)}; see the reasons above")


if __name__ == "__main__":
    main()
