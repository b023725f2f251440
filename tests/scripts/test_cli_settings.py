"""Whatever ~/.aws/config says about the AWS CLI's output, errors, prompts and history, the scripts behave the same.

The outputs below are from version 2.36.7 of the AWS CLI, built from its repository, for GetRole of a missing role. The
tests have version 1, which knows only some of the settings, so the others are tried with a stand-in.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.support.account import Aws, environment
from tests.support.desk import IDENTITY, SCRIPTS, Desk
from tests.support.names import STACK, TOKEN
from tests.support.paths import ROOT

SENTENCE = "An error occurred (NoSuchEntity) when calling the GetRole operation: The role with name R cannot be found."
#: What the AWS CLI writes for each value of cli_error_format; "old" is from before 2.34, which lacks the setting.
RECORDED = {
    "old": f"\n{SENTENCE}\n",
    "legacy": f"\naws: [ERROR]: {SENTENCE}\n",
    "enhanced": f"\naws: [ERROR]: {SENTENCE}\n",
    "json": '{\n    "Code": "NoSuchEntity",\n    "Message": "The role with name R cannot be found."\n}\n',
    "yaml": "Code: NoSuchEntity\nMessage: The role with name R cannot be found.\n",
    "text": "NoSuchEntity\tThe role with name R cannot be found.\n",
    "table": """\
-----------------------------------------------------------
|                          error                          |
+---------------+-----------------------------------------+
|     Code      |                 Message                 |
+---------------+-----------------------------------------+
|  NoSuchEntity |  The role with name R cannot be found.  |
+---------------+-----------------------------------------+
""",
}
#: What the scripts fix, with values that would break them.
HOSTILE = {
    "AWS_DEFAULT_OUTPUT": "off",
    "AWS_CLI_ERROR_FORMAT": "json",
    "AWS_PAGER": "less",
    "AWS_CLI_AUTO_PROMPT": "on",
}
FIXED = {
    "AWS_DEFAULT_OUTPUT": "json",
    "AWS_CLI_ERROR_FORMAT": "legacy",
    "AWS_PAGER": "",
    "AWS_CLI_AUTO_PROMPT": "off",
}
#: Settings that version 1 knows, with values other than the defaults.
CONFIG = """\
[default]
region = eu-west-1
output = table
cli_history = enabled
cli_timestamp_format = iso8601
cli_follow_urlparam = false
parameter_validation = false
retry_mode = legacy
max_attempts = 1
cli_error_format = table
cli_auto_prompt = on
cli_pager = less
"""


def stand_in(home: Path, configured: str) -> None:
    """Put an ``aws`` on PATH that fails in the format of the environment, or else in the configured one, as the CLI."""
    for name, text in RECORDED.items():
        (home / f"{name}.txt").write_text(text)
    program = home / "aws"
    fixed = "old" if configured == "old" else "${AWS_CLI_ERROR_FORMAT:-" + configured + "}"
    program.write_text(f'#!/bin/sh\ncat "{home}/{fixed}.txt" >&2\nexit 254\n')
    program.chmod(0o755)


@pytest.mark.parametrize("configured", RECORDED)
def test_absence_is_recognised_in_any_error_format(configured: str, tmp_path: Path) -> None:
    stand_in(tmp_path, configured)
    code = "source scripts/lib/common.sh; work=$(mktemp -d); lookup NoSuchEntity aws iam get-role --role-name R; echo on; end"
    done = subprocess.run(
        ["bash", "-euc", code, "scripts/create-role.sh"], cwd=ROOT, capture_output=True, text=True, timeout=60,
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}", "HOME": str(tmp_path), "TMPDIR": str(tmp_path)}, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "on\n", "")


@pytest.mark.parametrize(
    "script", [name for name in SCRIPTS if "/" not in name and name not in ("certify.sh", "rehearse.sh", "test.sh")]
)
def test_every_call_has_the_settings_that_the_scripts_need(script: str, tmp_path: Path) -> None:
    desk = Desk(tmp_path / "desk")
    spy = desk.home / "spy"
    spy.write_text('#!/bin/sh\nenv >>"$FAKES/seen"\necho arn:aws:iam::111122223333:user/learner\n')
    spy.chmod(0o755)
    desk.answer("aws", IDENTITY[1], real=str(spy))
    desk.answer("aws", "codeconnections", real=str(spy))
    desk.answer("eksctl", "create", code=1)  # the nodes of this desk would never be ready
    arn = "arn:aws:codeconnections:us-east-2:111122223333:connection/aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
    desk.run(
        script,
        *{"teardown.sh": ["--yes"], "learner-policy.sh": ["stack"]}.get(script, []),
        CONNECTION_ARN=arn,
        BUDGET_EMAIL="a@b.example",
        **HOSTILE,
    )
    lines = (desk.home / "seen").read_text().splitlines()
    seen = [dict([line.split("=", 1)]) for line in lines if line.startswith(tuple(FIXED))]
    assert seen
    assert all(FIXED.items() >= each.items() for each in seen), seen
    # preflight.sh, with which setup-cluster.sh ends here, fails early rather than wait long.
    attempts = 3 if script in ("preflight.sh", "setup-cluster.sh") else 8
    retries = {line for line in lines if line.startswith(("AWS_RETRY_MODE=", "AWS_MAX_ATTEMPTS="))}
    assert retries == {"AWS_RETRY_MODE=standard", f"AWS_MAX_ATTEMPTS={attempts}"}
    history = {line for line in lines if line.startswith("AWS_CLI_HISTORY_FILE=")}
    assert history
    assert all(line.startswith(f"AWS_CLI_HISTORY_FILE={desk.home}/tmp.") for line in history), "deleted at the end"


@pytest.mark.services
@pytest.mark.timeout(300)
def test_scripts_work_with_any_configuration(desk: Desk, aws: Aws) -> None:
    """The real AWS CLI: the same calls, the same results, and no token in its history."""
    config = desk.home / ".aws" / "config"
    config.parent.mkdir()
    config.write_text(CONFIG, encoding="utf-8")
    common = environment(aws, APPROVAL_REQUIRED="true")

    def good(script: str, *arguments: str) -> str:
        done = desk.run(script, *arguments, timeout=240, **common)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    good("create-role.sh")
    assert "==> The role already exists" in good("create-role.sh")
    assert "==> The stack is CREATE_COMPLETE" in good("create-stack.sh")
    (stack,) = aws.root("cloudformation").describe_stacks(StackName=STACK)["Stacks"]
    assert {"ParameterKey": "ApprovalRequired", "ParameterValue": "true"} in stack["Parameters"]
    desk.answer("aws", "list-pipeline-executions", stdout=json.dumps([["Succeeded", 1.7e9, "abc", "one", 1.7e9]]))
    shown = good("status.sh")
    assert f"{STACK}, CREATE_COMPLETE" in shown
    assert "2023-11-14T22:13:20+00:00" in shown
    kept = [path for path in desk.home.rglob("*") if path.is_file() and path.name != "curl.config"]
    assert [path for path in kept if TOKEN.encode() in path.read_bytes()] == []
