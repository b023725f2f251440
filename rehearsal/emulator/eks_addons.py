"""EKS add-ons: their names and versions, and their status, which depends on the nodes.

Follows the Amazon EKS API reference (CreateAddon, DescribeAddon, DescribeAddonVersions) and the user guide's "Amazon EKS
add-ons". MiniStack keeps the records; rehearsal/kubernetes/managed.py gives them their effect.

Differs from AWS: only the add-ons that eksctl installs by default, with two made-up versions each.
"""

from __future__ import annotations

import json

from rehearsal.emulator.client import root
from rehearsal.emulator.extensions import Call, Extensions, Json, Proceed, Response, ServiceError, json_response
from rehearsal.settings import settings

#: Add-ons that run as a Deployment, and so are DEGRADED until there is a node.
DEPLOYMENTS = ("coredns", "metrics-server")
ADDONS = ("vpc-cni", "kube-proxy", *DEPLOYMENTS)
#: The default version comes first, the newest last.
VERSIONS = ("v1.0.0-eksbuild.1", "v1.0.1-eksbuild.1")


def register(extensions: Extensions) -> None:
    """Complete MiniStack's add-ons."""
    extensions.around("eks", answer)


def answer(call: Call, proceed: Proceed) -> Response:
    """Answer one call, or amend MiniStack's answer."""
    if call.action == "DescribeAddonVersions":
        wanted = call.query.get("addonName")
        return json_response({"addons": [versions(name) for name in ADDONS if wanted in (None, name)]})
    if call.action in ("CreateAddon", "UpdateAddon"):
        _check(call.path.split("/")[4] if call.action == "UpdateAddon" else "", call.json)
    if call.action == "DeleteCluster":
        _delete_all(call.path.rpartition("/")[2])
    status, headers, body = proceed()
    if status == 200 and "addon" in (shown := json.loads(body or b"{}")):
        return json_response({"addon": amend(shown["addon"])})
    return status, headers, body


def versions(name: str) -> Json:
    """Return an add-on's versions as DescribeAddonVersions lists them, the newest first."""
    return {
        "addonName": name,
        "type": "networking",
        "addonVersions": [
            {
                "addonVersion": version,
                "requiresIamPermissions": name == "vpc-cni",
                "compatibilities": [
                    {
                        "clusterVersion": settings.kubernetes_version.rpartition(".")[0],
                        "defaultVersion": version == VERSIONS[0],
                    }
                ],
            }
            for version in reversed(VERSIONS)
        ],
    }


def amend(addon: Json) -> Json:
    """Return an add-on's record with the status that the number of nodes gives it."""
    if addon["addonName"] not in DEPLOYMENTS or addon["status"] != "ACTIVE" or _nodes():
        return addon
    issue = {"code": "InsufficientNumberOfReplicas", "message": "The add-on is unhealthy: no node can run its pods"}
    return addon | {"status": "DEGRADED", "health": {"issues": [issue]}}


def _check(name: str, request: Json) -> None:
    name = name or str(request.get("addonName", ""))
    if name not in ADDONS:
        raise ServiceError("InvalidParameterException", f"Addon {name} specified is not supported")
    version = request.get("addonVersion", VERSIONS[0])
    if version not in VERSIONS:
        raise ServiceError("InvalidParameterException", f"Addon version {version} specified is not supported")


def _delete_all(cluster: str) -> None:
    """Delete a cluster's add-ons, which MiniStack would give to the next cluster of that name."""
    eks = root("eks")
    if cluster in eks.list_clusters()["clusters"]:
        for name in eks.list_addons(clusterName=cluster)["addons"]:
            eks.delete_addon(clusterName=cluster, addonName=name)


def _nodes() -> int:
    """Return the number of nodes that have joined the cluster."""
    try:
        return int(json.loads(settings.cluster_record.read_text(encoding="utf-8")).get("nodes", 0))
    except FileNotFoundError:
        return 0
