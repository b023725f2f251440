"""What rehearsals keep on the disk: named by ``status``, removed by ``clean``."""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from rehearsal import caches
from tests.support.paths import ROOT


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A cache with programs of two names, a base image, an interrupted download and a lock."""
    cache = tmp_path / "eks-rehearsal"
    (cache / "bin-1.36.3").mkdir(parents=True)
    (cache / "bin-1.36.3" / "kubelet").write_bytes(b"x" * 3_000_000)
    (cache / "bin-1.36.3" / "kube-proxy").hardlink_to(cache / "bin-1.36.3" / "kubelet")
    (cache / "base-image-0123.tar").write_bytes(b"x" * 2_000_000)
    (cache / "downloads").mkdir()
    (cache / "lock").touch()
    return cache


def run(verb: str, cache: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"XDG_CACHE_HOME": str(cache.parent)} | variables
    command = [sys.executable, "-m", "rehearsal", verb]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120, check=False)


def test_status_names_what_is_kept_without_a_rehearsal(cache: Path) -> None:
    done = run("status", cache)
    assert done.returncode == 1, done.stderr
    assert done.stdout.startswith("no rehearsal is running")
    assert f"kept: {cache / 'bin-1.36.3'} (Kubernetes' programs, 3 MB)\n" in done.stdout
    assert f"kept: {cache / 'base-image-0123.tar'} (base image, 2 MB)\n" in done.stdout
    assert f"kept: {cache / 'downloads'} (a download that was interrupted, 0 MB)\n" in done.stdout
    assert "lock" not in done.stdout


def test_every_name_in_the_cache_has_a_kind() -> None:
    """Also the names of what an interrupted program leaves there."""
    files = [file for folder in ("rehearsal", "tests/support", "benchmarks") for file in (ROOT / folder).rglob("*.py")]
    place = re.compile(r'settings\.cache(?: / |, prefix=)f?"([^"{]+)')
    names = {name for file in files for name in place.findall(file.read_text(encoding="utf-8"))}
    assert {"base-image.new", "downloads", "guest-booted-"} <= names
    unknown = {name for name in names if caches._kind(name) == "unknown"}
    assert {name for name in unknown if not caches._is_lock(Path(name))} == set()


def test_status_names_the_caches_of_the_installed_go(cache: Path, tmp_path: Path) -> None:
    go = tmp_path / "bin" / "go"
    go.parent.mkdir()
    (tmp_path / "modules").mkdir()
    go.write_text(f"#!/bin/sh\n[ $1 = env ] && echo {tmp_path}/modules || echo go version go1.99.1 linux/amd64\n")
    go.chmod(0o755)
    path = f"{go.parent}:{os.environ['PATH']}"
    for verb in ("status", "clean"):
        line = f"Go keeps more in {tmp_path}/modules; go clean -cache -modcache removes it"
        assert run(verb, cache, PATH=path).stdout.splitlines()[-1] == line
    assert (tmp_path / "modules").is_dir()


def test_clean_removes_and_names_everything_but_locks(cache: Path) -> None:
    done = run("clean", cache)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in cache.iterdir()} <= {"lock", "build.lock"}
    assert f"removed {cache / 'bin-1.36.3'} (Kubernetes' programs, 3 MB)" in done.stdout
    assert "0.0 GB removed" in done.stdout
    assert run("clean", cache).returncode == 0


def test_clean_refuses_while_a_rehearsal_runs(cache: Path) -> None:
    (cache / "run").mkdir()
    done = run("clean", cache)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "rehearse.sh: a rehearsal is running or was killed; run scripts/rehearse.sh stop first\n"
    assert (cache / "bin-1.36.3" / "kubelet").exists()


def test_clean_refuses_while_the_programs_are_built(cache: Path) -> None:
    with (cache / "build.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = run("clean", cache)
    assert done.returncode == 1
    assert "build.lock is locked" in done.stderr
    assert (cache / "bin-1.36.3" / "kubelet").exists()


def test_other_value_of_the_setting_is_refused(cache: Path) -> None:
    done = run("status", cache, REHEARSAL_BUILD="yes")
    assert done.returncode == 2
    assert done.stderr == "rehearse.sh: REHEARSAL_BUILD is not 0 or 1: 'yes'\n"
