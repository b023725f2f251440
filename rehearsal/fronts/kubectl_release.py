"""dl.k8s.io for the one release that the rehearsal builds: kubectl, its checksum and the stable marker.

Follows https://kubernetes.io/docs/tasks/tools/install-kubectl-linux. Differs: kubectl is built here
from its Go module, and there is no redirect to a content delivery network.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from anyio import to_thread
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route

from rehearsal.settings import settings


def missing() -> Response:
    """Return the answer for every other release."""
    return PlainTextResponse(f"the rehearsal has only kubectl v{settings.kubernetes_version}\n", 404)


def built(request: Request) -> Path | None:
    """Return the program that a URL names, or None if it is not the one that was built here."""
    wanted = (request.path_params["version"], request.path_params["architecture"])
    path = settings.bin / "kubectl"
    known = wanted == (f"v{settings.kubernetes_version}", settings.architecture)
    return path if known and path.is_file() else None


async def release(request: Request) -> Response:
    """Serve ``/release/vX.Y.Z/bin/linux/ARCH/kubectl``."""
    path = built(request)
    return FileResponse(path, media_type="application/octet-stream") if path else missing()


async def checksum(request: Request) -> Response:
    """Serve its ``.sha256``, which holds only the digest."""
    path = built(request)
    if not path:
        return missing()
    return PlainTextResponse(await to_thread.run_sync(lambda: hashlib.sha256(path.read_bytes()).hexdigest()))


async def stable(request: Request) -> Response:
    """Serve ``/release/stable.txt`` and ``/release/stable-X.Y.txt``."""
    minor = ".".join(settings.kubernetes_version.split(".")[:2])
    if request.path_params["name"] not in ("stable.txt", f"stable-{minor}.txt"):
        return missing()
    return PlainTextResponse(f"v{settings.kubernetes_version}")


def app() -> Starlette:
    """Return the routes of the release tree."""
    tree = "/release/{version}/bin/linux/{architecture}"
    return Starlette(
        routes=[
            Route(f"{tree}/kubectl", release, name="kubectl"),
            Route(f"{tree}/kubectl.sha256", checksum, name="checksum"),
            Route("/release/{name}", stable),
        ]
    )
