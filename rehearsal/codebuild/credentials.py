"""Gives a running build its service role's credentials through a container credentials endpoint, as CodeBuild does.

See https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html. Each build has its
own path and token; both become invalid when the build ends.
"""

from __future__ import annotations

import hmac
import json
import secrets
import threading
from collections.abc import Mapping
from datetime import UTC, datetime

from rehearsal.emulator import http_endpoints
from rehearsal.emulator.service_role import Credentials
from rehearsal.settings import settings

PREFIX = "/v2/credentials/"

_granted: dict[str, tuple[str, str, Credentials]] = {}
_changing = threading.Lock()


def grant(build: str, role: Credentials) -> dict[str, str]:
    """Serve a role's credentials to a build; return the environment variables with which the SDKs find them."""
    path, token = PREFIX + secrets.token_hex(16), secrets.token_urlsafe(32)
    with _changing:
        _granted[build] = (path, token, role)
    http_endpoints.serve("GET", PREFIX, _answer)
    return {
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"http://127.0.0.1:{settings.ports.credentials}{path}",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN": token,
    }


def revoke(build: str) -> None:
    """Stop serving a build's credentials. Those that it has fetched work until they expire, as on AWS."""
    with _changing:
        _granted.pop(build, None)


def _answer(path: str, headers: Mapping[str, str], _body: bytes) -> http_endpoints.Answer:
    shown = headers.get("authorization", "")
    for offered, token, role in list(_granted.values()):
        if offered == path and hmac.compare_digest(token.encode(), shown.encode()):
            answer = {
                "RoleArn": role.role_arn,
                "AccessKeyId": role.access_key,
                "SecretAccessKey": role.secret_key,
                "Token": role.token,
                "Expiration": datetime.fromtimestamp(role.expires, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            }
            return 200, "application/json", json.dumps(answer).encode()
    return 403, "application/json", b'{"code": "AccessDenied", "message": "no such credentials"}'
