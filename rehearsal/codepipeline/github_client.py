"""Calls GitHub's REST API for CodePipeline: reads commits and their files, creates and deletes webhooks.

See https://docs.github.com/en/rest. Calls go to api.github.com through the rehearsal's proxy.
"""

from __future__ import annotations

import io
import stat
import zipfile
from typing import Any

import httpx

from rehearsal import waiting
from rehearsal.settings import settings

API = "https://api.github.com"
TIMEOUT = 30.0


class GitHubError(Exception):
    """GitHub refused a call or did not answer; the message has the request and the answer."""


def commit(repository: str, ref: str, token: str) -> dict[str, str]:
    """Return the id, summary and URL of a commit; ``repository`` is ``owner/name``.

    Raises:
        GitHubError: the branch or commit does not exist, or the token does not allow the call.
    """
    found = _call("GET", f"/repos/{repository}/commits/{ref}", token).json()
    return {"id": found["sha"], "summary": found["commit"]["message"], "url": found["html_url"]}


def files(repository: str, sha: str, token: str) -> bytes:
    """Return a commit's files as a zip file, without the top directory of GitHub's archives and without modes.

    CodePipeline's artifacts have no modes, so that no file is executable in a build; symbolic links are kept here.

    Raises:
        GitHubError: the token does not allow the call.
    """
    data = _call("GET", f"/repos/{repository}/zipball/{sha}", token).content
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target:
        for entry in source.infolist():
            content = source.read(entry)
            entry.filename = entry.filename.partition("/")[2]
            if not entry.filename:
                continue
            if not entry.is_dir() and not stat.S_ISLNK(entry.external_attr >> 16):
                entry.external_attr = (stat.S_IFREG | 0o644) << 16
            target.writestr(entry, content)
    return packed.getvalue()


def create_hook(repository: str, token: str, url: str, secret: str) -> int:
    """Create a webhook for push events and return its id.

    Raises:
        GitHubError: the token lacks the scope admin:repo_hook, or belongs to another user than the repository.
    """
    config = {"url": url, "content_type": "json", "secret": secret, "insecure_ssl": "0"}
    hook = {"name": "web", "active": True, "events": ["push"], "config": config}
    number: int = _call("POST", f"/repos/{repository}/hooks", token, hook).json()["id"]
    return number


def delete_hook(repository: str, token: str, url: str) -> None:
    """Delete the webhook with this URL, if there is one.

    Raises:
        GitHubError: the token no longer allows the call.
    """
    for hook in _call("GET", f"/repos/{repository}/hooks", token).json():
        if hook["config"]["url"] == url:
            _call("DELETE", f"/repos/{repository}/hooks/{hook['id']}", token)


def _call(method: str, path: str, token: str, body: Any = None) -> httpx.Response:
    headers = {"Authorization": f"token {token}", "Accept": "application/vnd.github+json", "User-Agent": "CodePipeline"}
    trust = httpx.create_ssl_context(verify=str(settings.ca_bundle))
    try:
        with httpx.Client(
            proxy=settings.proxy_url, verify=trust, trust_env=False, timeout=waiting.bound(TIMEOUT)
        ) as client:
            answer = client.request(method, API + path, headers=headers, json=body)
    except httpx.HTTPError as error:
        raise GitHubError(f"GitHub did not answer {method} {path}: {error}") from error
    if answer.is_error:
        raise GitHubError(
            f"{method} {path}: {answer.reason_phrase} [StatusCode: {answer.status_code}, Body: {answer.text}]"
        )
    return answer
