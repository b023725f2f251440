"""Tokens like those of `aws eks get-token`: a presigned STS request, encoded."""

from __future__ import annotations

import base64
import datetime as dt
from unittest import mock

import botocore.auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from rehearsal.settings import settings


def sign(name: str, keys: dict[str, str], seconds: int = 0) -> str:
    """Return a token for the cluster ``name`` signed with ``keys``, as if it were ``seconds`` from now."""
    moment = dt.datetime.now(dt.UTC).replace(tzinfo=None) + dt.timedelta(seconds=seconds)
    url = f"https://{settings.sts_host}/?Action=GetCallerIdentity&Version=2011-06-15"
    request = AWSRequest("GET", url, headers={"x-k8s-aws-id": name})
    credentials = Credentials(keys["AWS_ACCESS_KEY_ID"], keys["AWS_SECRET_ACCESS_KEY"], keys.get("AWS_SESSION_TOKEN"))
    with mock.patch.object(botocore.auth, "get_current_datetime", return_value=moment):
        botocore.auth.SigV4QueryAuth(credentials, "sts", settings.region, expires=60).add_auth(request)
    return encode(str(request.prepare().url))


def encode(url: str) -> str:
    return "k8s-aws-v1." + base64.urlsafe_b64encode(url.encode()).decode().rstrip("=")


def decode(good: str) -> str:
    part = good.removeprefix("k8s-aws-v1.")
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)).decode()
