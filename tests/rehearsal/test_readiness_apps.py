"""The readiness report of apps with planted defects, and of apps that others published, in a kept rehearsal."""

from __future__ import annotations

import os
import shutil
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from rehearsal import learner
from rehearsal.progress import Progress
from rehearsal.readiness import examine, report
from rehearsal.readiness.directory import prepare, read
from rehearsal.tutorial import Tutorial
from tests.support.fixtures import Figure, Rehearsal
from tests.support.paths import ROOT

pytestmark = [pytest.mark.rehearsal, pytest.mark.slow, pytest.mark.timeout(900)]

PUBLISHED: dict[str, Any] = tomllib.loads((ROOT / "tests/rehearsal/apps/published.toml").read_text())
UNTIL = PUBLISHED.pop("until")

HOME = '\n\n@app.get("/")\ndef home() -> str:\n    return "hello"\n'
APP = "from flask import Flask\n\napp = Flask(__name__)\n"
#: An image of its own, of which the program is the app.
DOCKERFILE = """\
FROM public.ecr.aws/docker/library/python:3.13-slim AS test
COPY requirements.txt ./
RUN pip install --no-cache-dir --require-hashes --requirement requirements.txt
COPY app.py ./
FROM test AS release
USER 10001
CMD ["python", "app.py"]
"""
OWN_SERVER = {"Dockerfile": DOCKERFILE, ".dockerignore": "*\n!app.py\n!requirements.txt\n"}
OWN_SERVER["requirements.txt"] = (ROOT / "requirements.txt").read_text()
SERVES = '\n\nif __name__ == "__main__":\n    app.run(host="0.0.0.0", port={port})\n'

#: The files of an app with a defect, the check that finds it, and words of what to change.
DEFECTS: dict[str, tuple[dict[str, str], str, str]] = {
    "takes long to end": (
        {
            "app.py": f'import atexit\nimport sys\nimport time\n{APP}if "gunicorn" in sys.argv[0]:\n    atexit.register(time.sleep, 60){HOME}'
        },
        "stops",
        "end at SIGTERM",
    ),
    "does not end at SIGTERM": (
        {"app.py": APP + HOME + SERVES.format(port=8080), **OWN_SERVER},
        "stops",
        "end at SIGTERM",
    ),
    "writes to its root": (
        {"app.py": APP + HOME.replace("return", 'open("visits.txt", "a").close()\n    return')},
        "read-only root",
        "mount an emptyDir volume where it writes visits.txt",
    ),
    "keeps memory": (
        {"app.py": APP + HOME.replace("return", "kept.append(bytearray(10_000))\n    return") + "\n\nkept = []\n"},
        "memory leak",
        "something keeps memory after each request",
    ),
    "listens on a port of its own": (
        {"app.py": APP + HOME + SERVES.format(port=5000), **OWN_SERVER},
        "starts",
        "listen on 0.0.0.0:8080",
    ),
    "listens late": (
        {"app.py": f'import sys\nimport time\n{APP}if "gunicorn" in sys.argv[0]:\n    time.sleep(60){HOME}'},
        "starts",
        "startupProbe's failureThreshold",
    ),
    "needs a database's URL": (
        {"app.py": f'import os\n{APP}app.config["URL"] = os.environ["DATABASE_URL"]\n'},
        "builds",
        "set DATABASE_URL under env",
    ),
    "answers to one host name": (
        {"app.py": f'{APP}app.config["TRUSTED_HOSTS"] = ["shop.example.com"]{HOME}'},
        "answers the probes",
        "httpHeaders",
    ),
}

Examine = Callable[..., report.Observations]


@pytest.fixture(scope="module")
def examined(rehearsal: Rehearsal, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Examine]:
    """Return a function that puts an app's files into the checkout and examines it; the checkout is restored."""
    progress = Progress(tmp_path_factory.mktemp("steps"))
    tutorial = Tutorial(progress, rehearsal.env, rehearsal.checkout)
    commit = rehearsal.run("git", "rev-parse", "HEAD").stdout.strip()

    def examined(directory: Path, files: dict[str, str], *, release: bool = False) -> report.Observations:
        directory.mkdir()
        for name, text in files.items():
            (directory / name).write_text(text)
        app = read(directory)
        taken = prepare(app, directory.with_name("prepared"))
        empty(rehearsal.checkout)
        shutil.copytree(directory.with_name("prepared"), rehearsal.checkout, dirs_exist_ok=True, symlinks=True)
        seen = examine.one_container(progress, tutorial, app, taken)
        if release and report.may_be_released(seen):
            tutorial.push_all(f"Deploy {directory.name}")
            examine.in_cluster(progress, tutorial, seen)
        report.show(Console(width=160), directory.name, seen)
        return seen

    yield examined
    empty(rehearsal.checkout)
    rehearsal.run("git", "checkout", "--quiet", commit, "--", ".")
    tutorial.push_all("Restore the tutorial")


def empty(checkout: Path) -> None:
    """Remove all files of a checkout, but not its history."""
    for path in checkout.iterdir():
        if path.name != ".git":
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def failed(seen: report.Observations) -> dict[str, str]:
    return {verdict.check: verdict.change for verdict in report.verdicts(seen) if verdict.change}


@pytest.mark.parametrize("defect", DEFECTS)
def test_planted_defect_is_found_by_name(examined: Examine, tmp_path: Path, defect: str) -> None:
    files, check, change = DEFECTS[defect]
    found = failed(examined(tmp_path / "shop", {"requirements.in": "flask==3.1.3\n", **files}))
    assert change in found.get(check, ""), found


def test_app_in_middleware_is_ready(examined: Examine, tmp_path: Path) -> None:
    wrapped = f"from werkzeug.middleware.proxy_fix import ProxyFix\n{APP}{HOME}\n\napp = ProxyFix(app)\n"
    assert failed(examined(tmp_path / "shop", {"requirements.in": "flask==3.1.3\n", "app.py": wrapped})) == {}


# Apps that others published. Those with something to change come first, because they need no cluster.


def examine_published(examined: Examine, tmp_path: Path, name: str, *, release: bool) -> report.Observations:
    """Examine an app with the packages of the day in published.toml."""
    app = PUBLISHED[name]
    files = {"requirements.in": f"{name}=={app['version']}\n", **app["file"]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(os.environ, "UV_EXCLUDE_NEWER", UNTIL)
        seen = examined(tmp_path / name, files, release=release)
    assert app["wheel"] in (learner.checkout_path() / "requirements.txt").read_text(), "the index has another file"
    return seen


@pytest.mark.parametrize("name", [name for name, app in PUBLISHED.items() if "fails" in app])
def test_published_app_with_something_to_change(examined: Examine, tmp_path: Path, name: str, figure: Figure) -> None:
    found = failed(examine_published(examined, tmp_path, name, release=False))
    check, change = PUBLISHED[name]["fails"]
    named = change in found.get(check, "")
    figure("what to change in an app that others published is named", f"{named:d} of 1")
    assert named, found


@pytest.mark.parametrize("name", [name for name, app in PUBLISHED.items() if "fails" not in app])
@pytest.mark.usefixtures("stack")
def test_published_app_that_is_ready(examined: Examine, tmp_path: Path, name: str, figure: Figure) -> None:
    seen = examine_published(examined, tmp_path, name, release=True)
    found = failed(seen)
    lost = sum(len(event.reasons) for event in seen.events)
    sent = sum(event.sent for event in seen.events)
    figure(
        "an app that others published is ready for the pipeline",
        f"{lost} of ~{sent} requests lost, ready {not found:d} of 1",
    )
    assert found == {}
    assert [event.name for event in seen.events] == ["a rollout", "an undo", "a drain"]
