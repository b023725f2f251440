"""Certificates and kubeconfigs of the cluster, by the names that kubeadm gives them.

What each component needs: https://kubernetes.io/docs/setup/best-practices/certificates/. Kubernetes takes a certificate's
common name for the user and its organization for a group.

Differs from a cluster of kubeadm: the certificates are valid until 2038, for servers and clients.
"""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Sequence
from pathlib import Path

import trustme
import yaml

from rehearsal import secret
from rehearsal.settings import settings

#: A group that may do everything; cluster.py binds it.
ADMINISTRATORS = "kubeadm:cluster-admins"
#: Every user is in this group anyway. Without a group, trustme would write its own name.
NO_GROUP = "system:authenticated"
#: User and group of each component that has a kubeconfig.
USERS = {
    "admin": ("kubernetes-admin", ADMINISTRATORS),
    "super-admin": ("kubernetes-super-admin", "system:masters"),
    "controller-manager": ("system:kube-controller-manager", NO_GROUP),
    "scheduler": ("system:kube-scheduler", NO_GROUP),
    "kube-proxy": ("system:kube-proxy", NO_GROUP),
}
#: Those that an HTTP client uses too.
FOR_CLIENTS = ("admin", "super-admin")
LOOPBACK = ("localhost", "127.0.0.1")


def directory() -> Path:
    """Return the directory of the cluster's files."""
    return settings.run / "kubernetes"


def certificate(name: str) -> Path:
    """Return the path of a certificate or key (``ca.crt``, ``etcd/server.key``)."""
    return directory() / "pki" / name


def kubeconfig(name: str) -> Path:
    """Return the path of a component's kubeconfig (``admin``, ``scheduler``, ``node-1``)."""
    return directory() / f"{name}.conf"


def create() -> None:
    """Create the authorities, all certificates, and a kubeconfig for each component."""
    certificate("etcd").mkdir(parents=True)
    cluster, etcd, front_proxy = (_authority(name) for name in ("ca", "etcd/ca", "front-proxy-ca"))
    for name, made in {
        "apiserver": _issue(cluster, "kube-apiserver", hosts=_api_server_hosts()),
        "apiserver-kubelet-client": _issue(cluster, "kube-apiserver-kubelet-client", ADMINISTRATORS),
        "apiserver-etcd-client": _issue(etcd, "kube-apiserver-etcd-client"),
        "etcd/server": _issue(etcd, "control-plane"),
        "etcd/peer": _issue(etcd, "control-plane"),
        "front-proxy-client": _issue(front_proxy, "front-proxy-client"),
        "sa": _issue(cluster, "service-accounts"),  # whose key signs their tokens
    }.items():
        _write(certificate(f"{name}.key"), certificate(f"{name}.crt"), made)
    for name, (user, group) in USERS.items():
        made = _issue(cluster, user, group)
        _write_kubeconfig(name, user, made)
        if name in FOR_CLIENTS:
            _write(directory() / f"{name}.key", directory() / f"{name}.certificate", made)


def admit(node: str) -> None:
    """Create a node's kubeconfig."""
    cluster = trustme.CA.from_pem(certificate("ca.crt").read_bytes(), certificate("ca.key").read_bytes())
    user = f"system:node:{node}"
    _write_kubeconfig(node, user, _issue(cluster, user, "system:nodes"))


def _authority(name: str) -> trustme.CA:
    authority = trustme.CA(organization_name=name)
    secret.write(certificate(f"{name}.key"), authority.private_key_pem.bytes())
    certificate(f"{name}.crt").write_bytes(authority.cert_pem.bytes())
    return authority


def _api_server_hosts() -> list[str]:
    """Return the names and addresses by which clients reach the API server, in pods the first one of the Services."""
    service = str(ipaddress.ip_network(settings.service_cidr)[1])
    names = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local")
    return [*names, *LOOPBACK, service, settings.region_ip]


def _issue(
    authority: trustme.CA, user: str, group: str = NO_GROUP, hosts: Sequence[str] = LOOPBACK
) -> trustme.LeafCert:
    """Issue a certificate; without a host, Go would refuse that of a client, too."""
    return authority.issue_cert(*hosts, common_name=user, organization_name=group)


def _write(key: Path, public: Path, made: trustme.LeafCert) -> None:
    secret.write(key, made.private_key_pem.bytes())
    public.write_bytes(made.cert_chain_pems[0].bytes())


def _write_kubeconfig(name: str, user: str, made: trustme.LeafCert) -> None:
    """Write a kubeconfig that holds what it needs."""
    cluster = {"server": settings.api_url, "certificate-authority-data": _encoded(certificate("ca.crt").read_bytes())}
    identity = {
        "client-certificate-data": _encoded(made.cert_chain_pems[0].bytes()),
        "client-key-data": _encoded(made.private_key_pem.bytes()),
    }
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "kubernetes", "cluster": cluster}],
        "users": [{"name": user, "user": identity}],
        "contexts": [{"name": "kubernetes", "context": {"cluster": "kubernetes", "user": user}}],
        "current-context": "kubernetes",
    }
    secret.write(kubeconfig(name), yaml.safe_dump(document))


def _encoded(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
