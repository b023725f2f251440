"""How an AWS service comes by the credentials of the role that a project or pipeline names.

On AWS the service assumes its service role as ``codebuild.amazonaws.com`` or ``codepipeline.amazonaws.com``, with
``aws:SourceArn`` and ``aws:SourceAccount`` set, so that the role's trust policy can name the one resource
(https://docs.aws.amazon.com/IAM/latest/UserGuide/confused-deputy.html). MiniStack's AssumeRole has no such caller: its
root matches any service and carries neither key. So the trust policy is evaluated here, by MiniStack's evaluator, and
the session is put into MiniStack's store, where it is as good as one that AssumeRole gave.

Works only in the process of launcher.py, whose memory holds roles and sessions.
"""

from __future__ import annotations

import functools
import json
import secrets
import threading
import time
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import boto3
from botocore.config import Config

from rehearsal.emulator.client import root
from rehearsal.settings import settings

DURATION = 3600 * 12

#: Sessions may not be used by two threads at once; clients may.
_making = threading.Lock()


class RoleRefused(Exception):
    """The service may not assume the role; the message says what to look at."""


@dataclass(frozen=True)
class Credentials:
    """Temporary credentials of a role; ``expires`` is in epoch seconds."""

    role_arn: str
    access_key: str
    secret_key: str
    token: str
    expires: float

    def client(self, service: str) -> Any:
        """A client that acts as the role."""
        config = Config(proxies={}, retries={"mode": "standard", "max_attempts": 3})
        with _making:
            return _session().client(
                service,
                aws_access_key_id=self.access_key,
                aws_secret_access_key=self.secret_key,
                aws_session_token=self.token,
                region_name=settings.region,
                endpoint_url=settings.aws_url,
                config=config,
            )


@functools.cache
def _session() -> boto3.Session:
    """One session for all clients: it keeps the services' models, whose reading takes most of a client's making."""
    return boto3.Session()


def check(role_arn: str, service: str, source_arn: str) -> None:
    """Make sure that a service may assume a role for the sake of ``source_arn``.

    Raises:
        RoleRefused: there is no such role, or its trust policy does not let the service.
    """
    role = _role(role_arn)
    if role is None:
        raise RoleRefused(
            f"{service} is not authorized to perform: sts:AssumeRole on {role_arn}: there is no such role"
        )
    if not trusts(role.get("AssumeRolePolicyDocument", "{}"), role_arn, service, source_arn):
        raise RoleRefused(
            f"{service} is not authorized to perform: sts:AssumeRole on {role_arn}: the role's trust policy must allow "
            f"it to the service principal {service}, for aws:SourceArn {source_arn}"
        )


def assume(role_arn: str, service: str, source_arn: str, session_name: str) -> Credentials:
    """Assume a role as an AWS service does.

    Raises:
        RoleRefused: there is no such role, or its trust policy does not let the service.
    """
    check(role_arn, service, source_arn)
    role = _role(role_arn) or {}
    credentials = Credentials(
        role_arn=role_arn,
        access_key="ASIA" + "".join(secrets.choice("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") for _ in range(16)),
        secret_key=secrets.token_urlsafe(30),
        token=secrets.token_urlsafe(96),
        expires=time.time() + DURATION,
    )
    import_module("ministack.services.sts").register_session(
        credentials.access_key,
        {
            "Arn": f"arn:aws:sts::{settings.account}:assumed-role/{_name(role_arn)}/{session_name}",
            "UserId": f"{role.get('RoleId', '')}:{session_name}",
            "SecretAccessKey": credentials.secret_key,
            "SessionToken": credentials.token,
            "Expiration": credentials.expires,
            "AccountId": settings.account,
            "PrincipalType": "AssumedRole",
            "SourceAccessKeyId": "",
            "SourcePrincipalArn": service,
            "SessionTags": [],
            "SessionPolicies": None,
        },
    )
    return credentials


def trusts(document: str | dict[str, Any], role_arn: str, service: str, source_arn: str) -> bool:
    """Whether a trust policy lets a service assume the role for ``source_arn``; other principals do not count."""
    evaluator = import_module("ministack.core.iam_evaluator")
    policy: Any = json.loads(document) if isinstance(document, str) else document
    statements = policy.get("Statement", []) if isinstance(policy, dict) else []
    statements = [statements] if isinstance(statements, dict) else statements
    context = evaluator.EvalContext(
        principal_arn=service,
        principal_type="Service",
        principal_account=settings.account,
        action="sts:AssumeRole",
        resource_arn=role_arn,
        region=settings.region,
        service_context={"aws:sourcearn": source_arn, "aws:sourceaccount": settings.account},
    )
    # A trust policy has no Resource: it is its role's.
    whole = {"Statement": [{**statement, "Resource": "*"} for statement in statements]}
    return bool(evaluator.evaluate_resource_policy(whole, context, service=service).decision == "Allow")


def may(role_arn: str, action: str, resource: str) -> bool:
    """Whether a role's policies allow an action that no call of its own stands for, such as UseConnection."""
    answer = root("iam").simulate_principal_policy(
        PolicySourceArn=role_arn, ActionNames=[action], ResourceArns=[resource]
    )
    return all(result["EvalDecision"] == "allowed" for result in answer["EvaluationResults"])


def _name(role_arn: str) -> str:
    return role_arn.rpartition("/")[2]


def _role(role_arn: str) -> dict[str, Any] | None:
    account = (role_arn.split(":") + [""] * 5)[4]
    roles = import_module("ministack.services.iam")._roles  # noqa: SLF001 - GetRole would come back to this process
    role: dict[str, Any] | None = roles.get_scoped(account, None, _name(role_arn))
    return role
