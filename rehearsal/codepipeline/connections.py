"""CodeConnections: the connections to GitHub that CodeStarSourceConnection sources use instead of a token.

Follows https://docs.aws.amazon.com/codeconnections/latest/APIReference/Welcome.html: a new connection is PENDING until
its owner has completed the handshake with GitHub in the console
(https://docs.aws.amazon.com/dtconsole/latest/userguide/connections-update.html).

Differs from AWS: the handshake is ``POST /connections/handshake?arn=...`` on loopback with a token of the run, which only
its user can read (``complete`` below); GitHub is the only provider; hosts, tags and repository links are not supported;
the GitHub App has access to every repository.
"""

from __future__ import annotations

import hmac
import json
import re
import threading
import uuid
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx

from rehearsal import github, secret, waiting
from rehearsal.emulator import http_endpoints
from rehearsal.emulator.extensions import Caller, Extensions, ServiceError
from rehearsal.settings import settings

Json = dict[str, Any]

#: What the handshake's token is for.
HANDSHAKE = "the handshake of a connection"
NAME = re.compile(r"[A-Za-z0-9.@\-_ ]{1,32}")

_connections: dict[str, Json] = {}
_changing = threading.Lock()


def register(extensions: Extensions, on_push: Callable[[Json], None]) -> None:
    """Add the service under both of its names; ``on_push`` is called with each push event from GitHub."""
    for service, prefix in (
        ("codeconnections", "com.amazonaws.codeconnections.CodeConnections_20231201"),
        ("codestar-connections", "com.amazonaws.codestar.connections.CodeStar_connections_20191201"),
    ):
        extensions.add_service(service, prefix, handle, resource=resource_of)

    def push(_path: str, headers: Mapping[str, str], body: bytes) -> http_endpoints.Answer:
        expected = github.signatures(github.app_token(), body)["X-Hub-Signature-256"]
        if not hmac.compare_digest(expected, headers.get("x-hub-signature-256", "")):
            return 401, "text/plain", b"bad signature\n"
        on_push(json.loads(body))
        return 200, "text/plain", b"ok\n"

    http_endpoints.serve("POST", "/connections/push", push)
    http_endpoints.serve("POST", "/connections/handshake", _handshake)


def handle(action: str, request: Json, caller: Caller) -> Json:
    """Answer one call of the service.

    Raises:
        ServiceError: the action is unknown or fails.
    """
    if action == "CreateConnection":
        return _create(request, caller)
    if action == "GetConnection":
        return {"Connection": get(request.get("ConnectionArn", ""))}
    if action == "ListConnections":
        wanted = request.get("ProviderTypeFilter")
        found = [one for one in _connections.values() if wanted in (None, one["ProviderType"])]
        return {"Connections": found}
    if action == "DeleteConnection":
        with _changing:
            _connections.pop(request.get("ConnectionArn", ""), None)
        return {}
    raise ServiceError("UnknownOperationException", f"the rehearsal does not support {action}")


def resource_of(_action: str, request: Json, prefix: str) -> str | None:
    """Return the ARN of the connection that a call concerns, or of all connections if it names none."""
    arn = request.get("ConnectionArn")
    return arn if isinstance(arn, str) else f"{prefix}connection/*"


def get(arn: str) -> Json:
    """Return a connection; its ARN may have either service name.

    Raises:
        ServiceError: the connection does not exist.
    """
    identifier = arn.rpartition("/")[2]
    for connection in list(_connections.values()):
        if connection["ConnectionArn"].rpartition("/")[2] == identifier:
            return connection
    raise ServiceError("ResourceNotFoundException", f"Connection {arn} not found")


def complete(arn: str) -> None:
    """Complete a connection's handshake, as "Update pending connection" in the console does; works from any process.

    Raises:
        httpx.HTTPError: the connection does not exist, or ``rehearsal.aws`` is not running.
    """
    url = f"http://127.0.0.1:{settings.ports.credentials}/connections/handshake"
    httpx.post(
        url,
        params={"arn": arn},
        headers={"Authorization": secret.bearer(HANDSHAKE)},
        trust_env=False,
        timeout=waiting.bound(5),
    ).raise_for_status()


def _create(request: Json, caller: Caller) -> Json:
    name = request.get("ConnectionName", "")
    if not NAME.fullmatch(name):
        raise ServiceError("ValidationException", f"ConnectionName must match {NAME.pattern}")
    if request.get("ProviderType", "GitHub") != "GitHub":
        raise ServiceError("InvalidInputException", "the rehearsal supports only the provider GitHub")
    arn = f"arn:aws:codeconnections:{settings.region}:{settings.account}:connection/{uuid.uuid4()}"
    with _changing:
        if any(one["ConnectionName"] == name for one in _connections.values()):
            raise ServiceError("InvalidInputException", f"a connection named {name} already exists")
        _connections[arn] = {
            "ConnectionName": name,
            "ConnectionArn": arn,
            "ProviderType": "GitHub",
            "OwnerAccountId": caller.account,
            "ConnectionStatus": "PENDING",
        }
    return {"ConnectionArn": arn}


def _handshake(path: str, headers: Mapping[str, str], _body: bytes) -> http_endpoints.Answer:
    if not hmac.compare_digest(secret.bearer(HANDSHAKE).encode(), headers.get("authorization", "").encode()):
        return 403, "text/plain", b"the token is missing or wrong\n"
    arn = parse_qs(urlsplit(path).query).get("arn", [""])[0]
    try:
        get(arn)["ConnectionStatus"] = "AVAILABLE"
    except ServiceError as error:
        return 404, "text/plain", f"{error}\n".encode()
    return 200, "text/plain", b"AVAILABLE\n"
