"""Serves the page and its two read-only endpoints."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rehearsal.console.watch import Rehearsal, Watch, World
from rehearsal.doors import LOOPBACK, Doors

STATIC = Path(__file__).parent / "static"
HEARTBEAT = 5.0
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-cache",
}


class SecurityHeaders:
    """Adds ``HEADERS`` to every response, so that text from logs and commits cannot run as code."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and add the headers to its response."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        await self.app(scope, receive, send_with_headers)


async def events(watch: Watch, heartbeat: float = HEARTBEAT) -> AsyncIterator[str]:
    """Yield a ``snapshot`` event when the state changes, and a ``heartbeat`` event if it does not for a while.

    The format is that of server-sent events in the HTML standard.
    """
    async with watch.viewing():
        yield "retry: 1000\n\n"  # milliseconds until a browser reconnects
        sent, last = "", 0.0
        while not watch.closed:
            now = json.dumps(watch.snapshot(), separators=(",", ":"))
            if now != sent:
                yield f"event: snapshot\ndata: {now}\n\n"
                sent, last = now, time.monotonic()
            elif time.monotonic() - last >= heartbeat:
                yield "event: heartbeat\ndata:\n\n"
                last = time.monotonic()
            await asyncio.sleep(watch.interval)


async def page(_request: Request) -> Response:
    """Serve the page."""
    return FileResponse(STATIC / "index.html")


async def snapshot(request: Request) -> Response:
    """Return the state that the page shows, as JSON: ``rehearsal.console.snapshot.Snapshot``.

    ``region``; ``pipeline`` {note, name, stages[{name, status, open, queued, actions[{name, status, summary, revision,
    url, since, error, approval}]}], executions[{id, status, revision, message, trigger, started, ended}]};
    ``build`` {note, id, status, started, ended, error, phases[{name, status, seconds}], lines[]};
    ``cluster`` {note, version, address, rollout, nodes[{name, address, ready, schedulable, pods[], others}], waiting[]}
    with pods {name, image, version, status, ready, staging, restarts};
    ``app`` {note, url, answers[{at, status, milliseconds, version, pod, error}],
    changes[{at, before, version, seconds}]}.
    If a ``note`` is not empty, it says why its part is empty.
    """
    watch: Watch = request.app.state.watch
    return JSONResponse(await watch.fresh())


async def stream(request: Request) -> Response:
    """Return the same as server-sent events, at most one per second."""
    return StreamingResponse(events(request.app.state.watch), media_type="text/event-stream")


def application(world: World | None = None, interval: float = 1.0) -> Starlette:
    """Return the application that shows ``world``, by default the rehearsal on this machine.

    It answers only requests for a loopback name, whatever address it listens on, so that no other web page can reach it
    by DNS rebinding.
    """
    app = Starlette(
        routes=[
            Route("/", page),
            Route("/api/snapshot", snapshot),
            Route("/api/events", stream),
            Mount("/static", StaticFiles(directory=STATIC)),
        ],
        middleware=[
            Middleware(SecurityHeaders),
            Middleware(Doors, names=LOOPBACK),
        ],
    )
    app.state.watch = Watch(world or Rehearsal(), interval)
    return app
