"""Every value that the parts of the rehearsal share: paths, addresses, ports and versions."""

from __future__ import annotations

import ipaddress
import os
import platform
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, NoReturn

#: Variables by which every process of a rehearsal has the same settings.
VARIABLES = ("XDG_CACHE_HOME", "REHEARSAL_NETWORK", "REHEARSAL_PATIENCE", "REHEARSAL_PORT")

#: Addresses of Kubernetes Services, which exist in the nodes' rules only.
SERVICES = "10.96.0.0/16"


@dataclass(frozen=True)
class Ports:
    """TCP ports, counted from one base so that a learner with a conflict changes one number."""

    base: int
    #: How many there are.
    COUNT: ClassVar[int] = 12

    @property
    def all(self) -> range:
        """Every port below."""
        return range(self.base, self.base + self.COUNT)

    @property
    def aws(self) -> int:
        """MiniStack, on loopback."""
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


def _ports() -> Ports:
    """Return the ports from REHEARSAL_PORT on, or exit with 2 if it names none."""
    first = os.environ.get("REHEARSAL_PORT") or "24560"
    highest = 65536 - Ports.COUNT
    if not (first.isascii() and first.isdecimal() and 1024 <= int(first) <= highest):
        _reject(f"REHEARSAL_PORT is not a number from 1024 to {highest}: {first[:20]!a}")
    return Ports(int(first))


def _patience() -> float:
    """Return REHEARSAL_PATIENCE, the factor of all bounds of waiting, or exit with 2 if it is no such factor."""
    given = os.environ.get("REHEARSAL_PATIENCE") or "1"
    if not (re.fullmatch(r"[0-9]{1,4}(\.[0-9]{1,3})?", given) and 0.1 <= float(given) <= 1000):
        _reject(f"REHEARSAL_PATIENCE is not a number from 0.1 to 1000: {given[:20]!a}")
    return float(given)


def _compiles() -> bool:
    """Return REHEARSAL_BUILD, whether to compile what could be downloaded, or exit with 2 if it has another value."""
    given = os.environ.get("REHEARSAL_BUILD") or "0"
    if given not in ("0", "1"):
        _reject(f"REHEARSAL_BUILD is not 0 or 1: {given[:20]!a}")
    return given == "1"


def _console_address() -> str:
    """Return the IPv4 address of REHEARSAL_CONSOLE, on which the console page listens, or exit with 2 if it has none."""
    address = os.environ.get("REHEARSAL_CONSOLE") or "127.0.0.1"
    try:
        return str(ipaddress.IPv4Address(address))
    except ValueError:
        _reject(f"REHEARSAL_CONSOLE is not an IPv4 address such as 0.0.0.0: {address[:20]!a}")


def _network() -> str:
    """Return the first two numbers of REHEARSAL_NETWORK, the private /16 of all addresses, or exit with 2 if it is none."""
    given = os.environ.get("REHEARSAL_NETWORK") or "10.250.0.0/16"
    try:
        network = ipaddress.IPv4Network(given)
    except ValueError:
        network = ipaddress.IPv4Network("127.0.0.0/8")
    if network.prefixlen != 16 or not network.is_private or str(network) == SERVICES:
        _reject(
            f"REHEARSAL_NETWORK is not a private network such as 172.30.0.0/16, other than {SERVICES}: {given[:20]!a}"
        )
    return str(network).removesuffix(".0.0/16")


def inherited(names: Iterable[str]) -> dict[str, str]:
    """Return the variables of this process's environment that have these names."""
    return {name: os.environ[name] for name in names if name in os.environ}


def _reject(message: str) -> NoReturn:
    print(f"rehearse.sh: {message}", file=sys.stderr)
    raise SystemExit(2)


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()) / "eks-rehearsal"


#: Go's and OCI's names of processors.
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True)
class Settings:
    """Values that the rehearsal's parts share; ``settings`` is the only instance."""

    root: Path = Path(__file__).resolve().parent.parent
    cache: Path = field(default_factory=_cache)
    account: str = "111122223333"
    #: Tests choose another for AWS on loopback; a whole rehearsal has the default of settings.sh.
    region: str = field(default_factory=lambda: os.environ.get("REHEARSAL_REGION", "us-east-2"))
    kubernetes_version: str = "1.36.3"
    ports: Ports = field(default_factory=_ports)
    console_address: str = field(default_factory=_console_address)
    #: Factor of all bounds of waiting, for a slow machine.
    patience: float = field(default_factory=_patience)
    #: Whether the programs are compiled even where they can be downloaded.
    compiles: bool = field(default_factory=_compiles)
    #: The first two numbers of all addresses but those of Services.
    network: str = field(default_factory=_network)
    service_cidr: str = SERVICES
    api_port: int = 6443
    most_nodes: int = 8

    @property
    def architecture(self) -> str:
        """This machine's processor, as Go and publishers of programs name it."""
        return ARCHITECTURES.get(platform.machine(), platform.machine())

    @property
    def vpc_cidr(self) -> str:
        """Range of this host's link, the nodes and the engine."""
        return f"{self.network}.0.0/24"

    @property
    def region_ip(self) -> str:
        """Address of this host on its link."""
        return f"{self.network}.0.1"

    @property
    def engine_ip(self) -> str:
        """Address of the Docker Engine."""
        return f"{self.network}.0.20"

    @property
    def load_balancer_cidr(self) -> str:
        """Range of the load balancers."""
        return f"{self.network}.1.0/24"

    @property
    def pod_cidr(self) -> str:
        """Range of the pods of all nodes."""
        return f"{self.network}.64.0/18"

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
        return f"{self.network}.0.{10 + number}"

    @property
    def node_ips(self) -> frozenset[str]:
        """The addresses of all nodes that a node group can have."""
        return frozenset(map(self.node_ip, range(1, self.most_nodes + 1)))

    def pods_of(self, number: int) -> str:
        """Return the pod range of node ``number``."""
        return f"{self.network}.{64 + number}.0/24"

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


settings = Settings()
