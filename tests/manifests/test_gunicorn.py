"""The real server with the real settings: SIGTERM under load loses no request, on new or on kept connections."""

from __future__ import annotations

import http.client
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.paths import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DRAIN_SECONDS: float = runpy.run_path(str(ROOT / "gunicorn.conf.py"))["DRAIN_SECONDS"]
BOUND = 15.0  # seconds for each wait


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture
def server(request: pytest.FixtureRequest, port: int, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "--bind", f"127.0.0.1:{port}", getattr(request, "param", "app:app")],
            cwd=ROOT,
            env={"HOME": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1", "VERSION": "under-test"},
            stdout=log,
            stderr=log,
        )
        try:
            until(lambda: status(port, "/readyz") == 200)
            yield process
        finally:
            process.kill()
            process.wait()


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + BOUND
    while not condition():
        assert time.monotonic() < end, "not in time"
        time.sleep(0.02)


def status(port: int, path: str) -> int:
    """Return the status of one request on a new connection; 0 if the connection is refused."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=BOUND)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        response.read()
        return response.status
    except ConnectionRefusedError:
        return 0
    finally:
        connection.close()


class Load:
    """Callers behind a load balancer, which stops using this server as soon as it is not ready."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.ready = threading.Event()
        self.ready.set()
        self.answers: list[int] = []
        self.lost: list[str] = []
        callers = [self.balance] + [self.new_connections] * 4 + [self.kept_connection] * 4
        self.threads = [threading.Thread(target=self.noting_loss, args=(caller,)) for caller in callers]
        for thread in self.threads:
            thread.start()

    def noting_loss(self, caller: Callable[[], None]) -> None:
        try:
            caller()
        except (OSError, http.client.HTTPException, AssertionError) as error:
            self.lost.append(f"{caller.__name__}: {error!r}")
            self.ready.clear()

    def balance(self) -> None:
        """Probe readiness like the kubelet, and take the server out when it is not ready."""
        while status(self.port, "/readyz") == 200:
            time.sleep(0.05)
        self.ready.clear()

    def new_connections(self) -> None:
        while self.ready.is_set():
            answer = status(self.port, "/")
            assert answer == 200, answer
            self.answers.append(answer)

    def kept_connection(self) -> None:
        """Use one connection until the server announces that it closes it."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=BOUND)
        closing = False
        while not closing:
            connection.request("GET", "/")
            response = connection.getresponse()
            assert response.status == 200, response.status
            response.read()
            closing = response.will_close
            self.answers.append(response.status)
            time.sleep(0.02)
        assert not self.ready.is_set(), "closed while the server was ready"

    def finish(self) -> None:
        for thread in self.threads:
            thread.join(BOUND)
            assert not thread.is_alive()


@pytest.mark.parametrize("server", ["app:app", "tests.support.wrapped_app:app"], indirect=True)
def test_sigterm_under_load_loses_no_request(server: subprocess.Popen[bytes], port: int) -> None:
    load = Load(port)
    until(lambda: len(load.answers) > 100)
    # This request starts before the signal and completes after the server has stopped accepting connections.
    slow = socket.create_connection(("127.0.0.1", port), timeout=BOUND)
    slow.sendall(b"GET / HTTP/1.1\r\nHost: slow\r\n")

    signalled = time.monotonic()
    server.send_signal(signal.SIGTERM)
    until(lambda: not load.ready.is_set())
    assert status(port, "/") == 200, "still serves callers that do not know yet that it is not ready"
    assert time.monotonic() - signalled < 1
    time.sleep(signalled + DRAIN_SECONDS + 0.5 - time.monotonic())
    slow.sendall(b"\r\n")
    assert slow.recv(65536).startswith(b"HTTP/1.1 200")
    slow.close()

    assert server.wait(BOUND) == 0
    load.finish()
    print(f"{len(load.answers)} requests, {len(load.lost)} lost, stopped after {time.monotonic() - signalled:.1f} s")
    assert load.lost == []


@pytest.mark.usefixtures("server")
def test_silent_connections_do_not_block_requests(port: int) -> None:
    """Browsers and load balancers open connections before they need them."""
    silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(8)]
    begin = time.monotonic()
    assert status(port, "/healthz") == 200
    assert time.monotonic() - begin < 1
    for connection in silent:
        connection.close()


@pytest.mark.usefixtures("server")
def test_writes_nothing_to_the_disk(tmp_path: Path) -> None:
    """The container's root file system is read-only; the log here is standard error there."""
    assert [path.name for path in tmp_path.iterdir()] == ["log"]
