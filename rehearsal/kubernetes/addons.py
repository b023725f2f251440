"""EKS add-ons: what each does in the cluster once it is installed.

Without vpc-cni a node has no CNI configuration and stays NotReady, without kube-proxy no Service has an address, and
without metrics-server the autoscaler has no measurements (EKS user guide, "Amazon EKS add-ons").

Differs from EKS: no pods of their own; coredns is only a record, since pods have no DNS here.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from rehearsal.kubernetes import api, metrics, pki
from rehearsal.kubernetes.node import Node
from rehearsal.sandbox import supervisor

VPC_CNI = "vpc-cni"
KUBE_PROXY = "kube-proxy"
METRICS = "metrics-server"
#: Those that do anything here.
EFFECTIVE = (VPC_CNI, KUBE_PROXY, METRICS)


def installed() -> list[str]:
    """Return the names of the add-ons."""
    file = pki.directory() / "addons.json"
    return list(json.loads(file.read_text(encoding="utf-8"))) if file.exists() else []


def install(names: Iterable[str]) -> None:
    """Install add-ons, on the nodes that exist and on those that join later.

    Raises:
        httpx.HTTPError: the API server refused what an add-on consists of.
    """
    (pki.directory() / "addons.json").write_text(json.dumps(sorted({*installed(), *names})), encoding="utf-8")
    apply([Node(int(path.name[-1])) for path in sorted(pki.directory().glob("node-?"))])


def apply(nodes: Sequence[Node]) -> None:
    """Let the installed add-ons have their effect; repeats nothing."""
    present = installed()
    if VPC_CNI in present:
        for node in nodes:
            node.configure_pod_network()
    if KUBE_PROXY in present:
        supervisor.declare(node.programs()["kube-proxy"] for node in nodes)
    if METRICS in present:
        with api.client() as client:
            metrics.register(client)
        supervisor.declare([metrics.program()])
