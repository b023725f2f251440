"""In front of the emulator: no request reaches it that is not signed.

On AWS, too, some requests carry something else than a signature: an upload to a custom resource's ResponseURL, whose
path cannot be guessed, and those of a container registry. The emulator's registry serves only its front
(rehearsal/fronts/registry.py), which checks the passwords of everyone else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.responses import Response as Answer
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rehearsal import doors
from rehearsal.emulator import registry_password, signatures
from rehearsal.emulator.extensions import Response
from rehearsal.emulator.signatures import Refused, Request, SecretOf


@dataclass(frozen=True)
class Rules:
    """What the gate asks the emulator.

    ``is_open`` is whether a method and a path need no signature, ``is_registry`` whether a path is the registry's.
    ``refused`` writes an error as the service does that a request is for.
    """

    is_open: Callable[[str, str], bool]
    is_registry: Callable[[str], bool]
    secret_of: SecretOf
    refused: Callable[[Request, Refused], Response]


class Gate:
    """Passes on authentic requests to the emulator."""

    def __init__(self, app: ASGIApp, rules: Rules) -> None:
        self.app, self.rules = app, rules

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "websocket":
            await doors.refuse("WebSockets are not supported", scope, receive, send)
        elif scope["type"] == "lifespan" or self.rules.is_open(scope["method"], scope["path"]):
            await self.app(scope, receive, send)
        elif self.rules.is_registry(scope["path"]):
            authorized = registry_password.is_front(Headers(scope=scope).get("authorization", ""))
            await (self.app if authorized else Answer(status_code=401))(scope, receive, send)
        else:
            await self._serve_signed(scope, receive, send)

    async def _serve_signed(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await _body(receive)
        request = Request(
            scope["method"],
            scope["raw_path"].decode("latin-1"),
            scope["query_string"].decode("latin-1"),
            tuple((name.decode("latin-1").lower(), value.decode()) for name, value in scope["headers"]),
            body,
        )
        try:
            signatures.verify(request, self.rules.secret_of)
        except Refused as error:
            status, headers, content = self.rules.refused(request, error)
            await Answer(content, status, headers)(scope, receive, send)
            return
        await self.app(scope, _again(body, receive), send)


async def _body(receive: Receive) -> bytes:
    """Return a request's whole body, because its hash is signed."""
    parts, more = [], True
    while more:
        message = await receive()
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(parts)


def _again(body: bytes, receive: Receive) -> Receive:
    """Return a ``receive`` that begins with a body that has been received before."""
    first: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return first.pop() if first else await receive()

    return replay
