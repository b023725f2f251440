"""Wrong calls with the real AWS CLI, and an endpoint in place of AWS and the cluster that records each request."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.support.bad_input import CASES, IMAGE, Case
from tests.support.desk import Desk
from tests.support.fixtures import Figure

pytestmark = pytest.mark.services


class Endpoint(ThreadingHTTPServer):
    """Rejects and records every request."""

    def __init__(self) -> None:
        self.log: list[str] = []
        super().__init__(("127.0.0.1", 0), Refusal)

    def environment(self, desk: Desk) -> dict[str, str]:
        """The environment that directs the AWS CLI, kubectl and curl to this endpoint."""
        url = f"http://127.0.0.1:{self.server_port}"
        return {
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "none",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_MAX_ATTEMPTS": "1",
            "HTTPS_PROXY": url,
            "KUBECONFIG": str(desk.home / "kubeconfig"),
        }


class Refusal(BaseHTTPRequestHandler):
    """Rejects one request."""

    server: Endpoint

    def refuse(self) -> None:
        self.server.log.append(f"{self.command} {self.path}")
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(403)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_POST = do_PUT = do_CONNECT = refuse  # noqa: N815 (http.server defines these names)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class's name)
        """Keep standard error empty."""


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with Endpoint() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def desk_at(home: Path, case: Case | None = None) -> Desk:
    """A desk with the real AWS CLI and curl, and no terminal."""
    desk = Desk(home, case.checkout(home / "checkout")) if case else Desk(home)
    for tool in ("aws", "curl"):
        desk.answer(tool, "", real=str(shutil.which(tool)))
    return desk


def test_no_wrong_call_reaches_aws(endpoint: Endpoint, tmp_path: Path, figure: Figure) -> None:
    def refused(numbered: tuple[int, Case]) -> bool:
        number, case = numbered
        desk = desk_at(tmp_path / str(number), case)
        environment = endpoint.environment(desk) | {"KUBECONFIG": ""} | case.environment
        done = desk.run(case.script, *case.arguments, **environment)
        calls = [call for call in desk.calls() if "--local" not in call]  # which only reads a file
        return (done.returncode, done.stderr.splitlines()[:1], calls) == (2, [case.line], [])

    with ThreadPoolExecutor(4) as pool:
        good = list(pool.map(refused, enumerate(CASES)))
    figure(
        "wrong input is rejected with one line, before any call",
        f"{sum(good)} of {len(CASES)}, {len(endpoint.log)} requests",
    )
    assert [case.name for case, fine in zip(CASES, good, strict=True) if not fine] == []
    assert endpoint.log == []


@pytest.mark.parametrize(
    ("script", "arguments"),
    [("create-cluster.sh", ()), ("create-role.sh", ()), ("status.sh", ()), ("build/connect.sh", ("demo", "arn:aws:iam::111122223333:role/x"))],
)  # fmt: skip
def test_right_call_reaches_aws(script: str, arguments: tuple[str, ...], endpoint: Endpoint, tmp_path: Path) -> None:
    desk = desk_at(tmp_path / "desk")
    done = desk.run(script, *arguments, **endpoint.environment(desk))
    assert done.returncode == 1
    assert endpoint.log, done.stderr


def test_right_call_reaches_github_and_the_cluster(endpoint: Endpoint, tmp_path: Path) -> None:
    desk = desk_at(tmp_path / "desk")
    desk.run("check-github.sh", GITHUB_TOKEN="ghp_" + "a" * 36, **endpoint.environment(desk))
    assert endpoint.log[:1] == ["CONNECT api.github.com:443"]
    desk.run("build/deploy.sh", IMAGE, **endpoint.environment(desk))
    assert desk.calls()[-1][0] == "kubectl"
