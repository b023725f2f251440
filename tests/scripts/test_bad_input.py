"""A wrong call exits with 2 and one line that names the fault and the remedy, before any tool is called."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.support.bad_input import CASES, REMEDY, USED, Case
from tests.support.desk import Desk, copy_of_checkout
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
        "STAGING",
        "APPROVAL_REQUIRED",
        "NOTIFICATION_EMAIL",
    }
    assert set(USED) <= {case.script for case in CASES}
    assert {case.file for case in CASES if case.file} == {
        "settings.sh", "trust.json", "iam-role-policy.json", "deployer-rbac.yml", "ci-cd-codepipeline.cfn.yml", "deployment.yml",
        "docs/policies/stack.json",
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


ELSEWHERE = "the origin of this checkout is https://example.com/o/r, which is not on GitHub"
NO_ORIGIN = "the origin of this checkout cannot be read (error: No such remote 'origin')"
BROKEN = "the origin of this checkout cannot be read (error: key does not contain a section: broken)"


@pytest.mark.parametrize(
    ("config", "why"),
    [
        (None, "this directory is no clone of a repository"),
        ("", NO_ORIGIN),
        ('[remote "origin"]\n  url = https://me:secret@example.com/o/r\n', ELSEWHERE),
        ('[remote "origin"]\n  url = "https://me:secret@example.com/o/\\br"\n', ELSEWHERE),  # a backspace
        ("broken\n", BROKEN),
    ],
)
def test_says_why_the_origin_gives_no_repository(config: str | None, why: str, tmp_path: Path) -> None:
    desk = Desk(tmp_path / "desk", copy_of_checkout(tmp_path / "checkout"))
    if config is not None:
        subprocess.run(["git", "init", "--quiet", str(desk.checkout)], check=True, timeout=30)
        (desk.checkout / ".git" / "config").write_text(config)
    others = {"GIT_CEILING_DIRECTORIES": str(tmp_path), "GIT_DIR": str(tmp_path / "of another repository")}
    done = desk.run("create-stack.sh", GITHUB_USER="", **others)
    line = f"GITHUB_USER is not set: {why}; set it and GITHUB_REPO in settings.sh or the environment\n"
    assert (done.returncode, done.stderr, desk.calls()) == (2, line, [])


@pytest.mark.parametrize("script", [script for script, names in USED.items() if len(names) < len(REMEDY)])
def test_setting_that_a_script_does_not_use_may_be_wrong(script: str, tmp_path: Path) -> None:
    """So that what exists can be seen and deleted, whatever has become of the rest."""
    desk = Desk(tmp_path / "desk")
    desk.answer_as_if_present()
    others = dict.fromkeys(set(REMEDY) - set(USED[script]), "a b")
    arguments = {"teardown.sh": ["--yes"], "learner-policy.sh": ["stack"]}.get(script, [])
    done = desk.run(script, *arguments, **others, BUDGET_EMAIL="a@b.example")
    assert done.returncode != 2, done.stderr
    assert not re.search(f"^({'|'.join(others)}) is ", done.stderr, re.MULTILINE)
    assert desk.calls() or script == "check-github.sh"


@pytest.mark.parametrize("script", USED)
def test_usage_names_the_settings_that_are_checked(script: str) -> None:
    text = (ROOT / "scripts" / script).read_text(encoding="utf-8")
    usage = text.partition("\nset -euo pipefail")[0].partition("# Settings: ")[2].replace("\n# ", " ")
    if len(USED[script]) < len(REMEDY):
        assert re.findall(r"\b[A-Z]+_[A-Z_]+\b", usage.partition(". ")[0]) == list(USED[script])
    else:
        assert script.startswith("build/") or "all of settings.sh" in usage


def test_does_not_print_a_wrong_token(tmp_path: Path) -> None:
    done = Desk(tmp_path / "desk").run("create-stack.sh", GITHUB_TOKEN="secret with spaces")
    assert "secret" not in done.stdout + done.stderr
