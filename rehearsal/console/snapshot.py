"""What the page shows at one moment. Times are seconds since the epoch, durations are seconds.

``note`` is empty, or says why the rest of its part is empty, in words for the learner. Text from logs, commits and the
app is untrusted: ``clean`` has taken control characters out of it, and the page never treats it as markup.
"""

from __future__ import annotations

import re
from typing import Any, TypedDict

LOOKING = "Looking …"
ANSI_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
# Characters that would move, hide or reorder the text around them.
UNPRINTABLE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")


class Action(TypedDict):
    """One action of a stage; ``status`` as in codepipeline GetPipelineState, or empty if it never ran."""

    name: str
    status: str
    summary: str
    revision: str
    url: str
    since: float | None
    error: str
    approval: bool


class Stage(TypedDict):
    """One stage; ``open`` is false while its inbound transition is disabled, ``queued`` counts who waits to enter."""

    name: str
    status: str
    open: bool
    queued: int
    actions: list[Action]


class Execution(TypedDict):
    """One run of the pipeline; ``ended`` is none while it goes on."""

    id: str
    status: str
    revision: str
    message: str
    trigger: str
    started: float | None
    ended: float | None


class Pipeline(TypedDict):
    """The pipeline that changed last; executions newest first."""

    note: str
    name: str
    stages: list[Stage]
    executions: list[Execution]


class Phase(TypedDict):
    """One phase of a build; ``seconds`` is none while it goes on."""

    name: str
    status: str
    seconds: float | None


class Build(TypedDict):
    """The pipeline's latest build; ``lines`` is the end of its log and ``error`` the reason of a failure."""

    note: str
    id: str
    status: str
    started: float | None
    ended: float | None
    error: str
    phases: list[Phase]
    lines: list[str]


class Pod(TypedDict):
    """One pod of the app; ``version`` is what it, or another pod of its image, answered, if any did yet."""

    name: str
    image: str
    version: str
    status: str
    ready: bool
    restarts: int


class Node(TypedDict):
    """One node; ``others`` counts the pods on it that are not the app's."""

    name: str
    address: str
    ready: bool
    schedulable: bool
    pods: list[Pod]
    others: int


class Cluster(TypedDict):
    """The cluster; ``waiting`` are the app's pods without a node, ``address`` is the load balancer's."""

    note: str
    version: str
    address: str
    rollout: str
    nodes: list[Node]
    waiting: list[Pod]


class Answer(TypedDict):
    """One answer of the app; ``status`` is 0 and ``error`` set where there was none."""

    at: float
    status: int
    milliseconds: float
    version: str
    pod: str
    error: str


class Change(TypedDict):
    """The app began to answer with another version, or at all if ``before`` is empty.

    ``seconds`` is the time since the execution of the pipeline that brought the version began, if that is known.
    """

    at: float
    before: str
    version: str
    seconds: float | None


class App(TypedDict):
    """The app as its visitors see it: the last answers and the last changes of version, oldest first."""

    note: str
    url: str
    answers: list[Answer]
    changes: list[Change]


class Snapshot(TypedDict):
    """All that the page shows."""

    region: str
    pipeline: Pipeline
    build: Build
    cluster: Cluster
    app: App


def no_pipeline(note: str) -> Pipeline:
    """A pipeline that is not there, and why."""
    return {"note": note, "name": "", "stages": [], "executions": []}


def no_build(note: str) -> Build:
    """A build that is not there, and why."""
    return {
        "note": note,
        "id": "",
        "status": "",
        "started": None,
        "ended": None,
        "error": "",
        "phases": [],
        "lines": [],
    }


def no_cluster(note: str) -> Cluster:
    """A cluster that is not there, and why."""
    return {"note": note, "version": "", "address": "", "rollout": "", "nodes": [], "waiting": []}


def clean(text: Any, limit: int = 300) -> str:
    """Return ``text`` as one harmless line: no terminal codes, no control or invisible characters, cut at ``limit``."""
    line = ANSI_ESCAPE.sub("", "" if text is None else str(text)).rstrip("\r\n").rpartition("\r")[2]
    line = UNPRINTABLE.sub("\ufffd", line.replace("\n", " "))
    return line if len(line) <= limit else line[: limit - 1] + "…"
