"""etcd, kube-apiserver, kube-controller-manager and kube-scheduler: the part of a cluster that EKS manages.

They use the host's network. The API server listens on the region's address, which only this host and the sandbox's
namespaces can reach; the others listen on loopback. The state is deleted with the cluster, so etcd does not wait for
the disk, and every program is stopped with SIGKILL.

Differs from EKS: one API server and one etcd; no OIDC provider; no encryption of etcd; the audit log is a file, at level
Metadata.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml

from rehearsal.kubernetes import pki
from rehearsal.sandbox.programs import Program
from rehearsal.settings import settings

LOOPBACK = "127.0.0.1"

#: Leaves out what the cluster's own components do, so that the audit log has only the calls of people and the pipeline.
AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {
            "level": "None",
            "userGroups": ["system:nodes", "system:serviceaccounts:kube-system"],
        },
        {
            "level": "None",
            "users": [
                "system:apiserver",
                "system:kube-controller-manager",
                "system:kube-scheduler",
                "system:kube-proxy",
                "kubernetes-admin",
                "kubernetes-super-admin",
            ],
        },
        {"level": "Metadata"},
    ],
}


def etcd() -> Program:
    """Etcd with one member, which accepts only the API server's certificate."""
    client, peer = (f"https://{LOOPBACK}:{port}" for port in (settings.ports.etcd, settings.ports.etcd_peer))
    key = pki.certificate
    return _program(
        "etcd",
        f"--data-dir={pki.directory() / 'etcd'}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        f"--cert-file={key('etcd/server.crt')}",
        f"--key-file={key('etcd/server.key')}",
        f"--trusted-ca-file={key('etcd/ca.crt')}",
        "--client-cert-auth",
        f"--peer-cert-file={key('etcd/peer.crt')}",
        f"--peer-key-file={key('etcd/peer.key')}",
        f"--peer-trusted-ca-file={key('etcd/ca.crt')}",
        "--peer-client-cert-auth",
        "--unsafe-no-fsync",
        "--heartbeat-interval=10",
        "--election-timeout=50",
        "--log-level=warn",
    )


def api_server(authentication: Sequence[str]) -> Program:
    """kube-apiserver; ``authentication`` are the flags of the token webhook."""
    key = pki.certificate
    policy = pki.directory() / "audit-policy.yaml"
    policy.write_text(yaml.safe_dump(AUDIT_POLICY), encoding="utf-8")
    return _program(
        "kube-apiserver",
        f"--bind-address={settings.region_ip}",
        f"--advertise-address={settings.region_ip}",
        f"--secure-port={settings.api_port}",
        f"--etcd-servers=https://{LOOPBACK}:{settings.ports.etcd}",
        f"--etcd-cafile={key('etcd/ca.crt')}",
        f"--etcd-certfile={key('apiserver-etcd-client.crt')}",
        f"--etcd-keyfile={key('apiserver-etcd-client.key')}",
        f"--client-ca-file={key('ca.crt')}",
        f"--tls-cert-file={key('apiserver.crt')}",
        f"--tls-private-key-file={key('apiserver.key')}",
        f"--kubelet-client-certificate={key('apiserver-kubelet-client.crt')}",
        f"--kubelet-client-key={key('apiserver-kubelet-client.key')}",
        "--kubelet-preferred-address-types=InternalIP",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={key('sa.key')}",
        f"--service-account-signing-key-file={key('sa.key')}",
        f"--service-cluster-ip-range={settings.service_cidr}",
        f"--proxy-client-cert-file={key('front-proxy-client.crt')}",
        f"--proxy-client-key-file={key('front-proxy-client.key')}",
        f"--requestheader-client-ca-file={key('front-proxy-ca.crt')}",
        "--requestheader-allowed-names=front-proxy-client",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        # metrics-server runs outside the cluster's network: call its endpoint, not its Service's address.
        "--enable-aggregator-routing",
        "--authorization-mode=Node,RBAC",
        # As on EKS: pod security admission rejects privileged pods, in namespaces with such a label.
        "--allow-privileged",
        "--enable-admission-plugins=NodeRestriction",
        f"--audit-policy-file={policy}",
        f"--audit-log-path={audit_log()}",
        *authentication,
    )


def controller_manager() -> Program:
    """kube-controller-manager; the nodes' pod ranges are fixed, so it allocates none."""
    key = pki.certificate
    return _program(
        "kube-controller-manager",
        *_with_kubeconfig("controller-manager"),
        f"--bind-address={LOOPBACK}",
        f"--secure-port={settings.ports.controller_manager}",
        "--allocate-node-cidrs=false",
        f"--cluster-cidr={settings.pod_cidr}",
        f"--service-cluster-ip-range={settings.service_cidr}",
        f"--cluster-signing-cert-file={key('ca.crt')}",
        f"--cluster-signing-key-file={key('ca.key')}",
        f"--root-ca-file={key('ca.crt')}",
        f"--service-account-private-key-file={key('sa.key')}",
        "--use-service-account-credentials",
        "--leader-elect=false",
        f"--cert-dir={pki.directory() / 'controller-manager'}",
        # By default, it creates a directory on this host.
        f"--flex-volume-plugin-dir={pki.directory() / 'volume-plugins'}",
    )


def scheduler() -> Program:
    """kube-scheduler."""
    return _program(
        "kube-scheduler",
        *_with_kubeconfig("scheduler"),
        f"--bind-address={LOOPBACK}",
        f"--secure-port={settings.ports.scheduler}",
        "--leader-elect=false",
        f"--cert-dir={pki.directory() / 'scheduler'}",
    )


def audit_log() -> Path:
    """File with one JSON event per line for each call that a person or the pipeline made."""
    return settings.run / "log" / "audit.log"


def _with_kubeconfig(name: str) -> list[str]:
    file = pki.kubeconfig(name)
    return [f"--kubeconfig={file}", f"--authentication-kubeconfig={file}", f"--authorization-kubeconfig={file}"]


def _program(name: str, *flags: str) -> Program:
    return Program(name, [settings.bin / name, *flags], stop_signal="KILL", autostart=True)
