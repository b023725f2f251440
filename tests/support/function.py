"""The function of the stack on its own: the template's inline code, with stand-ins for IAM, S3 and CloudFormation."""

from __future__ import annotations

import copy
import importlib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from tests.support.names import ROLE
from tests.support.template import TEMPLATE

STACK_ID = "arn:aws:cloudformation:us-east-2:111122223333:stack/aws-pipeline/5f3c9f1e-0000-4000-8000-000000000000"
BUILDS = "arn:aws:iam::111122223333:role/aws-pipeline-CodeBuildRole-1ABC"
OTHER_BUILDS = "arn:aws:iam::111122223333:role/other-CodeBuildRole-2DEF"
TRUST_QUOTA = 2048  #: characters of a trust policy without white space; IAM user guide, "IAM and AWS STS quotas"
ACCOUNT_ROOT = "arn:aws:iam::111122223333:root"
OPEN = {"Effect": "Allow", "Principal": {"AWS": ACCOUNT_ROOT}, "Action": "sts:AssumeRole"}


def held(*builds: str) -> dict[str, Any]:
    """Return the statement that trusts the account, limited to these builds."""
    return OPEN | {
        "Condition": {"ArnEquals": {"aws:PrincipalArn": sorted(builds)}, "Null": {"aws:PrincipalArn": "false"}}
    }


HELD = held(BUILDS)
OWN = {"Sid": "OnlyBuilds"} | HELD


def error(code: str, operation: str = "GetRole") -> ClientError:
    """Return an AWS error as botocore raises it."""
    return ClientError({"Error": {"Code": code, "Message": f"{code} happened"}}, operation)


class Iam:
    """Roles and their trust policies; ``failures`` are raised first, one per call, and None lets a call succeed."""

    def __init__(self) -> None:
        self.trust: dict[str, Any] = {}
        self.failures: list[BaseException | None] = []
        self.writes = 0
        self.after_write: Callable[[], None] = lambda: None

    def _check(self, role: str, operation: str) -> None:
        if self.failures and (failure := self.failures.pop(0)):
            raise failure
        if role not in self.trust:
            raise error("NoSuchEntity", operation)

    def get_role(self, RoleName: str) -> dict[str, Any]:  # noqa: N803 - botocore's spelling
        self._check(RoleName, "GetRole")
        return {"Role": {"AssumeRolePolicyDocument": copy.deepcopy(self.trust[RoleName])}}

    def update_assume_role_policy(self, RoleName: str, PolicyDocument: str) -> None:  # noqa: N803 - botocore's spelling
        self._check(RoleName, "UpdateAssumeRolePolicy")
        document = json.loads(PolicyDocument)
        names = [each["Sid"] for each in document["Statement"] if "Sid" in each]
        if not document["Statement"] or len(names) != len(set(names)):
            raise error("MalformedPolicyDocument", "UpdateAssumeRolePolicy")
        if len(json.dumps(document, separators=(",", ":"))) > TRUST_QUOTA:
            raise error("LimitExceeded", "UpdateAssumeRolePolicy")
        self.trust[RoleName] = document
        self.writes += 1
        self.after_write()


class S3:
    """Buckets and the number of object versions in each."""

    def __init__(self) -> None:
        self.buckets = {"artifacts": 3}
        self.errors: list[dict[str, str]] = []

    def Bucket(self, name: str) -> SimpleNamespace:  # noqa: N802 - boto3's spelling
        return SimpleNamespace(object_versions=SimpleNamespace(delete=lambda: self._delete(name)))

    def _delete(self, name: str) -> list[dict[str, Any]]:
        if name not in self.buckets:
            raise error("NoSuchBucket", "ListObjectVersions")
        if self.errors:
            return [{"Errors": self.errors}]
        self.buckets[name] = 0
        return [{}]


class Function:
    """The template's inline code, loaded as Lambda loads it, with stand-ins for AWS and for cfnresponse."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
        self.answers: list[dict[str, Any]] = []
        self.pauses: list[float] = []
        self.iam, self.s3 = Iam(), S3()
        self.iam.trust[ROLE] = {"Version": "2012-10-17", "Statement": [OPEN]}
        cfnresponse: Any = ModuleType("cfnresponse")
        cfnresponse.SUCCESS, cfnresponse.FAILED, cfnresponse.send = "SUCCESS", "FAILED", self._send
        monkeypatch.setitem(sys.modules, "cfnresponse", cfnresponse)
        monkeypatch.setattr(boto3, "client", {"iam": self.iam}.__getitem__)
        monkeypatch.setattr(boto3, "resource", {"s3": self.s3}.__getitem__)
        monkeypatch.setattr(time, "sleep", self.pauses.append)
        (directory / "index.py").write_text(source(), encoding="utf-8")
        monkeypatch.syspath_prepend(directory)
        monkeypatch.delitem(sys.modules, "index", raising=False)
        self.code = importlib.import_module("index")

    def _send(
        self, event: Any, _context: Any, status: str, data: Any, physical_id: str, *, reason: str | None = None
    ) -> None:
        body = {
            "Status": status,
            "Reason": reason or "See the details in CloudWatch Log Stream: x",
            "PhysicalResourceId": physical_id,
            "StackId": event["StackId"],
            "RequestId": event["RequestId"],
            "LogicalResourceId": event["LogicalResourceId"],
            "NoEcho": False,
            "Data": data,
        }
        assert len(json.dumps(body)) <= 4096, "CloudFormation takes 4096 bytes"
        self.answers.append(body)

    def __call__(self, request: str, seconds: float = 120, **event: Any) -> dict[str, Any]:
        """Invoke it with an event as CloudFormation sends it, and return its only response."""
        self.answers.clear()
        context = SimpleNamespace(get_remaining_time_in_millis=lambda: int(seconds * 1000), log_stream_name="x")
        whole = {
            "RequestType": request,
            "RequestId": "1",
            "StackId": STACK_ID,
            "LogicalResourceId": "KubectlRoleTrust",
            "ResponseURL": "https://example.invalid/",
            "ResourceProperties": properties(),
        }
        self.code.handler(whole | event, context)
        assert len(self.answers) == 1
        return self.answers[0]

    @property
    def statements(self) -> Any:
        """The statements of the kubectl role's trust policy."""
        return self.iam.trust[ROLE]["Statement"]

    @statements.setter
    def statements(self, value: Any) -> None:
        self.iam.trust[ROLE]["Statement"] = value


def source() -> str:
    """Return the function's code from the template."""
    return str(TEMPLATE["Resources"]["TrustFunction"]["Properties"]["Code"]["ZipFile"])


def properties(role: str = ROLE, builds: str = BUILDS) -> dict[str, str]:
    """Return the custom resource's properties; CloudFormation sends every value as a string."""
    return {
        "ServiceToken": "arn:aws:lambda:us-east-2:111122223333:function:f",
        "ServiceTimeout": "180",
        "KubectlRoleName": role,
        "CodeBuildRoleArn": builds,
        "ArtifactBucketName": "artifacts",
    }
