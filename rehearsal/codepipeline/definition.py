"""Converts a pipeline's structure from the template's spelling to the API's, and validates it.

Follows https://docs.aws.amazon.com/codepipeline/latest/userguide/reference-pipeline-structure.html and
https://docs.aws.amazon.com/codepipeline/latest/userguide/reference-action-artifacts.html. Declarations are plain
dictionaries in the API's spelling (PipelineDeclaration).

Differs from AWS: the only action providers are those in ``PROVIDERS``; conditions, automatic rollback and retry of a
stage (OnFailure, OnSuccess, BeforeEntry) are rejected because the rehearsal does not implement them.
"""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass
from typing import Any

from rehearsal.emulator.extensions import ServiceError

Json = dict[str, Any]
Provider = tuple[str, str, str]
"""Category, owner and provider of an action type."""

GITHUB = ("Source", "ThirdParty", "GitHub")
CONNECTION = ("Source", "AWS", "CodeStarSourceConnection")
CODEBUILD = ("Build", "AWS", "CodeBuild")
CODEBUILD_TEST = ("Test", "AWS", "CodeBuild")
APPROVAL = ("Approval", "AWS", "Manual")


@dataclass(frozen=True)
class Rules:
    """Rules for the actions of one provider.

    ``inputs`` and ``outputs`` are the least and the greatest number of artifacts; ``required`` and ``optional`` are
    configuration keys.
    """

    inputs: tuple[int, int]
    outputs: tuple[int, int]
    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()


PROVIDERS: dict[Provider, Rules] = {
    GITHUB: Rules((0, 0), (1, 1), ("Owner", "Repo", "Branch", "OAuthToken"), ("PollForSourceChanges",)),
    CONNECTION: Rules(
        (0, 0), (1, 1), ("ConnectionArn", "FullRepositoryId", "BranchName"), ("OutputArtifactFormat", "DetectChanges")
    ),
    CODEBUILD: Rules((1, 5), (0, 5), ("ProjectName",), ("PrimarySource", "EnvironmentVariables")),
    CODEBUILD_TEST: Rules((1, 5), (0, 5), ("ProjectName",), ("PrimarySource", "EnvironmentVariables")),
    APPROVAL: Rules((0, 0), (0, 0), (), ("NotificationArn", "CustomData", "ExternalEntityLink")),
}

MODES = ("SUPERSEDED", "QUEUED", "PARALLEL")
NAME = re.compile(r"[A-Za-z0-9.@\-_]{1,100}")
ARTIFACT = re.compile(r"[A-Za-z0-9_\-]{1,100}")
MASK = "****"
_UNSUPPORTED = ("onFailure", "onSuccess", "beforeEntry")


def from_template(properties: Json, name: str) -> Json:
    """Return the declaration of an AWS::CodePipeline::Pipeline resource."""
    declaration: Json = {
        key: _api(properties[cfn])
        for cfn, key in (
            ("RoleArn", "roleArn"),
            ("ArtifactStore", "artifactStore"),
            ("Stages", "stages"),
            ("PipelineType", "pipelineType"),
            ("ExecutionMode", "executionMode"),
            ("Variables", "variables"),
            ("Triggers", "triggers"),
        )
        if cfn in properties
    }
    declaration["name"] = name
    return normal(declaration)


def normal(declaration: Json) -> Json:
    """Return a copy with defaults filled in, and with numbers and configuration values in the API's types."""
    declaration = copy.deepcopy(declaration)
    declaration.setdefault("pipelineType", "V1")
    declaration.setdefault("executionMode", "SUPERSEDED")
    for stage in declaration.get("stages", []):
        for action in stage.get("actions", []):
            action["runOrder"] = int(action.get("runOrder", 1))
            for key, empty in (("configuration", {}), ("inputArtifacts", []), ("outputArtifacts", [])):
                action.setdefault(key, empty)
            action["configuration"] = {key: _text(value) for key, value in action["configuration"].items()}
    return declaration


def masked(declaration: Json) -> Json:
    """Return a copy with the GitHub token masked, as GetPipeline shows it."""
    shown = copy.deepcopy(declaration)
    for stage in shown["stages"]:
        for action in stage["actions"]:
            action["configuration"] = masked_configuration(action["configuration"])
    return shown


def masked_configuration(configuration: Json) -> Json:
    """Return an action's configuration with the GitHub token masked."""
    return {key: MASK if key == "OAuthToken" else value for key, value in configuration.items()}


def provider(action: Json) -> Provider:
    """Return category, owner and provider of an action."""
    kind = action["actionTypeId"]
    return kind["category"], kind["owner"], kind["provider"]


def validate(declaration: Json) -> None:
    """Validate a declaration.

    Raises:
        ServiceError: InvalidStructureException, InvalidStageDeclarationException or InvalidActionDeclarationException.
    """
    _validate_pipeline(declaration)
    produced: set[str] = set()
    for number, stage in enumerate(declaration["stages"]):
        produced |= _validate_stage(stage, produced, first=number == 0)


def _validate_pipeline(declaration: Json) -> None:
    if not NAME.fullmatch(declaration.get("name", "")):
        raise _structure(f"pipeline name {declaration.get('name')!r} must match {NAME.pattern}")
    if declaration.get("artifactStore", {}).get("type") != "S3" or not declaration["artifactStore"].get("location"):
        raise _structure("an artifact store of type S3 with a location is required")
    if declaration["pipelineType"] not in ("V1", "V2") or declaration["executionMode"] not in MODES:
        raise _structure("pipelineType must be V1 or V2 and executionMode one of " + ", ".join(MODES))
    if declaration["executionMode"] != "SUPERSEDED" and declaration["pipelineType"] != "V2":
        raise _structure(f"execution mode {declaration['executionMode']} needs pipeline type V2")
    stages = declaration.get("stages", [])
    if len(stages) < 2:
        raise _structure("Pipeline has only 1 stage(s). There should be a minimum of 2 stages in a pipeline")
    names = [stage.get("name") for stage in stages]
    if len(set(names)) != len(names):
        raise _structure("stage names must be unique within the pipeline")


def _validate_stage(stage: Json, produced: set[str], *, first: bool) -> set[str]:
    name, actions = stage.get("name", ""), stage.get("actions", [])
    wrong = [key for key in _UNSUPPORTED if key in stage]
    if not NAME.fullmatch(name) or not actions or wrong:
        reason = f"{wrong[0]} is not supported by the rehearsal" if wrong else "a valid name and an action are required"
        raise ServiceError("InvalidStageDeclarationException", f"stage {name!r}: {reason}")
    if len({action.get("name") for action in actions}) != len(actions):
        raise ServiceError("InvalidStageDeclarationException", f"stage {name}: action names must be unique")
    made: set[str] = set()
    for action in sorted(actions, key=lambda one: one["runOrder"]):
        _validate_action(name, action, produced | made, first=first)
        outputs = {artifact["name"] for artifact in action["outputArtifacts"]}
        if outputs & (produced | made):
            raise _action(name, action, "output artifact names must be unique within the pipeline")
        made |= outputs
    return made


def _validate_action(stage: str, action: Json, available: set[str], *, first: bool) -> None:
    if not NAME.fullmatch(action.get("name", "")) or not 1 <= action["runOrder"] <= 999:
        raise _action(stage, action, "a valid name and a runOrder from 1 to 999 are required")
    rules = PROVIDERS.get(provider(action))
    if rules is None or action["actionTypeId"].get("version") != "1":
        raise _action(stage, action, f"action type {action['actionTypeId']} is not supported by the rehearsal")
    if (action["actionTypeId"]["category"] == "Source") != first:
        raise _action(stage, action, "source actions must be in the first stage, and only source actions can be there")
    for key in rules.required:
        if not action["configuration"].get(key):
            raise _action(stage, action, f"configuration is missing required key '{key}'")
    for key in action["configuration"]:
        if key not in (*rules.required, *rules.optional):
            raise _action(stage, action, f"configuration contains unknown key '{key}'")
    _validate_artifacts(stage, action, rules, available)


def _validate_artifacts(stage: str, action: Json, rules: Rules, available: set[str]) -> None:
    for key, (least, most) in (("inputArtifacts", rules.inputs), ("outputArtifacts", rules.outputs)):
        names = [artifact.get("name", "") for artifact in action[key]]
        if not least <= len(names) <= most:
            raise _action(stage, action, f"{key} has {len(names)} artifacts, not {least} to {most}")
        if not all(ARTIFACT.fullmatch(name) for name in names):
            raise _action(stage, action, f"{key}: artifact names must match {ARTIFACT.pattern}")
    missing = [one["name"] for one in action["inputArtifacts"] if one["name"] not in available]
    if missing:
        raise _action(stage, action, f"input artifact {missing[0]} is not an output of an earlier action")
    primary = action["configuration"].get("PrimarySource")
    if len(action["inputArtifacts"]) > 1 and primary not in [one["name"] for one in action["inputArtifacts"]]:
        raise _action(stage, action, "with several input artifacts, PrimarySource must name one of them")


def _structure(message: str) -> ServiceError:
    return ServiceError("InvalidStructureException", message)


def _action(stage: str, action: Json, message: str) -> ServiceError:
    where = f"action {action.get('name')} in stage {stage}"
    return ServiceError("InvalidActionDeclarationException", f"{where}: {message}")


def _api(value: Any, key: str = "") -> Any:
    """Spell keys as the API does, except in an action's Configuration, where the provider defines them."""
    if isinstance(value, dict):
        if key == "Configuration":
            return dict(value)
        return {name[:1].lower() + name[1:]: _api(one, name) for name, one in value.items()}
    if isinstance(value, list):
        return [_api(one) for one in value]
    return value


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
