"""git over HTTPS at github.com: git-http-backend(1) on bare repositories.

Follows gitprotocol-http(5). A push needs a token that may write to the repository, and is told to its webhooks.
"""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router

from rehearsal.github import authorization, model, runner
from rehearsal.github.authorization import Refused


async def serve(request: Request) -> Response:
    """Smart HTTP (gitprotocol-http(5)) by git-http-backend; a push needs a token, and is told to the webhooks."""
    path = authorization.repository_of(request)
    writes = "git-receive-pack" in (request.path_params["rest"], request.query_params.get("service"))
    try:
        if writes:
            authorization.require(request, "repo")
        else:
            authorization.user_of(request)
    except Refused as refused:
        if refused.status == 401:
            return Response(f"{refused}\n", 401, {"WWW-Authenticate": 'Basic realm="GitHub"'})
        return Response("Permission denied.\n", 403)
    body = await request.body()
    before = model.refs(path) if writes else {}
    answer = await asyncio.to_thread(_backend, request, path, body)
    if writes and request.method == "POST":
        after = model.refs(path)
        for ref in sorted(before.keys() | after.keys()):
            if before.get(ref) != after.get(ref):
                runner.pushed(path, ref, before.get(ref, runner.NOTHING), after.get(ref, runner.NOTHING))
    return answer


def _backend(request: Request, path: Path, body: bytes) -> Response:
    """Run git-http-backend as CGI (RFC 3875)."""
    environment = model.environment() | {
        "GIT_PROJECT_ROOT": str(path.parent.parent),
        "GIT_HTTP_EXPORT_ALL": "1",
        "PATH_INFO": f"/{path.parent.name}/{path.name}/{request.path_params['rest']}",
        "REQUEST_METHOD": request.method,
        "QUERY_STRING": request.url.query,
        "CONTENT_TYPE": request.headers.get("content-type", ""),
        "CONTENT_LENGTH": str(len(body)),
        "HTTP_CONTENT_ENCODING": request.headers.get("content-encoding", ""),
        "GIT_PROTOCOL": request.headers.get("git-protocol", ""),
        "REMOTE_ADDR": "127.0.0.1",
        # Its presence is what lets receive-pack run; who may push was asked before.
        "REMOTE_USER": "git",
    }
    result = subprocess.run(
        ["git", "http-backend"],
        input=body,
        env=environment,
        capture_output=True,
        timeout=model.GIT_TIMEOUT,
        check=False,
    )
    head, _, content = result.stdout.partition(b"\r\n\r\n")
    headers = dict(line.split(": ", 1) for line in head.decode("latin-1").split("\r\n") if ": " in line)
    status = int(headers.pop("Status", "200" if head else "500").split()[0])
    return Response(content, status, headers)


routes = Router([Route("/{owner}/{name}/{rest:path}", serve, methods=["GET", "POST"])])
