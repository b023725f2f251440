"""The phases that CodeBuild runs itself, before and after those of the buildspec.

Follows https://docs.aws.amazon.com/codebuild/latest/userguide/view-build-details-phases.html (PROVISIONING,
DOWNLOAD_SOURCE, UPLOAD_ARTIFACTS, FINALIZING). All calls to AWS use the service role's credentials.

Differs from AWS: output artifacts are not encrypted with the key of the project, which is S3's in the account by default
(https://docs.aws.amazon.com/codebuild/latest/userguide/setting-up-kms.html).
"""

from __future__ import annotations

import shutil
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError

from rehearsal.codebuild import artifacts, credentials, environment
from rehearsal.codebuild.buildspec import Artifact, Buildspec, BuildspecError, parse
from rehearsal.codebuild.model import Build
from rehearsal.emulator import service_role


class PhaseFailed(Exception):
    """A phase failed; ``code`` and the message become its context."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def provision(build: Build) -> service_role.Credentials:
    """Assume the service role and open the log stream.

    Raises:
        PhaseFailed: the role does not trust CodeBuild or may not write the log.
    """
    arn, role_arn = build.record["arn"], build.project["serviceRole"]
    session = f"AWSCodeBuild-{build.directory.name}"
    try:
        role = service_role.assume(role_arn, "codebuild.amazonaws.com", build.project["arn"], session)
    except service_role.RoleRefused as error:
        raise PhaseFailed("ACCESS_DENIED", f"CodeBuild cannot assume the service role: {error}") from error
    where = build.record["logs"]
    if where.get("groupName"):
        try:
            build.log.send_to(role.client("logs"), where["groupName"], where["streamName"])
        except (ClientError, BotoCoreError) as error:
            message = (
                f"Service role {role_arn} does not allow AWS CodeBuild to create Amazon CloudWatch Logs log streams "
                f"for build {arn}. Error message: {error}"
            )
            raise PhaseFailed("ACCESS_DENIED", message) from error
    return role


def download(build: Build, role: service_role.Credentials) -> Buildspec:
    """Download the source and parse its buildspec.

    Raises:
        PhaseFailed: the role may not read the artifact, or the buildspec is missing or invalid.
    """
    build.source.mkdir(parents=True)
    if build.job:
        _fetch(role, build.job.bucket, build.job.source, build.source)
        for name, key in build.job.more_sources.items():
            _fetch(role, build.job.bucket, key, build.directory / name)
    elif build.project["source"]["type"] == "S3":
        bucket, _, key = build.project["source"]["location"].partition("/")
        _fetch(role, bucket, key, build.source)
    inline = build.project["source"].get("buildspec", "")
    path = build.source / (inline or "buildspec.yml")
    if "\n" not in inline:
        build.log.say(f"YAML location is {path}")
    try:
        text = inline if "\n" in inline else path.read_text(encoding="utf-8")
        buildspec = parse(text)
    except OSError as error:
        raise PhaseFailed("YAML_FILE_ERROR", f"stat {path}: {(error.strerror or '').lower()}") from error
    except (BuildspecError, UnicodeDecodeError) as error:
        raise PhaseFailed("YAML_FILE_ERROR", str(error)) from error
    build.log.say(f"Phases found in YAML: {len(buildspec.phases)}")
    return buildspec


def _fetch(role: service_role.Credentials, bucket: str, key: str, target: Path) -> None:
    try:
        data = role.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
        artifacts.unpack(data, target)
    except (ClientError, BotoCoreError, artifacts.ArtifactError, OSError) as error:
        raise PhaseFailed("CLIENT_ERROR", f"{error} for primary source and source version {bucket}/{key}") from error


def resolve_environment(build: Build, buildspec: Buildspec, role: service_role.Credentials) -> dict[str, str]:
    """Return the environment of the first command.

    Raises:
        PhaseFailed: a parameter or secret cannot be read.
    """
    try:
        declared, secrets = environment.values(buildspec, build.variables, role)
    except environment.VariableError as error:
        raise PhaseFailed("CLIENT_ERROR", str(error)) from error
    for secret in (*secrets, role.access_key):
        build.log.hide(secret)
    base = environment.base(build.directory / "home", privileged=build.privileged)
    return base | declared | credentials.grant(build.record["id"], role) | _codebuild_variables(build)


def _codebuild_variables(build: Build) -> dict[str, str]:
    record = build.record
    found = {
        "CODEBUILD_BUILD_ARN": record["arn"],
        "CODEBUILD_BUILD_ID": record["id"],
        "CODEBUILD_BUILD_IMAGE": build.project["environment"].get("image", ""),
        "CODEBUILD_BUILD_NUMBER": str(record["buildNumber"]),
        "CODEBUILD_BUILD_SUCCEEDING": "1",
        "CODEBUILD_CI": "true",
        "CODEBUILD_INITIATOR": record["initiator"],
        "CODEBUILD_LOG_PATH": record["logs"].get("streamName", ""),
        "CODEBUILD_PROJECT_ARN": build.project["arn"],
        "CODEBUILD_SOURCE_VERSION": record["sourceVersion"],
        "CODEBUILD_SRC_DIR": str(build.source),
        "CODEBUILD_START_TIME": str(int(record["startTime"] * 1000)),
        "CI": "true",
    }
    if build.job:
        found["CODEBUILD_RESOLVED_SOURCE_VERSION"] = build.job.revision
        for name in build.job.more_sources:
            found[f"CODEBUILD_SRC_DIR_{name}"] = str(build.directory / name)
    return found


def upload(build: Build, buildspec: Buildspec, role: service_role.Credentials) -> None:
    """Upload the output artifacts to the pipeline's bucket.

    A buildspec that names no files makes none, and the action succeeds all the same:
    https://github.com/aws/aws-cdk/pull/845.

    Raises:
        PhaseFailed: no file matches, or the role may not write to the bucket.
    """
    if not (buildspec.artifact or buildspec.secondary_artifacts):
        return
    for number, (name, key) in enumerate((build.job.outputs if build.job else {}).items()):
        main = buildspec.artifact if number == 0 else None
        wanted = buildspec.secondary_artifacts.get(name) or main or Artifact(())
        try:
            body = artifacts.pack(wanted, build.source, build.log.say)
            role.client("s3").put_object(Bucket=build.job.bucket if build.job else "", Key=key, Body=body)
        except (ClientError, BotoCoreError, artifacts.ArtifactError, OSError) as error:
            raise PhaseFailed("CLIENT_ERROR", str(error)) from error


def restore_cache(build: Build, buildspec: Buildspec) -> None:
    """Copy the files that the previous build cached into the source directory."""
    if build.cache and build.cache.exists() and buildspec.cache_paths:
        shutil.copytree(build.cache, build.source, symlinks=True, dirs_exist_ok=True)


def save_cache(build: Build, buildspec: Buildspec, *, succeeding: bool) -> None:
    """Keep the files that the buildspec lists under ``cache`` for the next build."""
    for pattern in buildspec.cache_paths if build.cache and succeeding else ():
        for path in artifacts.matching_paths(pattern, build.source):
            target = build.cache / path.relative_to(build.source) if build.cache else path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, target, follow_symlinks=False)


def finalize(build: Build) -> None:
    """Withdraw the build's credentials, close its log and delete its files."""
    credentials.revoke(build.record["id"])
    build.log.close()
    shutil.rmtree(build.directory, ignore_errors=True)
