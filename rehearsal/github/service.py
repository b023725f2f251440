"""Answers the REST calls in use at api.github.com, and git over HTTPS at github.com.

Follows https://docs.github.com/en/rest for users, repositories, branches, commits, archives and webhooks, and
gitprotocol-http(5), served by git-http-backend(1) from bare repositories.
"""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Host, Route, Router

from rehearsal import waiting
from rehearsal.github import authorization, model, runner
from rehearsal.github.authorization import Refused
from rehearsal.github.model import Json


def user(request: Request) -> Response:
    """``GET /user``: the token's owner; a header has its scopes."""
    found = authorization.user_of(request)
    if found is None:
        raise Refused(401, "Requires authentication")
    return JSONResponse({"login": found["owner"], "type": "User"}, headers=_scopes(found))


def repository(request: Request) -> Response:
    """``GET /repos/{owner}/{name}``; its ``permissions`` are those of the token's owner, whatever the token's scopes."""
    found = authorization.user_of(request)
    path = authorization.repository_of(request)
    mine = bool(found and found["owner"] in (None, request.path_params["owner"]))
    rights = {"admin": mine, "push": mine, "pull": True}
    return JSONResponse(model.described(path) | {"permissions": rights}, headers=_scopes(found))


def branches(request: Request) -> Response:
    """``GET /repos/{owner}/{name}/branches``."""
    authorization.user_of(request)
    refs = model.refs(authorization.repository_of(request))
    heads = {ref.removeprefix("refs/heads/"): sha for ref, sha in refs.items() if ref.startswith("refs/heads/")}
    return JSONResponse([{"name": name, "commit": {"sha": sha}} for name, sha in sorted(heads.items())])


def branch(request: Request) -> Response:
    """``GET /repos/{owner}/{name}/branches/{branch}``."""
    authorization.user_of(request)
    sha = model.refs(authorization.repository_of(request)).get(f"refs/heads/{request.path_params['branch']}")
    if not sha:
        raise Refused(404, "Branch not found")
    return JSONResponse({"name": request.path_params["branch"], "commit": {"sha": sha}})


def commit(request: Request) -> Response:
    """``GET /repos/{owner}/{name}/commits/{ref}``."""
    authorization.user_of(request)
    path = authorization.repository_of(request)
    sha = _resolve(path, request.path_params["ref"])
    return JSONResponse(
        {"sha": sha, "commit": {"message": model.message(path, sha)}, "html_url": model.commit_url(path, sha)}
    )


def zipball(request: Request) -> Response:
    """``GET /repos/{owner}/{name}/zipball/{ref}``: a commit's files, in one top directory."""
    authorization.user_of(request)
    path = authorization.repository_of(request)
    sha = _resolve(path, request.path_params["ref"])
    prefix = f"{path.parent.name}-{path.stem}-{sha[:7]}/"
    data = model.git(path, "archive", "--format=zip", f"--prefix={prefix}", sha)
    return Response(data, media_type="application/zip")


def list_hooks(request: Request) -> Response:
    """``GET /repos/{owner}/{name}/hooks``, with masked secrets."""
    authorization.require(request, authorization.TO_MANAGE_HOOKS)
    return JSONResponse(
        [_shown(hook) for hook in model.read(model.hooks_file(authorization.repository_of(request))).values()]
    )


async def create_hook(request: Request) -> Response:
    """``POST /repos/{owner}/{name}/hooks``; the new webhook receives a ping."""
    authorization.require(request, authorization.TO_MANAGE_HOOKS)
    path = authorization.repository_of(request)
    asked = await request.json()
    config = asked.get("config", {})
    if not config.get("url"):
        raise Refused(422, "Validation Failed: config.url is missing")
    with model.changing:
        hooks = model.read(model.hooks_file(path))
        if any(hook["config"]["url"] == config["url"] for hook in hooks.values()):
            raise Refused(422, "Validation Failed: Hook already exists on this repository")
        number = max(map(int, hooks), default=0) + 1
        hook = {"id": number, "active": True, "events": asked.get("events", ["push"]), "config": config}
        hooks[str(number)] = hook
        model.write(model.hooks_file(path), hooks)
    runner.deliver_later(path, config["url"], config.get("secret", ""), "ping", {"hook_id": number, "zen": ""})
    return JSONResponse(_shown(hook), status_code=201)


def delete_hook(request: Request) -> Response:
    """``DELETE /repos/{owner}/{name}/hooks/{hook_id}``."""
    authorization.require(request, authorization.TO_MANAGE_HOOKS)
    path = authorization.repository_of(request)
    with model.changing:
        hooks = model.read(model.hooks_file(path))
        if hooks.pop(str(request.path_params["hook_id"]), None) is None:
            raise Refused(404, "Not Found")
        model.write(model.hooks_file(path), hooks)
    return Response(status_code=204)


async def git(request: Request) -> Response:
    """Git's smart HTTP protocol; a push needs a token and is delivered to the webhooks."""
    path = authorization.repository_of(request)
    writes = "git-receive-pack" in (request.path_params["rest"], request.query_params.get("service"))
    try:
        if writes:
            authorization.require(request, authorization.TO_WRITE)
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


def _resolve(path: Path, ref: str) -> str:
    try:
        return (
            model.git(path, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}")
            .decode()
            .strip()
        )
    except subprocess.CalledProcessError as error:
        raise Refused(422, f"No commit found for SHA: {ref}") from error


def _shown(hook: Json) -> Json:
    return hook | {"config": {key: "********" if key == "secret" else value for key, value in hook["config"].items()}}


def _scopes(found: Json | None) -> dict[str, str]:
    return {"X-OAuth-Scopes": ", ".join(found["scopes"])} if found else {}


def _backend(request: Request, path: Path, body: bytes) -> Response:
    """Run git-http-backend as a CGI program (RFC 3875)."""
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
        # receive-pack runs only if this is set; the token was checked before.
        "REMOTE_USER": "git",
    }
    result = subprocess.run(
        ["git", "http-backend"],
        input=body,
        env=environment,
        capture_output=True,
        timeout=waiting.bound(model.GIT_TIMEOUT),
        check=False,
    )
    head, _, content = result.stdout.partition(b"\r\n\r\n")
    headers = dict(line.split(": ", 1) for line in head.decode("latin-1").split("\r\n") if ": " in line)
    status = int(headers.pop("Status", "200" if head else "500").split()[0])
    return Response(content, status, headers)


api_routes = Router(
    [
        Route("/user", user),
        Route("/repos/{owner}/{name}", repository),
        Route("/repos/{owner}/{name}/branches", branches),
        Route("/repos/{owner}/{name}/branches/{branch:path}", branch),
        Route("/repos/{owner}/{name}/commits/{ref:path}", commit),
        Route("/repos/{owner}/{name}/zipball/{ref:path}", zipball),
        Route("/repos/{owner}/{name}/hooks", list_hooks),
        Route("/repos/{owner}/{name}/hooks", create_hook, methods=["POST"]),
        Route("/repos/{owner}/{name}/hooks/{hook_id:int}", delete_hook, methods=["DELETE"]),
    ]
)
git_routes = Router([Route("/{owner}/{name}/{rest:path}", git, methods=["GET", "POST"])])


async def _refuse(_request: Request, error: Exception) -> Response:
    status = error.status if isinstance(error, Refused) else 500
    return JSONResponse({"message": str(error), "documentation_url": "https://docs.github.com/rest"}, status)


#: GitHub under both host names.
app = Starlette(
    routes=[Host("api.github.com", api_routes), Host("github.com", git_routes)],
    exception_handlers={Refused: _refuse},
)
