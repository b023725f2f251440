"""The base image that the tutorial's Dockerfile starts from, made without an image registry.

On AWS ``FROM public.ecr.aws/docker/library/python:3.13-slim`` is pulled from a public registry. The rehearsal makes a
stand-in of the same name with debootstrap(8): Debian trixie, whose own Python is 3.13, with ``python``, ``python3`` and
``pip`` where the official image has them (https://hub.docker.com/_/python). It is made once and kept in the cache.

Differs from the official image: Python is Debian's build, in /usr, with its standard library and no ``idle``; the
machine's own certificate authorities are added, so that pip works behind a proxy that opens TLS; its layers and digest
are its own.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

from rehearsal.sandbox.authorities import machine_bundle
from rehearsal.settings import settings

NAME = "public.ecr.aws/docker/library/python:3.13-slim"
#: Changes of ``docker import`` that make the official image's configuration.
CONFIGURATION = (
    "ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin",
    "ENV LANG=C.UTF-8",
    'CMD ["python3"]',
)
SUITE = "trixie"
MIRROR = os.environ.get("DEBIAN_MIRROR", "http://deb.debian.org/debian")
#: Counted up when the recipe below changes, so that no old image is taken for a new one.
RECIPE = 1
TIMEOUT = 900.0

#: Not needed to run anything; Debian's own slim images leave out the first four as well.
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

#: Run inside the new root: Debian forbids pip outside a venv, the official image does not.
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
    """Where the image's root file system is kept; the name tells recipe and certificate authorities apart."""
    key = hashlib.sha256(f"{RECIPE} {SUITE} {UNNEEDED} {FINISH}".encode() + _machine_bundle().encode()).hexdigest()[:12]
    return settings.cache / f"base-image-{key}.tar"


def is_made() -> bool:
    """Whether the image is in the cache."""
    return path().exists()


def make(show: Callable[[str], None]) -> Path:
    """Make the image, telling ``show`` what is being done, and return its path.

    Raises:
        BaseImageError: debootstrap is missing, or failed.
    """
    if not shutil.which("debootstrap"):
        raise BaseImageError("debootstrap is missing; install it with scripts/dev/packages.sh")
    settings.cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=settings.cache, prefix="base-image-") as work:
        root = Path(work) / "root"
        _debootstrap(root, show)
        show("trim it")
        _trim(root)
        _add_authorities(root)
        show("pack it")
        archive = Path(work) / "root.tar"
        _run(["tar", "--create", "--numeric-owner", f"--file={archive}", f"--directory={root}", "."])
        for old in settings.cache.glob("base-image-*.tar"):
            old.unlink()
        archive.rename(path())
    show(f"= {path().stat().st_size / 1e6:.0f} MB")
    return path()


def _debootstrap(root: Path, show: Callable[[str], None]) -> None:
    """Install the packages; in namespaces of its own, so that nothing it mounts or starts can stay."""
    packages = "--include=python3,python3-venv,ca-certificates"
    command = ["debootstrap", "--variant=minbase", packages, SUITE, str(root), MIRROR]
    process = subprocess.Popen(
        ["unshare", "--mount", "--pid", "--fork", "--kill-child", *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    timer = threading.Timer(TIMEOUT, process.kill)
    timer.start()
    last = ""
    try:
        for line in process.stdout or ():
            last = line.strip() or last
            show(last.removeprefix("I: "))
    finally:
        timer.cancel()
        process.kill()
    if process.wait() != 0:
        raise BaseImageError(f"debootstrap from {MIRROR} failed ({last}); DEBIAN_MIRROR names another mirror")


def _trim(root: Path) -> None:
    _run(["unshare", "--mount", "--pid", "--fork", "--kill-child", "chroot", str(root), "/bin/sh", "-c", FINISH])
    for name in UNNEEDED:
        directory = root / name
        for entry in directory.iterdir() if directory.is_dir() else ():
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()


def _add_authorities(root: Path) -> None:
    """Append those of the machine's certificate authorities that Debian does not have."""
    bundle = root / "etc/ssl/certs/ca-certificates.crt"
    known = set(_CERTIFICATE.findall(bundle.read_text(encoding="utf-8")))
    own = [one for one in _CERTIFICATE.findall(_machine_bundle()) if one not in known]
    with bundle.open("a", encoding="utf-8") as file:
        file.writelines(one + "\n" for one in own)


def _machine_bundle() -> str:
    return machine_bundle().read_text(encoding="utf-8", errors="replace")


def _run(command: list[str]) -> None:
    result = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=TIMEOUT, check=False)
    if result.returncode:
        raise BaseImageError(f"{command[0]} failed: {result.stderr.strip() or result.stdout.strip()}")
