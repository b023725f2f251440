"""Runs the emulator's Lambda functions as a user without rights, who sees Python and the function's code.

On AWS a function runs in a virtual machine of its own. Here it is a process of this machine, and root would own all of
it. So the process gets a mount namespace (mount_namespaces(7)) in which directories that only root may enter, /run with
its sockets, and /tmp are empty, except for what the function needs. Then it becomes another user, without capabilities.

Differs from AWS: the function sees the machine's processes, other directories and network.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

USER = 65534
TMP = Path("/tmp")  # noqa: S108 - the function's own

#: Arguments: the function's directory, what to cover, ``--``, what to keep, ``--``, the command.
_ENTER = r"""
cd /; directory=$1; shift
mount -t tmpfs -o mode=755 tmpfs /run
covered=(); while [ "$1" != -- ]; do covered+=("$1"); shift; done; shift
kept=(); while [ "$1" != -- ]; do kept+=("$1"); shift; done; shift
for n in "${!kept[@]}"; do mkdir "/run/$n"; mount --bind "${kept[n]}" "/run/$n"; done
for path in "${covered[@]}"; do mount -t tmpfs -o mode=1777 tmpfs "$path"; done
for n in "${!kept[@]}"; do mkdir -p "${kept[n]}"; mount --move "/run/$n" "${kept[n]}"; rmdir "/run/$n"; done
cd "$directory"
"""
_BECOME = (
    f'exec setpriv --reuid={USER} --regid={USER} --clear-groups --no-new-privs --inh-caps=-all --bounding-set=-all "$@"'
)


class Unprivileged:
    """The module subprocess as the emulator uses it, but what it starts has no rights; ``needed`` are directories."""

    def __init__(self, needed: Iterable[Path]) -> None:
        self._needed = tuple(needed)

    def __getattr__(self, name: str) -> Any:
        """Return what is as in the module."""
        return getattr(subprocess, name)

    def Popen(self, command: Sequence[str], **options: Any) -> subprocess.Popen[Any]:  # noqa: N802 - the module's name
        """Start a function whose code is in the directory ``cwd``, next to other files of it."""
        return subprocess.Popen(self._entering(command, Path(options["cwd"])), **options)

    def run(self, command: Sequence[str], **options: Any) -> subprocess.CompletedProcess[Any]:
        """Run such a function to its end."""
        return subprocess.run(self._entering(command, Path(options["cwd"])), check=False, **options)

    def _entering(self, command: Sequence[str], code: Path) -> list[str]:
        code.parent.chmod(0o755)
        kept = [path for path in (*self._needed, code.parent) if closed(path)]
        covered = {TMP} | {found for path in kept if (found := closed(path)) and TMP not in found.parents}
        words = [str(code), *map(str, sorted(covered)), "--", *map(str, kept), "--", *command]
        return ["unshare", "--mount", "--propagation", "private", "bash", "-euc", _ENTER + _BECOME, "function", *words]


def closed(path: Path) -> Path | None:
    """Return the outermost directory on the way to a path that only its owner may enter, or /tmp; None without one."""
    for directory in reversed(path.parents):
        if directory == TMP or not directory.stat().st_mode & 0o001:
            return directory
    return None


def is_possible() -> bool:
    """Whether this process may create a mount namespace, which takes root, and in a container ``--privileged``."""
    if os.geteuid() != 0:
        return False
    tried = subprocess.run(["unshare", "--mount", "--propagation", "private", "true"], capture_output=True, check=False)
    return tried.returncode == 0
