"""Clients of the rehearsal's AWS with the account's root keys, for the rehearsal's own use."""

from __future__ import annotations

import functools
import ssl
from typing import Any

import boto3
import httpx
from botocore.config import Config

from rehearsal import waiting
from rehearsal.emulator import ministack
from rehearsal.settings import settings

READY_TIMEOUT = 60.0


@functools.cache
def root(service: str) -> Any:
    """Return a client of one service as the account's root; the environment's AWS and proxy settings are ignored."""
    session = boto3.Session(
        aws_access_key_id=settings.account,
        aws_secret_access_key="test",  # noqa: S106 - MiniStack's, publicly known and valid on loopback only
        region_name=settings.region,
    )
    config = Config(proxies={}, retries={"mode": "standard", "max_attempts": 3})
    return session.client(service, endpoint_url=settings.aws_url, verify=False, config=config)


def wait_until_ready(timeout: float = READY_TIMEOUT) -> None:
    """Wait until AWS, the proxy and the TLS front answer.

    Raises:
        TimeoutError: they did not answer within ``timeout`` seconds; the message ends with the last failure.
    """
    failure: Exception | None = None

    def answers() -> bool:
        nonlocal failure
        try:
            _ask()
        except (httpx.HTTPError, OSError) as error:
            failure = error
            return False
        return True

    waiting.until(answers, timeout, "AWS, the proxy and the TLS front", lambda: str(failure))


def _ask() -> None:
    with httpx.Client(trust_env=False, timeout=waiting.bound(5)) as direct:
        direct.get(settings.aws_url + ministack.HEALTH_PATH).raise_for_status()
    context = ssl.create_default_context(cafile=str(settings.ca))
    with httpx.Client(trust_env=False, timeout=waiting.bound(5), proxy=settings.proxy_url, verify=context) as through:
        through.get(f"https://{settings.registry}/")
