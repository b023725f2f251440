"""Finds out whose token a request has and what it may do.

See https://docs.github.com/en/apps/oauth-apps/building-oauth-apps/scopes-for-oauth-apps.
"""

from __future__ import annotations

import base64
import hmac
import os
from pathlib import Path

from starlette.requests import Request

from rehearsal.github import model
from rehearsal.github.model import Json


class Refused(Exception):
    """GitHub refuses the request with this HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def user_of(request: Request) -> Json | None:
    """Return the owner and scopes of the request's token, or None if it has no token.

    Raises:
        Refused: the token is unknown.
    """
    kind, _, value = request.headers.get("authorization", "").partition(" ")
    if not value:
        return None
    if kind.lower() == "basic":
        try:
            value = base64.b64decode(value).decode().partition(":")[2]
        except ValueError:
            value = ""
    if hmac.compare_digest(value.encode(), model.app_token().encode()):
        return {"owner": None, "scopes": list(model.SCOPES)}
    known: Json | None = model.read(model.tokens_file()).get(model.digest(value))
    if known is None:
        raise Refused(401, "Bad credentials")
    return known


#: Scopes of which one suffices to write to a public repository, and to manage its webhooks.
TO_WRITE = {"repo", "public_repo"}
TO_MANAGE_HOOKS = {"repo", "admin:repo_hook"}


def require(request: Request, scopes: set[str]) -> None:
    """Check that the request's token has one of the scopes and belongs to the repository's owner.

    Raises:
        Refused: with 401 without a token, otherwise with 404, because GitHub hides what a token may not change.
    """
    user = user_of(request)
    if user is None:
        raise Refused(401, "Requires authentication")
    if not scopes & set(user["scopes"]) or user["owner"] not in (None, request.path_params["owner"]):
        raise Refused(404, "Not Found")


def repository_of(request: Request) -> Path:
    """Return the repository in the request's path.

    Raises:
        Refused: the repository does not exist.
    """
    owner, name = request.path_params["owner"], request.path_params["name"].removesuffix(".git")
    path: Path = model.directory() / owner / f"{name}.git"
    if os.sep in owner + name or ".." in (owner, name) or not path.is_dir():
        raise Refused(404, "Not Found")
    return path
