"""Releases that fail, in a kept rehearsal: the old version keeps answering, the log has the reason, and it is rolled back."""

from __future__ import annotations

import json
import re
import secrets
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from rehearsal.kubernetes.node import Node
from rehearsal.load import Load
from rehearsal.sandbox import entry, supervisor
from rehearsal.settings import settings
from rehearsal.waiting import until
from tests.support.fixtures import Figure, Rehearsal
from tests.support.paths import FAKES, ROOT
from tests.support.releases import Releases, Run
from tests.support.transcripts import FILE as TRANSCRIPTS

pytestmark = [pytest.mark.rehearsal, pytest.mark.timeout(300)]

APP = "hello-world"
BOUND = 120.0  # seconds from the start of a release to the end of its rollback
NODES = (Node(1), Node(2))


@pytest.fixture(scope="module", name="releases")
def _releases(stack: Rehearsal, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Releases]:
    releases = Releases(stack, tmp_path_factory.mktemp("releases"))
    yield releases
    releases.restore()


@contextmanager
def unnoticed(releases: Releases) -> Iterator[Load]:
    """Check that every request meanwhile is answered, by the version that was live before."""
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
    """Refuse the nodes' connections to the registry."""
    rule = ["-p", "tcp", "--dport", str(settings.ports.pull), "-j", "REJECT", "--reject-with", "tcp-reset"]
    for node in NODES:
        entry.run(["iptables", "-w", "-I", "OUTPUT", *rule], netns=node.name)
    try:
        yield
    finally:
        for node in NODES:
            entry.run(["iptables", "-w", "-D", "OUTPUT", *rule], netns=node.name)


@contextmanager
def full_disks() -> Iterator[None]:
    """Leave no inode in the directory in which the nodes' containerd receives images."""
    places = [node.directory / "containerd" / "io.containerd.content.v1.content" / "ingest" for node in NODES]
    for place in places:
        entry.run(["mount", "-t", "tmpfs", "-o", "nr_inodes=1", "full", place])
    try:
        yield
    finally:
        for place in places:
            entry.run(["umount", place])


@dataclass(frozen=True)
class Fault:
    """What is wrong with a release, and what its log must say about it."""

    says: str
    lines: tuple[str, ...] = ()
    edits: dict[str, str] = field(default_factory=dict)
    around: Callable[[], AbstractContextManager[None]] = nullcontext


#: A shorter deadline, for faults that are detected only by it.
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
    """Return a line of Python that no image has yet."""
    return f"# {time.time_ns()}\n"


def assert_rolled_back(run: Run, says: str) -> None:
    assert run.code == 1
    assert says in run.log
    assert re.search(
        r"and was rolled back to revision \d+ of hello-world: see the errors above$", run.log.splitlines()[-1]
    )
    assert run.seconds < BOUND


def test_nonexistent_image_is_rolled_back(releases: Releases, figure: Figure) -> None:
    with unnoticed(releases) as load:
        run = releases.deploy(f"{releases.repository}@sha256:{'0' * 64}")
    assert_rolled_back(run, ": not found")
    figure("a release of a nonexistent image is rolled back", f"~{run.seconds:.0f} s, {load}")


@pytest.mark.slow
@pytest.mark.parametrize("name", FAULTS)
def test_release_that_fails_to_start_is_rolled_back(releases: Releases, figure: Figure, name: str) -> None:
    fault = FAULTS[name]
    image = releases.image(name, *fault.lines)
    with unnoticed(releases) as load, fault.around():
        run = releases.deploy(image, fault.edits)
    assert_rolled_back(run, fault.says)
    figure("a release that fails to start is rolled back", f"~{run.seconds:.0f} s, {load}")


def answering(*code: str) -> tuple[str, ...]:
    """Return lines of a Dockerfile that add Python to the app, which starts and becomes ready as before."""
    lines = ("import time", "from flask import request", "from app import app", *code)
    write = "RUN printf '%s\\n' " + " ".join(f'"{line}"' for line in lines) + " > wrong.py"
    return ("USER root", write, "USER 10001:10001", 'CMD ["gunicorn", "wrong:app"]')


def at_version(statement: str) -> tuple[str, ...]:
    return ("@app.before_request", "def fail():", f"    if request.path == '/version': {statement}")


WRONG_ANSWERS = {
    "version": Fault("The answer is not 111122223333.dkr.ecr.", answering("app.config['IMAGE'] = 'another'")),
    "error": Fault("RuntimeError: no database", answering(*at_version("raise RuntimeError('no database')"))),
    "silence": Fault("No answer within 10 seconds", answering(*at_version("time.sleep(60)"))),
}


@pytest.mark.parametrize(
    "name", [pytest.param("version"), *(pytest.param(each, marks=pytest.mark.slow) for each in ("error", "silence"))]
)
def test_release_that_answers_wrongly_is_rolled_back(releases: Releases, name: str) -> None:
    """Its pods are ready, and visitors get an answer."""
    fault = WRONG_ANSWERS[name]
    before, image = releases.live(), releases.image(name, *fault.lines)
    releases.settle()
    with Load(releases.address()) as load:
        run = releases.deploy(image)
    assert "Waiting for deployment" in run.log or "successfully rolled out" in run.log
    assert "==> Ask hello-world:http/version" in run.log
    assert_rolled_back(run, fault.says)
    assert releases.live() == before
    load.assert_none_lost()


def test_settings_and_secrets_outlast_releases(releases: Releases) -> None:
    """They reach the pods by a restart, whose annotation is in the way of no later release or rollback, and no log."""
    password = secrets.token_hex()
    restarted = "{.spec.template.metadata.annotations.kubectl\\.kubernetes\\.io/restartedAt}"

    def state(path: str) -> str:
        return releases.kubectl("get", "deployment", APP, f"--output=jsonpath={path}")

    def restart() -> None:
        releases.kubectl("rollout", "restart", f"deployment/{APP}")
        releases.settle()

    releases.kubectl("create", "configmap", APP, "--from-literal=GREETING=Hello, settings!")
    releases.kubectl("create", "secret", "generic", APP, "--from-file=PASSWORD=/dev/stdin", stdin=password)
    try:
        restart()
        before, since = state("{.metadata.annotations.deployment\\.kubernetes\\.io/revision}"), state(restarted)
        assert since
        assert releases.kubectl("exec", f"deployment/{APP}", "--", "printenv", "PASSWORD").strip() == password
        unchanged = releases.deploy(releases.live())
        assert unchanged.code == 0, unchanged.log
        assert state("{.metadata.annotations.deployment\\.kubernetes\\.io/revision}") == before
        failed = releases.deploy(releases.live(), SOON | {"path: /readyz": "path: /missing"})
        assert_rolled_back(failed, f"Roll back {APP} to revision {before}")
        assert state(restarted) == since
        releases.settle()
        assert httpx.get(releases.address(), trust_env=False).text.startswith("Hello, settings!\n")
        assert password not in unchanged.log + failed.log
        assert "Hello, settings!" not in failed.log
    finally:
        releases.kubectl("delete", "configmap,secret", APP)
        restart()


@pytest.mark.slow
def test_short_registry_outage_causes_no_rollback(releases: Releases, figure: Figure) -> None:
    """A transient fault causes no rollback."""
    image = releases.image("hiccup")
    releases.settle()
    with Load(releases.address()) as load:
        with registry_down():
            deploying = releases.begin(image)
            until(
                lambda: "ErrImagePull" in releases.pods("{.status.containerStatuses[0].state.waiting.reason}"),
                20,
                "the failed pull",
                pause=0.2,
            )
            time.sleep(12)
        run = deploying.end()
    assert run.code == 0, run.log
    load.assert_none_lost()
    figure("a short registry outage only delays a release", f"live after ~{run.seconds:.0f} s, {load}")


@contextmanager
def node_lost(node: Node) -> Iterator[None]:
    """Cut a node off the network, without notice."""
    entry.run(["ip", "-n", "vpc", "link", "set", node.name, "down"])
    try:
        yield
    finally:
        entry.run(["ip", "-n", "vpc", "link", "set", node.name, "up"])


def forget_connections() -> None:
    """Clear the nodes' connection tracking, which for a day would route a reused port to a lost pod."""
    for node in NODES:
        entry.run(["conntrack", "-F"], netns=node.name, capture_output=True)


def other_node(address: str) -> Node:
    """Return the node through which this caller's requests do not pass; on AWS the load balancer has health checks."""
    host = address.removeprefix("http://").rstrip("/")
    found = subprocess.run(["ip", "-json", "route", "get", host], capture_output=True, check=True, timeout=10).stdout
    (node,) = [node for node in NODES if node.address != json.loads(found)[0]["gateway"]]
    return node


@pytest.mark.slow
def test_node_lost_during_rollout(releases: Releases, figure: Figure) -> None:
    """Requests to its pods are lost until the cluster notices after about 50 s, or the rollout has replaced the pods.

    Its new pod is recreated on the other node ten seconds later, about when the rollout's deadline passes. Which comes
    first depends on how far the node got.
    """
    assert releases.deploy(releases.image("before")).code == 0
    releases.settle()
    assert len(set(releases.pods("{.spec.nodeName}"))) == 2
    image = releases.image("after")
    address = releases.address()
    with Load(address) as load:
        deploying = releases.begin(image)
        until(lambda: len(releases.pods("{.metadata.name}")) == 4, 20, "new pods", pause=0.2)
        with node_lost(other_node(address)):
            run = deploying.end()
            time.sleep(10)
            over = time.monotonic()
            time.sleep(10)
    forget_connections()
    if run.code:
        assert_rolled_back(run, "exceeded its progress deadline")
    assert run.seconds < BOUND
    assert load.lost_between(over, time.monotonic()) == []
    # None was refused or answered wrongly: only the lost node kept them.
    assert all("timed out" in loss.reason for loss in load.lost)
    figure(
        "a node lost during a rollout: completed on the other node, or rolled back",
        f"~{run.seconds:.0f} s, ~{len(load.lost)} of ~{load.total} lost",
    )


# By pushes


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_push_during_rollback_goes_live(releases: Releases, figure: Figure) -> None:
    """The image's tests miss that the server cannot start; the next commit, pushed during the rollback, goes live."""
    releases.settle()
    with Load(releases.address()) as load:
        began = time.monotonic()
        bad = releases.push(**{"gunicorn.conf.py": 'raise RuntimeError("there is no database")\n'})
        until(lambda: "==> Roll back" in releases.build_log(bad), BOUND, "the rollback", pause=0.2)
        good = releases.push(**{"app.py": comment()})
        assert releases.end_of(bad) == "Failed"
        took = time.monotonic() - began
        assert bad not in load.versions
        assert releases.end_of(good) == "Succeeded"
        until(lambda: good in load.versions, 10, "an answer of the last commit")
    log = releases.build_log(bad)
    assert "RuntimeError: there is no database" in log
    assert "CrashLoopBackOff" in log
    assert "and was rolled back to revision" in log
    assert took < BOUND
    load.assert_none_lost()
    figure("a commit that crashes at startup is rolled back", f"~{took:.0f} s after git push, {load}")


def test_commit_whose_test_fails_is_not_deployed(releases: Releases, figure: Figure) -> None:
    with unnoticed(releases) as load:
        began = time.monotonic()
        live = releases.live()
        bad = releases.push(**{"tests/test_app.py": '\n\ndef test_planted():\n    assert "fails" == "on purpose"\n'})
        assert releases.end_of(bad) == "Failed"
        took = time.monotonic() - began
    assert "AssertionError: assert 'fails' == 'on purpose'" in releases.build_log(bad)
    assert "==> Apply" not in releases.build_log(bad)
    assert releases.live() == live
    figure("a commit whose test fails is not deployed", f"red after ~{took:.0f} s, {load}")


@pytest.mark.slow
def test_last_of_two_pushes_is_live(releases: Releases, figure: Figure) -> None:
    """The last one is live in the end; the one before was live meanwhile or was superseded."""
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
    figure("after two pushes at once, the last is live", f"after ~{took:.0f} s, {load}")


@contextmanager
def no_space_for_images() -> Iterator[None]:
    """Leave the Docker Engine no inode for a layer, with an overlay over its directory."""
    layers, full = settings.run / "docker" / "overlay2", "/run/full"

    def engine(*command: str) -> str:
        enter = ["nsenter", "--target", str(supervisor.state("docker")[1]), "--mount"]
        return str(entry.run([*enter, *command], capture_output=True, text=True, timeout=20).stdout)

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
def test_build_with_no_space_deploys_nothing(releases: Releases, figure: Figure) -> None:
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
    figure("a build with no space for the image deploys nothing", f"red after ~{took:.0f} s, {load}")


@pytest.mark.usefixtures("stack")
def test_manifest_is_read_as_by_the_stand_in(tmp_path: Path) -> None:
    """The tests of deploy.sh have a stand-in for ``kubectl label --local``."""
    (tmp_path / "deployment.yml").write_text((ROOT / "deployment.yml").read_text() + OTHER_KINDS)
    (call,) = set(re.findall(r"^\$ (kubectl label --local .*)$", TRANSCRIPTS.read_text(), re.MULTILINE))
    words = shlex.split(call)[1:]
    said = [
        subprocess.run([program, *words], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=30).stdout
        for program in (settings.bin / "kubectl", FAKES / "manifest.py")
    ]
    assert said[0] == said[1]
    assert len(said[0].splitlines()) == 4 + 3


OTHER_KINDS = """
---
apiVersion: v1
kind: List
items:
  - apiVersion: apps/v1
    kind: Deployment
    metadata: {name: worker}
    spec:
      paused: true
      template:
        spec:
          initContainers: [{name: first, image: "CONTAINER_IMAGE"}]
          containers: [{name: one, image: CONTAINER_IMAGE}, {name: two, image: envoy:1}]
  - apiVersion: batch/v1
    kind: CronJob
    metadata: {name: nightly}
    spec: {jobTemplate: {spec: {template: {spec: {containers: [{name: one, image: x}]}}}}}
  - apiVersion: v1
    kind: Pod
    metadata: {name: alone, namespace: hello-world}
    spec: {containers: [{name: one, image: x}]}
"""
