"""The namespaces that a build runs in, so that all of it ends with the build.

CodeBuild gives each build a container of its own. Here it is a mount and a PID namespace: killing its first process
kills whatever the build has started, in the background or not, and /run is the build's own, with the Docker Engine's
socket in it only if the project is privileged.

Differs from AWS: the file system is the machine's, not the build image's; the network is the machine's.
"""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

START_TIMEOUT = 5.0

#: The first process makes /run, says that it is ready by a file in it, and waits for its end.
_INIT = """mount -t tmpfs tmpfs /run
if [ -n "$0" ]; then : >/run/docker.sock; mount --bind "$0" /run/docker.sock; fi
: >/run/ready; exec sleep infinity
"""


class Container:
    """A running pair of namespaces.

    Args:
        docker: the Docker Engine's socket, for a privileged build.

    Raises:
        OSError: the namespaces cannot be made: not root, or not Linux.
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
        self._first = self._wait()

    @property
    def enter(self) -> list[str]:
        """The words that put a command into the container."""
        return ["nsenter", f"--target={self._first}", "--mount", "--pid"]

    def stop(self) -> None:
        """Kill everything in it."""
        self._process.kill()
        self._process.communicate()

    def _wait(self) -> int:
        """Return the PID of the first process once it is ready."""
        end = time.monotonic() + START_TIMEOUT
        pid = self._process.pid
        while self._process.poll() is None and time.monotonic() < end:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
            if children and Path(f"/proc/{children[0]}/root/run/ready").exists():
                return int(children[0])
            time.sleep(0.005)
        self._process.kill()
        said = self._process.communicate()[1].decode(errors="replace").strip()
        raise OSError(f"cannot make the build's namespaces: {said or 'no answer'}")
