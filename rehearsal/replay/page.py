"""Makes the page of a recording from the console page's own files, so that both look and work alike."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import TypedDict

from rehearsal.console.app import STATIC
from rehearsal.replay.changes import Change
from rehearsal.tutorial import WALK

HERE = Path(__file__).parent
DATA = '<script type="application/json" id="recording">'
RECORD = "scripts/rehearse.sh --record docs/replay.html"


class Stale(Exception):
    """A recording is not one of today's tutorial; the message says how to make one."""


#: Seconds since the start of the recording, and how the snapshot changed then.
Frame = tuple[float, Change]


class RecordedStep(TypedDict):
    """A step of the tutorial; ``began`` and ``ended`` are seconds since the start of the recording."""

    title: str
    command: str
    says: str
    result: str
    began: float
    ended: float


class Recording(TypedDict):
    """A recording; ``began`` is seconds since the epoch, and ``seconds`` its length."""

    began: float
    seconds: float
    steps: list[RecordedStep]
    frames: list[Frame]


def render(recording: Recording) -> str:
    """Return the page. The sentences about the steps are today's.

    Raises:
        Stale: the steps or their commands are no longer those of the tutorial.
    """
    if [(one["title"], one["command"]) for one in recording["steps"]] != [(one.title, one.command) for one in WALK]:
        raise Stale(f"the recorded steps are not those of rehearsal/tutorial.py; record them again: {RECORD}")
    for step, today in zip(recording["steps"], WALK, strict=True):
        step["says"] = today.says
    style = _read(STATIC / "console.css") + _read(HERE / "player.css")
    scripts = [_read(STATIC / "console.js"), _read(HERE / "player.js")]
    policy = (
        f"default-src 'none'; script-src {' '.join(map(_hash, scripts))}; style-src {_hash(style)}; img-src data:; "
        "base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'"
    )
    page = _read(STATIC / "index.html")
    for old, new in {
        '  <meta charset="utf-8">\n': f'  <meta charset="utf-8">\n'
        f'  <meta http-equiv="Content-Security-Policy" content="{policy}">\n',
        '  <link rel="stylesheet" href="/static/console.css">\n': f"  <style>{style}</style>\n",
        '  <script defer src="/static/console.js"></script>\n': "",
        '  <script defer src="/static/live.js"></script>\n': "",
        "  <main>\n": f"{_read(HERE / 'player.html')}\n  <main>\n",
        'The same data as JSON: <a href="/api/snapshot">/api/snapshot</a>.': "It plays the recording in this file.",
        "</body>": f"{DATA}{_dump(recording)}</script>\n"
        + "".join(f"<script>{script}</script>\n" for script in scripts)
        + "</body>",
    }.items():
        if page.count(old) != 1:
            raise ValueError(f"index.html has {old.strip()!r} {page.count(old)} times instead of once")
        page = page.replace(old, new)
    return page


def recorded(page: str) -> Recording:
    """Return the recording in a page."""
    recording: Recording = json.loads(page.partition(DATA)[2].partition("</script>")[0])
    return recording


def _dump(recording: Recording) -> str:
    """Return the recording with a frame on each line; without ``<``, it cannot end its element."""
    head = _compact({**recording, "frames": []})
    frames = map(_compact, recording["frames"])
    return (head.removesuffix("]}") + "\n" + ",\n".join(frames) + "\n]}").replace("<", "\\u003c")


def _compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8")
