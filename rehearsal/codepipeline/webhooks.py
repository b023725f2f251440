"""Starts pipelines when push events arrive at their webhooks or from a connection.

Follows https://docs.aws.amazon.com/codepipeline/latest/APIReference/API_WebhookDefinition.html (GITHUB_HMAC: GitHub
signs the event with the secret; all filters must match, and ``{Branch}`` is replaced by the action's setting).

Differs from AWS: authentication IP is rejected; filters are plain paths (``$.ref``), not all of JSONPath; an event that
does not match is answered with 200 (AWS does not document its answer).
"""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

from rehearsal import github
from rehearsal.codepipeline import definition, runner
from rehearsal.codepipeline.definition import Json
from rehearsal.codepipeline.model import Pipeline, Webhook, pipelines, webhooks
from rehearsal.emulator import http_endpoints

_PLACEHOLDER = re.compile(r"\{(\w+)\}")


def register() -> None:
    """Serve the webhooks' endpoint."""

    def trigger(path: str, headers: Mapping[str, str], body: bytes) -> http_endpoints.Answer:
        token = parse_qs(urlsplit(path).query).get("t", [""])[0]
        webhook = next((one for one in list(webhooks.values()) if hmac.compare_digest(one.token, token)), None)
        if webhook is None:
            return 404, "text/plain", b"Webhook not found\n"
        if not _authentic(webhook, headers, body):
            return 403, "text/plain", b"Signature does not match\n"
        return _receive(webhook, headers, body)

    http_endpoints.serve("POST", "/trigger", trigger)


def start_by_connection(event: Json) -> None:
    """Start the pipelines whose source is the pushed branch of a connection, unless DetectChanges is false."""
    for pipeline in list(pipelines.values()):
        for action in pipeline.declaration["stages"][0]["actions"]:
            wanted = action["configuration"]
            if (
                definition.provider(action) == definition.CONNECTION
                and wanted["FullRepositoryId"] == event["repository"]["full_name"]
                and event["ref"] == f"refs/heads/{wanted['BranchName']}"
                and wanted.get("DetectChanges", "true") != "false"
                and not event["deleted"]
            ):
                trigger = {
                    "triggerType": "WebhookV2",
                    "triggerDetail": json.dumps({"connectionArn": wanted["ConnectionArn"]}),
                }
                runner.begin(pipeline, trigger, revisions={action["name"]: event["after"]})


def _authentic(webhook: Webhook, headers: Mapping[str, str], body: bytes) -> bool:
    if webhook.authentication == "UNAUTHENTICATED":
        return True
    expected = {name.lower(): value for name, value in github.signatures(webhook.secret, body).items()}
    shown = [(value, headers[name]) for name, value in expected.items() if name in headers]
    return bool(shown) and all(hmac.compare_digest(value.encode(), given.encode()) for value, given in shown)


def _receive(webhook: Webhook, headers: Mapping[str, str], body: bytes) -> http_endpoints.Answer:
    try:
        event = json.loads(body)
    except ValueError:
        return 400, "text/plain", b"The payload is not JSON\n"
    pipeline = pipelines.get(webhook.pipeline)
    action = _target(pipeline, webhook.action) if pipeline else None
    if pipeline is None or action is None:
        return 404, "text/plain", b"The target does not exist\n"
    if headers.get("x-github-event") == "ping":
        return 200, "text/plain", b"pong\n"
    if not all(_matches(one, event, action["configuration"]) for one in webhook.filters):
        return 200, "text/plain", b"The event does not match the filters\n"
    commit = event.get("after", "")
    revisions = {action["name"]: commit} if re.fullmatch(r"(?!0{40})[0-9a-f]{40}", commit) else {}
    runner.begin(pipeline, {"triggerType": "Webhook", "triggerDetail": webhook.arn}, revisions=revisions)
    return 200, "text/plain", b"OK\n"


def _target(pipeline: Pipeline, name: str) -> Json | None:
    actions: list[Json] = pipeline.declaration["stages"][0]["actions"]
    return next((action for action in actions if action["name"] == name), None)


def _matches(wanted: Json, event: Any, configuration: Json) -> bool:
    value: Any = event
    for part in wanted["jsonPath"].removeprefix("$").strip(".").split("."):
        value = value.get(part) if isinstance(value, dict) else None
    expected = _PLACEHOLDER.sub(lambda match: str(configuration.get(match[1], match[0])), wanted.get("matchEquals", ""))
    return value is not None and (not expected or str(value) == expected)
