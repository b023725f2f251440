"""Reads the pipeline and its latest build from AWS.

Shapes follow the API references of CodePipeline (GetPipelineState, ListPipelineExecutions), CodeBuild (BatchGetBuilds)
and CloudWatch Logs (GetLogEvents). A missing field is read as empty.
"""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import datetime
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from rehearsal.console.snapshot import Action, Build, Execution, Phase, Pipeline, Stage, clean, no_build, no_pipeline

LOG_LINES = 300
EXECUTIONS = 6
# Phases that do not depend on the commit; shown only if they fail.
HOUSEKEEPING = {"SUBMITTED", "QUEUED", "FINALIZING", "COMPLETED"}

Json = dict[str, Any]


def aws_client(service: str) -> Any:
    """Return a client that fails quickly and never uses a proxy."""
    config = Config(connect_timeout=1, read_timeout=5, retries={"total_max_attempts": 1}, proxies={})
    return boto3.Session().client(service, config=config)


class Aws:
    """Reads AWS; its calls block."""

    def __init__(self, client: Any = aws_client) -> None:
        self._make = client
        self._clients: dict[str, Any] = {}

    def _client(self, service: str) -> Any:
        if service not in self._clients:
            self._clients[service] = self._make(service)
        return self._clients[service]

    def read(self) -> tuple[Pipeline, Build]:
        """Return the pipeline that was updated last, and its latest build."""
        try:
            return self._read()
        except ClientError as error:
            answer = error.response["Error"]
            note = clean(f"AWS refused: {answer.get('Code')} {answer.get('Message')}")
        except BotoCoreError:
            note = "AWS does not answer on this machine yet."
        return no_pipeline(note), no_build(note)

    def _read(self) -> tuple[Pipeline, Build]:
        codepipeline = self._client("codepipeline")
        pipelines = codepipeline.list_pipelines().get("pipelines", [])
        if not pipelines:
            return no_pipeline("No pipeline yet. It appears with the stack."), no_build("No build yet.")
        name = max(pipelines, key=lambda one: _seconds(one.get("updated") or one.get("created")) or 0)["name"]
        state = codepipeline.get_pipeline_state(name=name)
        executions = codepipeline.list_pipeline_executions(pipelineName=name, maxResults=EXECUTIONS)
        pipeline: Pipeline = {
            "note": "",
            "name": clean(name),
            "stages": [_stage(one) for one in state.get("stageStates", [])],
            "executions": [_execution(one) for one in executions.get("pipelineExecutionSummaries", [])],
        }
        return pipeline, self._build(_build_id(state))

    def _build(self, build_id: str) -> Build:
        if not build_id:
            return no_build("No build yet.")
        builds = self._client("codebuild").batch_get_builds(ids=[build_id]).get("builds", [])
        if not builds:
            return no_build(clean(f"CodeBuild does not know {build_id}."))
        build = builds[0]
        return {
            "note": "",
            "id": clean(build_id),
            "status": clean(build.get("buildStatus")),
            "started": _seconds(build.get("startTime")),
            "ended": _seconds(build.get("endTime")),
            "error": _error(build),
            "phases": [_phase(one) for one in build.get("phases", []) if _is_shown(one)],
            "lines": self._log(build.get("logs", {})),
        }

    def _log(self, where: Json) -> list[str]:
        if not where.get("groupName") or not where.get("streamName"):
            return []
        try:
            log = self._client("logs").get_log_events(
                logGroupName=where["groupName"], logStreamName=where["streamName"], startFromHead=False, limit=LOG_LINES
            )
        except ClientError as error:
            if error.response["Error"]["Code"] == "ResourceNotFoundException":  # nothing is logged yet
                return []
            raise
        lines = [line for event in log.get("events", []) for line in event["message"].rstrip("\r\n").split("\n")]
        return [clean(line, 500) for line in lines[-LOG_LINES:]]


def _seconds(moment: datetime | None) -> float | None:
    return moment.timestamp() if moment else None


def _stage(state: Json) -> Stage:
    return {
        "name": clean(state.get("stageName")),
        "status": clean(state.get("latestExecution", {}).get("status")),
        "open": state.get("inboundTransitionState", {}).get("enabled", True),
        "queued": len(state.get("inboundExecutions", [])),
        "actions": [_action(one) for one in state.get("actionStates", [])],
    }


def _action(state: Json) -> Action:
    latest: Json = state.get("latestExecution", {})
    return {
        "name": clean(state.get("actionName")),
        "status": clean(latest.get("status")),
        "summary": _message(latest.get("summary")),
        "revision": clean(state.get("currentRevision", {}).get("revisionId")),
        "url": _link(state.get("revisionUrl") or latest.get("externalExecutionUrl")),
        "since": _seconds(latest.get("lastStatusChange")),
        "error": clean(latest.get("errorDetails", {}).get("message")),
        "approval": bool(latest.get("token")) and latest.get("status") == "InProgress",
    }


def _execution(summary: Json) -> Execution:
    source: Json = next(iter(summary.get("sourceRevisions", [])), {})
    over = summary.get("status") not in {"InProgress", "Stopping"}
    return {
        "id": clean(summary.get("pipelineExecutionId")),
        "status": clean(summary.get("status")),
        "revision": clean(source.get("revisionId")),
        "message": _message(source.get("revisionSummary")),
        "trigger": clean(summary.get("trigger", {}).get("triggerType")),
        "started": _seconds(summary.get("startTime")),
        "ended": _seconds(summary.get("lastUpdateTime")) if over else None,
    }


def _message(summary: Any) -> str:
    """Return the first line of a commit message, which the source action of a connection wraps in JSON."""
    text = str(summary or "")
    with suppress(ValueError, KeyError, TypeError):
        text = json.loads(text)["CommitMessage"]
    return clean(str(text).strip().partition("\n")[0])


def _link(url: Any) -> str:
    return clean(url, 2000) if str(url).startswith("https://") else ""


def _build_id(state: Json) -> str:
    """Return the id of the latest build, which is the external execution id of its action."""
    actions = [action for stage in state.get("stageStates", []) for action in stage.get("actionStates", [])]
    builds = [one["latestExecution"] for one in actions if ":" in _external_id(one)]
    latest: Json = max(builds, key=lambda one: _seconds(one.get("lastStatusChange")) or 0, default={})
    return str(latest.get("externalExecutionId", ""))


def _external_id(action: Json) -> str:
    return str(action.get("latestExecution", {}).get("externalExecutionId") or "")


def _is_shown(phase: Json) -> bool:
    return phase.get("phaseType") not in HOUSEKEEPING or phase.get("phaseStatus", "SUCCEEDED") != "SUCCEEDED"


def _phase(phase: Json) -> Phase:
    seconds = phase.get("durationInSeconds")
    start, end = _seconds(phase.get("startTime")), _seconds(phase.get("endTime"))
    if start and end:
        seconds = round(end - start, 1)
    return {
        "name": clean(phase.get("phaseType")),
        "status": clean(phase.get("phaseStatus") or "IN_PROGRESS"),
        "seconds": None if seconds is None else float(seconds),
    }


def _error(build: Json) -> str:
    """Return the first failed phase and the reason."""
    for phase in build.get("phases", []):
        if phase.get("phaseStatus") not in {None, "SUCCEEDED", "IN_PROGRESS"}:
            reasons = [one.get("message") for one in phase.get("contexts", []) if one.get("message")]
            return clean(f"{phase.get('phaseType')} {phase['phaseStatus']}: {'; '.join(reasons) or 'no reason given'}")
    return ""
