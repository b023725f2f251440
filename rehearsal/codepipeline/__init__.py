"""CodePipeline: executes the pipelines that stacks create.

cloudformation.py makes pipelines and webhooks from a stack, runner.py takes executions through the stages, actions.py does
the work of an action as the pipeline's role, service.py answers the API, connections.py is CodeConnections; the
docstring of each says where it differs from AWS. All of it lives in the process of launcher.py.
"""

from __future__ import annotations

from rehearsal.codepipeline import cloudformation, connections, service, webhooks
from rehearsal.emulator.extensions import Extensions


def register(extensions: Extensions) -> None:
    """Add the services, the CloudFormation types and the webhooks' addresses."""
    service.register(extensions)
    cloudformation.register(extensions)
    webhooks.register()
    connections.register(extensions, on_push=webhooks.start_by_connection)
