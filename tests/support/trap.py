"""A kubeconfig whose current context is a trap: its server only counts who connects."""

from __future__ import annotations

import socket
import threading

import yaml


class Listener:
    """A port on loopback that counts connections, and closes each."""

    def __init__(self) -> None:
        self.count = 0
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://127.0.0.1:{self.socket.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            self.count += 1
            connection.close()


def kubeconfig(**contexts: str) -> str:
    """A kubeconfig with contexts and their servers; the first is the current one."""
    return yaml.safe_dump(
        {
            "current-context": next(iter(contexts), ""),
            "contexts": [{"name": name, "context": {"cluster": name}} for name in contexts],
            "clusters": [{"name": name, "cluster": {"server": url}} for name, url in contexts.items()],
        }
    )
