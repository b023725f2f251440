"""scripts/build/content-tag.sh: what decides about the image changes its tag, and nothing else does.

What Docker sees is tried with a real Docker Engine in tests/rehearsal/test_docker.py; here a stand-in copies the files.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.desk import copy_of_checkout
from tests.support.paths import FAKES, ROOT

TAGS = re.compile(r"content-[0-9a-f]{32}\nfiles-[0-9a-f]{32}\n")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    copy = copy_of_checkout(tmp_path / "copy")
    files = ["Dockerfile", ".dockerignore", "buildspec.yml", "README.md"]
    files += [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for name in files:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, copy / name)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "docker").symlink_to(FAKES / "docker.sh")
    return copy


def run(copy: Path, script: str = "content-tag.sh", **environment: str) -> subprocess.CompletedProcess[str]:
    path = f"{copy.parent / 'bin'}:{os.environ['PATH']}"
    environment |= {"PATH": path, "HOME": str(copy.parent), "GITHUB_USER": "octocat"}
    command = ["bash", copy / "scripts" / "build" / script]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def content_tag(copy: Path, **environment: str) -> str:
    done = run(copy, **environment)
    assert done.returncode == 0, done.stderr
    assert TAGS.fullmatch(done.stdout)
    return done.stdout.split()[0]


def append(name: str, text: str = "# another line\n") -> Callable[[Path], None]:
    def edit(copy: Path) -> None:
        with (copy / name).open("a") as file:
            file.write(text)

    return edit


def swap(name: str, old: str, new: str) -> Callable[[Path], None]:
    def edit(copy: Path) -> None:
        text = (copy / name).read_text()
        assert old in text
        (copy / name).write_text(text.replace(old, new))

    return edit


def link(copy: Path, target: str) -> None:
    (copy / "app.py").unlink(missing_ok=True)
    (copy / "app.py").symlink_to(target)


def rename(copy: Path) -> None:
    swap(".dockerignore", "!app.py", "!main.py")(copy)
    (copy / "app.py").rename(copy / "main.py")


CHANGES: dict[str, Callable[[Path], object]] = {
    **{
        name: append(name)
        for name in ("app.py", "requirements.txt", "tests/test_app.py", "Dockerfile", "buildspec.yml")
    },
    "mode": lambda copy: (copy / "app.py").chmod(0o755),
    "a link": lambda copy: link(copy, "README.md"),
    "name": rename,
    "a directory": lambda copy: (append(".dockerignore", "!static\n")(copy), (copy / "static").mkdir()),
}
OTHERS: dict[str, Callable[[Path], object]] = {
    "README.md": append("README.md"),
    "a new file": lambda copy: (copy / "new.py").write_text("print()\n"),
    "a comment in .dockerignore": append(".dockerignore"),
    "time": lambda copy: os.utime(copy / "app.py", (0, 0)),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_is_in_the_image_changes_the_tag(copy: Path, name: str) -> None:
    before = content_tag(copy)
    CHANGES[name](copy)
    assert content_tag(copy) != before


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_not_in_the_image_does_not_change_the_tag(copy: Path, name: str) -> None:
    before = content_tag(copy)
    OTHERS[name](copy)
    assert content_tag(copy) == before


def test_target_of_a_link_changes_the_tag(copy: Path) -> None:
    tags = set()
    for target in ("README.md", "LICENSE", "nowhere"):
        link(copy, target)
        tags.add(content_tag(copy))
    assert len(tags) == 3


def test_base_image_changes_the_tag(copy: Path) -> None:
    """A tag such as 3.13-slim moves with every fix of its packages."""
    one, two = (run(copy, BASE=base).stdout.split() for base in ("one", "two"))
    assert one[0] != two[0]
    assert one[1] == two[1]


@pytest.mark.parametrize("name", CHANGES)
def test_without_the_base_images_registry_the_files_have_a_tag(copy: Path, name: str) -> None:
    """Once, a push of documents failed if public.ecr.aws was down."""
    program(copy, "docker", f'#!/bin/sh\ncase "$*" in pull* | *inspect*) exit 1 ;; esac\nexec {FAKES}/docker.sh "$@"\n')
    program(copy, "sleep", "#!/bin/sh\n")
    before = run(copy)
    assert re.fullmatch(r"files-[0-9a-f]{32}\n", before.stdout)
    assert before.stderr.splitlines()[-1] == (
        "the registry of the base image does not answer: the last image of the same files is deployed, if there is one"
    )
    CHANGES[name](copy)
    assert run(copy).stdout != before.stdout


def test_dockerignore_of_the_dockerfile_goes_before_the_other(copy: Path) -> None:
    """https://docs.docker.com/build/concepts/context/#filename-and-location"""
    (copy / "Dockerfile.dockerignore").write_text("*\n!README.md\n")
    before = content_tag(copy)
    append("app.py")(copy)
    assert content_tag(copy) == before
    append("README.md")(copy)
    assert content_tag(copy) != before


INDEX = """{"manifests": [{"digest": "sha256:arm", "platform": {"os": "linux", "architecture": "arm64"}},
 {"digest": "sha256:none", "platform": {"os": "unknown", "architecture": "unknown"}},
 {"digest": "sha256:intel", "platform": {"os": "linux", "architecture": "amd64"}}]}"""
REMOTE = f"""#!/bin/sh
echo "$*" >>"$HOME/asked"
case "$*" in
  "image inspect"*) exit 1 ;;
  version*) echo linux/amd64 ;;
  *"inspect "*@sha256:intel | *"inspect single:1") echo '{{"config": {{"digest": "sha256:base"}}}}' ;;
  "manifest inspect "*) echo '{INDEX}' ;;
  *) exec {FAKES}/docker.sh "$@" ;;
esac
"""


@pytest.mark.parametrize("image", ["python:3.13-slim", "single:1"])
def test_base_image_that_is_not_there_is_asked_for_and_not_pulled(copy: Path, image: str) -> None:
    """The tag is the same as with the image there, since its Id is the digest of its configuration."""
    (copy / "Dockerfile").write_text(f"FROM {image}\n")
    there = content_tag(copy)
    program(copy, "docker", REMOTE)
    assert content_tag(copy) == there
    assert (copy.parent / "asked").read_text().splitlines() == [
        f"build --quiet --file docker/Dockerfile --output context {copy}",
        f"image inspect --format {{{{.Id}}}} {image}",
        "version --format {{.Server.Os}}/{{.Server.Arch}}",
        f"manifest inspect {image}",
        *[f"manifest inspect {image}@sha256:intel"][: image.startswith("python")],
    ]


def program(copy: Path, name: str, text: str) -> None:
    """Put a program on the PATH of the script."""
    path = copy.parent / "bin" / name
    path.unlink(missing_ok=True)
    path.write_text(text)
    path.chmod(0o755)


PULLS = """#!/bin/sh
echo "$*" >>"$HOME/asked"
tries=$(grep -c ^pull "$HOME/asked")
[ "$tries" -ge "$NEEDED" ] || { echo "toomanyrequests: try $tries" >&2; exit 1; }
case "$*" in "image inspect"*) echo sha256:base ;; esac
"""


@pytest.mark.parametrize(("needed", "code"), [(1, 0), (5, 0), (6, 1)])
def test_pull_base_tries_five_times_in_half_a_minute(copy: Path, needed: int, code: int) -> None:
    (copy / "Dockerfile").write_text("FROM python:3.13-slim\n")
    program(copy, "docker", PULLS)
    program(copy, "sleep", '#!/bin/sh\necho "${1%.*}" >>"$HOME/pauses"\n')
    done = run(copy, "pull-base.sh", NEEDED=str(needed))
    tries = min(needed, 5)
    assert (done.returncode, done.stdout) == (code, "" if code else "python:3.13-slim sha256:base\n")
    said = [f"toomanyrequests: try {number}" for number in range(1, needed)]
    remedy = ["cannot get python:3.13-slim: see the errors above, then retry the build"]
    assert done.stderr.splitlines() == (said + remedy if code else said)
    inspect = "image inspect --format {{.Id}} python:3.13-slim"
    pulls = ["pull --quiet python:3.13-slim"] * tries
    assert (copy.parent / "asked").read_text().splitlines() == [inspect, *pulls, *[inspect][code:]]
    pauses = [2, 4, 8, 16][: tries - 1]
    assert [*map(int, (copy.parent / "pauses").read_text().split() if pauses else [])] == pauses


def test_build_argument_changes_the_tag(copy: Path) -> None:
    append("Dockerfile", "ARG FLAVOUR=plain OTHER\n")(copy)
    plain = content_tag(copy)
    assert len({plain, content_tag(copy, FLAVOUR="sweet"), content_tag(copy, OTHER="sweet")}) == 3


def test_name_that_no_variable_can_have_is_left_out_by_content_tag(copy: Path) -> None:
    """The environment may have a value for it, which bash cannot read."""
    append("Dockerfile", "ARG with-hyphen=1\n")(copy)
    content_tag(copy)


def test_version_does_not_change_the_tag(copy: Path) -> None:
    """It is the commit, which is in the image; the image of an earlier commit with the same content is deployed."""
    assert content_tag(copy, VERSION="one") == content_tag(copy, VERSION="two")


def test_failure_of_docker_is_reported(copy: Path) -> None:
    """Once, a line such as !templates/** failed a command of its own, and the build went on without a tag."""
    append(".dockerignore", "!\n")(copy)
    failed = run(copy)
    assert (failed.returncode, failed.stdout) == (1, "")
    assert failed.stderr == (
        'ERROR: illegal exclusion pattern: "!"\n'
        "Docker cannot read the files of the image: fix the error above, for example in .dockerignore\n"
    )


def test_docker_sees_only_the_files_it_copies() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"
    assert all((ROOT / line.removeprefix("!")).is_file() for line in lines[1:])
    copied = {
        word
        for line in (ROOT / "Dockerfile").read_text().splitlines()
        if line.startswith("COPY ") and "--from" not in line
        for word in line.split()[1:-1]
    }
    assert copied == {line.removeprefix("!") for line in lines[1:]}


# The images that the Dockerfile takes files from

IMAGES = {
    "FROM python:3.13-slim": ["python:3.13-slim"],
    "from python:3.13-slim as base\nFROM Base AS other\nFROM scratch": ["python:3.13-slim"],
    "FROM --platform=linux/arm64 python:3.13-slim AS base": ["python:3.13-slim"],
    'ARG V=3.12 S="-slim"\nFROM python:${V}$S': ["python:3.12-slim"],
    "FROM a\nCOPY --from=nginx:1 /x /y\nCOPY --from=0 /x /y": ["a", "nginx:1"],
    "FROM a AS b\nRUN --mount=type=bind,from=tools:1,target=/x \\\n  --mount=from=b true": ["a", "tools:1"],
    "FROM a\n# COPY --from=b\nRUN python -c 'x' \\\n  from y": ["a"],
    "FROM a\nLABEL from=b\nRUN --mount=type=cache,target=/x true": ["a"],
    "FROM a\r": ["a"],
}


@pytest.mark.parametrize("dockerfile", IMAGES, ids=range(len(IMAGES)))
def test_images_of_the_dockerfile(copy: Path, dockerfile: str) -> None:
    (copy / "Dockerfile").write_text(dockerfile + "\n")
    done = run(copy, "pull-base.sh")
    assert done.stdout == "".join(f"{image} sha256:base\n" for image in IMAGES[dockerfile])
