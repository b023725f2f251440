"""Clients of the rehearsal's AWS with the keys of the account's root, which are new in each run (rehearsal/secret.py)."""

from __future__ import annotations

import functools
import os
import ssl
from typing import Any

import boto3
import httpx
from botocore.config import Config

from rehearsal import secret, waiting
from rehearsal.emulator import ministack
from rehearsal.settings import settings

READY_TIMEOUT = 60.0


def root(service: str) -> Any:
    """Return a client of one service as the account's root; the environment's AWS and proxy settings are ignored."""
    return _client(service, *secret.root_keys())


def root_environment() -> dict[str, str]:
    """Return the variables with which programs of the rehearsal call AWS as the account's root."""
    key, secret_key = secret.root_keys()
    return {
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": secret_key,
        "AWS_REGION": settings.region,
        "AWS_DEFAULT_REGION": settings.region,
        "AWS_ENDPOINT_URL": settings.aws_url,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "NO_PROXY": "*",
    }


@functools.cache
def _client(service: str, key: str, secret_key: str) -> Any:
    session = boto3.Session(key, secret_key, region_name=settings.region)
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
