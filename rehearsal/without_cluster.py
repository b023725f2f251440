"""The part of the rehearsal that needs neither root nor Docker: AWS and GitHub as ordinary processes of this user.

The sandbox needs root. Without it there are no nodes and no Docker Engine, so the pipeline fetches its source and gets
no further. Role, stack, Lambda and webhook work as in the whole rehearsal.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator

from rehearsal import aws
from rehearsal.fronts import proxy, tls_front
from rehearsal.sandbox import lifecycle, network
from rehearsal.settings import inherited, settings

#: What a rehearsal without a cluster leaves out; shown to the learner at its end.
LEFT_OUT = (
    "the EKS cluster: scripts/create-cluster.sh and scripts/authorize-role.sh",
    "the build, the image and the deployment: the pipeline stops after its stage Source",
    "the undo of a bad commit, and the check that nothing is left on this machine",
)

#: Ends a program with the process that started it, even if that one is killed with SIGKILL. Linux only.
_BOUND = ["setpriv", "--pdeathsig", "KILL"]


@contextlib.contextmanager
def running() -> Iterator[None]:
    """Start AWS, the proxy and the TLS front; after the block, stop them and remove RUN."""
    network.check_ports(cluster=False)
    shutil.rmtree(settings.run, ignore_errors=True)
    for name in ("log", "tmp"):
        (settings.run / name).mkdir(parents=True)
    bound = _BOUND if shutil.which("setpriv") else []
    environment = inherited(lifecycle.KEPT)
    environment |= {"PATH": f"{settings.venv_bin}:{os.environ['PATH']}", "PYTHONUNBUFFERED": "1"}
    processes = []
    try:
        for program in (aws.program(), proxy.program(), tls_front.program()):
            with program.log.open("wb") as log:
                processes.append(
                    subprocess.Popen(
                        [*bound, *map(str, program.command)],
                        cwd=settings.root,
                        env={**environment, **program.environment, "PYTHONPATH": str(settings.root)},
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=subprocess.STDOUT,
                    )
                )
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait(10)
        shutil.rmtree(settings.run, ignore_errors=True)
