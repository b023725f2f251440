"""Reports every change of state to EventBridge, where a rule can forward it to a topic.

Follows https://docs.aws.amazon.com/codepipeline/latest/userguide/detect-state-changes-cloudwatch-events.html. Events
with a source that begins with ``aws.`` are refused by PutEvents, here as on AWS, so they are put on the bus without it.
Works only in the process of rehearsal/aws.py.
"""

from __future__ import annotations

import json
import logging
from typing import Any

from rehearsal.codepipeline.model import ActionRun, Execution
from rehearsal.emulator import ministack

#: Statuses in the API, and their names in events.
STATES = {
    "InProgress": "STARTED",
    "Succeeded": "SUCCEEDED",
    "Failed": "FAILED",
    "Stopping": "STOPPING",
    "Stopped": "STOPPED",
    "Superseded": "SUPERSEDED",
    "Cancelled": "CANCELED",
    "Abandoned": "ABANDONED",
}


def pipeline_changed(execution: Execution, state: str = "") -> None:
    """Report an execution's status."""
    detail = {"state": state or STATES[execution.status], "start-time": execution.started}
    if execution.trigger.get("triggerType"):
        detail["execution-trigger"] = _dashed(execution.trigger)
    _put("CodePipeline Pipeline Execution State Change", execution, detail)


def stage_changed(execution: Execution, stage: str, state: str = "") -> None:
    """Report a stage's status."""
    detail = {"stage": stage, "state": state or STATES[execution.stages[stage].status]}
    _put("CodePipeline Stage Execution State Change", execution, detail)


def action_changed(run: ActionRun) -> None:
    """Report an action's status."""
    kind = run.declaration["actionTypeId"]
    detail: dict[str, Any] = {
        "stage": run.stage,
        "action": run.name,
        "action-execution-id": run.id,
        "state": STATES[run.status],
        "type": {key: kind[key] for key in ("owner", "provider", "category", "version")},
    }
    if run.external_id or run.error:
        detail["execution-result"] = {
            "external-execution-id": run.external_id,
            "external-execution-url": run.external_url,
            "external-execution-summary": run.summary or run.error.get("message", ""),
            **({"error-code": run.error["code"]} if run.error else {}),
        }
    _put("CodePipeline Action Execution State Change", run.execution, detail)


def _dashed(shape: dict[str, Any]) -> dict[str, Any]:
    return {"trigger-type": shape["triggerType"], "trigger-detail": shape.get("triggerDetail", "")}


def _put(kind: str, execution: Execution, detail: dict[str, Any]) -> None:
    pipeline = execution.pipeline
    whole = {"pipeline": pipeline.name, "execution-id": execution.id, "version": float(execution.version)} | detail
    entry = {"Source": "aws.codepipeline", "DetailType": kind, "Detail": json.dumps(whole), "Resources": [pipeline.arn]}
    try:
        ministack.put_event(entry)
    except Exception:  # an event that cannot be delivered must not end its execution
        logging.getLogger(__name__).exception("event of %s", pipeline.name)
