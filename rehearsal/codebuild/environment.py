"""What a build's commands find in their environment, and nothing of the host's.

Follows https://docs.aws.amazon.com/codebuild/latest/userguide/build-env-ref-env-vars.html. Where a name is set more
than once, StartBuild wins over the project, and the project over the buildspec.

Differs from AWS: HOME is a directory of the build's, not /root; of the programs in CodeBuild's images there are those
that the tutorial uses, at the machine's versions; CODEBUILD_KMS_KEY_ID is not set; the variables that lead the AWS
CLI, curl, git and kubectl to this machine are the rehearsal's.
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
    """A variable's value cannot be had; the message names the variable."""


def values(buildspec: Buildspec, variables: Iterable[Json], role: Credentials) -> tuple[dict[str, str], list[str]]:
    """Return every declared variable's value, and which of these are secrets.

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
    """Return what every build finds; ``home`` is made, with the programs that its PATH begins with."""
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
        raise ValueError("there is no such parameter")
    return str(answer["Parameters"][0]["Value"])


def _secret(role: Credentials, reference: str) -> str:
    """Read ``secret-id:json-key:version-stage:version-id``, of which an ARN may be the first part."""
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
    """Link the programs that are not among the system's, or not the right ones there."""
    directory.mkdir(parents=True, exist_ok=True)
    wanted: Mapping[str, str | Path | None] = {
        "aws": settings.venv_bin / "aws" if (settings.venv_bin / "aws").exists() else shutil.which("aws"),
        "kubectl": settings.bin / "kubectl",
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
