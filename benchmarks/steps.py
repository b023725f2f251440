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


#: A moment in seconds since the start, and the seconds that the cores worked until then.
Moment = tuple[float, float]


@dataclass(frozen=True)
class Step:
    """A step of the rehearsal: when it ran, in seconds since the start, and the seconds of processor time meanwhile."""

    title: str
    begin: float
    end: float
    work: float

    def busy(self, cores: int) -> float:
        """The share of all cores' time in which they worked; 0 of a step without duration."""
        time_of_all = (self.end - self.begin) * cores
        return self.work / time_of_all if time_of_all else 0.0


@dataclass(frozen=True)
class Record:
    """What was seen of one rehearsal on a machine with so many cores."""

    cores: int
    steps: list[Step]
    moments: list[Moment]


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


def record() -> Record:
    """Rehearse everything.

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
    ended = steps(lines, lambda moment: min(moments, key=lambda each: abs(each[0] - moment))[1])
    return Record(os.cpu_count() or 1, ended, moments)


def load(file: Path) -> Record:
    """Return what ``main`` wrote."""
    data = json.loads(file.read_text(encoding="utf-8"))
    return Record(data["cores"], [Step(**step) for step in data["steps"]], data["moments"])


def main(directory: Path) -> None:
    """Run the command line."""
    found = record()
    (directory / "steps.json").write_text(json.dumps(asdict(found), indent=1) + "\n", encoding="utf-8")
    for step in found.steps:
        print(
            f"{step.begin:6.1f} {step.end - step.begin:6.1f} s  {100 * step.busy(found.cores):3.0f}% busy  {step.title}"
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
