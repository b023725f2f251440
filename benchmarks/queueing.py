"""Two queues of many apps, simulated: pushes that wait for a build, and pods that wait for the control plane.

These are models, not measurements. That of the builds follows the documents of CodeBuild and CodePipeline; that of the pods
is compared with what scale.py measured.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import count

#: Seconds after which a build that waits is dropped: QueuedTimeoutInMinutes of the template.
PATIENCE = 1800
#: The working days that are simulated.
HOURS, DAYS = 8, 20


@dataclass
class Account:
    """The builds of one account, and a pipeline for each app, which runs one build and keeps the newest push that waits.

    Args:
        builds: how many run at once.
        places: how many more may wait; CodeBuild refuses further ones, and their pipelines fail.
        seconds: how long each takes.
    """

    builds: int
    places: int
    seconds: float
    #: Seconds from each push to the start of its build.
    waits: list[float] = field(default_factory=list)
    #: How many builds were refused, or dropped from the queue.
    failed: int = 0
    #: When the last build ended, in seconds.
    end: float = 0

    def run(self, pushes: Iterable[tuple[float, int]]) -> None:
        """Simulate pushes, each a time in seconds and an app, until nothing is left to build."""
        self._order = count()  # breaks ties between events
        #: The ends of builds and the pushes: a time, the order, an app, and whether it is a push.
        self._events = [(when, next(self._order), app, True) for when, app in pushes]
        heapq.heapify(self._events)
        self._running: set[int] = set()
        self._queue: deque[tuple[float, float, int]] = deque()  # since when, pushed when, by which app
        self._newest: dict[int, float] = {}
        while self._events:
            now, _, app, is_push = heapq.heappop(self._events)
            while self._queue and self._queue[0][0] + PATIENCE <= now:
                self.failed += 1
                self._continue(now, self._queue.popleft()[2])
            if not is_push:
                self._finish(now, app)
            elif app in self._running or any(each == app for _, _, each in self._queue):
                self._newest[app] = now
            else:
                self._submit(now, now, app)

    def _submit(self, now: float, pushed: float, app: int) -> None:
        if len(self._running) < self.builds:
            self._running.add(app)
            self.waits.append(now - pushed)
            heapq.heappush(self._events, (now + self.seconds, next(self._order), app, False))
        elif len(self._queue) < self.places:
            self._queue.append((now, pushed, app))
        else:
            self.failed += 1

    def _finish(self, now: float, app: int) -> None:
        self.end = now
        self._running.discard(app)
        if self._queue:
            _, pushed, first = self._queue.popleft()
            self._submit(now, pushed, first)
        self._continue(now, app)

    def _continue(self, now: float, app: int) -> None:
        """Start what the app pushed meanwhile: the newest push alone, as in a pipeline of mode SUPERSEDED."""
        if app in self._newest:
            self._submit(now, self._newest.pop(app), app)

    def wait(self, part: float) -> float:
        """Return how many seconds this part of the builds, such as 0.95, waits at most."""
        return sorted(self.waits)[math.ceil(part * len(self.waits)) - 1]


def working_days(apps: int, pushes: float, account: Account) -> None:
    """Simulate working days in which each app is pushed at random times, so many times an hour on average."""
    chance = random.Random(apps)  # noqa: S311 (not a secret)
    for _ in range(DAYS):
        many = [_times(chance, pushes / 3600) for _ in range(apps)]
        account.run((when, app) for app, times in enumerate(many) for when in times)


def _times(chance: random.Random, rate: float) -> list[float]:
    """Return random times of one day at this rate a second."""
    times = [chance.expovariate(rate)]
    while times[-1] < HOURS * 3600:
        times.append(times[-1] + chance.expovariate(rate))
    return times[:-1]


def all_ready(pods: int, clients: Sequence[tuple[float, int]], least: float) -> float:
    """Return after how many seconds all pods are ready, each of which needs one call of each client in turn.

    Args:
        pods: how many are created at once.
        clients: the calls a second and the burst that each client of the API server allows itself (client-go's
            token bucket): the first creates the pods, the second binds them to nodes.
        least: what a single pod takes.
    """
    times = [0.0] * pods
    for rate, burst in clients:
        tokens, before = float(burst), 0.0
        for number, when in enumerate(times):
            tokens = min(burst, tokens + (when - before) * rate) - 1
            before, times[number] = when, when + max(0.0, -tokens / rate)
    return least + times[-1]
