"""Every policy against AWS's service reference: its actions, their resources and their condition keys exist."""

from __future__ import annotations

import pytest
from parliament.statement import GLOBAL_CONDITION_KEYS

from rehearsal.emulator import service_reference
from tests.support.fixtures import Figure
from tests.support.policies import (
    arn_form,
    condition_keys,
    every_policy,
    expanded,
    fits,
    statements,
)
from tests.support.privileges import Json

GLOBAL = {key.lower() for key in GLOBAL_CONDITION_KEYS}


def problems(policy: Json) -> list[str]:
    """Return what AWS's reference says against a policy."""
    return [problem for statement in statements(policy) for problem in problems_of(statement)]


def problems_of(statement: Json) -> list[str]:
    unknown = [pattern for pattern in statement["Action"] if not expanded(pattern)]
    actions = [action for pattern in statement["Action"] for action in expanded(pattern)]
    found = [f"{action} does not exist" for action in unknown]
    for keys in statement.get("Condition", {}).values():
        found += [
            f"{action} has no condition key {key}"
            for action in actions
            for key in keys
            if key.lower() not in condition_keys(action) | GLOBAL
        ]
    if statement["Resource"]:
        found += unfit_resources(statement["Resource"], actions)
    # What applies to every action, such as s3:*, need not apply to each.
    if statement["Resource"] and statement["Effect"] == "Allow":
        found += [problem for action in actions for problem in unfit(action, statement["Resource"])]
    return found


def unfit(action: str, resources: list[str]) -> list[str]:
    """Return why an action is never allowed by these resources."""
    types = (service_reference.details(action) or {})["resourceTypes"]
    if not types:
        return [] if "*" in resources else [f"{action} has no resource types: its Resource must be *"]
    missing = [
        each["name"] for each in types if not any(fits(one, arn_form(action, each["name"])) for one in resources)
    ]
    required = {each["name"] for each in types if each["required"]}
    if required & set(missing) or len(missing) == len(types):
        return [f"{action} needs a resource of the type {', '.join(sorted(required & set(missing) or missing))}"]
    return []


def unfit_resources(resources: list[str], actions: list[str]) -> list[str]:
    """Return the resources to which none of the actions applies."""
    forms = {
        arn_form(action, each["name"])
        for action in actions
        for each in (service_reference.details(action) or {})["resourceTypes"]
    }
    return [f"no action is about {one}" for one in resources if one != "*" and not any(fits(one, f) for f in forms)]


@pytest.mark.parametrize("name", every_policy())
def test_policy_agrees_with_aws_reference(name: str) -> None:
    assert problems(every_policy()[name]) == []


def test_every_policy_is_checked(figure: Figure) -> None:
    checked = [statement for policy in every_policy().values() for statement in statements(policy)]
    actions = {action for statement in checked for pattern in statement["Action"] for action in expanded(pattern)}
    # Three of the learner, two of the kubectl role, and each role, policy and trust policy of the template.
    assert len(every_policy()) == 14
    figure(
        "every action, resource and condition key of every policy is in AWS's service reference",
        f"{len(every_policy())} policies, {len(actions)} actions",
    )


@pytest.mark.parametrize(
    ("action", "resource", "condition", "problem"),
    [
        ("ecr:PutPicture", "*", {}, "ecr:PutPicture does not exist"),
        ("registry:PutImage", "*", {}, "registry:PutImage does not exist"),
        (
            "codeconnections:CreateConnection",
            "arn:aws:codeconnections:us-east-2:111122223333:*",
            {},
            "codeconnections:CreateConnection has no resource types: its Resource must be *",
        ),
        (
            "s3:GetBucketVersioning",
            "arn:aws:s3:us-east-2:111122223333:storage-lens/x",
            {},
            "s3:GetBucketVersioning needs a resource of the type bucket",
        ),
        (
            "ec2:AttachInternetGateway",
            "arn:aws:ec2:us-east-2:111122223333:vpc/*",
            {},
            "ec2:AttachInternetGateway needs a resource of the type internet-gateway",
        ),
        (
            "iam:PassRole",
            "*",
            {"StringEquals": {"iam:PassedTo": "lambda.amazonaws.com"}},
            "iam:PassRole has no condition key iam:PassedTo",
        ),
    ],
)
def test_wrong_statement_is_reported(action: str, resource: str, condition: Json, problem: str) -> None:
    statement = {"Effect": "Allow", "Action": action, "Resource": resource, "Condition": condition}
    assert problem in problems({"Statement": statement})


def test_resource_of_no_action_is_reported() -> None:
    role = "arn:aws:iam::111122223333:role/x"
    statement = {"Effect": "Allow", "Action": "iam:GetRole", "Resource": [role, role.replace("role", "user")]}
    assert problems({"Statement": statement}) == ["no action is about arn:aws:iam::111122223333:user/x"]
