"""The command lines of all processes during a rehearsal."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rehearsal.secret import root_keys
from rehearsal.settings import settings


class ProcessList:
    """Command lines of every process on this machine, sampled repeatedly."""

    def __init__(self) -> None:
        self.command_lines: set[bytes] = set()
        self.samples = 0
        self.secrets: set[bytes] = set()

    def sample(self) -> None:
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                self.command_lines.add((process / "cmdline").read_bytes())
        self.samples += 1
        if not self.secrets:  # once, because to read root's key later could create it while a rehearsal is removed
            with suppress(OSError, ValueError, KeyError):
                self.secrets = learner_secrets()

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Sample about 30 times a second until the block ends."""
        ended = threading.Event()

        def watch() -> None:
            while not ended.wait(0.03):
                self.sample()

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            yield
        finally:
            ended.set()
            watcher.join(10)


def learner_secrets() -> set[bytes]:
    """Return the token and the secret key of the running rehearsal's learner, and the secret key of root."""
    kept = json.loads((settings.run / "learner.json").read_text(encoding="utf-8"))
    return {kept["token"].encode(), kept["access_key"]["SecretAccessKey"].encode(), root_keys()[1].encode()}
