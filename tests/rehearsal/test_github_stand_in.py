"""The stand-in of GitHub, called by git and plain HTTP on loopback: what tokens may do, webhooks, archives."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import queue
import re
import socket
import subprocess
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypercorn.asyncio import serve
from hypercorn.config import Config

from rehearsal import github
from rehearsal.github import app, model, runner
from rehearsal.settings import Settings

pytestmark = pytest.mark.timeout(60)

TOKEN, WEAK, OTHER, HOOKS = ("ghp_" + digit * 36 for digit in "1234")


@dataclass
class Hub:
    """The running stand-in and a work tree."""

    port: int
    work: Path

    def api(self, method: str, path: str, token: str = "", **options: Any) -> httpx.Response:
        headers = {"Host": "api.github.com"} | ({"Authorization": f"token {token}"} if token else {})
        url = f"http://127.0.0.1:{self.port}{path}"
        with httpx.Client(trust_env=False, timeout=10) as client:
            return client.request(method, url, headers=headers, **options)

    def git(self, *args: str, token: str = "", check: bool = True) -> subprocess.CompletedProcess[str]:
        address = f"http://127.0.0.1:{self.port}/"
        environment = {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "HOME": str(self.work),
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_CONFIG_NOSYSTEM": "1",
        }
        helper = f'!f() {{ echo username=x; echo "password={token}"; }}; f' if token else ""
        settings = [
            f"url.{address}.insteadOf=https://github.com/", "http.extraHeader=Host: github.com", "user.name=A",
            "user.email=a@example.com", "init.defaultBranch=master", f"credential.helper={helper}",
        ]  # fmt: skip
        options = [word for one in settings for word in ("-c", one)]
        return subprocess.run(
            ["git", *options, *args],
            cwd=self.work,
            env=environment,
            capture_output=True,
            text=True,
            timeout=30,
            check=check,
        )

    def commit(self, text: str, branch: str = "master") -> str:
        self.git("checkout", "--quiet", "-B", branch)
        (self.work / "file").write_text(text)
        self.git("add", "file")
        self.git("commit", "--quiet", "--message", f"Write {text}")
        return self.git("rev-parse", "HEAD").stdout.strip()

    def push(self, branch: str = "master", token: str = TOKEN, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.git("push", "https://github.com/me/app.git", branch, token=token, check=check)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """Start the stand-in with an empty repository and three tokens."""
    made = Settings(cache=tmp_path / "cache")
    for module in (model, runner):
        monkeypatch.setattr(module, "settings", made)
    github.create_repository("me", "app")
    github.add_token(TOKEN, "me")
    github.add_token(WEAK, "me", ["public_repo"])
    github.add_token(HOOKS, "me", ["admin:repo_hook"])
    github.add_token(OTHER, "you")
    listener = socket.create_server(("127.0.0.1", 0))
    config = Config()
    config.bind = [f"fd://{listener.fileno()}"]
    loop, ended = asyncio.new_event_loop(), asyncio.Event()

    def run() -> None:
        loop.run_until_complete(serve(app, config, shutdown_trigger=ended.wait))  # type: ignore[arg-type]

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    work = tmp_path / "work"
    work.mkdir()
    running = Hub(listener.getsockname()[1], work)
    running.git("init", "--quiet")
    yield running
    loop.call_soon_threadsafe(ended.set)
    thread.join(10)


@pytest.fixture
def deliveries() -> Iterator[tuple[str, queue.Queue[tuple[dict[str, str], bytes]]]]:
    """Yield the URL of a webhook and a queue of the events that arrive there."""
    arrived: queue.Queue[tuple[dict[str, str], bytes]] = queue.Queue()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            arrived.put(({name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/hook", arrived
    server.shutdown()


def test_pushed_commit_can_be_cloned_and_read(hub: Hub, tmp_path: Path) -> None:
    commit = hub.commit("one")
    hub.push()
    hub.git("clone", "--quiet", "https://github.com/me/app.git", str(tmp_path / "clone"))
    assert (tmp_path / "clone" / "file").read_text() == "one"
    assert hub.api("GET", "/repos/me/app/branches/master").json()["commit"]["sha"] == commit
    assert hub.api("GET", "/repos/me/app/commits/master").json()["commit"]["message"] == "Write one"


@pytest.mark.parametrize(
    ("token", "message"),
    [("", "could not read Username|Authentication failed"), ("ghp_unknown", "Authentication failed"),
     (HOOKS, "403"), (OTHER, "403")],
)  # fmt: skip
def test_push_needs_a_token_with_the_scope(hub: Hub, token: str, message: str) -> None:
    hub.commit("one")
    result = hub.push(token=token, check=False)
    assert result.returncode != 0
    assert re.search(message, result.stderr), result.stderr
    assert hub.api("GET", "/repos/me/app/branches").json() == []


def test_first_branch_becomes_the_default(hub: Hub) -> None:
    hub.commit("one", "main")
    hub.push("main")
    assert hub.api("GET", "/repos/me/app").json()["default_branch"] == "main"


def test_header_has_the_scopes_of_the_token(hub: Hub) -> None:
    answer = hub.api("GET", "/user", TOKEN)
    assert answer.json()["login"] == "me"
    assert answer.headers["X-OAuth-Scopes"] == "admin:repo_hook, repo"
    assert hub.api("GET", "/user", WEAK).headers["X-OAuth-Scopes"] == "public_repo"


@pytest.mark.parametrize(
    ("method", "path", "token", "status"),
    [
        ("GET", "/user", "", 401),
        ("GET", "/user", "nonsense", 401),
        ("GET", "/repos/me/app", "nonsense", 401),
        ("GET", "/repos/me/app", "", 200),
        ("GET", "/repos/me/none", TOKEN, 404),
        ("GET", "/repos/../app", TOKEN, 404),
        ("GET", "/repos/me/app/branches/none", TOKEN, 404),
        ("GET", "/repos/me/app/commits/none", TOKEN, 422),
        ("GET", "/repos/me/app/hooks", "", 401),
        ("GET", "/repos/me/app/hooks", WEAK, 404),
        ("GET", "/repos/me/app/hooks", OTHER, 404),
        ("GET", "/repos/me/app/hooks", TOKEN, 200),
        ("GET", "/repos/me/app/hooks", HOOKS, 200),
        ("POST", "/repos/me/app/hooks", WEAK, 404),
        ("DELETE", "/repos/me/app/hooks/7", TOKEN, 404),
        ("GET", "/nothing", TOKEN, 404),
    ],
)
def test_status_depends_on_token_and_path(hub: Hub, method: str, path: str, token: str, status: int) -> None:
    assert hub.api(method, path, token).status_code == status


def test_permissions_are_those_of_the_tokens_owner(hub: Hub) -> None:
    for token, may in ((TOKEN, True), (WEAK, True), (OTHER, False), ("", False)):
        assert hub.api("GET", "/repos/me/app", token).json()["permissions"]["push"] is may


def test_archive_has_its_files_in_one_directory(hub: Hub) -> None:
    commit = hub.commit("one")
    hub.push()
    data = hub.api("GET", "/repos/me/app/zipball/master", TOKEN).content
    names = zipfile.ZipFile(BytesIO(data)).namelist()
    assert names == [f"me-app-{commit[:7]}/", f"me-app-{commit[:7]}/file"]


def test_webhook_receives_a_ping_and_signed_pushes(
    hub: Hub, deliveries: tuple[str, queue.Queue[tuple[dict[str, str], bytes]]]
) -> None:
    url, arrived = deliveries
    hook = {"name": "web", "events": ["push"], "config": {"url": url, "secret": "s", "content_type": "json"}}
    created = hub.api("POST", "/repos/me/app/hooks", TOKEN, json=hook)
    assert created.status_code == 201
    assert created.json()["config"]["secret"] == "********"
    assert hub.api("POST", "/repos/me/app/hooks", TOKEN, json=hook).status_code == 422
    assert arrived.get(timeout=5)[0]["x-github-event"] == "ping"

    commit = hub.commit("one")
    hub.push()
    headers, body = arrived.get(timeout=5)
    event = json.loads(body)
    assert (headers["x-github-event"], event["ref"], event["after"]) == ("push", "refs/heads/master", commit)
    assert headers["x-hub-signature-256"] == "sha256=" + hmac.new(b"s", body, hashlib.sha256).hexdigest()
    assert headers["x-hub-signature"] == "sha1=" + hmac.new(b"s", body, hashlib.sha1).hexdigest()

    hub.push()  # without a new commit
    assert hub.api("DELETE", f"/repos/me/app/hooks/{created.json()['id']}", TOKEN).status_code == 204
    hub.commit("two")
    hub.push()
    with pytest.raises(queue.Empty):
        arrived.get(timeout=0.5)


@pytest.mark.usefixtures("hub")
def test_tokens_are_not_stored_in_plain_text() -> None:
    for path in model.directory().rglob("*"):
        if path.is_file():
            assert TOKEN.encode() not in path.read_bytes()


@pytest.mark.usefixtures("hub")
def test_app_token_is_in_a_private_file() -> None:
    assert github.app_token() == github.app_token()
    assert (model.directory() / "app").stat().st_mode & 0o777 == 0o600
