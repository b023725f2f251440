"""CodePipeline: executes the pipelines that stacks create.

cloudformation.py makes pipelines and webhooks from a stack, runner.py takes executions through the stages, actions.py does
the work of an action as the pipeline's role, service.py answers the API, connections.py is CodeConnections; the
docstring of each says where it differs from AWS. All of it lives in the process of launcher.py.
"""

from __future__ import annotations

from rehearsal.codepipeline import cloudformation, connections, runner, service, webhooks
from rehearsal.codepipeline.definition import Json
from rehearsal.codepipeline.model import Pipeline
from rehearsal.emulator.extensions import Extensions, ResourceHandler


def register(extensions: Extensions) -> None:
    """Add the services, the CloudFormation types and the addresses."""
    extensions.add_service("codepipeline", "CodePipeline_20150709", service.handle, resource=service.resource_of)
    extensions.add_resource(
        "AWS::CodePipeline::Pipeline",
        ResourceHandler(cloudformation.create_pipeline, cloudformation.update_pipeline, cloudformation.delete_pipeline),
    )
    extensions.add_resource(
        "AWS::CodePipeline::Webhook",
        ResourceHandler(cloudformation.create_webhook, cloudformation.update_webhook, cloudformation.delete_webhook),
    )
    webhooks.serve(service.pipelines.get, _start)
    connections.register(extensions, _pushed)


def _start(pipeline: Pipeline, trigger: Json, revisions: dict[str, str]) -> object:
    return runner.begin(pipeline, trigger, revisions=revisions, variables=cloudformation.defaults(pipeline.declaration))


def _pushed(event: Json) -> None:
    webhooks.start_by_connection(event, list(service.pipelines.values()), _start)
