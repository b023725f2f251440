"""Releases that fail, in a kept rehearsal: the old version keeps answering, the log has the reason, and it is undone."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from rehearsal.kubernetes.node import Node
from rehearsal.sandbox import machine
from rehearsal.settings import settings
from tests.support.load import Load
from tests.support.releases import Releases, Run, until

if TYPE_CHECKING:
    from conftest import Figure, Rehearsal

pytestmark = [pytest.mark.rehearsal, pytest.mark.timeout(300)]

BOUND = 120.0  # seconds from the beginning of a release to the end of its undo
NODES = (Node(1), Node(2))


@pytest.fixture(scope="module", name="releases")
def _releases(stack: Rehearsal, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Releases]:
    releases = Releases(stack, tmp_path_factory.mktemp("releases"))
    yield releases
    releases.restore()


@contextmanager
def unnoticed(releases: Releases) -> Iterator[Load]:
    """Whoever asks meanwhile is answered, by the version that was live before."""
    releases.settle()
    with Load(releases.address()) as load:
        until(lambda: load.answered > 10, 10, "answers")
        (before,) = load.versions
        yield load
    load.assert_none_lost()
    assert set(load.versions) == {before}


# What goes wrong around a release


@contextmanager
def registry_down() -> Iterator[None]:
    """The nodes find nobody where the registry was."""
    rule = ["-p", "tcp", "--dport", str(settings.ports.pull), "-j", "REJECT", "--reject-with", "tcp-reset"]
    for node in NODES:
        machine.run(["iptables", "-w", "-I", "OUTPUT", *rule], netns=node.name)
    try:
        yield
    finally:
        for node in NODES:
            machine.run(["iptables", "-w", "-D", "OUTPUT", *rule], netns=node.name)


@contextmanager
def full_disks() -> Iterator[None]:
    """The nodes can put no file where containerd receives images: the directory has no inode left."""
    places = [node.directory / "containerd" / "io.containerd.content.v1.content" / "ingest" for node in NODES]
    for place in places:
        machine.run(["mount", "-t", "tmpfs", "-o", "nr_inodes=1", "full", place])
    try:
        yield
    finally:
        for place in places:
            machine.run(["umount", place])


@dataclass(frozen=True)
class Fault:
    """What is wrong with a release, and what its log has to say about it."""

    says: str
    lines: tuple[str, ...] = ()
    edits: dict[str, str] = field(default_factory=dict)
    around: Callable[[], AbstractContextManager[None]] = nullcontext


#: For what is waited for until the deadline: that need not be a whole minute.
SOON = {"progressDeadlineSeconds: 60": "progressDeadlineSeconds: 25"}
FAULTS = {
    "crash": Fault("CrashLoopBackOff", ('CMD ["python", "-c", "raise SystemExit(\'no database\')"]',)),
    "memory": Fault("OOMKilled", ('CMD ["python", "-c", "bytearray(500_000_000)"]',)),
    "readiness": Fault("HTTP probe failed with statuscode: 404", edits={"path: /readyz": "path: /missing"}),
    "deadline": Fault("exceeded its progress deadline", edits=SOON | {"cpu: 100m": "cpu: 900", 'cpu: "1"': "cpu: 900"}),
    "registry": Fault("connection refused", around=registry_down),
    "disk": Fault("no space left on device", edits=SOON, around=full_disks),
}


def comment() -> str:
    """A line of Python that no image has yet."""
    return f"# {time.time_ns()}\n"


def assert_undone(run: Run, says: str) -> None:
    assert run.code == 1
    assert says in run.log
    assert re.search(r"and was rolled back to revision \d+: see the errors above$", run.log.splitlines()[-1])
    assert run.seconds < BOUND


def test_an_image_that_does_not_exist(releases: Releases, figure: Figure) -> None:
    with unnoticed(releases) as load:
        run = releases.deploy(f"{releases.repository}@sha256:{'0' * 64}")
    assert_undone(run, ": not found")
    figure("an image that does not exist is undone", f"{run.seconds:.0f} s, {load}")


@pytest.mark.slow
@pytest.mark.parametrize("name", FAULTS)
def test_a_release_that_fails(releases: Releases, figure: Figure, name: str) -> None:
    fault = FAULTS[name]
    image = releases.image(name, *fault.lines)
    with unnoticed(releases) as load, fault.around():
        run = releases.deploy(image, fault.edits)
    assert_undone(run, fault.says)
    figure("a release that fails at its start is undone", f"{name}: {run.seconds:.0f} s, {load}")


@pytest.mark.slow
def test_a_registry_that_is_back_in_time(releases: Releases, figure: Figure) -> None:
    """What passes by itself is not undone."""
    image = releases.image("hiccup")
    releases.settle()
    with Load(releases.address()) as load:
        with registry_down():
            deploying = releases.begin(image)
            until(
                lambda: "ErrImagePull" in releases.pods("{.status.containerStatuses[0].state.waiting.reason}"), 20, "it"
            )
            time.sleep(12)
        run = deploying.end()
    assert run.code == 0, run.log
    load.assert_none_lost()
    figure(
        "a registry that is away for a quarter of a minute delays a release", f"live after {run.seconds:.0f} s, {load}"
    )


@contextmanager
def node_lost(node: Node) -> Iterator[None]:
    """A node without a network: nobody reaches it, it reaches nobody, and nobody was told."""
    machine.run(["ip", "-n", "vpc", "link", "set", node.name, "down"])
    try:
        yield
    finally:
        machine.run(["ip", "-n", "vpc", "link", "set", node.name, "up"])


def forget_connections() -> None:
    """Take what nodes remember of connections to a lost pod: for a day a caller's port that comes again would meet it."""
    for node in NODES:
        machine.run(["conntrack", "-F"], netns=node.name, capture_output=True)


def beside(address: str) -> Node:
    """The node that this caller's requests do not enter by: on AWS a load balancer would find out which one answers."""
    host = address.removeprefix("http://").rstrip("/")
    found = subprocess.run(["ip", "-json", "route", "get", host], capture_output=True, check=True, timeout=10).stdout
    (node,) = [node for node in NODES if node.address != json.loads(found)[0]["gateway"]]
    return node


@pytest.mark.slow
def test_a_node_lost_during_a_rollout(releases: Releases, figure: Figure) -> None:
    """Lost are requests to its pods, until the cluster misses it after some 50 s or the rollout has replaced them.

    Its new pod is made again on the other node ten seconds later, about when the rollout's deadline passes: which of
    the two is first depends on what the node still got done.
    """
    assert releases.deploy(releases.image("before")).code == 0
    releases.settle()
    assert len(set(releases.pods("{.spec.nodeName}"))) == 2
    image = releases.image("after")
    address = releases.address()
    with Load(address) as load:
        deploying = releases.begin(image)
        until(lambda: len(releases.pods("{.metadata.name}")) == 4, 20, "new pods")
        with node_lost(beside(address)):
            run = deploying.end()
            time.sleep(10)
            over = time.monotonic()
            time.sleep(10)
    forget_connections()
    if run.code:
        assert_undone(run, "exceeded its progress deadline")
    assert run.seconds < BOUND
    assert load.lost_between(over, time.monotonic()) == []
    # None was refused or answered wrongly: nothing but the node itself kept them.
    assert all("timed out" in loss.reason for loss in load.lost)
    end = "undone" if run.code else "completed"
    figure("a node lost during a rollout: completed elsewhere, or undone", f"{end} after {run.seconds:.0f} s, {load}")


# By pushes


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_push_while_another_is_undone(releases: Releases, figure: Figure) -> None:
    """The image's tests do not see that the server cannot start; the next commit, pushed during the undo, goes live."""
    releases.settle()
    with Load(releases.address()) as load:
        began = time.monotonic()
        bad = releases.push(**{"gunicorn.conf.py": 'raise RuntimeError("there is no database")\n'})
        until(lambda: "==> Roll back" in releases.build_log(bad), BOUND, "the undo")
        good = releases.push(**{"app.py": comment()})
        assert releases.end_of(bad) == "Failed"
        undone = time.monotonic() - began
        assert bad not in load.versions
        assert releases.end_of(good) == "Succeeded"
        until(lambda: good in load.versions, 10, "an answer of the last commit")
    log = releases.build_log(bad)
    assert "RuntimeError: there is no database" in log
    assert "CrashLoopBackOff" in log
    assert "and was rolled back to revision" in log
    assert undone < BOUND
    load.assert_none_lost()
    figure("a commit that crashes at its start is undone", f"{undone:.0f} s after git push, {load}")


def test_a_commit_whose_test_fails(releases: Releases, figure: Figure) -> None:
    with unnoticed(releases) as load:
        began = time.monotonic()
        live = releases.live()
        bad = releases.push(**{"tests/test_app.py": '\n\ndef test_planted():\n    assert "fails" == "on purpose"\n'})
        assert releases.end_of(bad) == "Failed"
        took = time.monotonic() - began
    assert "AssertionError: assert 'fails' == 'on purpose'" in releases.build_log(bad)
    assert "==> Apply" not in releases.build_log(bad)
    assert releases.live() == live
    figure("a commit whose test fails is not deployed", f"red after {took:.0f} s, {load}")


@pytest.mark.slow
def test_two_pushes_at_once(releases: Releases, figure: Figure) -> None:
    """The last one is live in the end, and the one before it was either live meanwhile or left out."""
    releases.settle()
    with Load(releases.address()) as load:
        began = time.monotonic()
        one = releases.push(**{"app.py": comment()})
        two = releases.push(**{"app.py": comment()})
        ends = [releases.end_of(commit) for commit in (one, two)]
        until(lambda: two in load.versions, 10, "an answer of the last commit")
        took = time.monotonic() - began
    assert ends[0] in ("Succeeded", "Superseded")
    assert ends[1] == "Succeeded"
    load.assert_none_lost()
    figure("of two pushes at once the last is live", f"after {took:.0f} s, {load}")


@contextmanager
def no_space_for_images() -> Iterator[None]:
    """The Docker Engine can make no directory for a layer: over its own there lies one without an inode left."""
    layers, full = settings.run / "docker" / "overlay2", "/run/full"

    def engine(*command: str) -> str:
        enter = ["nsenter", "--target", str(machine.program_state("docker")[1]), "--mount"]
        return str(machine.run([*enter, *command], capture_output=True, text=True, timeout=20).stdout)

    engine("mkdir", full)
    engine("mount", "-t", "tmpfs", "-o", "nr_inodes=100", "full", full)
    try:
        engine("mkdir", f"{full}/upper", f"{full}/work")
        over = f"lowerdir={layers},upperdir={full}/upper,workdir={full}/work"
        engine("mount", "-t", "overlay", "-o", over, "full", str(layers))
        try:
            inodes, free = map(int, engine("stat", "--file-system", "--format=%c %d", full).split())
            engine("mount", "-o", f"remount,nr_inodes={inodes - free}", full)
            yield
        finally:
            engine("umount", str(layers))
    finally:
        engine("umount", full)
        engine("rmdir", full)


@pytest.mark.slow
def test_no_space_for_the_image(releases: Releases, figure: Figure) -> None:
    with unnoticed(releases) as load:
        began = time.monotonic()
        live = releases.live()
        with no_space_for_images():
            bad = releases.push(**{"app.py": comment()})
            assert releases.end_of(bad) == "Failed"
        took = time.monotonic() - began
    assert "no space left on device" in releases.build_log(bad)
    assert "==> Apply" not in releases.build_log(bad)
    assert releases.live() == live
    figure("a build without space for the image deploys nothing", f"red after {took:.0f} s, {load}")
