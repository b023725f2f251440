"""CodePipeline and CodeConnections: execute the pipelines that stacks create.

- ``model``: pipelines, their executions and their webhooks
- ``service``: answers CodePipeline's API
- ``runner``: takes executions through the stages of their pipeline
- ``actions``: does the work of one action, with the pipeline role's credentials
- ``definition``: the rules for a pipeline's structure
- ``cloudformation``: creates, updates and deletes pipelines and webhooks for stacks
- ``webhooks``, ``connections``: start pipelines when a commit is pushed; ``connections`` is the CodeConnections service
- ``events``: reports every change of state to EventBridge
- ``github_client``: calls GitHub's API

The docstring of each module lists the differences from AWS. All of it runs in the process of ``rehearsal.aws``.
"""

from __future__ import annotations

from rehearsal.codepipeline import cloudformation, connections, service, webhooks
from rehearsal.emulator.extensions import Extensions


def register(extensions: Extensions) -> None:
    """Add the services, the CloudFormation resource types and the webhooks' endpoint."""
    service.register(extensions)
    cloudformation.register(extensions)
    webhooks.register()
    connections.register(extensions, on_push=webhooks.start_by_connection)
