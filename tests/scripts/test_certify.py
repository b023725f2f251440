"""certify.sh with stand-ins for AWS and for the scripts that create and delete: the run, its report, its end."""

from __future__ import annotations

import contextlib
import os
import pty
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rehearsal.waiting import until
from tests.support.certify import Learner, make_repository, page
from tests.support.desk import copy_of_checkout
from tests.support.names import ACCOUNT, TOKEN
from tests.support.paths import ROOT

#: "Create" and "delete" a file in place of a cluster.
STUBS = {
    "create-cluster.sh": 'echo "${GITHUB_TOKEN:?}" >"$CLUSTER"; echo "==> Create the cluster $CLUSTER_NAME"',
    "teardown.sh": 'echo "$1" >>"$CLUSTER.deleted"; rm -f "$CLUSTER"; echo "==> Nothing is left"',
    "leftovers.sh": 'if [[ -e $CLUSTER ]]; then echo "    cluster: demo"; exit 1; fi',
}
TOOLS = {
    "aws": f'case " $* " in *" Arn "*) echo arn:aws:iam::{ACCOUNT}:user/ada ;; *" Account "*) echo {ACCOUNT} ;; *) exit 9 ;; esac',
    "eksctl": "echo 0.231.0",
    "kubectl": "echo Client Version: v1.36.4",
    "docker": 'echo "$*" >>"$CLUSTER.docker"',
}
README = page(
    ("2. Sign in", "15", "touch never", ""),
    ("3. Check", "5", "source settings.sh\naws sts get-caller-identity --query Account --output text", "111122223333"),
    ("4. Create the cluster", "20", "scripts/create-cluster.sh", "==> Create the cluster eksctl-demo"),
    ("5. Push", "5", "git commit -q --allow-empty -m Push && git push -q", ""),
    ("13. Delete everything", "20", "scripts/teardown.sh --yes", "==> Nothing is left"),
)


@pytest.fixture(name="home")
def _home(tmp_path: Path) -> Path:
    """A directory with stand-ins for the tools."""
    (tmp_path / "bin").mkdir()
    for name, commands in TOOLS.items():
        file = tmp_path / "bin" / name
        file.write_text(f"#!/usr/bin/env bash\n{commands}\n")
        file.chmod(0o755)
    return tmp_path


def learner_with(home: Path, readme: str) -> Learner:
    checkout = copy_of_checkout(home / "checkout")
    for name, commands in STUBS.items():
        (checkout / "scripts" / name).write_text(f"#!/usr/bin/env bash\n{commands}\n")
    make_repository(checkout, readme)
    env = {
        "PATH": f"{home / 'bin'}:{os.environ['PATH']}", "HOME": str(home), "TMPDIR": str(home), "USER": "ada",
        "GITHUB_USER": "lovelace", "CLUSTER": str(home / "cluster"),
    }  # fmt: skip
    return Learner(checkout, env, home / "planted")


@pytest.fixture
def learner(home: Path) -> Iterator[Learner]:
    found = learner_with(home, README)
    yield found
    found.end()


def test_a_clean_run_reports_no_difference(learner: Learner, home: Path) -> None:
    done = learner.run("--yes")
    assert done.returncode == 0, done.stdout
    report = learner.report()
    assert report["result"] == "as the README says"
    assert report["differences"] == []
    assert [step["section"] for step in report["steps"]] == [
        "3. Check", "4. Create the cluster", "5. Push", "13. Delete everything",
    ]  # fmt: skip
    assert all(step["seconds"] is not None and step["problem"] == "" for step in report["steps"])
    assert report["steps"][0]["calls"] == [
        {"service": "sts", "operation": "get-caller-identity", "error": "", "times": 1}
    ]
    assert report["versions"]["kubectl"] == "1.36.4"
    assert report["region"] == "us-east-2"
    assert learner.left() == []
    assert not (home / "cluster").exists()
    assert "==> Stop after 180 minutes at the latest; everything costs at most $" in done.stdout
    assert (home / "cluster.docker").read_text().splitlines()[0] == "ps --all --quiet --filter name=^/?greeting$"
    assert list(home.glob("tmp.*")) == []


def test_the_report_has_nothing_private(learner: Learner) -> None:
    learner.plant(
        "git", "*' push '*", "echo arn:aws:iam::444455556666:user/ada 192.0.2.7 lovelace $GITHUB_TOKEN; exit 1"
    )
    learner.run("--yes")
    (file,) = learner.home.glob("report-*.json")
    text = file.read_text()
    for private in (TOKEN, "444455556666", "192.0.2.7", "lovelace", "Lovelace", "ada@", "/checkout"):
        assert private not in text


def test_other_output_does_not_end_the_run(home: Path) -> None:
    learner = learner_with(home, README.replace("==> Create the cluster eksctl-demo", "==> Make the cluster"))
    done = learner.run("--yes")
    assert done.returncode == 1
    report = learner.report()
    assert report["result"] == "differs from the README"
    (difference,) = report["differences"]
    assert difference.startswith("step 4. Create the cluster, line")
    assert "expected '==> Make the cluster', got '==> Create the cluster eksctl-demo'" in difference
    assert len(report["steps"]) == 4
    assert learner.left() == []


def test_settings_replace_those_of_the_page(home: Path) -> None:
    learner = learner_with(home, README)
    done = learner.run("--yes", CLUSTER_NAME="other")
    assert done.returncode == 0, done.stdout


def test_a_failing_command_ends_the_run(home: Path) -> None:
    learner = learner_with(home, README.replace("git push -q", "git push -q origin nowhere"))
    done = learner.run("--yes")
    assert done.returncode == 1
    report = learner.report()
    assert "step 5. Push" in report["differences"][0]
    assert "ended with status 1" in report["differences"][0]
    assert report["steps"][-1]["section"] == "5. Push"
    assert any("refspec nowhere" in line for line in report["steps"][-1]["last_lines"])
    assert not any(line.startswith("…") for line in report["steps"][-1]["last_lines"])
    assert learner.left() == []
    assert not (home / "cluster").exists()


def test_a_command_that_hangs_ends_with_the_time(home: Path) -> None:
    """A minute is the shortest time; a clock that runs faster makes it two seconds."""
    learner = learner_with(home, HANGS)
    clock = learner.checkout / "scripts" / "lib" / "certify" / "walk.py"
    text = clock.read_text()
    clock.write_text(text.replace("60 * int(", "2 * int("))
    assert clock.read_text() != text
    commit(learner)
    done = learner.run("--yes", CERTIFY_MINUTES="1")
    assert done.returncode == 1
    assert "did not end: the time is over" in learner.report()["differences"][0]
    assert learner.report()["steps"][-1]["section"] == "4. Create the cluster"
    assert learner.left() == []
    assert not (home / "cluster").exists()


def test_a_command_that_ends_the_shell_ends_the_run(home: Path) -> None:
    learner = learner_with(home, README.replace("touch never", "true").replace("git push -q", "exit 0"))
    assert learner.run("--yes").returncode == 1
    assert "ended the shell" in learner.report()["differences"][0]
    assert learner.left() == []


HANGS = README.replace("scripts/create-cluster.sh\n", "scripts/create-cluster.sh; sleep 60\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_run_and_everything_is_deleted(number: signal.Signals, home: Path) -> None:
    learner = learner_with(home, HANGS)
    output = learner.interrupt(learner.start("--yes"), number, learner.wait_for("==> Create"))
    report = learner.report()
    assert f"stopped by {number.name}" in report["differences"][0], output
    assert report["steps"][-1]["section"] == "4. Create the cluster"
    assert report["teardown"]["left"] == []
    assert learner.left() == []
    assert not (home / "cluster").exists()


def test_a_second_signal_does_not_end_the_teardown(home: Path) -> None:
    learner = learner_with(home, HANGS)
    deleting = 'echo begun >>"$CLUSTER.deleted"; sleep 2; rm -f "$CLUSTER"\n'
    (learner.checkout / "scripts" / "teardown.sh").write_text(f"#!/usr/bin/env bash\n{deleting}")
    commit(learner)
    process = learner.start("--yes")
    deleted = home / "cluster.deleted"
    first = learner.wait_for("==> Create")

    def again() -> bool:
        if first() and not deleted.exists():
            os.kill(process.pid, signal.SIGINT)
        return deleted.exists()

    learner.interrupt(process, signal.SIGINT, again)
    assert learner.report()["teardown"]["left"] == []
    assert not (home / "cluster").exists()


def commit(learner: Learner) -> None:
    subprocess.run(["git", "commit", "-qam", "Change"], cwd=learner.checkout, check=True)


def test_a_closed_terminal_ends_the_run_and_everything_is_deleted(home: Path) -> None:
    """The terminal asks; when it closes, the kernel sends SIGHUP, and each write to it fails."""
    learner = learner_with(home, HANGS)
    given = {**learner.env, "GITHUB_TOKEN": TOKEN}
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(learner.checkout)
        os.execve("scripts/certify.sh", ["scripts/certify.sh"], given)  # noqa: S606 (the terminal's program)
    seen = b""
    while b"continue: " not in seen:
        seen += os.read(terminal, 4096)
    assert b"at most $" in seen
    assert not (home / "cluster").exists()
    os.write(terminal, b"eksctl-demo\n")
    until(learner.wait_for("==> Create"), 60, "the cluster")
    os.close(terminal)
    os.waitpid(child, 0)
    assert "stopped by SIGHUP" in "".join(learner.report()["differences"][:1])
    assert learner.report()["teardown"]["left"] == []
    assert learner.left() == []


CONFIRMATION = """\
This runs the README from step 3 to the teardown, in account 111122223333, region us-east-2. It creates:
  the cluster eksctl-demo with 2 t3.medium
  the role UdacityFlaskDeployCBKubectlRole
  the stack aws-pipeline
  a branch of lovelace/aws_pipeline on GitHub, with three commits
It stops after 180 minutes at the latest, and deletes all of this within 60 more: at most {cost} before tax.
Type the name of the cluster to continue: nothing was created
"""


def test_another_answer_creates_nothing(learner: Learner, home: Path) -> None:
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(learner.checkout)
        os.execve("scripts/certify.sh", ["scripts/certify.sh"], {**learner.env, "GITHUB_TOKEN": TOKEN})  # noqa: S606
    os.write(terminal, b"yes\n")
    asked = ""
    with contextlib.suppress(OSError):  # the end
        while more := os.read(terminal, 4096):
            asked += more.decode()
    command = [sys.executable, "scripts/lib/cost.py", "t3.medium", "2", str(180 + 60)]
    cost = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    assert asked.replace("\r\n", "\n").endswith(CONFIRMATION.format(cost=cost))
    assert "Stop after" not in asked, "this is said once it was confirmed"
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    os.close(terminal)
    assert not (home / "cluster.deleted").exists()
    assert not learner.home.exists()


def test_teardown_finishes_after_a_kill(home: Path) -> None:
    learner = learner_with(home, HANGS)
    process = learner.start("--yes")
    learner.interrupt(process, signal.SIGKILL, learner.wait_for("==> Create"))
    assert (home / "cluster").exists()
    assert learner.processes() != []
    refused = learner.run("--yes")
    assert refused.returncode == 1
    assert "cluster: demo" in refused.stdout
    done = learner.run("--teardown", CLUSTER_NAME="changed-meanwhile")
    report = learner.report()
    assert report["differences"] == [
        f"step 4. Create the cluster, line {report['steps'][-1]['line']}: the run was killed"
    ]
    assert report["steps"][-1]["problem"] == "did not end"
    assert report["teardown"]["left"] == []
    assert done.returncode == 1
    assert learner.left() == []
    assert not (home / "cluster").exists()
    assert learner.run("--teardown").stdout.splitlines()[-1] == "==> No run was interrupted"


def test_teardown_refuses_another_account(home: Path) -> None:
    learner = learner_with(home, HANGS)
    learner.interrupt(learner.start("--yes"), signal.SIGKILL, learner.wait_for("==> Create"))
    learner.plant("aws", "*' Arn '*", "echo arn:aws:iam::444455556666:user/ada; exit")
    done = learner.run("--teardown")
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1] == "the run was in another account: sign in to that one, then run this again"
    assert (home / "cluster").exists()
    (learner.planted / "aws").unlink()
    learner.run("--teardown")
    assert learner.left() == []


def test_what_is_left_is_named_and_can_be_deleted_later(learner: Learner, home: Path) -> None:
    learner.plant("rm", "*/cluster' '*", 'echo "    cluster: demo"; exit 1')
    (learner.checkout / "scripts" / "teardown.sh").write_text(
        '#!/usr/bin/env bash\nrm -f "$CLUSTER" || { echo "the resources above are left"; exit 1; }\n'
    )
    commit(learner)
    done = learner.run("--yes")
    assert done.returncode == 1
    assert learner.report()["teardown"]["left"] == ["cluster: demo", "the resources above are left"]
    assert "run scripts/certify.sh --teardown" in done.stdout.splitlines()[-1]
    (learner.planted / "rm").unlink()
    learner.run("--teardown")
    assert learner.report()["teardown"]["left"] == []
    assert not (home / "cluster").exists()
    assert learner.left() == []


def test_deletes_nothing_that_was_there_before(learner: Learner, home: Path) -> None:
    (home / "cluster").touch()
    done = learner.run("--yes")
    assert done.returncode == 1
    assert "run scripts/teardown.sh first, or set other names" in done.stdout.splitlines()[-1]
    assert (home / "cluster").exists()
    assert not (home / "cluster.deleted").exists()


def test_two_runs_at_once_are_refused(home: Path) -> None:
    learner = learner_with(home, HANGS)
    process = learner.start("--yes")

    def second() -> bool:
        if not learner.wait_for("==> Create")():
            return False
        done = learner.run("--teardown")
        assert done.returncode == 1
        assert done.stdout.startswith("another certify.sh is running")
        return True

    learner.interrupt(process, signal.SIGINT, second)
    assert learner.left() == []


def test_a_push_that_is_refused_is_reported(learner: Learner) -> None:
    learner.plant("git", "*' push --quiet --set-upstream '*", "echo remote: Permission denied; exit 1")
    assert learner.run("--yes").returncode == 1
    assert "Permission denied" in learner.report()["differences"][0]
    assert learner.left() == []


@pytest.mark.parametrize(
    ("program", "call", "commands", "code", "line"),
    [
        ("docker", "ps", "exit 1", 1, "Docker does not answer: start it, because step 10 uses it"),
        ("docker", "ps", "echo 0a1b2c; exit", 1,
         "there is a container named greeting, which step 10 would make: remove it first"),
        ("git", "GIT_COMMITTER_IDENT", "exit 128", 2,
         "git does not know who commits: set user.name and user.email with git config"),
        ("python3", "--version", "echo Python 3.10.4; exit", 1,
         'python3 is too old: install 3.11 or later as described in the README under "What you need"'),
    ],
)  # fmt: skip
def test_what_would_end_a_run_later_is_refused_first(
    learner: Learner, program: str, call: str, commands: str, code: int, line: str
) -> None:
    learner.plant(program, f"*' {call} '*", commands)
    done = learner.run("--yes")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (code, line)
    assert not learner.home.exists()


def test_files_that_are_not_committed_are_refused(learner: Learner) -> None:
    (learner.checkout / "settings.sh").open("a").write("# a change\n")
    done = learner.run("--yes")
    assert done.returncode == 2
    assert done.stdout == (
        "files differ from the last commit, which a report is about: commit them, or undo the changes\n"
    )


def test_files_without_a_repository_of_their_own_are_refused(learner: Learner) -> None:
    """A run commits and pushes; a ZIP download in someone else's repository would do so there."""
    shutil.rmtree(learner.checkout / ".git")
    for args in (["init"], ["-c", "user.name=x", "-c", "user.email=x", "commit", "--allow-empty", "--message", "x"]):
        subprocess.run(["git", "-C", learner.checkout.parent, *args], check=True, capture_output=True, timeout=30)
    done = learner.run("--yes", GITHUB_USER="learner")
    assert done.returncode == 2
    assert done.stdout.splitlines() == [
        "this directory is no clone of a repository, which certify.sh commits to: clone your fork, as in step 1 of the README"
    ]
