"""Writes a build's output to CloudWatch Logs, with the service role's credentials, and to a local file.

Lines from CodeBuild itself begin with ``[Container]`` and a time, as in its own logs. Values from Parameter Store and
Secrets Manager, and access key ids, appear as ``***``
(https://docs.aws.amazon.com/codebuild/latest/userguide/build-spec-ref.html#build-spec.env).
"""

from __future__ import annotations

import os
import queue
import threading
import time
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

#: Seconds for which lines are collected before they are sent.
INTERVAL = 0.3
#: PutLogEvents accepts at most 10,000 events and 1 MB; lines are split so that a full batch stays below 1 MB.
BATCH = 1000
LINE_LIMIT = 900


class BuildLog:
    """The log of one build; everything written to ``descriptor`` goes into it.

    Args:
        path: the file that every line is written to.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._file = path.open("w", encoding="utf-8", buffering=1)
        self._secrets: list[str] = []
        self._events: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._sender: threading.Thread | None = None
        reading, self.descriptor = os.pipe()
        self._reader = threading.Thread(target=self._read, args=(reading,), name="build log", daemon=True)
        self._reader.start()

    def send_to(self, client: Any, group: str, stream: str) -> None:
        """Create the log stream, and its group if it does not exist, and send all lines there from now on.

        Raises:
            ClientError: the role lacks a right, or CloudWatch Logs refuses.
        """
        try:
            client.create_log_stream(logGroupName=group, logStreamName=stream)
        except client.exceptions.ResourceNotFoundException:
            client.create_log_group(logGroupName=group)
            client.create_log_stream(logGroupName=group, logStreamName=stream)
        self._sender = threading.Thread(target=self._send, args=(client, group, stream), name="log sender", daemon=True)
        self._sender.start()

    def hide(self, secret: str) -> None:
        """Replace a value by ``***`` in the log."""
        self._secrets += [part for part in secret.splitlines() if part]

    def say(self, message: str) -> None:
        """Write a line that CodeBuild itself logs."""
        moment = time.time()
        stamp = time.strftime("%Y/%m/%d %H:%M:%S", time.gmtime(moment))
        os.write(self.descriptor, f"[Container] {stamp}.{int(moment % 1 * 1e6):06d} {message}\n".encode())

    def close(self) -> None:
        """Write the remaining lines; bounded in time, in case an escaped process still holds the pipe open."""
        os.close(self.descriptor)
        self._reader.join(5)
        self._events.put(None)
        if self._sender:
            self._sender.join(10)

    def _read(self, reading: int) -> None:
        with os.fdopen(reading, "r", encoding="utf-8", errors="replace", newline="\n") as lines, self._file:
            for line in lines:
                shown = self._hidden(line.rstrip("\n"))
                self._file.write(shown + "\n")
                for start in range(0, max(len(shown), 1), LINE_LIMIT):
                    message = shown[start : start + LINE_LIMIT] + "\n"
                    self._events.put({"timestamp": int(time.time() * 1000), "message": message})

    def _hidden(self, line: str) -> str:
        for secret in self._secrets:
            line = line.replace(secret, "***")
        return line

    def _send(self, client: Any, group: str, stream: str) -> None:
        """Send lines in batches. As on AWS, a build does not fail because its log cannot be written."""
        last = False
        while not last:
            batch: list[dict[str, Any]] = []
            time.sleep(INTERVAL)
            while len(batch) < BATCH and not last:
                try:
                    event = self._events.get_nowait() if batch else self._events.get()
                except queue.Empty:
                    break
                last = event is None
                batch += [event] if event else []
            if batch:
                try:
                    client.put_log_events(logGroupName=group, logStreamName=stream, logEvents=batch)
                except (BotoCoreError, ClientError) as error:
                    with self.path.open("a", encoding="utf-8") as file:
                        file.write(f"cannot write to CloudWatch Logs: {error}\n")
                    return
