"""The app's image, startup time, throughput and memory, compared with the image of 2022 or with the pod's limits."""

from __future__ import annotations

import shutil
import tempfile
import time
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
OURS, ORIGINAL = "benchmark-app", "benchmark-original"
#: This app, started as that of 2022 was.
DEVELOPMENT = ("python", "-c", "from app import app; app.run('0.0.0.0', 8080, debug=True)")
DEVELOPMENT_NAME = "flask's development server, as in 2022"


def measure(context: Context) -> list[Figure]:
    """Measure the application's rows of the table."""
    with containers.docker() as docker, tempfile.TemporaryDirectory(prefix="benchmark-") as work:
        ours, original = Path(work) / "ours", Path(work) / "original"
        _copy_context(ours)
        shutil.copytree(HERE / "original", original)
        context.say("build the images")
        docker.build(ours, OURS)
        docker.build(original, ORIGINAL)
        return [
            _size(docker),
            _rebuild(context, docker, ours, original),
            _start(context, docker),
            *_throughput(context, docker),
            *_memory(context, docker),
        ]


def _copy_context(target: Path) -> None:
    """Copy the build context, which .dockerignore lists."""
    listed = (settings.root / ".dockerignore").read_text(encoding="utf-8").splitlines()
    for name in ("Dockerfile", ".dockerignore", *(line[1:] for line in listed if line.startswith("!"))):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(settings.root / name, target / name)


def _size(docker: Docker) -> Figure:
    base, below = docker.image(base_image.NAME)
    size, layers = docker.image(OURS)
    original, others = docker.image(ORIGINAL)
    return Figure("image: what it adds to its base", "MB", [size - base], "the image of 2022 on the same base",
                  [original - base], Goal(0.5), f"{layers - below} layers against {others - below}")  # fmt: skip


def _rebuild(context: Context, docker: Docker, ours: Path, original: Path) -> Figure:
    times: dict[str, list[float]] = {OURS: [], ORIGINAL: []}
    for number in range(context.repetitions):
        context.say(f"rebuild after a change of app.py, {number + 1} of {context.repetitions}")
        for tag, directory in ((OURS, ours), (ORIGINAL, original)):
            change_code(directory, f"{time.time_ns()}")
            times[tag].append(docker.build(directory, tag))
    return Figure("image: built again after a change of app.py", "s", times[OURS], "the image of 2022",
                  times[ORIGINAL], Goal(2, absolute=True), "the release stage; that one installs again")  # fmt: skip


def _start(context: Context, docker: Docker) -> Figure:
    times: dict[str, list[float]] = {OURS: [], ORIGINAL: []}
    context.say("start containers")
    for _ in range(context.repetitions * (1 if context.quick else 3)):
        for image, seen in times.items():
            with docker.running(image) as took:
                seen.append(took)
    return Figure(
        "from a container's start to its first answer", "s", times[OURS], "the image of 2022", times[ORIGINAL]
    )


def _throughput(context: Context, docker: Docker) -> list[Figure]:
    servers: dict[str, tuple[str, ...]] = {"gunicorn": (), "development": DEVELOPMENT}
    seen: dict[str, list[Load]] = {name: [] for name in servers}
    spent: dict[str, list[float]] = {name: [] for name in servers}
    seconds, warm = (1.0, 1.0) if context.quick else (4.0, 1.0)
    for number in range(context.repetitions):
        context.say(f"load {', '.join(servers)}, {number + 1} of {context.repetitions}")
        for name, command in servers.items():
            with docker.running(OURS, *command, options=(f"--cpuset-cpus={SERVER_CORE}",)):
                containers.load(warm)
                before = docker.processor()
                seen[name].append(containers.load(seconds))
                spent[name].append((docker.processor() - before) / (seen[name][-1].rate * seconds) * 1e6)
    ours, other = seen["gunicorn"], seen["development"]
    return [
        Figure("app: requests a second on one core", "requests/s", [one.rate for one in ours], DEVELOPMENT_NAME,
               [one.rate for one in other], Goal(5, at_least=True),
               f"{median(spent['gunicorn']):.0f} µs of the core each, against {median(spent['development']):.0f}"),
        Figure(f"the 99th of 100 answers, {CALLERS} callers", "ms", [one.p99 for one in ours], DEVELOPMENT_NAME,
               [one.p99 for one in other]),
    ]  # fmt: skip


def _memory(context: Context, docker: Docker) -> list[Figure]:
    """Measure within the pod's limits, first at rest, then under load."""
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
    """The app's container from deployment.yml."""
    documents = yaml.safe_load_all((settings.root / "deployment.yml").read_text(encoding="utf-8"))
    deployment = next(one for one in documents if one["kind"] == "Deployment")
    return deployment["spec"]["template"]["spec"]["containers"][0]


def _mebibytes(quantity: str) -> int:
    return int(quantity.removesuffix("Mi"))
