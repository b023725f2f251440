"""The authority and certificate of the TLS front, and a bundle of this authority and those that the machine trusts."""

from __future__ import annotations

from pathlib import Path

import trustme

from rehearsal import secret
from rehearsal.sandbox.authorities import machine_bundle
from rehearsal.settings import settings

#: Host names that the TLS front answers for; the proxy tunnels them there.
HOSTS = (settings.sts_host, settings.registry, "api.github.com", "github.com", "dl.k8s.io", "checkip.amazonaws.com")


def key_and_chain() -> Path:
    """Return the file with the front's private key and certificate, readable by its owner only."""
    return settings.run / "front.pem"


def create() -> None:
    """Write ca.pem, ca-bundle.pem and the front's certificate, unless they exist."""
    if key_and_chain().exists() and settings.ca_bundle.exists():
        return
    settings.run.mkdir(parents=True, exist_ok=True)
    authority = trustme.CA(organization_name="eks-rehearsal")
    own = authority.cert_pem.bytes()
    settings.ca.write_bytes(own)
    settings.ca_bundle.write_bytes(machine_bundle().read_bytes().rstrip() + b"\n" + own)
    secret.write(key_and_chain(), authority.issue_cert(*HOSTS).private_key_and_cert_chain_pem.bytes())
