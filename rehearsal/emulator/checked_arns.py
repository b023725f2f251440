"""The ARNs that IAM checks, where MiniStack checks others.

CloudWatch Logs: AWS checks streams, so a policy must name ``log-group:NAME:*``; MiniStack checks the group. Sources: the
Service Authorization Reference for Amazon CloudWatch Logs, and the service's AccessDenied messages, which end in
``:log-stream:NAME``.

Parameter Store: AWS checks each parameter that GetParameters names; MiniStack checks ``*``. Source:
https://docs.aws.amazon.com/systems-manager/latest/userguide/ps-retrieval-authorization.html
"""

from __future__ import annotations

from rehearsal.emulator.extensions import Extensions, Json

#: Actions that are checked against the ARN of the group.
TAGGING = ("ListTagsForResource", "TagResource", "UntagResource")


def log_stream_arn(action: str, request: Json, prefix: str) -> str | None:
    """Return the ARN of the log stream that a call names, or of all streams of the group."""
    identifier = str(request.get("logGroupIdentifier", "")).removesuffix(":*")
    group = request.get("logGroupName") or identifier.rpartition(":")[2]
    if action in TAGGING or not group:
        return None
    return f"{prefix}log-group:{group}:log-stream:{request.get('logStreamName', '')}"


def parameter_arn(action: str, request: Json, prefix: str) -> str | None:
    """Return the ARN of the parameter that GetParameters names; of several, none: as one question, only ``*`` covers them."""
    names = request.get("Names")
    if action != "GetParameters" or not isinstance(names, list) or len(names) != 1:
        return None
    return f"{prefix}parameter/{str(names[0]).removeprefix('/')}"


def register(extensions: Extensions) -> None:
    """Let IAM check these ARNs."""
    extensions.resource("logs", log_stream_arn)
    extensions.resource("ssm", parameter_arn)
