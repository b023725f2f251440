"""create-cluster.sh after eksctl was killed, and authorize-role.sh after the role was recreated; in mode API, with real
nodes and the real authenticator.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rehearsal import waiting
from rehearsal.emulator.client import root
from tests.support.fixtures import Rehearsal
from tests.support.names import CLUSTER, ROLE, ROLE_ARN

pytestmark = [pytest.mark.rehearsal, pytest.mark.timeout(900)]

NODE_GROUP = f"eksctl-{CLUSTER}-nodegroup-nodes"
#: What the config file was when it named no add-ons.
CONFIG = f"""
apiVersion: eksctl.io/v1alpha5
kind: ClusterConfig
metadata: {{name: {CLUSTER}, region: us-east-2, version: "1.36"}}
accessConfig: {{authenticationMode: API}}
managedNodeGroups: [{{name: nodes, desiredCapacity: 2}}]
"""


@pytest.fixture(scope="module", name="shell")
def _shell(rehearsal: Rehearsal) -> Iterator[Rehearsal]:
    """The learner's shell, with nothing created before and after these tests."""
    shell = Rehearsal(rehearsal.env | {"AUTHENTICATION_MODE": "API"}, rehearsal.checkout)
    yield shell
    done = shell.run("scripts/teardown.sh", "--yes", timeout=400, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module", name="interrupted")
def _interrupted(shell: Rehearsal) -> Rehearsal:
    """A control plane whose eksctl was killed while CloudFormation created it."""
    process = subprocess.Popen(
        ["scripts/create-cluster.sh"], env=shell.env, cwd=shell.checkout, start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        waiting.until(lambda: status() == "CREATING", 120, "eksctl to create the cluster", pause=0.2)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)
    waiting.until(lambda: status() == "ACTIVE", 120, "the control plane", pause=0.5)
    return shell


@pytest.fixture(scope="module", name="completed")
def _completed(interrupted: Rehearsal, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Without add-ons, eksctl's node group fails and leaves its stack behind; then create-cluster.sh runs."""
    assert root("eks").list_addons(clusterName=CLUSTER)["addons"] == []
    config = tmp_path_factory.mktemp("eksctl") / "cluster.yml"
    config.write_text(CONFIG)
    first, second = (create_nodegroup(interrupted, config) for _ in range(2))
    assert first.returncode == 1
    assert "NodeCreationFailure: Unhealthy nodes in the kubernetes cluster" in first.stderr
    assert stack_status(NODE_GROUP) == "ROLLBACK_COMPLETE"
    assert second.returncode == 0, "eksctl takes the failed stack for a node group"
    assert "1 existing nodegroup(s) (nodes) will be excluded" in second.stdout
    return interrupted.run("scripts/create-cluster.sh", timeout=400).stdout


def create_nodegroup(shell: Rehearsal, config: Path) -> subprocess.CompletedProcess[str]:
    return shell.run("eksctl", "create", "nodegroup", "-f", str(config), timeout=300, check=False)


def status() -> str:
    if CLUSTER not in root("eks").list_clusters()["clusters"]:
        return ""
    return str(root("eks").describe_cluster(name=CLUSTER)["cluster"]["status"])


def stack_status(name: str) -> str:
    return str(root("cloudformation").describe_stacks(StackName=name)["Stacks"][0]["StackStatus"])


def test_interrupted_creation_is_completed(shell: Rehearsal, completed: str) -> None:
    assert f"==> Delete the stack {NODE_GROUP}, which is ROLLBACK_COMPLETE" in completed.splitlines()
    nodes = json.loads(shell.run("kubectl", "get", "nodes", "-o", "json").stdout)["items"]
    ready = [each["type"] for node in nodes for each in node["status"]["conditions"] if each["status"] == "True"]
    assert ready == ["Ready"] * 2
    addons = root("eks").list_addons(clusterName=CLUSTER)["addons"]
    assert sorted(addons) == ["coredns", "kube-proxy", "metrics-server", "vpc-cni"]
    states = {root("eks").describe_addon(clusterName=CLUSTER, addonName=name)["addon"]["status"] for name in addons}
    assert states == {"ACTIVE"}
    assert stack_status(NODE_GROUP) == "CREATE_COMPLETE"


@pytest.mark.usefixtures("completed")
def test_metrics_are_available(shell: Rehearsal) -> None:
    waiting.until(
        lambda: shell.run("kubectl", "top", "nodes", check=False).returncode == 0, 90, "metrics of the nodes", pause=2
    )


@pytest.mark.usefixtures("completed")
def test_pods_cannot_reach_the_metadata_service_of_their_node() -> None:
    answer = root("ec2").describe_launch_template_versions(LaunchTemplateName=NODE_GROUP)
    options = answer["LaunchTemplateVersions"][0]["LaunchTemplateData"]["MetadataOptions"]
    assert (options["HttpTokens"], options["HttpPutResponseHopLimit"]) == ("required", 1)


@pytest.mark.usefixtures("completed")
def test_addons_are_updated(shell: Rehearsal) -> None:
    before = root("eks").describe_addon(clusterName=CLUSTER, addonName="coredns")["addon"]["addonVersion"]
    command = ("eksctl", "update", "addon", "--cluster", CLUSTER, "--name", "coredns", "--version", "latest")
    done = shell.run(*command, check=False)
    assert done.returncode == 0, done.stderr
    after = root("eks").describe_addon(clusterName=CLUSTER, addonName="coredns")["addon"]["addonVersion"]
    assert after > before


@pytest.mark.usefixtures("completed")
def test_access_entry_of_a_recreated_role_is_made_again(shell: Rehearsal, tmp_path: Path) -> None:
    kubeconfig = str(tmp_path / "kubeconfig")
    shell.run("aws", "eks", "update-kubeconfig", "--name", CLUSTER, "--kubeconfig", kubeconfig)

    def user() -> str:
        """Return the Kubernetes user of the kubectl role's session, or kubectl's error."""
        got = root("sts").assume_role(RoleArn=ROLE_ARN, RoleSessionName="test")["Credentials"]
        keys = {
            "AWS_ACCESS_KEY_ID": got["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": got["SecretAccessKey"],
            "AWS_SESSION_TOKEN": got["SessionToken"],
        }
        role = Rehearsal(shell.env | keys, shell.checkout)
        command = (
            "kubectl",
            "--kubeconfig",
            kubeconfig,
            "auth",
            "whoami",
            "-o",
            "jsonpath={.status.userInfo.username}",
        )
        done = role.run(*command, check=False)
        return done.stdout or done.stderr

    shell.run("scripts/create-role.sh")
    shell.run("scripts/authorize-role.sh")
    waiting.until(lambda: user() == "build", 30, "the access entry to count", user, pause=1)
    iam = root("iam")
    iam.delete_role_policy(RoleName=ROLE, PolicyName="eks-describe")
    iam.delete_role(RoleName=ROLE)
    time.sleep(1.1)  # IAM's times have no fractions of a second
    shell.run("scripts/create-role.sh")
    waiting.until(
        lambda: "logged in" in user() or "Unauthorized" in user(), 30, "the role to be refused", user, pause=1
    )
    said = shell.run("scripts/authorize-role.sh").stdout
    assert "==> Delete the role's access entry, which was made for an earlier role of that name" in said.splitlines()
    waiting.until(lambda: user() == "build", 30, "the new access entry to count", user, pause=1)
    assert "==> The role's access entry is up to date" in shell.run("scripts/authorize-role.sh").stdout.splitlines()
