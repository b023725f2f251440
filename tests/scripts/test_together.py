"""together.sh runs commands in parallel, prefixes each line with the command's name, and fails if one fails."""

from __future__ import annotations

import subprocess
import time

import pytest

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


@pytest.mark.parametrize("arguments", [[], ["one"], ["one", "true", "two"]])
def test_each_command_needs_a_name(arguments: list[str]) -> None:
    done = together(*arguments)
    assert done.returncode == 2
    assert done.stderr == "give each command a name: see scripts/build/together.sh -h\n"
