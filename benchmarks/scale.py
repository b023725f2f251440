"""How delivery scales: replicas on the two nodes, replicas on simulated nodes, and pushes that outpace the builds.

The simulated nodes are kwok's (https://kwok.sigs.k8s.io): API server, scheduler and controllers do all their work, and
kwok reports in place of the kubelets that the pods run. So that curve measures the control plane alone.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from benchmarks.figures import Context, Curve, Figure
from benchmarks.releases import APP, BenchmarkError, Releases
from rehearsal.kubernetes import toolchain
from rehearsal.settings import settings
from rehearsal.tutorial import NAMESPACE

NAME = "scale"
KWOK = Path(__file__).with_name("kwok")
BUILD_TIMEOUT = 1200
#: Simulated nodes hold as many pods as a t3.medium.
PODS_OF_A_NODE = 17
FAKE = "kwok.x-k8s.io/node"
#: The stages of kwok's module that are used: a node becomes ready, a pod runs, a pod is deleted.
STAGES = ("node/fast/node-initialize", "pod/fast/pod-ready", "pod/fast/pod-delete")
#: The load balancer ignores nodes with this label.
EXCLUDED = "node.kubernetes.io/exclude-from-external-load-balancers"


def measure(context: Context) -> list[Figure]:
    """Measure how delivery scales, and record the curves for the picture."""
    releases = Releases(context)
    return [*_replicas(context, releases), *_queued(context, releases)]


def _replicas(context: Context, releases: Releases) -> list[Figure]:
    sizes = [1, 3] if context.quick else [1, 10, 50, 200]
    figures = []
    with _deployment(releases, {}):
        room = _room(releases)
        fitting = sorted({min(size, room) for size in sizes})
        figures += _grow(context, releases, "two nodes", fitting)
    with simulated_nodes(context, releases, max(sizes)), _deployment(releases, {FAKE: "fake"}):
        figures += _grow(context, releases, "simulated nodes", sizes)
    return figures


def _grow(context: Context, releases: Releases, where: str, sizes: Sequence[int]) -> list[Figure]:
    """Time scaling from zero to each size, until all replicas are ready."""
    figures = []
    for size in sizes:
        taken = [_scale(releases, size) for _ in range(context.repetitions)]
        figures.append(Figure(f"0 to {size} replicas on {where}, all ready", "s", taken))
        context.say(f"{size} replicas on {where}: {figures[-1].value:.1f} s")
    points = [(size, figure.value) for size, figure in zip(sizes, figures, strict=True)]
    context.curves.append(Curve(where, "replicas", "seconds until all are ready", points))
    return figures


def _scale(releases: Releases, size: int) -> float:
    began = time.monotonic()
    releases.run("kubectl", "scale", f"deployment/{NAME}", f"--replicas={size}", "-n", NAME)
    releases.run("kubectl", "rollout", "status", f"deployment/{NAME}", "-n", NAME, "--timeout=240s")
    took = time.monotonic() - began
    releases.run("kubectl", "scale", f"deployment/{NAME}", "--replicas=0", "-n", NAME)
    releases.run("kubectl", "wait", "pods", "--all", "--for=delete", "-n", NAME, "--timeout=240s")
    return took


@contextmanager
def _deployment(releases: Releases, selector: dict[str, str]) -> Iterator[None]:
    """Create a copy of the app's Deployment with no pods, for nodes with these labels; delete it afterwards."""
    made = json.loads(releases.run("kubectl", "get", "deployment", APP, "-n", NAMESPACE, "--output", "json"))["spec"]
    labels = {"app.kubernetes.io/name": NAME}
    made |= {"replicas": 0, "minReadySeconds": 0, "progressDeadlineSeconds": 300, "selector": {"matchLabels": labels}}
    made["template"]["metadata"] = {"labels": labels}
    pods = made["template"]["spec"]
    pods.pop("topologySpreadConstraints", None)
    pods["containers"][0].pop("lifecycle", None)
    pods["nodeSelector"] = selector
    pods["tolerations"] = [{"key": FAKE, "operator": "Exists"}]
    pods["terminationGracePeriodSeconds"] = 1
    deployment = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": NAME}, "spec": made}
    releases.run("kubectl", "create", "namespace", NAME)
    try:
        releases.run("kubectl", "create", "-n", NAME, "-f", "-", given=json.dumps(deployment))
        yield
    finally:
        releases.run("kubectl", "delete", "namespace", NAME, "--timeout=120s")


def _room(releases: Releases) -> int:
    """Return how many more pods fit on the nodes, by their pod limit and by the CPU that each pod requests."""
    nodes = json.loads(releases.run("kubectl", "get", "nodes", "--output", "json"))["items"]
    pods = json.loads(releases.run("kubectl", "get", "pods", "--all-namespaces", "--output", "json"))["items"]
    cpus = sum(int(node["status"]["allocatable"]["cpu"]) for node in nodes)
    return min(sum(int(node["status"]["allocatable"]["pods"]) for node in nodes), 10 * cpus) - len(pods)


@contextmanager
def simulated_nodes(context: Context, releases: Releases, pods: int) -> Iterator[None]:
    """Add simulated nodes with room for this many pods to the cluster; remove them afterwards."""
    directory = _build(context)
    count = -(-pods // PODS_OF_A_NODE)
    nodes = {"apiVersion": "v1", "kind": "List", "items": [_node(number) for number in range(count)]}
    log = (settings.run / "log" / "kwok.log").open("w", encoding="utf-8")
    options = [f"--kubeconfig={settings.kubeconfig}", f"--manage-nodes-with-annotation-selector={FAKE}=fake"]
    options += [f"--config={file}" for file in directory.glob("*.yaml")]
    kwok = subprocess.Popen([directory / "kwok", *options], env=releases.env, stdout=log, stderr=log)
    try:
        releases.run("kubectl", "create", "-f", "-", given=json.dumps(nodes))
        releases.run("kubectl", "wait", "nodes", "-l", f"{FAKE}=fake", "--for=condition=Ready", "--timeout=60s")
        yield
    finally:
        releases.run("kubectl", "delete", "nodes", "-l", f"{FAKE}=fake", "--ignore-not-found")
        kwok.terminate()
        with suppress(subprocess.TimeoutExpired):
            kwok.wait(10)
        kwok.kill()
        log.close()


def _node(number: int) -> dict[str, Any]:
    size = {"cpu": "2", "memory": "4Gi", "pods": str(PODS_OF_A_NODE)}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": f"simulated-{number}",
            "labels": {FAKE: "fake", EXCLUDED: ""},
            "annotations": {FAKE: "fake"},
        },
        "spec": {"taints": [{"key": FAKE, "value": "fake", "effect": "NoSchedule"}]},
        "status": {"allocatable": size, "capacity": size},
    }


def _build(context: Context) -> Path:
    """Build kwok from its Go module, once per version; return the directory of the program and its stages.

    Raises:
        BenchmarkError: it cannot be fetched or compiled.
    """
    key = hashlib.sha256((KWOK / "go.sum").read_bytes()).hexdigest()[:12]
    directory = settings.cache / f"kwok-{key}"
    if directory.exists():
        return directory
    context.say("build kwok from its Go module (once, takes some minutes)")
    go, environment = toolchain.find(context.say)
    with tempfile.TemporaryDirectory(dir=settings.cache) as work:
        draft = Path(work) / "kwok"
        draft.mkdir()
        _go(go, environment, "build", "-ldflags", "-s -w", "-o", str(draft / "kwok"), "sigs.k8s.io/kwok/cmd/kwok")
        module = Path(_go(go, environment, "list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/kwok").strip())
        for stage in STAGES:
            shutil.copy(module / "kustomize" / "stage" / f"{stage}.yaml", draft)
        draft.rename(directory)
    return directory


def _go(go: Path, environment: dict[str, str], *args: str) -> str:
    done = subprocess.run(
        [go, *args], cwd=KWOK, env=environment, capture_output=True, text=True, timeout=BUILD_TIMEOUT, check=False
    )
    if done.returncode:
        raise BenchmarkError(f"kwok cannot be built: {done.stderr[-600:]}")
    return done.stdout


def _queued(context: Context, releases: Releases) -> list[Figure]:
    """Push faster than the pipeline builds: measure when the last commit is live, and how many commits are built."""
    sizes = [1, 3] if context.quick else [1, 5, 20, 50]
    figures, waits, builds = [], [], []
    for size in sizes:
        release, executions = releases.push_many(size)
        built = sum(status == "Succeeded" for status in executions)
        waits.append((size, release.took))
        builds.append((size, built))
        note = f"{built} of {len(executions)} executions built, the others were superseded"
        many = f"{size} pushes at once: the last one" if size > 1 else "1 push"
        figures.append(Figure(f"{many} is live", "s", [release.took], note=note))
        context.say(f"{size} pushes: {release.took:.1f} s, {note}")
    context.curves.append(Curve("from the last push", "pushes at once", "seconds until the last is live", waits))
    context.curves.append(Curve("builds", "pushes at once", "executions that were built", builds))
    return figures
