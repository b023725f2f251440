"""Calls the API server with an administrator's certificate."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any

import httpx

from rehearsal import waiting
from rehearsal.kubernetes import pki
from rehearsal.settings import settings


def client(user: str = "admin") -> httpx.Client:
    """Return an HTTP client for the API server that authenticates as ``admin`` or ``super-admin``."""
    context = ssl.create_default_context(cafile=str(pki.certificate("ca.crt")))
    context.load_cert_chain(pki.directory() / f"{user}.certificate", pki.directory() / f"{user}.key")
    return httpx.Client(base_url=settings.api_url, verify=context, trust_env=False, timeout=waiting.bound(10))


def create(api: httpx.Client, path: str, manifest: Mapping[str, Any]) -> None:
    """Create an object, unless it exists already.

    Raises:
        httpx.HTTPStatusError: the API server refused it.
    """
    answer = api.post(path, json=dict(manifest))
    if answer.status_code != httpx.codes.CONFLICT:
        answer.raise_for_status()


def items(api: httpx.Client, path: str) -> list[dict[str, Any]]:
    """Return the objects of a collection."""
    answer = api.get(path)
    answer.raise_for_status()
    found: list[dict[str, Any]] = answer.json()["items"]
    return found


def is_ready(node: Mapping[str, Any]) -> bool:
    """Whether a node's Ready condition is true."""
    return any(
        condition["type"] == "Ready" and condition["status"] == "True"
        for condition in node["status"].get("conditions", [])
    )


def cluster_role_binding(binding: str, role: str, kind: str, subject: str) -> dict[str, Any]:
    """Return a ClusterRoleBinding of ``role`` to a User or Group."""
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": binding},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": subject}],
    }
