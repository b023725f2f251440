"""Certificates and kubeconfigs of the cluster, made by kubeadm's phases as in any kubeadm cluster.

https://kubernetes.io/docs/reference/setup-tools/kubeadm/kubeadm-init-phase/
"""

from __future__ import annotations

import base64
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml

from rehearsal import waiting
from rehearsal.settings import settings

TIMEOUT = 30


def directory() -> Path:
    """Return the directory of the cluster's files."""
    return settings.run / "kubernetes"


def certificate(name: str) -> Path:
    """Return the path of a file of kubeadm's PKI (``ca.crt``, ``etcd/server.key``)."""
    return directory() / "pki" / name


def kubeconfig(name: str) -> Path:
    """Return the path of a component's kubeconfig (``admin``, ``scheduler``, ``node-1``)."""
    return directory() / f"{name}.conf"


def create() -> None:
    """Create the authority, all certificates, and a kubeconfig for each component.

    Raises:
        subprocess.CalledProcessError: kubeadm failed; the exception has its standard error.
    """
    config = _configure("control-plane")
    _kubeadm("init", "phase", "certs", "all", "--config", str(config))
    with ThreadPoolExecutor() as pool:
        made = [
            pool.submit(_phase, name, config) for name in ("admin", "super-admin", "controller-manager", "scheduler")
        ]
        made.append(pool.submit(_user, "kube-proxy", "system:kube-proxy", config))
        for future in made:
            future.result()
    _extract_admin()


def admit(node: str) -> None:
    """Create a node's kubeconfig.

    Raises:
        subprocess.CalledProcessError: kubeadm failed; the exception has its standard error.
    """
    draft = directory() / f"kubeconfig-{node}"
    _kubeadm(
        "init", "phase", "kubeconfig", "kubelet", "--config", str(_configure(node)), "--kubeconfig-dir", str(draft)
    )
    (draft / "kubelet.conf").rename(kubeconfig(node))
    draft.rmdir()


def _configure(name: str) -> Path:
    path = directory() / f"kubeadm-{name}.yaml"
    path.write_text(yaml.safe_dump_all(configuration(name)), encoding="utf-8")
    return path


def configuration(node: str) -> list[dict[str, Any]]:
    """Return kubeadm's configuration documents for ``node``."""
    return [
        {
            "apiVersion": "kubeadm.k8s.io/v1beta4",
            "kind": "InitConfiguration",
            "localAPIEndpoint": {"advertiseAddress": settings.region_ip, "bindPort": settings.api_port},
            "nodeRegistration": {"name": node},
        },
        {
            "apiVersion": "kubeadm.k8s.io/v1beta4",
            "kind": "ClusterConfiguration",
            "kubernetesVersion": f"v{settings.kubernetes_version}",
            "certificatesDir": str(directory() / "pki"),
            "controlPlaneEndpoint": f"{settings.region_ip}:{settings.api_port}",
            # Much faster to generate than RSA keys.
            "encryptionAlgorithm": "ECDSA-P256",
            "networking": {"podSubnet": settings.pod_cidr, "serviceSubnet": settings.service_cidr},
            "apiServer": {"certSANs": ["127.0.0.1", "localhost"]},
            "etcd": {"local": {"serverCertSANs": ["127.0.0.1"]}},
        },
    ]


def _phase(name: str, config: Path) -> None:
    _kubeadm("init", "phase", "kubeconfig", name, "--config", str(config), "--kubeconfig-dir", str(directory()))


def _user(name: str, user: str, config: Path) -> None:
    made = _kubeadm("kubeconfig", "user", "--client-name", user, "--config", str(config))
    kubeconfig(name).touch(mode=0o600)
    kubeconfig(name).write_text(made, encoding="utf-8")


def _extract_admin() -> None:
    """Write the administrators' certificates and keys to files, for an HTTP client."""
    for name in ("admin", "super-admin"):
        user = yaml.safe_load(kubeconfig(name).read_text(encoding="utf-8"))["users"][0]["user"]
        for kind in ("certificate", "key"):
            path = directory() / f"{name}.{kind}"
            path.touch(mode=0o600)
            path.write_bytes(base64.b64decode(user[f"client-{kind}-data"]))


def _kubeadm(*args: str) -> str:
    done = subprocess.run(
        [settings.bin / "kubeadm", *args], capture_output=True, text=True, timeout=waiting.bound(TIMEOUT), check=True
    )
    return done.stdout
