"""A learner's first run: a fresh checkout on a machine that has kept nothing, neither packages nor programs."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from rehearsal.kubernetes import build, official
from tests.support import engine, release_server
from tests.support.paths import ROOT

#: Bytes a second of the link to the publishers: 100 Mbit/s.
RATE = 100e6 / 8
TIMEOUT = 3600
#: Would let the first run use what this machine has kept.
CACHES = ("XDG_CACHE_HOME", "GOPATH", "GOCACHE", "GOMODCACHE", "PIP_CACHE_DIR", "UV_CACHE_DIR", "REHEARSAL_BUILD")

pytestmark = [pytest.mark.rehearsal, pytest.mark.slow, pytest.mark.timeout(TIMEOUT + 60)]


@contextlib.contextmanager
def publishers(checkout: Path) -> Iterator[None]:
    """Publish this machine's programs on loopback, and let the checkout take them from there."""
    build.build(lambda _: None)
    with release_server.running() as server:
        server.rate = RATE
        pins = checkout / official.PINS.relative_to(ROOT)
        pins.write_text(release_server.publish_all(server), encoding="utf-8")
        yield


def first_run(checkout: Path, home: Path, **more: str) -> tuple[int, int, float]:
    """Rehearse; return the seconds until the first commit was live and to the end, and the GB that are kept."""
    env = {name: value for name, value in os.environ.items() if name not in CACHES}
    env |= {"HOME": str(home), "no_proxy": "127.0.0.1,localhost", **more}
    done = subprocess.run(
        [checkout / "scripts" / "rehearse.sh"], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        timeout=TIMEOUT, check=False,
    )  # fmt: skip
    print(done.stdout)
    assert done.returncode == 0, done.stdout[-6000:]
    assert "no process, namespace, link, mount, cgroup, rule or file is left" in done.stdout
    (live,) = re.findall(r"The first commit was live after (\d+) s", done.stdout)
    (whole,) = re.findall(r"Whole rehearsal: (\d+) s", done.stdout)
    kept = subprocess.run(["du", "-sk", home], capture_output=True, text=True, check=True, timeout=120)
    return int(live), int(whole), int(kept.stdout.split()[0]) * 1024 / 1e9


@pytest.mark.parametrize("how", ["downloads", "compiles"])
def test_first_run_ends_well(how: str, tmp_path: Path) -> None:
    checkout = engine.copy_of_repository(tmp_path / "tutorial")
    (home := tmp_path / "home").mkdir()
    with publishers(checkout) if how == "downloads" else contextlib.nullcontext():
        live, whole, kept = first_run(checkout, home, REHEARSAL_BUILD="0" if how == "downloads" else "1")
    print(f"{how}: live after {live} s, whole in {whole} s, {kept:.1f} GB kept")
