"""A steady load on the app: 50 requests a second on kept connections, and 50 more on a new connection each."""

from __future__ import annotations

import http.client
import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

from rehearsal import waiting

if TYPE_CHECKING:
    from types import TracebackType

RATE = 50  # requests a second of each kind
CALLERS = 25  # of each kind; each has its own connection, so an answer may take half a second
TIMEOUT = 15.0  # seconds; a request that takes longer is lost


def version(status: int, body: bytes) -> str:
    """Return the version that the tutorial's app answers with.

    Raises:
        ValueError: this is no answer of the app.
    """
    if status != http.client.OK:
        raise ValueError(f"status {status}")
    return str(json.loads(body)["version"])


@dataclass(frozen=True)
class Loss:
    """A request that was not answered correctly; ``at`` is a time of time.monotonic()."""

    at: float
    kind: str
    reason: str


@dataclass
class Load:
    """Sends requests to ``url`` while the context is open; none is retried, so every failure counts.

    ``read`` returns the version that an answer is from; a ValueError of it makes the request a lost one.
    """

    url: str
    rate: int = RATE
    headers: Mapping[str, str] = field(default_factory=lambda: {"Accept": "application/json"})
    read: Callable[[int, bytes], str] = version
    answered: int = 0
    versions: Counter[str] = field(default_factory=Counter)
    lost: list[Loss] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._host, self._path = urlsplit(self.url)[1:3]
        self._stop = threading.Event()
        self._noting = threading.Lock()
        kinds = itertools.product(("kept", "new"), range(CALLERS))
        self._callers = [threading.Thread(target=self._ask, args=kind) for kind in kinds]

    def __enter__(self) -> Self:
        """Start; the callers take turns, so that requests are evenly spread."""
        self._began = time.monotonic()
        for caller in self._callers:
            caller.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop, after the requests that are in flight."""
        self._stop.set()
        for caller in self._callers:
            caller.join(waiting.bound(2 * TIMEOUT))

    @property
    def total(self) -> int:
        """The number of requests so far."""
        return self.answered + len(self.lost)

    def lost_between(self, begin: float, end: float) -> list[Loss]:
        """The requests lost between two times of time.monotonic()."""
        return [loss for loss in self.lost if begin <= loss.at < end]

    def assert_none_lost(self) -> None:
        """Fail unless every request so far was answered."""
        if self.lost:
            first = [f"{loss.at - self._began:6.1f} s {loss.kind:4} {loss.reason}" for loss in self.lost[:30]]
            raise AssertionError("\n".join([str(self), *first]))

    def __str__(self) -> str:
        return f"{len(self.lost)} of ~{self.total} lost"

    def _ask(self, kind: str, number: int) -> None:
        connection = self._connection()
        for turn in itertools.count():
            due = self._began + (turn * CALLERS + number) / self.rate
            if self._stop.wait(max(0.0, due - time.monotonic())):
                break
            began = time.monotonic()
            try:
                version = self._version(connection)
            except (OSError, http.client.HTTPException, ValueError) as error:
                connection.close()
                with self._noting:
                    self.lost.append(Loss(began, kind, repr(error)))
                continue
            if kind == "new":
                connection.close()
            with self._noting:
                self.answered += 1
                self.versions[version] += 1
        connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self._host, timeout=waiting.bound(TIMEOUT))

    def _version(self, connection: http.client.HTTPConnection) -> str:
        if connection.sock is None:
            try:
                connection.connect()
            except OSError as error:
                raise ConnectionError(f"no connection: {error}") from error
        connection.request("GET", self._path or "/", headers=dict(self.headers))
        response = connection.getresponse()
        return self.read(response.status, response.read())
