"""Make a virtual environment for a pinned requirements file, once, and print its path.

An environment is complete when its file ``complete`` is there, which is written last: one that was interrupted is made
anew. A lock lets concurrent calls wait for the first.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path


def place(requirements: Path) -> Path:
    """Return where the environment of a requirements file lies, whether or not it is there yet."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "eks-rehearsal"
    python = f"{sys.base_prefix} {sys.version}".encode()
    key = hashlib.sha256(requirements.read_bytes() + python).hexdigest()[:12]
    return cache / f"venv-{requirements.stem.removeprefix('requirements-')}-{key}"


def install(requirements: Path, target: Path) -> None:
    """Make the environment; progress goes to standard error.

    Raises:
        subprocess.CalledProcessError: pip failed; what it said has been repeated.
    """
    wanted = sum(
        "==" in line and not line.startswith("#") for line in requirements.read_text(encoding="utf-8").splitlines()
    )
    print(f"==> Install the {wanted} packages of {requirements.name} (once)", file=sys.stderr)
    shutil.rmtree(target, ignore_errors=True)
    venv.create(target, with_pip=True, symlinks=True)
    command = [str(target / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install"]
    said: list[str] = []
    with subprocess.Popen(
        [*command, "--no-deps", "--progress-bar", "off", "-r", str(requirements)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ) as pip:  # fmt: skip
        seen = 0
        for line in pip.stdout or ():
            said.append(line)
            if line.startswith("Collecting") and sys.stderr.isatty():
                seen += 1
                print(f"\r    {seen}/{wanted}", end="\r", file=sys.stderr, flush=True)
    if pip.returncode:
        sys.stderr.writelines(said[-20:])
        raise subprocess.CalledProcessError(pip.returncode, "pip install")
    (target / "complete").touch()


def main() -> None:
    """Run the command line."""
    if sys.version_info < (3, 11):  # noqa: UP036 (whoever runs it may have an older one)
        sys.exit(f"python3 is {sys.version.split()[0]}: install Python 3.11 or later and put it first on PATH")
    requirements = Path(sys.argv[1])
    try:
        target = place(requirements)
        if not (target / "complete").exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.with_suffix(".lock").open("w", encoding="utf-8") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if not (target / "complete").exists():
                    install(requirements, target)
    except OSError as error:
        sys.exit(f"cannot make a Python environment: {error}")
    except subprocess.CalledProcessError:
        sys.exit(
            f"cannot install {requirements}: see pip's words above. On Debian and Ubuntu python3-venv must be installed; "
            "behind a proxy set HTTPS_PROXY"
        )
    print(target)


if __name__ == "__main__":
    main()
