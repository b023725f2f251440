"""A proxy in front of an AWS endpoint that makes chosen calls fail in the ways in which AWS and networks fail."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

#: The sign-in page of a network. It contains the words by which scripts recognise that something does not exist.
PAGE = b"""<!DOCTYPE html><html><head><meta charset="utf-8"><title>Sign in</title></head><body><p>The page that you asked
for does not exist. NoSuchEntity, NotFound, ResourceNotFoundException, PipelineNotFoundException<br></body></html>"""
#: The same as well-formed XML, which an XML parser accepts.
XHTML = b"<html><head><title>Sign in</title></head><body><p>It does not exist: NoSuchEntity, NotFound</p></body></html>"

#: AWS's error codes by protocol; source: the "common errors" page of each service's API reference.
CODES = {
    "throttled": {"json": "ThrottlingException", "query": "Throttling", "ec2": "RequestLimitExceeded", "s3": "SlowDown"},
    "expired": {"json": "ExpiredTokenException", "query": "ExpiredToken", "ec2": "RequestExpired", "s3": "ExpiredToken"},
    "broken": {"json": "InternalServerException", "query": "InternalFailure", "ec2": "InternalError", "s3": "InternalError"},
    "skewed": {"json": "InvalidSignatureException", "query": "SignatureDoesNotMatch", "ec2": "AuthFailure",
               "s3": "RequestTimeTooSkewed"},
}  # fmt: skip
WORDS = {
    "throttled": "Rate exceeded",
    "expired": "The security token included in the request is expired",
    "broken": "We encountered an internal error. Please try again.",
    "skewed": "Signature expired: 20261123T100000Z is now earlier than 20261123T105500Z (20261123T110000Z - 5 min.)",
}
#: All faults. Some are not responses of AWS. dropped: the request did not reach AWS. lost: AWS did it, but its response was
#: lost. slow: no response within the caller's timeout.
FAULTS = (*CODES, "unavailable", "dropped", "lost", "slow", "page", "xhtml")


@dataclass(frozen=True)
class Call:
    """One attempt of a call; all attempts of a call share its number. Both are counted from 1."""

    name: str
    number: int
    attempt: int
    fault: str = ""


def passes_through(_: Call) -> str:
    """A plan without faults."""
    return ""


@dataclass
class FaultyProxy:
    """Asks ``plan`` for the fault of each attempt; if it is empty, the call passes through."""

    upstream: str
    plan: Callable[[Call], str] = passes_through
    stall: float = 4.0
    calls: list[Call] = field(default_factory=list)
    canned: dict[str, str] = field(default_factory=dict)  # responses to calls that the endpoint does not implement
    _numbers: dict[str, list[int]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    url: str = ""
    tls: ssl.SSLContext | None = None

    def begin(self, plan: Callable[[Call], str] = passes_through) -> None:
        """Clear the calls and set another plan."""
        with self._lock:
            self.plan, self.calls, self._numbers = plan, [], {}

    def met(self, name: str, invocation: str) -> Call:
        """Record an attempt and decide its fault."""
        with self._lock:
            entry = self._numbers.setdefault(invocation, [len(self._numbers) + 1, 0])
            entry[1] += 1
            call = Call(name, *entry)
            call = Call(name, *entry, self.plan(call))
            self.calls.append(call)
            return call

    @contextlib.contextmanager
    def serving(self) -> Iterator[FaultyProxy]:
        """Serve on a free port of loopback until the block ends."""
        proxy = self

        class Handler(_Handler):
            faulty = proxy

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        if self.tls:
            server.socket = self.tls.wrap_socket(server.socket, server_side=True)
        self.url = f"http{'s' if self.tls else ''}://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()
            thread.join(5)


class _Handler(BaseHTTPRequestHandler):
    faulty: FaultyProxy

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        service = _service(self.headers.get("Authorization", ""))
        name = f"{service} {_operation(self.headers.get('X-Amz-Target', ''), self.command, self.path, body)}"
        call = self.faulty.met(name, self.headers.get("amz-sdk-invocation-id", str(time.monotonic_ns())))
        self.close_connection = True
        match call.fault:
            case "":
                self._send(*self._ask(name, body))
            case "lost":
                self._ask(name, body)
            case "slow":
                time.sleep(self.faulty.stall)
            case "dropped":
                pass
            case "page":
                self._send(200, "text/html; charset=utf-8", PAGE)
            case "xhtml":
                self._send(200, "text/html; charset=utf-8", XHTML)
            case "unavailable":
                self._send(503, "text/html", b"<html><body><h1>503 Service Temporarily Unavailable</h1></body></html>")
            case fault:
                self._send(*error_of(fault, service))

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = _answer  # noqa: N815 (the names that http.server calls)

    def _ask(self, name: str, body: bytes) -> tuple[int, str, bytes]:
        if name in self.faulty.canned:
            return 200, "application/x-amz-json-1.1", self.faulty.canned[name].encode()
        connection = http.client.HTTPConnection(urlsplit(self.faulty.upstream).netloc, timeout=60)
        with contextlib.closing(connection):
            connection.request(self.command, self.path, body, dict(self.headers.items()))
            answer = connection.getresponse()
            return answer.status, answer.headers.get("Content-Type", ""), answer.read()

    def _send(self, status: int, content_type: str, body: bytes) -> None:
        with contextlib.suppress(ConnectionError):  # the caller may have been killed
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing: ``calls`` has everything."""


def error_of(fault: str, service: str) -> tuple[int, str, bytes]:
    """Return the status, content type and body with which a service reports one of ``CODES``."""
    protocol = {"sts": "query", "iam": "query", "cloudformation": "query", "ec2": "ec2", "s3": "s3"}.get(
        service, "json"
    )
    code, words = CODES[fault][protocol], WORDS[fault]
    status = {"broken": 500, "throttled": 503 if protocol == "s3" else 400}.get(fault, 403)
    if protocol == "json":
        return status, "application/x-amz-json-1.1", json.dumps({"__type": code, "message": words}).encode()
    error = f"<Error><Code>{code}</Code><Message>{words}</Message></Error>"
    if protocol == "query":
        error = f"<ErrorResponse>{error}<RequestId>0</RequestId></ErrorResponse>"
    elif protocol == "ec2":
        error = f"<Response><Errors>{error}</Errors><RequestID>0</RequestID></Response>"
    return status, "text/xml", error.encode()


def _service(authorization: str) -> str:
    match = re.search(r"Credential=[^/]+/\d+/[^/]+/([^/]+)/aws4_request", authorization)
    return match[1] if match else "nobody"


def _operation(target: str, method: str, path: str, body: bytes) -> str:
    if target:
        return target.rpartition(".")[2]
    action = parse_qs(body.decode(errors="replace")).get("Action")
    return action[0] if action else f"{method} {urlsplit(path).path}"
