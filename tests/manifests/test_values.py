"""The values of deployment.yml: each within the bounds that its purpose sets, from both sides."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from tests.support.paths import ROOT

DEPLOYMENT, SERVICE, BUDGET, AUTOSCALER = yaml.safe_load_all((ROOT / "deployment.yml").read_text(encoding="utf-8"))
POD = DEPLOYMENT["spec"]["template"]["spec"]
CONTAINER = POD["containers"][0]
#: Pods of a t3.medium (its network interfaces' addresses), times two nodes, less those of kube-system: aws-node and
#: kube-proxy on each, two each of coredns and metrics-server.
ROOM = 2 * 17 - 2 * 2 - 2 - 2


def probe(name: str) -> dict[str, Any]:
    """Return a probe with the defaults that Kubernetes' reference documents."""
    given: dict[str, Any] = CONTAINER[f"{name}Probe"]
    return {"periodSeconds": 10, "timeoutSeconds": 1, "failureThreshold": 3} | given


def noticed_after(name: str) -> int:
    """Return for how long a probe has to fail, in seconds."""
    return int(probe(name)["periodSeconds"] * probe(name)["failureThreshold"])


@pytest.mark.parametrize("manifest", [DEPLOYMENT, SERVICE, BUDGET, AUTOSCALER], ids=lambda each: each["kind"])
def test_every_object_has_the_recommended_label(manifest: dict[str, Any]) -> None:
    """Kubernetes documentation, "Recommended Labels"; status and clean-up commands select by it."""
    assert manifest["metadata"] == manifest["metadata"] | {
        "name": "hello-world",
        "labels": {"app.kubernetes.io/name": "hello-world"},
    }


def test_pod_that_dies_after_its_first_answer_does_not_count() -> None:
    assert 1 < DEPLOYMENT["spec"]["minReadySeconds"] < 5, "each second is added to every release"


def test_deadline_is_longer_than_a_slow_start() -> None:
    slowest = noticed_after("startup") + probe("readiness")["periodSeconds"] + DEPLOYMENT["spec"]["minReadySeconds"]
    assert slowest < DEPLOYMENT["spec"]["progressDeadlineSeconds"] <= 2 * slowest


def test_page_says_how_many_revisions_are_kept() -> None:
    words = {3: "three", 4: "four", 5: "five", 10: "ten"}
    kept = words[DEPLOYMENT["spec"]["revisionHistoryLimit"]]
    assert f"one of the last {kept} revisions" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_new_pods_replace_old_ones_in_a_rollout() -> None:
    assert DEPLOYMENT["spec"]["strategy"]["type"] == "RollingUpdate"


def test_pod_is_given_nothing_that_it_does_not_need() -> None:
    assert POD["automountServiceAccountToken"] is False
    assert POD["enableServiceLinks"] is False
    assert CONTAINER["imagePullPolicy"] == "IfNotPresent", "the image is named by digest"


def test_user_and_group_are_those_of_the_image() -> None:
    user, group = re.findall(r"^USER (\d+):(\d+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)[-1]
    assert (POD["securityContext"]["runAsUser"], POD["securityContext"]["runAsGroup"]) == (int(user), int(group))


def test_pods_of_a_version_are_spread_over_the_nodes() -> None:
    (spread,) = POD["topologySpreadConstraints"]
    assert spread["topologyKey"] == "kubernetes.io/hostname"
    assert spread["maxSkew"] == 1
    assert spread["labelSelector"]["matchLabels"] == DEPLOYMENT["spec"]["selector"]["matchLabels"]
    assert spread["matchLabelKeys"] == ["pod-template-hash"], "pods of the old version do not count"


def test_pods_of_a_lost_node_are_replaced_soon() -> None:
    """The taints and the default of 300 seconds: Kubernetes documentation, "Taints and Tolerations"."""
    taints = {each["key"]: each for each in POD["tolerations"]}
    assert set(taints) == {"node.kubernetes.io/unreachable", "node.kubernetes.io/not-ready"}
    for each in taints.values():
        assert (each["operator"], each["effect"]) == ("Exists", "NoExecute")
        assert 5 <= each["tolerationSeconds"] <= 20, "a short outage passes, a lost node does not count for long"


@pytest.mark.parametrize("name", ["startup", "readiness", "liveness"])
def test_probe_asks_the_apps_port_and_ends_before_the_next(name: str) -> None:
    assert probe(name)["httpGet"]["port"] == CONTAINER["ports"][0]["name"]
    assert probe(name)["timeoutSeconds"] <= probe(name)["periodSeconds"]


def test_slow_start_is_no_crash() -> None:
    assert probe("startup")["periodSeconds"] == 1, "a pod that is ready is seen at once"
    assert 20 <= noticed_after("startup") <= 40


def test_slow_pod_gets_no_requests_before_it_is_restarted() -> None:
    assert probe("readiness")["failureThreshold"] > 1, "one slow answer is no failure"
    assert 5 < noticed_after("readiness") <= 10
    assert 2 * noticed_after("readiness") < noticed_after("liveness") <= 30
    assert 2 < probe("readiness")["timeoutSeconds"] < probe("liveness")["timeoutSeconds"], "a restart needs more reason"


def test_pause_before_the_stop_leaves_the_app_time_to_finish() -> None:
    """benchmarks/README.md has the measurements with other pauses."""
    assert 3 <= CONTAINER["lifecycle"]["preStop"]["sleep"]["seconds"] <= POD["terminationGracePeriodSeconds"] / 4
    assert POD["terminationGracePeriodSeconds"] == 30, "Kubernetes' default; a drained node waits for it"


def test_limits_leave_room_above_the_requests() -> None:
    units = {"m": 0.001, "Mi": 2**20, "": 1}

    def quantity(text: str) -> float:
        number, unit = re.fullmatch(r"(\d+)(\w*)", text).groups()  # type: ignore[union-attr]
        return int(number) * units[unit]

    requests, limits = CONTAINER["resources"]["requests"], CONTAINER["resources"]["limits"]
    assert quantity(requests["cpu"]) == 0.1
    assert quantity(limits["cpu"]) == 10 * quantity(requests["cpu"]), "one processor, for the start"
    assert quantity(requests["memory"]) == 64 * 2**20
    assert quantity(limits["memory"]) == 2 * quantity(requests["memory"])


def test_load_balancer_shares_the_load_and_finishes_requests() -> None:
    """The annotations of a Classic Load Balancer: Kubernetes documentation, "Service", and cloud-provider-aws.

    Without cross-zone load balancing, an availability zone with one node of two gets half of the requests. Without
    draining, requests to a removed node are cut off.
    """
    prefix = "service.beta.kubernetes.io/aws-load-balancer-"
    annotations = SERVICE["metadata"]["annotations"]
    assert {name.removeprefix(prefix): value for name, value in annotations.items()} == {
        "cross-zone-load-balancing-enabled": "true",
        "connection-draining-enabled": "true",
        "connection-draining-timeout": str(POD["terminationGracePeriodSeconds"]),
    }


def test_autoscaler_scales_the_deployment_by_its_processor_time() -> None:
    assert AUTOSCALER["spec"]["scaleTargetRef"] == {
        "apiVersion": DEPLOYMENT["apiVersion"], "kind": "Deployment", "name": DEPLOYMENT["metadata"]["name"],
    }  # fmt: skip
    (metric,) = AUTOSCALER["spec"]["metrics"]
    assert (metric["type"], metric["resource"]["name"], metric["resource"]["target"]["type"]) == (
        "Resource", "cpu", "Utilization",
    )  # fmt: skip
    assert 50 <= metric["resource"]["target"]["averageUtilization"] <= 80, "room until a new pod is ready"


def test_most_pods_have_room_during_a_rollout() -> None:
    surge = int(DEPLOYMENT["spec"]["strategy"]["rollingUpdate"]["maxSurge"].removesuffix("%")) / 100
    most = AUTOSCALER["spec"]["maxReplicas"]
    assert 2 * AUTOSCALER["spec"]["minReplicas"] <= most
    assert most * (1 + surge) <= ROOM / 2, "the other half is for other apps"


#: A name that is in several files: where, with what is before and after it.
NAMES = {
    "group": [
        ("deployer-rbac.yml", r"kind: Group\n +name: (\S+)"),
        ("aws-auth-patch.yml", r"- groups:\n +- (?!system:)(\S+)"),
        ("scripts/lib/map_roles.py", r'^USERNAME, GROUP = "\w+", "(\w+)"'),
        ("scripts/lib/mapping.sh", r"--kubernetes-groups (\w+)"),
        ("scripts/lib/mapping.sh", r"add:\w+\$'\\t'(\w+)\$"),
    ],
    "user": [
        ("aws-auth-patch.yml", r"username: ([a-z]+)\n"),
        ("scripts/lib/map_roles.py", r'^USERNAME, GROUP = "(\w+)"'),
        ("scripts/lib/mapping.sh", r"--username (\w+)"),
        ("scripts/lib/mapping.sh", r"add:(\w+)\$'\\t'"),
    ],
    "policy of the kubectl role": [
        (name, r"-policy .*--policy-name ([\w-]+)") for name in ("scripts/create-role.sh", "scripts/lib/deletion.sh", "README.md")
    ],
    "node group": [
        ("scripts/create-cluster.sh", r"managedNodeGroups:\n +- name: (\w+)"),
        ("scripts/lib/cluster.sh", r"-nodegroup-(\w+)"),
        ("scripts/teardown.sh", r"eksctl-\S+-nodegroup-(\w+)"),
        ("README.md", r"--nodegroup-name=(\w+)"),
        ("aws-auth-patch.yml", r"-nodegroup-(\w+)-"),
    ],
    "context of a build": [
        ("scripts/build/connect.sh", r"--alias (\w+)"),
        ("scripts/build/install-kubectl.sh", r"--context (\w+)"),
        ("scripts/lib/rollout.sh", r"--context (\w+)"),
    ],
}  # fmt: skip


@pytest.mark.parametrize("what", NAMES)
def test_name_is_the_same_in_every_file(what: str) -> None:
    found = {
        (file, pattern): re.findall(pattern, (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE)
        for file, pattern in NAMES[what]
    }
    assert all(found.values()), found
    assert len({name for names in found.values() for name in names}) == 1, found


def test_no_script_has_a_name_of_the_manifest() -> None:
    """Once, deploy.sh waited for the Deployment that the manifest had before it was renamed."""
    names = {each["metadata"]["name"] for each in (DEPLOYMENT, SERVICE, BUDGET, AUTOSCALER)}
    for script in (ROOT / "scripts").rglob("*.*"):
        if script.suffix in (".sh", ".py"):
            assert not [name for name in names if name in script.read_text(encoding="utf-8")], script
