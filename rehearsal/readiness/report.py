"""Judges what was seen of an app, and prints the report: each check, what was seen, what to change and where."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from rich.console import Console
from rich.markup import escape

from rehearsal.readiness.manifest import Manifest
from rehearsal.readiness.rollouts import Event
from rehearsal.readiness.trial import Trial, healthy

#: Errors in the log of a build or of the app, and what to change; {0} is the first group.
CAUSES = (
    (
        r"No matching distribution found for (\S+)",
        'Dockerfile: {0} has no wheel for Python 3.13; see "A package without a wheel" in docs/own-app.md',
    ),
    (
        r"In --require-hashes mode",
        "requirements.txt: pin every package with its hashes, by uv pip compile --generate-hashes",
    ),
    (r"No module named '?(gunicorn|flask)\b", "requirements.in: add {0}, and compile requirements.txt again"),
    (
        r"No module named '?distutils",
        "requirements.in: add setuptools, which has distutils; Python itself has none since 3.12",
    ),
    (
        r"ModuleNotFoundError: No module named '([^']+)'",
        "requirements.in: add the package that has {0}; if it is a folder of yours, name it in Dockerfile and .dockerignore",
    ),
    (
        r"KeyError: '([A-Z][A-Z0-9_]+)'",
        "deployment.yml: set {0} under env, and in the Dockerfile's test stage with ENV; a secret comes from a Secret",
    ),
    (
        r"RuntimeError: Either '(SQLALCHEMY_DATABASE_URI)'",
        "deployment.yml: set the database's URL, {0}, under env, and in the Dockerfile's test stage with ENV",
    ),
    (
        r"Read-only file system: '([^']+)'",
        "deployment.yml: mount an emptyDir volume where it writes {0}, or write below /dev/shm",
    ),
    (
        r"\[Errno 13\] Permission denied: '([^']+)'",
        "the app: let it write {0} below /tmp; deployment.yml: mount an emptyDir volume at /tmp",
    ),
    (
        r"No usable temporary directory",
        'deployment.yml: mount an emptyDir volume at /tmp; gunicorn itself needs none with worker_tmp_dir = "/dev/shm"',
    ),
    (r"Read-only file system", "deployment.yml: mount an emptyDir volume where the app writes"),
    (r"unable to open database file", "deployment.yml: mount an emptyDir volume where the app keeps its database"),
    (
        r"(Connection refused|Name or service not known|could not connect to server)",
        "the app: it needs a server that does not answer ({0}); connect on the first use, not at the start",
    ),
)

#: A leak is reported if memory grows by more than this many bytes a request and by more than this in all, after a warm-up.
LEAK_PER_REQUEST, LEAK_IN_ALL = 1024, 1024 * 1024
#: The share of a limit that must remain.
MARGIN = 0.25
MIB = 1024 * 1024
#: Checks without which no release is tried.
ESSENTIAL = ("builds", "starts", "answers the probes")
#: The exit code after SIGKILL.
KILLED = 137


@dataclass(frozen=True)
class Verdict:
    """One line of the report; ``change`` is what to change and where, and empty if the check passed."""

    check: str
    seen: str
    change: str = ""


@dataclass
class Observations:
    """All that was seen of an app. ``failure`` says why the pipeline did not deploy it."""

    manifest: Manifest
    trial: Trial
    #: Where the app's files set SERVER_NAME or TRUSTED_HOSTS.
    hosts: Sequence[str] = ()
    failure: str = ""
    log: str = ""
    events: Sequence[Event] = ()
    restarts: int = 0
    taken: Sequence[str] = field(default_factory=list)
    #: The page for visitors at the load balancer, once the pipeline has deployed the app.
    address: str = ""


def verdicts(seen: Observations) -> list[Verdict]:
    """Judge each check, in order, up to the first without which the others mean nothing."""
    return list(_verdicts(seen))


def _verdicts(seen: Observations) -> Iterator[Verdict]:
    trial, manifest = seen.trial, seen.manifest
    if not trial.built:
        yield Verdict("builds", _last_error(trial.log), cause(trial.log) or "see the log of the build above")
        return
    yield Verdict("builds", "the image, and the tests in it pass")
    if trial.started is None:
        yield _does_not_start(trial, manifest)
        return
    share = trial.started / manifest.start_allowed
    late = "deployment.yml: raise startupProbe's failureThreshold, or do less before the first request"
    yield Verdict(
        "starts", f"in {trial.started:.1f} s of {manifest.start_allowed:.0f} s", late if share > 1 - MARGIN else ""
    )
    yield _probes(trial, manifest, seen.hosts)
    root = "deployment.yml: set runAsNonRoot and runAsUser, as in the tutorial's"
    yield Verdict("not root", f"user {trial.user}", "" if trial.user else root)
    yield _read_only(trial)
    if trial.samples:
        yield from _memory(trial, manifest)
    yield _stop(trial, manifest)
    if trial.lost:
        change = cause(trial.log) or "the app: see its log for these requests"
        yield Verdict("answers under load", f"{len(trial.lost)} requests lost, the first: {trial.lost[0]}", change)
    if seen.failure:
        yield Verdict("deploys", seen.failure, cause(seen.log) or "see the log of the build above")
    for event in seen.events:
        change = "gunicorn.conf.py and preStop in deployment.yml: keep serving after SIGTERM, as the tutorial's do"
        lost = f"{len(event.reasons)} of {event.sent} requests lost"
        reason = f", the first: {event.reasons[0]}" if event.reasons else ""
        yield Verdict(event.name, lost + reason, change if event.reasons else "")
    if seen.restarts:
        yield Verdict(
            "keeps running",
            f"{seen.restarts} restarts",
            "deployment.yml: raise the memory limit or livenessProbe's timeoutSeconds",
        )


def may_be_released(seen: Observations) -> bool:
    """Whether a container of the app runs and answers, so that a release of it makes sense."""
    return not any(verdict.change for verdict in verdicts(seen) if verdict.check in ESSENTIAL)


def cause(log: str) -> str:
    """Return what to change because of an error in a log, or nothing if none is known."""
    for pattern, change in CAUSES:
        if found := re.search(pattern, log):
            return change.format(*found.groups())
    return ""


def _does_not_start(trial: Trial, manifest: Manifest) -> Verdict:
    others = [port for port in trial.ports if port != manifest.port]
    if trial.out_of_memory:
        return Verdict(
            "starts", f"killed at its limit of {manifest.memory // MIB} MiB", "deployment.yml: raise limits.memory"
        )
    if manifest.port not in trial.ports and others:
        return Verdict(
            "starts",
            f"listens on port {others[0]}, not on {manifest.port}",
            f"gunicorn.conf.py or the Dockerfile's CMD: listen on 0.0.0.0:{manifest.port}, or change containerPort in deployment.yml",
        )
    if known := cause(trial.log):
        return Verdict("starts", _last_error(trial.log), known)
    if manifest.port in trial.ports:
        return Verdict(
            "starts",
            f"listens, but answers no request within {manifest.start_allowed:.0f} s",
            "deployment.yml: raise startupProbe's failureThreshold, or do less before the first request",
        )
    return Verdict("starts", f"exited with {trial.code}: {_last_error(trial.log)}", "the app: fix this error")


def _probes(trial: Trial, manifest: Manifest, hosts: Sequence[str]) -> Verdict:
    statuses = {path: trial.statuses.get(path, 0) for path in manifest.paths}
    seen = ", ".join(f"{path} {status}" for path, status in statuses.items())
    if all(healthy(status) for status in statuses.values()):
        return Verdict("answers the probes", seen)
    if hosts:
        return Verdict(
            "answers the probes",
            f"{seen} under the address of a pod; {hosts[0]}",
            "deployment.yml: add httpHeaders: [{name: Host, value: NAME}] to each httpGet; Dockerfile: and to HEALTHCHECK",
        )
    seen = ", ".join(f"{path} {status}" for path, status in (statuses | trial.statuses).items())
    change = "deployment.yml and Dockerfile: let the probes ask a path that answers with 200"
    return Verdict("answers the probes", seen, cause(trial.log) or change)


def _read_only(trial: Trial) -> Verdict:
    found = re.search(r".*Read-only file system.*", trial.log)
    if found:
        return Verdict("read-only root", f"it writes: {found[0].strip()}", cause(found[0]))
    return Verdict("read-only root", "no failed write in its log")


def _memory(trial: Trial, manifest: Manifest) -> Iterator[Verdict]:
    most = max(sample.memory for sample in trial.samples)
    seen, change = f"{most / MIB:.0f} MiB, no limit", ""
    if manifest.memory:
        margin = 1 - most / manifest.memory
        seen = f"{most / MIB:.0f} of {manifest.memory / MIB:.0f} MiB, margin {margin:.0%}"
        change = (
            ""
            if margin >= MARGIN
            else f"deployment.yml: raise limits.memory to {most / (1 - MARGIN) / MIB:.0f}Mi or more"
        )
    if trial.out_of_memory:
        seen, change = f"{seen}, then killed at the limit", "deployment.yml: raise limits.memory"
    yield Verdict("memory", seen, change)
    # The first window warms up caches and threads.
    first, last = trial.samples[min(1, len(trial.samples) - 1)], trial.samples[-1]
    grown, requests = last.memory - first.memory, last.requests - first.requests
    if grown > max(LEAK_IN_ALL, LEAK_PER_REQUEST * requests):
        seen = f"grew by {grown / MIB:.1f} MiB in {requests} requests"
        if manifest.memory:
            left = (manifest.memory - last.memory) * requests // grown
            seen += f", and would reach its limit after {max(left, 0)} more"
        change = "the app: something keeps memory after each request; until it is found, set max_requests in gunicorn.conf.py"
        yield Verdict("memory leak", seen, change)
    else:
        yield Verdict("memory leak", f"none in {last.requests} requests")


def _stop(trial: Trial, manifest: Manifest) -> Verdict:
    killed = trial.code == KILLED and not trial.out_of_memory
    slow = killed or trial.stopped > (1 - MARGIN) * manifest.stop_allowed
    seen = f"in {trial.stopped:.1f} s of {manifest.stop_allowed:.0f} s after SIGTERM{', by SIGKILL' * killed}"
    change = (
        "the app: end at SIGTERM, without long work at exit; Dockerfile: start a server that handles it, as gunicorn does; "
        "or raise terminationGracePeriodSeconds in deployment.yml"
    )
    return Verdict("stops", seen, change if slow else "")


def _last_error(log: str) -> str:
    """Return the line of a log that says most, without what docker and pytest put before it: the last error, or the last."""
    lines = [re.sub(r"^(#\d+ [\d.]+ )?(E +)?", "", line).strip() for line in log.splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"(ERROR|[\w.]*(Error|Exception|NotFound)): ", line)]
    return ([*lines[-1:], *errors] or ["no output"])[-1][:200]


def show(console: Console, name: str, seen: Observations) -> bool:
    """Print the report; return whether the app is ready."""
    found = verdicts(seen)
    changes = list(dict.fromkeys(verdict.change for verdict in found if verdict.change))
    console.print(f"\nReadiness of {escape(name)}")
    for verdict in found:
        mark, colour = ("✗", "red") if verdict.change else ("✓", "green")
        console.print(f"  [{colour}]{mark}[/] {verdict.check:18} {escape(verdict.seen)}")
    if changes:
        console.print("To change:")
        for number, change in enumerate(changes, 1):
            console.print(f"  {number}. {escape(change)}")
    console.print("Added to your files:")
    for line in seen.taken:
        console.print(f"  - {escape(line)}")
    return not changes
