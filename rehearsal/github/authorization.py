"""Who asks, and what their token lets them do.

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
    """GitHub's answer to a call that it does not grant."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def user_of(request: Request) -> Json | None:
    """Return owner and scopes of the request's token; None without one.

    Raises:
        Refused: the token is not known.
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


def require(request: Request, scope: str) -> None:
    """Make sure that the token may change the repository.

    Raises:
        Refused: as GitHub hides what a token may not change, with 404.
    """
    user = user_of(request)
    if user is None:
        raise Refused(401, "Requires authentication")
    if scope not in user["scopes"] or user["owner"] not in (None, request.path_params["owner"]):
        raise Refused(404, "Not Found")


def repository_of(request: Request) -> Path:
    """Return the repository that a request names.

    Raises:
        Refused: there is none.
    """
    owner, name = request.path_params["owner"], request.path_params["name"].removesuffix(".git")
    path: Path = model.directory() / owner / f"{name}.git"
    if os.sep in owner + name or ".." in (owner, name) or not path.is_dir():
        raise Refused(404, "Not Found")
    return path


# api.github.com
