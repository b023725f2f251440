"""Print the stack's parameters as JSON for CreateStack or UpdateStack; the GitHub token comes on standard input.

    printf '%s' "$GITHUB_TOKEN" | python3 scripts/stack_parameters.py create-stack|update-stack

What is not given keeps the template's default in a new stack and its present value in an old one (AWS CloudFormation API
reference, Parameter, ``UsePreviousValue``). A token and a connection exclude each other, so giving one clears the other.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping

#: The template's parameters, and the settings that they come from.
PARAMETERS = {
    "EksClusterName": "CLUSTER_NAME",
    "KubectlRoleName": "KUBECTL_ROLE_NAME",
    "GitHubUser": "GITHUB_USER",
    "GitSourceRepo": "GITHUB_REPO",
    "GitBranch": "GITHUB_BRANCH",
    "CodeBuildDockerImage": "CODEBUILD_IMAGE",
    "ApprovalRequired": "APPROVAL_REQUIRED",
    "NotificationEmail": "NOTIFICATION_EMAIL",
}


def stack_parameters(settings: Mapping[str, str], token: str, *, update: bool) -> list[dict[str, object]]:
    """Return the call's ``Parameters``."""
    values: dict[str, str | None] = {name: settings.get(setting) or None for name, setting in PARAMETERS.items()}
    connection = settings.get("CONNECTION_ARN", "")
    given = bool(token or connection)
    values |= {"GitHubToken": token if given else None, "ConnectionArn": connection if given else None}
    parameters: list[dict[str, object]] = []
    for name, value in values.items():
        if value is not None:
            parameters.append({"ParameterKey": name, "ParameterValue": value})
        elif update:
            parameters.append({"ParameterKey": name, "UsePreviousValue": True})
    return parameters


if __name__ == "__main__":
    json.dump(stack_parameters(os.environ, sys.stdin.read(), update=sys.argv[1] == "update-stack"), sys.stdout)
