"""The documents that the cluster and CodeBuild read: valid, restricted, least privilege, and consistent with each other."""

from __future__ import annotations

import re
import runpy
import subprocess
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml

from app import app
from tests.support.paths import ROOT

IMAGE = "111122223333.dkr.ecr.us-east-2.amazonaws.com/hello-world@sha256:" + "a" * 64
VERSION = "1.36"
Manifest = dict[str, Any]


def manifests(name: str) -> list[Manifest]:
    text = (ROOT / name).read_text().replace("CONTAINER_IMAGE", IMAGE)
    return [document for document in yaml.safe_load_all(text) if document]


DEPLOYMENT, SERVICE, BUDGET, AUTOSCALER = manifests("deployment.yml")
ROLE, BINDING = manifests("deployer-rbac.yml")
POD = DEPLOYMENT["spec"]["template"]["spec"]
CONTAINER = POD["containers"][0]
LABELS = {"app.kubernetes.io/name": "hello-world"}
BUILDSPEC = yaml.safe_load((ROOT / "buildspec.yml").read_text())
PHASES = {name: "\n".join(phase["commands"]) for name, phase in BUILDSPEC["phases"].items()}


@pytest.mark.parametrize(
    "manifest", manifests("deployment.yml") + manifests("deployer-rbac.yml"), ids=lambda m: m["kind"]
)
def test_valid_for_the_clusters_version(manifest: Manifest) -> None:
    kubernetes_validate.validate(manifest, VERSION, strict=True)
    # The scripts set the namespace.
    assert "namespace" not in manifest["metadata"]


def test_validated_version_is_the_clusters() -> None:
    assert f"KUBERNETES_VERSION:={VERSION}}}" in (ROOT / "settings.sh").read_text()


def test_kinds_and_names() -> None:
    kinds = [manifest["kind"] for manifest in manifests("deployment.yml")]
    assert kinds == ["Deployment", "Service", "PodDisruptionBudget", "HorizontalPodAutoscaler"]
    assert {manifest["metadata"]["name"] for manifest in manifests("deployment.yml")} == {"hello-world"}
    assert CONTAINER["name"] == "hello-world"


def test_everything_selects_the_apps_pods() -> None:
    assert DEPLOYMENT["spec"]["template"]["metadata"]["labels"] == LABELS
    assert DEPLOYMENT["spec"]["selector"]["matchLabels"] == LABELS
    assert SERVICE["spec"]["selector"] == LABELS
    assert BUDGET["spec"]["selector"]["matchLabels"] == LABELS
    assert POD["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"] == LABELS
    assert AUTOSCALER["spec"]["scaleTargetRef"] == {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "name": "hello-world",
    }


def test_pod_meets_the_restricted_standard() -> None:
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted, and a read-only disk."""
    assert not {"hostNetwork", "hostPID", "hostIPC", "volumes", "initContainers"} & set(POD)
    assert POD["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 10001,
        "runAsGroup": 10001,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert CONTAINER["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert all("hostPort" not in port for port in CONTAINER["ports"])
    assert POD["automountServiceAccountToken"] is False
    assert POD["enableServiceLinks"] is False


def test_pod_runs_as_the_images_user() -> None:
    assert re.findall(r"^USER (.+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)[-1] == "10001:10001"


def test_only_the_autoscaler_sets_the_replicas() -> None:
    assert "replicas" not in DEPLOYMENT["spec"]
    assert AUTOSCALER["spec"]["minReplicas"] == 2
    # Utilization is a percentage of the request, so a request is required.
    assert CONTAINER["resources"]["requests"]["cpu"]


def test_rollout_keeps_old_pods_until_new_ones_are_ready() -> None:
    assert DEPLOYMENT["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": "100%", "maxUnavailable": 0}
    assert DEPLOYMENT["spec"]["minReadySeconds"] > 0


def test_node_can_always_be_drained() -> None:
    assert BUDGET["spec"]["maxUnavailable"] == 1
    assert BUDGET["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"
    assert POD["topologySpreadConstraints"][0]["whenUnsatisfiable"] == "ScheduleAnyway"


def test_probes_use_paths_that_the_app_serves() -> None:
    served = {rule.rule for rule in app.url_map.iter_rules()}
    paths = {probe: CONTAINER[probe]["httpGet"]["path"] for probe in CONTAINER if probe.endswith("Probe")}
    assert paths == {"startupProbe": "/healthz", "readinessProbe": "/readyz", "livenessProbe": "/healthz"}
    assert set(paths.values()) <= served


def test_one_port_everywhere() -> None:
    gunicorn = runpy.run_path(str(ROOT / "gunicorn.conf.py"))
    port = CONTAINER["ports"][0]
    assert (port["name"], port["containerPort"]) == ("http", 8080)
    assert gunicorn["bind"].endswith(":8080")
    assert "EXPOSE 8080\n" in (ROOT / "Dockerfile").read_text()
    assert SERVICE["spec"]["type"] == "LoadBalancer"
    assert SERVICE["spec"]["ports"] == [{"name": "http", "port": 80, "targetPort": "http"}]


def test_requests_in_flight_finish_before_the_grace_period_ends() -> None:
    gunicorn = runpy.run_path(str(ROOT / "gunicorn.conf.py"))
    pause = CONTAINER["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert 0 < gunicorn["DRAIN_SECONDS"] < gunicorn["graceful_timeout"]
    assert pause + gunicorn["graceful_timeout"] < POD["terminationGracePeriodSeconds"]


def test_failed_rollout_is_rolled_back_within_two_minutes() -> None:
    """The Deployment says so after its deadline; a look at it takes some seconds, and the earlier revision is looked at twice."""
    texts = [(ROOT / "scripts" / "lib" / name).read_text() for name in ("rollout.sh", "undo.sh")]
    look, health = [int(seconds) for text in texts for seconds in re.findall(r"--timeout=(\d+)s", text)]
    deadline = DEPLOYMENT["spec"]["progressDeadlineSeconds"]
    assert DEPLOYMENT["spec"]["minReadySeconds"] < deadline
    assert deadline + look + 2 * health < 120


def test_deployers_rights() -> None:
    rights = {
        (group, resource): set(rule["verbs"])
        for rule in ROLE["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }
    assert rights == {
        ("apps", "deployments"): {"get", "list", "watch", "create", "patch"},
        ("apps", "replicasets"): {"list"},
        ("", "services"): {"get", "create", "patch"},
        ("policy", "poddisruptionbudgets"): {"get", "create", "patch"},
        ("autoscaling", "horizontalpodautoscalers"): {"get", "create", "patch"},
        ("", "pods"): {"get", "list"},
        ("", "pods/log"): {"get"},
        ("", "services/proxy"): {"get"},
        ("", "events"): {"list"},
    }
    rbac = "rbac.authorization.k8s.io"
    assert BINDING["roleRef"] == {"apiGroup": rbac, "kind": ROLE["kind"], "name": ROLE["metadata"]["name"]}
    assert BINDING["subjects"] == [{"apiGroup": rbac, "kind": "Group", "name": "deployers"}]


def test_image_is_named_where_it_runs_and_where_it_is_asked_for() -> None:
    """The app answers with its variable IMAGE, and the only Service that the pipeline may ask is the one that it asks."""
    uses = [line for line in (ROOT / "deployment.yml").read_text().splitlines() if not line.lstrip().startswith("#")]
    assert [line.strip() for line in uses if "CONTAINER_IMAGE" in line] == [
        "release-check/answer: CONTAINER_IMAGE",
        "image: CONTAINER_IMAGE",
        "value: CONTAINER_IMAGE",
    ]
    assert CONTAINER["env"] == [{"name": "IMAGE", "value": IMAGE}]
    service, _, path = DEPLOYMENT["metadata"]["annotations"]["release-check/url"].partition("/")
    assert service == f"{SERVICE['metadata']['name']}:{SERVICE['spec']['ports'][0]['name']}"
    assert f"/{path}" in {rule.rule for rule in app.url_map.iter_rules()}
    assert [rule["resourceNames"] for rule in ROLE["rules"] if "resourceNames" in rule] == [[service]]


def test_settings_and_secrets_are_optional() -> None:
    name = {"name": "hello-world", "optional": True}
    assert CONTAINER["envFrom"] == [{"configMapRef": name}, {"secretRef": name}]


def test_buildspec_phases() -> None:
    assert BUILDSPEC["version"] == 0.2
    assert BUILDSPEC["env"]["shell"] == "bash"
    assert BUILDSPEC["env"]["exported-variables"] == ["VERSION", "IMAGE"]
    assert list(PHASES) == ["install", "pre_build", "build", "post_build"]
    assert [phase.get("on-failure") for phase in BUILDSPEC["phases"].values()] == ["ABORT", "ABORT", "ABORT", None]


def test_buildspec_order() -> None:
    everything = "\n".join(PHASES.values())
    steps = [
        "build/connect.sh",
        "build/install-kubectl.sh",
        "build/find-image.sh",
        "--target test",
        "--build-arg",
        "docker push",
        'build/deploy.sh "$IMAGE"',
    ]
    places = [everything.index(step) for step in steps]
    assert places == sorted(places)
    assert "--target test" in PHASES["build"]
    # Until the tests have passed, layers are pushed only under the cache's tag, which is never deployed.
    pushed = [re.findall(r'docker push --quiet ("[^"]+")', phase) for phase in PHASES.values()]
    cache, commit, others = (f'"$ECR_REPOSITORY_URI:{tag}"' for tag in ("cache", "$VERSION", "$tag"))
    assert pushed == [[], [], [cache], [commit, others]]


def test_post_build_first_checks_that_the_build_succeeded() -> None:
    first = BUILDSPEC["phases"]["post_build"]["commands"][0]
    for succeeding, code in (("1", 0), ("0", 1)):
        environment = {"CODEBUILD_BUILD_SUCCEEDING": succeeding, "PATH": "/usr/bin:/bin"}
        assert subprocess.run(["bash", "-c", first], env=environment, check=False).returncode == code


@pytest.mark.parametrize("command", [c for phase in BUILDSPEC["phases"].values() for c in phase["commands"]])
def test_multi_line_commands_stop_at_the_first_failure(command: str) -> None:
    """CodeBuild checks only the exit code of the whole command, which is that of its last line."""
    if command.count("\n") > 1 and not command.startswith("if "):
        assert command.startswith("set -euo pipefail\n")


def test_buildspec_starts_no_docker_daemon_and_installs_no_packages() -> None:
    everything = "\n".join(PHASES.values())
    for word in ("dockerd", "pip ", "apt-get", "aws-iam-authenticator", ":latest", "|| true", "system:masters"):
        assert word not in everything
