"""The real aws-iam-authenticator, the program that EKS runs, as the API server's token webhook.

It asks STS under its genuine name, which Go's HTTP client reaches through the rehearsal's proxy; it watches aws-auth
in the cluster and the access entries that eks.py writes. Which of the two count is in a file that eks.py changes with
the cluster's authentication mode: entries first, so that they win where both name a principal (EKS user guide,
"API_AND_CONFIG_MAP").

The API server needs three flags; ``api_server_flags`` has them. The program starts without an API server and tries to
reach one every five seconds. It also opens port 21363 on every address for its health, which cannot be turned off; it
answers "ok" and no more, and where that port is taken it does without.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from urllib.error import URLError
from urllib.request import HTTPSHandler, ProxyHandler, build_opener

import yaml

from rehearsal.sandbox.programs import Program
from rehearsal.settings import settings

NAME = "authenticator"

#: Seconds for which the API server remembers an answer; short, so that a changed mapping shows. EKS's is not published.
CACHE_TTL = 2


def state() -> Path:
    """Return where the program's certificate, made on its first start, and its configuration lie."""
    return settings.run / "kubernetes" / "authenticator"


def webhook_kubeconfig() -> Path:
    """Return the path of the webhook's kubeconfig, which the program writes before it listens."""
    return settings.run / "kubernetes" / "authenticator-webhook.conf"


def api_server_flags() -> list[str]:
    """Return what kube-apiserver must be told. The program answers in v1beta1 only."""
    return [
        f"--authentication-token-webhook-config-file={webhook_kubeconfig()}",
        f"--authentication-token-webhook-cache-ttl={CACHE_TTL}s",
        "--authentication-token-webhook-version=v1beta1",
    ]


def program(cluster: str, kubeconfig: Path) -> Program:
    """Configure the authenticator of one cluster; ``kubeconfig`` must be able to read kube-system's ConfigMaps."""
    state().mkdir(parents=True, exist_ok=True)
    file = state() / "config.yaml"
    file.write_text(yaml.safe_dump(configuration(cluster, kubeconfig)), encoding="utf-8")
    command: list[str | Path] = [settings.bin / "aws-iam-authenticator", "server", "--config", file]
    environment = {
        "AWS_REGION": settings.region,
        "AWS_EC2_METADATA_DISABLED": "true",
        "HTTPS_PROXY": settings.proxy_url,
        # The API server is reached directly; it is not on loopback, which alone Go never proxies.
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
            "dynamicBackendModePath": str(settings.authenticator_backends),
        },
    }


def is_ready() -> bool:
    """Whether the program answers on its TLS port with the certificate that the API server was given."""
    certificate = state() / "cert.pem"
    if not (certificate.exists() and webhook_kubeconfig().exists()):
        return False
    context = ssl.create_default_context(cafile=str(certificate))
    context.check_hostname = False
    opener = build_opener(ProxyHandler({}), HTTPSHandler(context=context))
    try:
        with opener.open(f"https://127.0.0.1:{settings.ports.authenticator}/healthz", timeout=2) as answer:
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False
