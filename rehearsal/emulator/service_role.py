"""How an AWS service gets credentials of the role that a project or pipeline names.

On AWS the service assumes its service role as ``codebuild.amazonaws.com`` or ``codepipeline.amazonaws.com``, with
``aws:SourceArn`` and ``aws:SourceAccount`` set, so that the role's trust policy can name the one resource
(https://docs.aws.amazon.com/IAM/latest/UserGuide/confused-deputy.html). MiniStack's AssumeRole has no such caller: its
root matches any service and carries neither key. So the trust policy is evaluated here, and MiniStack is given the
session. Works only in the process of rehearsal/aws.py.
"""

from __future__ import annotations

import functools
import threading
from dataclasses import dataclass
from typing import Any

import boto3
from botocore.config import Config

from rehearsal.emulator import ministack
from rehearsal.emulator.client import root
from rehearsal.emulator.extensions import Json
from rehearsal.settings import settings

#: Lifetime of a session in seconds.
DURATION = 3600 * 12

#: boto3 sessions are not thread-safe; clients are.
_making = threading.Lock()


class RoleRefused(Exception):
    """The service may not assume the role; the message says what to check."""


@dataclass(frozen=True)
class Credentials:
    """Temporary credentials of a role; ``expires`` is in epoch seconds."""

    role_arn: str
    access_key: str
    secret_key: str
    token: str
    expires: float

    def client(self, service: str) -> Any:
        """Return a client that acts as the role."""
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
    """Return one session for all clients: it caches the service models, which take longest to load."""
    return boto3.Session()


def check(role_arn: str, service: str, source_arn: str) -> None:
    """Make sure that a service may assume a role on behalf of ``source_arn``.

    Raises:
        RoleRefused: there is no such role, or its trust policy does not allow it.
    """
    role = ministack.role(role_arn)
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
        RoleRefused: there is no such role, or its trust policy does not allow it.
    """
    check(role_arn, service, source_arn)
    made = ministack.mint_session(role_arn, session_name, service, DURATION)
    return Credentials(role_arn, made.access_key, made.secret_key, made.token, made.expires)


def trusts(document: str | Json, role_arn: str, service: str, source_arn: str) -> bool:
    """Whether a trust policy lets a service assume the role on behalf of ``source_arn``."""
    context = {"aws:sourcearn": source_arn, "aws:sourceaccount": settings.account}
    return ministack.trust_policy_allows(document, role_arn, service, context)


def may(role_arn: str, action: str, resource: str) -> bool:
    """Whether a role's policies allow an action that is no API call of its own, such as UseConnection."""
    answer = root("iam").simulate_principal_policy(
        PolicySourceArn=role_arn, ActionNames=[action], ResourceArns=[resource]
    )
    return all(result["EvalDecision"] == "allowed" for result in answer["EvaluationResults"])
