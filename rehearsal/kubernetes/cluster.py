"""Creates and removes the cluster; ``python -m rehearsal.kubernetes`` runs this inside the sandbox."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from rehearsal import waiting
from rehearsal.kubernetes import api, authenticator, control_plane, loadbalancer, metrics, node, pause, pki
from rehearsal.kubernetes.node import Node
from rehearsal.sandbox import SandboxError, cgroups, network, supervisor
from rehearsal.sandbox.programs import last_words
from rehearsal.settings import settings

READY_TIMEOUT = 60.0
STOP_TIMEOUT = 20.0


def up(name: str, nodes: int, mode: str, show: Callable[[str], None] = print) -> None:
    """Create a cluster, wait until its nodes are Ready, and write ``settings.cluster_record``.

    Raises:
        SandboxError: there is a cluster already, or a node's containerd refused an image.
        TimeoutError: a part did not start in time.
        subprocess.CalledProcessError: a command failed; the exception has its standard error.
    """
    if pki.directory().exists():
        raise SandboxError("there is a cluster already; a rehearsal has one at a time")
    pki.directory().mkdir()
    all_nodes = [Node(number) for number in range(1, nodes + 1)]
    with ThreadPoolExecutor() as pool:
        show("create certificates and networks, start the container runtimes")
        made = pool.submit(pki.create, [each.name for each in all_nodes])
        _start_runtimes(all_nodes)
        images = [pool.submit(each.import_image, settings.bin / pause.ARCHIVE) for each in all_nodes]
        made.result()
        show("start the control plane and the nodes")
        _start_api_server(name)
        supervisor.declare(each.programs()["kubelet"] for each in all_nodes)
        _start_controllers()
        supervisor.declare(
            [*(each.programs()["kube-proxy"] for each in all_nodes), loadbalancer.program(), metrics.program()]
        )
        for image in images:
            image.result()
    with api.client() as client:
        waiting.until(
            lambda: _all_ready(client, nodes), READY_TIMEOUT, "the nodes to be ready", _why_unready, pause=0.1
        )
    _record(name, mode)


def down() -> None:
    """Remove the cluster and everything that runs in it; does nothing if there is none.

    Raises:
        TimeoutError: a process did not end in time.
    """
    settings.cluster_record.unlink(missing_ok=True)
    others = (loadbalancer.NAME, metrics.NAME, authenticator.NAME)
    names = [
        name for name, _, _ in supervisor.states() if name.startswith(("kube-", "node-", "etcd")) or name in others
    ]
    supervisor.forget(names)
    nodes = sorted(path.name for path in pki.directory().glob("node-?"))
    waiting.until(lambda: not set().union(*map(_kill_all_of, nodes)), STOP_TIMEOUT, f"the containers of {nodes} to end")
    for mount in _mounts_of(nodes):
        subprocess.run(["umount", "--lazy", mount], check=True, timeout=waiting.bound(10))
    for path in Path("/run/netns").glob("cni-*"):
        path.unlink()
    for name in nodes:
        network.leave(name)
        cgroups.remove(f"{cgroups.NAME}/{name}")
        shutil.rmtree(Path("/run") / name)
    network.forget_gateways()
    shutil.rmtree(pki.directory(), ignore_errors=True)


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


def _start_runtimes(nodes: list[Node]) -> None:
    node.write_registries()
    for each in nodes:
        each.prepare()
    for each in nodes:
        each.route_to(nodes)
    supervisor.declare([each.programs()["containerd"] for each in nodes])


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
            ("kubeadm:cluster-admins", "cluster-admin", "Group", "kubeadm:cluster-admins"),
            ("kubelet-api", "system:kubelet-api-admin", "User", "kube-apiserver-kubelet-client"),
        ):
            body = api.cluster_role_binding(*binding)
            api.create(client, "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", body)
        supervisor.declare([control_plane.controller_manager(), control_plane.scheduler()])
        metrics.register(client)
    # It could not watch aws-auth without an API server and would wait 5 s before the next attempt.
    supervisor.kill(authenticator.NAME)


def _record(name: str, mode: str) -> None:
    record = {
        "name": name,
        "authentication_mode": mode,
        "endpoint": settings.api_url,
        "certificate_authority": str(pki.certificate("ca.crt")),
        "version": settings.kubernetes_version,
    }
    draft = settings.cluster_record.with_suffix(".new")
    draft.write_text(json.dumps(record), encoding="utf-8")
    draft.replace(settings.cluster_record)


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
