"""Clients of the rehearsal's AWS with its root keys, for the rehearsal's own use."""

from __future__ import annotations

import functools
import ssl
import time
from typing import Any

import boto3
import httpx
from botocore.config import Config

from rehearsal.settings import settings

READY_TIMEOUT = 60.0


@functools.cache
def root(service: str) -> Any:
    """A client of one service as the account's root; whatever the environment says of AWS or proxies is ignored."""
    session = boto3.Session(
        aws_access_key_id=settings.account,
        aws_secret_access_key="test",  # noqa: S106 - MiniStack's, known to everyone and good for loopback only
        region_name=settings.region,
    )
    config = Config(proxies={}, retries={"mode": "standard", "max_attempts": 3})
    return session.client(service, endpoint_url=settings.aws_url, verify=False, config=config)


def wait_until_ready(timeout: float = READY_TIMEOUT) -> None:
    """Wait until AWS, the proxy and the TLS front answer.

    Raises:
        TimeoutError: they do not within ``timeout`` seconds; the message names the last failure.
    """
    deadline = time.monotonic() + timeout
    while True:
        try:
            _ask()
            return
        except (httpx.HTTPError, OSError) as error:
            if time.monotonic() > deadline:
                raise TimeoutError(f"AWS did not start within {timeout:.0f} s: {error}") from error
            time.sleep(0.05)


def _ask() -> None:
    with httpx.Client(trust_env=False, timeout=5) as direct:
        direct.get(f"{settings.aws_url}/_ministack/health").raise_for_status()
    context = ssl.create_default_context(cafile=str(settings.ca))
    with httpx.Client(trust_env=False, timeout=5, proxy=settings.proxy_url, verify=context) as through:
        through.get(f"https://{settings.registry}/")
