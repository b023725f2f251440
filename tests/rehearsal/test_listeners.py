"""Every listener of a whole rehearsal: who may speak to it, and what everyone else gets."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from rehearsal import executions
from rehearsal.console.screenshot import CHROMIUM
from rehearsal.emulator.client import root
from rehearsal.kubernetes.authenticator import HEALTH_PORT
from rehearsal.settings import settings
from tests.support.fixtures import Figure, Rehearsal
from tests.support.hostile_page import NAME, hostile_page
from tests.support.listeners import CALLERS, HOST, Listener, answer, answer_of_socket, listeners
from tests.support.names import STACK

pytestmark = [pytest.mark.rehearsal, pytest.mark.timeout(1200)]

LOOPBACK, REGION, ANY = "127.0.0.1", re.escape(settings.region_ip), r"\*"
NODE, NODES, PORTS = r"node-\d", "|".join(map(re.escape, settings.node_ips)), settings.ports
PYTHON = r"python[\d.]*"
#: What Kubernetes' programs answer to everyone without a token or a certificate of the cluster. They check neither
#: Host nor Origin: no web page has such a token, and a browser does not send one on its own.
UNKNOWN, FORBIDDEN = ("401",) * 5, ("403",) * 5
CERTIFICATE = ("TLS refused",) * 5


@dataclass(frozen=True)
class Row:
    """What is expected of listeners: patterns of their place, program and address; and what each of CALLERS gets.

    ``who`` may speak to them. The callers ask for ``path``, and name the listener ``host``, or else by its address.
    """

    place: str
    program: str
    address: str
    port: int
    scheme: str
    who: str
    answers: tuple[str, ...]
    path: str = "/"
    host: str = ""

    def fits(self, listener: Listener) -> bool:
        """Whether this row is about a listener; port 0 is a random one."""
        return (
            listener.protocol == "tcp"
            and self.port in (0, listener.port)
            and all(
                re.fullmatch(pattern, value)
                for pattern, value in (
                    (self.place, listener.place),
                    (self.program, listener.program),
                    (self.address, listener.address),
                )
            )
        )


ROWS: Sequence[Row] = (
    Row(HOST, PYTHON, LOOPBACK, PORTS.aws, "http", "anyone who signs with a key of this run", FORBIDDEN),
    Row(HOST, PYTHON, LOOPBACK, PORTS.proxy, "http", "programs of this machine; tunnels only", ("405",) * 5),
    Row(HOST, PYTHON, REGION, PORTS.proxy, "http", "the Docker Engine, by its address", FORBIDDEN),
    Row(HOST, PYTHON, LOOPBACK, PORTS.front, "https", "by signature, password or token, as on AWS and GitHub",
        ("401", "403", "403", "403", "401"), "/v2/", settings.registry),
    Row(HOST, PYTHON, LOOPBACK, PORTS.console, "http", "everyone on this machine, to read",
        ("200", "403", "403", "403", "200")),
    Row(HOST, PYTHON, LOOPBACK, PORTS.credentials, "http", "builds and GitHub, by token or signature",
        ("404", "403", "403", "403", "404")),
    Row(HOST, "aws-iam-authent.*", LOOPBACK, PORTS.authenticator, "https", "the API server; says whose a token is",
        ("404",) * 5),
    Row(HOST, "etcd", LOOPBACK, PORTS.etcd, "https", "the API server, by its certificate", CERTIFICATE),
    Row(HOST, "etcd", LOOPBACK, PORTS.etcd_peer, "https", "etcd itself, by its certificate", CERTIFICATE),
    Row(HOST, "kube-controller.*", LOOPBACK, PORTS.controller_manager, "https", "Kubernetes' users", FORBIDDEN),
    Row(HOST, "kube-scheduler", LOOPBACK, PORTS.scheduler, "https", "Kubernetes' users", FORBIDDEN),
    Row(HOST, PYTHON, REGION, PORTS.pull, "http", "the nodes, by their addresses, to read", FORBIDDEN, "/v2/"),
    Row(HOST, "metrics-server", REGION, PORTS.metrics, "https", "Kubernetes' users", FORBIDDEN),
    Row(HOST, "kube-apiserver", REGION, settings.api_port, "https", "Kubernetes' users", FORBIDDEN),
    Row(NODE, "kubelet", NODES, 10250, "https", "the API server and metrics-server", UNKNOWN, "/pods"),
    Row(NODE, "kubelet", LOOPBACK, 10248, "http", "the node itself: health", ("404",) * 5),
    Row(NODE, "kube-proxy", LOOPBACK, 10249, "http", "the node itself: metrics", ("404",) * 5),
    Row(NODE, "kube-proxy", LOOPBACK, 10256, "http", "the node itself: health", ("404",) * 5),
    Row(NODE, "containerd", LOOPBACK, 0, "http", "the kubelet, by one-time addresses", ("404",) * 5),
    Row("a pod", "gunicorn", ANY, 8080, "http", "everyone: the app", ("200", "200", "405", "200", "200")),
)  # fmt: skip


@pytest.fixture(scope="module")
def running(stack: Rehearsal) -> set[Listener]:
    """The listeners once the first commit is live."""
    pipeline = root("codepipeline")
    commit = stack.run("git", "rev-parse", "HEAD").stdout.strip()
    assert executions.follow(pipeline, STACK, commit, 600)["status"] == "Succeeded"
    return listeners()


def test_every_listener_is_listed(running: set[Listener]) -> None:
    """And every program of the list was there to be tried."""
    tcp = {each for each in running if each.protocol == "tcp"}
    assert [each for each in sorted(tcp) if not any(row.fits(each) for row in ROWS)] == []
    assert [row for row in ROWS if not any(row.fits(each) for each in tcp)] == []
    assert [each for each in running if each.protocol == "udp"] == []
    assert HEALTH_PORT not in {each.port for each in running}


def test_every_listener_refuses_strangers(
    running: set[Listener], figure: Figure, capsys: pytest.CaptureFixture[str]
) -> None:
    """And prints a table of them."""
    tcp, wrong = sorted(each for each in running if each.protocol == "tcp"), []
    table = [["listener", "who may speak to it", *CALLERS]]
    for listener in tcp:
        row = next(row for row in ROWS if row.fits(listener))
        got = tuple(answer(listener, row.scheme, row.path, row.host, caller) for caller in CALLERS.values())
        where = f"{listener.place}, {listener.program}, {row.scheme}://{listener.address}:{listener.port}"
        table.append([where, row.who, *got])
        wrong += [(where, got, row.answers)] if got != row.answers else []
    with capsys.disabled():
        print("", *(f"| {' | '.join(line)} |" for line in table), sep="\n")
    assert wrong == []
    figure("every listener of a rehearsal refuses strangers", f"~{len(tcp) - len(wrong)} of ~{len(tcp)}")


def test_no_listener_outside_of_this_machine(running: set[Listener]) -> None:
    """Only pods listen on every address, in networks that end at this machine."""
    assert {each.place for each in running if each.address == "*"} <= {"a pod"}


def test_other_users_cannot_open_a_socket(running: set[Listener], figure: Figure) -> None:
    paths = sorted({each.address for each in running if each.protocol == "unix"})
    assert str(settings.docker_socket) in paths
    opened = {path: got for path in paths if (got := answer_of_socket(path)) != "refused"}
    assert opened == {}
    figure("other users of the machine can open no Unix socket of a rehearsal", f"{len(opened)} of ~{len(paths)}")


@pytest.mark.skipif(not Path(CHROMIUM).exists(), reason="needs Debian's chromium and chromium-driver")
def test_hostile_page_gets_into_no_listener(running: set[Listener], figure: Figure) -> None:
    ours = [(each, row) for each in sorted(running) if each.place == HOST for row in ROWS if row.fits(each)]
    targets = [f"{row.scheme}://{name}:{each.port}/" for each, row in ours for name in (each.address, NAME)]
    before = state()
    with hostile_page() as page:
        page.attack(targets, {"Action": "DeleteStack", "Version": "2010-05-15", "StackName": STACK})
        plain = [each.port for each, row in ours if row.scheme == "http" and each.address == LOOPBACK]
        rebound = {port: page.rebind(port) for port in plain}
    assert page.read == []
    # 0 is no answer: the browser shows its own page in place of the proxy's empty one.
    assert {port: got for port, got in rebound.items() if {*got} - {403, 405, 0}} == {}
    assert state() == before
    figure(
        "a hostile page in a browser gets into no listener", f"{len(page.read)} answers read of ~{page.sent} requests"
    )


def state() -> dict[str, object]:
    """What a request without rights could have changed."""
    cloudformation, codepipeline, ecr = (root(name) for name in ("cloudformation", "codepipeline", "ecr"))
    repositories = [each["repositoryName"] for each in ecr.describe_repositories()["repositories"]]
    return {
        "stacks": [(one["StackName"], one["StackStatus"]) for one in cloudformation.list_stacks()["StackSummaries"]],
        "executions": len(codepipeline.list_pipeline_executions(pipelineName=STACK)["pipelineExecutionSummaries"]),
        "images": {name: len(ecr.list_images(repositoryName=name)["imageIds"]) for name in repositories},
    }
