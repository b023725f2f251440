"""A Docker Engine as a learner has one, for tests that run the repository in a container.

It is in mount, network and PID namespaces of its own, so that this machine's rules, links and Docker do not change;
slirp4netns(1) connects it to the network. Images and volumes are kept in the rehearsal's cache. Images of Debian are
made with debootstrap(8) under the names of the official ones, because the tests pull nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rehearsal.docker import base_image
from rehearsal.docker.engine import client
from rehearsal.sandbox import cgroups
from rehearsal.sandbox.authorities import machine_bundle
from rehearsal.settings import settings
from rehearsal.waiting import until
from tests.support.paths import ROOT

#: Kept from one run of the tests to the next.
DATA = settings.cache / "test-engine"
GROUP = "docker-of-the-tests"
#: Where a container gets this machine's certificate authorities, with that of a company's proxy. The package
#: ca-certificates cannot replace a mounted file, so it is not where the package has its own.
AUTHORITIES = "/etc/ssl/machine.crt"
#: Where packages come from, by the name of the image; the official images of Ubuntu have universe, too.
MIRRORS = {
    "debian": base_image.MIRROR,
    "ubuntu": os.environ.get("UBUNTU_MIRROR", "http://archive.ubuntu.com/ubuntu"),
}
COMPONENTS = {"debian": "main", "ubuntu": "main,universe"}
#: The script of debootstrap for releases that are newer than it.
NEWEST = {"debian": "sid", "ubuntu": "gutsy"}
#: slirp4netns's name server.
RESOLVER = "10.0.2.3"

#: dockerd would write to /run and /etc/docker, and gives containers the name server of /etc/resolv.conf.
_START = f"""set -e
mount -t tmpfs tmpfs /run
[ ! -d /etc/docker ] || mount -t tmpfs tmpfs /etc/docker
echo nameserver {RESOLVER} >/run/resolv.conf
mount --bind /run/resolv.conf "$(readlink -f /etc/resolv.conf || echo /etc/resolv.conf)"
ip link set lo up
i=0
until ip -4 -brief address show dev tap0 2>/dev/null | grep -q /; do i=$((i + 1)); [ $i -lt 200 ]; sleep 0.1; done
exec dockerd "$@"
"""


@dataclass(frozen=True)
class Engine:
    """A running engine; ``first`` is the process whose network namespace it has."""

    socket: Path
    first: int

    def docker(
        self, *args: str | Path, timeout: float = 120, check: bool = True, **options: object
    ) -> subprocess.CompletedProcess[str]:
        """Run the Docker client; standard output and error are one text."""
        done = subprocess.run(
            [client(), *map(str, args)], env=self.environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, errors="replace", timeout=timeout, check=False, **options,  # type: ignore[call-overload]
        )  # fmt: skip
        assert not (check and done.returncode), done.stdout
        return done

    def environment(self) -> dict[str, str]:
        """Return this process's environment with this engine as Docker's."""
        return os.environ | {"DOCKER_HOST": f"unix://{self.socket}"}

    def outside(self) -> list[str]:
        """Return the words to put before a command that runs where this engine publishes ports."""
        return ["nsenter", f"--net=/proc/{self.first}/ns/net"]

    def pull(self, image: str, suite: str) -> str:
        """Make an official image of Debian's or Ubuntu's ``suite``, unless it is kept; return its name."""
        if not self.docker("image", "ls", "--quiet", image).stdout.strip():
            with tempfile.TemporaryDirectory(dir=settings.cache, prefix="test-engine-root-") as work:
                # A release that this machine's debootstrap does not know is made as a newer or older one.
                known = Path("/usr/share/debootstrap/scripts", suite).exists()
                distribution = image.partition(":")[0]
                script = [] if known else [f"/usr/share/debootstrap/scripts/{NEWEST[distribution]}"]
                options = ["--variant=minbase", f"--components={COMPONENTS[distribution]}"]
                _in_namespaces("debootstrap", *options, suite, f"{work}/root", MIRRORS[distribution], *script)
                archive = f"{work}/root.tar"
                _in_namespaces(
                    "tar", "--create", "--numeric-owner", f"--file={archive}", f"--directory={work}/root", "."
                )
                self.docker("import", "--change", 'CMD ["bash"]', archive, image)
        return image

    def fill(self, volume: str) -> None:
        """Put the programs and the base image that this machine has built into a volume, as hard links."""
        self.docker("volume", "create", volume)
        target = DATA / "volumes" / volume / "_data" / "eks-rehearsal"
        target.mkdir(parents=True, exist_ok=True)
        for source in (settings.bin, base_image.path()):
            if source.exists() and not (target / source.name).exists():
                subprocess.run(["cp", "--archive", "--link", source, target], check=True, timeout=60)


def of_the_machine() -> list[str]:
    """Return options of ``docker run`` with the certificate authorities that this machine trusts."""
    names = ("SSL_CERT_FILE", "PIP_CERT")
    return [f"--volume={machine_bundle()}:{AUTHORITIES}:ro", *(f"--env={name}={AUTHORITIES}" for name in names)]


@contextlib.contextmanager
def running() -> Iterator[Engine]:
    """Start an engine; after the block, end it with all its containers."""
    DATA.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="engine-") as work:
        configuration = Path(work, "daemon.json")
        runtime = {"path": str(ROOT / "tests" / "support" / "runc.py")}
        configuration.write_text(
            json.dumps({"runtimes": {"here": runtime}, "default-runtime": "here"}), encoding="utf-8"
        )
        socket = Path(work, "docker.sock")
        options = [
            f"--data-root={DATA}",
            "--exec-root=/run/docker",
            "--pidfile=/run/docker.pid",
            f"--host=unix://{socket}",
        ]
        options += [
            f"--config-file={configuration}",
            f"--cgroup-parent=/{GROUP}",
            "--exec-opt=native.cgroupdriver=cgroupfs",
        ]
        options.append("--storage-driver=overlay2")
        namespaces = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
        with Path(work, "log").open("w+", encoding="utf-8") as log:
            first = subprocess.Popen([*namespaces, "sh", "-c", _START, "sh", *options], stdout=log, stderr=log)
            net = Path(f"/proc/{first.pid}/ns/net")
            until(lambda: net.readlink() != Path("/proc/self/ns/net").readlink(), 10, "a network namespace")
            slirp = ["slirp4netns", "--configure", "--mtu=65520", "--disable-host-loopback", "--netns-type=path"]
            network = subprocess.Popen([*slirp, str(net), "tap0"], stdout=log, stderr=log)
            engine = Engine(socket, first.pid)
            try:
                ready = lambda: socket.exists() and engine.docker("version", check=False).returncode == 0  # noqa: E731
                until(ready, 60, "a Docker Engine", lambda: Path(work, "log").read_text(errors="replace")[-2000:])
                yield engine
            finally:
                for process in (first, network):
                    process.kill()
                    process.wait(30)
                _remove_groups()


def _remove_groups() -> None:
    """Remove the control groups of containers that were killed with their engine."""

    def empty() -> bool:
        cgroups.remove(GROUP)
        return not any((root / GROUP).exists() for root in cgroups.hierarchies())

    until(empty, 30, f"the control groups {GROUP}")


def _in_namespaces(*command: str) -> None:
    """Run a command whose mounts and processes end with it."""
    enter = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
    done = subprocess.run(
        [*enter, *command], capture_output=True, text=True, errors="replace", timeout=900, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


def copy_of_repository(target: Path) -> Path:
    """Copy the files that git tracks or would, owned by another user, as in a checkout that a container mounts."""
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True, timeout=30,
    ).stdout.split("\0")  # fmt: skip
    for name in filter(lambda name: name and (ROOT / name).is_file(), names):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target / name)
    git = ["git", "-C", str(target), "-c", "user.name=test", "-c", "user.email=test@example.com"]
    for command in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message", "Copy"]):
        subprocess.run([*git, *command], check=True, timeout=60)
    subprocess.run(["chown", "--recursive", "1000:1000", target], check=True, timeout=60)
    return target
