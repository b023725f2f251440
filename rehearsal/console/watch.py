"""Reads the state once a second while a browser has the page open, and only once for all browsers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Protocol

from rehearsal.console.answers import Memory, Visitor
from rehearsal.console.cluster import Kubernetes
from rehearsal.console.pipeline import Aws
from rehearsal.console.snapshot import (
    LOADING,
    Answer,
    Build,
    Cluster,
    Pipeline,
    Snapshot,
    no_build,
    no_cluster,
    no_pipeline,
)
from rehearsal.settings import settings

log = logging.getLogger(__name__)


class World(Protocol):
    """What the page reads; each method returns within a few seconds, with a note if there is nothing to show."""

    async def aws(self) -> tuple[Pipeline, Build]:
        """Return the pipeline and its latest build."""

    async def cluster(self) -> Cluster:
        """Return the cluster."""

    async def app(self, address: str) -> Answer:
        """Return the answer of the app at ``address``."""


class Rehearsal:
    """The rehearsal on this machine."""

    def __init__(self) -> None:
        self._aws, self._kubernetes, self._visitor = Aws(), Kubernetes(), Visitor()

    async def aws(self) -> tuple[Pipeline, Build]:
        """Read AWS, in a thread because its client blocks."""
        return await asyncio.to_thread(self._aws.read)

    async def cluster(self) -> Cluster:
        """Read the Kubernetes API."""
        return await self._kubernetes.read()

    async def app(self, address: str) -> Answer:
        """Send a request to the app."""
        return await self._visitor.read(address)


class Watch:
    """The latest state, which is kept up to date while there are viewers.

    Each part is read in its own task, so that a slow one does not delay the others.
    """

    def __init__(self, world: World, interval: float = 1.0) -> None:
        self.interval = interval
        self.closed = False
        self._world = world
        self._memory = Memory()
        self._pipeline, self._build = no_pipeline(LOADING), no_build(LOADING)
        self._cluster = no_cluster(LOADING)
        self._viewers = 0
        self._readers: list[asyncio.Task[None]] = []

    def snapshot(self) -> Snapshot:
        """Return the state that was read last."""
        return {
            "region": settings.region,
            "pipeline": self._pipeline,
            "build": self._build,
            "cluster": self._memory.name_versions(self._cluster),
            "app": self._memory.app(self._cluster["address"]),
        }

    async def fresh(self) -> Snapshot:
        """Return the current state; without viewers, read it first."""
        if not self._viewers:
            await asyncio.gather(self._read_aws(), self._read_cluster())
            await self._read_app()
        return self.snapshot()

    @asynccontextmanager
    async def viewing(self) -> AsyncIterator[None]:
        """Keep the state up to date while the block runs."""
        self._viewers += 1
        if self._viewers == 1:
            reads = (self._read_aws, self._read_cluster, self._read_app)
            self._readers = [asyncio.create_task(self._repeat(read)) for read in reads]
        try:
            yield
        finally:
            self._viewers -= 1
            if not self._viewers:
                for reader in self._readers:
                    reader.cancel()

    def close(self) -> None:
        """End the event streams."""
        self.closed = True

    async def _repeat(self, read: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await read()
            except Exception:  # a defect in one part must not stop the page
                log.exception("reading failed")
            await asyncio.sleep(self.interval)

    async def _read_aws(self) -> None:
        self._pipeline, self._build = await self._world.aws()

    async def _read_cluster(self) -> None:
        self._cluster = await self._world.cluster()

    async def _read_app(self) -> None:
        if self._cluster["address"]:
            answer = await self._world.app(self._cluster["address"])
            self._memory.add(answer, self._pipeline["executions"])
