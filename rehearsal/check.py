"""``scripts/rehearse.sh --check``: whether this machine can rehearse, in about a second and before anything is installed.

Each check returns what it found, or raises with what is missing and the nearest way to have it. It imports only the
standard library, because it runs before the packages of the rehearsal are installed.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import ssl
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rehearsal import waiting
from rehearsal.docker import base_image
from rehearsal.kubernetes import build, official
from rehearsal.sandbox import SandboxError, cgroups, identity, locks, network
from rehearsal.sandbox.authorities import machine_bundle
from rehearsal.settings import settings

#: Bytes of memory. The programs of a rehearsal in a container had 1.1 GB near its end, and with cached files 3.2.
MEMORY_NEEDED = 2_500_000_000
#: Bytes of disk that a rehearsal takes when its programs are built: images, layers and logs.
DISK_NEEDED = 2_000_000_000
#: Bytes that the path of a socket can have (unix(7)).
LONGEST_SOCKET = 107

MACHINE = (
    "use a machine with Debian 12 or later or Ubuntu 24.04 or later as root, or the container of docs/environments.md"
)
PRIVILEGED = "if this is a container, run it with --privileged"
#: Seconds for an answer of a package index.
PATIENCE = 5.0

#: What kube-proxy, Docker and the nodes' own rules use of netfilter.
RULES = """*nat
-A PREROUTING -p tcp -m comment --comment x -m addrtype --dst-type LOCAL -j DNAT --to-destination 192.0.2.1:80
-A POSTROUTING -m mark --mark 0x4000/0x4000 -j MASQUERADE --random-fully
-A OUTPUT -m statistic --mode random --probability 0.5 -j MARK --or-mark 0x4000
COMMIT
*filter
-A FORWARD -m conntrack --ctstate INVALID -j DROP
-A FORWARD -p udp -j REJECT
COMMIT
"""


class Missing(Exception):
    """This machine lacks something; the message is one line with the remedy."""


def system() -> str:
    """Check that the caller is root on Linux, with the namespaces of the sandbox."""
    if sys.platform != "linux" or os.geteuid() != 0:
        raise Missing(f"the cluster needs root on Linux: {MACHINE}, or pass --without-cluster")
    said = _try("unshare", "--mount", "--pid", "--net", "--fork", "mount", "-t", "tmpfs", "tmpfs", "/mnt")
    if said is not None:
        raise Missing(f"no namespaces can be made ({said}): {PRIVILEGED}")
    return f"root, with namespaces, on Linux {os.uname().release}"


def disk() -> str:
    """Check that the cache has space for a rehearsal, and for the build if it is to come."""
    needed = DISK_NEEDED
    if not build.is_built():  # what a compilation takes beyond a download is checked when it is known to be needed
        needed += build.SPACE_NEEDED if settings.compiles else official.SPACE_NEEDED
    with _directory() as directory:
        free = shutil.disk_usage(directory).free
    if free < needed:
        raise Missing(
            f"{free / 1e9:.1f} GB are free in {settings.cache}, and a rehearsal takes {needed / 1e9:.1f}: make room, "
            "or set XDG_CACHE_HOME to a directory on another disk"
        )
    return f"{free / 1e9:.0f} GB free in {settings.cache}; {needed / 1e9:.1f} are needed"


def sockets() -> str:
    """Check that the path of the Docker Engine's socket in the cache is short enough."""
    too_many = len(os.fsencode(settings.docker_socket)) - LONGEST_SOCKET
    if too_many > 0:
        raise Missing(
            f"{settings.cache} is {too_many} bytes too long for the path of a socket in it: set XDG_CACHE_HOME to a "
            "directory with a shorter path"
        )
    return f"their paths in {settings.run} are short enough"


def memory() -> str:
    """Check that enough memory is available, on this machine and in this container."""
    found = {"this machine": _meminfo("MemAvailable")}
    for name in ("memory/memory.limit_in_bytes", "memory.max"):
        with contextlib.suppress(OSError, ValueError):  # the file is missing, or says "max"
            found["this container"] = int((cgroups.ROOT / name).read_text(encoding="ascii"))
    where, least = min(found.items(), key=lambda item: item[1])
    if least < MEMORY_NEEDED:
        raise Missing(
            f"{where} has {least / 1e9:.1f} GB of memory available, and a rehearsal takes {MEMORY_NEEDED / 1e9:.1f}: "
            "end other programs, or give it more"
        )
    return f"{least / 1e9:.1f} GB available; {MEMORY_NEEDED / 1e9:.1f} are needed"


def control_groups() -> str:
    """Check that the controllers exist and that groups can be made."""
    try:
        version = 2 if cgroups.is_v2() else 1
        found = cgroups.controllers()
    except OSError:
        version, found = 2, set()
    missing = sorted(cgroups.NEEDED[version] - found)
    if missing:
        raise Missing(
            f"{cgroups.ROOT} has no controllers {', '.join(missing)} of cgroup v{version}: {PRIVILEGED}; else mount them, "
            "or delegate them to this shell (systemd: Delegate=yes)"
        )
    some = cgroups.ROOT if version == 2 else cgroups.ROOT / "memory"
    if not os.access(some, os.W_OK):
        raise Missing(f"{some} is read-only: {PRIVILEGED}")
    return f"v{version}: {', '.join(sorted(found))}"


def overlay() -> str:
    """Check that layers of images can be mounted over the cache directory (overlayfs)."""
    with _directory() as directory:
        parts = [Path(directory, name) for name in ("lower", "upper", "work", "merged")]
        for part in parts:
            part.mkdir()
        options = "lowerdir={},upperdir={},workdir={}".format(*parts)
        said = _try("unshare", "--mount", "mount", "-t", "overlay", "-o", options, "overlay", str(parts[3]))
    if said is not None:
        raise Missing(
            f"no layers can be mounted over {settings.cache} ({said}): in a container, mount a volume there "
            "(--volume rehearsal:/root/.cache); on a machine, run modprobe overlay"
        )
    return f"layers over {settings.cache}"


def rules() -> str:
    """Check that a network namespace can have a bridge and the rules of kube-proxy."""
    if not (shutil.which("iptables-restore") and shutil.which("ip")):
        return "not checked yet: scripts/dev/packages.sh installs iptables and iproute2"
    bridge = "ip link add vpc type bridge && exec iptables-restore --wait"
    said = _try("unshare", "--net", "sh", "-c", bridge, given=RULES)
    if said is not None:
        raise Missing(
            f"a network namespace cannot have a bridge and the rules of kube-proxy ({said}): on the machine, or on "
            "the host of this container, run modprobe --all bridge br_netfilter nf_conntrack xt_conntrack xt_MASQUERADE"
        )
    return "a bridge, and the rules of kube-proxy"


def addresses() -> str:
    """Check that ports and addresses are free, and that the nodes can reach this host through its firewall."""
    if not shutil.which("ip"):
        network.check_ports()
        return "routes and firewall are not checked yet: scripts/dev/packages.sh installs iproute2"
    if identity.running():
        return "a rehearsal of this cache directory uses them"
    with locks.hold(settings.cache / "lock"):  # a rehearsal that starts now would find the link of the trial
        network.check_free()
        network.check_ports()
        network.check_passage()
    first, last = settings.ports.all[0], settings.ports.all[-1]
    return f"ports {first} to {last} and {settings.api_port}, {settings.vpc_cidr}, {', '.join(network.ROUTED)}"


def indexes() -> str:
    """Check that the package indexes answer, through the proxy that the environment names."""
    needed = {"Python packages (PIP_INDEX_URL, UV_DEFAULT_INDEX)": _python_index()}
    if not _base_image_is_made():
        needed["Debian packages (DEBIAN_MIRROR)"] = f"{base_image.MIRROR}/dists/{base_image.SUITE}/Release"
    with ThreadPoolExecutor() as pool:
        for name, said in zip(needed, pool.map(_ask, needed.values()), strict=True):
            if said:
                raise Missing(
                    f"{needed[name]} does not answer ({said}); it has the {name}: connect this machine; behind a proxy set "
                    "HTTPS_PROXY and http_proxy, and SSL_CERT_FILE if it has its own certificate authority"
                )
    return ", ".join(f"the index of {name.partition(' (')[0]} answers" for name in needed)


#: In the order of their report. Those before ``addresses`` change nothing outside namespaces of their own.
CHECKS: tuple[Callable[[], str], ...] = (
    system,
    disk,
    sockets,
    memory,
    control_groups,
    overlay,
    rules,
    addresses,
    indexes,
)


def findings() -> Iterator[tuple[str, bool, str]]:
    """Yield each check's name, whether it passed, and what it says; stop after ``system`` if that fails."""
    with ThreadPoolExecutor(len(CHECKS)) as pool:
        passed, said = _outcome(system)
        yield _name(system), passed, said
        if passed:
            for check, outcome in zip(CHECKS[1:], pool.map(_outcome, CHECKS[1:]), strict=True):
                yield _name(check), *outcome


def main(arguments: list[str]) -> int:
    """Print all findings, or with ``--quiet`` only what is missing; return 2 if something is, else 0."""
    quiet = "--quiet" in arguments
    code = 0
    for name, passed, said in findings():
        if not passed:
            code = 2
            print(f"rehearse.sh: {said}", file=sys.stderr)
        elif not quiet:
            print(f"ok  {name:<15} {said}")
    return code


def _name(check: Callable[[], str]) -> str:
    return check.__name__.replace("_", " ")


def _outcome(check: Callable[[], str]) -> tuple[bool, str]:
    try:
        return True, check()
    except (Missing, SandboxError, OSError, ValueError) as error:
        return False, str(error)


def _try(*command: str, given: str = "") -> str | None:
    """Run a command; return None if it succeeded, else the last line that it said."""
    try:
        done = subprocess.run(
            command,
            input=given,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=waiting.bound(10),
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return (done.stdout.strip().splitlines() or [f"exit code {done.returncode}"])[-1] if done.returncode else None


@contextlib.contextmanager
def _directory() -> Iterator[str]:
    """Make a directory in the cache for a trial, and remove it."""
    settings.cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=settings.cache, prefix="check-") as directory:
        yield directory


def _meminfo(name: str) -> int:
    """Return a value of /proc/meminfo in bytes."""
    text = Path("/proc/meminfo").read_text(encoding="ascii")
    return 1024 * int(re.findall(rf"^{name}:\s+(\d+) kB$", text, re.MULTILINE)[0])


def _base_image_is_made() -> bool:
    try:
        return base_image.is_made()
    except ImportError:  # the machine has no certificate authorities yet, of which the image gets a copy
        return False


def _python_index() -> str:
    """Return the index that pip and uv are to use, by default the one that uv.lock names."""
    for name in ("UV_DEFAULT_INDEX", "PIP_INDEX_URL"):
        if os.environ.get(name):
            return os.environ[name]
    # Its sources are lines such as ``source = { registry = "https://…" }``; parsing all of it takes half of the check.
    lock = (settings.root / "uv.lock").read_text(encoding="utf-8")
    return str(re.findall(r'^source = { registry = "(.+?)" }$', lock, re.MULTILINE)[0])


def _ask(url: str) -> str | None:
    """Return None if a server answers, with whatever status, else why not."""
    try:
        context = ssl.create_default_context(cafile=str(machine_bundle()))
        request = urllib.request.Request(url, method="HEAD")  # noqa: S310  # the user's own setting, or uv.lock's
        with urllib.request.urlopen(request, timeout=waiting.bound(PATIENCE), context=context):  # noqa: S310
            return None
    except urllib.error.HTTPError:
        return None
    except (OSError, ValueError, ImportError) as error:
        return str(getattr(error, "reason", error))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
