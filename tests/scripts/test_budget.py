"""budget.sh with the real AWS CLI: the budget that it makes, what it changes in one that exists, and its rights."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.support.account import Aws, environment
from tests.support.desk import Desk
from tests.support.names import ACCOUNT, STACK
from tests.support.policies import LEARNER

pytestmark = [pytest.mark.services, pytest.mark.timeout(300)]

NAME = f"{STACK}-budget"
MINE, OTHER = "me@example.com", "you@example.com"
BUDGET = {"AccountId": ACCOUNT, "BudgetName": NAME}
CHANGES = ("create-", "update-", "delete-")


@pytest.fixture(autouse=True)
def _without_budget(aws: Aws) -> None:
    budgets = aws.root("budgets")
    for each in budgets.describe_budgets(AccountId=ACCOUNT).get("Budgets", []):
        budgets.delete_budget(AccountId=ACCOUNT, BudgetName=each["BudgetName"])


def alarms(aws: Aws) -> dict[float, list[str]]:
    """Return the addresses of each alarm, by its percentage."""
    budgets = aws.root("budgets")
    found = budgets.describe_notifications_for_budget(**BUDGET)["Notifications"]
    assert all(
        (each["NotificationType"], each["ComparisonOperator"], each["ThresholdType"])
        == ("ACTUAL", "GREATER_THAN", "PERCENTAGE")
        for each in found
    )
    return {
        each["Threshold"]: [
            one["Address"]
            for one in budgets.describe_subscribers_for_notification(**BUDGET, Notification=each)["Subscribers"]
        ]
        for each in found
    }


def made(aws: Aws) -> Any:
    return aws.root("budgets").describe_budget(**BUDGET)["Budget"]


def run(desk: Desk, aws: Aws, **given: str) -> tuple[str, list[str]]:
    """Run it; return what it printed and the changing operations."""
    desk.forget()
    done = desk.run("budget.sh", **environment(aws, **({"BUDGET_EMAIL": MINE} | given)))
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout, [word for call in desk.calls() for word in call if word.startswith(CHANGES)]


def test_creates_a_monthly_budget_with_two_alarms_in_one_call(desk: Desk, aws: Aws) -> None:
    said, changes = run(desk, aws)
    assert said.splitlines() == [
        f"==> Look for the budget {NAME}",
        "==> Create the budget: $20 a month",
        "==> The budget is up to date",
    ]
    assert changes == ["create-budget"]
    found = made(aws)
    assert (found["BudgetType"], found["TimeUnit"]) == ("COST", "MONTHLY")
    assert found["BudgetLimit"] == {"Amount": "20", "Unit": "USD"}
    assert alarms(aws) == {50: [MINE], 100: [MINE]}
    assert run(desk, aws) == (f"==> Look for the budget {NAME}\n==> The budget is up to date\n", [])


def test_changes_only_what_differs(desk: Desk, aws: Aws) -> None:
    run(desk, aws)
    said, changes = run(desk, aws, BUDGET_AMOUNT="50")
    assert "==> Change the budget from $20 to $50 a month" in said.splitlines()
    assert changes == ["update-budget"]
    assert made(aws)["BudgetLimit"]["Amount"] == "50"
    assert alarms(aws) == {50: [MINE], 100: [MINE]}, "an update keeps the alarms"
    _, changes = run(desk, aws, BUDGET_AMOUNT="50", BUDGET_EMAIL=OTHER)
    assert changes == ["update-subscriber"] * 2
    assert alarms(aws) == {50: [OTHER], 100: [OTHER]}


def test_restores_an_alarm_that_someone_deleted_and_keeps_other_addresses(desk: Desk, aws: Aws) -> None:
    run(desk, aws)
    budgets = aws.root("budgets")
    half, full = budgets.describe_notifications_for_budget(**BUDGET)["Notifications"]
    budgets.delete_notification(**BUDGET, Notification=half)
    for address in (OTHER, "third@example.com"):
        budgets.create_subscriber(
            **BUDGET, Notification=full, Subscriber={"SubscriptionType": "EMAIL", "Address": address}
        )
    assert run(desk, aws, BUDGET_EMAIL=OTHER)[1] == ["create-notification"]
    assert alarms(aws) == {50: [OTHER], 100: [MINE, OTHER, "third@example.com"]}


def test_an_amount_with_a_fraction_of_zero_is_the_same(desk: Desk, aws: Aws) -> None:
    """AWS answers 20.0."""
    limit = {"Amount": "20.0", "Unit": "USD"}
    run(desk, aws)
    aws.root("budgets").update_budget(
        AccountId=ACCOUNT,
        NewBudget={"BudgetName": NAME, "BudgetType": "COST", "TimeUnit": "MONTHLY", "BudgetLimit": limit},
    )
    assert run(desk, aws)[1] == []


def test_the_learner_may_make_this_budget_and_no_other(aws: Aws) -> None:
    (statement,) = [each for each in LEARNER["scripts"]["Statement"] if each["Sid"] == "Budget"]
    iam = aws.root("iam")
    iam.create_user(UserName="budgeter")
    keys = iam.create_access_key(UserName="budgeter")["AccessKey"]
    new = {"BudgetType": "COST", "TimeUnit": "MONTHLY", "BudgetLimit": {"Amount": "1", "Unit": "USD"}}

    def asked(operation: str, name: str = NAME) -> str:
        named = {"Budget": new | {"BudgetName": name}} if operation == "create_budget" else {"BudgetName": name}
        try:
            getattr(aws.client("budgets", **keys), operation)(AccountId=ACCOUNT, **named)
        except ClientError as error:
            return str(error.response["Error"]["Code"])
        return "allowed"

    def allow(*actions: str) -> None:
        policy = {"Version": "2012-10-17", "Statement": [statement | {"Action": list(actions)}]}
        iam.put_user_policy(UserName="budgeter", PolicyName="own", PolicyDocument=json.dumps(policy))

    try:
        allow(*statement["Action"])
        calls = ("create_budget", "describe_budget", "delete_budget")
        assert [asked(each) for each in calls] == ["allowed"] * 3
        assert [asked(each, "payroll") for each in calls] == ["AccessDeniedException"] * 3
        allow("budgets:ViewBudget")
        assert asked("create_budget") == asked("delete_budget") == "AccessDeniedException"
        allow("budgets:ModifyBudget")
        assert asked("describe_budget") == "AccessDeniedException"
    finally:
        iam.delete_user_policy(UserName="budgeter", PolicyName="own")
        iam.delete_access_key(UserName="budgeter", AccessKeyId=keys["AccessKeyId"])
        iam.delete_user(UserName="budgeter")
