"""What is made once and kept in the cache. ``python -m rehearsal.once NAME`` makes one part, if it is missing.

Each part is made by a process of its own, so that several can be made at the same time and each can be stopped. Such a
process is the first of a PID namespace: the kernel ends all that it started with it, even after ``kill -9``.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from rehearsal.docker import base_image
from rehearsal.kubernetes import build
from rehearsal.progress import Progress
from rehearsal.settings import settings

#: Ends with the process that started it. unshare(1) ignores SIGTERM, but passes SIGKILL on to the namespace.
_BOUND = ("setpriv", "--pdeathsig", "KILL", "unshare", "--pid", "--fork", "--kill-child")


@dataclass(frozen=True)
class Part:
    """Something that is made once; ``make`` is called with a function that shows its progress."""

    name: str
    title: str
    is_made: Callable[[], bool]
    make: Callable[[Callable[[str], None]], object]
    #: Seconds, far above what the slowest machine needs.
    timeout: float

    def ensure(self, progress: Progress) -> None:
        """Make the part as a step of its own, if it is missing.

        Raises:
            StepFailed: it could not be made.
        """
        if not self.is_made():
            command = [*_BOUND, sys.executable, "-m", "rehearsal.once", self.name]
            progress.command(self.title, command, env=os.environ, cwd=settings.root, timeout=self.timeout)


KUBERNETES = Part(
    "kubernetes",
    f"Get the programs of Kubernetes {settings.kubernetes_version} (once)",
    build.is_built,
    build.build,
    2 * 3600,
)
BASE_IMAGE = Part("base-image", "Make the base image (once)", base_image.is_made, base_image.make, 1800)


def main() -> int:
    """Make the part that the command line names; return 0, or 1 after an error whose message is the last line."""
    part = {part.name: part for part in (KUBERNETES, BASE_IMAGE)}[sys.argv[1]]
    shown = 0.0

    def show(message: str) -> None:
        nonlocal shown
        if time.monotonic() - shown > 1 or message.startswith("= "):
            shown = time.monotonic()
            print(message, flush=True)

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        part.make(show)
    except (build.BuildError, base_image.BaseImageError) as error:
        print(*getattr(error, "excerpt", []), error, sep="\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
