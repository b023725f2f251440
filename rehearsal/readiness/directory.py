"""Reads a directory with a Flask app, and puts a copy of it among the tutorial's files. The directory is not changed."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rehearsal import learner, waiting
from rehearsal.readiness.manifest import Manifest, read_manifest
from rehearsal.settings import settings

#: Where an app is looked for, in this order: modules, then packages and these modules in them.
MODULES = ("app", "wsgi", "main", "application", "server", "run")
INSTANCES = ("app", "application")
FACTORIES = ("create_app", "make_app")

#: Where the app's packages are read from if requirements.txt does not pin them, in this order.
PACKAGES = ("requirements.in", "requirements.txt", "pyproject.toml")

#: Files of the tutorial's app, which an app of the learner's replaces.
TUTORIALS_APP = ("app.py", "requirements.in", "requirements.txt", "tests/test_app.py")

#: What deployment.yml asks of the tutorial's app after a rollout.
CHECK = "release-check/"

#: The first line of the file that Git LFS keeps in place of a large one (https://github.com/git-lfs/git-lfs, docs/spec.md).
LFS_POINTER = b"version https://git-lfs.github.com/spec/"

#: Files that say how an app is built, tested and run; none is copied into the image as a part of the app.
NOT_OF_THE_APP = {
    *PACKAGES,
    ".dockerignore",
    ".gitignore",
    "buildspec.yml",
    "deployment.yml",
    "gunicorn.conf.py",
    "tests/requirements.txt",
    "tests/test_app.py",
}

#: What a COPY line takes without quotes, and what .dockerignore takes as it is.
PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
PLAIN_PATH = re.compile(r"[^\\*?\[\]\n]*[^\\*?\[\]\s]")

TEST = """\
from {module} import {name}


def test_app_is_importable() -> None:
    assert callable({name}{call})
"""


class Refused(Exception):
    """The directory cannot be rehearsed; the message is one line with the remedy."""


@dataclass(frozen=True)
class App:
    """An app that can be rehearsed; ``target`` is how gunicorn finds it, such as ``shop:create_app()``."""

    directory: Path
    files: tuple[str, ...]
    target: str
    manifest: Manifest

    def has(self, name: str) -> bool:
        """Whether the directory has its own file of this name."""
        return name in self.files


def read(directory: Path) -> App:
    """Read the directory and check what can be checked without building the image.

    Raises:
        Refused: it has no app, or something that the pipeline does not take.
    """
    if not directory.is_dir():
        raise Refused(f"{directory} is not a directory: name the one with your app")
    _check_git(directory)
    files = tuple(name for name in learner.files_of(directory) if not _is_left_out(directory, name))
    _check_names(files)
    for name in files:
        _check_file(directory, name)
    target = "" if "gunicorn.conf.py" in files else _find_app(directory, files)
    if "Dockerfile" in files:
        _check_dockerfile((directory / "Dockerfile").read_text(encoding="utf-8", errors="replace"), files)
    elif not target and "gunicorn.conf.py" not in files:
        raise Refused(
            f"{directory} has no Flask app called app and no function create_app: "
            f'name yours in {directory}/app.py, as in "from shop import server as app"'
        )
    elif not set(PACKAGES) & set(files):
        raise Refused(f"{directory} has no requirements.txt: list the app's packages there, one a line")
    own = directory if "deployment.yml" in files else settings.root
    try:
        manifest = read_manifest(own / "deployment.yml")
    except ValueError as error:
        raise Refused(str(error)) from error
    return App(directory, files, target, manifest)


def prepare(app: App, target: Path) -> list[str]:
    """Write the tutorial's files with the app among them to ``target``; return what was taken from the tutorial.

    Raises:
        Refused: the packages cannot be pinned, for example because one has no wheel.
    """
    shutil.rmtree(target, ignore_errors=True)
    learner.copy_files(settings.root, learner.files_of(settings.root), target)
    for name in TUTORIALS_APP:
        (target / name).unlink(missing_ok=True)
    learner.copy_files(app.directory, app.files, target)
    return list(_complete(app, target))


def _complete(app: App, target: Path) -> Iterator[str]:
    """Add what the directory lacks, and yield a line about each."""
    if not app.has("Dockerfile"):
        contents, left_out = _contents(app)
        allowed = [f"!{path}" for paths in contents.values() for path in paths]
        _edit(target / "Dockerfile", "COPY app.py gunicorn.conf.py", _copy_lines(app, list(contents)))
        yield f"Dockerfile: the tutorial's, with COPY of {', '.join(contents)}"
        if left_out:
            yield f"not in the image: {', '.join(left_out)}, because the tutorial has files of these names"
        if not app.has(".dockerignore"):
            _edit(target / ".dockerignore", "!app.py", "\n".join(allowed))
            yield f".dockerignore: the tutorial's, with {', '.join(allowed)}"
        if not app.has("requirements.txt") or "--hash=" not in (target / "requirements.txt").read_text("utf-8"):
            yield _pin(target)
    if app.target:
        _edit(target / "gunicorn.conf.py", 'wsgi_app = "app:app"', f'wsgi_app = "{app.target}"')
        yield f'gunicorn.conf.py: the tutorial\'s, with wsgi_app = "{app.target}"'
    if not app.has("tests/test_app.py"):
        module, _, name = (app.target or "app:app").partition(":")
        plain = name.removesuffix("()")
        text = TEST.format(module=module, name=plain, call=name.removeprefix(plain))
        (target / "tests" / "test_app.py").write_text(text, encoding="utf-8")
        yield "tests/test_app.py: one that imports the app; the pipeline runs no other tests"
    if not app.has("deployment.yml"):
        lines = (target / "deployment.yml").read_text(encoding="utf-8").splitlines(keepends=True)
        rest = "".join(line for line in lines if not line.strip().startswith(CHECK))
        (target / "deployment.yml").write_text(rest, encoding="utf-8")
        yield f"deployment.yml: the tutorial's, without {CHECK}, because only its app has /version"
    yield (
        "buildspec.yml, scripts and all others: the tutorial's"
        if not app.has("buildspec.yml")
        else "scripts and others: the tutorial's"
    )


def _is_left_out(directory: Path, name: str) -> bool:
    """Whether a file is no part of the app: hidden, made by Python, or of a virtual environment."""
    parts = Path(name).parts
    if name in (".dockerignore", ".gitignore"):
        return False
    parents = [directory.joinpath(*parts[:depth]) for depth in range(1, len(parts))]
    return (
        any(part.startswith(".") or part in ("__pycache__", "node_modules") for part in parts)
        or any((parent / "pyvenv.cfg").exists() for parent in parents)
        or name.endswith(".pyc")
    )


def _check_git(directory: Path) -> None:
    """Refuse what CodePipeline does not fetch: it takes an archive of the commit, without submodules and LFS."""
    for name in learner.listed_by_git(directory, "--cached", "--others", "--exclude-standard") or ():
        path = directory / name
        if path.is_dir() and not path.is_symlink():
            raise Refused(
                f"{name.rstrip('/')} is a git submodule or a repository of its own, which CodePipeline does not fetch: "
                f"copy its files into this repository"
            )
    for name in learner.listed_by_git(directory, ":(attr:filter=lfs)") or ():
        raise _lfs(name)


def _lfs(name: str) -> Refused:
    return Refused(
        f"{name} is stored with Git LFS, and CodePipeline fetches only its pointer: "
        f"run git lfs migrate export --include={name}, or serve the file from S3"
    )


def _check_names(files: Iterable[str]) -> None:
    """Refuse a file called like one of the tutorial's folders, and the reverse."""
    tutorials = learner.files_of(settings.root)
    for name in set(files) & _folders(tutorials):
        raise Refused(f"{name} is the name of one of the tutorial's folders, and here of a file: rename it")
    for name in set(tutorials) & _folders(files):
        raise Refused(f"{name} is the name of one of the tutorial's files, and here of a folder: rename it")


def _folders(names: Iterable[str]) -> set[str]:
    return {str(parent) for name in names for parent in Path(name).parents} - {"."}


def _check_file(directory: Path, name: str) -> None:
    path = directory / name
    if path.is_symlink() and not path.resolve().is_relative_to(directory.resolve()):
        raise Refused(f"{name} links to a file outside of {directory}: put a copy in its place")
    with path.open("rb") as file:
        if file.read(len(LFS_POINTER)) == LFS_POINTER:
            raise _lfs(name)


def _check_dockerfile(dockerfile: str, files: tuple[str, ...]) -> None:
    if ".dockerignore" not in files:
        raise Refused(
            "Dockerfile needs a .dockerignore that names what it copies, one !path a line, after a line with *"
        )
    if "buildspec.yml" not in files and not re.search(r"(?im)^FROM\s.*\sAS\s+test\s*$", dockerfile):
        raise Refused(
            "Dockerfile has no stage called test, which buildspec.yml builds to test a commit: "
            "add one that runs your tests, before the last stage"
        )


def _find_app(directory: Path, files: tuple[str, ...]) -> str:
    """Return how gunicorn finds the app: a module, a colon, and an app or the call of a factory; or nothing."""
    packages = [name.removesuffix("/__init__.py") for name in files if re.fullmatch(r"[A-Za-z_]\w*/__init__\.py", name)]
    for module in [*MODULES, *packages, *(f"{package}.{name}" for package in packages for name in MODULES)]:
        path = module.replace(".", "/")
        for name in (f"{path}.py", f"{path}/__init__.py"):
            if name in files and (found := _app_in(directory / name)):
                return f"{module}:{found}"
    return ""


def _app_in(path: Path) -> str:
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError) as error:
        raise Refused(f"{path} is not valid Python: {error}") from error
    names: set[str] = set()
    factories: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
        elif isinstance(node, ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.FunctionDef) and not _must_be_given(node.args):
            factories.add(node.name)
    factories |= names & set(FACTORIES)
    for name in INSTANCES:
        if name in names:
            return name
    return next((f"{name}()" for name in FACTORIES if name in factories), "")


def _must_be_given(arguments: ast.arguments) -> bool:
    positional = len(arguments.posonlyargs) + len(arguments.args) - len(arguments.defaults)
    return positional > 0 or None in arguments.kw_defaults


def _contents(app: App) -> tuple[dict[str, list[str]], list[str]]:
    """Return the image's files and folders besides gunicorn.conf.py, and the files that are left out.

    The former are lists of paths for .dockerignore. A folder that the tutorial has too, such as docs, is listed file by
    file, so that only the app's own are copied. Left out is a file next to app.py that the tutorial has too.
    """
    tutorials = {Path(name).parts[0] for name in learner.files_of(settings.root)} - {"app.py"}
    contents: dict[str, list[str]] = {}
    left_out = []
    for name in sorted(set(app.files) - NOT_OF_THE_APP):
        entry = Path(name).parts[0]
        if entry == name and entry in tutorials:
            left_out.append(name)
            continue
        path = name if entry in tutorials else entry
        if not PLAIN_NAME.fullmatch(entry) or not PLAIN_PATH.fullmatch(path):
            raise Refused(f"{path} has a name that .dockerignore does not take: use letters, digits, dot, _ and - only")
        if path not in contents.setdefault(entry, []):
            contents[entry].append(path)
    return contents, left_out


def _copy_lines(app: App, entries: list[str]) -> str:
    folders = [entry for entry in entries if (app.directory / entry).is_dir()]
    files = [entry for entry in entries if entry not in folders]
    return "".join(f"COPY {folder} {folder}\n" for folder in folders) + f"COPY {' '.join([*files, 'gunicorn.conf.py'])}"


def _edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    if old not in text:
        raise LookupError(f"the tutorial's {path.name} no longer contains {old!r}")
    path.write_text(text.replace(old, new), encoding="utf-8")


def _pin(target: Path) -> str:
    """Write requirements.txt with the hashes of all packages, and gunicorn among them.

    Raises:
        Refused: uv finds no set of packages; the message names the one without a wheel.
    """
    source = next(target / name for name in PACKAGES if (target / name).exists())
    sources = [str(source)]
    with tempfile.TemporaryDirectory() as work:
        if not re.search(r"(?m)^\W*gunicorn\b", source.read_text(encoding="utf-8")):
            server = Path(work) / "server.in"
            tutorials = (settings.root / "requirements.in").read_text(encoding="utf-8")
            server.write_text("".join(re.findall(r"(?m)^gunicorn==.*\n", tutorials)), encoding="utf-8")
            sources.append(str(server))
        output = Path(work) / "requirements.txt"
        options = ["--quiet", "--generate-hashes", "--no-build", "--python-version", "3.13"]
        done = subprocess.run(
            [str(settings.venv_bin / "uv"), "pip", "compile", *options, *sources, "--output-file", str(output)],
            cwd=target,
            env=os.environ | {"NO_COLOR": "1"},
            capture_output=True,
            text=True,
            timeout=waiting.bound(300),
            check=False,
        )
        if done.returncode:
            raise Refused(_why_not(done.stderr, source.name))
        shutil.copy(output, target / "requirements.txt")
    return f"requirements.txt: {source.name} and gunicorn, pinned with hashes by uv pip compile"


def _why_not(said: str, source: str) -> str:
    if found := re.search(r"Wheels are required for `([^`]+)`", said):
        return (
            f"{found[1]} has no wheel for Python 3.13, and the Dockerfile installs wheels only: replace it, or install it "
            f'from source as docs/own-app.md says under "A package without a wheel"'
        )
    return f"uv cannot pin the packages of {source}: {' '.join(said.split())[:300]}"
