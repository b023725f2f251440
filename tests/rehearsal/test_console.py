"""The console page: what it reads and shows, and that untrusted text never becomes markup."""

from __future__ import annotations

import asyncio
import base64
import copy
import json
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
import trustme
import yaml
from axe_core_python.selenium import Axe  # type: ignore[import-untyped]
from botocore.exceptions import EndpointConnectionError
from botocore.stub import ANY, Stubber
from PIL import Image
from selenium.webdriver import ActionChains, Chrome, Keys
from starlette.types import ASGIApp

from rehearsal.console import program, screenshot
from rehearsal.console.answers import Memory, Visitor
from rehearsal.console.app import application, events
from rehearsal.console.cluster import Kubernetes, describe
from rehearsal.console.pipeline import Aws
from rehearsal.console.screenshot import browser, emulate, resize, wait_until
from rehearsal.console.snapshot import (
    Cluster,
    clean,
)
from rehearsal.console.watch import Watch
from tests.support.console_page import (
    HOSTILE,
    NEW,
    OLD,
    Scripted,
    answer,
    browser_log,
    execution,
    needs_chromium,
    pod,
    serving,
    shows,
    stage,
)

START = datetime(2026, 11, 23, 20, 0, tzinfo=UTC)
AN_END = START.timestamp() + 42


# --- Text -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("plain", "plain"),
        (None, ""),
        ("\x1b[31mred\x1b[0m and \x1b]8;;http://x\x07link\x1b]8;;\x07", "red and link"),
        (" 10%\r 50%\r100%\r\n", "100%"),
        ("a\x00b\u202ec\u2028d\ud800", "a\ufffdb\ufffdc\ufffdd\ufffd"),
        ("tab\tstays", "tab\tstays"),
        ("x" * 400, "x" * 299 + "…"),
    ],
)
def test_clean_returns_one_harmless_line(text: Any, line: str) -> None:
    assert clean(text) == line


# --- AWS: botocore's stubber checks the answers against the service models ----------------------------------------


@pytest.fixture
def aws() -> Iterator[tuple[Aws, dict[str, Stubber]]]:
    """Return a reader with stubbed clients."""
    session = boto3.Session("test", "test", region_name="us-east-2")
    clients: dict[str, Any] = {name: session.client(name) for name in ("codepipeline", "codebuild", "logs")}
    stubs = {name: Stubber(client) for name, client in clients.items()}
    for stub in stubs.values():
        stub.activate()
    yield Aws(clients.__getitem__), stubs
    for stub in stubs.values():
        stub.assert_no_pending_responses()


def expect_pipeline(stub: Stubber, build: dict[str, Any]) -> None:
    """Stub the answers for a pipeline with a connection as its source and ``build`` as its build action."""
    revision = {"revisionId": NEW, "revisionChangeId": "c"}
    summary = json.dumps({"ProviderType": "GitHub", "CommitMessage": "Say good morning\n\nSigned-off-by: learner"})
    source = {"status": "Succeeded", "summary": summary, "lastStatusChange": START}
    stub.add_response("list_pipelines", {"pipelines": [{"name": "older", "updated": START}, {"name": "aws-pipeline"}]})
    stub.add_response(
        "get_pipeline_state",
        {
            "pipelineName": "older",
            "stageStates": [
                {
                    "stageName": "Source",
                    "actionStates": [
                        {
                            "actionName": "GitHub",
                            "currentRevision": {**revision, "created": START},
                            "latestExecution": source,
                            "revisionUrl": "javascript:alert(1)",
                        }
                    ],
                    "latestExecution": {"pipelineExecutionId": "e-1", "status": "Succeeded"},
                },
                {
                    "stageName": "Build",
                    "inboundTransitionState": {"enabled": False},
                    "inboundExecutions": [{"pipelineExecutionId": "e-2", "status": "InProgress"}],
                    "actionStates": [{"actionName": "Build", "latestExecution": build}],
                    "latestExecution": {"pipelineExecutionId": "e-1", "status": build["status"]},
                },
                {"stageName": "Never", "actionStates": [{"actionName": "Never"}]},
            ],
        },
        {"name": "older"},
    )
    revisions = [{"actionName": "GitHub", "revisionId": NEW, "revisionSummary": "Say good morning"}]
    over = {"pipelineExecutionId": "e-1", "status": "Failed", "sourceRevisions": revisions}
    times = {"startTime": START, "lastUpdateTime": START + timedelta(seconds=42)}
    executions = [{**over, **times, "trigger": {"triggerType": "Webhook"}}, {"status": "InProgress", **times}]
    stub.add_response("list_pipeline_executions", {"pipelineExecutionSummaries": executions}, ANY_PARAMETERS)


ANY_PARAMETERS = {"pipelineName": "older", "maxResults": ANY}


def test_notes_say_that_there_is_no_pipeline_yet(aws: tuple[Aws, dict[str, Stubber]]) -> None:
    reader, stubs = aws
    stubs["codepipeline"].add_response("list_pipelines", {"pipelines": []})
    pipeline, build = reader.read()
    assert (pipeline["note"], build["note"]) == ("No pipeline yet. It appears with the stack.", "No build yet.")


def test_notes_distinguish_an_aws_error_from_no_answer(aws: tuple[Aws, dict[str, Stubber]]) -> None:
    reader, stubs = aws
    stubs["codepipeline"].add_client_error("list_pipelines", "AccessDeniedException", "not\x1b[1m yours")
    assert reader.read()[0]["note"] == "AWS refused: AccessDeniedException not yours"

    def absent(_service: str) -> Any:
        raise EndpointConnectionError(endpoint_url="http://127.0.0.1:1")

    assert Aws(absent).read()[1]["note"] == "AWS does not answer on this machine yet."


def test_reads_stages_executions_and_a_failed_build(aws: tuple[Aws, dict[str, Stubber]]) -> None:
    reader, stubs = aws
    failed = {"status": "Failed", "externalExecutionId": "aws-pipeline:1", "errorDetails": {"message": "see the log"}}
    expect_pipeline(stubs["codepipeline"], failed)
    context = {"statusCode": "COMMAND_EXECUTION_ERROR", "message": "Error while executing command: pytest"}
    phases = [
        {"phaseType": "SUBMITTED", "phaseStatus": "SUCCEEDED", "durationInSeconds": 0},
        {"phaseType": "PRE_BUILD", "phaseStatus": "FAILED", "durationInSeconds": 3, "contexts": [context]},
        {"phaseType": "COMPLETED", "startTime": START},
    ]
    logs = {"groupName": "/aws/codebuild/aws-pipeline", "streamName": "1"}
    stubs["codebuild"].add_response(
        "batch_get_builds",
        {"builds": [{"id": "aws-pipeline:1", "buildStatus": "FAILED", "phases": phases, "logs": logs}]},
        {"ids": ["aws-pipeline:1"]},
    )
    messages = [{"message": f"{HOSTILE}\n"}, {"message": "\x1b[31mFAILED\x1b[0m\nlast"}]
    stubs["logs"].add_response("get_log_events", {"events": messages})

    pipeline, build = reader.read()
    source, building, never = pipeline["stages"]
    assert pipeline["name"] == "older"
    assert source["actions"][0]["summary"] == "Say good morning"
    assert source["actions"][0]["revision"] == NEW
    assert source["actions"][0]["url"] == ""
    assert (building["open"], building["queued"], building["actions"][0]["error"]) == (False, 1, "see the log")
    assert (never["status"], never["actions"][0]["since"]) == ("", None)
    first, second = pipeline["executions"]
    assert (first["message"], first["trigger"], first["ended"]) == ("Say good morning", "Webhook", AN_END)
    assert second["ended"] is None
    assert [phase["name"] for phase in build["phases"]] == ["PRE_BUILD"]
    assert build["error"] == "PRE_BUILD FAILED: Error while executing command: pytest"
    assert build["lines"] == [HOSTILE, "FAILED", "last"]


def test_reads_a_build_whose_log_stream_does_not_exist_yet(aws: tuple[Aws, dict[str, Stubber]]) -> None:
    reader, stubs = aws
    expect_pipeline(stubs["codepipeline"], {"status": "InProgress", "externalExecutionId": "aws-pipeline:1"})
    stubs["codebuild"].add_response(
        "batch_get_builds",
        {"builds": [{"buildStatus": "IN_PROGRESS", "logs": {"groupName": "g", "streamName": "s"}}]},
    )
    stubs["logs"].add_client_error("get_log_events", "ResourceNotFoundException")
    pipeline, build = reader.read()
    assert (build["status"], build["lines"], build["note"]) == ("IN_PROGRESS", [], "")
    assert not pipeline["stages"][1]["actions"][0]["approval"]


def test_shows_a_waiting_approval_without_its_token(aws: tuple[Aws, dict[str, Stubber]]) -> None:
    reader, stubs = aws
    expect_pipeline(stubs["codepipeline"], {"status": "InProgress", "token": "secret-token"})
    pipeline, build = reader.read()
    assert pipeline["stages"][1]["actions"][0]["approval"]
    assert build["note"] == "No build yet."
    assert "secret-token" not in json.dumps(pipeline)


# --- Kubernetes -----------------------------------------------------------------------------------------------------


def kube_pod(name: str, node: str = "node-1", namespace: str = "shop", **status: Any) -> dict[str, Any]:
    """Return a pod as in the API server's answers."""
    spec = {"containers": [{"image": "r/a@sha256:1"}], **({"nodeName": node} if node else {})}
    return {"metadata": meta(name, namespace), "spec": spec, "status": {"phase": "Running", **status}}


def meta(name: str, namespace: str = "shop") -> dict[str, Any]:
    return {"name": name, "namespace": namespace}


def kube_answers(*pods: dict[str, Any]) -> dict[str, Any]:
    """Return the API server's answers, by path."""
    ready = {"conditions": [{"type": "Ready", "status": "True"}]}
    address = {"addresses": [{"type": "InternalIP", "address": "10.250.0.11"}]}
    nodes = [
        {"metadata": {"name": "node-2"}, "spec": {"unschedulable": True}, "status": {}},
        {"metadata": {"name": "node-1"}, "spec": {}, "status": {**ready, **address}},
    ]
    balancer = {"loadBalancer": {"ingress": [{"ip": "10.250.1.1"}]}}
    services = [
        {"metadata": meta("kubernetes", "default"), "spec": {"type": "ClusterIP"}, "status": {}},
        {"metadata": meta("another"), "spec": {"type": "LoadBalancer"}, "status": {}},
        {"metadata": meta("my-shop"), "spec": {"type": "LoadBalancer"}, "status": balancer},
    ]
    replicas = {"replicas": 3, "updatedReplicas": 1, "availableReplicas": 2}
    deployments = [
        {"metadata": meta("coredns", "kube-system"), "spec": {"replicas": 2}, "status": {}},
        {"metadata": meta("my-shop"), "spec": {"replicas": 2}, "status": replicas},
    ]
    return {
        "/version": {"gitVersion": "v1.36.3"},
        "/api/v1/nodes": {"items": nodes},
        "/api/v1/pods": {"items": list(pods)},
        "/api/v1/services": {"items": services},
        "/apis/apps/v1/deployments": {"items": deployments},
    }


def test_describes_the_nodes_with_their_pods() -> None:
    """Nodes are sorted by name; Kubernetes' own pods are counted, and pods without a node are listed separately."""
    crashing = [{"state": {"waiting": {"reason": "CrashLoopBackOff"}}, "restartCount": 3}]
    leaving = kube_pod("c", conditions=[{"type": "Ready", "status": "True"}])
    leaving["metadata"]["deletionTimestamp"] = "2026-11-23T20:00:00Z"
    pods = [
        kube_pod("b", containerStatuses=crashing),
        kube_pod("a", conditions=[{"type": "Ready", "status": "True"}]),
        leaving,
        kube_pod("late", node="", phase="Pending"),
        kube_pod("coredns", namespace="kube-system"),
    ]
    cluster = describe(*kube_answers(*pods).values())
    first, second = cluster["nodes"]
    assert (first["name"], first["ready"], first["address"], first["others"]) == ("node-1", True, "10.250.0.11", 1)
    assert (second["ready"], second["schedulable"], second["pods"]) == (False, False, [])
    assert [(one["name"], one["status"], one["ready"], one["restarts"]) for one in first["pods"]] == [
        ("a", "Running", True, 0),
        ("b", "CrashLoopBackOff", False, 3),
        ("c", "Terminating", False, 0),
    ]
    assert [one["name"] for one in cluster["waiting"]] == ["late"]
    assert cluster["address"] == "10.250.1.1"
    assert cluster["rollout"] == "rolling out: 1 of 2 updated, 2 available"


def test_shows_production_before_staging() -> None:
    """The page asks production for its version; the pods of staging are marked."""
    answers = kube_answers(kube_pod("a"), kube_pod("b"))
    pods, services, deployments = (answers[path]["items"] for path in list(answers)[2:])
    pods[1]["metadata"]["namespace"] = "hello-world-staging"
    for items in (services, deployments):
        staging = copy.deepcopy(items[-1])
        staging["metadata"]["namespace"] = "hello-world-staging"
        items.insert(0, staging)
    services[0]["status"]["loadBalancer"]["ingress"][0]["ip"] = "10.250.1.2"
    cluster = describe(*answers.values())
    assert cluster["address"] == "10.250.1.1"
    assert [one["staging"] for one in cluster["nodes"][0]["pods"]] == [False, True]
    progress = "rolling out: 1 of 2 updated, 2 available"
    assert cluster["rollout"] == f"{progress} · staging {progress}"


def serve_in_thread(answers: dict[str, Any]) -> ThreadingHTTPServer:
    """Serve ``answers``, which are by path, on a free port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(answers[self.path]).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_words: Any) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    return server


def test_reads_the_cluster_with_the_administrators_certificate(tmp_path: Path) -> None:
    """Without a kubeconfig, with mutual TLS, without the server and with a broken kubeconfig."""
    kubeconfig = tmp_path / "admin.conf"

    async def scenario() -> list[Cluster]:
        kubernetes = Kubernetes(kubeconfig)
        seen = [await kubernetes.read()]
        authority = trustme.CA()
        server = serve_in_thread(kube_answers(kube_pod("a")))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        authority.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
        server.socket = context.wrap_socket(server.socket, server_side=True)
        mine = authority.issue_cert("kubernetes-admin")
        chain = b"".join(blob.bytes() for blob in mine.cert_chain_pems)
        user = {"client-certificate-data": chain, "client-key-data": mine.private_key_pem.bytes()}
        trust = {"certificate-authority-data": base64.b64encode(authority.cert_pem.bytes()).decode()}
        document = {
            "clusters": [{"cluster": {"server": f"https://127.0.0.1:{server.server_port}", **trust}}],
            "users": [{"user": {name: base64.b64encode(value).decode() for name, value in user.items()}}],
        }
        kubeconfig.write_text(yaml.safe_dump(document))
        seen.append(await kubernetes.read())
        await kubernetes.close()
        server.shutdown()
        server.server_close()
        seen.append(await kubernetes.read())
        kubeconfig.write_text("half a fi")
        seen.append(await kubernetes.read())
        return seen

    before, up, down, broken = asyncio.run(scenario())
    assert before["note"] == "No cluster yet."
    assert (up["note"], up["version"], up["nodes"][0]["pods"][0]["name"]) == ("", "v1.36.3", "a")
    assert down["note"] == broken["note"] == "The cluster's API server does not answer yet."


# --- The app's answers ----------------------------------------------------------------------------------------------


def test_visitor_reports_the_apps_answer() -> None:
    """A JSON answer, an error status and no answer."""
    server = serve_in_thread({"/": {"version": NEW, "pod": "hello-1", "message": "Hello, World!"}})
    there = f"127.0.0.1:{server.server_port}"
    answered = asyncio.run(Visitor().read(there))
    assert (answered["status"], answered["version"], answered["pod"], answered["error"]) == (200, NEW, "hello-1", "")
    server.RequestHandlerClass.do_GET = lambda self: self.send_error(503)  # type: ignore[attr-defined]
    assert asyncio.run(Visitor().read(there))["status"] == 503
    server.shutdown()
    server.server_close()
    answered = asyncio.run(Visitor().read(there))
    assert answered["status"] == 0
    assert answered["error"].startswith("ConnectError")


def test_rollout_is_one_change_timed_from_its_push() -> None:
    """Old and new pods answer in turn for a while; a later rollback is a change too, but without a push."""
    memory = Memory()
    executions = [execution(NEW, "InProgress", "", started=100.0), execution(OLD, "Succeeded", "", started=10.0)]
    for at, version in enumerate([OLD, OLD, NEW, OLD, "", NEW, *[NEW] * 10, OLD]):
        memory.add(answer(version, at=130.0 + at), executions)
    assert [(one["before"], one["version"], one["at"], one["seconds"]) for one in memory.app("")["changes"]] == [
        (OLD, NEW, 132.0, 32.0),
        (NEW, OLD, 146.0, None),
    ]


def test_first_release_is_timed_only_if_the_page_was_open() -> None:
    """A version after a failed request has just gone live. The first answer, also after a gap, may be older."""
    executions = [execution(NEW, "InProgress", "", started=100.0), execution(OLD, "Succeeded", "", started=10.0)]
    memory = Memory()
    memory.add(answer("", at=50.0), executions)
    memory.add(answer(OLD, at=51.0), executions)
    assert memory.app("")["changes"] == [{"at": 51.0, "before": "", "version": OLD, "seconds": 41.0}]
    memory.add(answer(NEW, at=700.0), executions)
    assert len(memory.app("")["changes"]) == 1
    assert len(memory.app("")["answers"]) == 1
    late = Memory()
    late.add(answer(OLD, at=51.0), executions)
    assert late.app("")["changes"] == []


def test_pods_get_their_version_from_answers() -> None:
    """A pod that has not answered yet gets the version of its image."""
    world = Scripted()
    world.deployed()
    memory = Memory()
    memory.add(answer(OLD, by=world.now["nodes"][0]["pods"][0]["name"]), [])
    assert [node["pods"][0]["version"] for node in memory.name_versions(world.now)["nodes"]] == [OLD, OLD]


# --- The endpoints --------------------------------------------------------------------------------------------------


def request(app: ASGIApp, path: str, method: str = "GET", host: str = "127.0.0.1") -> httpx.Response:
    """Return the application's response, without a server."""

    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url=f"http://{host}:24563") as client:
            return await client.request(method, path)

    return asyncio.run(send())


def test_snapshot_of_an_empty_world_has_a_note_for_each_part() -> None:
    state = request(application(Scripted()), "/api/snapshot").json()
    assert list(state) == ["region", "pipeline", "build", "cluster", "app"]
    assert [state[part]["note"] for part in ("pipeline", "build", "cluster", "app")] == [
        "No pipeline yet. It appears with the stack.",
        "No build yet.",
        "No cluster yet.",
        "No load balancer yet. It appears with the first deployment.",
    ]


def test_snapshot_has_the_stages_the_log_and_the_answer() -> None:
    world = Scripted()
    world.deployed()
    world.pushed()
    state = request(application(world), "/api/snapshot", host="localhost").json()
    assert [one["status"] for one in state["pipeline"]["stages"]] == ["Succeeded", "InProgress"]
    assert state["build"]["lines"][1] == "==> Test the image"
    assert state["app"]["url"] == "http://10.250.1.1/"
    assert state["app"]["answers"][0]["version"] == OLD


def test_rejects_foreign_code_hosts_and_methods() -> None:
    """Each response has a strict policy; other host names and every method but GET are rejected."""
    app = application(Scripted())
    for path in ("/", "/static/console.js", "/static/console.css", "/api/snapshot", "/nothing"):
        headers = request(app, path).headers
        assert "default-src 'none'" in headers["content-security-policy"], path
        assert "unsafe" not in headers["content-security-policy"], path
        assert headers["x-content-type-options"] == "nosniff", path
    assert request(app, "/", host="evil.example").status_code == 403
    assert request(app, "/api/snapshot", method="POST").status_code == 405
    assert request(app, "/static/%2e%2e/app.py").status_code == 404


def test_streams_a_snapshot_for_each_change_and_heartbeats_between() -> None:
    """Reading stops when the stream is closed."""

    async def scenario() -> tuple[list[str], int, int]:
        world = Scripted()
        stream = events(Watch(world, interval=0.01), heartbeat=0.05)
        assert (await anext(stream)).startswith("retry: ")
        seen = [await anext(stream) for _ in range(3)]
        world.pushed()
        seen.append(await anext(stream))
        await stream.aclose()  # type: ignore[attr-defined]
        reads = world.reads
        await asyncio.sleep(0.05)
        return seen, reads, world.reads

    (loading, empty, heartbeat, pushed), at_the_end, later = asyncio.run(scenario())
    assert [one.partition("\n")[0] for one in (loading, empty, heartbeat, pushed)] == [
        "event: snapshot",
        "event: snapshot",
        "event: heartbeat",
        "event: snapshot",
    ]
    assert "Loading" in loading
    assert "No pipeline yet" in empty
    assert json.loads(pushed.split("data: ")[1])["pipeline"]["name"] == "aws-pipeline"
    assert at_the_end == later


def test_defect_in_one_reader_is_logged_and_does_not_stop_the_others(caplog: pytest.LogCaptureFixture) -> None:

    class Broken(Scripted):
        async def cluster(self) -> Cluster:
            """Fail."""
            raise RuntimeError("boom")

    async def scenario() -> str:
        stream = events(Watch(Broken(), interval=0.01))
        seen = [await anext(stream) for _ in range(3)]
        await stream.aclose()  # type: ignore[attr-defined]
        return seen[-1]

    assert "No pipeline yet" in asyncio.run(scenario())
    assert "boom" in caplog.text


def test_runs_as_a_module_in_the_hosts_network_namespace() -> None:
    assert program().netns is None
    assert program().command[1:] == ["-m", "rehearsal.console"]


# --- The page in a browser ------------------------------------------------------------------------------------------


@pytest.fixture
def served() -> Iterator[tuple[str, Scripted]]:
    """Yield the URL of a page and the world that it shows."""
    world = Scripted()
    with serving(world) as url:
        yield url, world


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chrome]:
    """Yield one browser for all tests of the page."""
    with browser() as driver:
        yield driver


@pytest.mark.rehearsal
@needs_chromium
class TestPage:
    """The page in a browser; each test scripts its own world."""

    def test_shows_a_push_going_live(self, chromium: Chrome, served: tuple[str, Scripted]) -> None:
        """From an empty page to an app whose answer changes, without reloading."""
        url, world = served
        chromium.get(url)
        shows(chromium, "#connection", "Connected")
        shows(chromium, "#pipeline", "No pipeline yet")
        shows(chromium, "#cluster", "No cluster yet")
        world.deployed()
        shows(chromium, "#version", OLD[:7])
        world.pushed()
        shows(chromium, "#stages li:nth-child(2)", "In progress")
        shows(chromium, "#executions tr", "Say good morning instead")
        shows(chromium, "#log", "#6 [6/6] RUN step 6")
        world.versions = [NEW]
        shows(chromium, "#version", NEW[:7])
        shows(chromium, "#changes", "after the push")
        shows(chromium, "#news", f"The app now answers with {NEW[:7]}")
        world.pipeline["stages"][1] = stage("Build", "Succeeded")
        shows(chromium, "#news", "Build: succeeded")
        world.versions = [""]
        shows(chromium, "#version", "connection refused")
        assert browser_log(chromium) == []

    def test_explains_a_failure_and_shows_hostile_text_as_text(
        self, chromium: Chrome, served: tuple[str, Scripted]
    ) -> None:
        """The reason is above the log; markup in a log, a commit, a pod or an answer is shown literally."""
        url, world = served
        world.deployed()
        world.pushed()
        world.failed()
        world.versions = [HOSTILE]
        world.pipeline["executions"][0]["message"] = HOSTILE
        world.now["nodes"][0]["pods"][0]["name"] = HOSTILE
        chromium.get(url)
        shows(chromium, "#build-error", "Reason: exit status 1")
        shows(chromium, "#log", HOSTILE)
        shows(chromium, "#executions", HOSTILE)
        shows(chromium, "#nodes", HOSTILE)
        shows(chromium, "#version", HOSTILE)
        assert chromium.title.endswith("Push to live")
        assert chromium.execute_script("return document.querySelectorAll('img, body script').length") == 0
        assert browser_log(chromium) == []

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    @pytest.mark.parametrize("state", ["empty", "failed", "approval"])
    def test_passes_axe(self, chromium: Chrome, served: tuple[str, Scripted], scheme: str, state: str) -> None:
        """axe-core finds no violation of its rules, which include contrast, names and landmarks."""
        url, world = served
        if state != "empty":
            world.deployed()
            world.pushed()
            world.versions = [OLD, NEW, ""]
            world.now["waiting"] = [pod("late", "", "Pending", ready=False)]
            world.now["nodes"][0]["pods"].append(pod("leaving", "", "Terminating", ready=False))
        if state == "failed":
            world.failed()
        if state == "approval":
            world.pipeline["stages"][1]["actions"][0].update({"approval": True})
        emulate(chromium, prefers_color_scheme=scheme)
        chromium.get(url)
        shows(chromium, "#pipeline", "No pipeline" if state == "empty" else "Say good morning")
        result = Axe().run(chromium)
        emulate(chromium, prefers_color_scheme="light")
        assert [(one["id"], one["nodes"][0]["html"]) for one in result["violations"]] == []
        assert "color-contrast" in {one["id"] for one in result["passes"]}

    def test_log_is_usable_with_the_keyboard(self, chromium: Chrome, served: tuple[str, Scripted]) -> None:
        """The first link leads to the log, which follows its end until it is scrolled up."""
        url, world = served
        world.pushed()
        world.build["lines"] = [f"line {number}" for number in range(300)]
        chromium.get(url)
        shows(chromium, "#log", "line 299")
        keys = ActionChains(chromium)
        keys.send_keys(Keys.TAB, Keys.ENTER).perform()
        wait_until(chromium, "document.querySelector(':focus, :target').id === 'log'")
        chromium.execute_script("document.querySelector('#log').focus()")
        keys.send_keys(Keys.HOME).perform()
        wait_until(chromium, "document.querySelector('#log').scrollTop === 0")
        wait_until(chromium, "!document.querySelector('#follow').checked")
        world.build["lines"] = [f"line {number}" for number in range(3, 303)]
        shows(chromium, "#log", "line 302")
        assert chromium.execute_script("return document.querySelector('#log').firstChild.innerText") == "line 3"
        assert chromium.execute_script("return document.querySelectorAll('#log p').length") == 300
        assert chromium.execute_script("return document.querySelector('#log').scrollTop") < 100
        keys.send_keys(Keys.END).perform()
        wait_until(chromium, "document.querySelector('#follow').checked")

    def test_fits_the_screen_and_reduces_motion(self, chromium: Chrome, served: tuple[str, Scripted]) -> None:
        """No scrolling on a desktop screen, no horizontal scrolling on a narrow one, no animation if not wanted."""
        url, world = served
        world.deployed()
        world.pushed()
        world.versions = [OLD, NEW]
        emulate(chromium, prefers_reduced_motion="reduce")
        chromium.get(url)
        shows(chromium, "#stages", "In progress")
        shows(chromium, "#legend", NEW[:7])
        size = "document.documentElement"
        assert chromium.execute_script(f"return {size}.scrollHeight <= 900 && {size}.scrollWidth <= 1280")
        style = "getComputedStyle(document.querySelector('.pill.run svg')).animationName"
        assert chromium.execute_script(f"return {style}") == "none"
        resize(chromium, (320, 800))
        assert chromium.execute_script(f"return {size}.scrollWidth") == 320
        resize(chromium, (1280, 900))
        emulate(chromium, prefers_color_scheme="light")

    def test_saves_the_readmes_picture(
        self, served: tuple[str, Scripted], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The picture is small and shows the whole page; if an answer is missing, the command says so."""
        url, world = served
        picture = tmp_path / "page.png"
        arguments = ["screenshot", url, str(picture), "--answers", "3", "--within"]
        monkeypatch.setattr("sys.argv", [*arguments, "0.5"])
        with pytest.raises(SystemExit, match="did not show 3 of #strip"):
            screenshot.main()
        world.deployed()
        world.pushed()
        monkeypatch.setattr("sys.argv", [*arguments, "10"])
        screenshot.main()
        with Image.open(picture) as image:
            assert image.size == screenshot.SIZE
        assert picture.stat().st_size < 150_000

    def test_reports_a_lost_connection_and_reconnects(self, chromium: Chrome) -> None:
        with serving(Scripted()) as url:
            chromium.get(url)
            shows(chromium, "#connection", "Connected")
        shows(chromium, "#connection", "Disconnected")
        with serving(Scripted(), port=int(url.rstrip("/").rpartition(":")[2])):
            shows(chromium, "#connection", "Connected")
        browser_log(chromium)  # the refused connections


def test_visitor_ignores_proxy_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    server = serve_in_thread({"/": {"version": OLD}})
    assert asyncio.run(Visitor().read(f"127.0.0.1:{server.server_port}"))["status"] == 200
    server.shutdown()
    server.server_close()
