"""Records what the console page shows while the tutorial runs, as a viewer of its event stream."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import httpx

from rehearsal import waiting
from rehearsal.console.snapshot import LOADING, Snapshot
from rehearsal.progress import Progress, Step, StepFailed
from rehearsal.replay import page, search
from rehearsal.replay.changes import between
from rehearsal.settings import settings
from rehearsal.tutorial import WALK

CONSOLE = f"http://127.0.0.1:{settings.ports.console}/"
MOMENTS = 10
BETWEEN_MOMENTS = 5.0  # seconds, at least
PATIENCE = 30.0  # seconds without an event; the console sends a heartbeat every 5
DIGITS = 2  # of times in seconds

Seen = tuple[float, Snapshot]


class Recorder:
    """Keeps each snapshot with the time at which it came, and some answers of the console to compare the replay with."""

    def __init__(self, url: str) -> None:
        self.seen: list[Seen] = []
        self.moments: list[Seen] = []
        self.secrets: set[str] = set()
        self._url = url
        self._ended = threading.Event()
        self._error = "the console page sent nothing"
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def start(self) -> None:
        """Begin to record."""
        self._thread.start()

    def stop(self) -> None:
        """Record until the next event, so that the end of the last step is seen too.

        Raises:
            StepFailed: the console page ended its stream early, or sent nothing.
        """
        self._ended.set()
        self._thread.join(2 * waiting.bound(PATIENCE))
        if self._error:
            raise StepFailed(f"the rehearsal was not recorded: {self._error}")

    def _watch(self) -> None:
        try:
            with (
                httpx.Client(base_url=self._url, trust_env=False, timeout=waiting.bound(PATIENCE)) as client,
                client.stream("GET", "api/events") as events,
            ):
                for line in events.iter_lines():
                    if line.startswith("data: {"):
                        self._keep(json.loads(line.removeprefix("data: ")), client)
                    if self._ended.is_set() and self.seen and not line:
                        self._error = ""
                        return
            self._error = "the console page ended its event stream"
        except (httpx.HTTPError, OSError, ValueError, LookupError) as error:
            self._error = f"{type(error).__name__}: {error}"

    def _keep(self, snapshot: Snapshot, client: httpx.Client) -> None:
        if LOADING in (snapshot["pipeline"]["note"], snapshot["cluster"]["note"]):
            return
        self.seen.append((time.time(), snapshot))
        self.secrets |= search.of_run()
        if not self.moments or time.time() - self.moments[-1][0] >= BETWEEN_MOMENTS:
            # Not on a kept connection, which the console may close at the very moment.
            answer = client.get("api/snapshot", headers={"Connection": "close"})
            moment = (time.time(), answer.json())
            self.moments.append(moment)
            if moment[1] != snapshot:  # the state has changed between the two
                self.seen.append(moment)


@contextmanager
def recording(progress: Progress, file: Path, url: str = CONSOLE) -> Iterator[None]:
    """Record the steps of the block, which are the tutorial's; then write the page, and the answers to compare it with.

    Raises:
        StepFailed: there is no recording, or it has a secret; nothing is written.
    """
    recorder = Recorder(url)
    before = len(progress.steps)
    recorder.start()
    yield
    steps = progress.steps[before:]
    with progress.step(f"Write the recording to {file.name}") as show:
        recorder.stop()
        began = steps[0].began + time.time() - time.monotonic()
        text = page.render(_recording(recorder.seen, steps, began))
        moments = _moments(recorder.moments, began)
        if found := search.found_in(text + moments, recorder.secrets):
            raise StepFailed(f"the recording has {' and '.join(found)}, so it was not written")
        file.write_text(text, encoding="utf-8")
        moments_file(file).write_text(moments, encoding="utf-8")
        show(f"= {file.stat().st_size // 1000} kB, {len(recorder.seen)} snapshots")


def moments_file(file: Path) -> Path:
    """Return the file next to a recording that has what the console answered at ten moments."""
    return file.with_suffix(".moments.json")


def _recording(seen: list[Seen], steps: Sequence[Step], began: float) -> page.Recording:
    """Return the recording; the first snapshot is that of its start, ``began``, before which nothing was read."""
    commands = {step.title: step.command for step in WALK}
    recorded: list[page.RecordedStep] = [
        {
            "title": (title := step.title.partition("  ")[0]),  # without the script's name
            "command": commands.get(title, ""),
            "says": "",
            "result": step.result,
            "began": round(step.began - steps[0].began, DIGITS),
            "ended": round(step.ended - steps[0].began, DIGITS),
        }
        for step in steps
    ]
    frames: list[page.Frame] = [(0.0, [seen[0][1]])]
    for (_, old), (at, new) in pairwise(seen):
        frames.append((round(at - began, DIGITS), between(old, new)))
    seconds = max(frames[-1][0], recorded[-1]["ended"])
    return {"began": round(began, DIGITS), "seconds": seconds, "steps": recorded, "frames": frames}


def _moments(moments: list[Seen], began: float) -> str:
    """Return ten of the moments as JSON, evenly distributed, with one on each line."""
    last = len(moments) - 1
    if last + 1 < MOMENTS:
        raise StepFailed(f"the recording has {last + 1} moments to compare it with, which is fewer than {MOMENTS}")
    chosen = [moments[round(number * last / (MOMENTS - 1))] for number in range(MOMENTS)]
    lines = (json.dumps([round(at - began, DIGITS), answer], separators=(",", ":")) for at, answer in chosen)
    return "[\n" + ",\n".join(lines) + "\n]\n"
