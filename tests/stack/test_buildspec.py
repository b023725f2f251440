"""buildspec.yml and Dockerfile: what is pushed and deployed, and in which order.

The commands run as in CodeBuild, with recording stand-ins for aws, docker and the scripts that call the cluster.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import runpy
import shutil
import sys
import tarfile
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from rehearsal.codebuild.artifacts import pack
from rehearsal.codebuild.buildspec import PHASES, parse
from rehearsal.codebuild.shell import Shell
from tests.support.desk import FAKE, Desk, copy_of_checkout
from tests.support.image_stages import stages
from tests.support.names import ECR_HOSTS
from tests.support.names import ROLE_ARN as ROLE
from tests.support.paths import FAKES, ROOT

REPOSITORY = "111122223333.dkr.ecr.us-east-2.amazonaws.com/aws-pipeline-ecrrepository-1abc"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
DIGEST = "sha256:" + "d" * 64
PASSWORD = "the-registry-password"
#: Scripts of a build that use the cluster or the network.
OUTSIDE = ("connect", "install-kubectl", "check-findings", "deploy")
DEPLOYS = f"deploy {REPOSITORY}"
#: A step of an image, as BuildKit writes it, and the steps of one like that of the Dockerfile.
BILL = "COPY /bom.json / # buildkit"
STEPS = ({"created_by": "RUN python -c x # buildkit"}, {"created_by": BILL}, {"created_by": "COPY app.py gunicorn.conf.py ./ # buildkit"},
         {"created_by": "ENV VERSION=1", "empty_layer": True})  # fmt: skip


@dataclass
class Build:
    """A build of a commit for which no image exists yet."""

    desk: Desk
    repository: str = REPOSITORY

    def run(self, **given: str) -> bool:
        """Run all phases, with the variables of the pipeline's action, and return whether the build succeeded."""
        self.desk.write_rules()
        spec = parse((self.desk.checkout / "buildspec.yml").read_text(encoding="utf-8"))
        environment = {
            "PATH": f"{self.desk.home / 'bin'}:{os.environ['PATH']}",
            "HOME": str(self.desk.home),
            "FAKES": str(self.desk.home),
            "BASH_ENV": "$FAKES/clock",
            "ECR_REPOSITORY_URI": self.repository,
            "EKS_CLUSTER_NAME": "eksctl-demo",
            "EKS_KUBECTL_ROLE_ARN": ROLE,
            "CODEBUILD_RESOLVED_SOURCE_VERSION": COMMIT,
            **given,
        }
        with (self.desk.home / "log").open("wb") as log:
            shell = Shell(
                self.desk.home / "shell", self.desk.checkout, environment | dict(spec.variables), log.fileno(),
                shell=spec.shell,
            )  # fmt: skip
            succeeded = True
            for name in PHASES:
                phase = spec.phases[name]
                shell.set("CODEBUILD_BUILD_SUCCEEDING", str(int(succeeded)))
                good = all(shell.run(command) == 0 for command in phase.commands)
                for command in phase.finally_commands:
                    good = shell.run(command) == 0 and good
                succeeded = succeeded and good
                if not good and (phase.on_failure == "ABORT" or name in ("install", "pre_build")):
                    break
        return succeeded

    def calls(self, *words: str) -> list[str]:
        """Return the calls that start with one of these, each as a line."""
        lines = [" ".join(call) for call in self.desk.calls()]
        return [line for line in lines if line.startswith(words)]

    def has_image(self, tag: str = COMMIT, *steps: dict[str, object], bill: bytes = b"{}\n") -> str:
        """Let ECR have an image with a bill of materials, made in these steps; return its digest."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as archive:
            file = tarfile.TarInfo("bom.json")
            file.size = len(bill)
            archive.addfile(file, io.BytesIO(bill))
        layers = [
            self._keep((step["created_by"] == BILL and packed.getvalue()) or b"else")
            for step in steps
            if "empty_layer" not in step
        ]
        config = self._keep(json.dumps({"history": steps}).encode())
        manifest = {"schemaVersion": 2, "config": {"digest": config}, "layers": [{"digest": each} for each in layers]}
        return self._keep(json.dumps(manifest).encode(), tag)

    def _keep(self, content: bytes, name: str = "") -> str:
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        (self.desk.home / "registry").mkdir(exist_ok=True)
        (self.desk.home / "registry" / (name or digest)).write_bytes(content)
        return digest


@pytest.fixture
def build(tmp_path: Path) -> Build:
    desk = Desk(tmp_path / "desk", copy_of_checkout(tmp_path / "source"))
    listed = re.findall(r"^!(.+)", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    for name in ["buildspec.yml", "Dockerfile", ".dockerignore", *listed]:
        (desk.checkout / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, desk.checkout / name)
    for name in ("docker", *OUTSIDE):
        (desk.home / "bin" / name).symlink_to(FAKE)
    for name in OUTSIDE:
        (desk.checkout / "scripts" / "build" / f"{name}.sh").write_text(f'exec {name} "$@"\n')
    keep = desk.home / "keep"
    keep.write_text('#!/bin/sh\ncat >"$FAKES/password"\n')
    keep.chmod(0o755)
    desk.answer("aws", "get-login-password", stdout=f"{PASSWORD}\n")
    desk.answer("curl", "https://.*/v2/", real=str(FAKES / "registry.sh"))
    desk.answer("docker", "^login", real=str(keep))
    desk.answer("docker", "^build --quiet .*--output context ", real=str(FAKES / "docker.sh"))
    desk.answer("docker", "^image inspect", stdout=f"{REPOSITORY}@{DIGEST}\n")
    return Build(desk)


def built(build: Build) -> list[str]:
    """Return the calls that build, tag or push an image, not the one with which content-tag.sh copies files."""
    return [line for line in build.calls("docker build", "docker tag", "docker push") if "--output context" not in line]


def tag_of(call: str) -> str:
    return call.rpartition(":")[2]


def test_commit_is_tested_built_pushed_and_deployed_by_digest(build: Build) -> None:
    assert build.run()
    assert "\nImage of these files: None\n" in (build.desk.home / "log").read_text()
    lines = build.calls("docker", *OUTSIDE)
    assert f"connect eksctl-demo {ROLE}" in lines
    tests = [number for number, line in enumerate(lines) if line.startswith("docker build --target test ")]
    images = [line for line in lines if line.startswith("docker build") and f"--build-arg VERSION={COMMIT} " in line]
    assert (len(tests), len(images)) == (1, 1)
    pushed = {tag_of(line): number for number, line in enumerate(lines) if line.startswith("docker push")}
    assert {tag.partition("-")[0] for tag in pushed} == {COMMIT, "content", "files", "cache"}
    assert all(number > tests[0] for tag, number in pushed.items() if tag != "cache")
    assert build.calls("deploy") == ["deploy --check", f"deploy {REPOSITORY}@{DIGEST}"]
    assert lines.index("deploy --check") < tests[0]
    assert lines.index(f"deploy {REPOSITORY}@{DIGEST}") > max(pushed.values())


@pytest.mark.parametrize("host", ECR_HOSTS)
def test_registry_of_any_partition(build: Build, host: str) -> None:
    build.repository = f"{host}/aws-pipeline"
    build.desk.answer("docker", "^image inspect", stdout=f"{build.repository}@{DIGEST}\n")
    assert build.run()
    assert build.calls("deploy")[-1] == f"deploy {host}/aws-pipeline@{DIGEST}"
    assert build.calls("docker login") == [f"docker login --username AWS --password-stdin {host}"]
    assert build.calls("docker logout") == [f"docker logout {host}"]
    assert build.calls("curl")[0].endswith(f" https://{host}/v2/aws-pipeline/manifests/{COMMIT}")


def test_findings_are_checked_before_the_deployment_if_the_stack_says_so(build: Build) -> None:
    assert build.run(FAIL_ON_SEVERITY="HIGH")
    wanted = [f"check-findings {REPOSITORY}@{DIGEST} HIGH", f"deploy {REPOSITORY}@{DIGEST}"]
    assert build.calls("check-findings", f"deploy {REPOSITORY}") == wanted
    build.desk.forget()
    build.desk.answer("check-findings", "", code=1)
    assert not build.run(FAIL_ON_SEVERITY="HIGH")
    assert build.calls(f"deploy {REPOSITORY}") == []
    build.desk.forget()
    assert build.run()
    assert build.calls("check-findings") == []


@pytest.mark.parametrize("reused", [False, True], ids=["deploys", "changes nothing"])
def test_aws_cli_is_started_twice(reused: bool, build: Build) -> None:
    """Each start takes up to a second. Everything else is asked by programs that start in a tenth of the time."""
    for name in OUTSIDE:
        shutil.copy(ROOT / "scripts" / "build" / f"{name}.sh", build.desk.checkout / "scripts" / "build")
    (build.desk.home / "bin" / "aws-iam-authenticator").symlink_to(FAKE)
    build.desk.answer("kubectl", "^(--|config|version)", real=str(FAKES / "deployer.py"))
    build.desk.answer("aws", "update-kubeconfig", real=str(FAKES / "deployer.py"))
    if reused:
        build.has_image()
    assert build.run(APP_NAMESPACE="hello-world", AWS_REGION="us-east-2"), (build.desk.home / "log").read_text()
    started = sorted(" ".join(call.split()[5:7]) for call in build.calls("aws "))
    assert started == ["ecr get-login-password", "eks update-kubeconfig"]
    asked = [call for call in build.calls("kubectl --context") if "--local" not in call]
    assert len(build.calls("aws-iam-authenticator token")) == len(asked) > 3
    assert bool(built(build)) is not reused


def test_settings_of_the_tools() -> None:
    """BuildKit keeps the layers' cache in the image; the AWS CLI's standard mode retries throttling and lost connections."""
    env = yaml.safe_load((ROOT / "buildspec.yml").read_text(encoding="utf-8"))["env"]
    assert env["shell"] == "bash"
    assert env["variables"] == {"DOCKER_BUILDKIT": "1", "AWS_RETRY_MODE": "standard", "AWS_MAX_ATTEMPTS": "8"}
    assert env["exported-variables"] == ["VERSION", "IMAGE"], "the console shows them"


def test_image_is_looked_up_by_the_commit_and_by_its_files(build: Build) -> None:
    assert build.run()
    (content,) = {tag_of(line) for line in build.calls("docker push") if tag_of(line).startswith("content-")}
    host, _, name = REPOSITORY.partition("/")
    asked = [call.rpartition(" ")[2] for call in build.calls("curl")]
    assert asked == [f"https://{host}/v2/{name}/manifests/{tag}" for tag in (COMMIT, content)]
    bounds = "--location --proto =https --retry 5 --retry-all-errors --connect-timeout 10 --max-time 60 "
    assert all(bounds in call for call in build.calls("curl")), "half a minute of errors, and none that hangs"
    (login,) = build.calls("docker login")
    assert login == f"docker login --username AWS --password-stdin {REPOSITORY.partition('/')[0]}"


def test_find_image_asks_with_bounds_and_prints_digest_and_tags(build: Build) -> None:
    """Half a minute of errors, and no question that hangs."""
    digest = build.has_image()
    (build.desk.checkout / "bom.json").write_text("an old one\n")
    done = build.desk.run("build/find-image.sh", REPOSITORY, COMMIT)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(rf"{digest}\ncontent-[0-9a-f]{{32}}\nfiles-[0-9a-f]{{32}}\n", done.stdout)
    assert not (build.desk.checkout / "bom.json").exists()
    kinds = [f"application/vnd.docker.distribution.manifest.{kind}+json" for kind in ("v2", "list.v2")]
    kinds += [f"application/vnd.oci.image.{kind}.v1+json" for kind in ("manifest", "index")]
    call = next(each for each in build.desk.calls() if each[0] == "curl")
    call[call.index("--output") + 1] = "FILE"
    assert " ".join(call) == (
        "curl --config - --silent --show-error --location --proto =https --retry 5 --retry-all-errors "
        f"--connect-timeout 10 --max-time 60 --header Accept: {', '.join(kinds)} --output FILE --write-out %{{http_code}} "
        f"https://{REPOSITORY.replace('/', '/v2/', 1)}/manifests/{COMMIT}"
    )


@pytest.mark.parametrize(
    ("tool", "pattern", "error"),
    [
        ("docker", "^build --quiet", "not known which image has the content of this commit: see the error above"),
        ("aws", "get-login-password", "ECR gave no password: fix the error above, then retry the build"),
        ("curl", "manifests", "the registry does not answer: see the error above, then retry the build"),
    ],
)
def test_find_image_says_what_failed(tool: str, pattern: str, error: str, build: Build) -> None:
    build.desk.answer(tool, pattern, stderr=f"no {tool}\n", code=1)
    failed = build.desk.run("build/find-image.sh", REPOSITORY, COMMIT)
    assert (failed.returncode, failed.stdout) == (1, "")
    assert failed.stderr.splitlines()[0] == f"no {tool}"
    assert failed.stderr.splitlines()[-1] == error


def test_find_image_shows_the_beginning_of_a_wrong_answer(build: Build) -> None:
    build.desk.answer("curl", "https://.*/v2/", real=str(answering(build, "printf %3000s x >$output; echo 503")))
    failed = build.desk.run("build/find-image.sh", REPOSITORY, COMMIT)
    assert failed.stderr == (
        f"{'':1000}the registry answered 503 to the question for tag {COMMIT}: see its answer above, then retry the build\n"
    )


def answering(build: Build, code: str) -> Path:
    """Return a program that answers as curl does, with this code, which may write to $output."""
    program = build.desk.home / "answers"
    program.write_text(
        f"#!/bin/bash\ncat >/dev/null; [[ $* =~ --output\\ ([^ ]+) ]]; output=${{BASH_REMATCH[1]}}; : >$output\n{code}\n"
    )
    program.chmod(0o755)
    return program


@pytest.mark.parametrize(
    "answer",
    ["echo 'curl: (6) Could not resolve host' >&2; exit 6", "echo 503", "echo '<html>404</html>' >$output; echo 404",
     'echo \'{"errors":[{"code":"NAME_UNKNOWN"}]}\' >$output; echo 404', "echo '<html>' >$output; echo 200",
     "echo '{}' >$output; echo 200", "echo 403"],
)  # fmt: skip
def test_only_the_registry_says_that_there_is_no_image(answer: str, build: Build) -> None:
    """A network that fails, or a page of a proxy, is no such answer: with it, the image would be built and pushed twice."""
    build.desk.answer("curl", "https://.*/v2/", real=str(answering(build, answer)))
    assert not build.run()
    assert [*built(build), *build.calls(DEPLOYS)] == []
    assert re.search(
        r"image \| the registry (does not answer|answered \d+ ).*, then retry the build\n",
        (build.desk.home / "log").read_text(),
    )


def test_image_and_tests_are_built_from_the_cached_layers_and_pushed(build: Build) -> None:
    assert build.run()
    cache, wanted = f"{REPOSITORY}:cache", built(build)
    derived = {tag_of(line) for line in wanted if tag_of(line).startswith(("content-", "files-"))}
    assert len(derived) == 2
    assert sorted(wanted) == sorted([
        f"docker build --target test --cache-from {cache} .",
        f"docker build --build-arg VERSION={COMMIT} --build-arg BUILDKIT_INLINE_CACHE=1 --cache-from {cache} --tag {cache} .",
        f"docker push --quiet {cache}",
        *(f"docker tag {cache} {REPOSITORY}:{tag}" for tag in (COMMIT, *derived)),
        *(f"docker push --quiet {REPOSITORY}:{tag}" for tag in (COMMIT, *derived)),
    ])  # fmt: skip


PULLS = f"""\
#!{sys.executable}
import fcntl, os, sys, time
from pathlib import Path
home, verb = Path(os.environ["FAKES"]), sys.argv[1:]
base = home / "base"
if verb[:2] == ["image", "inspect"] and "public.ecr.aws" in verb[-1] and not base.exists():
    sys.exit(1)
if verb[0] in ("pull", "build", "manifest") and not base.exists():
    with (home / "last").open("a+") as last:
        fcntl.flock(last, fcntl.LOCK_EX)
        last.seek(0)
        if time.time() - float(last.read() or 0) < 1:
            sys.exit("toomanyrequests: Rate exceeded")
        last.truncate(0)
        last.write(str(time.time()))
    if verb[0] == "pull":
        base.touch()
if verb[0] == "manifest":
    print('{{"config": {{"digest": "{DIGEST}"}}}}')
if verb[:2] == ["image", "inspect"]:
    print("{REPOSITORY}@{DIGEST}")
"""


@pytest.mark.parametrize("busy", [False, True], ids=["alone", "with other callers"])
def test_base_image_is_pulled_once_a_second_at_most(busy: bool, build: Build) -> None:
    """public.ecr.aws answers callers who are not signed in once a second; two builds at the same time are two callers."""
    docker = build.desk.home / "bin" / "pulls"
    docker.write_text(PULLS)
    docker.chmod(0o755)
    build.desk.take_time()
    build.desk.answer("docker", "^(pull|build --[^q]|image inspect|manifest)", real=str(docker))
    if busy:
        (build.desk.home / "last").write_text(str(time.time() + 2))
    assert build.run(), (build.desk.home / "log").read_text()
    pulls = build.calls("docker pull")
    assert {call.split()[-1] for call in pulls} == {stages()["base"][0].split()[1]}
    assert len(pulls) <= 2 or busy, "the first may come too soon after the question for the tag"


def test_base_image_that_cannot_be_pulled_fails_the_build(build: Build) -> None:
    build.desk.answer("docker", "^(pull|image inspect|manifest)", stderr="no\n", code=1)
    assert not build.run()
    assert [*built(build), *build.calls(DEPLOYS)] == []
    assert "image | cannot get public.ecr.aws/" in (build.desk.home / "log").read_text()


def test_registry_that_does_not_answer_fails_no_push_of_documents(build: Build) -> None:
    """The tag of the files alone finds their last image; it is not asked for while the base image is known."""
    build.desk.answer("docker", "^(pull .*public|manifest inspect|image inspect)", stderr="no\n", code=1)
    assert not build.run()
    (asked,) = {tag_of(call) for call in build.calls("curl") if "/files-" in call}
    build.desk.forget()
    digest = build.has_image(asked.rpartition("/")[2])
    assert build.run(), (build.desk.home / "log").read_text()
    assert built(build) == []
    assert build.calls(DEPLOYS) == [f"deploy {REPOSITORY}@{digest}"]
    assert "image | the registry of the base image does not answer: " in (build.desk.home / "log").read_text()


def test_image_of_the_same_files_is_reused(build: Build) -> None:
    digest = build.has_image()
    assert build.run()
    assert built(build) == []
    assert build.calls(DEPLOYS) == [f"deploy {REPOSITORY}@{digest}"]


def test_image_that_is_given_is_deployed_and_nothing_is_built(build: Build) -> None:
    """Production deploys what staging ran, whatever image ECR has for the commit now."""
    staged = f"{REPOSITORY}@sha256:{'e' * 64}"
    build.has_image()
    assert build.run(IMAGE=staged), (build.desk.home / "log").read_text()
    assert build.calls(DEPLOYS) == [f"deploy {staged}"]
    assert (build.calls("aws"), build.calls("docker pull"), build.calls("docker create")) == ([], [], [])
    assert built(build) == []
    assert artifact(build) == {"bom.txt"}
    said = (build.desk.checkout / "bom.txt").read_text()
    assert said == "The artifact Sbom of the stage Staging is of this image.\n"


@pytest.mark.parametrize("reused", [False, True])
def test_bill_of_materials_comes_out_of_the_image_before_it_is_deployed(reused: bool, build: Build) -> None:
    """So there is one if the image was not built here, and if the scan or the rollout then fails."""
    image = f"{REPOSITORY}@{build.has_image() if reused else DIGEST}"
    build.desk.answer("docker", "^create", stdout="abc123\n")
    build.desk.answer("docker", "^cp abc123:/bom.json bom.json$", real=str(copies_out(build)))
    build.desk.answer("deploy", REPOSITORY, code=1)
    assert not build.run()
    assert artifact(build) == {"bom.json"}
    lines = build.calls("docker create", "docker cp", "docker rm", DEPLOYS)
    copied = [f"docker create {image} none", "docker cp abc123:/bom.json bom.json", "docker rm abc123"]
    assert lines == [*copied, f"deploy {image}"]


def test_bill_of_materials_of_an_image_that_is_there_comes_without_its_other_layers(build: Build) -> None:
    digest = build.has_image(COMMIT, *STEPS, bill=b'{"of": "this image"}')
    assert build.run()
    assert (build.desk.checkout / "bom.json").read_text() == '{"of": "this image"}'
    assert artifact(build) == {"bom.json"}
    assert build.calls("docker pull 1", "docker create") == []
    assert len(build.calls("curl")) == 3, "manifest, configuration, one layer"
    assert build.calls(DEPLOYS) == [f"deploy {REPOSITORY}@{digest}"]


@pytest.mark.parametrize("steps", [STEPS[:1], (*STEPS, {"created_by": "RUN sed -i s/a/b/ /bom.json # buildkit"})])
def test_bill_of_materials_that_is_no_layer_of_its_own_is_copied_out(
    steps: tuple[dict[str, object], ...], build: Build
) -> None:
    digest = build.has_image(COMMIT, *steps)
    (build.desk.checkout / "bom.json").write_text("an old one\n")
    build.desk.answer("docker", "^cp", real=str(copies_out(build)))
    assert build.run()
    assert (build.desk.checkout / "bom.json").read_text() == "{}\n"
    assert build.calls("docker create") == [f"docker create {REPOSITORY}@{digest} none"]


def test_changed_layer_is_not_taken_for_the_bill(build: Build) -> None:
    build.has_image(COMMIT, *STEPS, bill=b'{"of": "this image"}')
    for file in (build.desk.home / "registry").iterdir():
        if file.read_bytes().startswith(b"\x1f\x8b"):
            file.write_bytes(b"changed")
    build.desk.answer("docker", "^cp", real=str(copies_out(build)))
    assert build.run()
    assert (build.desk.checkout / "bom.json").read_text() == "{}\n"


def artifact(build: Build) -> set[str]:
    """Return the names of the files that CodeBuild would pack."""
    spec = parse((ROOT / "buildspec.yml").read_text(encoding="utf-8"))
    assert spec.artifact is not None
    return set(zipfile.ZipFile(io.BytesIO(pack(spec.artifact, build.desk.checkout))).namelist())


def copies_out(build: Build) -> Path:
    """Return a program that does what ``docker cp`` would."""
    program = build.desk.home / "copies"
    program.write_text("#!/bin/sh\necho {} >bom.json\n")
    program.chmod(0o755)
    return program


def test_image_without_a_bill_of_materials_is_deployed(build: Build) -> None:
    """An own Dockerfile need not make one. CodeBuild fails a build whose artifact has no file, so there is another."""
    build.desk.answer("docker", "^cp", stderr="Error: No such container:path: abc123:/bom.json\n", code=1)
    assert build.run()
    assert (build.desk.checkout / "bom.txt").read_text() == "The image has no /bom.json.\n"
    assert artifact(build) == {"bom.txt"}


@pytest.mark.parametrize(
    ("tool", "pattern"),
    [("connect", ""), ("install-kubectl", ""), ("deploy", "--check"), ("curl", "manifests"), ("docker", "^login"), ("docker", "--target test"),
     ("docker", "^build --build-arg"), ("docker", "^push"), ("docker", "^create")],
    ids=lambda value: value.strip("^- ") or "fails",
)  # fmt: skip
def test_any_failure_prevents_the_deployment(tool: str, pattern: str, build: Build) -> None:
    build.desk.answer(tool, pattern, stderr="no\n", code=1)
    assert not build.run()
    assert build.calls(DEPLOYS) == []
    if pattern not in ("^push", "^create"):  # untested images get no tag but the cache's
        assert [line for line in build.calls("docker push") if tag_of(line) != "cache"] == []
    if tool != "docker":
        assert built(build) == []


def test_nothing_is_deployed_even_if_the_build_continues_after_a_failure(build: Build) -> None:
    """Without on-failure, CodeBuild runs post_build after a failed build phase."""
    file = build.desk.checkout / "buildspec.yml"
    file.write_text(file.read_text().replace("  build:\n    on-failure: ABORT", "  build:\n    on-failure: CONTINUE"))
    build.desk.answer("docker", "--target test", code=1)
    assert not build.run()
    log = (build.desk.home / "log").read_text()
    assert "\nAn earlier phase failed, so nothing is deployed.\n" in log
    assert build.calls("docker tag", DEPLOYS) == []


def test_failed_registry_login_fails_the_build(build: Build) -> None:
    """The registry login is a pipe, whose exit code without pipefail is that of its last command."""
    build.desk.answer("aws", "get-login-password", stderr="no\n", code=1)
    assert not build.run()
    assert [*built(build), *build.calls(DEPLOYS)] == []


def test_failed_deployment_fails_the_build(build: Build) -> None:
    build.desk.answer("deploy", REPOSITORY, code=1)
    assert not build.run()


def test_password_comes_by_a_pipe_and_is_removed(build: Build) -> None:
    assert build.run()
    assert (build.desk.home / "password").read_text() == PASSWORD
    assert (build.desk.home / "asked-as").read_text() == f'user = "AWS:{PASSWORD}"\n'
    assert PASSWORD not in json.dumps(build.desk.calls())
    assert PASSWORD not in (build.desk.home / "log").read_text()
    assert build.calls("docker")[-1] == f"docker logout {REPOSITORY.partition('/')[0]}"


def test_password_is_removed_after_a_failure(build: Build) -> None:
    build.desk.answer("deploy", REPOSITORY, code=1)
    assert not build.run()
    assert build.calls("docker")[-1].startswith("docker logout ")


# --- gunicorn.conf.py


def test_keepalive_outlasts_the_load_balancers_idle_timeout() -> None:
    """A Classic Load Balancer's idle timeout is 60 seconds. If the server closed first, a request could be lost."""
    assert runpy.run_path(str(ROOT / "gunicorn.conf.py"))["keepalive"] > 60


def test_server_listens_on_one_port_only() -> None:
    settings = runpy.run_path(str(ROOT / "gunicorn.conf.py"))
    assert settings["bind"] == "0.0.0.0:8080"
    assert settings["control_socket_disable"] is True
