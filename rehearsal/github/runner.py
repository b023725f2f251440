"""Delivers signed events to webhooks, and to the GitHub App behind AWS's connections.

Follows https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries. The result of each delivery is
written to a file next to the repository. As on GitHub, a failed delivery is not retried.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
import uuid
from pathlib import Path

import httpx

from rehearsal import waiting
from rehearsal.github import model
from rehearsal.github.model import Json
from rehearsal.settings import settings

DELIVERY_TIMEOUT = 10
NOTHING = "0" * 40


def signatures(secret: str, body: bytes) -> dict[str, str]:
    """Return the signature headers of a delivery."""
    return {
        "X-Hub-Signature": "sha1=" + hmac.new(secret.encode(), body, hashlib.sha1).hexdigest(),
        "X-Hub-Signature-256": "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest(),
    }


def pushed(path: Path, ref: str, before: str, after: str) -> None:
    """Deliver a push event to the repository's webhooks and to the GitHub App; the first branch becomes the default."""
    if ref.startswith("refs/heads/") and before == NOTHING and len(model.refs(path)) == 1:
        model.git(path, "symbolic-ref", "HEAD", ref)
    described = model.described(path)
    head = None
    if after != NOTHING:
        head = {"id": after, "message": model.message(path, after), "url": model.commit_url(path, after)}
    event = {
        "ref": ref,
        "before": before,
        "after": after,
        "created": before == NOTHING,
        "deleted": after == NOTHING,
        "repository": described,
        "pusher": {"name": path.parent.name},
        "head_commit": head,
    }
    for hook in model.read(model.hooks_file(path)).values():
        if hook["active"] and {"push", "*"} & set(hook["events"]):
            deliver_later(path, hook["config"]["url"], hook["config"].get("secret", ""), "push", event)
    app_url = f"http://127.0.0.1:{settings.ports.credentials}/connections/push"
    deliver_later(path, app_url, model.app_token(), "push", event)


def deliver_later(path: Path, url: str, secret: str, event: str, payload: Json) -> None:
    """Deliver an event in a new thread."""
    threading.Thread(target=_deliver, args=(path, url, secret, event, payload), daemon=True).start()


def _deliver(path: Path, url: str, secret: str, event: str, payload: Json) -> None:
    """Post one event and record the result."""
    body = json.dumps(payload).encode()
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "GitHub-Hookshot/rehearsal",
        "X-GitHub-Event": event,
        "X-GitHub-Delivery": str(uuid.uuid4()),
        **(signatures(secret, body) if secret else {}),
    }
    try:
        with httpx.Client(trust_env=False, timeout=waiting.bound(DELIVERY_TIMEOUT)) as client:
            answer = client.post(_reachable(url), content=body, headers=headers)
        outcome = f"{answer.status_code} {answer.text[:200]}"
    except httpx.HTTPError as error:
        outcome = f"{type(error).__name__}: {error}"
    with model.changing, path.with_suffix(".deliveries").open("a", encoding="utf-8") as file:
        file.write(f"{event} {payload.get('ref', '')} {url.partition('?')[0]} {outcome}\n")


def _reachable(url: str) -> str:
    """Replace the host of a CodePipeline webhook by this machine's."""
    aws = f"https://{settings.region}.webhooks.aws/"
    return f"http://127.0.0.1:{settings.ports.credentials}/" + url.removeprefix(aws) if url.startswith(aws) else url
