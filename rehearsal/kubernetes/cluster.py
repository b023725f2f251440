"""Creates and removes the control plane and the nodes; ``python -m rehearsal.kubernetes`` runs this inside the sandbox."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import yaml

from rehearsal import waiting
from rehearsal.kubernetes import addons, api, authenticator, control_plane, loadbalancer, metrics, node, pause, pki
from rehearsal.kubernetes.node import Node
from rehearsal.sandbox import SandboxError, cgroups, network, supervisor
from rehearsal.sandbox.programs import last_words
from rehearsal.settings import settings

READY_TIMEOUT = 120.0
STOP_TIMEOUT = 20.0
#: For how long nodes without pod network are NotReady before they are removed; EKS waits for more than 15 minutes.
NOT_READY = 5.0


def up(name: str, mode: str, show: Callable[[str], None] = print) -> None:
    """Create a control plane, without nodes and add-ons, and write ``settings.cluster_record``.

    Raises:
        SandboxError: there is a cluster already.
        TimeoutError: a part did not start in time.
        subprocess.CalledProcessError: a command failed; the exception has its standard error.
    """
    if pki.directory().exists():
        raise SandboxError("there is a cluster already; a rehearsal has one at a time")
    pki.directory().mkdir()
    node.write_registries()
    show("create certificates, start the control plane")
    pki.create()
    _start_api_server(name)
    _start_controllers()
    supervisor.declare([loadbalancer.program()])
    _record({
        "name": name,
        "authentication_mode": mode,
        "endpoint": settings.api_url,
        "certificate_authority": str(pki.certificate("ca.crt")),
        "version": settings.kubernetes_version,
        "nodes": 0,
    })  # fmt: skip


def join(count: int, role: str = "", show: Callable[[str], None] = print) -> None:
    """Start nodes and wait until they are Ready. Map ``role``, if given, to the nodes' groups in aws-auth.

    Without pod network they never are; then this removes them, as EKS does with a node group whose creation failed.

    Raises:
        SandboxError: there are nodes already, a node's containerd refused an image, or there is no pod network.
        TimeoutError: a part did not start in time.
        subprocess.CalledProcessError: a command failed; the exception has its standard error.
    """
    if _nodes():
        raise SandboxError("there are nodes already; a rehearsal has one node group")
    if role:
        _map_to_nodes(role)
    show("start the nodes")
    all_nodes = [Node(number) for number in range(1, count + 1)]
    with ThreadPoolExecutor() as pool:
        admitted = [pool.submit(pki.admit, each.name) for each in all_nodes]
        for each in all_nodes:
            each.prepare()
        for each in all_nodes:
            each.route_to(all_nodes)
        supervisor.declare([each.programs()["containerd"] for each in all_nodes])
        images = [pool.submit(each.import_image, settings.bin / pause.ARCHIVE) for each in all_nodes]
        for done in (*admitted, *images):
            done.result()
    supervisor.declare(each.programs()["kubelet"] for each in all_nodes)
    addons.apply(all_nodes)
    with api.client() as client:
        waiting.until(
            lambda: len(api.items(client, "/api/v1/nodes")) == count,
            READY_TIMEOUT,
            "the nodes to register",
            _why_unready,
        )
        if addons.VPC_CNI not in addons.installed():
            time.sleep(NOT_READY)
            leave()
            raise SandboxError("NodeCreationFailure: Unhealthy nodes in the kubernetes cluster")
        waiting.until(
            lambda: _all_ready(client, count), READY_TIMEOUT, "the nodes to be ready", _why_unready, pause=0.1
        )
    _record({"nodes": count})


def leave() -> None:
    """Remove the nodes and everything that runs on them; does nothing if there are none.

    Raises:
        TimeoutError: a process did not end in time.
    """
    nodes = _nodes()
    supervisor.forget(name for name, _, _ in supervisor.states() if name.startswith("node-"))
    waiting.until(lambda: not set().union(*map(_kill_all_of, nodes)), STOP_TIMEOUT, f"the containers of {nodes} to end")
    for mount in _mounts_of(nodes):
        subprocess.run(["umount", "--lazy", mount], check=True, timeout=waiting.bound(10))
    for path in Path("/run/netns").glob("cni-*"):
        path.unlink()
    for name in nodes:
        network.leave(name)
        cgroups.remove(f"{cgroups.NAME}/{name}")
        shutil.rmtree(Path("/run") / name)
        shutil.rmtree(pki.directory() / name)
    network.forget_gateways()
    if settings.cluster_record.exists():
        with api.client() as client:
            for name in nodes:
                client.delete(f"/api/v1/nodes/{name}")
        _record({"nodes": 0})


def down() -> None:
    """Remove the cluster and everything that runs in it; does nothing if there is none.

    Raises:
        TimeoutError: a process did not end in time.
    """
    settings.cluster_record.unlink(missing_ok=True)
    leave()
    others = (loadbalancer.NAME, metrics.NAME, authenticator.NAME)
    supervisor.forget(
        name for name, _, _ in supervisor.states() if name.startswith(("kube-", "etcd")) or name in others
    )
    shutil.rmtree(pki.directory(), ignore_errors=True)


def _nodes() -> list[str]:
    return sorted(path.name for path in pki.directory().glob("node-?"))


def _kill_all_of(name: str) -> set[int]:
    """Kill the processes in a node's cgroup and in its network namespace, and return their PIDs."""
    network_of_node = Path(f"/run/netns/{name}").stat().st_ino
    found = cgroups.processes(f"{cgroups.NAME}/{name}")
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (process / "ns" / "net").stat().st_ino == network_of_node:
                found.add(int(process.name))
    for pid in found:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return found


def _mounts_of(nodes: Sequence[str]) -> list[str]:
    """Return the nodes' mount points, innermost first."""
    roots = (f"{pki.directory()}/", "/run/netns/cni-", *(f"/run/{name}/" for name in nodes))
    mounted = [line.split()[1] for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()]
    return [mount for mount in reversed(mounted) if mount.startswith(roots)]


def _start_api_server(name: str) -> None:
    """Start what the API server needs, then the API server, and wait for its port."""
    supervisor.declare([control_plane.etcd(), authenticator.program(name, pki.kubeconfig("admin"))])
    supervisor.start(authenticator.NAME)
    waiting.until(lambda: _listens("127.0.0.1", settings.ports.etcd), READY_TIMEOUT, "etcd")
    waiting.until(authenticator.webhook_kubeconfig().exists, READY_TIMEOUT, "the authenticator's kubeconfig")
    supervisor.declare([control_plane.api_server(authenticator.api_server_flags())])
    waiting.until(lambda: _listens(settings.region_ip, settings.api_port), READY_TIMEOUT, "the API server", _api_log)


def _start_controllers() -> None:
    """Wait for the API server's default roles, bind the rehearsal's, and start the controllers that need them."""
    with api.client("super-admin") as client:
        waiting.until(lambda: _is_up(client), READY_TIMEOUT, "the API server", _api_log)
        for binding in (
            (pki.ADMINISTRATORS, "cluster-admin", "Group", pki.ADMINISTRATORS),
            ("kubelet-api", "system:kubelet-api-admin", "User", "kube-apiserver-kubelet-client"),
        ):
            body = api.cluster_role_binding(*binding)
            api.create(client, "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", body)
        supervisor.declare([control_plane.controller_manager(), control_plane.scheduler()])
    # It could not watch aws-auth without an API server and would wait 5 s before the next attempt.
    supervisor.kill(authenticator.NAME)


def _record(facts: Mapping[str, object]) -> None:
    """Add facts to the cluster's record."""
    file = settings.cluster_record
    record = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    draft = file.with_suffix(".new")
    draft.write_text(json.dumps(record | dict(facts)), encoding="utf-8")
    draft.replace(file)


def _map_to_nodes(role: str) -> None:
    """Create aws-auth with the nodes' role, as EKS writes it for a managed node group, unless it exists."""
    entry = {"rolearn": role, "groups": ["system:bootstrappers", "system:nodes"],
             "username": "system:node:{{EC2PrivateDNSName}}"}  # fmt: skip
    document = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "aws-auth", "namespace": "kube-system"},
        "data": {"mapRoles": yaml.safe_dump([entry], sort_keys=True)},
    }
    with api.client() as client:
        api.create(client, "/api/v1/namespaces/kube-system/configmaps", document)


def _why_unready() -> str:
    return kubelet_hint(last_words("node-1-kubelet"))


def kubelet_hint(words: str) -> str:
    """Return the end of a kubelet's log, with the remedy if it refuses cgroup v1.

    Kubernetes 1.36 runs on it with ``failCgroupV1: false``; a later version will not
    (https://github.com/kubernetes/enhancements/issues/5573).
    """
    if "cgroup v1" not in words:
        return words
    return f"{words} This Kubernetes needs cgroup v2: boot with systemd.unified_cgroup_hierarchy=1."


def _all_ready(client: httpx.Client, count: int) -> bool:
    found = api.items(client, "/api/v1/nodes")
    return sum(api.is_ready(each) and not each["spec"].get("taints") for each in found) == count


def _is_up(client: httpx.Client) -> bool:
    try:
        return client.get("/readyz").status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def _listens(address: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((address, port)) == 0


def _api_log() -> str:
    return last_words("kube-apiserver")
