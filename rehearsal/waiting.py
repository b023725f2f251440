"""Waits with a bound: for an answer, and for the end of a block. REHEARSAL_PATIENCE multiplies all bounds."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from rehearsal.settings import settings

Answer = TypeVar("Answer")


def bound(seconds: float) -> float:
    """Return how long to wait on this machine for what takes less than ``seconds`` on most."""
    return seconds * settings.patience


def until(
    ask: Callable[[], Answer], patience: float, what: str, explain: Callable[[], str] = lambda: "", pause: float = 0.05
) -> Answer:
    """Call ``ask`` until it returns something true, and return that.

    ``patience``, and ``pause`` between two calls, are in seconds; ``bound`` is applied to ``patience``.

    Raises:
        TimeoutError: nothing true was returned in this time. The message names ``what`` was awaited and
            ends with what ``explain`` returns.
    """
    patience = bound(patience)
    end = time.monotonic() + patience
    while not (answer := ask()):
        if time.monotonic() > end:
            raise TimeoutError(f"waited {patience:.0f} s for {what}. {explain()}".rstrip())
        time.sleep(pause)
    return answer


@contextlib.contextmanager
def limit(patience: float, expire: Callable[[], object]) -> Iterator[threading.Event]:
    """Call ``expire`` if the block takes longer than ``bound(patience)`` seconds, and set the event that is yielded."""
    expired = threading.Event()

    def end() -> None:
        expired.set()
        expire()

    timer = threading.Timer(bound(patience), end)
    timer.start()
    try:
        yield expired
    finally:
        timer.cancel()
