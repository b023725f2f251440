"""scripts/dev/venv.sh: what an environment has, and where its files are."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.support.paths import ROOT

spec = importlib.util.spec_from_file_location("make_venv", ROOT / "scripts" / "dev" / "make_venv.py")
assert spec
assert spec.loader
make_venv = importlib.util.module_from_spec(spec)
spec.loader.exec_module(make_venv)

LOCKED: dict[str, Any] = {each["name"]: each for each in tomllib.loads((ROOT / "uv.lock").read_text())["package"]}


def needed(names: list[str], leaf: str = "") -> set[str]:
    """Return the packages that some need, by uv.lock; what ``leaf`` needs does not count."""
    found: set[str] = set()
    while names:
        name = names.pop()
        if name not in found:
            found.add(name)
            names += [each["name"] for each in LOCKED[name].get("dependencies", []) if name != leaf]
    return found


@pytest.mark.parametrize("group", make_venv.PRUNED)
def test_only_one_package_needs_what_is_left_out(group: str) -> None:
    package = "aws-cdk-asset-awscli-v2" if group == "awscli" else "cfn-lint"
    wanted = [each["name"] for each in LOCKED["aws-pipeline"]["dev-dependencies"][group]]
    assert set(make_venv.PRUNED[group]) <= needed(wanted.copy())
    assert not set(make_venv.PRUNED[group]) & needed(wanted.copy(), leaf=package)


def test_python_without_pip_is_reported_with_the_package_that_has_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("sysconfig.get_config_var", lambda _: str(tmp_path))
    with pytest.raises(FileNotFoundError, match="install python3-venv"):
        make_venv._pip()


def test_missing_python_is_named(tmp_path: Path) -> None:
    for tool in ("bash", "env", "readlink", "sed"):
        (tmp_path / tool).symlink_to(shutil.which(tool) or tool)
    done = subprocess.run(
        ["scripts/dev/venv.sh", "scripts"], cwd=ROOT, env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False
    )  # fmt: skip
    line = "python3 is not on PATH: install Python 3.11 or later\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", line)


@pytest.mark.parametrize(
    ("group", "modules"),
    [
        pytest.param("scripts", "yaml", id="by pip"),
        pytest.param("rehearsal", "boto3, ministack, rich, supervisor", id="by uv", marks=pytest.mark.slow),
    ],
)
def test_environment_has_its_packages_and_nothing_is_kept_elsewhere(tmp_path: Path, group: str, modules: str) -> None:
    done = subprocess.run(
        ["scripts/dev/venv.sh", group],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "UV_"))}
        | {"HOME": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
        timeout=280,
        check=True,
    )
    python = Path(done.stdout.strip()) / "bin" / "python"
    use = f"import {modules}; from importlib.util import find_spec; print(*map(find_spec, ('pip', 'sympy')))"
    said = subprocess.run([python, "-c", use], capture_output=True, text=True, timeout=60, check=True).stdout
    assert said == "None None\n"
    # pip asks for the version of Rust, and rustup then creates a directory.
    assert {path.name for path in tmp_path.iterdir()} - {".rustup"} == {".cache"}
    assert [path.name for path in (tmp_path / ".cache").iterdir()] == ["eks-rehearsal"]
