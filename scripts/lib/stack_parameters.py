"""Print the stack's parameters as JSON for CreateStack or UpdateStack. Reads the GitHub token from standard input.

    printf '%s' "$GITHUB_TOKEN" | python3 scripts/lib/stack_parameters.py create-stack|update-stack
    aws cloudformation describe-stacks ... --query 'Stacks[0].Parameters' | python3 scripts/lib/stack_parameters.py compare

A parameter without a setting keeps the template's default in a new stack, and its current value in an existing one (AWS
CloudFormation API reference, Parameter, ``UsePreviousValue``). A token and a connection exclude each other, so setting
one clears the other. ``compare`` exits with 1 if an update without a token would change any of the stack's parameters.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping

#: The template's parameters, and the settings that provide them.
PARAMETERS = {
    "EksClusterName": "CLUSTER_NAME",
    "AppNamespace": "APP_NAMESPACE",
    "KubectlRoleName": "KUBECTL_ROLE_NAME",
    "KubectlRoleId": "KUBECTL_ROLE_ID",
    "GitHubUser": "GITHUB_USER",
    "GitSourceRepo": "GITHUB_REPO",
    "GitBranch": "GITHUB_BRANCH",
    "CodeBuildDockerImage": "CODEBUILD_IMAGE",
    "ApprovalRequired": "APPROVAL_REQUIRED",
    "NotificationEmail": "NOTIFICATION_EMAIL",
}


def stack_parameters(settings: Mapping[str, str], token: str, *, update: bool) -> list[dict[str, object]]:
    """Return the ``Parameters`` of the call."""
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


def equal(wanted: Iterable[Mapping[str, object]], present: Iterable[Mapping[str, object]]) -> bool:
    """Return whether the stack has the wanted values. The token is hidden, so only the connection is compared."""
    values = {each["ParameterKey"]: each["ParameterValue"] for each in present}
    given = {each["ParameterKey"]: each["ParameterValue"] for each in wanted if "ParameterValue" in each}
    return all(values.get(name) == value for name, value in given.items() if name != "GitHubToken")


if __name__ == "__main__":
    if sys.argv[1] == "compare":
        sys.exit(not equal(stack_parameters(os.environ, "", update=True), json.load(sys.stdin)))
    json.dump(stack_parameters(os.environ, sys.stdin.read(), update=sys.argv[1] == "update-stack"), sys.stdout)
