"""Passwords of the registry, bound to the caller and valid for twelve hours, like those of GetAuthorizationToken.

See "Private registry authentication in Amazon ECR". A password is the caller's ARN and an expiry, signed with a key
that AWS and the registry's front share. Real passwords are opaque.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
import os
import time

from rehearsal.settings import settings

#: In seconds.
LIFETIME = 12 * 3600


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


def _sign(claim: bytes) -> str:
    return hmac.new(_key(), claim, hashlib.sha256).hexdigest()


def _key() -> bytes:
    """Return the shared key, created by the program that needs it first."""
    path = settings.run / "registry.key"
    draft = settings.run / f"registry.key.{os.getpid()}"
    if not path.exists():
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(os.urandom(32))
        with contextlib.suppress(FileExistsError):  # the other program was faster, so its key is used
            os.link(draft, path)
        draft.unlink()
    return path.read_bytes()
