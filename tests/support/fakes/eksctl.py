#!/usr/bin/env python3
"""The rehearsal's stand-in for eksctl without Kubernetes: the emulator has the cluster's roles and its record, but the
cluster itself is only a state file (kubectl.py).

INTERRUPT=up or INTERRUPT=down kills the script while this program runs.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import yaml

from rehearsal.kubernetes import eksctl
from tests.support.fakes.kubectl import STATE, load, save

#: Where the emulator's EKS looks for an ACTIVE cluster (rehearsal/emulator/eks.py).
RECORD = Path(os.environ["CLUSTER_RECORD"])


def inside(verb: str, *_: str) -> None:
    """Record that the nodes exist, or that everything is deleted."""
    if os.environ.get("INTERRUPT") == verb:
        os.kill(0, signal.SIGKILL)
    if verb == "down":
        RECORD.unlink(missing_ok=True)
        STATE.unlink(missing_ok=True)
        return
    RECORD.parent.mkdir(parents=True, exist_ok=True)
    authority = RECORD.with_name("ca.crt")
    authority.write_text("a certificate")
    RECORD.write_text(json.dumps({"endpoint": "https://192.0.2.1", "certificate_authority": str(authority)}))
    save(load(), nodes=["node-1", "node-2"])


def seed(role: str) -> None:
    """Record aws-auth as EKS creates it."""
    save(load(), roles=yaml.safe_dump([{"rolearn": role}]))


if __name__ == "__main__":
    eksctl._inside, eksctl._seed_aws_auth = inside, seed
    sys.exit(eksctl.main())
