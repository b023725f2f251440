"""AWS on this machine: MiniStack with IAM enforced, and the services that the rehearsal adds to it.

``python -m rehearsal.aws`` runs it, on loopback. Every request needs a signature that verifies (emulator/gate.py); no
well-known key has any rights. The keys of the account's root are new in each run (secret.py).
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from rehearsal import codebuild, codepipeline
from rehearsal.emulator import (
    budgets,
    caller_rights,
    checked_arns,
    decision_log,
    ecr,
    eks,
    eks_addons,
    generated_secrets,
    lambda_runtime,
    ministack,
    quotas,
    refusals,
    s3_buckets,
    service_reference,
)
from rehearsal.emulator.extensions import Extensions
from rehearsal.kubernetes import managed
from rehearsal.sandbox.programs import Program

Register = Callable[[Extensions], None]

#: What changes or completes services that MiniStack has.
CORRECTIONS: tuple[Register, ...] = (
    budgets.register,
    caller_rights.register,
    checked_arns.register,
    decision_log.register,
    ecr.register,
    eks.register,
    eks_addons.register,
    generated_secrets.register,
    lambda_runtime.register,
    quotas.register,
    refusals.register,
    s3_buckets.register,
    service_reference.register,
)

#: Services that MiniStack lacks, or keeps records of without running anything.
SERVICES: tuple[Register, ...] = (codebuild.register, codepipeline.register, managed.register)


def extensions(*parts: Register) -> Extensions:
    """Return what the parts add to MiniStack."""
    collected = Extensions()
    for register in parts:
        register(collected)
    return collected


def program() -> Program:
    """Return AWS as a program of the sandbox."""
    return Program("aws", [sys.executable, "-m", "rehearsal.aws"])


if __name__ == "__main__":
    ministack.serve(extensions(*CORRECTIONS, *SERVICES))
