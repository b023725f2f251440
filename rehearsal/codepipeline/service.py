"""Answers CodePipeline's API.

Follows https://docs.aws.amazon.com/codepipeline/latest/APIReference/Welcome.html; the IAM resources of each action:
https://docs.aws.amazon.com/service-authorization/latest/reference/list_awscodepipeline.html.

Differs from AWS: only CloudFormation creates, updates and deletes pipelines; lists end at ``maxResults`` and have no
next page; job workers, custom action types, rules, tags and automatic rollback are not supported.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from rehearsal.codepipeline import runner
from rehearsal.codepipeline.definition import Json, masked
from rehearsal.codepipeline.model import RUNNING, Execution, Pipeline, pipelines, webhooks
from rehearsal.emulator.extensions import Caller, Extensions, ServiceError


def register(extensions: Extensions) -> None:
    """Add the service."""
    extensions.add_service("codepipeline", "CodePipeline_20150709", handle, resource=resource_of)


def handle(action: str, request: Json, caller: Caller) -> Json:
    """Answer one call.

    Raises:
        ServiceError: the action is unknown or fails.
    """
    handler = _ACTIONS.get(action)
    if handler is None:
        raise ServiceError("UnknownOperationException", f"the rehearsal does not support {action}")
    return handler(request, caller)


def resource_of(_action: str, request: Json, prefix: str) -> str | None:
    """Return the ARN of the pipeline, stage or action that a call concerns."""
    name = request.get("name") or request.get("pipelineName")
    if not isinstance(name, str):
        return None
    parts = [request.get(key) for key in ("stageName", "actionName")]
    return prefix + "/".join([name, *(part for part in parts if isinstance(part, str))])


def find(name: str) -> Pipeline:
    """Return a pipeline.

    Raises:
        ServiceError: PipelineNotFoundException.
    """
    if name not in pipelines:
        raise ServiceError("PipelineNotFoundException", f"Account does not have a pipeline with name '{name}'")
    return pipelines[name]


def _get_pipeline(request: Json, _caller: Caller) -> Json:
    pipeline = find(request["name"])
    metadata = {"pipelineArn": pipeline.arn, "created": pipeline.created, "updated": pipeline.updated}
    return {"pipeline": masked(pipeline.declaration) | {"version": pipeline.version}, "metadata": metadata}


def _list_pipelines(_request: Json, _caller: Caller) -> Json:
    return {
        "pipelines": [
            {
                "name": one.name,
                "version": one.version,
                "pipelineType": one.declaration["pipelineType"],
                "executionMode": one.declaration["executionMode"],
                "created": one.created,
                "updated": one.updated,
            }
            for one in sorted(pipelines.values(), key=lambda one: one.name)
        ]
    }


def _get_pipeline_state(request: Json, _caller: Caller) -> Json:
    pipeline = find(request["name"])
    with pipeline.changes:
        return {
            "pipelineName": pipeline.name,
            "pipelineVersion": pipeline.version,
            "stageStates": [pipeline.stage_state(stage) for stage in pipeline.declaration["stages"]],
            "created": pipeline.created,
            "updated": pipeline.updated,
        }


def _list_pipeline_executions(request: Json, _caller: Caller) -> Json:
    pipeline = find(request["pipelineName"])
    stage = request.get("filter", {}).get("succeededInStage", {}).get("stageName")
    newest_first = [one for one in reversed(pipeline.executions) if stage is None or _succeeded(one, stage)]
    return {"pipelineExecutionSummaries": [one.summarized() for one in newest_first[: request.get("maxResults", 100)]]}


def _succeeded(execution: Execution, stage: str) -> bool:
    """Whether a stage was successful in an execution of the pipeline's current version (SucceededInStageFilter)."""
    run = execution.stages.get(stage)
    return run is not None and run.status == "Succeeded" and execution.version == execution.pipeline.version


def _get_pipeline_execution(request: Json, _caller: Caller) -> Json:
    return {"pipelineExecution": _execution(request["pipelineName"], request["pipelineExecutionId"]).described()}


def _list_action_executions(request: Json, _caller: Caller) -> Json:
    pipeline = find(request["pipelineName"])
    wanted = request.get("filter", {}).get("pipelineExecutionId")
    runs = [run for one in pipeline.executions if wanted in (None, one.id) for run in one.actions]
    runs.sort(key=lambda run: run.started, reverse=True)
    return {"actionExecutionDetails": [run.detail() for run in runs[: request.get("maxResults", 100)]]}


def _start_pipeline_execution(request: Json, caller: Caller) -> Json:
    pipeline = find(request["name"])
    revisions = {one["actionName"]: one["revisionValue"] for one in request.get("sourceRevisions", [])}
    variables = {one["name"]: one["value"] for one in request.get("variables", [])}
    if unknown := variables.keys() - pipeline.variables().keys():
        raise ServiceError("ValidationException", f"the pipeline declares no variable {min(unknown)}")
    trigger = {"triggerType": "StartPipelineExecution", "triggerDetail": caller.arn}
    return {"pipelineExecutionId": runner.begin(pipeline, trigger, revisions=revisions, variables=variables).id}


def _stop_pipeline_execution(request: Json, _caller: Caller) -> Json:
    execution = _execution(request["pipelineName"], request["pipelineExecutionId"])
    abandon = bool(request.get("abandon"))
    if execution.status not in RUNNING:
        message = f"the execution is {execution.status} and cannot be stopped"
        raise ServiceError("PipelineExecutionNotStoppableException", message)
    if execution.stopping and not abandon:
        message = "the execution is already stopping; abandon its actions or wait"
        raise ServiceError("DuplicatedStopRequestException", message)
    runner.stop(execution, request.get("reason", ""), abandon=abandon)
    return {"pipelineExecutionId": execution.id}


def _retry_stage_execution(request: Json, _caller: Caller) -> Json:
    execution = _execution(request["pipelineName"], request["pipelineExecutionId"])
    name = request["stageName"]
    _stage(execution.pipeline, name)
    stage = execution.stages.get(name)
    if stage is None or stage.status not in ("Failed", "Stopped") or execution.status in RUNNING:
        raise ServiceError("StageNotRetryableException", f"stage {name} has not failed in this execution")
    newer = [one for one in execution.pipeline.executions if name in one.stages and one.number > execution.number]
    if newer:
        message = "a newer execution has entered the stage"
        raise ServiceError("NotLatestPipelineExecutionException", message)
    only = None
    if request["retryMode"] == "FAILED_ACTIONS":
        done = {run.name for run in execution.actions if run.stage == name and run.status == "Succeeded"}
        only = [run.name for run in execution.actions if run.stage == name and run.name not in done]
        only += [
            one["name"] for one in _stage(execution.pipeline, name)["actions"] if one["name"] not in {*done, *only}
        ]
    runner.retry(execution, name, only)
    return {"pipelineExecutionId": execution.id}


def _rollback_stage(request: Json, caller: Caller) -> Json:
    pipeline = find(request["pipelineName"])
    stage = _stage(pipeline, request["stageName"])["name"]
    target = _execution(pipeline.name, request["targetPipelineExecutionId"])
    with pipeline.changes:
        if target.version != pipeline.version:
            message = "the target execution was started in another version of the pipeline's structure"
            raise ServiceError("PipelineExecutionOutdatedException", message)
        occupied = pipeline.transition(stage).occupant is not None
        source = stage == pipeline.declaration["stages"][0]["name"]
        if target.target or occupied or source or not _succeeded(target, stage):
            message = "a source stage, a running stage, a rollback or an unsuccessful stage cannot be rolled back to"
            raise ServiceError("UnableToRollbackStageException", f"stage {stage}: {message}")
        return {"pipelineExecutionId": runner.roll_back(target, stage, caller.arn).id}


def _put_approval_result(request: Json, caller: Caller) -> Json:
    pipeline = find(request["pipelineName"])
    stage = _stage(pipeline, request["stageName"])
    if not any(one["name"] == request["actionName"] for one in stage["actions"]):
        raise ServiceError("ActionNotFoundException", f"stage {stage['name']} has no action {request['actionName']}")
    runs = [run for one in pipeline.executions for run in one.actions]
    waiting = next((run for run in runs if run.token and run.token == request["token"]), None)
    if waiting is None or (waiting.stage, waiting.name) != (stage["name"], request["actionName"]):
        raise ServiceError("InvalidApprovalTokenException", "the token is not that of the waiting approval")
    with pipeline.changes:
        if waiting.status != "InProgress" or waiting.decided.is_set():
            raise ServiceError("ApprovalAlreadyCompletedException", "the approval is already approved or rejected")
        approved = request["result"]["status"] == "Approved"
        fields = {"summary": request["result"]["summary"], "updated_by": caller.arn}
        if not approved:
            fields["error"] = {"code": "JobFailed", "message": f"Rejected by {caller.arn}"}
        waiting.end("Succeeded" if approved else "Failed", **fields)
        waiting.decided.set()
    return {"approvedAt": time.time()}


def _set_transition(request: Json, caller: Caller, *, enabled: bool) -> Json:
    pipeline = find(request["pipelineName"])
    transition = pipeline.transition(_stage(pipeline, request["stageName"])["name"])
    if request["transitionType"] != "Inbound":
        raise ServiceError("ValidationException", "the rehearsal supports only inbound transitions")
    with pipeline.changes:
        transition.enabled, transition.reason = enabled, request.get("reason", "")
        transition.changed, transition.changed_by = time.time(), caller.arn
        pipeline.changes.notify_all()
    return {}


def _enable_transition(request: Json, caller: Caller) -> Json:
    return _set_transition(request, caller, enabled=True)


def _disable_transition(request: Json, caller: Caller) -> Json:
    return _set_transition(request, caller, enabled=False)


def _list_webhooks(_request: Json, _caller: Caller) -> Json:
    return {"webhooks": [one.listed() for one in webhooks.values()]}


def _execution(name: str, identifier: str) -> Execution:
    execution = find(name).execution(identifier)
    if execution is None:
        message = f"pipeline {name} has no execution {identifier}"
        raise ServiceError("PipelineExecutionNotFoundException", message)
    return execution


def _stage(pipeline: Pipeline, name: str) -> Json:
    for stage in pipeline.declaration["stages"]:
        if stage["name"] == name:
            found: Json = stage
            return found
    raise ServiceError("StageNotFoundException", f"pipeline {pipeline.name} has no stage {name}")


_ACTIONS: dict[str, Callable[[Json, Caller], Json]] = {
    "GetPipeline": _get_pipeline,
    "ListPipelines": _list_pipelines,
    "GetPipelineState": _get_pipeline_state,
    "ListPipelineExecutions": _list_pipeline_executions,
    "GetPipelineExecution": _get_pipeline_execution,
    "ListActionExecutions": _list_action_executions,
    "StartPipelineExecution": _start_pipeline_execution,
    "StopPipelineExecution": _stop_pipeline_execution,
    "RetryStageExecution": _retry_stage_execution,
    "RollbackStage": _rollback_stage,
    "PutApprovalResult": _put_approval_result,
    "EnableStageTransition": _enable_transition,
    "DisableStageTransition": _disable_transition,
    "ListWebhooks": _list_webhooks,
}
