"""kill -9 with a cluster of real Kubernetes, followed by a rerun: authorize-role.sh and deploy.sh at every command,
teardown.sh and create-cluster.sh before and after eksctl. See tests/faults/test_kill.py for the method.

Each point has its own namespace and role, or annotation, so nothing has to be restored in between.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rehearsal.emulator.client import root
from rehearsal.settings import settings
from tests.support.fixtures import Figure, Rehearsal
from tests.support.inventory import inventory
from tests.support.names import CLUSTER
from tests.support.releases import Releases
from tests.support.tracing import Endpoint, Run, Tracer, moments, warm_aws

pytestmark = [pytest.mark.rehearsal, pytest.mark.slow, pytest.mark.timeout(1200)]

KINDS = "configmap,role,rolebinding,deployment,service,poddisruptionbudget,horizontalpodautoscaler"


def admin(*args: str) -> str:
    """Run kubectl without the scripts."""
    kubeconfig = settings.run / "kubernetes" / "super-admin.conf"
    command = [str(settings.bin / "kubectl"), "--kubeconfig", str(kubeconfig), *args]
    env = os.environ | {"NO_PROXY": "*", "no_proxy": "*"}
    return subprocess.run(command, env=env, capture_output=True, text=True, check=True, timeout=120).stdout


def objects(namespace: str) -> list[dict[str, Any]]:
    """Return a namespace, its objects and aws-auth, without the fields that the control plane sets."""
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
    """Return all objects of some kinds."""
    return list(json.loads(admin("get", kinds, "--namespace", namespace, "-o", "json"))["items"])


def meaning(found: list[dict[str, Any]], *own: str) -> list[str]:
    """Return the objects in a form comparable between runs, with the names ``own`` of this run replaced."""
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
    """A script, killed at each point of an undisturbed run; ``run(number, kill)`` runs it with the names of a point."""

    def __init__(
        self, desk: Desk, run: Callable[[int, str], Run], state: Callable[[int], tuple[object, object]]
    ) -> None:
        self.desk, self.run, self.state = desk, run, state
        self.start = state(0)[0]
        first = run(0, "")
        assert first.code == 0, first.output
        self.goal = state(0)[0]
        self.changes = 0
        self.changes_nothing(0)
        self.points = list(moments(first.points))
        self.states = [self.start]

    def __call__(self) -> str:
        """Kill at each point; return the figure."""
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
        return f"{killed} of {len(self.points)} points, {len(self.states)} different states, {self.changes} changes in the third run"

    def changes_nothing(self, number: int) -> None:
        """Check that it changes nothing when everything is done."""
        self.desk.endpoint.changes()
        exactly = self.state(number)[1]
        third = self.run(number, "")
        assert third.code == 0, third.output
        self.changes += self.state(number)[1] != exactly
        assert self.changes == 0
        assert self.desk.endpoint.changes() == []


@pytest.mark.usefixtures("cluster")
def test_authorize_role_converges_after_kill_at_every_command(desk: Desk, figure: Figure) -> None:
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
        result = Sweep(desk, run, state)()
    finally:
        admin("patch", "configmap", "aws-auth", "--namespace", "kube-system", "--patch", json.dumps({"data": before}))
        made = [name for name in admin("get", "namespace", "-o", "name").split() if name.startswith("namespace/kill-")]
        if made:
            admin("delete", "--wait=false", *made)
    figure(
        "authorize-role.sh killed at every command, in Kubernetes: same end state, no duplicates",
        result,
    )


def test_deploy_converges_after_kill_at_every_command(
    stack: Rehearsal, desk: Desk, figure: Figure, tmp_path: Path
) -> None:
    image = Releases(stack, tmp_path).first
    checkout = tmp_path / "checkout"
    shutil.copytree(stack.checkout, checkout, ignore=shutil.ignore_patterns(".git"))
    desk.tracer.checkout = checkout
    manifest = (checkout / "deployment.yml").read_text()
    kubeconfig = str(tmp_path / "kubeconfig")
    stack.run("aws", "eks", "update-kubeconfig", "--name", CLUSTER, "--alias", "deployer", "--kubeconfig", kubeconfig)
    names = {"APP_NAMESPACE": "kill-deploy", "GITHUB_USER": "learner", "KUBECONFIG": kubeconfig}

    def run(number: int, kill: str) -> Run:
        noted = f"    metadata:\n      annotations: {{try: t{number}x}}\n      labels:"
        (checkout / "deployment.yml").write_text(manifest.replace("    metadata:\n      labels:", noted, 1))
        return desk.tracer.run("build/deploy.sh", image, kill=kill, **names)

    def state(number: int) -> tuple[object, object]:
        found = objects("kill-deploy")
        return meaning(re_read(found, number)), json.dumps(found, sort_keys=True)

    def re_read(found: list[dict[str, Any]], number: int) -> list[dict[str, Any]]:
        """Replace the annotation by its age, and drop the number of replicas, which the autoscaler sets."""
        text = json.dumps(found).replace(f'"t{number}x"', '"new"')
        read: list[dict[str, Any]] = json.loads(re.sub(r'"t\d+x"', '"old"', text))
        for each in read:
            each["spec"] = {name: value for name, value in each.get("spec", {}).items() if name != "replicas"}
        return read

    admin("create", "namespace", "kill-deploy")
    try:
        assert run(9999, "").code == 0  # a first deployment
        result = Sweep(desk, run, state)()
        pods = json.loads(admin("get", "pods", "--namespace", "kill-deploy", "-o", "json"))["items"]
        assert len([pod for pod in pods if not pod["metadata"].get("deletionTimestamp")]) == 2
    finally:
        admin("delete", "namespace", "kill-deploy", "--wait=false")
    figure(
        "deploy.sh killed at every command, in Kubernetes: same end state, no duplicates",
        result,
    )


def test_teardown_converges_after_kill_and_setup_restores_everything(
    stack: Rehearsal, desk: Desk, figure: Figure, tmp_path: Path
) -> None:
    Releases(stack, tmp_path)  # waits for the first release, so there are images and a load balancer
    try:
        before = inventory(root)
        killed = desk.tracer.run("teardown.sh", "--yes", kill="before teardown:eksctl:1", timeout=300)
        assert killed.killed, killed.output
        done = desk.tracer.run("teardown.sh", "--yes", timeout=300)
        assert done.output.splitlines()[-1] == "==> Nothing is left"
        left = {kind: names for kind, names in inventory(root).items() if names}
        more = sum(map(len, left.values())) - len(left.get("policies", []))
        assert root("codepipeline").list_pipelines()["pipelines"] == []
        assert settings.kubeconfig.read_text().count(CLUSTER) == 0
        desk.endpoint.changes()
        assert desk.tracer.run("teardown.sh", "--yes").code == 0
        changes = desk.endpoint.changes()
        figure(
            "teardown of everything in Kubernetes, killed once and rerun: nothing is left",
            f"{more} left, {len(changes)} changing calls",
        )
        assert left == {"policies": [f"arn:aws:iam::{settings.account}:policy/learner"]}
        assert changes == []
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
