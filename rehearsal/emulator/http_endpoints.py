"""The plain HTTP endpoints that AWS has besides its signed API: one listener on loopback, shared by the services.

CodeBuild serves the credentials of a build's role here, and CodePipeline its webhooks and connections. It runs in the
process of rehearsal/aws.py. Each endpoint checks a token or a signature, after the check of Host and Origin.

Differs from AWS: builds get their credentials at 127.0.0.1 by AWS_CONTAINER_CREDENTIALS_FULL_URI, not at 169.254.170.2.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from rehearsal import doors
from rehearsal.settings import settings

#: Largest body in bytes; GitHub sends webhooks of up to 25 MB.
BODY_LIMIT = 25 * 1024 * 1024

Answer = tuple[int, str, bytes]
"""Status, content type and body."""
Endpoint = Callable[[str, Mapping[str, str], bytes], Answer]
"""``endpoint(path with query, headers, body) -> answer``; header names are lower case."""

_endpoints: dict[tuple[str, str], Endpoint] = {}
_starting = threading.Lock()


def serve(method: str, prefix: str, endpoint: Endpoint) -> None:
    """Answer requests whose path starts with ``prefix``; the first call starts the listener.

    Raises:
        OSError: the port is taken.
    """
    with _starting:
        first = not _endpoints
        _endpoints[method, prefix] = endpoint
        if first:
            server = ThreadingHTTPServer(("127.0.0.1", settings.ports.credentials), _Handler)
            server.daemon_threads = True
            threading.Thread(target=server.serve_forever, name="endpoints", daemon=True).start()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def parse_request(self) -> bool:
        """Read a request's head; return whether it may go on to one of the methods above."""
        if not super().parse_request():
            return False
        reason = doors.refusal(self.headers.items(), doors.LOOPBACK)
        if reason:
            self.close_connection = True
            self._write(403, "text/plain", f"{reason}\n".encode())
        return not reason

    def _answer(self) -> None:
        length = self.headers.get("Content-Length", "0")
        if not length.isdigit() or int(length) > BODY_LIMIT:
            self.close_connection = True
            self._write(413, "text/plain", b"too large\n")
            return
        body = self.rfile.read(int(length))
        path = urlsplit(self.path).path
        for (method, prefix), endpoint in _endpoints.items():
            if method == self.command and path.startswith(prefix):
                headers = {name.lower(): value for name, value in self.headers.items()}
                self._write(*endpoint(self.path, headers, body))
                return
        self._write(404, "text/plain", b"not found\n")

    def _write(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing: a webhook's path contains its token."""
