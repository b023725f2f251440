"""create-role.sh and create-stack.sh wait for what they start, and every wait has a timeout; with recording stand-ins."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import termios
import threading
from pathlib import Path

import pytest

from rehearsal.waiting import until
from tests.support.desk import IDENTITY, Desk, copy_of_checkout
from tests.support.names import ROLE_ARN as ROLE
from tests.support.names import TOKEN
from tests.support.paths import FAKES, ROOT

NO_ROLE = "An error occurred (NoSuchEntity) when calling the GetRole operation: no such role\n"
NO_STACK = (
    "An error occurred (ValidationError) when calling the DescribeStacks operation: Stack with id x does not exist"
)
NO_UPDATE = (
    "An error occurred (ValidationError) when calling the UpdateStack operation: No updates are to be performed.\n"
)

#: Answers each call with the next state in the file, and repeats the last one.
STATES = """\
#!/bin/sh
[ -s "$FAKES/states" ] || { echo "NO_STACK" >&2; exit 254; }
head -n 1 "$FAKES/states"
[ "$(wc -l <"$FAKES/states")" = 1 ] || sed -i 1d "$FAKES/states"
""".replace("NO_STACK", NO_STACK)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """The kubectl role exists, GitHub accepts the token, every call is allowed, and there is no stack."""
    desk = Desk(tmp_path / "desk")
    program(desk, "states.sh", STATES)
    desk.answer("curl", "", real=str(FAKES / "github.sh"))
    desk.answer("aws", "describe-stacks", real=str(desk.home / "states.sh"))
    desk.answer("aws", "describe-stacks .*Parameters", stdout="[]\n")
    desk.answer("aws", "describe-stacks .*Outputs", stdout="PipelineName\taws-pipeline\n")
    desk.answer("aws", "get-role ", stdout=f"{ROLE}\n")
    desk.answer(*IDENTITY[:2], **IDENTITY[2])
    return desk


def program(desk: Desk, name: str, text: str) -> str:
    path = desk.home / name
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


def after(desk: Desk, verb: str, *states: str) -> None:
    """Let the stack pass through these states after a call, whose standard input is kept."""
    lines = "".join(f"{state}\\n" for state in states)
    text = f'#!/bin/sh\n[ {verb} = delete-stack ] || cat /dev/stdin >"$FAKES/parameters"\nprintf \'{lines}\' >"$FAKES/states"\n'
    desk.answer("aws", f" {verb} ", real=program(desk, verb, text))


def verbs(desk: Desk, *wanted: str) -> list[str]:
    """Return the operations that were called, in order, without consecutive repetitions."""
    found = [word for call in desk.calls() if call[0] == "aws" for word in call[5:8] if word in wanted]
    return [verb for number, verb in enumerate(found) if number == 0 or found[number - 1] != verb]


def create_stack(desk: Desk, **more: str) -> subprocess.CompletedProcess[str]:
    return desk.run("create-stack.sh", timeout=100, **({"GITHUB_TOKEN": TOKEN, "ANSWER": "200 repo"} | more))


def test_waits_for_the_role_before_setting_its_policy(desk: Desk) -> None:
    desk.answer("aws", "get-role", stderr=NO_ROLE, code=254)
    done = desk.run("create-role.sh")
    assert done.returncode == 0, done.stderr
    assert verbs(desk, "create-role", "wait", "put-role-policy") == ["create-role", "wait", "put-role-policy"]
    (wait,) = [call for call in desk.calls() if "wait" in call]
    assert wait[-4:] == ["wait", "role-exists", "--role-name", "UdacityFlaskDeployCBKubectlRole"]


def test_rejects_a_role_with_a_path(desk: Desk) -> None:
    desk.answer("aws", "get-role ", stdout=ROLE.replace("role/", "role/team/") + "\n")
    done = desk.run("create-role.sh")
    assert done.returncode == 1
    assert "has a path" in done.stderr.splitlines()[0]
    assert verbs(desk, "create-role", "put-role-policy") == []


def test_creates_the_stack_and_waits(desk: Desk) -> None:
    after(desk, "create-stack", "CREATE_IN_PROGRESS", "CREATE_COMPLETE")
    done = create_stack(desk)
    assert done.returncode == 0, done.stderr
    assert "==> The stack is CREATE_COMPLETE" in done.stdout.splitlines()
    assert done.stdout.splitlines()[-1] == "PipelineName\taws-pipeline"
    (call,) = [call for call in desk.calls() if "create-stack" in call]
    given = dict(zip(call[7::2], call[8::2], strict=False))
    assert given["--stack-name"] == "aws-pipeline"
    assert given["--template-body"] == "file://ci-cd-codepipeline.cfn.yml"
    assert given.get("--capabilities") == "CAPABILITY_IAM"


def test_token_that_github_refuses_creates_nothing(desk: Desk) -> None:
    done = create_stack(desk, ANSWER="401 none")
    assert (done.returncode, done.stderr.splitlines()[-1]) == (1, "nothing was changed")
    assert verbs(desk, "create-stack", "update-stack", "delete-stack") == []


def test_only_cloudformation_gets_the_token(desk: Desk) -> None:
    after(desk, "create-stack", "CREATE_COMPLETE")
    done = create_stack(desk)
    parameters = {
        row["ParameterKey"]: row["ParameterValue"] for row in json.loads((desk.home / "parameters").read_text())
    }
    assert parameters["GitHubToken"] == TOKEN
    assert parameters["GitHubUser"] == "learner"
    assert parameters["KubectlRoleId"] == ROLE, "what get-role answers"
    assert TOKEN not in json.dumps(desk.calls())
    assert TOKEN not in done.stdout + done.stderr


def test_terminal_asks_for_the_token_without_showing_it(desk: Desk) -> None:
    after(desk, "create-stack", "CREATE_COMPLETE")
    terminal, end = pty.openpty()

    def answer() -> None:
        until(lambda: not termios.tcgetattr(end)[3] & termios.ECHO, 60, "the question", pause=0.02)
        os.write(terminal, f"{TOKEN}\n".encode())

    typing = threading.Thread(target=answer)
    typing.start()
    done = desk.run("create-stack.sh", stdin=end, ANSWER="200 repo")
    typing.join()
    os.close(end)
    os.close(terminal)
    assert (done.returncode, done.stderr) == (
        0,
        "GitHub token (input is hidden; press Enter to keep the stack's present token): ",
    )
    assert TOKEN in (desk.home / "parameters").read_text()


def test_branch_in_settings_changes_an_existing_stack(desk: Desk, tmp_path: Path) -> None:
    desk.checkout = copy_of_checkout(tmp_path / "checkout")
    settings = desk.checkout / "settings.sh"
    settings.write_text(settings.read_text().replace("GITHUB_BRANCH:=", "GITHUB_BRANCH:=main"))
    (desk.home / "states").write_text("CREATE_COMPLETE\n")
    after(desk, "update-stack", "UPDATE_COMPLETE")
    present = [{"ParameterKey": "GitBranch", "ParameterValue": "release"}]
    desk.answer("aws", "describe-stacks .*Parameters", stdout=json.dumps(present))
    done = create_stack(desk)
    assert done.returncode == 0, done.stderr
    assert "==> Change GitBranch from 'release' to 'main'" in done.stdout.splitlines()


@pytest.mark.parametrize("end", ["ROLLBACK_COMPLETE", "CREATE_FAILED", "ROLLBACK_FAILED"])
def test_failed_stack_is_reported_with_its_reasons(end: str, desk: Desk) -> None:
    after(desk, "create-stack", "ROLLBACK_IN_PROGRESS", end)
    events = "Custom::KubectlRoleTrust\tCREATE_FAILED\tKubectlRoleTrust\tno such role\n"
    desk.answer("aws", "describe-stack-events", stdout=events)
    done = create_stack(desk)
    assert done.returncode == 1
    assert "    KubectlRoleTrust: no such role" in done.stderr.splitlines()
    assert f"stack aws-pipeline is {end}: fix the errors above" in done.stderr


@pytest.mark.parametrize("left", ["ROLLBACK_COMPLETE", "CREATE_FAILED", "REVIEW_IN_PROGRESS", "DELETE_FAILED"])
def test_stack_of_an_earlier_attempt_is_deleted_first(left: str, desk: Desk) -> None:
    (desk.home / "states").write_text(f"{left}\n")
    after(desk, "delete-stack", "DELETE_IN_PROGRESS", "DELETE_COMPLETE")
    after(desk, "create-stack", "CREATE_COMPLETE")
    done = create_stack(desk)
    assert done.returncode == 0, done.stderr
    assert verbs(desk, "delete-stack", "create-stack", "update-stack") == ["delete-stack", "create-stack"]


def test_waits_for_an_update_and_continues_a_stuck_rollback(desk: Desk) -> None:
    (desk.home / "states").write_text("UPDATE_IN_PROGRESS\nUPDATE_ROLLBACK_FAILED\n")
    after(desk, "continue-update-rollback", "UPDATE_ROLLBACK_COMPLETE")
    after(desk, "update-stack", "UPDATE_COMPLETE")
    continued = program(desk, "continued", '#!/bin/sh\necho UPDATE_ROLLBACK_COMPLETE >"$FAKES/states"\n')
    desk.answer("aws", "continue-update-rollback", real=continued)
    done = create_stack(desk)
    assert done.returncode == 0, done.stderr
    changes = ("continue-update-rollback", "update-stack", "create-stack", "delete-stack")
    assert verbs(desk, *changes) == ["continue-update-rollback", "update-stack"]


def test_no_updates_is_not_a_failure(desk: Desk) -> None:
    (desk.home / "states").write_text("CREATE_COMPLETE\n")
    desk.answer("aws", "update-stack", stderr=NO_UPDATE, code=254)
    done = create_stack(desk)
    assert done.returncode == 0, done.stderr
    assert "==> The stack is up to date" in done.stdout.splitlines()


def test_other_rejections_are_failures(desk: Desk) -> None:
    desk.answer("aws", "create-stack", stderr="An error occurred (LimitExceededException): too many stacks\n", code=254)
    done = create_stack(desk)
    assert done.returncode == 1
    assert "too many stacks" in done.stderr
    assert (
        done.stderr.splitlines()[-1]
        == "CloudFormation rejected stack aws-pipeline: fix the error above, then run this again"
    )


# --- lib/common.sh and lib/cloud.sh


def library(code: str, tmp_path: Path, bound: float = 60, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run code with the scripts' functions."""
    text = f"set -euo pipefail; source scripts/lib/common.sh; begin ''; {code}\nend"
    base = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "TMPDIR": str(tmp_path), "GITHUB_USER": "learner"}
    return subprocess.run(
        ["bash", "-c", text, "scripts/create-role.sh"], cwd=ROOT, env=base | environment, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=bound, check=False,
    )  # fmt: skip


def test_wait_times_out(tmp_path: Path) -> None:
    try:
        done = library("wait_until 1 'the thing' false", tmp_path, bound=20)
    except subprocess.TimeoutExpired:
        done = None
    assert done is not None, "the wait did not time out"
    assert done.returncode == 1
    assert done.stderr.startswith("the thing is not finished after ")


def test_wait_ends_when_the_command_succeeds(tmp_path: Path) -> None:
    flag = tmp_path / "done"
    done = library(
        f"poll() {{ [[ -e {flag} ]] || {{ touch {flag}; return 1; }}; }}; wait_until 60 'the thing' poll", tmp_path
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        ("An error occurred (NoSuchEntity) when calling the GetRole operation: no", 0, ""),
        ('Error from server (NotFound): configmaps "x" not found', 0, ""),
        ("An error occurred (AccessDenied) when calling the GetRole operation: no", 1, "AccessDenied"),
        ("Could not connect to the endpoint URL", 1, "Could not connect"),
    ],
)
def test_lookup_treats_only_not_found_as_absent(error: str, code: int, message: str, tmp_path: Path) -> None:
    done = library(
        f"ask() {{ echo '{error}' >&2; return 254; }}; lookup 'NoSuchEntity|NotFound' ask; echo on", tmp_path
    )
    assert (done.returncode, done.stdout) == (code, "" if code else "on\n")
    assert message in done.stderr
    assert message or not done.stderr


def test_lookup_prints_the_answer(tmp_path: Path) -> None:
    assert library("lookup NoSuchEntity echo found", tmp_path).stdout == "found\n"


@pytest.mark.parametrize(
    ("ending", "code"), [("true", 0), ("false", 1), ("exit 7", 1), ("die no", 1), ("refuse no", 2)]
)
def test_exit_codes_and_no_temporary_files(ending: str, code: int, tmp_path: Path) -> None:
    done = library(ending, tmp_path)
    assert done.returncode == code
    assert list(tmp_path.iterdir()) == []
    if ending in ("false", "exit 7"):
        assert done.stderr.startswith("create-role.sh: stopped at line ")


def test_programs_do_not_inherit_the_token(tmp_path: Path) -> None:
    """Neither one of the environment nor one that is typed."""
    for code, variables in (("env", {"GITHUB_TOKEN": TOKEN}), (f"read -r GITHUB_TOKEN <<<{TOKEN}; env", {})):
        done = library(code, tmp_path, **variables)
        assert done.returncode == 0
        assert "AWS_REGION=us-east-2" in done.stdout
        assert TOKEN not in done.stdout
