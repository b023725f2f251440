"""The sandbox's network: a bridge in a namespace of its own, so that the host keeps its rules and settings.

The host gets one link and a few routes over it. Each node and the Docker Engine is a namespace on the bridge ``vpc``,
like an instance in a VPC's subnet. The host is the region's side (API server, registry, proxy) and forwards nothing.
Everything disappears with process 1: a namespace ends with its last process and mount, and a veth pair ends with either
end (namespaces(7), veth(4)).
"""

from __future__ import annotations

import ipaddress
import json
import socket
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rehearsal import waiting
from rehearsal.sandbox import SandboxError
from rehearsal.settings import settings

HOST_LINK = "rehearsal0"
VPC = "vpc"
ENGINE = "engine"
#: Ranges that the host routes into the sandbox and never to its default gateway.
ROUTED = (settings.load_balancer_cidr, settings.pod_cidr)


#: socket.IP_FREEBIND has no name in Python's module (ip(7)).
IP_FREEBIND = 15
#: Seconds for a connection to this host.
PASSAGE_TIMEOUT = 2.0


class AddressTakenError(SandboxError):
    """The host uses an address or a link that the rehearsal needs; the message says which."""


def exists() -> bool:
    """Whether the host's end of the network exists."""
    return any(name == HOST_LINK for _, name in socket.if_nameindex())


def check_free() -> None:
    """Check that the rehearsal's addresses are free on this host.

    Raises:
        AddressTakenError: they are not; the message names the link that uses them.
    """
    if exists():
        raise AddressTakenError(f"the link {HOST_LINK} exists: another rehearsal runs on this machine")
    taken = overlapping(_ip_json("-4", "route", "show", "table", "main"))
    if taken:
        raise AddressTakenError(
            f"the rehearsal needs {taken[0]}, but this machine has a route to {taken[1]} ({taken[2]}): set "
            "REHEARSAL_NETWORK to a private network that is free, such as 172.30.0.0/16, or disconnect that one, such as a VPN"
        )


def overlapping(routes: Iterable[dict[str, Any]]) -> tuple[str, str, str] | None:
    """Return the first range of the rehearsal that one of ``routes`` takes from it, with that route and its link.

    A wider route, such as a VPN's to all of 10.0.0.0/8, takes nothing, because the kernel prefers the narrower one.
    ``routes`` has the form of ``ip -json route``.
    """
    for found in routes:
        for ours in (settings.vpc_cidr, *ROUTED):
            if _within(found["dst"], (ours,)):
                return ours, found["dst"], found.get("dev", "several links")
    return None


def check_ports(*, cluster: bool = True) -> None:
    """Check that the rehearsal's ports are free, on loopback and with a cluster on the region's address.

    Raises:
        SandboxError: one is taken; the message says what to do.
    """
    for port in settings.ports.all:
        if not _is_free("127.0.0.1", port) or (cluster and not _is_free(settings.region_ip, port)):
            raise SandboxError(
                f"port {port} is taken; set REHEARSAL_PORT to the first of {settings.ports.COUNT} free ports"
            )
    if cluster and not _is_free(settings.region_ip, settings.api_port):
        raise SandboxError(
            f"port {settings.api_port} is taken on every address, and Kubernetes needs it on {settings.region_ip}: "
            f"stop the program that listens there (ss --listening --tcp --processes 'sport = {settings.api_port}')"
        )


def _is_free(address: str, port: int) -> bool:
    """Whether a program could listen there, also on an address that the host does not have yet."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if sys.platform == "linux":
            probe.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
        return True


def check_passage() -> None:
    """Check that this host's firewall lets a node's connections in, with one over a link like the rehearsal's.

    Raises:
        SandboxError: the link cannot be created, or the connection does not arrive; the message says what to do.
    """
    # The link ends with its namespace, and that with cat, which ends when this process does.
    node = subprocess.Popen(["unshare", "--net", "cat"], stdin=subprocess.PIPE)
    theirs = Path(f"/proc/{node.pid}/ns/net")
    try:
        waiting.until(lambda: theirs.readlink() != Path("/proc/self/ns/net").readlink(), PASSAGE_TIMEOUT, "unshare")
        _ip("link", "add", HOST_LINK, "type", "veth", "peer", "name", "eth0", "netns", str(node.pid))
        _batch(None, f"addr add {settings.region_ip}/24 dev {HOST_LINK}", f"link set {HOST_LINK} up")
        enter = ["nsenter", f"--net={theirs}"]
        lines = f"addr add {settings.engine_ip}/24 dev eth0\nlink set eth0 up"
        subprocess.run([*enter, "ip", "-batch", "-"], input=lines, text=True, check=True, timeout=waiting.bound(10))
        with socket.create_server((settings.region_ip, 0)) as server:
            reach = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), float(sys.argv[3]))"
            to = [settings.region_ip, str(server.getsockname()[1]), str(PASSAGE_TIMEOUT)]
            done = subprocess.run(
                [*enter, sys.executable, "-c", reach, *to], capture_output=True, check=False, timeout=waiting.bound(10)
            )
    except (subprocess.CalledProcessError, TimeoutError) as error:
        raise SandboxError(f"this machine cannot link network namespaces (veth): {error}") from error
    except OSError as error:
        raise SandboxError(
            f"this machine's network manager took the address {settings.region_ip} from the link {HOST_LINK} ({error}): let "
            "it ignore the link, with Unmanaged=yes in systemd-networkd or unmanaged-devices in NetworkManager"
        ) from error
    finally:
        subprocess.run(["ip", "link", "delete", HOST_LINK], capture_output=True, check=False, timeout=waiting.bound(10))
        node.kill()
        node.communicate()
    if done.returncode:
        raise SandboxError(
            f"this machine's firewall drops connections from the link {HOST_LINK}: let them in, with "
            f"iptables -I INPUT -i {HOST_LINK} -j ACCEPT or firewall-cmd --zone=trusted --add-interface={HOST_LINK}"
        )


def _within(destination: str, ranges: Iterable[str]) -> bool:
    """Whether a route's destination is one of ``ranges`` or a part of one; the default route is in none."""
    if destination == "default":
        return False
    network = ipaddress.IPv4Network(destination, strict=False)
    return any(network.subnet_of(ipaddress.IPv4Network(cidr)) for cidr in ranges)


def create_vpc() -> None:
    """Create the bridge's namespace, the host's link to it and the engine's namespace."""
    _ip("netns", "add", VPC)
    _batch(
        VPC,
        "link set lo up",
        "link add vpc type bridge forward_delay 0",
        "link set vpc up",
    )
    _ip("link", "add", HOST_LINK, "type", "veth", "peer", "name", "region", "netns", VPC)
    _batch(VPC, "link set region master vpc up")
    _batch(
        None,
        f"addr add {settings.region_ip}/24 dev {HOST_LINK}",
        f"link set {HOST_LINK} up",
        *(f"route add {cidr} dev {HOST_LINK}" for cidr in ROUTED),
    )
    join(ENGINE, settings.engine_ip)


def join(name: str, address: str) -> None:
    """Create a network namespace with ``address`` on the bridge, and route its traffic over the region's address."""
    _ip("netns", "add", name)
    _ip("-n", VPC, "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name)
    _batch(VPC, f"link set {name} master vpc up")
    _batch(
        name,
        "link set lo up",
        f"addr add {address}/24 dev eth0",
        "link set eth0 up",
        f"route add default via {settings.region_ip}",
    )


def leave(name: str) -> None:
    """Remove a network namespace and its link; does nothing if it does not exist."""
    subprocess.run(["ip", "netns", "delete", name], check=False, timeout=waiting.bound(10), capture_output=True)
    subprocess.run(
        ["ip", "-n", VPC, "link", "delete", name], check=False, timeout=waiting.bound(10), capture_output=True
    )


def route(namespace: str | None, cidr: str, gateways: Sequence[str]) -> None:
    """Route ``cidr`` in a namespace (None: the host's) over all of ``gateways``; without any, remove the route."""
    where = [] if namespace is None else ["-n", namespace]
    if gateways:
        _ip(*where, "route", "replace", cidr, *next_hops(gateways))
    else:
        subprocess.run(
            ["ip", *where, "route", "delete", cidr], check=False, timeout=waiting.bound(10), capture_output=True
        )


def forget_gateways() -> None:
    """Remove the host's routes over nodes; traffic to pods and load balancers then ends at the link."""
    for found in _ip_json("-4", "route", "show", "table", "main"):
        if _within(found["dst"], ROUTED) and found["dst"] not in ROUTED:
            route(None, found["dst"], [])


def next_hops(gateways: Sequence[str]) -> list[str]:
    """Return the arguments of ip-route(8) for one gateway, or for several of equal weight."""
    if len(gateways) == 1:
        return ["via", gateways[0]]
    return [word for gateway in gateways for word in ("nexthop", "via", gateway, "weight", "1")]


def guard(namespace: str, pods: str, api_port: int) -> None:
    """Let a node's pods reach the API server on the region's address, and nothing else on this host or the engine.

    They may answer it: the API server connects to a pod to proxy a request. Also drop packets to a load balancer's address
    that kube-proxy does not know yet. If the node forwarded one, conntrack would record the connection without translation,
    and its retransmitted packets could not arrive either. The rules are in the node's namespace; the host's do not change.
    """
    opened = ["-m", "conntrack", "!", "--ctstate", "ESTABLISHED"]
    rules = (
        ["-s", pods, "-d", settings.region_ip, "-p", "tcp", "!", "--dport", str(api_port), *opened, "-j", "REJECT"],
        ["-s", pods, "-d", settings.region_ip, "!", "-p", "tcp", "-j", "REJECT"],
        ["-s", pods, "-d", settings.engine_ip, "-j", "REJECT"],
        ["-d", settings.load_balancer_cidr, "-j", "DROP"],
    )
    for rule in rules:
        command = ["nsenter", f"--net=/run/netns/{namespace}", "iptables", "-w", "-I", "FORWARD", *rule]
        subprocess.run(command, check=True, timeout=waiting.bound(10))


def _ip(*args: str) -> None:
    subprocess.run(["ip", *args], check=True, timeout=waiting.bound(10))


def _batch(namespace: str | None, *lines: str) -> None:
    where = [] if namespace is None else ["-n", namespace]
    subprocess.run(
        ["ip", *where, "-batch", "-"], input="\n".join(lines), text=True, check=True, timeout=waiting.bound(10)
    )


def _ip_json(*args: str) -> list[dict[str, Any]]:
    done = subprocess.run(
        ["ip", "-json", *args], capture_output=True, text=True, timeout=waiting.bound(10), check=False
    )
    found: list[dict[str, Any]] = json.loads(done.stdout or "[]")
    return found
