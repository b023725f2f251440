"""The regional STS endpoint under its real name, over TLS: requests go to MiniStack with the signed Host header.

aws-iam-authenticator requests the answer of GetCallerIdentity as JSON. STS supports that and MiniStack does not, so the
answer is rewritten. Keys that IAM could not have issued are refused: MiniStack accepts an account id as the key of that
account's root without a signature, so anyone could forge a token with it.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from urllib.parse import urlsplit

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from rehearsal import waiting
from rehearsal.settings import settings

KEY = re.compile(r"(AKIA|ASIA)[A-Z0-9]{12,124}")
ERROR = (
    '<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type><Code>InvalidClientTokenId</Code>'
    "<Message>The security token included in the request is invalid.</Message></Error></ErrorResponse>"
)


def access_key(request: Request) -> str:
    """Return the access key id of a request, from its header or, if it is presigned, from its query."""
    signed = re.search(r"Credential=([^/,\s]+)/", request.headers.get("authorization", ""))
    return signed[1] if signed else request.query_params.get("X-Amz-Credential", "").split("/")[0]


async def serve(request: Request) -> Response:
    """Relay one call."""
    if not KEY.fullmatch(access_key(request)):
        return Response(ERROR, 403, media_type="text/xml")
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
