"""Searches a recording for secrets, by value for those of the run and by shape for all others."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rehearsal import secret
from rehearsal.settings import settings

SHAPES = {
    "an AWS access key": r"\bA[KS]IA[A-Z2-7]{16}\b",
    "a GitHub token": r"\b(gh[pousr]_|github_pat_)\w{20}",
    "a private key": r"-----BEGIN [A-Z ]*PRIVATE KEY",
    "a token of Kubernetes or EKS": r"\beyJ[\w-]{8,}\.[\w-]{8,}\.|k8s-aws-v1\.\w",
    "an Authorization header": r"(?i)\b(bearer|basic) [\w+/.=-]{20}|AWS4-HMAC-SHA256",
    "a signed URL": r"(?i)X-Amz-(Signature|Security-Token)",
    "a URL with a password": r"\w+://[^\s/:@\"]*:[^\s/@\"]+@",
    "a named secret": r"(?i)(password|passwd|secret\w*|token|api_?key)[\"\\']*\s*[:=][\"\\'\s]*[\w+/-]{12}",
}


def of_run(run: Path = settings.run) -> set[str]:
    """Return the secrets that a rehearsal has in its files now: its own, the learner's, root's and the webhooks'."""
    kept = json.loads((run / "learner.json").read_text(encoding="utf-8"))
    own = (run / "secret").read_bytes()
    found = {kept["token"], kept["access_key"]["SecretAccessKey"], secret.root_keys(run)[1]}
    found |= {own.hex(), base64.b64encode(own).decode()}
    for hooks in (run / "github").rglob("*.hooks.json"):
        found |= set(_secrets_in(json.loads(hooks.read_text(encoding="utf-8") or "null")))
    return found


def _secrets_in(document: Any) -> Iterator[str]:
    if isinstance(document, dict):
        yield from (each for name, each in document.items() if name == "secret" and isinstance(each, str) and each)
        document = list(document.values())
    if isinstance(document, list):
        for each in document:
            yield from _secrets_in(each)


def found_in(text: str, known: set[str]) -> list[str]:
    """Say what ``text`` has of the secrets ``known`` and of the ``SHAPES``, without the secrets."""
    values = ["a secret of the run"] if any(each in text for each in known) else []
    return values + [name for name, shape in SHAPES.items() if re.search(shape, text)]
