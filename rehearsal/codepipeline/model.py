"""Pipelines, their executions and webhooks, and their shapes in the API.

The shapes follow https://docs.aws.amazon.com/codepipeline/latest/APIReference/API_GetPipelineState.html,
API_ListPipelineExecutions.html, API_GetPipelineExecution.html and API_ListActionExecutions.html.
"""

from __future__ import annotations

import secrets
import threading
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

from rehearsal.codepipeline.definition import MASK, Json, masked_configuration
from rehearsal.settings import settings

#: Statuses of an execution that has not ended.
RUNNING = ("InProgress", "Stopping")


def new_id() -> str:
    """Return a new identifier for an execution or an approval."""
    return str(uuid.uuid4())


def without_empty(shape: Json) -> Json:
    """Return a copy without the members that have no value."""
    return {key: value for key, value in shape.items() if value not in (None, "", [], {})}


@dataclass(eq=False)
class ActionRun:
    """One run of one action; ``inputs`` and ``outputs`` are object keys by artifact name."""

    stage: str
    declaration: Json
    execution: Execution
    id: str = field(default_factory=new_id)
    status: str = "InProgress"
    started: float = field(default_factory=time.time)
    changed: float = field(default_factory=time.time)
    summary: str = ""
    error: Json = field(default_factory=dict)
    external_id: str = ""
    external_url: str = ""
    token: str = ""
    updated_by: str = ""
    configuration: dict[str, str] = field(default_factory=dict)
    inputs: dict[str, str] = field(default_factory=dict)
    outputs: dict[str, str] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)
    revision: Json = field(default_factory=dict)
    decided: threading.Event = field(default_factory=threading.Event)

    @property
    def name(self) -> str:
        """The action's name."""
        return str(self.declaration["name"])

    def end(self, status: str, **fields: Any) -> None:
        """Set the outcome."""
        for key, value in fields.items():
            setattr(self, key, value)
        self.status, self.changed = status, time.time()

    def state(self) -> Json:
        """Return an ActionState."""
        latest = without_empty(
            {
                "actionExecutionId": self.id,
                "status": self.status,
                "summary": self.summary,
                "lastStatusChange": self.changed,
                "token": self.token if self.status == "InProgress" else "",
                "lastUpdatedBy": self.updated_by,
                "externalExecutionId": self.external_id,
                "externalExecutionUrl": self.external_url,
                "errorDetails": self.error,
            }
        )
        revision = {"revisionId": self.revision["id"], "created": self.changed} if self.revision else {}
        if revision:
            revision["revisionChangeId"] = self.revision["id"]
        return without_empty(
            {
                "actionName": self.name,
                "currentRevision": revision,
                "revisionUrl": self.revision.get("url", ""),
                "latestExecution": latest,
            }
        )

    def detail(self) -> Json:
        """Return an ActionExecutionDetail."""
        bucket = self.execution.pipeline.declaration["artifactStore"]["location"]

        def artifacts(keys: dict[str, str]) -> list[Json]:
            return [{"name": name, "s3location": {"bucket": bucket, "key": key}} for name, key in keys.items()]

        result = {
            "externalExecutionId": self.external_id,
            "externalExecutionSummary": self.summary,
            "externalExecutionUrl": self.external_url,
            "errorDetails": self.error,
        }
        return {
            "pipelineExecutionId": self.execution.id,
            "actionExecutionId": self.id,
            "pipelineVersion": self.execution.version,
            "stageName": self.stage,
            "actionName": self.name,
            "startTime": self.started,
            "lastUpdateTime": self.changed,
            "status": self.status,
            "input": {
                "actionTypeId": self.declaration["actionTypeId"],
                "configuration": masked_configuration(self.declaration["configuration"]),
                "resolvedConfiguration": masked_configuration(self.configuration),
                "region": settings.region,
                "inputArtifacts": artifacts(self.inputs),
                "namespace": self.declaration.get("namespace", ""),
            },
            "output": {
                "outputArtifacts": artifacts(self.outputs),
                "executionResult": without_empty(result),
                "outputVariables": self.variables,
            },
        }


@dataclass(eq=False)
class StageRun:
    """One run of one stage."""

    name: str
    status: str = "InProgress"
    entered: float = field(default_factory=time.time)


@dataclass(eq=False)
class Execution:
    """One execution of a pipeline; ``revisions`` are the commits that it was started for, by source action.

    ``target`` is the execution to which this one rolls a stage back.
    """

    pipeline: Pipeline
    number: int
    trigger: Json
    revisions: dict[str, str] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)
    id: str = field(default_factory=new_id)
    version: int = 1
    status: str = "InProgress"
    summary: str = ""
    started: float = field(default_factory=time.time)
    changed: float = field(default_factory=time.time)
    stages: dict[str, StageRun] = field(default_factory=dict)
    actions: list[ActionRun] = field(default_factory=list)
    artifacts: dict[str, str] = field(default_factory=dict)
    namespaces: dict[str, dict[str, str]] = field(default_factory=dict)
    stopping: bool = False
    abandoned: threading.Event = field(default_factory=threading.Event)
    target: Execution | None = None

    @property
    def type(self) -> str:
        """The ExecutionType."""
        return "ROLLBACK" if self.target else "STANDARD"

    def latest(self, stage: str, action: str) -> ActionRun | None:
        """Return the last run of an action in this execution."""
        runs = [run for run in self.actions if run.stage == stage and run.name == action]
        return runs[-1] if runs else None

    def sources(self) -> list[ActionRun]:
        """Return the source actions that have succeeded; a rollback has those of its target."""
        return self.target.sources() if self.target else [run for run in self.actions if run.revision]

    def summarized(self) -> Json:
        """Return a PipelineExecutionSummary."""
        revisions = [
            without_empty(
                {
                    "actionName": run.name,
                    "revisionId": run.revision["id"],
                    "revisionSummary": run.revision["summary"],
                    "revisionUrl": run.revision["url"],
                }
            )
            for run in self.sources()
        ]
        return without_empty(
            {
                "pipelineExecutionId": self.id,
                "status": self.status,
                "statusSummary": self.summary,
                "startTime": self.started,
                "lastUpdateTime": self.changed,
                "trigger": self.trigger,
                "executionMode": self.pipeline.declaration["executionMode"],
                "executionType": self.type,
                "rollbackMetadata": self._rollback(),
            }
        ) | {"sourceRevisions": revisions}

    def described(self) -> Json:
        """Return a PipelineExecution."""
        revisions = [
            {
                "name": name,
                "revisionId": run.revision["id"],
                "revisionChangeIdentifier": run.revision["id"],
                "revisionSummary": run.revision["summary"],
                "revisionUrl": run.revision["url"],
                "created": run.changed,
            }
            for run in self.sources()
            for name in run.outputs
        ]
        return {
            "pipelineName": self.pipeline.name,
            "pipelineVersion": self.version,
            "pipelineExecutionId": self.id,
            "status": self.status,
            "statusSummary": self.summary,
            "artifactRevisions": revisions,
            "variables": [{"name": name, "resolvedValue": value} for name, value in self.variables.items()],
            "trigger": self.trigger,
            "executionMode": self.pipeline.declaration["executionMode"],
            "executionType": self.type,
            "rollbackMetadata": self._rollback(),
        }

    def _rollback(self) -> Json:
        return {"rollbackTargetPipelineExecutionId": self.target.id} if self.target else {}


@dataclass(eq=False)
class Transition:
    """The transition into a stage: the executions in and before the stage, and whether the transition is enabled."""

    occupant: Execution | None = None
    waiting: list[Execution] = field(default_factory=list)
    enabled: bool = True
    reason: str = ""
    changed: float = field(default_factory=time.time)
    changed_by: str = ""


@dataclass(eq=False)
class Pipeline:
    """A pipeline and its executions; ``changes`` guards its transitions and the statuses of its executions."""

    declaration: Json
    version: int = 1
    created: float = field(default_factory=time.time)
    updated: float = field(default_factory=time.time)
    deleted: bool = False
    executions: list[Execution] = field(default_factory=list)
    transitions: dict[str, Transition] = field(default_factory=dict)
    changes: threading.Condition = field(default_factory=threading.Condition)

    @property
    def name(self) -> str:
        """The pipeline's name."""
        return str(self.declaration["name"])

    @property
    def arn(self) -> str:
        """The pipeline's ARN."""
        return f"arn:aws:codepipeline:{settings.region}:{settings.account}:{self.name}"

    def variables(self) -> dict[str, str]:
        """Return the pipeline's variables with their default values."""
        return {one["name"]: one.get("defaultValue", "") for one in self.declaration.get("variables", [])}

    def transition(self, stage: str) -> Transition:
        """Return the transition into a stage."""
        return self.transitions.setdefault(stage, Transition())

    def execution(self, identifier: str) -> Execution | None:
        """Return an execution by its id."""
        return next((one for one in self.executions if one.id == identifier), None)

    def stage_state(self, stage: Json) -> Json:
        """Return a StageState."""
        name, transition = stage["name"], self.transition(stage["name"])
        entered = [one for one in self.executions if name in one.stages]
        latest = max(entered, key=lambda one: one.stages[name].entered, default=None)
        inbound: Json = {"enabled": transition.enabled}
        if not transition.enabled:
            inbound |= {
                "lastChangedBy": transition.changed_by,
                "lastChangedAt": transition.changed,
                "disabledReason": transition.reason,
            }
        waiting = [{"pipelineExecutionId": one.id, "status": one.status} for one in transition.waiting]
        state: Json = {"stageName": name, "inboundTransitionState": inbound, "actionStates": self._action_states(stage)}
        if waiting:
            state |= {"inboundExecution": waiting[-1], "inboundExecutions": waiting}
        if latest:
            status = latest.stages[name].status
            state["latestExecution"] = {"pipelineExecutionId": latest.id, "status": status, "type": latest.type}
        return state

    def _action_states(self, stage: Json) -> list[Json]:
        states = []
        for action in stage["actions"]:
            runs = [run for one in self.executions if (run := one.latest(stage["name"], action["name"]))]
            newest = max(runs, key=lambda run: run.started, default=None)
            states.append(newest.state() if newest else {"actionName": action["name"]})
        return states


@dataclass(eq=False)
class Webhook:
    """A webhook; ``secret`` is the key of GitHub's signatures."""

    name: str
    pipeline: str
    action: str
    filters: list[Json]
    authentication: str
    secret: str
    token: str = field(default_factory=lambda: secrets.token_urlsafe(48))

    @property
    def url(self) -> str:
        """The URL, in AWS's format."""
        return f"https://{settings.region}.webhooks.aws/trigger?t={self.token}&v=1"

    @property
    def arn(self) -> str:
        """The webhook's ARN."""
        return f"arn:aws:codepipeline:{settings.region}:{settings.account}:webhook:{self.name}"

    def listed(self) -> Json:
        """Return a ListWebhookItem, without the secret."""
        shown = {
            "name": self.name,
            "targetPipeline": self.pipeline,
            "targetAction": self.action,
            "filters": self.filters,
            "authentication": self.authentication,
            "authenticationConfiguration": {"SecretToken": MASK} if self.secret else {},
        }
        return {"definition": shown, "url": self.url, "arn": self.arn}


#: The pipelines and webhooks that exist, by name; ``changing`` guards both.
pipelines: dict[str, Pipeline] = {}
webhooks: dict[str, Webhook] = {}
changing = threading.Lock()
