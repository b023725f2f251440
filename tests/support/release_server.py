"""A server on loopback with published files, which can fail in the ways of a real network."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import re
import tarfile
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

from rehearsal.kubernetes import official
from rehearsal.settings import settings

#: Bytes that are sent at once.
PIECE = 1 << 16


class ReleaseServer(ThreadingHTTPServer):
    """Serves ``files`` by path, with Range; the other attributes spoil the answers."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        #: Answer with a page of HTML, as a guest network does.
        self.html = False
        #: Break each connection after so many bytes.
        self.breaks_after: int | None = None
        #: Bytes a second, for all connections together.
        self.rate: float | None = None
        #: Path and Range of each request.
        self.asked: list[tuple[str, str]] = []
        self._free_at = time.monotonic()
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, *_: object) -> None:
        """Say nothing: clients break connections on purpose."""

    def wait_for(self, size: int) -> None:
        """Wait until the rate allows ``size`` more bytes."""
        if self.rate is None:
            return
        with self._lock:
            self._free_at = max(self._free_at, time.monotonic()) + size / self.rate
            pause = self._free_at - time.monotonic()
        time.sleep(max(0.0, pause))


class Handler(BaseHTTPRequestHandler):
    server: ReleaseServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        path, wanted = unquote(self.path), self.headers.get("Range", "")
        self.server.asked.append((path, wanted))
        if self.server.html:
            return self._answer(200, b"<html>Please sign in</html>", "text/html; charset=utf-8")
        content = self.server.files.get(path)
        if content is None:
            return self._answer(404, b"", "text/plain")
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        if start >= len(content) > 0:
            return self._answer(416, b"", "text/plain")
        return self._answer(206 if wanted else 200, content[start:], "application/octet-stream")

    def _answer(self, status: int, content: bytes, media_type: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        limit = len(content) if self.server.breaks_after is None else self.server.breaks_after
        with contextlib.suppress(ConnectionError):
            for at in range(0, min(limit, len(content)), PIECE):
                piece = content[at : min(at + PIECE, limit)]
                self.server.wait_for(len(piece))
                self.wfile.write(piece)
        if limit < len(content):
            self.close_connection = True


@contextlib.contextmanager
def running() -> Iterator[ReleaseServer]:
    """Run a server on a free port of loopback."""
    with ReleaseServer() as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.05], daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join(5)


def sha256(content: bytes) -> str:
    """Return a checksum as official.toml writes it."""
    return hashlib.sha256(content).hexdigest()


def archive(files: dict[str, bytes]) -> bytes:
    """Return an archive of files by their paths, compressed as images are."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=6) as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def publish_all(server: ReleaseServer) -> str:
    """Put this machine's programs on the server as official.toml has them; return that file with its addresses."""
    text = official.PINS.read_text(encoding="utf-8")
    for source in official.sources(settings.architecture):
        url, content = _publish(server, source)
        section = re.compile(
            rf'(?ms)^(\[{source.name}\]\n.*?^url = )"[^"]*"(.*?^sha256.amd64 = )"\w*"(\nsha256.arm64 = )"\w*"'
        )
        text, found = section.subn(rf'\g<1>"{url}"\g<2>"{sha256(content)}"\g<3>"{sha256(content)}"', text)
        assert found == 1, source.name
    return text


def _publish(server: ReleaseServer, source: official.Source) -> tuple[str, bytes]:
    """Put a source with this machine's programs on the server; returns its URL and what its checksum is of."""
    files = {path: (settings.bin / name).read_bytes() for name, path in source.programs.items()}
    content = files[""] if "" in files else archive(files)
    if not source.is_image:
        server.files[f"/{source.name}"] = content
        return f"{server.url}/{source.name}", content
    repository = f"/v2/{source.name}"
    manifest = json.dumps({"layers": [{"digest": f"sha256:{sha256(content)}"}]}).encode()
    server.files[f"{repository}/blobs/sha256:{sha256(content)}"] = content
    server.files[f"{repository}/manifests/sha256:{sha256(manifest)}"] = manifest
    return f"{server.url}{repository}/manifests/v{{version}}", manifest
