"""Downloads files with a known checksum. What a broken or interrupted download has fetched is kept and continued."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from pathlib import Path

with contextlib.suppress(ImportError):  # rehearsal/check.py imports this module before httpx is installed
    import httpx

#: Seconds to wait for a connection, and for the next bytes.
CONNECT_TIMEOUT, READ_TIMEOUT = 5.0, 10.0


class NotAvailable(Exception):
    """A file cannot be had from its address; the message is one line."""


def client() -> httpx.Client:
    """Return a client with bounds on every wait; it uses the proxy of the environment."""
    timeout = httpx.Timeout(READ_TIMEOUT, connect=CONNECT_TIMEOUT)
    return httpx.Client(timeout=timeout, follow_redirects=True, headers={"Accept-Encoding": "identity"})


class Transfer:
    """A download of ``url`` to ``path``; ``received`` and ``total`` are bytes, and ``total`` is 0 until it is known."""

    def __init__(self, url: str, path: Path, sha256: str) -> None:
        self.url, self.path, self.sha256 = url, path, sha256
        self.received = self.total = 0

    def run(self, http: httpx.Client, cancelled: threading.Event) -> None:
        """Download, continue as long as each connection brings something, and compare the checksum.

        Raises:
            NotAvailable: the address cannot be reached or does not have the file, or ``cancelled`` is set.
        """
        part = self.path.with_suffix(".part")
        part.touch()
        while True:
            before = part.stat().st_size
            try:
                self._receive(http, part, cancelled)
                break
            except httpx.TransportError as error:
                if part.stat().st_size <= before:
                    raise NotAvailable(f"{self.url} {meaning(error)}") from error
        with part.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != self.sha256:
            part.unlink()
            raise NotAvailable(f"{self.url} has another checksum than expected")
        part.rename(self.path)

    def _receive(self, http: httpx.Client, part: Path, cancelled: threading.Event) -> None:
        self.received = part.stat().st_size
        headers = {"Range": f"bytes={self.received}-"} if self.received else {}
        with http.stream("GET", self.url, headers=headers) as response:
            if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                return  # the part is the whole file or wrong: the checksum decides
            check(response)
            continues = response.status_code == httpx.codes.PARTIAL_CONTENT
            if not continues:
                self.received = 0
            self.total = self.received + int(response.headers.get("Content-Length", 0))
            with part.open("ab" if continues else "wb") as file:
                for chunk in response.iter_raw():
                    file.write(chunk)
                    self.received += len(chunk)
                    if cancelled.is_set():
                        raise NotAvailable("another download failed")


def get(http: httpx.Client, url: str, accept: str = "*/*") -> bytes:
    """Return a small document.

    Raises:
        NotAvailable: the address cannot be reached or does not have it.
    """
    try:
        response = http.get(url, headers={"Accept": accept})
    except httpx.TransportError as error:
        raise NotAvailable(f"{url} {meaning(error)}") from error
    check(response)
    return response.content


def check(response: httpx.Response) -> None:
    """Refuse an error, and the page of HTML with which a proxy or a guest network may answer.

    Raises:
        NotAvailable: it is one.
    """
    url = response.request.url
    if response.is_error:
        raise NotAvailable(f"{url} answers {response.status_code}")
    if response.headers.get("Content-Type", "").startswith("text/html"):
        raise NotAvailable(f"{url} answers with a page of HTML")


def meaning(error: httpx.TransportError) -> str:
    """Return what a failed connection means, as the end of a message that begins with the URL."""
    if isinstance(error, httpx.ConnectError | httpx.ProxyError):
        return "cannot be reached"
    return "does not answer" if isinstance(error, httpx.TimeoutException) else "broke the connection"
