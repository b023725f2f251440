"""What CodePipeline asks of GitHub's REST API: the head of a branch, a commit's files, webhooks.

See https://docs.github.com/en/rest. Calls go through the rehearsal's proxy to api.github.com, as anyone's would.
"""

from __future__ import annotations

import io
import stat
import zipfile
from typing import Any

import httpx

from rehearsal.settings import settings

API = "https://api.github.com"
TIMEOUT = 30.0


class GitHubError(Exception):
    """GitHub refused or did not answer; the message says what was asked and what came back."""


def commit(repository: str, ref: str, token: str) -> dict[str, str]:
    """Return id, message and address of a commit; ``repository`` is ``owner/name``.

    Raises:
        GitHubError: there is no such branch or commit, or the token is not good for it.
    """
    found = _call("GET", f"/repos/{repository}/commits/{ref}", token).json()
    return {"id": found["sha"], "summary": found["commit"]["message"], "url": found["html_url"]}


def files(repository: str, sha: str, token: str) -> bytes:
    """Return a commit's files as a zip file, without the one directory that GitHub puts around them.

    Raises:
        GitHubError: the token is not good for it.
    """
    data = _call("GET", f"/repos/{repository}/zipball/{sha}", token).content
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target:
        for entry in source.infolist():
            content = source.read(entry)
            entry.filename = entry.filename.partition("/")[2]
            # git gives an ordinary file no mode, for which zipfile would put 0600.
            entry.external_attr = entry.external_attr or (stat.S_IFREG | 0o644) << 16
            if entry.filename:
                target.writestr(entry, content)
    return packed.getvalue()


def create_hook(repository: str, token: str, url: str, secret: str) -> int:
    """Register a webhook for pushes and return its id.

    Raises:
        GitHubError: the token lacks the scope admin:repo_hook, or the repository is not its owner's.
    """
    config = {"url": url, "content_type": "json", "secret": secret, "insecure_ssl": "0"}
    hook = {"name": "web", "active": True, "events": ["push"], "config": config}
    number: int = _call("POST", f"/repos/{repository}/hooks", token, hook).json()["id"]
    return number


def delete_hook(repository: str, token: str, url: str) -> None:
    """Remove the webhook with an address, if there is one.

    Raises:
        GitHubError: the token is no longer good for it.
    """
    for hook in _call("GET", f"/repos/{repository}/hooks", token).json():
        if hook["config"]["url"] == url:
            _call("DELETE", f"/repos/{repository}/hooks/{hook['id']}", token)


def _call(method: str, path: str, token: str, body: Any = None) -> httpx.Response:
    headers = {"Authorization": f"token {token}", "Accept": "application/vnd.github+json", "User-Agent": "CodePipeline"}
    trust = httpx.create_ssl_context(verify=str(settings.ca_bundle))
    try:
        with httpx.Client(proxy=settings.proxy_url, verify=trust, trust_env=False, timeout=TIMEOUT) as client:
            answer = client.request(method, API + path, headers=headers, json=body)
    except httpx.HTTPError as error:
        raise GitHubError(f"GitHub did not answer {method} {path}: {error}") from error
    if answer.is_error:
        raise GitHubError(
            f"{method} {path}: {answer.reason_phrase} [StatusCode: {answer.status_code}, Body: {answer.text}]"
        )
    return answer
