"""Each linter finds nothing. What is excepted stands in the linter's own configuration, with the reason."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.support.paths import ROOT

BIN = Path(sys.executable).parent
TRACKED = subprocess.run(
    ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=True,
).stdout.splitlines()


def first_line(name: str) -> str:
    path = ROOT / name
    return path.read_bytes()[:40].decode("utf-8", "replace").split("\n")[0] if path.is_file() else ""


SHELL = sorted(name for name in TRACKED if name.endswith(".sh") or "bash" in first_line(name))
DOCKERFILES = sorted(name for name in TRACKED if Path(name).name.startswith("Dockerfile"))

LINTERS = {
    "cfn-lint": ["cfn-lint", "--include-checks", "I", "--", "ci-cd-codepipeline.cfn.yml"],
    "yamllint": ["yamllint", "--strict", "."],
    "shellcheck": ["shellcheck", *SHELL],
    "shfmt": ["shfmt", "-i", "2", "-ci", "-d", *SHELL],
    "hadolint": ["hadolint", *DOCKERFILES],
    "ruff check": ["ruff", "check", "--no-cache"],
    "ruff format": ["ruff", "format", "--no-cache", "--check"],
    "mypy": ["mypy", "--cache-dir", "/dev/null"],
}


@pytest.mark.parametrize("name", LINTERS)
def test_nothing_is_found(name: str) -> None:
    program, *arguments = LINTERS[name]
    done = subprocess.run(
        [BIN / program, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.timeout(600)  # its environment is made on first use
@pytest.mark.parametrize("what", ["files", "manifests"])
def test_checkov_finds_nothing(what: str, tmp_path: Path) -> None:
    venv = subprocess.run(
        ["scripts/dev/venv.sh", "requirements-checkov.txt"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=500,
        check=True,
    ).stdout.strip()
    options = ["--quiet", "--compact", "--skip-download"]
    if what == "files":
        options += ["--directory", ".", "--config-file", ".github/checkov.yml"]
    else:
        sent(tmp_path)
        skipped = ",".join(yaml.safe_load((ROOT / ".github/checkov.yml").read_text())["skip-check"])
        options += ["--directory", str(tmp_path), "--framework", "kubernetes", "--skip-check", skipped]
    done = subprocess.run(
        [f"{venv}/bin/checkov", *options], cwd=ROOT, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def sent(directory: Path) -> None:
    """Write the manifests with the image and the namespace that the scripts give them."""
    image = f"111122223333.dkr.ecr.us-east-2.amazonaws.com/hello-world@sha256:{'0' * 64}"
    for name in ("deployment.yml", "deployer-rbac.yml"):
        documents = list(yaml.safe_load_all((ROOT / name).read_text().replace("CONTAINER_IMAGE", image)))
        for document in documents:
            document["metadata"]["namespace"] = "hello-world"
        (directory / name).write_text(yaml.safe_dump_all(documents))


def test_pins_are_complete() -> None:
    for file in ROOT.glob("requirements*.txt"):
        lines = [
            line for line in file.read_text().splitlines() if line and not line.lstrip().startswith(("#", "--hash"))
        ]
        assert lines, file
        assert all("==" in line for line in lines), file


def test_every_wanted_package_is_pinned() -> None:
    pinned = (ROOT / "requirements-dev.txt").read_text()
    for line in (ROOT / "requirements-dev.in").read_text().splitlines():
        if line and not line.startswith("#"):
            assert f"\n{line.split('==')[0].lower()}==" in pinned, line


def test_actions_are_pinned_by_commit() -> None:
    for workflow in (ROOT / ".github" / "workflows").glob("*.yml"):
        for line in workflow.read_text().splitlines():
            if "uses:" in line:
                reference = line.split("@")[1].split()[0]
                assert len(reference) == 40, line


def test_ci_runs_the_readmes_test_command() -> None:
    assert "exec scripts/test.sh\n" in (ROOT / ".ci" / "run").read_text()
    assert ".ci/run" in (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    assert "scripts/test.sh" in (ROOT / "README.md").read_text()
