"""The rehearsal's Docker Engine, which has the base image and pushes under the real ECR name."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from rehearsal.docker import base_image, engine
from rehearsal.emulator.client import root
from rehearsal.settings import settings
from tests.support.desk import copy_of_checkout
from tests.support.fixtures import Rehearsal
from tests.support.paths import ROOT

pytestmark = [pytest.mark.rehearsal, pytest.mark.timeout(300)]

ACTIONS = [
    "ecr:BatchCheckLayerAvailability",
    "ecr:CompleteLayerUpload",
    "ecr:InitiateLayerUpload",
    "ecr:PutImage",
    "ecr:UploadLayerPart",
]


class Docker:
    """The Docker client with its own configuration."""

    def __init__(self, home: Path) -> None:
        self.home = home
        (home / ".docker").mkdir()
        proxies = {"default": {"httpsProxy": engine.proxy_url(), "noProxy": "127.0.0.1,localhost"}}
        (home / ".docker" / "config.json").write_text(json.dumps({"proxies": proxies}))

    def __call__(self, *args: str, stdin: str = "", check: bool = True) -> subprocess.CompletedProcess[str]:
        command = [engine.client(), "--host", f"unix://{settings.docker_socket}", *args]
        environment = {"PATH": engine.SYSTEM_PATH, "HOME": str(self.home), "DOCKER_BUILDKIT": "1"}
        return subprocess.run(
            command, env=environment, input=stdin, capture_output=True, text=True, timeout=120, check=check
        )


@pytest.fixture
def docker(rehearsal: Rehearsal, tmp_path: Path) -> Docker:
    """Return the Docker client of the running rehearsal."""
    assert rehearsal.env
    return Docker(tmp_path)


def build(docker: Docker, directory: Path, name: str, *lines: str) -> subprocess.CompletedProcess[str]:
    directory.mkdir()
    (directory / "Dockerfile").write_text("\n".join([f"FROM {base_image.NAME}", *lines]))
    return docker("build", "--tag", name, str(directory))


def password(rehearsal: Rehearsal, role: str) -> str:
    """Return the registry password of a role."""
    keys = root("sts").assume_role(RoleArn=f"arn:aws:iam::{settings.account}:role/{role}", RoleSessionName="engine")[
        "Credentials"
    ]
    environment = rehearsal.env | {
        "AWS_ACCESS_KEY_ID": keys["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": keys["SecretAccessKey"],
        "AWS_SESSION_TOKEN": keys["SessionToken"],
    }
    command = ["aws", "ecr", "get-login-password"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True).stdout


def make_role(name: str, repository: str) -> None:
    trust = {
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:aws:iam::{settings.account}:root"},
        "Action": "sts:AssumeRole",
    }
    arn = f"arn:aws:ecr:{settings.region}:{settings.account}:repository/{repository}"
    rights = [
        {"Effect": "Allow", "Action": "ecr:GetAuthorizationToken", "Resource": "*"},
        {"Effect": "Allow", "Action": ACTIONS, "Resource": arn},
    ]
    root("iam").create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps({"Statement": [trust]}))
    document = json.dumps({"Version": "2012-10-17", "Statement": rights})
    root("iam").put_role_policy(RoleName=name, PolicyName="p", PolicyDocument=document)


def test_base_image_has_the_commands_of_the_official_one(docker: Docker, tmp_path: Path) -> None:
    checks = "python --version && python3 --version && pip --version && python -m venv /tmp/v && which python pip"
    build(docker, tmp_path / "c", "checked", f"RUN ( {checks} ) >/said", 'CMD ["cat", "/said"]')
    said = docker("run", "--rm", "--network=none", "checked").stdout.splitlines()
    assert said[0].startswith("Python 3.13.")
    assert said[1] == said[0]
    assert said[-2:] == ["/usr/local/bin/python", "/usr/local/bin/pip"]


def test_pip_reaches_its_index_during_a_build(docker: Docker, tmp_path: Path) -> None:
    build(docker, tmp_path / "c", "packaged", "RUN pip install --quiet --no-cache-dir itsdangerous==2.2.0")
    said = docker("run", "--rm", "--network=none", "packaged", "python", "-c", "import itsdangerous; print('there')")
    assert said.stdout == "there\n"


def test_failed_step_fails_the_build(docker: Docker, tmp_path: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        build(docker, tmp_path / "c", "broken", "RUN exit 3")


def test_push_needs_the_permission_for_the_repository(docker: Docker, rehearsal: Rehearsal, tmp_path: Path) -> None:
    for name in ("pushed", "foreign"):
        root("ecr").create_repository(repositoryName=name, imageTagMutability="IMMUTABLE")
    make_role("pusher", "pushed")
    mine, foreign = f"{settings.registry}/pushed:1", f"{settings.registry}/foreign:1"
    build(docker, tmp_path / "c", mine, "RUN echo 1 >/n")
    docker("tag", mine, foreign)
    wrong = docker("login", "--username", "AWS", "--password-stdin", settings.registry, stdin="wrong", check=False)
    assert wrong.returncode != 0
    assert docker("push", mine, check=False).returncode != 0
    docker("login", "--username", "AWS", "--password-stdin", settings.registry, stdin=password(rehearsal, "pusher"))
    docker("push", mine)
    denied = docker("push", foreign, check=False)
    assert denied.returncode != 0
    assert "denied" in denied.stderr
    build(docker, tmp_path / "d", mine, "RUN echo 2 >/n")
    assert "immutable" in docker("push", mine, check=False).stderr
    tags = root("ecr").describe_images(repositoryName="pushed")["imageDetails"][0]["imageTags"]
    assert tags == ["1"]


#: Lists what an image has, by other means than sbom.py: pip, for both environments, and Debian's own status file.
LISTING = """\
{ pip list --format=freeze --path /opt/venv/lib/python3.13/site-packages; pip --version | sed 's/pip \\([^ ]*\\).*/pip==\\1/'; } |
sed 's/==/ /' | tr A-Z a-z
awk '/^Package:/ { name = $2 } /^Version:/ { print name, $2 }' /var/lib/dpkg/status
"""


def image_of(docker: Docker, target: Path, edit: tuple[str, str] = ("", "")) -> subprocess.CompletedProcess[str]:
    """Build the tutorial's image, with an edit of what makes its bill of materials."""
    copy = copy_of_checkout(target)
    for name in (
        "Dockerfile",
        ".dockerignore",
        *re.findall(r"^!(.+)", (ROOT / ".dockerignore").read_text(), re.MULTILINE),
    ):
        (copy / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, copy / name)
    script = copy / "scripts" / "lib" / "sbom.py"
    assert edit[0] in script.read_text()
    script.write_text(script.read_text().replace(*edit))
    return docker("build", "--tag", target.name, str(copy), check=False)


def test_bill_of_materials_lists_what_the_image_has(docker: Docker, tmp_path: Path) -> None:
    done = image_of(docker, tmp_path / "billed")
    assert done.returncode == 0, done.stderr
    bill = json.loads(docker("run", "--rm", "--network=none", "billed", "cat", "/bom.json").stdout)
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    listed = docker("run", "--rm", "--network=none", "billed", "sh", "-c", LISTING).stdout.splitlines()
    found = {f"{one['name']} {one['version']}": one for one in bill["components"]}
    python = {name for name, one in found.items() if one["purl"].startswith("pkg:generic/python@3.13.")}
    assert set(found) - python == set(listed)
    assert len(python) == 1
    flask = next(one for name, one in found.items() if name.startswith("flask "))
    assert flask["purl"] == f"pkg:pypi/flask@{flask['version']}"
    assert flask["licenses"] == [{"license": {"id": "BSD-3-Clause"}}]
    base = next(one for name, one in found.items() if name.startswith("base-files "))
    assert base["purl"].startswith("pkg:deb/debian/base-files@13.")
    again = docker("build", "--no-cache", "--quiet", "--target", "bom", "--tag", "again", str(tmp_path / "billed"))
    assert again.returncode == 0
    assert json.loads(docker("run", "--rm", "--network=none", "again", "cat", "/bom.json").stdout) == bill


def test_bill_of_materials_that_is_not_valid_fails_the_build(docker: Docker, tmp_path: Path) -> None:
    planted = ("return json.dumps(made", 'made["components"][0]["surprise"] = 1; return json.dumps(made')
    done = image_of(docker, tmp_path / "invalid", planted)
    assert done.returncode != 0
    assert "the bill of materials is not valid: " in done.stderr
    assert "surprise" in done.stderr


@pytest.mark.usefixtures("docker")
def test_host_has_no_trace_of_the_engine() -> None:
    links = json.loads(subprocess.run(["ip", "-json", "link"], capture_output=True, check=True).stdout)
    assert "docker0" not in {link["ifname"] for link in links}
    assert not Path("/etc/docker/key.json").exists()


#: A .dockerignore, a change of the files, and whether Docker sees it (https://docs.docker.com/build/concepts/context/).
IGNORED: list[tuple[str, str, bool]] = [
    ("*\n!templates/**\n", "echo x >templates/deep/page.html", True),
    ("*\n!templates/**\n", "echo x >notes", False),
    ("**/*.html\n", "echo x >templates/deep/page.html", False),
    ("**/*.html\n!templates/deep/page.html\n", "echo x >templates/deep/page.html", True),
    ("!templates/deep/page.html\n**/*.html\n", "echo x >templates/deep/page.html", False),
    ("  templates/  \n\n# notes\n", "echo x >templates/deep/page.html", False),
    ("# notes\n", "echo x >notes", True),
    ("/notes\n", "echo x >notes", False),
    ("note?\n!notes\n", "chmod +x notes", True),
    ("[m-o]otes\n", "chmod +x notes", False),
    ("", "ln -sf templates link", True),
    ("link\n", "ln -sf templates link", False),
]


@pytest.mark.parametrize(("ignored", "change", "seen"), IGNORED)
def test_content_tag_covers_what_docker_sees(
    docker: Docker, tmp_path: Path, ignored: str, change: str, seen: bool
) -> None:
    copy = copy_of_checkout(tmp_path / "copy")
    (copy / "Dockerfile").write_text(f"FROM {base_image.NAME}\n")
    shutil.copy(ROOT / "buildspec.yml", copy)
    (copy / ".dockerignore").write_text(ignored)
    (copy / "templates" / "deep").mkdir(parents=True)
    for name in ("notes", "templates/deep/page.html"):
        (copy / name).write_text("first\n")
    (copy / "link").symlink_to("notes")
    environment = {
        "PATH": engine.SYSTEM_PATH,
        "HOME": str(docker.home),
        "DOCKER_HOST": f"unix://{settings.docker_socket}",
        "GITHUB_USER": "octocat",
    }

    def tag() -> str:
        script = copy / "scripts" / "build" / "content-tag.sh"
        done = subprocess.run(
            ["bash", script], env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    before = tag()
    assert tag() == before
    subprocess.run(["bash", "-c", change], cwd=copy, check=True)
    assert (tag() != before) == seen
