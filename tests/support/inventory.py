"""Lists what is in the account, with boto3 and without the scripts, so that two points in time can be compared."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from botocore.exceptions import ClientError

from tests.support.names import ACCOUNT

#: Random suffixes of the names that CloudFormation generates, and ids of roles.
RANDOM = re.compile(r"(?<=-)[0-9A-Fa-f]{13}\b|\bAROA[0-9A-Z]+")

Inventory = dict[str, list[str]]


def inventory(client: Callable[[str], Any]) -> Inventory:
    """Return the names and settings of everything that the tutorial may create; ``client(service)`` is root's client.

    Random parts of names and ids are replaced. While an operation of a stack is in progress, only its status is returned.
    """
    moving = [text for text in _stacks(client) if "_IN_PROGRESS" in text]
    if moving:
        return {"stacks": moving}
    lists = {
        "stacks": _stacks(client),
        "roles": [_role(client, each["RoleName"]) for each in client("iam").list_roles()["Roles"]],
        "policies": [each["Arn"] for each in client("iam").list_policies(Scope="Local")["Policies"]],
        "budgets": _budgets(client),
        "clusters": [_cluster(client, name) for name in client("eks").list_clusters()["clusters"]],
        "buckets": [each["Name"] for each in client("s3").list_buckets()["Buckets"]],
        "functions": [each["FunctionName"] for each in client("lambda").list_functions()["Functions"]],
        "repositories": [each["repositoryName"] for each in client("ecr").describe_repositories()["repositories"]],
        "projects": client("codebuild").list_projects()["projects"],
        "log groups": [each["logGroupName"] for each in client("logs").describe_log_groups()["logGroups"]],
        "secrets": [each["Name"] for each in client("secretsmanager").list_secrets()["SecretList"]],
        "topics": [each["TopicArn"] for each in client("sns").list_topics()["Topics"]],
        "rules": [each["Name"] for each in client("events").list_rules()["Rules"]],
    }
    return {kind: sorted(RANDOM.sub("*", name) for name in names) for kind, names in lists.items()}


def _budgets(client: Callable[[str], Any]) -> list[str]:
    budgets = client("budgets")
    found = budgets.describe_budgets(AccountId=ACCOUNT).get("Budgets", [])
    return [f"{each['BudgetName']} {_alarms(budgets, each['BudgetName'])} {each['BudgetLimit']}" for each in found]


def _alarms(budgets: Any, name: str) -> list[str]:
    named = {"AccountId": ACCOUNT, "BudgetName": name}
    return [
        f"{alarm['NotificationType']} {alarm['Threshold']:g}% {each['Address']}"
        for alarm in budgets.describe_notifications_for_budget(**named)["Notifications"]
        for each in budgets.describe_subscribers_for_notification(**named, Notification=alarm)["Subscribers"]
    ]


def _stacks(client: Callable[[str], Any]) -> list[str]:
    found = client("cloudformation").describe_stacks()["Stacks"]
    return [_stack(client, each) for each in found if each["StackStatus"] != "DELETE_COMPLETE"]


def _stack(client: Callable[[str], Any], stack: Any) -> str:
    name, status = stack["StackName"], stack["StackStatus"]
    if status.endswith("_IN_PROGRESS"):
        return f"{name} {status}"
    parameters = {each["ParameterKey"]: each["ParameterValue"] for each in stack.get("Parameters", [])}
    resources = client("cloudformation").describe_stack_resources(StackName=name)["StackResources"]
    made = sorted(f"{each['LogicalResourceId']} {each['ResourceStatus']}" for each in resources)
    return f"{name} {status} {json.dumps(parameters, sort_keys=True)} {made}"


def _role(client: Callable[[str], Any], name: str) -> str:
    iam = client("iam")
    trust = iam.get_role(RoleName=name)["Role"]["AssumeRolePolicyDocument"]
    inline = {
        policy: iam.get_role_policy(RoleName=name, PolicyName=policy)["PolicyDocument"]
        for policy in iam.list_role_policies(RoleName=name)["PolicyNames"]
    }
    return f"{name} {json.dumps([trust, inline], sort_keys=True)}"


def _cluster(client: Callable[[str], Any], name: str) -> str:
    eks = client("eks")
    cluster = eks.describe_cluster(name=name)["cluster"]
    try:
        entries = sorted(eks.list_access_entries(clusterName=name)["accessEntries"])
    except ClientError:  # a cluster without them
        entries = []
    return f"{name} {cluster['status']} {cluster['version']} {entries}"
