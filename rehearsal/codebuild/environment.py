"""Builds the environment of a build's commands; nothing of the host's environment is in it.

Follows https://docs.aws.amazon.com/codebuild/latest/userguide/build-env-ref-env-vars.html. If a variable is
set more than once, StartBuild takes precedence over the project, and the project over the buildspec.

Differs from AWS: HOME is a directory of the build, not /root; of the programs in CodeBuild's images, only those that
the tutorial uses are installed, in the machine's versions; CODEBUILD_KMS_KEY_ID is not set; the rehearsal adds the
variables that direct the AWS CLI, curl, git and kubectl to this machine.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from rehearsal.codebuild.buildspec import Buildspec
from rehearsal.docker import engine
from rehearsal.emulator.service_role import Credentials
from rehearsal.settings import settings

Json = dict[str, Any]


class VariableError(Exception):
    """A variable's value cannot be read; the message names the variable."""


def values(buildspec: Buildspec, variables: Iterable[Json], role: Credentials) -> tuple[dict[str, str], list[str]]:
    """Return the value of every declared variable, and a list of those values that are secret.

    Raises:
        VariableError: a parameter or secret does not exist, or the service role may not read it.
    """
    sources = {name: ("PLAINTEXT", value) for name, value in buildspec.variables.items()}
    sources |= {name: ("PARAMETER_STORE", value) for name, value in buildspec.parameters.items()}
    sources |= {name: ("SECRETS_MANAGER", value) for name, value in buildspec.secrets.items()}
    sources |= {one["name"]: (one["type"], one["value"]) for one in variables}
    found: dict[str, str] = {}
    secrets: list[str] = []
    for name, (kind, value) in sources.items():
        if kind == "PLAINTEXT":
            found[name] = value
            continue
        try:
            found[name] = _parameter(role, value) if kind == "PARAMETER_STORE" else _secret(role, value)
        except (BotoCoreError, ClientError, KeyError, ValueError) as error:
            raise VariableError(f"{name} ({kind} {value}): {error}") from error
        secrets.append(found[name])
    return found, secrets


def base(home: Path, *, privileged: bool) -> dict[str, str]:
    """Return the variables that every build has; create ``home`` with the programs that come first in its PATH."""
    programs = _programs(home / "bin")
    (home / "tmp").mkdir(parents=True, exist_ok=True)
    if privileged:
        _docker_configuration(home / ".docker")
    return settings.client_environment() | {
        "HOME": str(home),
        "TMPDIR": str(home / "tmp"),
        "PATH": f"{programs}:{engine.SYSTEM_PATH}",
        "LANG": "C.UTF-8",
    }


def _parameter(role: Credentials, name: str) -> str:
    answer = role.client("ssm").get_parameters(Names=[name], WithDecryption=True)
    if not answer["Parameters"]:
        raise ValueError("parameter not found")
    return str(answer["Parameters"][0]["Value"])


def _secret(role: Credentials, reference: str) -> str:
    """Read ``secret-id:json-key:version-stage:version-id``; ``secret-id`` may be an ARN."""
    parts = reference.split(":")
    width = 7 if reference.startswith("arn:") else 1
    identifier, (key, stage, version) = ":".join(parts[:width]), (parts[width:] + [""] * 3)[:3]
    wanted = {"VersionStage": stage, "VersionId": version}
    answer = role.client("secretsmanager").get_secret_value(
        SecretId=identifier, **{name: value for name, value in wanted.items() if value}
    )
    text: str = answer["SecretString"]
    return str(json.loads(text)[key]) if key else text


def _programs(directory: Path) -> Path:
    """Link the programs that the system lacks or has in another version."""
    directory.mkdir(parents=True, exist_ok=True)
    wanted: Mapping[str, str | Path | None] = {
        "aws": settings.venv_bin / "aws" if (settings.venv_bin / "aws").exists() else shutil.which("aws"),
        "kubectl": settings.bin / "kubectl",
        "aws-iam-authenticator": settings.bin / "aws-iam-authenticator",
        "docker": shutil.which("docker", path=engine.SYSTEM_PATH) or shutil.which("docker"),
        "python": os.path.realpath(sys.executable),
        "python3": os.path.realpath(sys.executable),
    }
    for name, target in wanted.items():
        if target and Path(target).exists():
            (directory / name).unlink(missing_ok=True)
            (directory / name).symlink_to(target)
    return directory


def _docker_configuration(directory: Path) -> None:
    """Let RUN steps of an image build reach package registries through the rehearsal's proxy."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    proxies = {"default": {"httpsProxy": engine.proxy_url(), "noProxy": "127.0.0.1,localhost"}}
    (directory / "config.json").write_text(json.dumps({"proxies": proxies}), encoding="utf-8")
