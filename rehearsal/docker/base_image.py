"""The base image that the tutorial's Dockerfile starts from, made without an image registry.

On AWS ``FROM public.ecr.aws/docker/library/python:3.13-slim`` is pulled from a public registry. The rehearsal makes a
stand-in of the same name with mmdebstrap(1), in half of debootstrap's time: Debian trixie, whose Python is 3.13, with
``python``, ``python3`` and ``pip`` where the official image has them (https://hub.docker.com/_/python). It is made once
and kept in the cache.

Differs from the official image: Python is Debian's build, in /usr, with its standard library and without ``idle``; this
machine's certificate authorities are added, so that pip works behind a proxy that intercepts TLS; the layers and the
digest are different.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from rehearsal import waiting
from rehearsal.sandbox.authorities import machine_bundle
from rehearsal.settings import settings

NAME = "public.ecr.aws/docker/library/python:3.13-slim"
#: The official image's configuration, as changes for ``docker import``.
CONFIGURATION = (
    "ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin",
    "ENV LANG=C.UTF-8",
    'CMD ["python3"]',
)
SUITE = "trixie"
MIRROR = os.environ.get("DEBIAN_MIRROR", "http://deb.debian.org/debian")
#: Of the package debian-archive-keyring.
KEYS = "/usr/share/keyrings/debian-archive-keyring.gpg"
#: Increase when the recipe below changes, so that an image of an older recipe is not used.
RECIPE = 2
TIMEOUT = 900.0

#: Not needed at run time; Debian's slim images leave out the first four as well.
UNNEEDED = (
    "usr/share/doc",
    "usr/share/man",
    "usr/share/locale",
    "usr/share/info",
    "var/cache/apt",
    "var/cache/debconf",
    "var/lib/apt/lists",
    "var/log",
)

#: Runs inside the new root. Unlike the official image, Debian forbids pip outside a virtual environment.
FINISH = """set -eu
rm -f /usr/lib/python3.*/EXTERNALLY-MANAGED
wheel=$(echo /usr/share/python-wheels/pip-*.whl)
python3 "$wheel/pip" install --quiet --no-index --no-cache-dir --root-user-action=ignore "$wheel"
for name in python python3 python3.13; do ln -sf /usr/bin/python3.13 "/usr/local/bin/$name"; done
find / -xdev -name __pycache__ -prune -exec rm -rf {} +
"""

_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)


class BaseImageError(RuntimeError):
    """The base image cannot be made; the message says why and what to do."""


def path() -> Path:
    """Where the image's root file system is kept; the name depends on the recipe and the certificate authorities."""
    key = hashlib.sha256(f"{RECIPE} {SUITE} {UNNEEDED} {FINISH}".encode() + _host_authorities().encode()).hexdigest()[
        :12
    ]
    return settings.cache / f"base-image-{key}.tar"


def is_made() -> bool:
    """Whether the image is in the cache."""
    return path().exists()


def make(show: Callable[[str], None]) -> Path:
    """Make the image and return its path; ``show`` is called with what is being done.

    Raises:
        BaseImageError: mmdebstrap is missing or failed.
    """
    if not shutil.which("mmdebstrap"):
        raise BaseImageError("mmdebstrap is missing; install it with scripts/dev/packages.sh")
    work = settings.cache / "base-image.new"
    shutil.rmtree(work, ignore_errors=True)  # what a killed one has left
    try:
        root = work / "root"
        root.mkdir(parents=True)
        _bootstrap(root, show)
        show("trim it")
        _trim(root)
        _add_authorities(root)
        show("pack it")
        archive = work / "root.tar"
        _run(["tar", "--create", "--numeric-owner", f"--file={archive}", f"--directory={root}", "."])
        for old in settings.cache.glob("base-image-*.tar"):
            old.unlink()
        archive.rename(path())
    finally:
        shutil.rmtree(work, ignore_errors=True)
    show(f"= {path().stat().st_size / 1e6:.0f} MB")
    return path()


def _bootstrap(root: Path, show: Callable[[str], None]) -> None:
    """Install the packages, in separate namespaces so that nothing it mounts or starts can remain."""
    options = [
        "--mode=root",
        "--format=directory",
        "--variant=minbase",
        "--include=python3,python3-venv,ca-certificates",
        # By default, it takes the keys of this machine's own apt, which on Ubuntu are not Debian's.
        f"--keyring={KEYS}",
        # Nothing of an interrupted one is used, so dpkg need not wait for the disk.
        "--dpkgopt=force-unsafe-io",
    ]
    process = subprocess.Popen(
        ["unshare", "--mount", "--pid", "--fork", "--kill-child", "mmdebstrap", *options, SUITE, str(root), MIRROR],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    reason = ""
    try:
        with waiting.limit(TIMEOUT, process.kill):
            for line in process.stdout or ():
                reason = reason or (line.strip() if line.startswith("E: ") else "")
                show(line.strip().removeprefix("I: "))
    finally:
        process.kill()
    if process.wait() != 0:
        raise BaseImageError(f"mmdebstrap from {MIRROR} failed ({reason}); set DEBIAN_MIRROR to use another mirror")


def _trim(root: Path) -> None:
    _run(["unshare", "--mount", "--pid", "--fork", "--kill-child", "chroot", str(root), "/bin/sh", "-c", FINISH])
    for name in UNNEEDED:
        directory = root / name
        for entry in directory.iterdir() if directory.is_dir() else ():
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()


def _add_authorities(root: Path) -> None:
    """Append this machine's certificate authorities that Debian does not have."""
    bundle = root / "etc/ssl/certs/ca-certificates.crt"
    known = set(_CERTIFICATE.findall(bundle.read_text(encoding="utf-8")))
    own = [one for one in _CERTIFICATE.findall(_host_authorities()) if one not in known]
    with bundle.open("a", encoding="utf-8") as file:
        file.writelines(one + "\n" for one in own)


def _host_authorities() -> str:
    return machine_bundle().read_text(encoding="utf-8", errors="replace")


def _run(command: list[str]) -> None:
    result = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=TIMEOUT, check=False)
    if result.returncode:
        raise BaseImageError(f"{command[0]} failed: {result.stderr.strip() or result.stdout.strip()}")
