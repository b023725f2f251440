"""Calls that AWS refuses, in its words, where MiniStack accepts them or says something else.

Follows "AWS JSON policy elements: Principal" of the IAM user guide, and CloudFormation's errors as its troubleshooting guide
quotes them. Differs from AWS: that a principal exists is not checked, and nothing of a role in a stack is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any
from xml.sax.saxutils import escape

from rehearsal.emulator.extensions import Call, Extensions, Json, Proceed, Response

NAMESPACE = "https://iam.amazonaws.com/doc/2010-05-08/"
#: The calls with a trust policy, and their parameter that has it.
DOCUMENTS = {"CreateRole": "AssumeRolePolicyDocument", "UpdateAssumeRolePolicy": "PolicyDocument"}
#: Whom the element AWS of a principal may name: everyone, an account, or an identity.
PRINCIPAL = re.compile(
    r"\*|\d{12}|arn:aws[a-z-]*:(iam::\d{12}:(root|(user|role)/[\w+=,.@/-]+)|sts::\d{12}:(assumed-role|federated-user)/\S+)|"
    r"A[A-Z]{3}[A-Z0-9]{12,}"
)
#: MiniStack's own words.
NOT_UPDATED = re.compile(rb"Stack \[([^\]]*)\] is in (\w+) state and cannot be updated")


def trust(call: Call, proceed: Proceed) -> Response:
    """Refuse a trust policy with a principal that can be no one."""
    if call.action not in DOCUMENTS:
        return proceed()
    for principal in _principals(call.form.get(DOCUMENTS[call.action], "")):
        if not PRINCIPAL.fullmatch(principal):
            return _refusal("MalformedPolicyDocument", f'Invalid principal in policy: "AWS":"{principal}"')
    return proceed()


def update(_: Call, proceed: Proceed) -> Response:
    """Say that a stack is in no state to be updated as CloudFormation does."""
    status, headers, body = proceed()
    return status, headers, NOT_UPDATED.sub(rb"Stack:\1 is in \2 state and can not be updated.", body)


def _principals(document: str) -> Iterator[str]:
    """The principals of the kind AWS in a policy; none if it cannot be read, which MiniStack refuses."""
    try:
        statements = _list(json.loads(document)["Statement"])
        for statement in statements:
            given = statement.get("Principal", {})
            yield from map(str, _list(given.get("AWS", [])) if isinstance(given, dict) else [])
    except (ValueError, TypeError, KeyError, AttributeError):
        return


def _list(value: Json | list[Any] | str) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _refusal(code: str, message: str) -> Response:
    error = f"<Type>Sender</Type><Code>{code}</Code><Message>{escape(message)}</Message>"
    body = f'<ErrorResponse xmlns="{NAMESPACE}"><Error>{error}</Error><RequestId>0</RequestId></ErrorResponse>'
    return 400, {"Content-Type": "text/xml"}, body.encode()


def register(extensions: Extensions) -> None:
    """Refuse these calls."""
    extensions.around("iam", trust)
    extensions.around("cloudformation", update)
