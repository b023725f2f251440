"""What ``scripts/rehearse.sh --check`` finds on a machine, and what it says where something is missing."""

from __future__ import annotations

import dataclasses
import ipaddress
import json
import os
import shutil
import socket
import subprocess
import sys
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from rehearsal import check
from rehearsal import settings as module
from rehearsal.docker import base_image
from rehearsal.kubernetes import build, official
from rehearsal.sandbox import SandboxError, cgroups, network
from rehearsal.settings import Ports, settings
from tests.support.paths import ROOT


class Usage(NamedTuple):
    """As of shutil.disk_usage."""

    total: int
    used: int
    free: int


def preflight(*args: str, timeout: float = 60, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the check as scripts/rehearse.sh does: with a Python that has no packages of the rehearsal."""
    python = "/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable
    return subprocess.run(
        [python, "-S", "-m", "rehearsal.check", *args], cwd=ROOT, env=os.environ | env, capture_output=True, text=True,
        timeout=timeout, check=False,
    )  # fmt: skip


# Each check, on a made-up machine


def a_tree(tmp_path: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="ascii")
    return tmp_path


def without_iptables(name: str, real: Callable[[str], str | None] = shutil.which) -> str | None:
    return None if name == "iptables-restore" else real(name)


def test_names_the_disk_that_is_too_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "is_built", lambda: False)
    enough = check.DISK_NEEDED + official.SPACE_NEEDED
    monkeypatch.setattr(check.shutil, "disk_usage", lambda _: Usage(0, 0, enough))
    assert "GB free" in check.disk()
    monkeypatch.setattr(check, "settings", dataclasses.replace(check.settings, compiles=True))
    with pytest.raises(check.Missing, match=r"GB are free in .*eks-rehearsal.*XDG_CACHE_HOME"):
        check.disk()
    monkeypatch.setattr(build, "is_built", lambda: True)
    assert "GB free" in check.disk()


def bind(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


def test_a_path_is_too_long_where_it_is_for_a_socket(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    longest = tmp_path / ("x" * (90 - len(str(tmp_path))))
    for cache in (longest, longest.with_name(longest.name + "x")):
        monkeypatch.setattr(check, "settings", dataclasses.replace(settings, cache=cache))
        check.settings.run.mkdir(parents=True)
        if cache == longest:
            assert check.sockets() == f"their paths in {cache}/run are short enough"
            bind(check.settings.docker_socket)
    with pytest.raises(
        check.Missing, match=r"x is 1 bytes too long .* set XDG_CACHE_HOME to a directory with a shorter path"
    ):
        check.sockets()
    with pytest.raises(OSError, match="too long"):
        bind(check.settings.docker_socket)


@pytest.mark.parametrize(
    ("files", "where"),
    [
        ({"memory/memory.limit_in_bytes": "2000000000\n"}, "this container has 2.0 GB"),
        ({"memory.max": "2000000000\n"}, "this container has 2.0 GB"),
    ],
)
def test_names_the_memory_limit_of_a_container(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, files: dict[str, str], where: str
) -> None:
    monkeypatch.setattr(cgroups, "ROOT", a_tree(tmp_path, files))
    monkeypatch.setattr(check, "_meminfo", lambda _: 8_000_000_000)
    with pytest.raises(check.Missing, match=where):
        check.memory()


def test_a_container_without_a_limit_has_the_memory_of_the_machine(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(cgroups, "ROOT", a_tree(tmp_path, {"memory.max": "max\n"}))
    monkeypatch.setattr(check, "_meminfo", lambda _: 8_000_000_000)
    assert check.memory().startswith("8.0 GB available")
    monkeypatch.setattr(check, "_meminfo", lambda _: check.MEMORY_NEEDED - 1)
    with pytest.raises(check.Missing, match="this machine has"):
        check.memory()


def test_names_the_controllers_that_are_not_delegated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(cgroups, "ROOT", a_tree(tmp_path, {"cgroup.controllers": "cpu io memory\n"}))
    monkeypatch.setattr(cgroups, "is_v2", lambda: True)
    with pytest.raises(check.Missing, match=r"no controllers pids of cgroup v2: .*--privileged.*Delegate=yes"):
        check.control_groups()


def test_names_the_controllers_of_cgroup_v1_that_are_not_mounted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("cpu,cpuacct", "cpuset", "devices", "memory", "pids"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(cgroups, "ROOT", tmp_path)
    monkeypatch.setattr(cgroups, "is_v2", lambda: False)
    with pytest.raises(check.Missing, match="no controllers freezer of cgroup v1"):
        check.control_groups()
    (tmp_path / "freezer").mkdir()
    assert check.control_groups().startswith("v1: cpu, cpuacct, cpuset")


def test_reports_read_only_groups_of_a_container(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(cgroups, "ROOT", a_tree(tmp_path, {"cgroup.controllers": "cpu cpuset memory pids\n"}))
    monkeypatch.setattr(cgroups, "is_v2", lambda: True)
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(check.Missing, match="read-only: if this is a container, run it with --privileged"):
        check.control_groups()


def test_says_what_is_not_checked_before_a_program_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check.shutil, "which", without_iptables)
    assert check.rules() == "not checked yet: scripts/dev/packages.sh installs iptables and iproute2"


def test_names_the_index_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base_image, "is_made", lambda: True)
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://127.0.0.1:1/simple")
    with pytest.raises(check.Missing, match=r"http://127.0.0.1:1/simple does not answer .*HTTPS_PROXY.*SSL_CERT_FILE"):
        check.indexes()


def test_default_index_is_that_of_the_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("UV_DEFAULT_INDEX", "PIP_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    packages = tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))["package"]
    assert {check._python_index()} == {p["source"]["registry"] for p in packages if "registry" in p["source"]}


# Ports and routes


def test_ports_are_all_named_and_only_these_are_checked() -> None:
    named = [name for name, value in vars(Ports).items() if isinstance(value, property) and name != "all"]
    ports = Ports(1000)
    assert sorted(getattr(ports, name) for name in named) == list(ports.all)


@pytest.mark.parametrize("value", ["", "24560"])
def test_first_port_is_that_of_the_environment(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("REHEARSAL_PORT", value)
    assert module._ports() == Ports(24560)


@pytest.mark.parametrize("value", ["x", "abc", "-1", "80", "65530", "24560.5", "\u0662"])
def test_rejects_a_first_port_that_is_none(value: str) -> None:
    done = preflight(REHEARSAL_PORT=value)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("rehearse.sh: REHEARSAL_PORT is not a number from 1024 to 65524")


@pytest.mark.parametrize(
    "value", ["abc", "10.250", "10.250.0.1/16", "10.250.0.0/24", "8.8.0.0/16", "fd00::/16", "10.96.0.0/16", "0.0.0.0/0"]
)
def test_rejects_a_network_that_is_none(value: str) -> None:
    done = preflight(REHEARSAL_NETWORK=value)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("rehearse.sh: REHEARSAL_NETWORK is not a private network such as 172.30.0.0/16")


def test_every_address_is_within_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REHEARSAL_NETWORK", "172.30.0.0/16")
    moved, whole = module.Settings(), ipaddress.IPv4Network("172.30.0.0/16")
    ranges = [moved.vpc_cidr, moved.load_balancer_cidr, moved.pod_cidr, moved.pods_of(1), moved.pods_of(2)]
    assert all(ipaddress.IPv4Network(each).subnet_of(whole) for each in ranges)
    assert all(ipaddress.IPv4Network(each).subnet_of(ipaddress.IPv4Network(moved.pod_cidr)) for each in ranges[3:])
    addresses = [moved.region_ip, moved.engine_ip, moved.node_ip(1), moved.node_ip(2)]
    assert len(set(addresses)) == 4
    assert all(ipaddress.IPv4Address(each) in ipaddress.IPv4Network(moved.vpc_cidr) for each in addresses)


@pytest.mark.parametrize("value", ["x", "localhost", "0.0.0.0:80", "::", "256.0.0.1"])
def test_rejects_a_console_address_that_is_none(value: str) -> None:
    done = preflight(REHEARSAL_CONSOLE=value)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("rehearse.sh: REHEARSAL_CONSOLE is not an IPv4 address such as 0.0.0.0")


class FakeSettings:
    """The rehearsal's settings with other ports."""

    def __init__(self, ports: Ports, api_port: int = settings.api_port) -> None:
        self.ports, self.api_port, self.region_ip = ports, api_port, settings.region_ip


def only(port: int) -> Callable[[str, int], bool]:
    """Return ``network._is_free`` for one port; all others are free, whatever else runs on this machine."""
    real = network._is_free
    return lambda address, tried: tried != port or real(address, tried)


@pytest.mark.parametrize("number", [0, Ports.COUNT - 1])
def test_names_the_port_that_is_taken(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setattr(network, "settings", FakeSettings(Ports(port - number)))
        monkeypatch.setattr(network, "_is_free", only(port))
        with pytest.raises(SandboxError, match=f"port {port} is taken; set REHEARSAL_PORT to the first of 12 free"):
            network.check_ports(cluster=False)
    network.check_ports(cluster=False)


@pytest.mark.skipif(sys.platform != "linux", reason="needs IP_FREEBIND")
def test_names_the_program_that_has_the_port_of_kubernetes(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("0.0.0.0", 0)) as taken:  # noqa: S104  # as a program that publishes a port does
        port = taken.getsockname()[1]
        monkeypatch.setattr(network, "settings", FakeSettings(Ports(settings.ports.base), port))
        monkeypatch.setattr(network, "_is_free", only(port))
        with pytest.raises(SandboxError, match=f"port {port} is taken on every address.*ss --listening"):
            network.check_ports()


def test_removes_only_routes_within_the_ranges_of_the_rehearsal(monkeypatch: pytest.MonkeyPatch) -> None:
    routes = [{"dst": destination} for destination in (
        "default", "0.0.0.0/1", "10.0.0.0/8", settings.pod_cidr, settings.pods_of(1), "10.250.1.7", "192.0.2.0/24",
    )]  # fmt: skip
    monkeypatch.setattr(network, "_ip_json", lambda *_: routes)
    removed: list[str] = []
    monkeypatch.setattr(network, "route", lambda _, cidr, __: removed.append(cidr))
    network.forget_gateways()
    assert removed == [settings.pods_of(1), "10.250.1.7"]


# The command


def test_check_needs_no_package_of_the_rehearsal() -> None:
    """It runs before they are installed."""
    code = "import sys, rehearsal.check; print(sorted({'httpx', 'certifi', 'yaml', 'supervisor'} & sys.modules.keys()))"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, '.'); {code}"], cwd=ROOT,
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr


def test_check_is_the_first_that_a_rehearsal_does(tmp_path: Path) -> None:
    """It says all that is missing, before a package is installed."""
    installed = tmp_path / "installed"
    (tmp_path / "python3").write_text(f"""#!/bin/sh
case "$*" in *tomllib*) exit 0 ;; "-m rehearsal.check --quiet") echo "rehearse.sh: no moon" >&2; exit 2 ;; esac
touch {installed}
""")
    (tmp_path / "apt-get").write_text(f"#!/bin/sh\ntouch {installed}\n")
    for program in ("python3", "apt-get"):
        (tmp_path / program).chmod(0o755)
    done = subprocess.run(
        [ROOT / "scripts" / "rehearse.sh", "--keep"], env=os.environ | {"PATH": f"{tmp_path}:/usr/bin:/bin"},
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "rehearse.sh: no moon\n")
    assert not installed.exists()


def test_check_takes_no_other_arguments() -> None:
    done = subprocess.run(
        [ROOT / "scripts" / "rehearse.sh", "--keep", "--check"], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stderr) == (2, "rehearse.sh: --check takes no other arguments\n")


def test_reports_every_thing_that_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def passes() -> str:
        return "all is well"

    def fails() -> str:
        raise check.Missing("no moon")

    monkeypatch.setattr(check, "CHECKS", (passes, passes, fails, passes, fails))
    monkeypatch.setattr(check, "system", passes)
    assert check.main([]) == 2
    said = capsys.readouterr()
    assert said.out.splitlines() == [f"ok  {'passes':<15} all is well"] * 3
    assert said.err.splitlines() == ["rehearse.sh: no moon"] * 2
    assert check.main(["--quiet"]) == 2
    assert capsys.readouterr().out == ""


# On this machine, in network namespaces of its own


def in_namespace(setup: str, *command: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a command after ``setup`` in a new network namespace with a loopback link."""
    script = f'set -e; ip link set lo up; {setup}\nexec "$@"'
    return subprocess.run(
        ["unshare", "--net", "bash", "-c", script, "bash", *command], cwd=ROOT, env=os.environ | env,
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


ADDRESSES = "from rehearsal import check; print(check.addresses())"


@pytest.fixture
def empty_cache(tmp_path: Path) -> dict[str, str]:
    return {"XDG_CACHE_HOME": str(tmp_path)}


@pytest.mark.rehearsal
@pytest.mark.parametrize("route", ["default", "0.0.0.0/1", "10.0.0.0/8", "10.250.0.0/16", "172.16.0.0/12"])
def test_a_wider_route_of_a_vpn_is_no_conflict(route: str, empty_cache: dict[str, str]) -> None:
    vpn = f"ip link add vpn0 type veth peer name other; ip link set vpn0 up; ip route add {route} dev vpn0"
    done = in_namespace(vpn, sys.executable, "-c", ADDRESSES, **empty_cache)
    assert done.returncode == 0, done.stderr
    assert "10.250.0.0/24" in done.stdout


@pytest.mark.rehearsal
@pytest.mark.parametrize("route", ["10.250.0.0/24", "10.250.1.64/26", "10.250.64.0/18", "10.250.99.1/32"])
def test_a_route_to_the_addresses_of_the_rehearsal_is_a_conflict(route: str, empty_cache: dict[str, str]) -> None:
    vpn = f"ip link add vpn0 type veth peer name other; ip link set vpn0 up; ip route add {route} dev vpn0"
    done = in_namespace(vpn, sys.executable, "-c", ADDRESSES, **empty_cache)
    assert done.returncode == 1
    assert (
        f"this machine has a route to {route.removesuffix('/32')} (vpn0): set REHEARSAL_NETWORK to a private network"
        in done.stderr
    )
    done = in_namespace(vpn, sys.executable, "-c", ADDRESSES, **empty_cache, REHEARSAL_NETWORK="172.30.0.0/16")
    assert (done.returncode, done.stderr) == (0, "")
    assert "172.30.0.0/24, 172.30.1.0/24, 172.30.64.0/18" in done.stdout


@pytest.mark.rehearsal
@pytest.mark.parametrize("target", ["DROP", "REJECT"])
def test_a_firewall_that_drops_connections_of_nodes_is_found(target: str, empty_cache: dict[str, str]) -> None:
    """As a firewall of a distribution does: only loopback and answers come in."""
    rules = f"""
iptables -A INPUT -i lo -j ACCEPT
iptables -A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
iptables -A INPUT -j {target}
iptables -P FORWARD DROP"""
    done = in_namespace(rules, sys.executable, "-c", ADDRESSES, **empty_cache)
    assert done.returncode == 1
    assert "firewall drops connections from the link rehearsal0" in done.stderr
    allowed = f"{rules}\niptables -I INPUT -i rehearsal0 -j ACCEPT"
    done = in_namespace(allowed, sys.executable, "-c", ADDRESSES, **empty_cache)
    assert done.returncode == 0, done.stderr


REMOVING = """
from rehearsal.sandbox import network
batch = network._batch
def meddle(*args):
    batch(*args)
    network._ip("address", "flush", "dev", network.HOST_LINK)
network._batch = meddle
"""


@pytest.mark.rehearsal
def test_a_network_manager_that_removes_the_address_is_found(empty_cache: dict[str, str]) -> None:
    """As systemd-networkd does if one of its files matches the link, such as one for all of Type=ether."""
    done = in_namespace("true", sys.executable, "-c", REMOVING + ADDRESSES, **empty_cache)
    assert done.returncode == 1
    assert "network manager took the address 10.250.0.1 from the link rehearsal0" in done.stderr
    assert "Unmanaged=yes" in done.stderr


@pytest.mark.rehearsal
def test_check_leaves_no_link_and_no_file(empty_cache: dict[str, str], tmp_path: Path) -> None:
    after = f"{ADDRESSES}; check.overlay(); check.disk(); import subprocess; subprocess.run(['ip', '-json', 'link'])"
    done = in_namespace("", sys.executable, "-u", "-c", after, **empty_cache)
    assert [link["ifname"] for link in json.loads(done.stdout.splitlines()[-1])] == ["lo"], done.stderr
    assert [file.name for file in (tmp_path / "eks-rehearsal").iterdir()] == ["lock"]


@pytest.mark.rehearsal
def test_a_cache_on_layers_is_no_place_for_layers(tmp_path: Path) -> None:
    """As a container's own file system, where no volume is mounted."""
    mount = f"mount -t tmpfs tmpfs {tmp_path}; cd {tmp_path}; mkdir -p lower upper work cache; mount -t overlay -o lowerdir=lower,upperdir=upper,workdir=work overlay cache; cd {ROOT}"
    done = subprocess.run(
        ["unshare", "--mount", "bash", "-ec", f'{mount}\nexec "$@"', "bash", sys.executable, "-c",
         "from rehearsal import check; check.overlay()"],
        cwd=ROOT, env=os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")}, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "in a container, mount a volume there (--volume rehearsal:/root/.cache)" in done.stderr


@pytest.mark.rehearsal
def test_check_passes_on_the_machine_of_these_tests() -> None:
    done = preflight()
    assert done.returncode == 0, done.stderr
    assert [line.split("  ")[1] for line in done.stdout.splitlines()] == [
        each.__name__.replace("_", " ") for each in check.CHECKS
    ]
