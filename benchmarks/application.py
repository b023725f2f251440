"""The image, its start, what its server carries and its memory, each beside its floor or the image of 2022."""

from __future__ import annotations

import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from benchmarks import containers
from benchmarks.containers import CALLERS, SERVER_CORE, Docker, Load
from benchmarks.figures import Context, Figure, Goal
from benchmarks.releases import change_code
from rehearsal.docker import base_image
from rehearsal.settings import settings

HERE = Path(__file__).parent
OURS, ORIGINAL, SERVERS, MINIMAL = "benchmark-app", "benchmark-original", "benchmark-servers", "benchmark-minimal"

GUNICORN = ("gunicorn",)
#: The same gunicorn with the same settings around an app that does nothing.
RAW = ("gunicorn", "--pythonpath", "/raw", "raw:app")
#: gunicorn as it comes, without this app's settings.
BARE = ("sh", "-c", "cd /raw && exec gunicorn --bind 0.0.0.0:8080 raw:app")


@dataclass(frozen=True)
class Rival:
    """What the app under its own server is held against: its name in the table, its command, the goal of the rate."""

    name: str
    command: tuple[str, ...]
    goal: Goal | None = None


RIVALS = {
    "development": Rival(
        "flask's development server, as in 2022",
        # This app as that of 2022 was started.
        ("python", "-c", "from app import app; app.run('0.0.0.0', 8080, debug=True)"),
        Goal(5, at_least=True),
    ),
    "raw": Rival("a raw WSGI callable under the same gunicorn", RAW, Goal(0.6, at_least=True)),
    "sync": Rival("gunicorn's sync worker", (*GUNICORN, "--worker-class", "sync")),
    "four": Rival("4 threads in place of 16", (*GUNICORN, "--threads", "4")),
    "granian": Rival(
        "granian",
        ("granian", "--interface", "wsgi", "--host", "0.0.0.0", "--port", "8080", "app:app"),  # noqa: S104
    ),
}


def measure(context: Context) -> list[Figure]:
    """Measure the application's rows of the table."""
    with containers.docker() as docker, tempfile.TemporaryDirectory(prefix="benchmark-") as work:
        ours, original = Path(work) / "ours", Path(work) / "original"
        _copy_context(ours)
        shutil.copytree(HERE / "original", original)
        context.say("make the images")
        docker.build(ours, OURS)
        docker.build(original, ORIGINAL)
        docker.build(HERE / "servers", SERVERS, "--build-arg", f"APP={OURS}")
        docker.build(HERE / "minimal", MINIMAL, "--build-arg", f"APP={OURS}")
        return [
            *_size(docker),
            _rebuild(context, docker, ours, original),
            *_start(context, docker),
            *_throughput(context, docker),
            *_memory(context, docker),
        ]


def _copy_context(target: Path) -> None:
    """Copy what the image is built from, of which .dockerignore has the list."""
    listed = (settings.root / ".dockerignore").read_text(encoding="utf-8").splitlines()
    for name in ("Dockerfile", ".dockerignore", *(line[1:] for line in listed if line.startswith("!"))):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(settings.root / name, target / name)


def _size(docker: Docker) -> list[Figure]:
    with docker.running(MINIMAL):
        pass  # It does run.
    base, below = docker.image(base_image.NAME)
    size, layers = docker.image(OURS)
    original, others = docker.image(ORIGINAL)
    return [
        Figure("image: what it adds to its base", "MB", [size - base], "the image of 2022 on the same base",
               [original - base], Goal(0.5), f"{layers - below} layers against {others - below}"),
        Figure("image: the whole", "MB", [size], "the same app without a distribution", [docker.image(MINIMAL)[0]],
               note="no shell there, and nobody who mends its libraries"),
    ]  # fmt: skip


def _rebuild(context: Context, docker: Docker, ours: Path, original: Path) -> Figure:
    times: dict[str, list[float]] = {OURS: [], ORIGINAL: []}
    for number in range(context.repetitions):
        context.say(f"build again after a change of app.py, {number + 1} of {context.repetitions}")
        for tag, directory in ((OURS, ours), (ORIGINAL, original)):
            change_code(directory, f"{time.time_ns()}")
            times[tag].append(docker.build(directory, tag))
    return Figure("image: built again after a change of app.py", "s", times[OURS], "the image of 2022",
                  times[ORIGINAL], Goal(2, absolute=True), "the release stage; that one installs again")  # fmt: skip


def _start(context: Context, docker: Docker) -> list[Figure]:
    times: dict[str, list[float]] = {OURS: [], SERVERS: [], ORIGINAL: []}
    commands: dict[str, tuple[str, ...]] = {OURS: (), SERVERS: BARE, ORIGINAL: ()}
    context.say("start containers")
    for _ in range(context.repetitions * (1 if context.quick else 3)):
        for image, seen in times.items():
            with docker.running(image, *commands[image]) as took:
                seen.append(took)
    name = "from a container's start to its first answer"
    return [
        Figure(name, "s", times[OURS], "bare gunicorn with a raw WSGI callable, same image", times[SERVERS], Goal(1.3)),
        Figure(name, "s", times[OURS], "the image of 2022", times[ORIGINAL]),
    ]


def _throughput(context: Context, docker: Docker) -> list[Figure]:
    servers = {"gthread": GUNICORN} | {key: rival.command for key, rival in RIVALS.items()}
    seen: dict[str, list[Load]] = {name: [] for name in servers}
    spent: dict[str, list[float]] = {name: [] for name in servers}
    seconds, warm = (1.0, 1.0) if context.quick else (4.0, 1.0)
    for number in range(context.repetitions):
        context.say(f"load {', '.join(servers)}, {number + 1} of {context.repetitions}")
        for name, command in servers.items():
            with docker.running(SERVERS, *command, options=(f"--cpuset-cpus={SERVER_CORE}",)):
                containers.load(warm)
                before = docker.processor()
                seen[name].append(containers.load(seconds))
                spent[name].append((docker.processor() - before) / (seen[name][-1].rate * seconds) * 1e6)
    return [
        *(
            Figure("app: requests a second on one core", "requests/s", [one.rate for one in seen["gthread"]], rival.name,
                   [one.rate for one in seen[key]], rival.goal,
                   f"{median(spent['gthread']):.0f} µs of the core each, against {median(spent[key]):.0f}")
            for key, rival in RIVALS.items()
        ),
        *(
            Figure(f"the 99th of 100 answers, {CALLERS} callers", "ms", [one.p99 for one in seen["gthread"]], rival.name,
                   [one.p99 for one in seen[key]])
            for key, rival in RIVALS.items()
        ),
    ]  # fmt: skip


def _memory(context: Context, docker: Docker) -> list[Figure]:
    """Run the container within the pod's bounds, first with nothing to do, then under load."""
    container = _container()
    resources = container["resources"]
    options = (f"--memory={_mebibytes(resources['limits']['memory'])}m", f"--cpus={resources['limits']['cpu']}",
               "--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges")  # fmt: skip
    rest, busy = [], []
    for number in range(context.repetitions):
        context.say(f"memory at rest and under load, {number + 1} of {context.repetitions}")
        with docker.running(OURS, options=options):
            time.sleep(1 if context.quick else 3)
            rest.append(docker.memory())
            busy.append(_most_memory(docker, 3 if context.quick else 30))
    return [
        Figure("memory of a pod at rest", "MiB", rest, "its request", [_mebibytes(resources["requests"]["memory"])],
               Goal(1)),
        Figure("memory of a pod under load", "MiB", busy, "its limit", [_mebibytes(resources["limits"]["memory"])],
               Goal(0.8), f"the most within {'3' if context.quick else '30'} seconds"),
    ]  # fmt: skip


def _most_memory(docker: Docker, seconds: float) -> float:
    most = 0.0
    wrk = containers.start_load(seconds)
    while wrk.poll() is None:
        most = max(most, docker.memory())
        time.sleep(0.5)
    containers.end_load(wrk)
    return most


def _container() -> Any:
    """The app's container as deployment.yml describes it."""
    documents = yaml.safe_load_all((settings.root / "deployment.yml").read_text(encoding="utf-8"))
    deployment = next(one for one in documents if one["kind"] == "Deployment")
    return deployment["spec"]["template"]["spec"]["containers"][0]


def _mebibytes(quantity: str) -> int:
    return int(quantity.removesuffix("Mi"))
