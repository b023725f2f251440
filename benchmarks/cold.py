"""Builds on a machine that has nothing: no layer, no base image, and a registry at the other end of a slow link.

This is the builder that CodeBuild mostly gives. A Docker Engine of its own, in a network namespace, starts empty for each
build; registry and proxy are in this process. All that the builder sends or receives passes a pair of virtual interfaces,
whose rate tbf(8) limits and whose counters are the bytes. The registry answers each request a round trip later, because
netem(8) is not in every kernel. The commands are those of buildspec.yml, without the scripts that use the cluster, until the
image is pushed.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from benchmarks.far_registry import ADDRESS, HERE, PROXY, ROUND_TRIP, serving
from benchmarks.figures import Context, Figure, Goal
from benchmarks.releases import BenchmarkError, Edit, change_code, change_dependency, change_nothing
from rehearsal.codebuild.buildspec import PHASES, parse
from rehearsal.codebuild.shell import Shell
from rehearsal.docker import base_image
from rehearsal.docker.engine import SYSTEM_PATH
from rehearsal.settings import settings
from rehearsal.waiting import until

RATE = "100mbit"
REPOSITORY = f"{ADDRESS}/hello-world"
BASE = f"{ADDRESS}/python:3.13-slim"
#: Scripts of a build that use the cluster.
OF_THE_CLUSTER = ("connect", "install-kubectl", "deploy")
FLOOR = "floor: pull the base, build with --cache-from, push"
START = 'set -e; mount -t tmpfs tmpfs /run; [ ! -d /etc/docker ] || mount -t tmpfs tmpfs /etc/docker; exec dockerd "$@"'
CLUSTERLESS = "exit 0\n"


@dataclass(frozen=True)
class Took:
    """The seconds of a build, and the MB that passed the link."""

    seconds: float
    megabytes: float


@dataclass
class Builder:
    """A namespace at the far end of the link, in which each build gets a new Docker Engine."""

    work: Path
    name: str = "cold-builder"

    def __enter__(self) -> Self:
        inside = ["ip", "-n", self.name]
        commands = [
            ["ip", "netns", "add", self.name],
            ["ip", "link", "add", "cold0", "type", "veth", "peer", "name", "eth0", "netns", self.name],
            ["ip", "address", "add", f"{HERE}/30", "dev", "cold0"],
            ["ip", "link", "set", "cold0", "up"],
            [*inside, "address", "add", f"{HERE.rpartition('.')[0]}.2/30", "dev", "eth0"],
            [*inside, "link", "set", "eth0", "up"],
            [*inside, "link", "set", "lo", "up"],
        ]
        self.__exit__()  # of a run that was killed
        for command in commands:
            subprocess.run(command, check=True, capture_output=True, timeout=10)
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run(["ip", "netns", "delete", self.name], check=False, capture_output=True, timeout=10)
        subprocess.run(["ip", "link", "delete", "cold0"], check=False, capture_output=True, timeout=10)

    def slow_down(self) -> None:
        """Give the link its rate in both directions."""
        shape = ["root", "tbf", "rate", RATE, "burst", "128kb", "latency", "100ms"]
        subprocess.run(["tc", "qdisc", "replace", "dev", "cold0", *shape], check=True, timeout=10)
        subprocess.run(["tc", "-n", self.name, "qdisc", "replace", "dev", "eth0", *shape], check=True, timeout=10)

    def megabytes(self) -> float:
        """Return what has passed the link so far, in both directions."""
        counters = Path("/sys/class/net/cold0/statistics")
        return sum(int((counters / name).read_text()) for name in ("rx_bytes", "tx_bytes")) / 1e6

    @property
    def enter(self) -> list[str]:
        """The words before a command that runs on the builder."""
        return ["nsenter", f"--net=/run/netns/{self.name}"]

    def environment(self) -> dict[str, str]:
        """Return the variables of every command on the builder; its home has the Docker client's proxy."""
        return {
            "PATH": f"{self.work / 'bin'}:{SYSTEM_PATH}", "HOME": str(self.work / "home"),
            "DOCKER_HOST": f"unix://{self.work}/docker.sock", "DOCKER_BUILDKIT": "1",
            "CURL_CA_BUNDLE": str(self.work / "certificate.pem"), "SSL_CERT_FILE": str(self.work / "certificate.pem"), "AWS_REGION": "us-east-2",
        }  # fmt: skip

    @contextlib.contextmanager
    def engine(self) -> Iterator[None]:
        """Start a Docker Engine that has nothing; afterwards, remove it and all that it has."""
        data = Path(tempfile.mkdtemp(dir=self.work))
        (self.work / "daemon.json").write_text("{}")
        shutil.rmtree(self.work / "home", ignore_errors=True)
        (self.work / "home" / ".docker").mkdir(parents=True)
        (self.work / "home" / ".docker" / "config.json").write_text(
            json.dumps({"proxies": {"default": {"httpsProxy": PROXY}}})
        )
        options = [f"--data-root={data}", "--exec-root=/run/docker", "--pidfile=/run/docker.pid", "--storage-driver=overlay2",
                   f"--host=unix://{self.work}/docker.sock", f"--config-file={self.work}/daemon.json", "--group=root"]  # fmt: skip
        environment = self.environment() | {"PATH": SYSTEM_PATH, "SSL_CERT_FILE": str(self.work / "certificate.pem")}
        apart = ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc"]
        with (self.work / "log").open("w") as log:
            process = subprocess.Popen(
                [*self.enter, *apart, "sh", "-c", START, "sh", *options], env=environment, stdout=log, stderr=log
            )
            try:
                until(lambda: (self.work / "docker.sock").exists() and not self._docker("version").returncode, 60, "the engine",
                      lambda: (self.work / "log").read_text()[-1000:])  # fmt: skip
                yield
            finally:
                process.kill()
                process.wait(30)
                (self.work / "docker.sock").unlink(missing_ok=True)
                subprocess.run(
                    ["sh", "-c", 'grep -o "$0[^ ]*" /proc/mounts | xargs -r umount -l; rm -rf "$0"', data],
                    check=False,
                    timeout=60,
                )

    def _docker(self, *args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.enter, "docker", *args],
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def docker(self, *args: str) -> None:
        """Run the Docker client on the builder.

        Raises:
            BenchmarkError: the command failed.
        """
        done = self._docker(*args)
        if done.returncode:
            raise BenchmarkError(f"docker {' '.join(args)}: {done.stderr[-1500:]}")

    def timed(self, build: Callable[[], None]) -> Took:
        """Run a build with a new engine and measure it; again if the engine crashes, as Docker 20.10 does.

        Raises:
            BenchmarkError: a command failed for another reason, or the engine crashed each time.
        """
        for left in reversed(range(5)):
            with self.engine():
                begin, before = time.monotonic(), self.megabytes()
                try:
                    build()
                except BenchmarkError:
                    if left and "\npanic: " in (self.work / "log").read_text(errors="replace"):
                        continue
                    raise
                return Took(time.monotonic() - begin, self.megabytes() - before)
        raise AssertionError

    def by_buildspec(self, tree: Path, version: str) -> None:
        """Run the phases of a tree's buildspec.yml.

        Raises:
            BenchmarkError: a command failed.
        """
        spec = parse((tree / "buildspec.yml").read_text(encoding="utf-8"))
        given = {
            "ECR_REPOSITORY_URI": REPOSITORY, "EKS_CLUSTER_NAME": "cluster", "EKS_KUBECTL_ROLE_ARN": "role", "APP_NAMESPACE": "hello-world",
            "CODEBUILD_RESOLVED_SOURCE_VERSION": version, "CODEBUILD_BUILD_SUCCEEDING": "1",
        }  # fmt: skip
        with (self.work / "build.log").open("wb") as log:
            environment = self.environment() | dict(spec.variables) | given
            shell = Shell(self.work / "shell", tree, environment, log.fileno(), shell=spec.shell, enter=self.enter)
            for name in PHASES:
                for command in (*spec.phases[name].commands, *spec.phases[name].finally_commands):
                    if shell.run(command):
                        raise BenchmarkError(
                            f"{command[:80]}: {(self.work / 'build.log').read_text(errors='replace')[-9000:]}"
                        )

    def by_hand(self, tree: Path, version: str) -> None:
        """Do the least that makes and pushes an image of the tree."""
        image = f"{REPOSITORY}:{version}"
        self.docker("pull", "--quiet", BASE)
        self.docker(
            "build",
            "--cache-from",
            f"{REPOSITORY}:hand",
            "--build-arg",
            "BUILDKIT_INLINE_CACHE=1",
            "--tag",
            image,
            "--tag",
            f"{REPOSITORY}:hand",
            str(tree),
        )
        self.docker("push", "--quiet", f"{REPOSITORY}:hand")


def tree(target: Path) -> Path:
    """Copy this repository, with the base image of the far registry, and without the scripts that use the cluster."""
    names = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=settings.root,
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    ).stdout.split()
    for name in names:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(settings.root / name, target / name)
    dockerfile = target / "Dockerfile"
    dockerfile.write_text(dockerfile.read_text().replace(base_image.NAME, BASE))
    for name in OF_THE_CLUSTER:
        (target / "scripts" / "build" / f"{name}.sh").write_text(CLUSTERLESS)
    return target


@contextlib.contextmanager
def builder() -> Iterator[Builder]:
    """Yield a builder at the end of the slow link, whose registry has the base image."""
    with tempfile.TemporaryDirectory(prefix="cold-") as name, Builder(Path(name)) as made, serving(made.work):
        (made.work / "bin").mkdir()
        (made.work / "bin" / "aws").write_text("#!/bin/sh\nsleep 0.9\necho a-password\n")
        (made.work / "bin" / "aws").chmod(0o755)
        with made.engine():
            changes = [word for change in base_image.CONFIGURATION for word in ("--change", change)]
            made.docker("image", "import", *changes, str(base_image.path()), BASE)
            made.docker("push", "--quiet", BASE)
        made.slow_down()
        yield made


def measure(context: Context) -> list[Figure]:
    """Measure each kind of push on a cold builder, in turn with the least that the same change takes."""
    figures: list[Figure] = []
    with builder() as cold:
        source = tree(cold.work / "tree")
        cases: dict[str, Edit] = {
            "first build": lambda _tree, _stamp: None, "one line of app.py": change_code,
            "a dependency": change_dependency, "nothing": change_nothing,
        }  # fmt: skip
        for case, edit in cases.items():
            ours: list[Took] = []
            hand: list[Took] = []
            for number in range(1 if case == "first build" else context.repetitions):
                edit(source, f"{case[:3]}{number}")
                version = f"{case.replace(' ', '-')}-{number}"
                if case != "nothing":
                    hand.append(cold.timed(lambda version=version: cold.by_hand(source, version)))  # type: ignore[misc]
                ours.append(cold.timed(lambda version=version: cold.by_buildspec(source, version)))  # type: ignore[misc]
                context.say(f"cold, {case}: {ours[-1]}, by hand {hand[-1:]}")
            figures += _rows(case, ours, hand)
    return figures


def _rows(case: str, ours: list[Took], hand: list[Took]) -> list[Figure]:
    what = f"cold builder, {case}{' changed' if case != 'first build' else ''}"
    note = f"{RATE}, {1000 * ROUND_TRIP:.0f} ms; without the cluster's part"
    goal = Goal(1.25) if case == "one line of app.py" else None
    return [
        Figure(f"{what}, until the image is pushed", "s", [one.seconds for one in ours], FLOOR if hand else "", [one.seconds for one in hand], goal, note),
        Figure(f"{what}, over the link", "MB", [one.megabytes for one in ours], FLOOR if hand else "", [one.megabytes for one in hand]),
    ]  # fmt: skip
