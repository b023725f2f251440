"""AWS, its proxy and its TLS front on loopback, with their own cache and ports: no root, no Docker, no cluster."""

from __future__ import annotations

import contextlib
import functools
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from rehearsal.secret import root_keys
from rehearsal.waiting import until
from tests.support.names import REGION
from tests.support.paths import ROOT
from tests.support.shapes import check_answers

PROGRAMS = ("rehearsal.fronts.tls_front", "rehearsal.fronts.proxy", "rehearsal.aws")


@dataclass(frozen=True)
class Loopback:
    """The running programs; ``run`` is the directory of their state."""

    run: Path
    port: int
    environment: dict[str, str]

    def client(self, service: str, keys: dict[str, str] | None = None) -> Any:
        """Return a client of a service, as root or with ``keys`` (the Credentials of STS, or an access key)."""
        keys = keys or dict(zip(("AccessKeyId", "SecretAccessKey"), root_keys(self.run), strict=True))
        return _client(service, self.port, keys["AccessKeyId"], keys["SecretAccessKey"], keys.get("SessionToken"))

    def python(self, code: str) -> str:
        """Run Python code in the rehearsal's environment and return its output."""
        command = [sys.executable, "-c", code]
        return subprocess.run(
            command, cwd=ROOT, env=self.environment, capture_output=True, text=True, timeout=60, check=True
        ).stdout.strip()

    def git(
        self, *args: str, cwd: Path | None = None, token: str = "", check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run git as a user of github.com with a token."""
        helper = f'!f() {{ echo "username=x"; echo "password={token}"; }}; f'
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.run),
            "HTTPS_PROXY": f"http://127.0.0.1:{self.port + 1}",
            "GIT_SSL_CAINFO": str(self.run / "ca-bundle.pem"),
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_AUTHOR_NAME": "A",
            "GIT_AUTHOR_EMAIL": "a@example.com",
            "GIT_COMMITTER_NAME": "A",
            "GIT_COMMITTER_EMAIL": "a@example.com",
        }
        command = ["git", "-c", f"credential.helper={helper if token else ''}", *args]
        return subprocess.run(
            command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=60, check=check
        )


@functools.cache
def _client(service: str, port: int, key: str, secret: str, token: str | None) -> Any:
    session = boto3.Session(key, secret, token, REGION)
    config = Config(proxies={}, retries={"total_max_attempts": 1})
    return check_answers(session.client(service, endpoint_url=f"http://127.0.0.1:{port}", config=config))


@contextlib.contextmanager
def started(cache: Path) -> Iterator[Loopback]:
    """Start the programs, wait until they answer, and stop them afterwards."""
    with reserved_ports(13) as port:
        yield from _started(cache, port)


def _started(cache: Path, port: int) -> Iterator[Loopback]:
    run = cache / "eks-rehearsal" / "run"
    environment = {
        name: value
        for name, value in os.environ.items()
        if name in ("PATH", "HOME", "LANG", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR", "HTTPS_PROXY", "VIRTUAL_ENV")
    }
    environment |= {"XDG_CACHE_HOME": str(cache), "REHEARSAL_PORT": str(port), "PYTHONPATH": str(ROOT)}
    environment["TMPDIR"] = str(run / "tmp")
    for name in ("log", "tmp"):
        (run / name).mkdir(parents=True)
    subprocess.run(
        [sys.executable, "-c", "from rehearsal.fronts import certificates; certificates.create()"],
        env=environment,
        cwd=ROOT,
        check=True,
    )
    processes = []
    try:
        for module in PROGRAMS:
            with (run / "log" / f"{module}.log").open("wb") as log:
                processes.append(
                    subprocess.Popen(
                        [sys.executable, "-m", module],
                        cwd=ROOT,
                        env=environment,
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=subprocess.STDOUT,
                    )
                )
        loopback = Loopback(run, port, environment)
        loopback.python("from rehearsal.emulator.client import wait_until_ready; wait_until_ready(30)")
        yield loopback
    finally:
        for process in processes:
            process.kill()
            process.wait(10)


@contextlib.contextmanager
def reserved_ports(count: int) -> Iterator[int]:
    """Yield the first of ``count`` consecutive free ports, reserved until the block ends.

    The port before them is the lock: it stays bound, so that tests in other processes take other ports. All of them are
    below the range from which the kernel takes ports for outgoing connections.
    """
    for lock in range(26000, 32000, 20):
        with contextlib.ExitStack() as held:
            try:
                held.enter_context(socket.socket()).bind(("127.0.0.1", lock))
                with contextlib.ExitStack() as free:
                    for port in range(lock + 1, lock + 1 + count):
                        free.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                continue
            yield lock + 1
            return
    raise AssertionError("no free ports")


def eventually(good: Callable[[], Any], patience: float = 20.0) -> Any:
    """Call ``good`` until it returns something true, and return that."""
    return until(good, patience, "a good answer")
