"""The one way to wait: ask until the answer is good, with a bound."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Answer = TypeVar("Answer")


def until(
    ask: Callable[[], Answer], patience: float, what: str, explain: Callable[[], str] = lambda: "", pause: float = 0.05
) -> Answer:
    """Call ``ask`` until it returns something true, and return that.

    ``patience`` and ``pause``, between two calls, are in seconds.

    Raises:
        TimeoutError: nothing true came within ``patience`` seconds; the message names ``what`` was awaited and ends with
            what ``explain`` returns.
    """
    end = time.monotonic() + patience
    while not (answer := ask()):
        if time.monotonic() > end:
            raise TimeoutError(f"waited {patience:.0f} s for {what}. {explain()}".rstrip())
        time.sleep(pause)
    return answer
