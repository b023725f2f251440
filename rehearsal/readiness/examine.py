"""Examines an app in a running rehearsal: first one container of it, then the app in the cluster."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from rehearsal.progress import Progress, StepFailed
from rehearsal.readiness import report, rollouts, trial
from rehearsal.readiness.directory import App
from rehearsal.readiness.manifest import Manifest, read_manifest
from rehearsal.tutorial import Tutorial

#: Settings of Flask by which an app answers only to some host names.
RESTRICTS_HOSTS = re.compile(r"\b(SERVER_NAME|TRUSTED_HOSTS)\b")


def one_container(progress: Progress, tutorial: Tutorial, app: App, taken: Sequence[str]) -> report.Observations:
    """Try one container of the app, whose prepared files are the tutorial's checkout.

    If no probe's path answers and the directory has no deployment.yml, lets the probes ask a path that does.
    """
    manifest = app.manifest
    with progress.step("Build the image and try one container") as step:
        one = trial.try_out(tutorial.checkout, manifest, tutorial.env, step)
        path = one.path(manifest.paths)
        step("= it answers" if path else "= it does not answer correctly")
    if path and path not in manifest.paths and not app.has("deployment.yml"):
        manifest = _ask(tutorial.checkout, manifest, path)
        taken = [*taken, f"deployment.yml and Dockerfile: the probes ask {path}, because /healthz does not answer"]
    return report.Observations(manifest, one, _restrictions(app), taken=taken)


def in_cluster(progress: Progress, tutorial: Tutorial, seen: report.Observations) -> None:
    """Release the app by the pipeline, replace its pods under load, and add what was seen."""
    manifest = seen.manifest
    try:
        tutorial.release()
        with progress.step("Roll out, undo and drain a node under load") as step:
            seen.address = tutorial.address().rstrip("/") + seen.trial.page(manifest.paths)
            live = rollouts.Rollouts(tutorial.kubectl, manifest, seen.address)
            seen.events = live.events()
            seen.restarts = live.restarts()
            lost = sum(len(event.reasons) for event in seen.events)
            step(f"= {lost} of {sum(event.sent for event in seen.events)} requests lost")
    except (StepFailed, TimeoutError) as error:
        seen.failure, seen.log = str(error), "\n".join(getattr(error, "excerpt", []))


def _ask(checkout: Path, manifest: Manifest, path: str) -> Manifest:
    """Let all probes ask ``path``; return the new manifest."""
    for name in ("deployment.yml", "Dockerfile"):
        file = checkout / name
        text = file.read_text(encoding="utf-8")
        for old in manifest.paths:
            text = text.replace(f"path: {old},", f"path: {path},").replace(f":8080{old}'", f":8080{path}'")
        file.write_text(text, encoding="utf-8")
    return read_manifest(checkout / "deployment.yml")


def _restrictions(app: App) -> list[str]:
    """Return where the app's files restrict the host names that it answers to, as ``file:line NAME``."""
    found = []
    for name in app.files:
        if name.endswith((".py", ".cfg", ".toml", ".yml", ".json")):
            lines = (app.directory / name).read_text(encoding="utf-8", errors="replace").splitlines()
            found += [
                f"{name}:{number} sets {match[1]}"
                for number, line in enumerate(lines, 1)
                if (match := RESTRICTS_HOSTS.search(line))
            ]
    return found
