"""The Docker Engine of CodeBuild's build environment: a real one, in its own namespaces of the sandbox.

CodeBuild's images start dockerd when the project's ``privilegedMode`` is true
(https://docs.aws.amazon.com/codebuild/latest/userguide/troubleshooting.html, "Cannot connect to the Docker daemon").
Here one engine runs as long as the sandbox, and a privileged build gets its socket. The engine reaches the network only
through the rehearsal's HTTPS proxy, which resolves the real ECR name to the stand-in; so images are pushed under their
real names.

Differs from AWS: builds share the engine and so reuse the layers of earlier builds, as with a local Docker layer cache;
the version is the one installed on this machine.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from pathlib import Path

from rehearsal import waiting
from rehearsal.docker import base_image
from rehearsal.sandbox import SandboxError, cgroups
from rehearsal.sandbox.programs import Program, last_words
from rehearsal.settings import settings

#: Debian's programs come first: dockerd starts the containerd and runc that it finds, and others may be incompatible.
SYSTEM_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
START_TIMEOUT = 30.0
LOAD_TIMEOUT = 120.0

#: Covers /etc/docker, because releases up to 20.10 write key.json there and it belongs to the host's engine. The engine
#: gets its own hosts file: it resolves the registry's name before each push and pull, and cannot reach a name server.
_START = '[ ! -d /etc/docker ] || mount -t tmpfs tmpfs /etc/docker; mount --bind "$0" /etc/hosts; exec "$@"'


def client() -> str:
    """Return the path of the docker command.

    Raises:
        SandboxError: it is not installed.
    """
    found = shutil.which("docker", path=SYSTEM_PATH) or shutil.which("docker")
    if not found:
        raise SandboxError("the Docker client is missing; install it with scripts/dev/packages.sh")
    return found


def proxy_url() -> str:
    """Return the address of the rehearsal's HTTPS proxy for the engine and its containers."""
    return f"http://{settings.region_ip}:{settings.ports.proxy}"


def program() -> Program:
    """Return dockerd as a program that keeps all its state under RUN and the sandbox's /run."""
    daemon = shutil.which("dockerd", path=SYSTEM_PATH) or shutil.which("dockerd") or "dockerd"
    options = [
        f"--data-root={settings.run / 'docker'}",
        "--exec-root=/run/docker",
        "--pidfile=/run/docker.pid",
        f"--config-file={_configuration()}",
        f"--host=unix://{settings.docker_socket}",
        # Not the host's group docker, whose members could become root by it.
        "--group=root",
        "--storage-driver=overlay2",
        f"--cgroup-parent=/{cgroups.NAME}/engine",
        "--exec-opt=native.cgroupdriver=cgroupfs",
        # Refuses at once. With the host's name server, which it cannot reach, a container's query would time out.
        f"--dns={settings.region_ip}",
    ]
    environment = {
        "PATH": SYSTEM_PATH,
        "HTTPS_PROXY": proxy_url(),
        "NO_PROXY": "127.0.0.1,localhost",
        "SSL_CERT_FILE": str(settings.ca_bundle),
    }
    enter = ["unshare", "--mount", "--propagation", "private", "sh", "-c", _START, str(_hosts())]
    return Program("docker", [*enter, daemon, *options], environment, netns="engine")


def load_base_image() -> None:
    """Wait for the engine and import the base image.

    Raises:
        SandboxError: the engine refuses the image.
        TimeoutError: the engine does not answer.
        base_image.BaseImageError: the image is not in the cache and cannot be made.
    """
    waiting.until(_answers, START_TIMEOUT, "the Docker Engine", lambda: last_words("docker"))
    archive = base_image.path() if base_image.is_made() else base_image.make(lambda _: None)
    changes = [word for change in base_image.CONFIGURATION for word in ("--change", change)]
    result = _docker("image", "import", *changes, str(archive), base_image.NAME, timeout=waiting.bound(LOAD_TIMEOUT))
    if result.returncode:
        raise SandboxError(f"the Docker Engine refused the base image: {result.stderr.strip()}")


def _answers() -> bool:
    if not settings.docker_socket.exists():
        return False
    with contextlib.suppress(subprocess.TimeoutExpired):
        return _docker("version", timeout=waiting.bound(5)).returncode == 0
    return False


def _docker(*args: str, timeout: float) -> subprocess.CompletedProcess[str]:
    command = [client(), "--host", f"unix://{settings.docker_socket}", *args]
    environment = {"PATH": SYSTEM_PATH, "HOME": str(settings.run)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout, check=False)


def _configuration() -> Path:
    """Write an empty configuration file, so that dockerd does not read the host's."""
    return _file("docker.json", "{}\n")


def _hosts() -> Path:
    """Write a hosts file with the registry off loopback, because Docker does not require TLS on loopback."""
    return _file("docker.hosts", f"127.0.0.1 localhost\n{settings.region_ip} {settings.registry}\n")


def _file(name: str, content: str) -> Path:
    path = settings.run / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    return path
