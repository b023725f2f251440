"""The ARNs that IAM checks for CloudWatch Logs.

AWS checks streams, so a policy must name ``log-group:NAME:*``; MiniStack checks the group. Sources: the Service
Authorization Reference for Amazon CloudWatch Logs, and the service's AccessDenied messages, which end in
``:log-stream:NAME``.
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


def register(extensions: Extensions) -> None:
    """Let IAM check these ARNs."""
    extensions.resource("logs", log_stream_arn)
