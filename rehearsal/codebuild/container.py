"""The namespaces that a build runs in, so that everything it starts ends with it.

CodeBuild runs each build in its own container. Here the container is a mount and a PID namespace: killing its first
process kills everything that the build started, including background processes. The build has its own /run, with the
Docker Engine's socket in it only if the project is privileged.

Differs from AWS: the build uses the machine's file system, not the build image's, and the machine's network.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from rehearsal import waiting

START_TIMEOUT = 5.0
"""Seconds."""

#: The first process mounts /run, creates a file there to signal that it is ready, and sleeps until it is killed.
_INIT = """mount -t tmpfs tmpfs /run
if [ -n "$0" ]; then : >/run/docker.sock; mount --bind "$0" /run/docker.sock; fi
: >/run/ready; exec sleep infinity
"""


class Container:
    """A running pair of namespaces.

    Args:
        docker: the Docker Engine's socket for a privileged build.

    Raises:
        OSError: the namespaces cannot be created; they need root and Linux.
    """

    def __init__(self, docker: Path | None = None) -> None:
        namespaces = ["--mount", "--propagation", "private", "--pid", "--mount-proc", "--fork", "--kill-child"]
        self._process = subprocess.Popen(
            ["unshare", *namespaces, "sh", "-ec", _INIT, str(docker or "")],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self._first = self._wait_until_ready()

    @property
    def enter(self) -> list[str]:
        """The command prefix that runs a command in the container."""
        return ["nsenter", f"--target={self._first}", "--mount", "--pid"]

    def stop(self) -> None:
        """Kill everything in the container."""
        self._process.kill()
        self._process.communicate()

    def _wait_until_ready(self) -> int:
        """Return the PID of the first process once it is ready."""
        try:
            return waiting.until(self._ready, START_TIMEOUT, "the first process", pause=0.005)
        except OSError as error:  # includes TimeoutError
            self._process.kill()
            output = self._process.communicate()[1].decode(errors="replace").strip()
            raise OSError(f"cannot create the build's namespaces: {output or error}") from error

    def _ready(self) -> int:
        """Return the PID of the first process, or 0 if it is not ready yet.

        Raises:
            OSError: unshare(1) has exited.
        """
        if self._process.poll() is not None:
            raise OSError(f"unshare exited with status {self._process.returncode}")
        pid = self._process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
        if children and Path(f"/proc/{children[0]}/root/run/ready").exists():
            return int(children[0])
        return 0
