"""Finds every point at which a script runs an external command, and kills it there.

A *point* is ``SCRIPT:PROGRAM:N``: the Nth time that a script runs a program. Points are found, not listed: the first
directory on PATH has a link to tests/support/fakes/traced.sh for every program on PATH. What such a program starts is
no point. The shell is left out, so that scripts run by scripts are traced too.

Changes are counted at the other end: Endpoint is a proxy in front of AWS that records each call.
"""

from __future__ import annotations

import http.client
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from rehearsal.waiting import until
from tests.support.paths import FAKES, ROOT

SHELLS = {"bash", "sh"}
#: Read-only scripts. A script that runs them is killed before or after them, not while they run.
ASKING = {"check-github", "leftovers", "venv", "preflight", "status"}
READING = re.compile(r"(BatchGet|Describe|Get|List)[A-Z]")


@dataclass(frozen=True)
class Run:
    """One run of a script: its exit code, its output, and the points that it passed, in order."""

    code: int
    output: str
    points: list[str]

    @property
    def killed(self) -> bool:
        """Whether the script reached the point at which it was to be killed."""
        return self.code == -signal.SIGKILL


@dataclass
class Tracer:
    """Runs scripts with every program on PATH traced."""

    home: Path
    environment: Mapping[str, str]
    checkout: Path = ROOT
    runs: int = 0
    bin: Path = field(init=False)

    def __post_init__(self) -> None:
        self.bin = self.home / "traced"
        self.bin.mkdir(parents=True)
        for directory in self.environment["PATH"].split(os.pathsep):
            for program in Path(directory).glob("*"):
                if (
                    program.name not in SHELLS
                    and os.access(program, os.X_OK)
                    and not (self.bin / program.name).exists()
                ):
                    (self.bin / program.name).symlink_to(FAKES / "traced.sh")

    def run(
        self, script: str, *arguments: str, kill: str = "", fail: str = "", timeout: float = 120, **environment: str
    ) -> Run:
        """Run a script; kill its process group at ``"before POINT"`` or ``"after POINT"``, or let the point ``fail``."""
        self.runs += 1
        trace, output = self.home / f"trace-{self.runs}", self.home / f"output-{self.runs}"
        trace.mkdir()
        traced = {
            "PATH": f"{self.bin}{os.pathsep}{self.environment['PATH']}",
            "TRACED_PATH": self.environment["PATH"],
            "TRACE": str(trace),
            "KILL_AT": kill,
            "FAIL_AT": fail,
        }
        with output.open("wb") as file:
            process = subprocess.Popen(
                [f"scripts/{script}", *arguments], cwd=self.checkout, env={**self.environment, **environment, **traced},
                stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True,
            )  # fmt: skip
            try:
                code = process.wait(timeout)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(10)
                raise
        order = self.home / f"{trace.name}.order"
        points = order.read_text(encoding="utf-8").split() if order.exists() else []
        return Run(code, output.read_text(encoding="utf-8", errors="replace"), points)


def moments(points: list[str]) -> Iterator[str]:
    """Yield "before" and "after" each point, in order."""
    for point in points:
        if point.partition(":")[0] not in ASKING:
            yield from (f"before {point}", f"after {point}")


@contextmanager
def warm_aws(directory: Path) -> Iterator[dict[str, str]]:
    """Start tests/support/warm_aws.py; yield the variables with which scripts use it, PATH and WARM_AWS."""
    tools = directory / "tools"
    tools.mkdir(parents=True)
    (tools / "aws").symlink_to(FAKES / "aws.py")
    address = directory / "warm"
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.warm_aws", str(address)],
        cwd=ROOT,
        start_new_session=True,
        stdin=subprocess.DEVNULL,
    )
    try:

        def listens() -> bool:
            assert process.poll() is None
            return address.exists()

        until(listens, 30, "the warm AWS CLI")
        yield {"PATH": f"{tools}{os.pathsep}{os.environ['PATH']}", "WARM_AWS": str(address)}
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)


class Endpoint:
    """A proxy in front of AWS that forwards every call and records its name."""

    def __init__(self, upstream: str) -> None:
        self.calls: list[str] = []
        self._upstream = urlsplit(upstream).netloc
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                self.raw_requestline = self.rfile.readline(65537)
                if self.raw_requestline and self.parse_request():
                    outer._pass_on(self)
                else:
                    self.close_connection = True

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()

    def changes(self) -> list[str]:
        """Return the calls so far that may change something, and clear the list."""
        calls, self.calls = self.calls, []
        return [call for call in calls if not READING.match(call) and not call.startswith(("GET ", "HEAD "))]

    def _pass_on(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        self.calls.append(_name(request, body))
        upstream = http.client.HTTPConnection(self._upstream, timeout=120)
        upstream.request(request.command, request.path, body, dict(request.headers.items()))
        answer = upstream.getresponse()
        content = answer.read()
        request.send_response_only(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                request.send_header(name, value)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content)
        upstream.close()


def _name(request: BaseHTTPRequestHandler, body: bytes) -> str:
    """Return the action of the JSON and query protocols, or method and path of the REST ones."""
    if target := request.headers.get("X-Amz-Target"):
        return target.rpartition(".")[2]
    action = parse_qs(body.decode(errors="replace")).get("Action")
    return action[0] if action else f"{request.command} {urlsplit(request.path).path}"
