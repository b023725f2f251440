"""The stack's parameters: for CreateStack or UpdateStack, and what an update keeps or changes.

    printf '%s' "$GITHUB_TOKEN" | python3 scripts/lib/stack_parameters.py create-stack
    printf '%s' "$GITHUB_TOKEN" | python3 scripts/lib/stack_parameters.py update-stack PRESENT
    python3 scripts/lib/stack_parameters.py keep PRESENT SETTING...
    python3 scripts/lib/stack_parameters.py changes PRESENT

PRESENT is a file with the stack's ``Parameters``, as DescribeStacks returns them. The first two print ``Parameters`` as
JSON and read the token from standard input. A parameter without a setting keeps the template's default in a new stack,
and its value in an existing one (AWS CloudFormation API reference, Parameter, ``UsePreviousValue``). A token and a
connection exclude each other, so setting one clears the other.

``keep`` prints a line ``NAME=VALUE`` for each setting whose value the stack keeps: all but those named, which the
environment or settings.sh gives, and those that settings.sh has changed from the template's default. ``changes`` prints
what an update without a token would change.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Collection, Mapping
from pathlib import Path

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
    "Staging": "STAGING",
    "ApprovalRequired": "APPROVAL_REQUIRED",
    "FailOnSeverity": "FAIL_ON_SEVERITY",
    "NotificationEmail": "NOTIFICATION_EMAIL",
}


TEMPLATE = Path(__file__).parents[2] / "ci-cd-codepipeline.cfn.yml"


def stack_parameters(settings: Mapping[str, str], token: str, present: Collection[str] = ()) -> list[dict[str, object]]:
    """Return the ``Parameters`` of the call; ``present`` are the names of those that the stack has already."""
    values: dict[str, str | None] = {name: settings.get(setting) or None for name, setting in PARAMETERS.items()}
    connection = settings.get("CONNECTION_ARN", "")
    given = bool(token or connection)
    values |= {"GitHubToken": token if given else None, "ConnectionArn": connection if given else None}
    parameters: list[dict[str, object]] = []
    for name, value in values.items():
        if value is not None:
            parameters.append({"ParameterKey": name, "ParameterValue": value})
        elif name in present:
            parameters.append({"ParameterKey": name, "UsePreviousValue": True})
    return parameters


def defaults() -> dict[str, str]:
    """Return the template's defaults, which are those of settings.sh."""
    found = re.findall(
        r"^  (\w+):\n    Type: String\n    Default: (\S+)$", TEMPLATE.read_text(encoding="utf-8"), re.MULTILINE
    )
    return dict(found)


def kept(settings: Mapping[str, str], given: Collection[str], present: Mapping[str, str]) -> dict[str, str]:
    """Return the settings whose value the stack keeps, with that value."""
    shipped = defaults()
    return {
        setting: present[name]
        for name, setting in PARAMETERS.items()
        if present.get(name) and setting not in given
        if setting.startswith("GITHUB_") or settings.get(setting, "") in ("", shipped.get(name))
    }


def changes(settings: Mapping[str, str], present: Mapping[str, str]) -> list[str]:
    """Return what an update changes. The token is hidden, so only the connection is compared."""
    wanted = {str(each["ParameterKey"]): each.get("ParameterValue") for each in stack_parameters(settings, "", present)}
    return [
        f"Change {name} from {present.get(name, '')!r} to {value!r}"
        for name, value in wanted.items()
        if name != "GitHubToken" and value is not None and value != present.get(name)
    ]


def main() -> None:
    """Run the command line."""
    verb, *arguments = sys.argv[1:]
    parameters = json.loads(Path(arguments[0]).read_text(encoding="utf-8")) if arguments else []
    present = {each["ParameterKey"]: each["ParameterValue"] for each in parameters}
    if verb == "keep":
        sys.stdout.writelines(f"{name}={value}\n" for name, value in kept(os.environ, arguments[1:], present).items())
    elif verb == "changes":
        sys.stdout.writelines(f"{line}\n" for line in changes(os.environ, present))
    else:
        json.dump(stack_parameters(os.environ, sys.stdin.read(), present), sys.stdout)


if __name__ == "__main__":
    main()
