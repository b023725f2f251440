"""The whole rehearsal, from the command line as a learner runs it, and its other commands."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from rehearsal import learner, waiting
from rehearsal.docker import base_image
from tests.support.fixtures import WholeRehearsal
from tests.support.paths import ROOT

STEPS = (
    "Start AWS, GitHub and Docker on this machine",
    "Create the cluster and the role, authorize the role",
    "Create the stack",
    "See the first commit go live",
    "Push a commit, see it live",
    "Push a bad commit, see it undone",
    "Show the status",
    "Tear everything down",
    "Compare this machine with its state before the rehearsal",
)


def rehearse(*args: str, env: dict[str, str] | None = None, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ROOT / "scripts" / "rehearse.sh", *args],
        capture_output=True,
        text=True,
        env=os.environ | (env or {}),
        timeout=timeout,
        check=False,
    )


@pytest.mark.rehearsal
@pytest.mark.timeout(1500)
def test_whole_tutorial_succeeds_and_leaves_nothing(whole_rehearsal: WholeRehearsal) -> None:
    done = whole_rehearsal.done
    assert done.returncode == 0, done.stdout + done.stderr
    found = [done.stdout.find(step) for step in STEPS]
    assert -1 not in found, dict(zip(STEPS, found, strict=True))
    assert found == sorted(found)
    assert re.search(r"live \d+\.\d s after git push", done.stdout)
    assert re.search(r"failed and was undone in \d+ s, no request lost", done.stdout)
    assert whole_rehearsal.left == []
    print(done.stdout)


MAKE = """
import pathlib
from rehearsal import once, progress
once.BASE_IMAGE.ensure(progress.Progress(pathlib.Path("{logs}")))
"""


def processes_naming(path: Path) -> list[str]:
    """Return the command lines that name a path."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            found += [command] * (str(path) in command)
    return found


@pytest.mark.rehearsal
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda how: how.name)
def test_part_being_made_ends_with_the_rehearsal(tmp_path: Path, how: signal.Signals) -> None:
    """Interrupt mmdebstrap while it waits for a mirror that never answers."""
    with socket.create_server(("127.0.0.1", 0)) as mirror:
        port = mirror.getsockname()[1]
        making = subprocess.Popen(
            [sys.executable, "-c", MAKE.format(logs=tmp_path / "logs")],
            cwd=ROOT,
            env=os.environ | {"XDG_CACHE_HOME": str(tmp_path), "DEBIAN_MIRROR": f"http://127.0.0.1:{port}/debian"},
        )
        root = tmp_path / "eks-rehearsal" / "base-image.new" / "root"
        try:
            waiting.until(lambda: processes_naming(root), 60, "mmdebstrap to start")
            making.send_signal(how)
            making.wait(30)
            waiting.until(
                lambda: not processes_naming(root), 30, "mmdebstrap to end", lambda: str(processes_naming(root))
            )
        finally:
            making.kill()


@pytest.mark.services
def test_without_cluster_runs_its_part_and_lists_the_rest(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "rehearsal", "--without-cluster"],
        cwd=ROOT,
        env=os.environ | {"REHEARSAL_PORT": "25660", "XDG_CACHE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "is in the artifact bucket" in done.stdout
    assert "Left out, because it needs root on Linux:" in done.stdout
    assert not (tmp_path / "eks-rehearsal" / "run").exists()


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--keep", "--without-cluster"], "--keep and --without-cluster cannot be combined"),
        (["--app", ".", "--without-cluster"], "--app and --without-cluster cannot be combined"),
        (["stop", "--app", "."], "stop takes no options"),
        (["--from", "/nowhere", "--app", "shop"], "rehearse.sh: /nowhere/shop is not a directory"),
        (["stop", "--keep"], "stop takes no options"),
        (["stop", "--record", "x"], "stop takes no options"),
        (
            ["--keep", "--record", "x"],
            "--record records the whole tutorial, without --app, --keep and --without-cluster",
        ),
        (
            ["--record", "/nowhere/x"],
            "rehearse.sh: --record: /nowhere/x is not a file in a directory that you can write to",
        ),
        (["--record", "."], "is not a file in a directory that you can write to"),
        (["start"], "invalid choice: 'start'"),
    ],
)
def test_rejects_wrong_arguments_in_one_line(args: list[str], said: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "rehearsal", *args], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert said in done.stderr.splitlines()[-1]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to another user")
def test_checkout_of_another_user_is_copied_without_its_history(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    (tmp_path / "README.md").touch()
    (tmp_path / ".gitignore").write_text("*.log\n")
    (tmp_path / "some.log").touch()
    for command in (["git", "init", "--quiet"], ["chown", "--recursive", "1000:1000", "."]):
        subprocess.run(command, cwd=tmp_path, check=True, timeout=30)
    assert sorted(learner.files_of(tmp_path)) == [".gitignore", "README.md"]


def test_base_image_is_made_of_signed_packages_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "unshare").write_text('#!/bin/sh\ncase "$*" in *--keyring=/*) echo "E: no keys" ;; esac\nexit 1\n')
    (tmp_path / "unshare").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(base_image.BaseImageError, match="no keys"):
        base_image._bootstrap(tmp_path / "root", print)


def test_help_needs_no_environment() -> None:
    done = rehearse("-h", env={"PATH": "/usr/bin:/bin"})
    assert done.returncode == 0
    assert done.stdout.startswith("Rehearse the whole tutorial on this machine")
