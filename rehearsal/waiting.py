"""Waits with a bound: for an answer, and for the end of a block."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

Answer = TypeVar("Answer")


def until(
    ask: Callable[[], Answer], patience: float, what: str, explain: Callable[[], str] = lambda: "", pause: float = 0.05
) -> Answer:
    """Call ``ask`` until it returns something true, and return that.

    ``patience``, and ``pause`` between two calls, are in seconds.

    Raises:
        TimeoutError: nothing true was returned within ``patience`` seconds. The message names ``what`` was awaited and
            ends with what ``explain`` returns.
    """
    end = time.monotonic() + patience
    while not (answer := ask()):
        if time.monotonic() > end:
            raise TimeoutError(f"waited {patience:.0f} s for {what}. {explain()}".rstrip())
        time.sleep(pause)
    return answer


@contextlib.contextmanager
def limit(patience: float, expire: Callable[[], object]) -> Iterator[threading.Event]:
    """Call ``expire`` if the block takes longer than ``patience`` seconds; the event is set if that happened."""
    expired = threading.Event()

    def end() -> None:
        expired.set()
        expire()

    timer = threading.Timer(patience, end)
    timer.start()
    try:
        yield expired
    finally:
        timer.cancel()
