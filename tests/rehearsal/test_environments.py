"""Where the rehearsal runs: Debian's releases, and the container of docs/environments.md, in a real Docker Engine."""

from __future__ import annotations

import re
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from rehearsal.docker import base_image
from rehearsal.settings import settings
from tests.support import engine as engines
from tests.support.engine import Engine
from tests.support.fixtures import Figure
from tests.support.paths import ROOT

pytestmark = [pytest.mark.rehearsal, pytest.mark.slow, pytest.mark.timeout(3000)]

PROGRAMS = "docker dockerd runc mmdebstrap iptables ip conntrack ethtool ps git curl"
MAKE_BASE_IMAGE = 'venv=$(scripts/dev/venv.sh rehearsal) && "$venv/bin/python" -m rehearsal.once base-image | tail -n 1'
#: Little more than the check asks for, and this machine has no swap to add to it.
MEMORY = "2560m"
PAGE = f"http://127.0.0.1:{settings.ports.console}/"


def seconds_of(output: str) -> int:
    """Return how long a rehearsal took that left nothing."""
    assert "no process, namespace, link, mount, cgroup, rule or file is left" in output
    (seconds,) = re.findall(r"Whole rehearsal: (\d+) s", output)
    return int(seconds)


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with engines.running() as running:
        yield running


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    return engines.copy_of_repository(tmp_path / "checkout")


@pytest.mark.parametrize(
    ("image", "suite"),
    [
        ("debian:12-slim", "bookworm"),
        ("debian:13-slim", "trixie"),
        ("ubuntu:24.04", "noble"),
        ("ubuntu:26.04", "resolute"),
    ],
)
def test_packages_of_a_distribution_bring_every_program_and_make_the_base_image(
    engine: Engine, checkout: Path, image: str, suite: str
) -> None:
    steps = f"cd /src && scripts/dev/packages.sh rehearsal && type -P {PROGRAMS} && ls /usr/lib/cni/ptp {base_image.KEYS} && {MAKE_BASE_IMAGE}"
    options = ["--rm", "--privileged", f"--volume={checkout}:/src", *engines.of_the_machine()]
    done = engine.docker("run", *options, engine.pull(image, suite), "bash", "-c", steps, timeout=1200)
    *others, made = done.stdout.splitlines()
    assert sum(line.startswith("/usr/") for line in others) == len(PROGRAMS.split()) + 2, done.stdout
    assert re.fullmatch(r"= 1\d\d MB", made)


@pytest.mark.parametrize(("image", "suite"), [("ubuntu:24.04", "noble"), ("ubuntu:26.04", "resolute")])
def test_rehearses_on_ubuntu_with_little_memory(
    engine: Engine, checkout: Path, image: str, suite: str, figure: Figure
) -> None:
    engine.fill("rehearsal")
    options = ["--privileged", f"--memory={MEMORY}", f"--volume={checkout}:/src", "--volume=rehearsal:/root/.cache"]
    steps = "cd /src && scripts/rehearse.sh && docker --version && python3 --version"
    command = ["--rm", *options, *engines.of_the_machine(), engine.pull(image, suite), "bash", "-c", steps]
    done = engine.docker("run", *command, timeout=2400)
    print(done.stdout)
    figure("the rehearsal passes on Ubuntu, with 2.7 GB of memory", f"in ~{seconds_of(done.stdout)} s")


def test_fast_tests_pass_on_debian_13(engine: Engine, checkout: Path) -> None:
    image = engine.pull("debian:13-slim", "trixie")
    mounts = [f"--volume={checkout}:/src", "--volume=fast:/root/.cache", *engines.of_the_machine()]
    steps = "cd /src && scripts/dev/packages.sh minimal && git config --global --add safe.directory /src && scripts/test.sh --fast"
    done = engine.docker(
        "run", "--rm", "--init", "--privileged", *mounts, image, "bash", "-c", steps, timeout=2400, check=False
    )
    assert done.returncode == 0, done.stdout[-5000:]
    assert re.search(r"\d+ passed", done.stdout)


def test_container_of_the_documentation_rehearses(engine: Engine, checkout: Path, figure: Figure) -> None:
    engine.pull("debian:13-slim", "trixie")
    engine.fill("rehearsal")
    commands = re.findall(r"```bash container\n(.*?)```", (ROOT / "docs" / "environments.md").read_text(), re.DOTALL)
    text = "".join(commands).replace("--interactive --tty", " ".join(engines.of_the_machine()))
    answers: list[str] = []
    ended = threading.Event()

    def watch() -> None:
        """Ask for the console page where the engine publishes it, until the rehearsal has ended."""
        while not ended.wait(2):
            curl = [*engine.outside(), "curl", "--silent", "--max-time", "5", PAGE]
            answers.append(subprocess.run(curl, capture_output=True, text=True, check=False, timeout=20).stdout)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        done = subprocess.run(
            ["bash", "-ec", text], cwd=checkout, env=engine.environment(), capture_output=True, text=True,
            errors="replace", timeout=2400, check=False,
        )  # fmt: skip
    finally:
        ended.set()
        watcher.join()
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    seconds = seconds_of(done.stdout)
    seen = sum("<title>" in answer for answer in answers)
    assert seen > 0
    figure("the documented container rehearses the whole tutorial", f"in ~{seconds} s")
