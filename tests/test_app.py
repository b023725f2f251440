"""Tests of the app's responses. The Dockerfile's test stage runs this file, so it imports only what is installed there."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from markupsafe import escape

from app import GREETING, app

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flask.testing import FlaskClient

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@pytest.fixture
def client() -> Iterator[FlaskClient]:
    before = dict(app.config)
    app.config.update(VERSION="1234567", IMAGE="hello-world@sha256:abc")
    yield app.test_client()
    app.config.update(before)


@pytest.mark.parametrize("accept", ["*/*", "text/plain", "", "image/png"])
def test_curl_gets_plain_text(client: FlaskClient, accept: str) -> None:
    response = client.get("/", headers={"Accept": accept})
    assert response.status_code == 200
    assert response.mimetype == "text/plain"
    assert response.text == f"{GREETING}\nversion 1234567\nhost {socket.gethostname()}\n"


def test_json_client_gets_json(client: FlaskClient) -> None:
    response = client.get("/", headers={"Accept": "application/json"})
    assert response.json == {"message": GREETING, "version": "1234567", "host": socket.gethostname()}


def test_browser_gets_an_accessible_page(client: FlaskClient) -> None:
    response = client.get("/", headers={"Accept": BROWSER})
    assert response.content_type == "text/html; charset=utf-8"
    for part in (
        '<html lang="en">',
        f"<title>{escape(GREETING)}</title>",
        "<main>",
        f"<h1>{escape(GREETING)}</h1>",
        "1234567",
    ):
        assert part in response.text


def test_page_escapes_the_version(client: FlaskClient) -> None:
    app.config["VERSION"] = "<script>alert(1)</script>"
    page = client.get("/", headers={"Accept": BROWSER}).text
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def test_greeting_is_a_setting() -> None:
    command = [sys.executable, "-c", "from app import GREETING; print(GREETING)"]
    said = subprocess.run(command, env={**os.environ, "GREETING": "Hi!"}, capture_output=True, text=True, check=True)
    assert said.stdout == "Hi!\n"


def test_responses_are_not_cached(client: FlaskClient) -> None:
    response = client.get("/")
    assert response.headers["Vary"] == "Accept"
    assert response.headers["Cache-Control"] == client.get("/version").headers["Cache-Control"] == "no-store"


def test_version_names_commit_and_image(client: FlaskClient) -> None:
    response = client.get("/version")
    assert (response.text, response.mimetype) == ("1234567 hello-world@sha256:abc\n", "text/plain")


def test_alive_and_ready(client: FlaskClient) -> None:
    assert (client.get("/healthz").status_code, client.get("/readyz").status_code) == (200, 200)


def test_alive_but_not_ready_while_stopping(client: FlaskClient) -> None:
    app.config["STOPPING"] = True
    assert (client.get("/healthz").status_code, client.get("/readyz").status_code) == (200, 503)
    assert client.get("/").status_code == 200


def test_nothing_else_is_served(client: FlaskClient) -> None:
    assert client.get("/nothing").status_code == 404
    assert client.post("/").status_code == 405
    assert not app.debug
