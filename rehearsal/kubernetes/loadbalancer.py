"""The load balancer controller: gives each Service of type LoadBalancer an address and routes it to the nodes.

The counterpart of the AWS cloud provider's service controller. This host routes an address of the load balancers'
range over the nodes that are ready, and kube-proxy there forwards it to the pods, as behind an AWS load balancer with
instance targets. It also drops packets from outside of the Service's ``loadBalancerSourceRanges``, because they arrive with
the client's address; on AWS, the load balancer's security group does that. Cordoned nodes stay targets, so that a drain
cuts no connection (https://github.com/kubernetes/enhancements/issues/3458). Because of a finalizer, deleting a Service
waits until its route is gone.

Differs from AWS: an address instead of a DNS name, at once instead of after minutes; no health checks of its own; one
node per client, because the kernel distributes addresses and not connections; annotations are ignored.
"""

from __future__ import annotations

import ipaddress
import json
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

import httpx

from rehearsal import waiting
from rehearsal.kubernetes import api
from rehearsal.sandbox import network
from rehearsal.sandbox.programs import Program
from rehearsal.settings import settings

NAME = "load-balancer"
#: The name that the Kubernetes service controller uses.
FINALIZER = "service.kubernetes.io/load-balancer-cleanup"
EXCLUDED = "node.kubernetes.io/exclude-from-external-load-balancers"
TO_BE_DELETED = "ToBeDeletedByClusterAutoscaler"
WATCHED = ("/api/v1/services", "/api/v1/nodes")
#: Seconds after which the controller reconciles even without an event.
RESYNC = 30.0


def program() -> Program:
    """Return this module as a supervised program."""
    return Program(
        NAME, [sys.executable, "-m", "rehearsal.kubernetes.loadbalancer"], autostart=True, stop_signal="KILL"
    )


def is_ours(service: Mapping[str, Any]) -> bool:
    """Whether a Service requests an address from this controller, not from that of another class."""
    spec = service["spec"]
    return spec.get("type") == "LoadBalancer" and not spec.get("loadBalancerClass") and not is_leaving(service)


def is_leaving(service: Mapping[str, Any]) -> bool:
    """Whether a Service is being deleted."""
    return "deletionTimestamp" in service["metadata"]


def address_of(service: Mapping[str, Any]) -> str | None:
    """Return the address in a Service's status, if there is one."""
    ingress = service.get("status", {}).get("loadBalancer", {}).get("ingress") or [{}]
    address: str | None = ingress[0].get("ip")
    return address


def assign(services: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return the address of each of this controller's Services by UID: its own if it has one, else the next free one.

    The oldest Service without an address comes first.
    """
    ours = [service for service in services if is_ours(service)]
    found = {service["metadata"]["uid"]: address_of(service) for service in ours}
    assigned = {uid: address for uid, address in found.items() if address}
    free = (
        str(address)
        for address in ipaddress.ip_network(settings.load_balancer_cidr).hosts()
        if str(address) not in assigned.values()
    )
    for service in sorted(ours, key=lambda service: str(service["metadata"]["creationTimestamp"])):
        uid = service["metadata"]["uid"]
        if uid not in assigned:
            assigned[uid] = next(free)
    return assigned


def targets(nodes: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the addresses of the nodes that can receive traffic."""
    return sorted(
        address["address"]
        for node in nodes
        if api.is_ready(node)
        and EXCLUDED not in node["metadata"].get("labels", {})
        and not any(taint["key"] == TO_BE_DELETED for taint in node["spec"].get("taints", []))
        for address in node["status"]["addresses"]
        if address["type"] == "InternalIP"
    )


class Controller:
    """Keeps routes, statuses and finalizers in line with the Services and Nodes."""

    def __init__(self) -> None:
        self.api = api.client()
        self.routes: dict[str, list[str]] = {}

    def reconcile(self) -> None:
        """Make every change that is due.

        Raises:
            httpx.HTTPError: the API server did not accept a change; it is safe to reconcile again.
        """
        services = api.items(self.api, WATCHED[0])
        gateways = targets(api.items(self.api, WATCHED[1]))
        addresses = assign(services)
        self._route({f"{address}/32": gateways for address in addresses.values()})
        for service in services:
            address = addresses.get(service["metadata"]["uid"])
            has = FINALIZER in service["metadata"].get("finalizers", [])
            if address:
                if not has:
                    self._set_finalizer(service, present=True)
                if address_of(service) != address:
                    self._set_status(service, [{"ip": address}])
            elif has:
                # The Service is being deleted or has another type now. Its route is gone already.
                if not is_leaving(service):
                    self._set_status(service, [])
                self._set_finalizer(service, present=False)

    def _route(self, wanted: dict[str, list[str]]) -> None:
        for cidr in [*self.routes]:
            if cidr not in wanted:
                network.route(None, cidr, [])
        for cidr, gateways in wanted.items():
            if self.routes.get(cidr) != gateways:
                network.route(None, cidr, gateways)
        self.routes = wanted

    def _set_status(self, service: Mapping[str, Any], ingress: list[dict[str, str]]) -> None:
        self._patch(f"{_path(service)}/status", {"status": {"loadBalancer": {"ingress": ingress}}})

    def _set_finalizer(self, service: Mapping[str, Any], *, present: bool) -> None:
        others = [name for name in service["metadata"].get("finalizers", []) if name != FINALIZER]
        finalizers = [*others, FINALIZER] if present else others
        self._patch(_path(service), {"metadata": {"finalizers": finalizers}})

    def _patch(self, path: str, patch: Mapping[str, Any]) -> None:
        headers = {"Content-Type": "application/merge-patch+json"}
        answer = self.api.patch(path, content=json.dumps(patch), headers=headers)
        if answer.status_code != httpx.codes.NOT_FOUND:
            answer.raise_for_status()


def watch(path: str, changed: threading.Event) -> None:
    """Set ``changed`` whenever something under ``path`` changes; never returns."""
    client = api.client()
    while True:
        try:
            with client.stream(
                "GET", path, params={"watch": "1"}, timeout=httpx.Timeout(waiting.bound(10), read=None)
            ) as answer:
                for _ in answer.iter_lines():
                    changed.set()
        except httpx.HTTPError as error:
            print(f"the watch of {path} failed: {error}", flush=True)
        time.sleep(0.5)
        changed.set()


def main() -> None:
    """Reconcile after each change until killed."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    changed = threading.Event()
    for path in WATCHED:
        threading.Thread(target=watch, args=(path, changed), daemon=True).start()
    controller = Controller()
    while True:
        changed.clear()
        try:
            controller.reconcile()
        except httpx.HTTPError as error:
            print(f"reconciling failed and is tried again: {error}", flush=True)
            time.sleep(0.5)
            changed.set()
        changed.wait(RESYNC)


def _path(service: Mapping[str, Any]) -> str:
    metadata = service["metadata"]
    return f"/api/v1/namespaces/{metadata['namespace']}/services/{metadata['name']}"


if __name__ == "__main__":
    main()
