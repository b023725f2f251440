"""A wrong call exits with 2 and one line that names the fault and the remedy, before any tool is called."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.bad_input import CASES, Case
from tests.support.desk import SCRIPTS, Desk, copy_of_checkout
from tests.support.paths import ROOT


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_rejects_a_wrong_call(case: Case, tmp_path: Path) -> None:
    desk = Desk(tmp_path / "desk", case.checkout(tmp_path / "checkout"))
    done = desk.run(case.script, *case.arguments, **case.environment)
    assert done.stderr.splitlines() == [case.line]
    assert done.returncode == 2
    assert done.stdout == ""
    assert [call for call in desk.calls() if "--local" not in call] == []  # which only reads a file
    assert not list(desk.checkout.rglob("pwned"))


def test_every_setting_argument_and_document_has_cases() -> None:
    settings = {name for case in CASES for name in case.environment}
    assert settings >= {
        "AWS_REGION",
        "GITHUB_TOKEN",
        "CONNECTION_ARN",
        "CODEBUILD_IMAGE",
        "APPROVAL_REQUIRED",
        "NOTIFICATION_EMAIL",
    }
    reading = {
        script for script in SCRIPTS if "\nsource scripts/lib/common.sh\n" in (ROOT / "scripts" / script).read_text()
    }
    assert reading <= {case.script for case in CASES}
    assert {case.file for case in CASES if case.file} == {
        "settings.sh", "trust.json", "iam-role-policy.json", "deployer-rbac.yml", "ci-cd-codepipeline.cfn.yml", "deployment.yml",
    }  # fmt: skip
    different = {(case.script, case.arguments, str(case.environment), case.file and case.name) for case in CASES}
    assert len(different) == len(CASES) >= 60


@pytest.mark.parametrize(
    "file", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "scripts").rglob("*.sh"))],
    ids=lambda path: path.name,
)  # fmt: skip
def test_no_advice_discards_work(file: Path) -> None:
    """A file that a check refuses may hold a person's own work, which these would overwrite."""
    assert not re.search(r"git (checkout|restore|reset|stash|clean)\b", file.read_text(encoding="utf-8"))


def test_rejects_a_checkout_without_an_origin(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "desk", copy_of_checkout(tmp_path / "no origin"))
    done = desk.run("create-stack.sh", GITHUB_USER="", GIT_CEILING_DIRECTORIES=str(tmp_path))
    line = (
        "GITHUB_USER is not set: this checkout has no origin on GitHub, so set it in settings.sh or the environment\n"
    )
    assert (done.returncode, done.stderr, desk.calls()) == (2, line, [])


def test_does_not_print_a_wrong_token(tmp_path: Path) -> None:
    done = Desk(tmp_path / "desk").run("create-stack.sh", GITHUB_TOKEN="secret with spaces")
    assert "secret" not in done.stdout + done.stderr
