"""Every value that the parts of the rehearsal share: paths, addresses, ports and versions."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Ports:
    """TCP ports, counted from one base so that a learner with a conflict changes one number."""

    base: int

    @property
    def aws(self) -> int:
        """MiniStack; only on loopback, because its root keys are well known."""
        return self.base

    @property
    def proxy(self) -> int:
        """The HTTPS proxy that directs real host names to the stand-ins."""
        return self.base + 1

    @property
    def front(self) -> int:
        """TLS for the host names that the rehearsal answers for."""
        return self.base + 2

    @property
    def console(self) -> int:
        """The console page."""
        return self.base + 3

    @property
    def credentials(self) -> int:
        """The endpoint for container credentials of running builds."""
        return self.base + 4

    @property
    def authenticator(self) -> int:
        """aws-iam-authenticator's token webhook."""
        return self.base + 5

    @property
    def etcd(self) -> int:
        """The API server's etcd."""
        return self.base + 6

    @property
    def etcd_peer(self) -> int:
        """The peer listener of etcd, which requires one even with a single member."""
        return self.base + 7

    @property
    def controller_manager(self) -> int:
        """kube-controller-manager's health and metrics."""
        return self.base + 8

    @property
    def scheduler(self) -> int:
        """kube-scheduler's health and metrics."""
        return self.base + 9

    @property
    def pull(self) -> int:
        """The read-only registry for the nodes, on the region's address."""
        return self.base + 10

    @property
    def metrics(self) -> int:
        """metrics-server, on the region's address."""
        return self.base + 11


def _number(variable: str, default: float, low: float, high: float) -> float:
    """Return the number in an environment variable; any other value ends the program with one line and exit code 2."""
    given = os.environ.get(variable) or str(default)
    try:
        number = float(given)
    except ValueError:
        number = float("nan")
    if not low <= number <= high:
        print(f"{variable} is {given!r}: set it to a number from {low:g} to {high:g}", file=sys.stderr)
        sys.exit(2)
    return number


def _port() -> int:
    return int(_number("REHEARSAL_PORT", 24560, 1024, 65000))


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()) / "eks-rehearsal"


@dataclass(frozen=True)
class Settings:
    """Values that the rehearsal's parts share; ``settings`` is the only instance."""

    root: Path = Path(__file__).resolve().parent.parent
    cache: Path = field(default_factory=_cache)
    account: str = "111122223333"
    region: str = "us-east-2"
    kubernetes_version: str = "1.36.3"
    ports: Ports = field(default_factory=lambda: Ports(_port()))
    #: Factor of all bounds of waiting, for a slow machine.
    patience: float = field(default_factory=lambda: _number("REHEARSAL_PATIENCE", 1, 0.1, 1000))
    region_ip: str = "10.250.0.1"
    vpc_cidr: str = "10.250.0.0/24"
    load_balancer_cidr: str = "10.250.1.0/24"
    engine_ip: str = "10.250.0.20"
    pod_cidr: str = "10.244.0.0/16"
    service_cidr: str = "10.96.0.0/16"
    api_port: int = 6443

    @property
    def run(self) -> Path:
        """State of the running rehearsal (RUN in other docstrings); removed when it ends."""
        return self.cache / "run"

    @property
    def bin(self) -> Path:
        """Programs built from Go modules; kept between rehearsals."""
        return self.cache / f"bin-{self.kubernetes_version}"

    @property
    def venv_bin(self) -> Path:
        """Directory of the Python interpreter in use and of the programs installed with it."""
        return Path(sys.executable).parent

    @property
    def registry(self) -> str:
        """The account's real ECR host name."""
        return f"{self.account}.dkr.ecr.{self.region}.amazonaws.com"

    @property
    def sts_host(self) -> str:
        """The real host name of the regional STS endpoint, for which EKS tokens must be signed."""
        return f"sts.{self.region}.amazonaws.com"

    @property
    def aws_url(self) -> str:
        """Address of MiniStack."""
        return f"http://127.0.0.1:{self.ports.aws}"

    @property
    def proxy_url(self) -> str:
        """Address of the HTTPS proxy on this host."""
        return f"http://127.0.0.1:{self.ports.proxy}"

    @property
    def api_url(self) -> str:
        """Address of the Kubernetes API server for this host and the nodes."""
        return f"https://{self.region_ip}:{self.api_port}"

    @property
    def ca(self) -> Path:
        """Certificate of the authority that signs the TLS front's certificate."""
        return self.run / "ca.pem"

    @property
    def ca_bundle(self) -> Path:
        """Certificates of the authorities that this machine trusts and of the rehearsal's, in one file."""
        return self.run / "ca-bundle.pem"

    @property
    def docker_socket(self) -> Path:
        """Socket of the rehearsal's Docker Engine."""
        return self.run / "docker.sock"

    @property
    def kubeconfig(self) -> Path:
        """The learner's kubeconfig."""
        return self.run / "kubeconfig"

    @property
    def cluster_record(self) -> Path:
        """JSON with ``endpoint`` and ``certificate_authority`` (a path) of the running cluster."""
        return self.run / "kubernetes" / "cluster.json"

    @property
    def access_entries(self) -> Path:
        """EKS access entries in the format of aws-iam-authenticator's dynamic file backend."""
        return self.run / "access-entries.json"

    @property
    def authenticator_backends(self) -> Path:
        """JSON with the backends that aws-iam-authenticator queries, in order."""
        return self.run / "authenticator-backends.json"

    def node_ip(self, number: int) -> str:
        """Return the address of node ``number``, counted from 1."""
        return f"10.250.0.{10 + number}"

    def pods_of(self, number: int) -> str:
        """Return the pod range of node ``number``."""
        return f"10.244.{number}.0/24"

    def client_environment(self) -> dict[str, str]:
        """Return the variables that direct command line tools to this machine, for the learner and the builds."""
        bundle = str(self.ca_bundle)
        no_proxy = f"127.0.0.1,localhost,{self.region_ip},{self.vpc_cidr},{self.load_balancer_cidr}"
        return {
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_ENDPOINT_URL": self.aws_url,
            # `aws eks get-token` must sign for the real name, because aws-iam-authenticator accepts no other.
            "AWS_ENDPOINT_URL_STS": f"https://{self.sts_host}",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CA_BUNDLE": bundle,
            "CURL_CA_BUNDLE": bundle,
            "REQUESTS_CA_BUNDLE": bundle,
            "SSL_CERT_FILE": bundle,
            "GIT_SSL_CAINFO": bundle,
            "HTTPS_PROXY": self.proxy_url,
            "https_proxy": self.proxy_url,
            "NO_PROXY": no_proxy,
            "no_proxy": no_proxy,
        }

    def root_environment(self) -> dict[str, str]:
        """Return root credentials, for the rehearsal's internals; MiniStack accepts the account id as root's key."""
        return {
            "AWS_ACCESS_KEY_ID": self.account,
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_ENDPOINT_URL": self.aws_url,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "NO_PROXY": "*",
        }


settings = Settings()
