"""The part of the rehearsal that needs neither root nor Docker: AWS and GitHub as plain programs of this user.

The machine's namespaces need root. Without them there are no nodes and no Docker Engine, so the pipeline takes its source
and can go no further; role, stack, Lambda and webhook are as in the whole rehearsal.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator

from rehearsal import aws
from rehearsal.fronts import proxy, tls_front
from rehearsal.sandbox import lifecycle
from rehearsal.settings import settings

#: What a rehearsal without a cluster leaves out, told to the learner at its end.
LEFT_OUT = (
    "the EKS cluster: scripts/create-cluster.sh and scripts/authorize-role.sh",
    "the build, the image and the deployment: CodePipeline stops after its stage Source",
    "the undo of a bad commit, and the proof that the machine is as it was",
)

#: Ends a program with the process that started it, also by kill -9. Linux only; elsewhere the orderly end has to do.
_BOUND = ["setpriv", "--pdeathsig", "KILL"]


@contextlib.contextmanager
def running() -> Iterator[None]:
    """Start AWS, the proxy and the TLS front; end them, and remove RUN, with the block."""
    lifecycle.check_ports()
    shutil.rmtree(settings.run, ignore_errors=True)
    for name in ("log", "tmp"):
        (settings.run / name).mkdir(parents=True)
    bound = _BOUND if shutil.which("setpriv") else []
    environment = {name: os.environ[name] for name in lifecycle.KEPT if name in os.environ}
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
