"""Signed deliveries to webhooks, and to the GitHub App that AWS's connections are made with.

Follows https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries. What came of each delivery is
kept beside the repository; as on GitHub, none is tried twice.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
import uuid
from pathlib import Path

import httpx

from rehearsal.github import model
from rehearsal.github.model import Json
from rehearsal.settings import settings

DELIVERY_TIMEOUT = 10
NOTHING = "0" * 40


def signatures(secret: str, body: bytes) -> dict[str, str]:
    """Return the headers by which a delivery proves that it knows the webhook's secret."""
    return {
        "X-Hub-Signature": "sha1=" + hmac.new(secret.encode(), body, hashlib.sha1).hexdigest(),
        "X-Hub-Signature-256": "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest(),
    }


def pushed(path: Path, ref: str, before: str, after: str) -> None:
    """Send a push event to every hook of the repository, and to the App of AWS's connections."""
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
    """Send an event without waiting for what comes of it."""
    threading.Thread(target=_deliver, args=(path, url, secret, event, payload), daemon=True).start()


def _deliver(path: Path, url: str, secret: str, event: str, payload: Json) -> None:
    """Post one event; as on GitHub, what came of it is kept and nothing is tried twice."""
    body = json.dumps(payload).encode()
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "GitHub-Hookshot/rehearsal",
        "X-GitHub-Event": event,
        "X-GitHub-Delivery": str(uuid.uuid4()),
        **(signatures(secret, body) if secret else {}),
    }
    try:
        with httpx.Client(trust_env=False, timeout=DELIVERY_TIMEOUT) as client:
            answer = client.post(_reachable(url), content=body, headers=headers)
        outcome = f"{answer.status_code} {answer.text[:200]}"
    except httpx.HTTPError as error:
        outcome = f"{type(error).__name__}: {error}"
    with model.changing, path.with_suffix(".deliveries").open("a", encoding="utf-8") as file:
        file.write(f"{event} {payload.get('ref', '')} {url.partition('?')[0]} {outcome}\n")


def _reachable(url: str) -> str:
    """Lead CodePipeline's webhook addresses to where they are answered on this machine."""
    aws = f"https://{settings.region}.webhooks.aws/"
    return f"http://127.0.0.1:{settings.ports.credentials}/" + url.removeprefix(aws) if url.startswith(aws) else url
