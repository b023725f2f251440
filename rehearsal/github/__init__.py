"""GitHub on this machine: git over HTTPS at github.com, the few REST calls in use at api.github.com, signed webhooks.

Differs from GitHub: repositories are public, and made by ``create_repository`` alone; tokens are made by ``add_token``;
a token may write to its owner's repositories; answers have the members that are used here; archives come at once, not by
a redirect; of events there are ``ping`` and ``push``; the GitHub App behind AWS's connections is part of this package.
"""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Host

from rehearsal.github import api, git_http
from rehearsal.github.authorization import Refused
from rehearsal.github.model import add_token, app_token, create_repository
from rehearsal.github.runner import signatures

__all__ = ["add_token", "app", "app_token", "create_repository", "signatures"]


async def _refuse(_request: Request, error: Exception) -> Response:
    status = error.status if isinstance(error, Refused) else 500
    return JSONResponse({"message": str(error), "documentation_url": "https://docs.github.com/rest"}, status)


#: Both host names.
app = Starlette(
    routes=[Host("api.github.com", api.routes), Host("github.com", git_http.routes)],
    exception_handlers={Refused: _refuse},
)
