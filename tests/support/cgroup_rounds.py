"""``python -m tests.support.cgroup_rounds kernel|kill MOMENT``: what test_cgroup_v2.py runs inside its machine.

Prints one JSON object. Uses only the standard library and the rehearsal.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

from rehearsal import waiting
from rehearsal.sandbox import cgroups, footprint, identity
from rehearsal.settings import settings

NODE = f"{cgroups.NAME}/node-1"
CREATE = "import sys; from rehearsal.sandbox import cgroups; cgroups.create(sys.argv[1])"
RUN_A_CLUSTER = """
import sys
from rehearsal import rehearse
from rehearsal.sandbox import entry, lifecycle
lifecycle.start(rehearse.programs)
for command in (["up", "--name", "x", "--version", "1.36"], ["install", "vpc-cni", "kube-proxy"], ["join"]):
    entry.run([sys.executable, "-m", "rehearsal.kubernetes", *command])
"""
#: When the front process and process 1 of the sandbox are killed.
MOMENTS: dict[str, Callable[[], bool]] = {
    "the first group exists": (cgroups.ROOT / cgroups.NAME).exists,
    "process 1 runs": lambda: identity.file().exists(),
    "the control plane is up": settings.cluster_record.exists,
    "a node's group exists": (cgroups.ROOT / NODE).exists,
    "a kubelet has made its groups": (cgroups.ROOT / NODE / "kubepods").exists,
}


def kernel() -> dict[str, object]:
    """Create and remove groups with the kernel's rules, with a process and its limits in one of them."""
    before = footprint.snapshot()["cgroup"]
    own = len(cgroups._pids(cgroups.ROOT))
    cgroups.create()
    # As in the sandbox, which does not see the processes outside of it.
    subprocess.run(["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", CREATE, NODE], check=True)
    pod = cgroups.ROOT / NODE / "pod"
    pod.mkdir()
    for file, limit in (("memory.max", "134217728"), ("cpu.max", "50000 100000"), ("pids.max", "10")):
        (pod / file).write_text(limit)
    sleeper = subprocess.Popen(["sleep", "600"])
    (pod / "cgroup.procs").write_text(str(sleeper.pid))
    found = {
        "controllers": sorted((cgroups.ROOT / NODE / "cgroup.controllers").read_text().split()),
        "limits": [(pod / file).read_text().strip() for file in ("memory.max", "cpu.max", "pids.max")],
        "seen": cgroups.processes() == {sleeper.pid},
        "moved": (cgroups.ROOT / cgroups.LEAF).exists(),
    }
    cgroups.remove()
    found["kept while a process runs"] = pod.exists()
    sleeper.kill()
    sleeper.wait()
    cgroups.remove()
    left = footprint.difference({"cgroup": before}, {"cgroup": footprint.snapshot()["cgroup"]})
    return {**found, "processes": own, "returned": len(cgroups._pids(cgroups.ROOT)) if own < 10 else own, "left": left}


def kill(moment: str) -> list[str]:
    """Kill the rehearsal at a moment, stop what is left of it, and return how the machine differs from before."""
    has_come = MOMENTS[moment]
    before = footprint.snapshot()
    front = subprocess.Popen([sys.executable, "-c", RUN_A_CLUSTER], stdout=subprocess.DEVNULL, start_new_session=True)
    waiting.until(lambda: has_come() or front.poll() is not None, 300, moment)
    assert has_come(), f"this moment did not come: {moment}"
    first = identity.recorded()
    os.killpg(front.pid, signal.SIGKILL)
    front.wait()
    if first and first.alive():
        os.kill(first.pid, signal.SIGKILL)
    subprocess.run(["scripts/rehearse.sh", "stop"], check=True, stdout=subprocess.DEVNULL)
    time.sleep(1)
    return footprint.difference(before, footprint.snapshot())


if __name__ == "__main__":
    print(json.dumps(kernel() if sys.argv[1] == "kernel" else kill(sys.argv[2])))
