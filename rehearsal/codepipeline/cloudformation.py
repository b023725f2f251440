"""Handles the CloudFormation types AWS::CodePipeline::Pipeline and AWS::CodePipeline::Webhook.

Follows https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-codepipeline-pipeline.html
and aws-resource-codepipeline-webhook.html: Ref returns the name; Fn::GetAtt returns a pipeline's Version and a
webhook's Url. A new pipeline runs immediately:
https://docs.aws.amazon.com/codepipeline/latest/userguide/pipelines-create.html.

Differs from AWS: the properties in ``UNSUPPORTED`` are rejected.
"""

from __future__ import annotations

import secrets
import time
from typing import Any

from rehearsal.codepipeline import definition, github_client, runner
from rehearsal.codepipeline.model import RUNNING, Pipeline, Webhook, changing, pipelines, webhooks
from rehearsal.emulator import service_role
from rehearsal.emulator.extensions import Extensions, ResourceHandler

Json = dict[str, Any]

UNSUPPORTED = ("ArtifactStores", "Triggers")


class Rejected(Exception):
    """The resource cannot be created; the message becomes its status reason."""


def register(extensions: Extensions) -> None:
    """Add the resource types."""
    extensions.add_resource(
        "AWS::CodePipeline::Pipeline", ResourceHandler(create_pipeline, update_pipeline, delete_pipeline)
    )
    extensions.add_resource(
        "AWS::CodePipeline::Webhook", ResourceHandler(create_webhook, update_webhook, delete_webhook)
    )


def create_pipeline(logical_id: str, properties: Json, stack_name: str) -> tuple[str, Json]:
    """Create a pipeline and start its first execution.

    Raises:
        Rejected: the structure is invalid, the role does not trust CodePipeline, or the name is taken.
    """
    name = properties.get("Name") or f"{stack_name}-{logical_id}-{secrets.token_hex(6).upper()}"
    declaration = _declaration(properties, name)
    with changing:
        if name in pipelines:
            raise Rejected(f"A pipeline with the name '{name}' already exists in account")
        pipeline = Pipeline(declaration)
        _check_role(pipeline)
        _close_transitions(pipeline, properties)
        pipelines[name] = pipeline
    runner.begin(pipeline, {"triggerType": "CreatePipeline", "triggerDetail": ""})
    return name, {"Version": "1"}


def update_pipeline(physical_id: str, _old: Json, new: Json, stack_name: str) -> tuple[str, Json]:
    """Update a pipeline in place; a new name creates a new pipeline.

    Raises:
        Rejected: as for a new pipeline.
    """
    if new.get("Name", physical_id) != physical_id:
        return create_pipeline("Pipeline", new, stack_name)
    pipeline = pipelines[physical_id]
    declaration = _declaration(new, physical_id)
    _check_role(Pipeline(declaration))
    with pipeline.changes:
        pipeline.declaration = declaration
        pipeline.version += 1
        pipeline.updated = time.time()
        pipeline.changes.notify_all()
    if str(new.get("RestartExecutionOnUpdate", False)).lower() == "true":
        runner.begin(pipeline, {"triggerType": "StartPipelineExecution", "triggerDetail": "update"})
    return physical_id, {"Version": str(pipeline.version)}


def delete_pipeline(physical_id: str, _properties: Json) -> None:
    """Delete a pipeline and abandon its executions."""
    with changing:
        pipeline = pipelines.pop(physical_id, None)
    if pipeline is None:
        return
    pipeline.deleted = True
    for execution in pipeline.executions:
        if execution.status in RUNNING:
            runner.stop(execution, "the pipeline was deleted", abandon=True)


def create_webhook(logical_id: str, properties: Json, stack_name: str) -> tuple[str, Json]:
    """Create a webhook; RegisterWithThirdParty registers it with GitHub, with the source action's token.

    Raises:
        Rejected: a property is invalid, its pipeline or source action does not exist, or GitHub refuses.
    """
    name = properties.get("Name") or f"{stack_name}-{logical_id}-{secrets.token_hex(6).upper()}"
    secret = properties.get("AuthenticationConfiguration", {}).get("SecretToken", "")
    if properties.get("Authentication") not in ("GITHUB_HMAC", "UNAUTHENTICATED"):
        raise Rejected(f"Authentication {properties.get('Authentication')} is not supported by the rehearsal")
    if properties["Authentication"] == "GITHUB_HMAC" and not secret:
        raise Rejected("GITHUB_HMAC needs AuthenticationConfiguration.SecretToken")
    if not properties.get("Filters"):
        raise Rejected("Filters: at least one is required")
    webhook = Webhook(
        name=name,
        pipeline=properties.get("TargetPipeline", ""),
        action=properties.get("TargetAction", ""),
        filters=[
            {"jsonPath": one["JsonPath"], "matchEquals": one.get("MatchEquals", "")} for one in properties["Filters"]
        ],
        authentication=properties["Authentication"],
        secret=secret,
    )
    action = _source_action(webhook)
    with changing:
        if name in webhooks:
            raise Rejected(f"A webhook with the name '{name}' already exists")
        webhooks[name] = webhook
    if _registers(properties):
        try:
            github_client.create_hook(_repository(action), action["configuration"]["OAuthToken"], webhook.url, secret)
        except (github_client.GitHubError, KeyError) as error:
            webhooks.pop(name)
            raise Rejected(f"Webhook could not be registered with GitHub. Error cause: {error}") from error
    return name, {"Url": webhook.url}


def update_webhook(physical_id: str, old: Json, new: Json, stack_name: str) -> tuple[str, Json]:
    """Replace a webhook.

    Raises:
        Rejected: as for a new webhook; the old one is deleted by then.
    """
    if new == old and physical_id in webhooks:
        return physical_id, {"Url": webhooks[physical_id].url}
    delete_webhook(physical_id, old)
    return create_webhook("Webhook", {"Name": physical_id, **new}, stack_name)


def delete_webhook(physical_id: str, properties: Json) -> None:
    """Delete a webhook, and its registration with GitHub if the token still allows it."""
    webhook = webhooks.pop(physical_id, None)
    if webhook is None or not _registers(properties):
        return
    try:
        action = _source_action(webhook)
        github_client.delete_hook(_repository(action), action["configuration"]["OAuthToken"], webhook.url)
    except (Rejected, github_client.GitHubError, KeyError):
        return  # the stack must not fail because of a hook that remains at GitHub and reaches no address


def _declaration(properties: Json, name: str) -> Json:
    wrong = [key for key in UNSUPPORTED if properties.get(key)]
    if wrong:
        raise Rejected(f"{wrong[0]} is not supported by the rehearsal")
    declaration = definition.from_template(properties, name)
    definition.validate(declaration)
    return declaration


def _check_role(pipeline: Pipeline) -> None:
    role = pipeline.declaration.get("roleArn", "")
    try:
        service_role.check(role, runner.SERVICE, pipeline.arn)
    except service_role.RoleRefused as error:
        raise Rejected(f"CodePipeline is not authorized to perform AssumeRole on role {role}: {error}") from error


def _close_transitions(pipeline: Pipeline, properties: Json) -> None:
    for one in properties.get("DisableInboundStageTransitions", []):
        transition = pipeline.transition(one["StageName"])
        transition.enabled, transition.reason = False, one.get("Reason", "")


def _source_action(webhook: Webhook) -> Json:
    pipeline = pipelines.get(webhook.pipeline)
    actions = pipeline.declaration["stages"][0]["actions"] if pipeline else []
    for action in actions:
        if action["name"] == webhook.action:
            found: Json = action
            return found
    raise Rejected(f"pipeline {webhook.pipeline} with source action {webhook.action} does not exist")


def _repository(action: Json) -> str:
    configuration = action["configuration"]
    return f"{configuration['Owner']}/{configuration['Repo']}"


def _registers(properties: Json) -> bool:
    return str(properties.get("RegisterWithThirdParty", False)).lower() == "true"
