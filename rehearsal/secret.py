"""The secret of one run, in place of credentials that everyone knows: RUN/secret, which only its owner can read.

Every process of the rehearsal's user derives from it what it needs: the keys of the account's root, the key that signs
the registry's passwords, the token of a console's action. Nothing of it is in an argument list or in a long-running
process's environment, and it goes with RUN.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import os
from pathlib import Path

from rehearsal.settings import settings

SIZE = 32
"""Bytes."""


def derive(purpose: str, run: Path = settings.run) -> bytes:
    """Return 32 bytes for one purpose; those for another purpose do not follow from them."""
    return hmac.new(_read(run), purpose.encode(), hashlib.sha256).digest()


def root_keys(run: Path = settings.run) -> tuple[str, str]:
    """Return access key id and secret access key of the account's root, in the form of IAM's."""
    identifier = base64.b32encode(derive("root's access key id", run))[:16]
    return "AKIA" + identifier.decode(), base64.b64encode(derive("root's secret access key", run))[:40].decode()


def bearer(purpose: str, run: Path = settings.run) -> str:
    """Return the value of the header Authorization for one purpose."""
    return "Bearer " + derive(purpose, run).hex()


def write(path: Path, content: str | bytes) -> None:
    """Write a file that only its owner can read, from its creation on."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)


def _read(run: Path) -> bytes:
    """Return the secret, created by the process that needs it first."""
    path, draft = run / "secret", run / f"secret.{os.getpid()}"
    if not path.exists():
        run.mkdir(parents=True, exist_ok=True)
        write(draft, os.urandom(SIZE))
        with contextlib.suppress(FileExistsError):  # another process was faster, so its secret is used
            os.link(draft, path)
        draft.unlink()
    return path.read_bytes()
