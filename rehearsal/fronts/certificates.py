"""The authority and the certificate of the TLS front, and the bundle that makes clients trust both it and the world."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

import certifi
import trustme

from rehearsal.settings import settings

#: Names that the TLS front answers for; the proxy leads them there.
HOSTS = (settings.sts_host, settings.registry, "api.github.com", "github.com", "dl.k8s.io")

#: Where a machine with an authority of its own says so, in the order that its tools ask.
BUNDLE_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "AWS_CA_BUNDLE")


def key_and_chain() -> Path:
    """The front's private key and certificate, for it alone."""
    return settings.run / "front.pem"


def machine_bundle() -> Path:
    """The authorities that this machine trusts."""
    named = [Path(os.environ[name]) for name in BUNDLE_VARIABLES if os.environ.get(name)]
    defaults = ssl.get_default_verify_paths()
    usual = [Path(path) for path in (defaults.cafile, defaults.openssl_cafile) if path]
    for path in (*named, *usual):
        if path.is_file() and path != settings.ca_bundle:
            return path
    return Path(certifi.where())


def create() -> None:
    """Write ca.pem, ca-bundle.pem and the front's certificate, unless they are there."""
    if key_and_chain().exists() and settings.ca_bundle.exists():
        return
    settings.run.mkdir(parents=True, exist_ok=True)
    authority = trustme.CA(organization_name="eks-rehearsal")
    own = authority.cert_pem.bytes()
    settings.ca.write_bytes(own)
    settings.ca_bundle.write_bytes(machine_bundle().read_bytes().rstrip() + b"\n" + own)
    descriptor = os.open(key_and_chain(), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(authority.issue_cert(*HOSTS).private_key_and_cert_chain_pem.bytes())
