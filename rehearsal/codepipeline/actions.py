"""Does the work of each kind of action, with the pipeline role's credentials.

Follows the action structure reference: https://docs.aws.amazon.com/codepipeline/latest/userguide/action-reference.html,
for GitHub (OAuth), CodeStarSourceConnection, CodeBuild and manual approval. Output variables:
https://docs.aws.amazon.com/codepipeline/latest/userguide/reference-variables.html.

Differs from AWS: an execution that a push started uses that push's commit for GitHub (OAuth) too, where AWS uses the
head of the branch; OutputArtifactFormat CODEBUILD_CLONE_REF is rejected; artifacts are not encrypted with a KMS key.
"""

from __future__ import annotations

import json
import secrets
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from rehearsal import codebuild, github, waiting
from rehearsal.codepipeline import connections, definition, github_client
from rehearsal.codepipeline.model import ActionRun
from rehearsal.emulator import service_role
from rehearsal.emulator.extensions import ServiceError
from rehearsal.emulator.service_role import Credentials
from rehearsal.settings import settings

#: Seconds for which an approval waits: seven days, as on AWS.
APPROVAL_TIMEOUT = 7 * 24 * 3600.0
#: Seconds between two checks of a build, or of whether the execution was abandoned.
POLL = 0.25
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


class ActionFailed(Exception):
    """The action failed; ``code`` and the message become its error details."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Abandoned(Exception):
    """The execution was stopped without waiting for its running actions."""


def perform(run: ActionRun, role: Credentials) -> None:
    """Do the work of an action and set the summary, outputs and variables of its run.

    Raises:
        ActionFailed: the action failed, or the role lacks a permission.
        Abandoned: the execution was abandoned while the action ran.
    """
    perform_one = {
        definition.GITHUB: _github,
        definition.CONNECTION: _connection,
        definition.CODEBUILD: _build,
        definition.CODEBUILD_TEST: _build,
        definition.APPROVAL: _approve,
    }[definition.provider(run.declaration)]
    try:
        perform_one(run, role)
    except ClientError as error:
        code = "PermissionError" if "Denied" in error.response["Error"]["Code"] else "ConfigurationError"
        raise ActionFailed(code, f"the role {role.role_arn} was denied: {error}") from error
    except (BotoCoreError, github_client.GitHubError) as error:
        raise ActionFailed("ConfigurationError", str(error)) from error


def _github(run: ActionRun, role: Credentials) -> None:
    """Store a commit's files; the token is in the action's configuration."""
    wanted = run.configuration
    repository = f"{wanted['Owner']}/{wanted['Repo']}"
    try:
        _store_source(run, role, repository, wanted["Branch"], wanted["OAuthToken"])
    except github_client.GitHubError as error:
        raise ActionFailed(
            "ConfigurationError",
            f'Could not access the GitHub repository: "{repository}". The access token might be invalid or has been revoked. '
            f"Edit the pipeline to reconnect with GitHub. {error}",
        ) from error


def _connection(run: ActionRun, role: Credentials) -> None:
    """Store a commit's files; the role must be allowed to use the connection."""
    arn = run.configuration["ConnectionArn"]
    if run.configuration.get("OutputArtifactFormat", "CODE_ZIP") != "CODE_ZIP":
        raise ActionFailed("ConfigurationError", "OutputArtifactFormat: the rehearsal supports only CODE_ZIP")
    service = arn.split(":")[2] if arn.count(":") > 4 else "codeconnections"
    if not service_role.may(role.role_arn, f"{service}:UseConnection", arn):
        message = f"The provided role does not have sufficient permissions to access connection {arn}: {service}:UseConnection"
        raise ActionFailed("PermissionError", message)
    try:
        status = connections.get(arn)["ConnectionStatus"]
    except ServiceError as error:
        raise ActionFailed("ConfigurationError", error.message) from error
    if status != "AVAILABLE":
        raise ActionFailed(
            "ConfigurationError", f"Connection {arn} is not available ({status}): complete it in the console"
        )
    _store_source(run, role, run.configuration["FullRepositoryId"], run.configuration["BranchName"], github.app_token())
    # Unlike GitHub (OAuth), a connection wraps the commit's message in JSON.
    wrapped = {"ProviderType": "GitHub", "CommitMessage": run.revision["summary"]}
    run.summary = run.revision["summary"] = json.dumps(wrapped, separators=(",", ":"))
    run.variables["ConnectionArn"] = arn
    run.variables["FullRepositoryName"] = run.configuration["FullRepositoryId"]


def _store_source(run: ActionRun, role: Credentials, repository: str, branch: str, token: str) -> None:
    """Put a commit's files into the artifact bucket and record the commit as the action's revision."""
    wanted = run.execution.revisions.get(run.name)
    run.revision = github_client.commit(repository, wanted or branch, token)
    bucket = run.execution.pipeline.declaration["artifactStore"]["location"]
    data = github_client.files(repository, run.revision["id"], token)
    s3 = role.client("s3")
    s3.get_bucket_versioning(Bucket=bucket)
    name = run.declaration["outputArtifacts"][0]["name"]
    key = _key(run, name)
    s3.put_object(
        Bucket=bucket,
        Key=key,
        Body=data,
        ContentType="application/zip",
        Metadata={"codepipeline-artifact-revision-summary": _in_one_line(run.revision["summary"])[:1024]},
    )
    run.outputs[name] = key
    run.summary = run.revision["summary"]
    run.external_id, run.external_url = run.revision["id"], run.revision["url"]
    run.variables = {
        "AuthorDate": "",
        "BranchName": branch,
        "CommitId": run.revision["id"],
        "CommitMessage": run.revision["summary"],
        "CommitUrl": run.revision["url"],
        "RepositoryName": repository.partition("/")[2],
    }


def _in_one_line(text: str) -> str:
    """Return text that an HTTP header can carry; a commit message can have several lines."""
    return " ".join(text.split()).encode("ascii", "replace").decode()


def _build(run: ActionRun, role: Credentials) -> None:
    """Start a build, wait until it has ended and adopt its outcome."""
    bucket = run.execution.pipeline.declaration["artifactStore"]["location"]
    run.outputs = {artifact["name"]: _key(run, artifact["name"]) for artifact in run.declaration["outputArtifacts"]}
    primary = run.configuration.get("PrimarySource") or next(iter(run.inputs))
    source = run.execution.sources()
    job = codebuild.PipelineJob(
        pipeline=run.execution.pipeline.name,
        bucket=bucket,
        source=run.inputs[primary],
        revision=next((one.revision["id"] for one in source if primary in one.outputs), ""),
        more_sources={name: key for name, key in run.inputs.items() if name != primary},
        outputs=run.outputs,
    )
    codebuild.announce(run.id, job)
    client = role.client("codebuild")
    build = client.start_build(
        projectName=run.configuration["ProjectName"],
        idempotencyToken=run.id,
        environmentVariablesOverride=_variables(run),
    )["build"]
    run.external_id, run.external_url = build["id"], _console(build["id"])
    while build["buildStatus"] == "IN_PROGRESS":
        if run.execution.abandoned.wait(POLL):
            raise Abandoned
        build = client.batch_get_builds(ids=[build["id"]])["builds"][0]
    run.variables = {one["name"]: one["value"] for one in build.get("exportedEnvironmentVariables", [])}
    if build["buildStatus"] != "SUCCEEDED":
        raise ActionFailed("JobFailed", _why(build))


def _variables(run: ActionRun) -> list[dict[str, str]]:
    try:
        declared: Any = json.loads(run.configuration.get("EnvironmentVariables", "[]"))
        return [{"type": "PLAINTEXT", **{key: str(one[key]) for key in one}} for one in declared]
    except (ValueError, TypeError, KeyError) as error:
        raise ActionFailed(
            "ConfigurationError", f"EnvironmentVariables is not a JSON list of variables: {error}"
        ) from error


def _why(build: dict[str, Any]) -> str:
    message = f"Build terminated with state: {build['buildStatus']}"
    for phase in build["phases"]:
        if phase.get("phaseStatus") not in (None, "SUCCEEDED"):
            context = (phase.get("contexts") or [{}])[0]
            code, reason = context.get("statusCode", ""), context.get("message", "")
            return f"{message}. Phase: {phase['phaseType']}, Code: {code}, Message: {reason}"
    return message


def _approve(run: ActionRun, role: Credentials) -> None:
    """Wait for a decision, which PutApprovalResult stores in the run."""
    topic = run.configuration.get("NotificationArn")
    if topic:
        _ask_for_approval(run, role, topic)

    def decided() -> bool:
        if run.execution.abandoned.is_set():
            raise Abandoned
        return run.decided.wait(POLL)

    try:
        waiting.until(decided, APPROVAL_TIMEOUT, "an approval", pause=0)
    except TimeoutError as error:
        raise ActionFailed("TimeoutError", "no one approved or rejected within seven days") from error


def _ask_for_approval(run: ActionRun, role: Credentials, topic: str) -> None:
    pipeline = run.execution.pipeline.name
    console = f"https://{settings.region}.console.aws.amazon.com/codesuite/codepipeline/pipelines/{pipeline}/view"
    message = {
        "region": settings.region,
        "consoleLink": console,
        "approval": {
            "pipelineName": pipeline,
            "stageName": run.stage,
            "actionName": run.name,
            "token": run.token,
            "customData": run.configuration.get("CustomData", ""),
            "externalEntityLink": run.configuration.get("ExternalEntityLink", ""),
            "approvalReviewLink": console,
        },
    }
    subject = f"APPROVAL NEEDED: AWS CodePipeline {pipeline} for action {run.name}"
    role.client("sns").publish(TopicArn=topic, Subject=subject[:100], Message=json.dumps(message))


def _key(run: ActionRun, artifact: str) -> str:
    """Return an object key for a new artifact, in CodePipeline's format."""
    unique = "".join(secrets.choice(ALPHABET) for _ in range(7))
    return f"{run.execution.pipeline.name[:20]}/{artifact[:10]}/{unique}"


def _console(build: str) -> str:
    project = build.partition(":")[0]
    base = f"https://{settings.region}.console.aws.amazon.com/codesuite/codebuild/{settings.account}"
    return f"{base}/projects/{project}/build/{build.replace(':', '%3A')}"
