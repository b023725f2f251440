"""The workflow runs the commands that the documents show, and keeps what they build."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from rehearsal.kubernetes import build
from tests.support.paths import ROOT

WORKFLOW = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))
DISTRIBUTION, CONTAINER = WORKFLOW["jobs"]["distribution"], WORKFLOW["jobs"]["container"]
MATRIX = DISTRIBUTION["strategy"]["matrix"]["include"]


def runs(job: dict[str, Any]) -> list[str]:
    return [step["run"] for step in job["steps"] if "run" in step]


def fences(page: str, info: str) -> list[str]:
    return re.findall(rf"^```{info}\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def words(command: str) -> list[str]:
    return command.replace("\\\n", " ").split()


@pytest.mark.parametrize("command", sorted({each["command"] for each in MATRIX}))
def test_distributions_run_commands_of_the_readme(command: str) -> None:
    script = (ROOT / ".ci" / "run").read_text().split("exec ")[1].strip() if command == ".ci/run" else command
    assert script in (ROOT / "README.md").read_text()
    assert runs(DISTRIBUTION)[-1] == "${{ matrix.command }}"


def test_container_is_that_of_the_documents() -> None:
    shown = words("".join(fences("docs/environments.md", "bash container")))
    assert words("\n".join(runs(CONTAINER))) == [word for word in shown if word not in ("--interactive", "--tty")]


def test_every_distribution_of_the_readme_has_a_job() -> None:
    images = {each["image"] for each in MATRIX}
    (requirement,) = re.findall(r"It needs root on (.*?),", (ROOT / "README.md").read_text())
    assert requirement == "Debian 12 or 13 or Ubuntu 24.04 or 26.04"
    assert images == {"debian:12-slim", "debian:13-slim", "ubuntu:24.04", "ubuntu:26.04"}


def test_build_is_kept_under_a_key_of_what_makes_it() -> None:
    (cache,) = (step["with"] for step in DISTRIBUTION["steps"] if "actions/cache@" in step.get("uses", ""))
    patterns = re.findall(r"'(.+?)'", cache["key"])
    keyed = {file for pattern in patterns for file in ROOT.glob(pattern.replace("**", "**/*")) if file.is_file()}
    sources = {file for file in build.MODULE.rglob("*") if file.suffix in (".mod", ".sum", ".go")}
    recipes = {build.MODULE.parent / name for name in ("build.py", "official.py", "official.toml", "pause.py")}
    version = {ROOT / "rehearsal" / "settings.py"}
    assert sources | recipes | version <= keyed
    assert "matrix.image" in cache["key"]  # the programs use the release's C library
    assert cache["path"] == f"{DISTRIBUTION['env']['XDG_CACHE_HOME']}/eks-rehearsal/bin-*"
    assert DISTRIBUTION["container"]["volumes"] == [f"rehearsal:{DISTRIBUTION['env']['XDG_CACHE_HOME']}"]
