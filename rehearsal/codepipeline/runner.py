"""Takes executions through a pipeline's stages.

Follows https://docs.aws.amazon.com/codepipeline/latest/userguide/concepts-how-it-works.html: a stage is locked while an
execution is in it, and other executions wait to enter. In SUPERSEDED mode a newer execution replaces the one that
waits, in QUEUED mode they enter in order, and in PARALLEL mode stages are not locked. A failure unlocks the stage. The
actions of a stage run by runOrder; those with the same number run in parallel. A stop either waits for the running
actions or abandons them. A rollback is a new execution of one stage, with the artifacts and the variables of an earlier
execution (https://docs.aws.amazon.com/codepipeline/latest/userguide/stage-rollback.html).

Differs from AWS: the number of executions in progress is not limited, and the history is lost when the rehearsal ends.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Sequence
from itertools import groupby

from rehearsal.codepipeline import actions, events
from rehearsal.codepipeline.definition import APPROVAL, Json, provider
from rehearsal.codepipeline.model import ActionRun, Execution, Pipeline, StageRun, new_id
from rehearsal.emulator import service_role
from rehearsal.emulator.service_role import Credentials

SERVICE = "codepipeline.amazonaws.com"

_VARIABLE = re.compile(r"#\{([A-Za-z0-9_@-]+)\.([A-Za-z0-9_@-]+)\}")


class _Ended(Exception):
    """The execution has ended; its status says why."""


def begin(
    pipeline: Pipeline,
    trigger: Json,
    *,
    revisions: dict[str, str] | None = None,
    variables: dict[str, str] | None = None,
) -> Execution:
    """Start an execution in a new thread."""
    with pipeline.changes:
        execution = Execution(
            pipeline,
            number=len(pipeline.executions) + 1,
            trigger=trigger,
            revisions=revisions or {},
            variables=pipeline.variables() | (variables or {}),
            version=pipeline.version,
        )
        pipeline.executions.append(execution)
        pipeline.transition(pipeline.declaration["stages"][0]["name"]).waiting.append(execution)
    _spawn(execution, 0, None)
    events.pipeline_changed(execution)
    return execution


def roll_back(target: Execution, stage: str, caller: str) -> Execution:
    """Run a stage in a new execution, as it ran in ``target``."""
    pipeline = target.pipeline
    names = [one["name"] for one in pipeline.declaration["stages"]]
    with pipeline.changes:
        execution = Execution(
            pipeline,
            number=len(pipeline.executions) + 1,
            trigger={"triggerType": "ManualRollback", "triggerDetail": caller},
            revisions=target.revisions,
            variables=target.variables,
            version=pipeline.version,
            artifacts=dict(target.artifacts),
            namespaces=dict(target.namespaces),
            target=target,
        )
        pipeline.executions.append(execution)
        pipeline.transition(stage).waiting.append(execution)
    _spawn(execution, names.index(stage), None)
    events.pipeline_changed(execution)
    return execution


def retry(execution: Execution, stage: str, only: Sequence[str] | None) -> None:
    """Run a failed stage again, either all of its actions or ``only`` some, and then the following stages."""
    pipeline = execution.pipeline
    names = [one["name"] for one in pipeline.declaration["stages"]]
    with pipeline.changes:
        execution.status, execution.summary, execution.stopping = "InProgress", "", False
        execution.abandoned.clear()
        pipeline.transition(stage).waiting.append(execution)
    events.pipeline_changed(execution, "RESUMED")
    _spawn(execution, names.index(stage), only)


def stop(execution: Execution, reason: str, *, abandon: bool) -> None:
    """Stop an execution, after its running actions or, with ``abandon``, immediately."""
    with execution.pipeline.changes:
        execution.stopping, execution.status, execution.summary = True, "Stopping", reason
        execution.changed = time.time()
        if abandon:
            execution.abandoned.set()
        execution.pipeline.changes.notify_all()
    events.pipeline_changed(execution)


def _spawn(execution: Execution, first: int, only: Sequence[str] | None) -> None:
    threading.Thread(target=_run, args=(execution, first, only), name=f"execution {execution.id}", daemon=True).start()


def _run(execution: Execution, first: int, only: Sequence[str] | None) -> None:
    stages = execution.pipeline.declaration["stages"][first : first + 1 if execution.target else None]
    try:
        for number, stage in enumerate(stages):
            following = stages[number + 1]["name"] if number + 1 < len(stages) else None
            _pass(execution, stage, following, only if number == 0 else None)
        _finish(execution, "Succeeded")
    except _Ended:
        pass
    except Exception as error:
        logging.getLogger(__name__).exception("execution %s", execution.id)
        _finish(execution, "Failed", f"defect in the rehearsal: {error}")


def _pass(execution: Execution, stage: Json, following: str | None, only: Sequence[str] | None) -> None:
    """Enter a stage, run it, and wait to enter the following one."""
    name = stage["name"]
    _enter(execution, name)
    status = "Failed"
    try:
        status = _run_stage(execution, stage, only)
    finally:
        with execution.pipeline.changes:
            transition = execution.pipeline.transition(name)
            if transition.occupant is execution:
                transition.occupant = None
            if status == "Succeeded" and following and not execution.stopping:
                # Under the same lock, so that executions keep their order on the way to the next stage.
                execution.pipeline.transition(following).waiting.append(execution)
            execution.pipeline.changes.notify_all()
    if execution.stopping:
        _finish(execution, "Stopped", execution.summary)
        raise _Ended
    if status != "Succeeded":
        _finish(execution, "Failed")
        raise _Ended


def _enter(execution: Execution, stage: str) -> None:
    """Wait until the execution may enter the stage; the transition already lists it as waiting.

    Raises:
        _Ended: a newer execution replaced it, or it was stopped.
    """
    pipeline = execution.pipeline
    transition = pipeline.transition(stage)
    mode = pipeline.declaration["executionMode"]
    outcome = ""
    with pipeline.changes:
        pipeline.changes.notify_all()
        while not outcome:
            newest = max(transition.waiting, key=lambda one: one.number)
            oldest = min(transition.waiting, key=lambda one: one.number)
            if execution.stopping or pipeline.deleted:
                outcome = "Stopped"
            elif mode == "SUPERSEDED" and newest is not execution:
                outcome = "Superseded"
            elif transition.enabled and (
                mode == "PARALLEL" or (transition.occupant is None and (mode == "SUPERSEDED" or oldest is execution))
            ):
                transition.occupant = execution
                outcome = "InProgress"
            else:
                pipeline.changes.wait()
        transition.waiting.remove(execution)
        pipeline.changes.notify_all()
    if outcome != "InProgress":
        _finish(execution, outcome, execution.summary)
        raise _Ended


def _finish(execution: Execution, status: str, summary: str = "") -> None:
    with execution.pipeline.changes:
        execution.status, execution.summary, execution.changed = status, summary, time.time()
        execution.pipeline.changes.notify_all()
    events.pipeline_changed(execution)


def _run_stage(execution: Execution, stage: Json, only: Sequence[str] | None) -> str:
    """Run a stage's actions and return the stage's status."""
    run = execution.stages[stage["name"]] = StageRun(stage["name"])
    events.stage_changed(execution, run.name)
    wanted = [one for one in stage["actions"] if only is None or one["name"] in only]
    run_order = sorted(wanted, key=lambda one: one["runOrder"])
    status = "Succeeded"
    for _, group in groupby(run_order, key=lambda one: one["runOrder"]):
        outcomes = _run_group(execution, run.name, list(group))
        if execution.stopping:
            status = "Stopped"
        elif any(outcome != "Succeeded" for outcome in outcomes):
            status = "Failed"
        if status != "Succeeded":
            break
    run.status = status
    events.stage_changed(execution, run.name)
    return status


def _run_group(execution: Execution, stage: str, group: Sequence[Json]) -> list[str]:
    """Run actions in parallel, wait for all of them and return their statuses."""
    runs = [ActionRun(stage, action, execution, token=_token(action)) for action in group]
    execution.actions += runs
    threads = [threading.Thread(target=_run_action, args=(run,), name=f"action {run.id}", daemon=True) for run in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [run.status for run in runs]


def _token(action: Json) -> str:
    """Return a token for an approval, and an empty string for other actions."""
    return new_id() if provider(action) == APPROVAL else ""


def _run_action(run: ActionRun) -> None:
    execution = run.execution
    try:
        run.configuration = _resolved(run)
        run.inputs = {one["name"]: execution.artifacts[one["name"]] for one in run.declaration["inputArtifacts"]}
        events.action_changed(run)
        actions.perform(run, _role(run))
        if run.status == "InProgress":
            run.end("Succeeded")
        execution.artifacts |= run.outputs
        if namespace := run.declaration.get("namespace"):
            execution.namespaces[namespace] = run.variables
    except actions.ActionFailed as error:
        run.end("Failed", error={"code": error.code, "message": str(error)})
    except service_role.RoleRefused as error:
        run.end("Failed", error={"code": "PermissionError", "message": str(error)})
    except actions.Abandoned:
        run.end("Abandoned")
    except Exception as error:
        logging.getLogger(__name__).exception("action %s", run.name)
        run.end("Failed", error={"code": "InternalError", "message": f"{type(error).__name__}: {error}"})
    execution.changed = time.time()
    events.action_changed(run)


def _role(run: ActionRun) -> Credentials:
    """Assume the action's role if it has one, else the pipeline's."""
    pipeline = run.execution.pipeline
    role_arn = run.declaration.get("roleArn") or pipeline.declaration["roleArn"]
    return service_role.assume(role_arn, SERVICE, pipeline.arn, str(int(run.started * 1000)))


def _resolved(run: ActionRun) -> dict[str, str]:
    """Return the action's configuration with ``#{namespace.name}`` replaced by values.

    Raises:
        ActionFailed: no earlier action has set the variable.
    """
    execution = run.execution
    known = execution.namespaces | {
        "codepipeline": {"PipelineExecutionId": execution.id},
        "variables": execution.variables,
    }

    def value(match: re.Match[str]) -> str:
        namespace, name = match.groups()
        if name not in known.get(namespace, {}):
            raise actions.ActionFailed("ConfigurationError", f"variable {match.group()} is not defined")
        return known[namespace][name]

    return {key: _VARIABLE.sub(value, text) for key, text in run.declaration["configuration"].items()}
