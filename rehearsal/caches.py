"""What rehearsals keep on the disk to start faster the next time: shown by ``status``, removed by ``clean``."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from rehearsal import waiting
from rehearsal.kubernetes import toolchain
from rehearsal.sandbox import locks
from rehearsal.settings import settings

#: What an entry of the cache directory is, by the beginning of its name.
KINDS = {
    "base-image": "base image",
    "bin-": "Kubernetes' programs",
    "check-": "a check that was interrupted",
    "downloads": "a download that was interrupted",
    "guest-": "the tests' virtual machine",
    "go": "Go from PyPI, with what an interrupted build keeps",
    "kwok-": "kwok, for the benchmarks",
    "logs": "logs of the last rehearsal",
    "practice": "which exercises are solved",
    "subtree_control": "the controllers of this machine before a rehearsal",
    "test-engine": "images of the tests' Docker Engine",
    "uv": "files that the Python environments share",
    "venv-": "Python packages",
}
SIZE_TIMEOUT = 120


@dataclass(frozen=True)
class Cache:
    """A kept file or directory; ``size`` is the bytes that it takes on the disk."""

    path: Path
    what: str
    size: int

    def __str__(self) -> str:
        return f"{self.path} ({self.what}, {self.size / 1e6:,.0f} MB)"


def kept() -> list[Cache]:
    """Return what the rehearsal keeps in its own directory, without its locks and the running rehearsal."""
    entries = sorted(settings.cache.iterdir()) if settings.cache.is_dir() else []
    return [_cache(path, _kind(path.name)) for path in entries if path != settings.run and not _is_lock(path)]


def show(console: Console) -> None:
    """Print what is kept, with its size, and Go's caches, which other projects of the learner use too."""
    found = kept()
    for cache in found:
        console.print(f"kept: {cache}", soft_wrap=True)
    if found:
        console.print("scripts/rehearse.sh clean removes these")
    _show_shared(console)


def remove(console: Console) -> None:
    """Remove what ``kept`` returns, and print what that was.

    Raises:
        Locked: the programs are being built.
    """
    total = 0
    with locks.hold(settings.cache / "build.lock"):
        for cache in kept():
            if cache.path.is_dir():
                shutil.rmtree(cache.path)
            else:
                cache.path.unlink()
            total += cache.size
            console.print(f"removed {cache}", soft_wrap=True)
    console.print(f"{total / 1e9:.1f} GB removed")
    _show_shared(console)


def _show_shared(console: Console) -> None:
    if found := [str(path) for path in toolchain.shared_caches() if path.is_dir()]:
        console.print(f"Go keeps more in {' and '.join(found)}; go clean -cache -modcache removes it", soft_wrap=True)


def _is_lock(path: Path) -> bool:
    return path.name == "lock" or path.suffix == ".lock"


def _kind(name: str) -> str:
    return next((what for start, what in KINDS.items() if name.startswith(start)), "unknown")


def _cache(path: Path, what: str) -> Cache:
    # du counts a file with several names once, as the disk does.
    done = subprocess.run(
        ["du", "-sk", str(path)], capture_output=True, text=True, timeout=waiting.bound(SIZE_TIMEOUT), check=False
    )
    return Cache(path, what, int(done.stdout.split()[0]) * 1024 if done.stdout else 0)
