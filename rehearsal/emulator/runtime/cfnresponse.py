"""The module that AWS adds to the inline Python code of a Lambda function: one call answers CloudFormation.

Follows https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/cfn-lambda-function-code-cfnresponsemodule.html:
the answer's fields, their defaults, and that a failure to send is printed, not raised. In the rehearsal, functions find
it on PYTHONPATH; on AWS it is in the function's own archive.
"""

# ruff: noqa: INP001, N803, PLR0917 - a module on its own, with AWS's names and order

from __future__ import annotations

import json
from typing import Any
from urllib.request import Request, urlopen

SUCCESS = "SUCCESS"
FAILED = "FAILED"
LIMIT = 4096
"""Largest answer that CloudFormation accepts, in bytes."""


def send(
    event: dict[str, Any],
    context: Any,
    responseStatus: str,
    responseData: dict[str, Any],
    physicalResourceId: str | None = None,
    noEcho: bool = False,
    reason: str | None = None,
) -> None:
    """Send the answer to the URL in the event."""
    answer = {
        "Status": responseStatus,
        "Reason": reason or f"See the details in CloudWatch Log Stream: {context.log_stream_name}",
        "PhysicalResourceId": physicalResourceId or context.log_stream_name,
        "StackId": event["StackId"],
        "RequestId": event["RequestId"],
        "LogicalResourceId": event["LogicalResourceId"],
        "NoEcho": noEcho,
        "Data": responseData,
    }
    body = json.dumps(answer).encode()
    if len(body) > LIMIT:
        print(f"send(..) failed: the answer has {len(body)} bytes, and CloudFormation takes {LIMIT}")
        return
    request = Request(event["ResponseURL"], body, {"Content-Type": ""}, method="PUT")  # noqa: S310 - from CloudFormation
    try:
        with urlopen(request, timeout=30) as response:  # noqa: S310
            print("Status code:", response.status)
    except OSError as error:
        print("send(..) failed:", error)
