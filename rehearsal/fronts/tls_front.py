"""The TLS front: one listener for every real host name that the rehearsal answers for, and the nodes' registry.

The proxy tunnels these names here; the Host header selects the part, and any other is refused.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

from hypercorn.asyncio import serve as serve_asgi
from hypercorn.config import Config
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Host, Route

from rehearsal import github
from rehearsal.doors import Doors
from rehearsal.fronts import certificates, kubectl_release, registry, sts
from rehearsal.fronts.proxy import listener
from rehearsal.sandbox.authorities import BUNDLE_VARIABLES
from rehearsal.sandbox.programs import Program
from rehearsal.settings import settings


def app() -> Starlette:
    """Return every part, by its host name."""
    return Starlette(
        routes=[
            Host(settings.sts_host, sts.app()),
            Host(settings.registry, registry.app(registry.push)),
            Host("api.github.com", github.app),
            Host("github.com", github.app),
            Host("dl.k8s.io", kubectl_release.app()),
            Host("checkip.amazonaws.com", Starlette(routes=[Route("/", own_address)])),
        ]
    )


async def own_address(_request: Request) -> Response:
    """Return the caller's address, which to a load balancer is this host's on its link."""
    return PlainTextResponse(f"{settings.region_ip}\n")


def config(bind: str, *, encrypted: bool) -> Config:
    """Return Hypercorn's settings for one listener."""
    made = Config()
    made.bind = [bind]
    made.accesslog = "-"
    made.keep_alive_timeout = 75
    made.alpn_protocols = ["http/1.1"]
    if encrypted:
        made.certfile = made.keyfile = str(certificates.key_and_chain())
    return made


async def serve() -> None:
    """Serve TLS on loopback and the nodes' registry on the region's address, until the process is ended."""
    nodes = listener(settings.region_ip, settings.ports.pull)
    stopped = asyncio.Event()
    parts: list[tuple[Any, Config]] = [
        (Doors(app(), certificates.HOSTS), config(f"127.0.0.1:{settings.ports.front}", encrypted=True)),
        (Doors(registry.app(registry.pull), {settings.region_ip}), config(f"fd://{nodes.fileno()}", encrypted=False)),
    ]
    await asyncio.gather(*(serve_asgi(part, how, shutdown_trigger=stopped.wait) for part, how in parts))


def program() -> Program:
    """Return the front as a program of the sandbox, with the variables that name the machine's own authorities."""
    own = {name: os.environ[name] for name in BUNDLE_VARIABLES if os.environ.get(name)}
    return Program("front", [sys.executable, "-m", "rehearsal.fronts.tls_front"], own)


if __name__ == "__main__":
    certificates.create()
    asyncio.run(serve())
