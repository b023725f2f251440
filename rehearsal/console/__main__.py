"""Serves the page: ``python -m rehearsal.console``.

It listens on loopback. In a container, REHEARSAL_CONSOLE=0.0.0.0 lets the host publish its port, on loopback there: the
page answers only as 127.0.0.1 and localhost.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable

from hypercorn.asyncio import serve
from hypercorn.config import Config
from starlette.applications import Starlette

from rehearsal.console.app import application
from rehearsal.emulator.client import root_environment
from rehearsal.settings import settings


async def serve_until(app: Starlette, bind: str, stopped: Callable[[], Awaitable[object]]) -> None:
    """Serve ``app`` on ``bind`` until ``stopped`` returns; end the event streams, which would otherwise stay open."""
    config = Config()
    config.bind = [bind]
    config.graceful_timeout = 2

    async def trigger() -> None:
        await stopped()
        app.state.watch.close()

    await serve(app, config, shutdown_trigger=trigger)  # type: ignore[arg-type]


async def main() -> None:
    """Serve until a signal arrives; AWS is read with the rehearsal's root keys, not the learner's."""
    os.environ.update(root_environment())
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await serve_until(application(), f"{settings.console_address}:{settings.ports.console}", stop.wait)


if __name__ == "__main__":
    asyncio.run(main())
