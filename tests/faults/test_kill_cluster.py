"""kill -9 where the cluster is real Kubernetes: authorize-role.sh and deploy.sh at every command, teardown.sh and create-cluster.sh
around eksctl; then run again. See tests/faults/test_kill.py, which sweeps the other scripts, for how.

Each point gets a namespace and a role, or an annotation, of its own, so nothing has to be put back between two.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rehearsal.emulator.client import root
from rehearsal.settings import settings
from tests.support.fixtures import Rehearsal
from tests.support.inventory import inventory
from tests.support.releases import Releases
from tests.support.tracing import Endpoint, Run, Tracer, moments, warm_aws

pytestmark = [pytest.mark.rehearsal, pytest.mark.slow, pytest.mark.timeout(1200)]

Figure = Callable[[str, object], None]
KINDS = "configmap,role,rolebinding,deployment,service,poddisruptionbudget,horizontalpodautoscaler"


def admin(*args: str) -> str:
    """Run kubectl past all scripts."""
    kubeconfig = settings.run / "kubernetes" / "super-admin.conf"
    command = [str(settings.bin / "kubectl"), "--kubeconfig", str(kubeconfig), *args]
    env = os.environ | {"NO_PROXY": "*", "no_proxy": "*"}
    return subprocess.run(command, env=env, capture_output=True, text=True, check=True, timeout=120).stdout


def objects(namespace: str) -> list[dict[str, Any]]:
    """A namespace, its objects and aws-auth, without what the control plane sets by itself."""
    found = read(KINDS, namespace) + [each for each in read("namespace") if each["metadata"]["name"] == namespace]
    found += [each for each in read("configmap", "kube-system") if each["metadata"]["name"] == "aws-auth"]
    for each in found:
        each.pop("status", None)
        each["metadata"].pop("resourceVersion")
        each["metadata"]["managedFields"] = [
            field for field in each["metadata"].get("managedFields", []) if field.get("subresource") != "status"
        ]
    return [each for each in found if each["metadata"]["name"] != "kube-root-ca.crt"]


def read(kinds: str, namespace: str = "default") -> list[dict[str, Any]]:
    """All objects of some kinds."""
    return list(json.loads(admin("get", kinds, "--namespace", namespace, "-o", "json"))["items"])


def meaning(found: list[dict[str, Any]], *own: str) -> list[str]:
    """The objects as they may be compared with those of another run, whose names are others in the place of ``own``."""
    texts = []
    for each in found:
        kept = {name: each["metadata"].get(name) for name in ("name", "labels")}
        rest = {name: value for name, value in each.items() if name in ("spec", "data", "rules", "roleRef", "subjects")}
        if each["kind"] == "Service":
            rest["spec"] = {name: rest["spec"][name] for name in ("type", "selector")}
        texts.append(json.dumps([each["kind"], kept, rest], sort_keys=True))
    return sorted(re.sub("|".join(map(re.escape, own)) or "$^", "OWN", text) for text in texts)


@dataclass
class Desk:
    """The learner's shell in the rehearsal, traced."""

    tracer: Tracer
    endpoint: Endpoint


@pytest.fixture(name="desk")
def _desk(cluster: Rehearsal, tmp_path: Path) -> Iterator[Desk]:
    endpoint = Endpoint(cluster.env["AWS_ENDPOINT_URL"])
    with warm_aws(tmp_path / "warm") as warm:
        tools = warm["PATH"].partition(os.pathsep)[0]
        environment = cluster.env | {
            "PATH": f"{tools}{os.pathsep}{cluster.env['PATH']}",
            "WARM_AWS": warm["WARM_AWS"],
            "AWS_ENDPOINT_URL": endpoint.url,
        }
        yield Desk(Tracer(tmp_path / "desk", environment, cluster.checkout), endpoint)
    endpoint.close()


class Sweep:
    """A script, killed at each point of an undisturbed run; ``run(number, kill)`` is the run number so and so."""

    def __init__(
        self, desk: Desk, run: Callable[[int, str], Run], state: Callable[[int], tuple[object, object]]
    ) -> None:
        self.desk, self.run, self.state = desk, run, state
        self.start = state(0)[0]
        first = run(0, "")
        assert first.code == 0, first.output
        self.goal = state(0)[0]
        self.changes_nothing(0)
        self.points = list(moments(first.points))
        self.states = [self.start]

    def __call__(self) -> str:
        """Kill at each point; the figure."""
        killed = 0
        for number, moment in enumerate(self.points, 1):
            done = self.run(number, moment)
            left = self.state(number)[0]
            killed += done.killed
            if not done.killed or left not in self.states:
                self.states.append(left)
                again = self.run(number, "")
                assert (again.code, self.state(number)[0]) == (0, self.goal), f"{moment}\n{again.output}"
                self.changes_nothing(number)
        assert killed >= len(self.points) * 0.9
        return f"killed at {killed} of {len(self.points)} points, which left {len(self.states)} different states; third run 0 changes"

    def changes_nothing(self, number: int) -> None:
        """Run it where everything is done."""
        self.desk.endpoint.changes()
        exactly = self.state(number)[1]
        third = self.run(number, "")
        assert third.code == 0, third.output
        assert self.state(number)[1] == exactly
        assert self.desk.endpoint.changes() == []


@pytest.mark.usefixtures("cluster")
def test_authorising_is_killed_at_every_command(desk: Desk, figure: Figure) -> None:
    before = json.loads(admin("get", "configmap", "aws-auth", "--namespace", "kube-system", "-o", "json"))["data"]

    def run(number: int, kill: str) -> Run:
        own = {"APP_NAMESPACE": f"kill-{number}x", "KUBECTL_ROLE_NAME": f"kill-{number}x"}
        return desk.tracer.run("authorize-role.sh", kill=kill, **own)

    def state(number: int) -> tuple[object, object]:
        found = objects(f"kill-{number}x")
        (aws_auth,) = [each for each in found if each["kind"] == "ConfigMap"]
        exact = json.dumps(found, sort_keys=True)
        aws_auth["data"] = {"mapped": str(aws_auth["data"]).count(f"/kill-{number}x")}
        return meaning(found, f"kill-{number}x"), exact

    try:
        told = Sweep(desk, run, state)()
    finally:
        admin("patch", "configmap", "aws-auth", "--namespace", "kube-system", "--patch", json.dumps({"data": before}))
        made = [name for name in admin("get", "namespace", "-o", "name").split() if name.startswith("namespace/kill-")]
        if made:
            admin("delete", "--wait=false", *made)
    figure(
        "authorize-role.sh killed at every command, in Kubernetes: same end state, no duplicates",
        told,
    )


def test_a_deployment_is_killed_at_every_command(stack: Rehearsal, desk: Desk, figure: Figure, tmp_path: Path) -> None:
    image = Releases(stack, tmp_path).first
    checkout = tmp_path / "checkout"
    shutil.copytree(stack.checkout, checkout, ignore=shutil.ignore_patterns(".git"))
    desk.tracer.checkout = checkout
    manifest = (checkout / "deployment.yml").read_text()
    names = {"APP_NAMESPACE": "kill-deploy", "GITHUB_USER": "learner"}

    def run(number: int, kill: str) -> Run:
        noted = f"    metadata:\n      annotations: {{try: t{number}x}}\n      labels:"
        (checkout / "deployment.yml").write_text(manifest.replace("    metadata:\n      labels:", noted, 1))
        return desk.tracer.run("build/deploy.sh", image, kill=kill, **names)

    def state(number: int) -> tuple[object, object]:
        found = objects("kill-deploy")
        return meaning(re_read(found, number)), json.dumps(found, sort_keys=True)

    def re_read(found: list[dict[str, Any]], number: int) -> list[dict[str, Any]]:
        """The same with the annotation named by its age, and the number of pods, which is the autoscaler's, left out."""
        text = json.dumps(found).replace(f'"t{number}x"', '"new"')
        read: list[dict[str, Any]] = json.loads(re.sub(r'"t\d+x"', '"old"', text))
        for each in read:
            each["spec"] = {name: value for name, value in each.get("spec", {}).items() if name != "replicas"}
        return read

    admin("create", "namespace", "kill-deploy")
    try:
        assert run(9999, "").code == 0  # something is live before
        told = Sweep(desk, run, state)()
        pods = json.loads(admin("get", "pods", "--namespace", "kill-deploy", "-o", "json"))["items"]
        assert len([pod for pod in pods if not pod["metadata"].get("deletionTimestamp")]) == 2
    finally:
        admin("delete", "namespace", "kill-deploy", "--wait=false")
    figure(
        "deploy.sh killed at every command, in Kubernetes: same end state, no duplicates",
        told,
    )


def test_the_whole_account_goes_and_comes_back(stack: Rehearsal, desk: Desk, figure: Figure, tmp_path: Path) -> None:
    Releases(stack, tmp_path)  # a first release is live, so there are images and a load balancer
    try:
        before = inventory(root)
        began = time.monotonic()
        killed = desk.tracer.run("teardown.sh", "--yes", kill="before teardown:eksctl:1", timeout=300)
        assert killed.killed, killed.output
        done = desk.tracer.run("teardown.sh", "--yes", timeout=300)
        took = time.monotonic() - began
        assert done.output.splitlines()[-1] == "==> Nothing is left"
        left = {kind: names for kind, names in inventory(root).items() if names}
        assert left == {"policies": [f"arn:aws:iam::{settings.account}:policy/learner"]}
        assert root("codepipeline").list_pipelines()["pipelines"] == []
        assert settings.kubeconfig.read_text().count("eksctl-demo") == 0
        desk.endpoint.changes()
        assert desk.tracer.run("teardown.sh", "--yes").code == 0
        assert desk.endpoint.changes() == []
        figure(
            "teardown of everything in Kubernetes, killed once and rerun: nothing is left",
            f"0 things left, {took:.0f} s",
        )
        assert desk.tracer.run("create-cluster.sh", kill="before create-cluster:eksctl:1").killed
        assert desk.tracer.run("create-cluster.sh", kill="after create-cluster:eksctl:1", timeout=300).killed
    finally:
        stack.run("scripts/setup-cluster.sh", timeout=600)
        stack.run("scripts/create-stack.sh", timeout=300)
    Releases(stack, tmp_path)
    assert inventory(root) == before
    desk.endpoint.changes()
    for script in ("create-cluster.sh", "create-role.sh", "authorize-role.sh", "create-stack.sh"):
        assert desk.tracer.run(script, GITHUB_TOKEN="").code == 0
    assert desk.endpoint.changes() == []
