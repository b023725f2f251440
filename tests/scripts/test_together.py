"""together.sh runs commands in parallel, prefixes each line with the command's name, and fails if one fails."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from rehearsal.waiting import until
from tests.support.paths import ROOT


def together(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["scripts/build/together.sh", *args], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )


def test_each_line_names_its_command() -> None:
    done = together("one", "echo a; echo b", "two", "printf c; printf ' d' >&2")
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == ["one | a", "one | b", "two | c d"]


def test_commands_run_in_parallel(tmp_path: pytest.TempPathFactory) -> None:
    """Each command waits for a file that the other creates."""
    wait = f"for i in $(seq 200); do [ -e {tmp_path}/$other ] && exit 0; sleep 0.1; done; exit 1"
    done = together("a", f"touch {tmp_path}/a; other=b; {wait}", "b", f"touch {tmp_path}/b; other=a; {wait}")
    assert done.returncode == 0, done.stdout


def test_failure_is_named_and_the_others_finish() -> None:
    began = time.monotonic()
    done = together("good", "sleep 0.3; echo done", "bad", "echo why >&2; false; echo not here", "worse", "exit 7")
    assert time.monotonic() - began > 0.3
    assert done.returncode == 1
    assert done.stderr == "failed: bad worse: see the errors above\n"
    assert sorted(done.stdout.splitlines()) == ["bad | why", "good | done"]


def test_failure_in_a_pipe_counts() -> None:
    assert together("login", "false | cat").returncode == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signal_ends_the_commands(number: signal.Signals, tmp_path: Path) -> None:
    """With what they have started; the names of the programs are of this test alone. A second Ctrl-C prevents no tidying up."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "scratch").mkdir()
    remove = tmp_path / "bin" / "rm"
    remove.write_text(f'#!/bin/sh\nkill -{number.value} $$\nexec {shutil.which("rm")} "$@"\n')
    remove.chmod(0o755)
    variables = {"PATH": f"{remove.parent}:{os.environ['PATH']}", "TMPDIR": str(tmp_path / "scratch")}
    program = tmp_path / "program"
    program.symlink_to(str(shutil.which("sleep")))
    command = f"{program} 60 & touch {tmp_path}/$name; {program} 61 | cat"
    with subprocess.Popen(  # a shell cannot trap what it was started without, as by nohup
        ["env", "--default-signal", "scripts/build/together.sh", "one", f"name=one; {command}", "two", f"name=two; {command}"],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | variables,
    ) as process:  # fmt: skip
        until(lambda: (tmp_path / "one").exists() and (tmp_path / "two").exists(), 60, "the commands", pause=0.05)
        process.send_signal(number)
        _, error = process.communicate(timeout=30)
    assert (process.returncode, error) == (1, "stopped, with its commands\n")
    left = [each for each in psutil.process_iter(["cmdline"]) if str(program) in (each.info["cmdline"] or [])]
    for each in left:
        each.kill()
    assert left == []
    assert [*(tmp_path / "scratch").iterdir()] == []


@pytest.mark.parametrize("arguments", [[], ["one"], ["one", "true", "two"]])
def test_each_command_needs_a_name(arguments: list[str]) -> None:
    done = together(*arguments)
    assert done.returncode == 2
    assert done.stderr == "give each command a name: see scripts/build/together.sh -h\n"
