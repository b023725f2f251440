"""The real aws-iam-authenticator, the program that EKS runs, as the API server's token webhook.

It calls STS by its real name, which Go's HTTP client reaches through the rehearsal's proxy. It watches aws-auth in the
cluster and the access entries that emulator/eks.py writes. That module also writes the file that says which of the two
sources to use in the cluster's authentication mode. Entries come first, so that they win where both name a principal
(EKS user guide, "API_AND_CONFIG_MAP").

The program starts without an API server and tries to reach one every five seconds. For its health check it would also
listen on port 21363 of every address, which no flag turns off; it runs without it if the port is taken. So
``python -m rehearsal.kubernetes.authenticator PROGRAM ARGUMENT...`` takes that port and becomes the program.
"""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn
from urllib.error import URLError
from urllib.request import HTTPSHandler, ProxyHandler, build_opener

import yaml

from rehearsal import waiting
from rehearsal.sandbox.programs import Program
from rehearsal.settings import settings

NAME = "authenticator"
HEALTH_PORT = 21363

#: Seconds for which the API server caches an answer; short, so that a changed mapping takes effect soon. EKS does not
#: publish its value.
CACHE_TTL = 2


def state() -> Path:
    """Return the directory of the program's configuration and of the certificate that it makes on its first start."""
    return settings.run / "kubernetes" / "authenticator"


def webhook_kubeconfig() -> Path:
    """Return the path of the webhook's kubeconfig, which the program writes before it listens."""
    return settings.run / "kubernetes" / "authenticator-webhook.conf"


def api_server_flags() -> list[str]:
    """Return kube-apiserver's flags for the webhook. The authenticator answers only in v1beta1."""
    return [
        f"--authentication-token-webhook-config-file={webhook_kubeconfig()}",
        f"--authentication-token-webhook-cache-ttl={CACHE_TTL}s",
        "--authentication-token-webhook-version=v1beta1",
    ]


def program(cluster: str, kubeconfig: Path) -> Program:
    """Configure the authenticator of a cluster; ``kubeconfig`` must have the right to read kube-system's ConfigMaps."""
    state().mkdir(parents=True, exist_ok=True)
    file = state() / "config.yaml"
    file.write_text(yaml.safe_dump(configuration(cluster, kubeconfig)), encoding="utf-8")
    real = [str(settings.bin / "aws-iam-authenticator"), "server", "--config", str(file)]
    command = [sys.executable, "-m", "rehearsal.kubernetes.authenticator", *real]
    environment = {
        "AWS_REGION": settings.region,
        "AWS_EC2_METADATA_DISABLED": "true",
        "HTTPS_PROXY": settings.proxy_url,
        # For the API server: Go bypasses the proxy on its own only for loopback.
        "NO_PROXY": f"127.0.0.1,localhost,{settings.vpc_cidr}",
        "SSL_CERT_FILE": str(settings.ca),
        "SSL_CERT_DIR": "/nonexistent",
    }
    return Program(NAME, command, environment)


def configuration(cluster: str, kubeconfig: Path) -> dict[str, object]:
    """Return the program's configuration."""
    return {
        "clusterID": cluster,
        "server": {
            "partition": "aws",
            "address": "127.0.0.1",
            "hostname": "127.0.0.1",
            "port": settings.ports.authenticator,
            "stateDir": str(state()),
            "generateKubeconfig": str(webhook_kubeconfig()),
            "kubeconfig": str(kubeconfig),
            "backendMode": ["DynamicFile", "EKSConfigMap"],
            "dynamicfilepath": str(settings.access_entries),
            # As on EKS, a role that was deleted and created again does not match its old access entry.
            "dynamicfileUserIDStrict": True,
            "dynamicBackendModePath": str(settings.authenticator_backends),
        },
    }


def is_ready() -> bool:
    """Whether the program answers on its TLS port with the certificate that the API server expects."""
    certificate = state() / "cert.pem"
    if not (certificate.exists() and webhook_kubeconfig().exists()):
        return False
    context = ssl.create_default_context(cafile=str(certificate))
    context.check_hostname = False
    opener = build_opener(ProxyHandler({}), HTTPSHandler(context=context))
    try:
        with opener.open(
            f"https://127.0.0.1:{settings.ports.authenticator}/healthz", timeout=waiting.bound(2)
        ) as answer:
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False


def become(command: Sequence[str]) -> NoReturn:
    """Become a program that finds ``HEALTH_PORT`` taken: bound, but closed to connections."""
    held = socket.socket()
    with contextlib.suppress(OSError):  # another program has taken it
        held.bind(("127.0.0.1", HEALTH_PORT))
    held.set_inheritable(True)
    os.execv(command[0], list(command))  # noqa: S606 - it must become the program, so that signals reach that


if __name__ == "__main__":
    become(sys.argv[1:])
