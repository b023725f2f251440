"""What IAM is asked about AWS Budgets: the action and the ARN.

ViewBudget stands for every operation that reads, ModifyBudget for those that create, change or delete a budget, its
notifications and their subscribers; budget ARNs have no region. Source: the Service Authorization Reference for AWS Budget
Service. MiniStack has the service, and asks about the operation's own name.

Differs from AWS: nothing is ever spent, so no email is sent; the message of a denied call names the operation.
"""

from __future__ import annotations

import dataclasses

from rehearsal.emulator.extensions import Extensions, Json, Question
from rehearsal.emulator.service_reference import details


def budget_arn(_action: str, request: Json, prefix: str) -> str:
    """Return the ARN of the budget that a call concerns, or of all budgets."""
    name = request.get("BudgetName") or (request.get("Budget") or request.get("NewBudget") or {}).get("BudgetName", "*")
    partition, account = prefix.split(":")[1], prefix.split(":")[4]
    return f"arn:{partition}:budgets::{account}:budget/{name}"


def as_aws_asks(question: Question) -> Question:
    """Return a question with the action that authorises the operation."""
    service, _, operation = question.action.partition(":")
    if service != "budgets" or details(question.action):
        return question
    action = "ViewBudget" if operation.startswith("Describe") else "ModifyBudget"
    return dataclasses.replace(question, action=f"budgets:{action}")


def register(extensions: Extensions) -> None:
    """Let IAM be asked this."""
    extensions.resource("budgets", budget_arn)
    extensions.amend_question(as_aws_asks)
