"""Answers CodeBuild's build actions; MiniStack answers those on projects.

Follows https://docs.aws.amazon.com/codebuild/latest/APIReference/API_StartBuild.html and the pages of BatchGetBuilds,
StopBuild, ListBuilds and ListBuildsForProject. MiniStack drops a project's ``cache`` and ``logsConfig``; this module
keeps them and adds them to MiniStack's answers.

Differs from AWS: StartBuild accepts only the overrides in ``OVERRIDES`` and environment variables; lists are not
paginated; builds are forgotten when the rehearsal ends; only its pipeline can start a project with source type
CODEPIPELINE; GITHUB and other direct sources are not supported.
"""

from __future__ import annotations

import copy
import json
import threading
import time
import uuid
from typing import Any

from rehearsal.codebuild.model import Build, PipelineJob, Record
from rehearsal.codebuild.runner import BuildRun
from rehearsal.emulator.client import root
from rehearsal.emulator.extensions import Call, Caller, Extensions, Proceed, ResourceHandler, Response, ServiceError
from rehearsal.settings import settings

Json = dict[str, Any]

#: Overrides of StartBuild, and the path in the project that each one replaces.
OVERRIDES = {
    "buildspecOverride": ("source", "buildspec"),
    "imageOverride": ("environment", "image"),
    "privilegedModeOverride": ("environment", "privilegedMode"),
    "timeoutInMinutesOverride": ("timeoutInMinutes",),
}
SOURCES = ("CODEPIPELINE", "NO_SOURCE", "S3")
#: Members of a project that MiniStack drops: their names in a template and in the API.
DROPPED = {"LogsConfig": "logsConfig", "Cache": "cache"}

_runs: dict[str, BuildRun] = {}
_jobs: dict[str, PipelineJob] = {}
_extras: dict[str, Json] = {}
_changing = threading.Lock()


def register(extensions: Extensions) -> None:
    """Answer the build actions instead of MiniStack."""
    actions = {
        "StartBuild": start_build,
        "BatchGetBuilds": batch_get_builds,
        "StopBuild": stop_build,
        "ListBuilds": list_builds,
        "ListBuildsForProject": list_builds_for_project,
    }
    for action, handler in actions.items():
        extensions.override("codebuild", action, handler)
    extensions.around("codebuild", keep_extras)
    extensions.resource("codebuild", resource_of)
    extensions.wrap_resource("AWS::CodeBuild::Project", _with_extras)


def announce(token: str, job: PipelineJob) -> None:
    """Record what CodePipeline passes along with the StartBuild that will have this idempotency token."""
    with _changing:
        _jobs[token] = job


def start_build(_action: str, request: Json, caller: Caller) -> Json:
    """Start a build.

    Raises:
        ServiceError: the project does not exist, or an override or the source type is not supported.
    """
    project = _project(request.get("projectName", ""))
    with _changing:
        job = _jobs.pop(request.get("idempotencyToken", ""), None)
    project = _overridden(project, request)
    kind = project["source"].get("type")
    if kind not in SOURCES:
        raise ServiceError("InvalidInputException", f"source type {kind} is not supported by the rehearsal")
    if kind == "CODEPIPELINE" and job is None:
        raise ServiceError(
            "InvalidInputException", "a project with source type CODEPIPELINE can only be started by its pipeline"
        )
    with _changing:
        record = _new_record(project, request, caller, job)
        run = BuildRun(Build(record, project, _variables(project, request), job))
        _runs[record["id"]] = run
    answer = {"build": record.snapshot()}
    run.start()
    return answer


def batch_get_builds(_action: str, request: Json, _caller: Caller) -> Json:
    """Report builds by id or ARN."""
    found, missing = [], []
    for wanted in request.get("ids", []):
        run = _runs.get(_id(wanted))
        if run:
            found.append(run.record.snapshot())
        else:
            missing.append(wanted)
    return {"builds": found, "buildsNotFound": missing}


def stop_build(_action: str, request: Json, _caller: Caller) -> Json:
    """Stop a build; a build that has ended is left unchanged.

    Raises:
        ServiceError: the build does not exist.
    """
    run = _runs.get(_id(request.get("id", "")))
    if run is None:
        raise ServiceError("ResourceNotFoundException", f"Build {request.get('id')} does not exist")
    run.stop()
    return {"build": run.record.snapshot()}


def list_builds(_action: str, request: Json, _caller: Caller) -> Json:
    """List all builds, newest first by default."""
    ids = list(_runs)
    return {"ids": ids if request.get("sortOrder") == "ASCENDING" else ids[::-1]}


def list_builds_for_project(action: str, request: Json, caller: Caller) -> Json:
    """List the builds of a project.

    Raises:
        ServiceError: the project does not exist.
    """
    name = _project(request.get("projectName", ""))["name"]
    return {"ids": [one for one in list_builds(action, request, caller)["ids"] if one.partition(":")[0] == name]}


def resource_of(_action: str, request: Json, prefix: str) -> str | None:
    """Return the ARN of the project that a call on builds concerns; builds are not IAM resources."""
    ids = request.get("ids") or [request.get("id")]
    if isinstance(ids[0], str) and ":" in ids[0]:
        return f"{prefix}project/{_id(ids[0]).partition(':')[0]}"
    return None


def keep_extras(call: Call, proceed: Proceed) -> Response:
    """Keep the members of a project that MiniStack drops, and add them to its answers."""
    status, headers, body = proceed()
    if status != 200 or not call.action.endswith(("Project", "Projects")):
        return status, headers, body
    if call.action in ("CreateProject", "UpdateProject"):
        given = {name: call.json[name] for name in DROPPED.values() if name in call.json}
        _extras.setdefault(call.json["name"], {}).update(given)
    answer = json.loads(body or b"{}")
    for project in [*answer.get("projects", []), answer.get("project")]:
        if isinstance(project, dict):
            project.update(_extras.get(project["name"], {}))
    return status, headers, json.dumps(answer).encode()


def _with_extras(own: ResourceHandler) -> ResourceHandler:
    """Return MiniStack's handler of a project, extended to keep the members that it drops."""

    def create(logical_id: str, properties: Json, stack_name: str) -> tuple[str, Json]:
        made = own.create(logical_id, properties, stack_name)
        _extras[made[0]] = _api_extras(properties)
        return made

    def update(physical_id: str, old: Json, new: Json, stack_name: str) -> tuple[str, Json]:
        made = own.update(physical_id, old, new, stack_name)
        _extras[made[0]] = _api_extras(new)
        return made

    def delete(physical_id: str, properties: Json) -> None:
        own.delete(physical_id, properties)
        _extras.pop(physical_id, None)

    return ResourceHandler(create, update, delete)


def _api_extras(properties: Json) -> Json:
    return {api: _camel(properties[name]) for name, api in DROPPED.items() if name in properties}


def _camel(value: Any) -> Any:
    if isinstance(value, dict):
        return {name[:1].lower() + name[1:]: _camel(one) for name, one in value.items()}
    return value


def _project(name: str) -> Json:
    answer = root("codebuild").batch_get_projects(names=[name or "?"])
    if not answer["projects"]:
        raise ServiceError("ResourceNotFoundException", f"Project cannot be found: {name}")
    project: Json = answer["projects"][0]
    return project


def _overridden(project: Json, request: Json) -> Json:
    known = {*OVERRIDES, "environmentVariablesOverride"}
    for name in request:
        if name.endswith("Override") and name not in known:
            raise ServiceError("InvalidInputException", f"{name} is not supported by the rehearsal")
    project = copy.deepcopy(project)
    for name, path in OVERRIDES.items():
        if name in request:
            parent = project[path[0]] if len(path) > 1 else project
            parent[path[-1]] = request[name]
    return project


def _variables(project: Json, request: Json) -> list[Json]:
    """Return the variables of the project and of StartBuild, which takes precedence."""
    declared = project["environment"].get("environmentVariables") or []
    overrides = request.get("environmentVariablesOverride") or []
    return list({one["name"]: {"type": "PLAINTEXT", **one} for one in (*declared, *overrides)}.values())


def _new_record(project: Json, request: Json, caller: Caller, job: PipelineJob | None) -> Record:
    unique = str(uuid.uuid4())
    name, now = project["name"], time.time()
    identifier = f"{name}:{unique}"
    version = f"arn:aws:s3:::{job.bucket}/{job.source}" if job else request.get("sourceVersion", "")
    data = {
        "id": identifier,
        "arn": f"arn:aws:codebuild:{settings.region}:{settings.account}:build/{identifier}",
        "buildNumber": 1 + sum(one.partition(":")[0] == name for one in _runs),
        "startTime": now,
        "currentPhase": "QUEUED",
        "buildStatus": "IN_PROGRESS",
        "buildComplete": False,
        "sourceVersion": version,
        "projectName": name,
        "phases": [],
        "source": project["source"],
        "artifacts": {"location": ""},
        "environment": project["environment"],
        "serviceRole": project["serviceRole"],
        "logs": _logs(project, unique),
        "timeoutInMinutes": project["timeoutInMinutes"],
        "queuedTimeoutInMinutes": project.get("queuedTimeoutInMinutes", 480),
        "initiator": f"codepipeline/{job.pipeline}" if job else _initiator(caller.arn),
        "encryptionKey": project.get("encryptionKey", ""),
    }
    if job:
        data["resolvedSourceVersion"] = job.revision
    record = Record(data)
    for phase in ("SUBMITTED", "QUEUED"):
        record.begin(phase)
        record.end("SUCCEEDED")
    return record


def _logs(project: Json, unique: str) -> Json:
    wanted = project.get("logsConfig", {}).get("cloudWatchLogs", {})
    if wanted.get("status", "ENABLED") == "DISABLED":
        return {"cloudWatchLogs": {"status": "DISABLED"}}
    group = wanted.get("groupName") or f"/aws/codebuild/{project['name']}"
    stream = f"{wanted['streamName']}/{unique}" if wanted.get("streamName") else unique
    arn = f"arn:aws:logs:{settings.region}:{settings.account}:log-group:{group}:log-stream:{stream}"
    return {
        "groupName": group,
        "streamName": stream,
        "cloudWatchLogsArn": arn,
        "cloudWatchLogs": {"status": "ENABLED", "groupName": group, "streamName": stream},
    }


def _initiator(arn: str) -> str:
    """Return the user's name, or the role's and the session's."""
    return arn.rpartition(":")[2].partition("/")[2] or "root"


def _id(identifier: str) -> str:
    return identifier.partition(":build/")[2] or identifier
