"""Lists what a rehearsal could leave behind on this machine. The lists before and after one must be equal."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from rehearsal import waiting
from rehearsal.sandbox import cgroups
from rehearsal.settings import settings

#: Where Kubernetes, containerd and Docker write unless they are stopped; other programs write elsewhere.
WATCHED = (
    "/etc/cni",
    "/etc/containerd",
    "/etc/docker",
    "/etc/kubernetes",
    "/opt/cni",
    "/opt/containerd",
    "/run/containerd",
    "/run/docker",
    "/run/netns",
    "/run/supervisor.sock",
    "/usr/libexec/kubernetes",
    "/var/lib/cni",
    "/var/lib/containerd",
    "/var/lib/docker",
    "/var/lib/etcd",
    "/var/lib/kubelet",
    "/var/log/containers",
    "/var/log/pods",
    "/var/run/kubernetes",
)
#: Kernel settings that Kubernetes and Docker change unless they are stopped.
SYSCTLS = (
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxbytes",
    "kernel/keys/root_maxkeys",
    "net/bridge/bridge-nf-call-iptables",
    "net/ipv4/fib_multipath_hash_policy",
    "net/ipv4/ip_forward",
    "net/ipv4/conf/all/route_localnet",
    "net/ipv4/conf/all/rp_filter",
    "net/ipv6/conf/all/forwarding",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
)

#: What a setting is as soon as the kernel loads the module that it belongs to: br_netfilter, which stays loaded.
OF_MODULES = {"net/bridge/bridge-nf-call-iptables": "1"}
SETTINGS = Path("/proc/sys")

Snapshot = Mapping[str, object]


def snapshot() -> dict[str, object]:
    """Return, for each kind of thing, the sorted list of what there is now, one line each."""
    listers: dict[str, Callable[[], Iterator[str]]] = {
        "process": _processes,
        "network namespace": lambda: _lines("ip", "netns", "list"),
        "link": _links,
        "route": lambda: _lines("ip", "route", "show", "table", "all"),
        "iptables rule": lambda: _rules("iptables-save"),
        "ip6tables rule": lambda: _rules("ip6tables-save"),
        "mount": lambda: iter(Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()),
        "cgroup": _cgroups,
        "kernel setting": _sysctls,
        "file": _files,
    }
    return {kind: sorted(set(lister())) for kind, lister in listers.items()}


def difference(before: Snapshot, after: Snapshot) -> list[str]:
    """Return a line for each thing that is in one list only, such as ``new process: 12 etcd``."""
    lines = []
    for kind in after:
        was, now = _strings(before[kind]), _strings(after[kind])
        lines += [f"new {kind}: {item}" for item in now if item not in was]
        lines += [f"missing {kind}: {item}" for item in was if item not in now]
    return lines


def _processes() -> Iterator[str]:
    """Yield the processes of a rehearsal, since all others come and go without it.

    They name RUN on their command line or in their environment, or are in one of its control groups.
    """
    run, group = str(settings.run).encode(), f"/{cgroups.NAME}".encode()
    for process in Path("/proc").glob("[0-9]*"):
        if int(process.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            command = (process / "cmdline").read_bytes()
            named = run in command or run in (process / "environ").read_bytes()
            if named or group in (process / "cgroup").read_bytes():
                yield f"{process.name} {command.replace(bytes(1), b' ').decode(errors='replace').strip()}"


def _links() -> Iterator[str]:
    """Yield each link with its settings, but without its counters."""
    done = subprocess.run(
        ["ip", "-json", "address"], capture_output=True, text=True, check=True, timeout=waiting.bound(10)
    )
    for link in json.loads(done.stdout):
        addresses = " ".join(f"{one['local']}/{one['prefixlen']}" for one in link["addr_info"])
        yield f"{link['ifindex']} {link['ifname']} {link.get('master', '')} {addresses}"


def _rules(command: str) -> Iterator[str]:
    """Yield rules without the comments and counters, which change with time and traffic."""
    for line in _lines(command):
        if not line.startswith("#"):
            yield re.sub(r"\[\d+:\d+\]", "", line).strip()


def _cgroups() -> Iterator[str]:
    """Yield the groups at the top of each hierarchy and all of the rehearsal's, and what the root of v2 enables."""
    for root in cgroups.hierarchies():
        for directory, _, _ in os.walk(root):
            if cgroups.NAME in directory or Path(directory).parent == root:
                yield directory
        control = root / "cgroup.subtree_control"
        if control.exists():
            yield f"{control}: {' '.join(sorted(control.read_text(encoding='ascii').split()))}"


def _sysctls() -> Iterator[str]:
    for name in SYSCTLS:
        file = SETTINGS / name
        value = file.read_text(encoding="ascii").strip() if file.exists() else OF_MODULES.get(name)
        if value is not None:
            yield f"{name} = {value}"


def _files() -> Iterator[str]:
    """Yield each path of ``WATCHED`` that exists, and the entries of directories."""
    for path in map(Path, WATCHED):
        if path.exists():
            yield str(path)
        if path.is_dir():
            yield from map(str, path.iterdir())


def _lines(*command: str) -> Iterator[str]:
    """Yield the lines of a command's output; where the command is missing, there is nothing for it to list."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=waiting.bound(30))
    except FileNotFoundError:
        return
    yield from (line.strip() for line in done.stdout.splitlines() if line.strip())


def _strings(value: object) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else []
