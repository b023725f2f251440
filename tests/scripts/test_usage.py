"""Each script prints its usage, rejects unknown arguments and stays small."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.bad_input import IMAGE
from tests.support.desk import FAKE, SCRIPTS, TOOLS, Desk
from tests.support.names import TOKEN
from tests.support.paths import ROOT

FILES = sorted(path for path in (ROOT / "scripts").rglob("*") if path.suffix in {".sh", ".py"})
WITHOUT_ARGUMENTS = ["setup-cluster.sh", "create-cluster.sh", "create-role.sh", "create-stack.sh", "status.sh",
                     "preflight.sh", "check-github.sh", "leftovers.sh", "budget.sh", "test.sh"]  # fmt: skip


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path / "desk")


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_is_the_header(script: str, desk: Desk) -> None:
    header = [line[2:] for line in (ROOT / "scripts" / script).read_text().splitlines()[1:6] if line.startswith("#")]
    # Help works with a wrong setting, because the caller may be looking for the right one.
    done = desk.run(script, "-h", CLUSTER_NAME="not_a name")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == header[0]
    assert f"Usage: scripts/{script}" in done.stdout
    assert "#!" not in done.stdout
    assert "set -euo" not in done.stdout
    assert desk.calls() == []


@pytest.mark.parametrize("script", SCRIPTS)
def test_is_executable_and_strict(script: str) -> None:
    path = ROOT / "scripts" / script
    text = path.read_text()
    assert os.access(path, os.X_OK)
    assert text.startswith("#!/usr/bin/env bash\n# ")
    assert "\nset -euo pipefail\n" in text


def test_libraries_are_not_executable() -> None:
    assert [path for path in (ROOT / "scripts" / "lib").iterdir() if path.is_file() and os.access(path, os.X_OK)] == []


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.name)
def test_is_small(file: Path) -> None:
    limit = 100 if file.suffix == ".sh" else 200
    assert len(file.read_text().splitlines()) < limit


@pytest.mark.parametrize("script", WITHOUT_ARGUMENTS)
def test_rejects_unknown_arguments(script: str, desk: Desk) -> None:
    done = desk.run(script, "--force")
    assert done.returncode == 2
    assert done.stderr == f"unexpected argument --force: see scripts/{script} -h\n"
    assert desk.calls() == []


@pytest.mark.parametrize("argument", ["", "--yes --remove", "$(touch pwned)", "-", "--", "a\nb"])
@pytest.mark.parametrize("script", ["teardown.sh", "authorize-role.sh"])
def test_rejects_hostile_arguments(script: str, argument: str, desk: Desk) -> None:
    done = desk.run(script, argument)
    assert done.returncode == 2
    assert done.stderr.startswith("unexpected argument ")
    assert len(done.stderr.splitlines()) == 1
    assert desk.calls() == []


#: Arguments of those scripts that need some.
ARGUMENTS = {
    "build/check-findings.sh": [IMAGE, "HIGH"],
    "build/connect.sh": ["eksctl-demo", "arn:aws:iam::111122223333:role/deployer"],
    "build/deploy.sh": [IMAGE],
    "build/find-image.sh": [IMAGE.partition("@")[0], "0123456"],
    "certify.sh": ["--teardown"],
    "learner-policy.sh": ["stack"],
    "teardown.sh": ["--yes"],
}
#: The tools that a script calls, and a system may lack.
NEEDED = {
    "authorize-role.sh": "aws kubectl python3",
    "budget.sh": "aws",
    "certify.sh": "aws curl docker eksctl git kubectl python3",
    "build/check-findings.sh": "aws python3",
    "build/connect.sh": "aws",
    "build/content-tag.sh": "docker python3",
    "build/deploy.sh": "kubectl",
    "build/find-image.sh": "aws curl docker python3",
    "build/pull-base.sh": "docker python3",
    "check-github.sh": "aws curl python3",
    "create-cluster.sh": "aws eksctl kubectl",
    "create-role.sh": "aws python3",
    "create-stack.sh": "aws python3",
    "leftovers.sh": "aws kubectl",
    "learner-policy.sh": "aws python3",
    "status.sh": "aws kubectl python3",
    "teardown.sh": "aws eksctl kubectl python3",
}


def system_tools(desk: Desk) -> str:
    """Return a PATH with the tools of a desk and what every system has, and nothing else."""
    for tool in ("awk", "bash", "cat", "dirname", "env", "git", "mktemp", "python3", "readlink", "rm", "tr", "uname"):
        (desk.home / "bin" / tool).symlink_to(
            next(p for d in os.environ["PATH"].split(":") if (p := Path(d, tool)).exists())
        )
    return str(desk.home / "bin")


@pytest.mark.parametrize(
    ("script", "missing"), [(script, tool) for script, tools in NEEDED.items() for tool in tools.split()]
)
def test_missing_tool_is_named_before_anything_is_called(script: str, missing: str, desk: Desk) -> None:
    path = system_tools(desk)
    (desk.home / "bin" / "docker").symlink_to(FAKE)
    (desk.home / "bin" / missing).unlink()
    given = {"BUDGET_EMAIL": "a@example.com", "GITHUB_TOKEN": TOKEN, "KUBECONFIG": str(desk.home / "kubeconfig")}
    done = desk.run(script, *ARGUMENTS.get(script, []), PATH=path, **given)
    assert done.returncode == 1
    assert done.stderr == f'{missing} is not on PATH: install it as described in the README under "What you need"\n'
    assert desk.run(script, "-h", PATH=path).returncode == 0, "help needs no tool"
    assert desk.calls() == []


@pytest.mark.parametrize(
    ("script", "settings", "says"),
    [
        ("budget.sh", {"BUDGET_EMAIL": "a" * 65 + "@example.com"}, f"BUDGET_EMAIL is {'a' * 60}: set it to one email address"),
        ("budget.sh", {"BUDGET_EMAIL": "a@example.com", "BUDGET_AMOUNT": "1000000"}, "BUDGET_AMOUNT is 1000000: set it to whole US dollars a month, such as 20"),
        ("create-cluster.sh", {"CLUSTER_NAME": "a_b"}, "CLUSTER_NAME is a_b: set it to a name without underscores, which eksctl does not accept"),
        ("teardown.sh", {}, "teardown.sh: there is no terminal to confirm on: pass --yes to delete without confirmation"),
    ],
)  # fmt: skip
def test_wrong_value_is_named_before_a_missing_tool(
    script: str, settings: dict[str, str], says: str, desk: Desk
) -> None:
    """It takes longer to install a tool than to see what was wrong all the time."""
    path = system_tools(desk)
    for tool in TOOLS:
        (desk.home / "bin" / tool).unlink()
    done = desk.run(script, PATH=path, **settings)
    assert (done.returncode, done.stderr.replace(", in settings.sh or the environment", "")) == (2, f"{says}\n")


def test_without_space_for_temporary_files(desk: Desk) -> None:
    done = desk.run("create-cluster.sh", TMPDIR="/nonexistent")
    assert done.returncode == 1
    assert done.stderr == "cannot write to /nonexistent: free some space there, or set TMPDIR to another directory\n"
    assert desk.calls() == []


def test_full_disk_is_reported(tmp_path: Path) -> None:
    """A file may have no byte, as on a full disk, which accepts directories and empty files."""
    full = "trap '' XFSZ; ulimit -f 0; exec scripts/create-cluster.sh"
    environment = {"PATH": os.environ["PATH"], "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        ["bash", "-c", full], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    says = f"cannot write to {tmp_path}: free some space there, or set TMPDIR to another directory\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", says)


def test_teardown_without_a_terminal_needs_yes(desk: Desk) -> None:
    done = desk.run("teardown.sh")
    assert done.returncode == 2
    assert done.stderr == "teardown.sh: there is no terminal to confirm on: pass --yes to delete without confirmation\n"
    assert desk.calls() == []


@pytest.mark.parametrize("script", SCRIPTS)
def test_can_be_called_through_links(script: str, tmp_path: Path) -> None:
    """By another name, relative, absolute, and through a link to a link, from anywhere."""
    links = tmp_path / "my links"
    links.mkdir()
    (links / "absolute").symlink_to(ROOT / "scripts" / script)
    (links / "relative").symlink_to(os.path.relpath(ROOT / "scripts" / script, links))
    (links / "again").symlink_to("relative")
    for name in ("absolute", "relative", "again"):
        done = subprocess.run([f"./{name}", "-h"], cwd=links, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        assert f"Usage: scripts/{script}" in done.stdout
