"""Where the seconds of a rehearsal go: when each step ran, and how busy the cores were meanwhile.

Usage: python -m benchmarks.steps DIRECTORY

Rehearses everything once, and writes DIRECTORY/steps.json, which picture.py draws. Run nothing else meanwhile: the work is
that of the whole machine, by /proc/stat (proc(5)).
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from rehearsal.settings import settings

#: A step's line when it has ended, and its seconds.
ENDED = re.compile(r"^✓ +\d+ +(.+) ([\d.]+) s$", re.MULTILINE)
#: Seconds between two looks at /proc/stat.
PAUSE = 0.5


@dataclass(frozen=True)
class Step:
    """A step of the rehearsal: when it ran, in seconds since the start, and the seconds of processor time meanwhile."""

    title: str
    begin: float
    end: float
    work: float

    @property
    def busy(self) -> float:
        """The share of all cores' time in which they worked; 0 of a step without duration."""
        time_of_all = (self.end - self.begin) * (os.cpu_count() or 1)
        return self.work / time_of_all if time_of_all else 0.0


def processor_time(stat: str = "") -> float:
    """Return the seconds that the cores have worked since the machine started, from the text of /proc/stat."""
    stat = stat or Path("/proc/stat").read_text(encoding="ascii")
    user, nice, system, _idle, _iowait, irq, softirq = map(int, stat.split()[1:8])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def steps(lines: Iterable[tuple[float, str]], worked: Callable[[float], float]) -> list[Step]:
    """Return the steps that have ended, from the time of each line; ``worked`` returns the processor time until a moment."""
    found = []
    for moment, line in lines:
        if ended := ENDED.match(line):
            begin = max(moment - float(ended[2]), 0.0)
            found.append(Step(ended[1].split("  ")[0], begin, moment, worked(moment) - worked(begin)))
    return sorted(found, key=lambda step: step.begin)


def record() -> tuple[list[Step], list[tuple[float, float]]]:
    """Rehearse everything; return the steps, and the processor time at each moment.

    Raises:
        CalledProcessError: the rehearsal failed.
    """
    began, first = time.monotonic(), processor_time()
    moments, lines = [(0.0, 0.0)], []
    done = threading.Event()

    def sample() -> None:
        while not done.wait(PAUSE):
            moments.append((time.monotonic() - began, processor_time() - first))

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    with subprocess.Popen([settings.root / "scripts" / "rehearse.sh"], stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout or ():
            print(line, end="", flush=True)
            lines.append((time.monotonic() - began, line.rstrip("\n")))
    done.set()
    thread.join()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, process.args)
    return steps(lines, lambda moment: min(moments, key=lambda each: abs(each[0] - moment))[1]), moments


def load(file: Path) -> tuple[list[Step], list[tuple[float, float]]]:
    """Return what a file has of ``record``, or nothing if there is no file."""
    data = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {"steps": [], "moments": []}
    return [Step(**step) for step in data["steps"]], [(moment, work) for moment, work in data["moments"]]


def main(directory: Path) -> None:
    """Run the command line."""
    found, moments = record()
    data = {"steps": [asdict(step) for step in found], "moments": moments}
    (directory / "steps.json").write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    for step in found:
        print(f"{step.begin:6.1f} {step.end - step.begin:6.1f} s  {100 * step.busy:3.0f}% busy  {step.title}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
