"""The regional STS endpoint under its real name, over TLS: requests go to MiniStack with the signed Host header.

aws-iam-authenticator requests the answer of GetCallerIdentity as JSON. STS supports that and MiniStack does not, so the
answer is rewritten.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from urllib.parse import urlsplit

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from rehearsal import waiting
from rehearsal.settings import settings


async def serve(request: Request) -> Response:
    """Relay one call."""
    client: httpx.AsyncClient = request.app.state.client
    target = urlsplit(str(request.url))
    answer = await client.request(
        request.method,
        f"{settings.aws_url}{target.path}{'?' + target.query if target.query else ''}",
        headers={
            name: value for name, value in request.headers.items() if name not in ("connection", "accept-encoding")
        },
        content=await request.body(),
    )
    if answer.status_code == 200 and "application/json" in request.headers.get("accept", ""):
        return JSONResponse(identity_json(answer.text))
    return Response(answer.content, answer.status_code, media_type=answer.headers.get("content-type"))


def identity_json(text: str) -> dict[str, object]:
    """Return the answer of GetCallerIdentity as STS writes it in JSON."""
    document = ET.fromstring(text)  # noqa: S314 - from MiniStack, not from a client
    found = {element.tag.rpartition("}")[2]: element.text for element in document.iter()}
    result = {name: found.get(name) for name in ("Account", "Arn", "UserId")}
    metadata = {"RequestId": found.get("RequestId")}
    return {"GetCallerIdentityResponse": {"GetCallerIdentityResult": result, "ResponseMetadata": metadata}}


def app() -> Starlette:
    """Return the one route of STS."""
    made = Starlette(routes=[Route("/", serve, methods=["GET", "POST"])])
    made.state.client = httpx.AsyncClient(trust_env=False, timeout=waiting.bound(30))
    return made
