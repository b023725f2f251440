"""The certificate authorities that this machine trusts, such as those of a company's proxy."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

from rehearsal.settings import settings

#: Variables that name a machine's own bundle, in the order of their use.
BUNDLE_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "AWS_CA_BUNDLE")


def machine_bundle() -> Path:
    """Return the bundle that the environment names, else the system's, else that of certifi."""
    named = [Path(os.environ[name]) for name in BUNDLE_VARIABLES if os.environ.get(name)]
    defaults = ssl.get_default_verify_paths()
    usual = [Path(path) for path in (defaults.cafile, defaults.openssl_cafile) if path]
    for path in (*named, *usual):
        if path.is_file() and path != settings.ca_bundle:
            return path
    import certifi  # noqa: PLC0415  # rehearsal/check.py runs before it is installed

    return Path(certifi.where())
