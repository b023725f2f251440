"""Repositories, tokens and webhooks, as files in ``github`` below the rehearsal's state directory.

Any process of the rehearsal may call these functions.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import subprocess
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rehearsal import waiting
from rehearsal.settings import settings

Json = dict[str, Any]

SCOPES = ("repo", "admin:repo_hook")
GIT_TIMEOUT = 60

changing = threading.Lock()


def create_repository(owner: str, name: str) -> Path:
    """Create an empty repository, unless it exists, and return its path."""
    path = directory() / owner / f"{name}.git"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        git(path.parent, "init", "--quiet", "--bare", "--initial-branch=master", str(path))
    return path


def add_token(token: str, owner: str, scopes: Iterable[str] = SCOPES) -> None:
    """Register a user's token; only its hash is stored."""
    with changing:
        tokens = read(tokens_file())
        tokens[digest(token)] = {"owner": owner, "scopes": sorted(scopes)}
        write(tokens_file(), tokens)


def app_token() -> str:
    """Return the token of the GitHub App behind AWS's connections, which is also its webhook secret."""
    path = directory() / "app"
    with changing:
        if not path.exists():
            _write_text(path, "ghs_" + secrets.token_hex(18))
    return path.read_text(encoding="ascii")


def directory() -> Path:
    """Return the directory of all files."""
    return settings.run / "github"


def described(path: Path) -> Json:
    """Return a repository's description in the REST API and in events."""
    owner, name = path.parent.name, path.stem
    url = f"https://github.com/{owner}/{name}"
    head = git(path, "symbolic-ref", "--short", "HEAD").decode().strip()
    return {
        "name": name,
        "full_name": f"{owner}/{name}",
        "owner": {"login": owner, "name": owner},
        "private": False,
        "html_url": url,
        "clone_url": f"{url}.git",
        "default_branch": head,
    }


def refs(path: Path) -> dict[str, str]:
    """Return the commit that each ref points to."""
    lines = git(path, "for-each-ref", "--format=%(refname) %(objectname)").decode().splitlines()
    return dict(line.split(" ") for line in lines)


def message(path: Path, sha: str) -> str:
    """Return a commit's message."""
    return git(path, "log", "-1", "--format=%B", sha).decode(errors="replace").strip()


def commit_url(path: Path, sha: str) -> str:
    """Return the URL of a commit's page."""
    return f"https://github.com/{path.parent.name}/{path.stem}/commit/{sha}"


def git(path: Path, *args: str) -> bytes:
    """Run git in a repository and return what it prints.

    Raises:
        subprocess.CalledProcessError: git failed.
    """
    command = ["git", "-C", str(path), *args]
    return subprocess.run(
        command, env=environment(), capture_output=True, timeout=waiting.bound(GIT_TIMEOUT), check=True
    ).stdout


def environment() -> dict[str, str]:
    """Return git's environment, in which neither the user's nor the system's configuration applies."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "safe.directory",
        "GIT_CONFIG_VALUE_0": "*",
    }


def digest(token: str) -> str:
    """Return the hash that is stored for a token."""
    return hashlib.sha256(token.encode()).hexdigest()


def tokens_file() -> Path:
    """Return the file with the owner and scopes of each token, by hash."""
    return directory() / "tokens.json"


def hooks_file(path: Path) -> Path:
    """Return the file with a repository's webhooks."""
    return path.with_suffix(".hooks.json")


def read(path: Path) -> Json:
    """Return the content of a JSON file, or an empty dictionary if it does not exist."""
    try:
        found: Json = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return found


def write(path: Path, content: Json) -> None:
    """Replace a JSON file."""
    _write_text(path, json.dumps(content))


def _write_text(path: Path, text: str) -> None:
    """Replace a file atomically, because another process may be reading it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    draft.replace(path)
