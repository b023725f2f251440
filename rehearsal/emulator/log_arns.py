"""The ARNs that IAM checks, where MiniStack names another than AWS does.

CloudWatch Logs checks streams, so that a policy must name ``log-group:NAME:*``: the Service Authorization Reference
for Amazon CloudWatch Logs, and the AccessDenied messages of the service, which end in ``:log-stream:NAME``.
"""

from __future__ import annotations

from rehearsal.emulator.extensions import Extensions, Json

#: Actions whose resource is the group by its ARN alone.
TAGGING = ("ListTagsForResource", "TagResource", "UntagResource")


def log_stream_arn(action: str, request: Json, prefix: str) -> str | None:
    """Return the ARN of the log stream, or of all streams of the group, that a call names."""
    identifier = str(request.get("logGroupIdentifier", "")).removesuffix(":*")
    group = request.get("logGroupName") or identifier.rpartition(":")[2]
    if action in TAGGING or not group:
        return None
    return f"{prefix}log-group:{group}:log-stream:{request.get('logStreamName', '')}"


def register(extensions: Extensions) -> None:
    """Tell MiniStack."""
    extensions.resource("logs", log_stream_arn)
