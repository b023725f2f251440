"""metrics-server: CPU and memory of pods and nodes, for ``kubectl top`` and the HorizontalPodAutoscaler.

On EKS it is an add-on that runs in pods. Here it runs next to the control plane, behind a Service without a selector
(https://kubernetes.io/docs/concepts/services-networking/service/#services-without-selectors).
"""

from __future__ import annotations

from typing import Any

import httpx

from rehearsal.kubernetes import api, pki
from rehearsal.sandbox.programs import Program
from rehearsal.settings import settings

NAME = "metrics-server"
NAMESPACE = "kube-system"


def program() -> Program:
    """Return metrics-server with its shortest interval, 10 s; it trusts the kubelets' self-signed certificates."""
    admin = pki.kubeconfig("admin")
    flags = [
        f"--kubeconfig={admin}",
        f"--authentication-kubeconfig={admin}",
        f"--authorization-kubeconfig={admin}",
        f"--bind-address={settings.region_ip}",
        f"--secure-port={settings.ports.metrics}",
        f"--cert-dir={pki.directory() / NAME}",
        "--kubelet-insecure-tls",
        "--kubelet-preferred-address-types=InternalIP",
        "--metric-resolution=10s",
        "--kubelet-request-timeout=5s",
    ]
    return Program(NAME, [settings.bin / NAME, *flags], stop_signal="KILL", autostart=True)


def register(client: httpx.Client) -> None:
    """Register ``metrics.k8s.io`` with the API server."""
    for path, manifest in manifests().items():
        api.create(client, path, manifest)


def manifests() -> dict[str, dict[str, Any]]:
    """Return the objects to create, by the path of their collection."""
    metadata = {"name": NAME, "namespace": NAMESPACE}
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": {"ports": [{"name": "https", "port": 443, "targetPort": settings.ports.metrics}]},
    }
    endpoints = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {**metadata, "labels": {"kubernetes.io/service-name": NAME}},
        "addressType": "IPv4",
        "ports": [{"name": "https", "port": settings.ports.metrics}],
        "endpoints": [{"addresses": [settings.region_ip]}],
    }
    registration = {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": "v1beta1.metrics.k8s.io"},
        "spec": {
            "service": metadata,
            "group": "metrics.k8s.io",
            "version": "v1beta1",
            "insecureSkipTLSVerify": True,
            "groupPriorityMinimum": 100,
            "versionPriority": 100,
        },
    }
    return {
        f"/api/v1/namespaces/{NAMESPACE}/services": service,
        f"/apis/discovery.k8s.io/v1/namespaces/{NAMESPACE}/endpointslices": endpoints,
        "/apis/apiregistration.k8s.io/v1/apiservices": registration,
    }
