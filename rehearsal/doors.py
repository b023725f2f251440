"""Who may speak to an HTTP listener of the rehearsal, by the headers Host and Origin; the same rule at every listener.

Any web page can send requests to this machine. A browser adds the page's Origin to each that could change something
(Fetch standard, "Origin header"), and a name that an attacker lets resolve to loopback (DNS rebinding) arrives as Host.
So a listener answers 403 unless Host is one of its own names, and Origin, if there is one, is that same Host. Who may
do what is decided after that, by a signature or a token.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

#: The names by which a client on this machine calls a listener on loopback.
LOOPBACK = frozenset({"127.0.0.1", "localhost"})


def refusal(headers: Iterable[tuple[str, str]], names: Collection[str], scheme: str = "http") -> str:
    """Return why a request is refused, or an empty string; ``names`` are the listener's host names, without a port."""
    found: dict[str, list[str]] = {"host": [], "origin": []}
    for name, value in headers:
        found.get(name.lower(), []).append(value.lower())
    hosts, origins = found["host"], found["origin"]
    if len(hosts) != 1 or hosts[0].partition(":")[0] not in names:
        return "this is not the host that the request names"
    if origins and origins != [f"{scheme}://{hosts[0]}"]:
        return "requests of web pages from other origins are refused"
    return ""


class Doors:
    """Passes on only those requests to an application that ``refusal`` lets in."""

    def __init__(self, app: ASGIApp, names: Collection[str]) -> None:
        self.app, self.names = app, names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "lifespan" and (
            reason := refusal(Headers(scope=scope).items(), self.names, scope["scheme"])
        ):
            await refuse(reason, scope, receive, send)
        else:
            await self.app(scope, receive, send)


async def refuse(reason: str, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request with 403; a WebSocket is closed before it opens, for which servers answer 403 too."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
    else:
        await PlainTextResponse(f"{reason}\n", 403)(scope, receive, send)
