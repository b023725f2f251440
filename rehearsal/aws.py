"""AWS on this machine: MiniStack with IAM enforced, on loopback only, with what the rehearsal adds to it.

``python -m rehearsal.aws`` runs it. Requests by the keys ``<account id>``/``test`` are the account's root and
need no signature, which is why nothing but loopback may reach it and why the fronts refuse such keys.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module

from rehearsal import codebuild, codepipeline
from rehearsal.emulator import (
    caller_rights,
    decision_log,
    ecr,
    eks,
    generated_secrets,
    lambda_runtime,
    log_arns,
    quotas,
    s3_buckets,
)
from rehearsal.emulator.extensions import Extensions, check_version
from rehearsal.emulator.lambda_runtime import MODULES
from rehearsal.sandbox.programs import Program
from rehearsal.settings import settings

#: Parts that MiniStack has, changed or completed; each has a function ``register(extensions)``.
COMPLETED = (log_arns, caller_rights, decision_log, eks, lambda_runtime, generated_secrets, quotas, ecr, s3_buckets)
#: Services that MiniStack lacks or only records.
OWN = (codebuild, codepipeline)

#: What stays of the environment: Lambda functions inherit the rest from here, and on AWS would see none of it.
KEPT = ("HOME", "LANG", "LC_ALL", "PATH", "REHEARSAL_PORT", "TMPDIR", "TZ", "XDG_CACHE_HOME")


def environment() -> dict[str, str]:
    """The settings that MiniStack reads, and the little that is kept of this process's own environment."""
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    return kept | {
        "AUTH": "true",
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(settings.ports.aws),
        "MINISTACK_ACCOUNT_ID": settings.account,
        "MINISTACK_HOST": "127.0.0.1",
        "MINISTACK_REGION": settings.region,
        # Listeners that BIND_HOST does not hold back.
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        # Saved state would hold NoEcho parameters in clear.
        "PERSIST_STATE": "0",
        # Clusters and functions are never containers here.
        "DOCKER_HOST": "unix:///nonexistent",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "NO_PROXY": "*",
        # Read by the functions' interpreters, which are started from here.
        "PYTHONPATH": str(MODULES),
    }


def extend() -> None:
    """Put every addition into MiniStack's tables."""
    extensions = Extensions()
    for part in (*COMPLETED, *OWN):
        part.register(extensions)
    extensions.install()


def program() -> Program:
    """AWS as a program of the machine."""
    return Program("aws", [sys.executable, "-m", "rehearsal.aws"])


def main() -> None:
    """Serve AWS until told to end."""
    check_version()
    settings.run.mkdir(parents=True, exist_ok=True)
    wanted = environment()
    os.environ.clear()
    os.environ.update(wanted)  # before MiniStack is imported: it reads them then
    extend()
    sys.argv = ["ministack"]
    import_module("ministack.app").main()


if __name__ == "__main__":
    main()
