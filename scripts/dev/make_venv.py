"""Installs a dependency group of pyproject.toml into a virtual environment, once, and prints the environment's path.

uv.lock has the versions and hashes. A group of one package needs only pip: so a learner's scripts do without uv, and so
uv itself is installed. uv installs the other groups, and like pip from the index that is configured, perhaps a mirror.
Everything is kept in one directory, also the files that uv's environments share (hard links).
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

LOCK = Path("uv.lock")
#: What only cfn-lint's rules import: these groups have it for its resource schemas alone.
PRUNED: dict[str, tuple[str, ...]] = dict.fromkeys(("rehearsal", "benchmarks"), ("networkx", "regex", "sympy"))
#: Of this group only the archive in its package is used, not its Python code.
PRUNED["awscli"] = ("aws-cdk-lib", "constructs", "jsii", "publication", "typeguard")


def environment(group: str) -> Path:
    """Return the path of a group's environment, after making it if it is missing.

    The file ``complete`` is written last, so an interrupted installation starts again. Concurrent calls wait for the first.

    Raises:
        OSError: the cache cannot be written.
        subprocess.CalledProcessError: pip or uv failed; the end of its output has been printed.
    """
    cache = _cache()
    python = f"{sys.base_prefix} {sys.version}".encode()
    target = cache / f"venv-{group}-{hashlib.sha256(LOCK.read_bytes() + python).hexdigest()[:12]}"
    if not (target / "complete").exists():
        cache.mkdir(parents=True, exist_ok=True)
        with target.with_suffix(".lock").open("w", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (target / "complete").exists():
                _install(group, target)
                (target / "complete").touch()
    return target


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "eks-rehearsal"


def _pip() -> Path:
    """Return the pip in the wheel that came with Python; to run it takes a third as long as to install it first."""
    directory = sysconfig.get_config_var("WHEEL_PKG_DIR") or Path(venv.__file__).parents[1] / "ensurepip" / "_bundled"
    found = sorted(Path(directory).glob("pip-*.whl"))
    if not found:
        raise FileNotFoundError("Python came without pip: on Debian and Ubuntu, install python3-venv")
    return found[-1] / "pip"


def _install(group: str, target: Path) -> None:
    import tomllib  # noqa: PLC0415 (main has a message for a Python without it)

    locked = {package["name"]: package for package in tomllib.loads(LOCK.read_text(encoding="utf-8"))["package"]}
    wanted = locked["aws-pipeline"]["dev-dependencies"][group]
    package = locked[wanted[0]["name"]]
    python = str(target / "bin" / "python")
    by_pip = len(wanted) == 1 and "dependencies" not in package
    if by_pip:
        hashes = [f" --hash={file['hash']}" for file in [package["sdist"], *package["wheels"]]]
        pins = f"{package['name']}=={package['version']}{''.join(hashes)}"
        command = [python, str(_pip()), "install", "--disable-pip-version-check", "--no-cache-dir", "--no-compile"]
        command += ["--progress-bar", "off"]
    else:
        uv = str(environment("uv") / "bin" / "uv")
        export = [uv, "export", "--quiet", "--frozen", "--only-group", group, "--no-header", "--no-annotate"]
        export += [f"--prune={package}" for package in PRUNED.get(group, ())]
        pins = subprocess.check_output([*export, "--python", sys.executable], text=True)
        # The rehearsal's services write no bytecode: without it, each start of aws takes three times as long.
        command = [uv, "pip", "install", "--compile-bytecode", "--python", python]
    count = len(re.findall(r"^\S+==", pins, re.MULTILINE))
    print(f"==> Install the {count} package{'s' * (count > 1)} of {group} (once)", file=sys.stderr)
    shutil.rmtree(target, ignore_errors=True)
    venv.create(target, symlinks=True)
    file = target / "pins.txt"
    file.write_text(pins, encoding="utf-8")
    _run([*command, "--no-deps", "--require-hashes", "--requirement", str(file)])


def _run(command: list[str]) -> None:
    """Run a command: on a terminal, show the latest line of its output; where it fails, the last twenty."""
    # As pip does, trust the system's certificate authorities and use the Python that is there.
    env = {"UV_SYSTEM_CERTS": "1", "UV_PYTHON_DOWNLOADS": "never", "UV_CACHE_DIR": str(_cache() / "uv")} | os.environ
    said: list[str] = []
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as running:
        for line in running.stdout or ():
            said.append(line)
            if sys.stderr.isatty():
                print(f"    {line.strip()[:70]}", end="\r\033[K", file=sys.stderr, flush=True)
    if running.returncode:
        sys.stderr.writelines(said[-20:])
        raise subprocess.CalledProcessError(running.returncode, command)


if __name__ == "__main__":
    if sys.version_info < (3, 11):  # noqa: UP036 (the caller may have an older one)
        sys.exit(f"python3 is {sys.version.split()[0]}: install Python 3.11 or later and put it first on PATH")
    try:
        print(environment(sys.argv[1]))
    except OSError as error:
        sys.exit(f"cannot make a Python environment: {error}")
    except subprocess.CalledProcessError:
        sys.exit(
            f"cannot install the group {sys.argv[1]}: see the output above. On Debian and Ubuntu install python3-venv; "
            "behind a proxy set HTTPS_PROXY; with a mirror of PyPI set PIP_INDEX_URL and UV_DEFAULT_INDEX"
        )
