"""Reads the nodes, the app's pods and its load balancer from the Kubernetes API, as the cluster's administrator.

Field names are those of the API reference: core/v1 Node, Pod and Service, apps/v1 Deployment.
"""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import ssl
import tempfile
from pathlib import Path
from typing import Any

import httpx
import yaml

from rehearsal.console.snapshot import Cluster, Node, Pod, clean, no_cluster
from rehearsal.settings import settings

#: Namespaces of every new cluster; the app, whatever its name, is in another.
KUBERNETES_OWN = ("default", "kube-node-lease", "kube-public", "kube-system")

Json = dict[str, Any]


class Kubernetes:
    """Reads the cluster; reconnects when the administrator's kubeconfig changes."""

    def __init__(self, kubeconfig: Path | None = None) -> None:
        self._kubeconfig = kubeconfig or settings.run / "kubernetes" / "admin.conf"
        self._client: httpx.AsyncClient | None = None
        self._written = 0

    async def read(self) -> Cluster:
        """Return the cluster, or a note that says why it cannot be read."""
        try:
            client = await self._connect()
            paths = ("/version", "/api/v1/nodes", "/api/v1/pods", "/api/v1/services", "/apis/apps/v1/deployments")
            answers = await asyncio.gather(*(client.get(path) for path in paths))
            return describe(*(one.raise_for_status().json() for one in answers))
        except FileNotFoundError:
            return no_cluster("No cluster yet.")
        except httpx.HTTPStatusError as error:
            return no_cluster(f"The cluster's API server refused the request: HTTP {error.response.status_code}.")
        except (httpx.HTTPError, OSError, ValueError, TypeError, LookupError, yaml.YAMLError):
            return no_cluster("The cluster's API server does not answer yet.")

    async def close(self) -> None:
        """Close the connections."""
        if self._client:
            await self._client.aclose()
        self._client = None

    async def _connect(self) -> httpx.AsyncClient:
        written = self._kubeconfig.stat().st_mtime_ns
        if self._client is None or written != self._written:
            await self.close()
            self._client, self._written = connect(yaml.safe_load(self._kubeconfig.read_text())), written
        return self._client


def connect(kubeconfig: Json) -> httpx.AsyncClient:
    """Return a client for the first cluster and user of ``kubeconfig``; it authenticates with a client certificate."""
    cluster, user = kubeconfig["clusters"][0]["cluster"], kubeconfig["users"][0]["user"]
    context = ssl.create_default_context(cadata=_pem(cluster, "certificate-authority").decode())
    with tempfile.NamedTemporaryFile() as both:  # the ssl module reads keys only from files
        both.write(_pem(user, "client-certificate") + b"\n" + _pem(user, "client-key"))
        both.flush()
        context.load_cert_chain(both.name)
    return httpx.AsyncClient(base_url=cluster["server"], verify=context, trust_env=False, timeout=3)


def _pem(entry: Json, name: str) -> bytes:
    if f"{name}-data" in entry:
        return base64.b64decode(entry[f"{name}-data"])
    return Path(entry[name]).read_bytes()


def describe(version: Json, nodes: Json, pods: Json, services: Json, deployments: Json) -> Cluster:
    """Return the page's view of the cluster from the API server's answers."""
    own = _of_app(pods)
    return {
        "note": "",
        "version": clean(version.get("gitVersion")),
        "address": _address(_of_app(services)),
        "rollout": _rollout(_of_app(deployments)),
        "nodes": [_node(node, own, pods["items"]) for node in sorted(nodes["items"], key=_name)],
        "waiting": [_pod(pod) for pod in sorted(own, key=_name) if not pod["spec"].get("nodeName")],
    }


def _of_app(answer: Json) -> list[Json]:
    return [item for item in answer["items"] if item["metadata"]["namespace"] not in KUBERNETES_OWN]


def _is_staging(item: Json) -> bool:
    return str(item["metadata"].get("namespace", "")).endswith("-staging")


def _name(item: Json) -> str:
    return str(item["metadata"]["name"])


def _node(node: Json, own: list[Json], pods: list[Json]) -> Node:
    conditions = {one["type"]: one["status"] for one in node["status"].get("conditions", [])}
    addresses = {one["type"]: one["address"] for one in node["status"].get("addresses", [])}
    here = [pod for pod in own if pod["spec"].get("nodeName") == _name(node)]
    everything = [pod for pod in pods if pod["spec"].get("nodeName") == _name(node)]
    return {
        "name": clean(_name(node)),
        "address": clean(addresses.get("InternalIP")),
        "ready": conditions.get("Ready") == "True",
        "schedulable": not node["spec"].get("unschedulable", False),
        "pods": [_pod(pod) for pod in sorted(here, key=_name)],
        "others": len(everything) - len(here),
    }


def _pod(pod: Json) -> Pod:
    containers = pod["status"].get("containerStatuses", [])
    conditions = {one["type"]: one["status"] for one in pod["status"].get("conditions", [])}
    return {
        "name": clean(_name(pod)),
        "image": clean(pod["spec"]["containers"][0].get("image")),
        "version": "",
        "status": _status(pod, containers),
        "ready": conditions.get("Ready") == "True" and "deletionTimestamp" not in pod["metadata"],
        "staging": _is_staging(pod),
        "restarts": sum(one.get("restartCount", 0) for one in containers),
    }


def _status(pod: Json, containers: list[Json]) -> str:
    """Return the pod's status as ``kubectl get pods`` prints it."""
    if "deletionTimestamp" in pod["metadata"]:
        return "Terminating"
    for container in containers:
        state = container.get("state", {})
        reason = (state.get("waiting") or state.get("terminated") or {}).get("reason")
        if reason:
            return clean(reason)
    return clean(pod["status"].get("reason") or pod["status"].get("phase"))


def _address(services: list[Json]) -> str:
    """Return the load balancer address of the app's Service, production's rather than staging's, if it has one yet."""
    balanced = [one for one in services if one["spec"].get("type") == "LoadBalancer"]
    for service in sorted(balanced, key=_is_staging):
        for ingress in service["status"].get("loadBalancer", {}).get("ingress", []):
            if "ip" in ingress:
                return str(ipaddress.ip_address(ingress["ip"]))
    return ""


def _rollout(deployments: list[Json]) -> str:
    """Return the progress of the rollout of the app's Deployments, and of those in staging."""
    parts = {name: [one for one in deployments if _is_staging(one) == bool(name)] for name in ("", "staging ")}
    return " · ".join(name + _progress(part) for name, part in parts.items() if part)


def _progress(deployments: list[Json]) -> str:
    """Return the progress of a rollout, worded like ``kubectl rollout status``."""
    wanted = sum(one["spec"].get("replicas", 1) for one in deployments)
    counts = ("replicas", "updatedReplicas", "availableReplicas")
    replicas, updated, available = (sum(one["status"].get(count, 0) for one in deployments) for count in counts)
    if updated == available == replicas == wanted:
        return f"rolled out: {available} of {wanted} available"
    return f"rolling out: {updated} of {wanted} updated, {available} available"
