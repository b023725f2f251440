"""GitHub: git over HTTPS at github.com, some REST calls at api.github.com, and signed webhooks.

- ``model``: repositories, tokens and webhooks, as files
- ``service``: answers the REST API and git
- ``runner``: delivers events to webhooks
- ``authorization``: whose token a request has, and what it may do

Differs from GitHub: repositories are public and only ``create_repository`` creates them; only ``add_token`` creates
tokens, and a token may write to its owner's repositories; answers have only the members that are used here; archives
are sent directly, not by a redirect; the only events are ``ping`` and ``push``. The GitHub App behind AWS's connections
is part of this package.
"""

from rehearsal.github.model import add_token, app_token, create_repository
from rehearsal.github.runner import signatures
from rehearsal.github.service import app

__all__ = ["add_token", "app", "app_token", "create_repository", "signatures"]
