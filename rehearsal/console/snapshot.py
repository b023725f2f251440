"""The state that the page shows. Times are seconds since the epoch, durations are seconds.

A ``note`` is empty, or says why its part has no data; the page shows it. Text from logs, commits and the app is
untrusted: ``clean`` removes control characters, and the page never treats it as markup.
"""

from __future__ import annotations

import re
from typing import Any, TypedDict

LOADING = "Loading …"
ANSI_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
# Characters that move, hide or reorder the text around them.
UNPRINTABLE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")


class Action(TypedDict):
    """One action of a stage; ``status`` is that of GetPipelineState, or empty if the action has not run yet."""

    name: str
    status: str
    summary: str
    revision: str
    url: str
    since: float | None
    error: str
    approval: bool


class Stage(TypedDict):
    """One stage; ``open``: its inbound transition is enabled; ``queued``: how many executions wait to enter."""

    name: str
    status: str
    open: bool
    queued: int
    actions: list[Action]


class Execution(TypedDict):
    """One execution of the pipeline; ``ended`` is None while it runs."""

    id: str
    status: str
    revision: str
    message: str
    trigger: str
    started: float | None
    ended: float | None


class Pipeline(TypedDict):
    """The pipeline that was updated last; ``executions`` are newest first."""

    note: str
    name: str
    stages: list[Stage]
    executions: list[Execution]


class Phase(TypedDict):
    """One phase of a build; ``seconds`` is None while it runs."""

    name: str
    status: str
    seconds: float | None


class Build(TypedDict):
    """The pipeline's latest build; ``lines`` is the end of its log, ``error`` the reason of a failure."""

    note: str
    id: str
    status: str
    started: float | None
    ended: float | None
    error: str
    phases: list[Phase]
    lines: list[str]


class Pod(TypedDict):
    """One pod of the app, in production or in staging.

    ``version`` is from its answers or those of a pod with the same image, or empty.
    """

    name: str
    image: str
    version: str
    status: str
    ready: bool
    staging: bool
    restarts: int


class Node(TypedDict):
    """One node; ``pods`` are the app's, ``others`` is the number of other pods."""

    name: str
    address: str
    ready: bool
    schedulable: bool
    pods: list[Pod]
    others: int


class Cluster(TypedDict):
    """The cluster; ``waiting`` are the app's pods without a node, ``address`` is that of the load balancer."""

    note: str
    version: str
    address: str
    rollout: str
    nodes: list[Node]
    waiting: list[Pod]


class Answer(TypedDict):
    """One answer of the app; without an answer, ``status`` is 0 and ``error`` says why."""

    at: float
    status: int
    milliseconds: float
    version: str
    pod: str
    error: str


class Change(TypedDict):
    """The app's version changed; ``before`` is empty if the app did not answer before.

    ``seconds`` is the time since the start of the execution that deployed the version, or None if it is unknown.
    """

    at: float
    before: str
    version: str
    seconds: float | None


class App(TypedDict):
    """The app as a visitor sees it: the last answers and the last changes of version, oldest first."""

    note: str
    url: str
    answers: list[Answer]
    changes: list[Change]


class Snapshot(TypedDict):
    """Everything that the page shows."""

    region: str
    pipeline: Pipeline
    build: Build
    cluster: Cluster
    app: App


def no_pipeline(note: str) -> Pipeline:
    """Return an empty pipeline with a note."""
    return {"note": note, "name": "", "stages": [], "executions": []}


def no_build(note: str) -> Build:
    """Return an empty build with a note."""
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
    """Return an empty cluster with a note."""
    return {"note": note, "version": "", "address": "", "rollout": "", "nodes": [], "waiting": []}


def clean(text: Any, limit: int = 300) -> str:
    """Return ``text`` as one line of at most ``limit`` characters, without terminal codes and control characters."""
    line = ANSI_ESCAPE.sub("", "" if text is None else str(text)).rstrip("\r\n").rpartition("\r")[2]
    line = UNPRINTABLE.sub("\ufffd", line.replace("\n", " "))
    return line if len(line) <= limit else line[: limit - 1] + "…"
