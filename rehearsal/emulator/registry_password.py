"""Passwords of the registry, bound to the caller and valid for twelve hours, like those of GetAuthorizationToken.

See "Private registry authentication in Amazon ECR". A password is the caller's ARN and an expiry, signed with a key
that AWS and the registry's front share. Real passwords are opaque. The front's own password, for the registry behind
it, is that of the account's root.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import time

from rehearsal import secret
from rehearsal.settings import settings

#: In seconds.
LIFETIME = 12 * 3600
ROOT = f"arn:aws:iam::{settings.account}:root"


def issue(arn: str, now: float | None = None) -> tuple[str, int]:
    """Return a password for the caller, and its expiry in epoch seconds."""
    end = int(now if now is not None else time.time()) + LIFETIME
    claim = base64.urlsafe_b64encode(json.dumps({"arn": arn, "end": end, "salt": os.urandom(9).hex()}).encode())
    return f"{claim.decode()}.{_sign(claim)}", end


def caller(authorization: str) -> str | None:
    """Return the ARN that a Basic ``Authorization`` header proves, or None if it proves none."""
    try:
        scheme, _, encoded = authorization.partition(" ")
        user, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
        claim, _, signature = password.partition(".")
        if scheme.lower() != "basic" or user != "AWS" or not hmac.compare_digest(signature, _sign(claim.encode())):
            return None
        known = json.loads(base64.urlsafe_b64decode(claim))
        return str(known["arn"]) if known["end"] > time.time() else None
    except (ValueError, KeyError, TypeError):
        return None


def of_front() -> str:
    """Return the header Authorization with which the front calls the registry behind it."""
    return "Basic " + base64.b64encode(f"AWS:{issue(ROOT)[0]}".encode()).decode()


def is_front(authorization: str) -> bool:
    """Whether a header Authorization is that of the front."""
    return caller(authorization) == ROOT


def _sign(claim: bytes) -> str:
    return hmac.new(secret.derive("passwords of the registry"), claim, hashlib.sha256).hexdigest()
