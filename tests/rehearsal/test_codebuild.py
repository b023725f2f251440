"""The rules by which a buildspec runs: a table of buildspecs, each with what its phases and log must be."""

from __future__ import annotations

import io
import os
import socket
import subprocess
import threading
import time
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from rehearsal.codebuild import artifacts, credentials, environment, model, runner
from rehearsal.codebuild.buildspec import Artifact, BuildspecError, parse
from rehearsal.codebuild.container import Container
from rehearsal.codebuild.model import Build, PipelineJob, Record
from rehearsal.codebuild.runner import BuildRun
from rehearsal.emulator import service_role
from rehearsal.settings import Settings
from tests.support.paths import ROOT

pytestmark = pytest.mark.timeout(60)

INSTALL, PRE_BUILD, BUILD, POST_BUILD, UPLOAD = "INSTALL", "PRE_BUILD", "BUILD", "POST_BUILD", "UPLOAD_ARTIFACTS"


@dataclass(frozen=True)
class Case:
    """A buildspec's phases (``name: commands``, in YAML's flow style) and what becomes of them."""

    phases: str
    status: str = "SUCCEEDED"
    ran: tuple[str, ...] = (INSTALL, PRE_BUILD, BUILD, POST_BUILD, UPLOAD)
    failed: tuple[str, ...] = ()
    said: tuple[str, ...] = ()
    unsaid: tuple[str, ...] = ()
    head: str = ""
    context: tuple[str, str] = field(default=("", ""))


UP_TO_INSTALL = (INSTALL,)
UP_TO_PRE_BUILD = (INSTALL, PRE_BUILD)
UP_TO_BUILD = (INSTALL, PRE_BUILD, BUILD)

CASES = {
    "phases run in their order, whatever the file's": Case(
        "post_build: {commands: [echo 4]}\n  build: {commands: [echo 3]}\n  install: {commands: [echo 1]}\n"
        "  pre_build: {commands: [echo 2]}",
        said=("1", "2", "3", "4"),
    ),
    "a failed install ends the build": Case(
        "install: {commands: ['false', echo no]}\n  build: {commands: [echo no]}\n  post_build: {commands: [echo no]}",
        "FAILED", UP_TO_INSTALL, UP_TO_INSTALL, unsaid=("no",),
        context=("COMMAND_EXECUTION_ERROR", "Error while executing command: false. Reason: exit status 1"),
    ),
    "a failed pre_build ends the build": Case(
        "pre_build: {commands: ['false']}\n  build: {commands: [echo no]}\n  post_build: {commands: [echo no]}",
        "FAILED", UP_TO_PRE_BUILD, (PRE_BUILD,), unsaid=("no",),
    ),
    "post_build and the artifacts follow a failed build": Case(
        "build: {commands: ['false', echo no]}\n  post_build: {commands: [echo after]}",
        "FAILED", failed=(BUILD,), said=("after",), unsaid=("no",),
    ),
    "a failed post_build is followed by the artifacts": Case(
        "post_build: {commands: ['exit 9']}", "FAILED", failed=(POST_BUILD,),
        context=("COMMAND_EXECUTION_ERROR", "Error while executing command: exit 9. Reason: exit status 9"),
    ),
    "finally runs after success": Case("build: {commands: [echo a], finally: [echo b]}", said=("a", "b")),
    "finally runs after a failure": Case(
        "install: {commands: ['false'], finally: [echo tidied]}", "FAILED", UP_TO_INSTALL, UP_TO_INSTALL, said=("tidied",)
    ),
    "a failing finally fails its phase": Case(
        "build: {commands: [echo a], finally: ['false', echo no]}", "FAILED", failed=(BUILD,), said=("a",), unsaid=("no",)
    ),
    "on-failure ABORT ends the build after its finally": Case(
        "build: {on-failure: ABORT, commands: ['false'], finally: [echo tidied]}\n  post_build: {commands: [echo no]}",
        "FAILED", UP_TO_BUILD, (BUILD,), said=("tidied",), unsaid=("no",),
    ),
    "on-failure CONTINUE goes on, and the build has failed": Case(
        "install: {on-failure: CONTINUE, commands: ['false']}\n  build: {commands: [echo on]}",
        "FAILED", failed=(INSTALL,), said=("on",),
    ),
    "on-failure ABORT without a failure changes nothing": Case(
        "build: {on-failure: ABORT, commands: [echo a]}\n  post_build: {commands: [echo b]}", said=("a", "b")
    ),
    "CODEBUILD_BUILD_SUCCEEDING is 1, and 0 after a failure": Case(
        "pre_build: {commands: ['echo pre=$CODEBUILD_BUILD_SUCCEEDING']}\n"
        "  build: {commands: ['false'], finally: ['echo end=$CODEBUILD_BUILD_SUCCEEDING']}\n"
        "  post_build: {commands: ['echo post=$CODEBUILD_BUILD_SUCCEEDING']}",
        "FAILED", failed=(BUILD,), said=("pre=1", "end=0", "post=0"),
    ),
    "variables carry over, exported or not": Case(
        "install: {commands: [A=1, export B=2]}\n  build: {commands: ['echo $A$B', 'sh -c \"echo child=$A\"']}",
        said=("12", "child=1"),
    ),
    "the directory carries over": Case(
        "install: {commands: [mkdir -p x/y, cd x/y]}\n  build: {commands: ['basename $PWD', 'cd $CODEBUILD_SRC_DIR; ls']}",
        said=("y", "x"),
    ),
    "set -e ends with its command": Case(
        "build: {commands: [set -e, 'false || true; echo on']}", said=("on",)
    ),
    "set -e within a command counts": Case(
        "build: {commands: ['set -e; false; echo no']}", "FAILED", failed=(BUILD,), unsaid=("no",)
    ),
    "without it the last status counts": Case("build: {commands: ['false; echo on']}", said=("on",)),
    "exit 0 ends the command alone": Case("build: {commands: [A=1; exit 0, 'echo next=$A']}", said=("next=1",)),
    "a trap of the command's own runs": Case(
        "build: {commands: ['trap \"echo bye\" EXIT; A=1', 'echo a=$A']}", said=("bye", "a=1")
    ),
    "values with quotes and line ends survive": Case(
        "build: {commands: ['A=\"it''s \\\"b\\\"\"; B=$(printf \"x\\ny\")', 'echo \"[$A]\"; echo \"$B\" | wc -l | tr -d \" \"']}",
        said=('[it\'s "b"]', "2"),
    ),
    "/bin/sh is the default shell": Case("build: {commands: ['echo bash=$BASH_VERSION.']}", said=("bash=.",)),
    "bash on request": Case(
        "build: {commands: ['[[ -n $BASH_VERSION ]] && echo yes']}", said=("yes",), head="env: {shell: bash}"
    ),
    "env variables": Case(
        "build: {commands: ['echo $WORD']}", said=("hello",), head="env: {variables: {WORD: hello}}"
    ),
    "the project's variables win over the buildspec's": Case(
        "build: {commands: ['echo $OF_PROJECT']}", said=("project",), head="env: {variables: {OF_PROJECT: buildspec}}"
    ),
    "nothing of the host's environment": Case(
        "build: {commands: ['echo secret=$HOST_SECRET.', 'echo home=$(basename $HOME)']}", said=("secret=.", "home=home")
    ),
    "no input": Case("build: {commands: ['read -r line; echo got=$?.']}", said=("got=1.",)),
    "standard error is in the log": Case("build: {commands: [echo oops >&2]}", said=("oops",)),
    "a command that does not exist": Case(
        "build: {commands: [nonesuch]}", "FAILED", failed=(BUILD,),
        context=("COMMAND_EXECUTION_ERROR", "Error while executing command: nonesuch. Reason: exit status 127"),
    ),
    "a command that is not shell": Case("build: {commands: ['if']}", "FAILED", failed=(BUILD,)),
    "a command of several lines": Case(
        "build:\n    commands:\n      - |\n        for n in 1 2; do\n          echo n=$n\n        done", said=("n=1", "n=2")
    ),
    "a background process does not hold the build": Case("build: {commands: ['sleep 300 &', echo on]}", said=("on",)),
    "runtime versions are accepted": Case(
        "install: {runtime-versions: {python: 3.13}}\n  build: {commands: [echo on]}", said=("on",)
    ),
    "secrets are not shown": Case("build: {commands: ['echo [$HIDDEN]']}", said=("[***]",), unsaid=("[s3cret]",)),
    "an output artifact": Case(
        "build: {commands: [mkdir out; echo x >out/a; echo y >b]}", head="artifacts: {files: ['out/*', b]}"
    ),
}  # fmt: skip


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings whose state lies in a temporary directory, and a service role that is granted everything."""
    made = Settings(cache=tmp_path)
    for module in (runner, model, environment, credentials):
        monkeypatch.setattr(module, "settings", made)
    role = service_role.Credentials("arn:aws:iam::111122223333:role/r", "ASIA", "secret", "token", time.time() + 60)
    monkeypatch.setattr(service_role, "assume", lambda *_: role)
    monkeypatch.setattr(credentials, "grant", lambda *_: {})
    monkeypatch.setattr(environment, "_secret", lambda *_: "s3cret")
    monkeypatch.setenv("HOST_SECRET", "leaked")
    return made


def prepare(text: str, job: PipelineJob | None = None, **project: Any) -> BuildRun:
    """A build with an inline buildspec, on no AWS at all."""
    data = {
        "id": f"p:{os.urandom(4).hex()}", "arn": "arn", "buildNumber": 1, "startTime": time.time(), "initiator": "me",
        "sourceVersion": "", "logs": {}, "phases": [], "buildStatus": "IN_PROGRESS", "buildComplete": False,
    }  # fmt: skip
    whole = {
        "name": "p", "arn": "arn", "serviceRole": "r", "environment": {}, "timeoutInMinutes": 5,
        "source": {"type": "NO_SOURCE", "buildspec": text}, **project,
    }  # fmt: skip
    variables = [
        {"name": "OF_PROJECT", "type": "PLAINTEXT", "value": "project"},
        {"name": "HIDDEN", "type": "SECRETS_MANAGER", "value": "x"},
    ]
    return BuildRun(Build(Record(data), whole, variables, job))


def log_of(place: Settings, build: BuildRun) -> list[str]:
    return (place.run / "builds" / f"{build.record['id'].partition(':')[2]}.log").read_text().splitlines()


@pytest.mark.parametrize("name", CASES)
def test_rule(name: str, place: Settings) -> None:
    case = CASES[name]
    build = prepare(f"version: 0.2\n{case.head}\nphases:\n  {case.phases}\n")
    began = time.monotonic()
    build.run()
    record = build.record.snapshot()
    lines = [line for line in log_of(place, build) if not line.startswith("[Container]")]
    assert record["buildStatus"] == case.status, lines
    phases = {one["phaseType"]: one for one in record["phases"]}
    assert tuple(name for name in phases if name in (*UP_TO_BUILD, POST_BUILD, UPLOAD)) == case.ran
    assert tuple(name for name, one in phases.items() if one.get("phaseStatus") == "FAILED") == case.failed
    for line in case.said:
        assert line in lines
    for line in case.unsaid:
        assert line not in lines
    if case.context[0]:
        context = phases[case.failed[0]]["contexts"][0]
        assert (context["statusCode"], context["message"]) == case.context
    assert list(phases)[-2:] == ["FINALIZING", "COMPLETED"]
    assert time.monotonic() - began < 20


WRONG = {
    "not YAML": ("version: 0.2\nphases: [", "while parsing|expected"),
    "a tab": ("version: 0.2\nphases:\n\tbuild:", "found character '\\\\t' that cannot start any token at line 3"),
    "no version": ("phases: {build: {commands: [x]}}", "version is missing"),
    "version 0.1": ("version: 0.1\nphases: {build: {commands: [x]}}", "version 0.1"),
    "no phases": ("version: 0.2", "phases: a mapping is required"),
    "an unknown phase": (
        "version: 0.2\nphases: {test: {commands: [x]}}",
        "Invalid buildspec phase name: test. Expecting: build,install,post_build,pre_build",
    ),
    "an unknown key at the top": ("version: 0.2\nphase: {}", "unknown key phase"),
    "an unknown key in a phase": ("version: 0.2\nphases: {build: {command: [x]}}", "unknown key command"),
    "an unknown key in env": ("version: 0.2\nenv: {vars: {}}\nphases: {build: {commands: [x]}}", "env: unknown key vars"),
    "a colon in a command": (
        "version: 0.2\nphases:\n  build:\n    commands:\n      - a\n      - echo Note: this\n",
        r"Expected Commands\[1\] to be of string type: found subkeys instead at line 6",
    ),
    "commands that are no list": ("version: 0.2\nphases: {build: {commands: x}}", "phases/build/commands: a list"),
    "no commands": ("version: 0.2\nphases: {build: {commands: []}}", "at least one command"),
    "an unknown on-failure": ("version: 0.2\nphases: {build: {commands: [x], on-failure: STOP}}", "ABORT, CONTINUE"),
    "a retry": ("version: 0.2\nphases: {build: {commands: [x], on-failure: RETRY-2}}", "RETRY-2 is not supported"),
    "an unknown shell": ("version: 0.2\nenv: {shell: zsh}\nphases: {build: {commands: [x]}}", "zsh is not one of"),
    "a reserved variable": (
        "version: 0.2\nenv: {variables: {CODEBUILD_X: y}}\nphases: {build: {commands: [x]}}", "CODEBUILD_ are reserved"
    ),
    "an unknown runtime": ("version: 0.2\nphases: {install: {runtime-versions: {cobol: 1}}}", "Unknown runtime named 'cobol'"),
    "runtimes in another phase": ("version: 0.2\nphases: {build: {runtime-versions: {python: 3}}}", "only the install phase"),
    "reports": ("version: 0.2\nreports: {}\nphases: {build: {commands: [x]}}", "reports is not supported"),
    "a list": ("- version: 0.2", "the buildspec: a mapping is required"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_wrong_buildspec(name: str) -> None:
    text, expected = WRONG[name]
    with pytest.raises(BuildspecError, match=expected):
        parse(text)


@pytest.mark.usefixtures("place")
def test_wrong_buildspec_fails_the_source_phase() -> None:
    build = prepare("version: 0.2\nphases: {tests: {}}\n")
    build.run()
    phases = {one["phaseType"]: one for one in build.record.snapshot()["phases"]}
    assert build.record["buildStatus"] == "FAILED"
    assert phases["DOWNLOAD_SOURCE"]["contexts"][0]["statusCode"] == "YAML_FILE_ERROR"
    assert INSTALL not in phases


@pytest.mark.usefixtures("place")
def test_missing_buildspec() -> None:
    build = prepare("")
    build.run()
    phase = build.record.snapshot()["phases"][1]
    assert "buildspec.yml: no such file or directory" in phase["contexts"][0]["message"]


def test_tutorial_buildspec_is_accepted() -> None:
    text = (ROOT / "buildspec.yml").read_text()
    assert set(parse(text).phases) <= {"install", "pre_build", "build", "post_build"}


@pytest.mark.usefixtures("place")
def test_timeout() -> None:
    build = prepare("version: 0.2\nphases: {build: {commands: ['sleep 60 & sleep 60']}}\n", timeoutInMinutes=0.02)
    began = time.monotonic()
    build.run()
    assert time.monotonic() - began < 8
    assert build.record["buildStatus"] == "TIMED_OUT", build.record.snapshot()["phases"]
    phase = next(one for one in build.record.snapshot()["phases"] if one["phaseType"] == BUILD)
    assert phase["phaseStatus"] == "TIMED_OUT"


@pytest.mark.usefixtures("place")
def test_stop() -> None:
    build = prepare("version: 0.2\nphases: {build: {commands: ['sleep 60']}}\n")
    thread = threading.Thread(target=build.run)
    thread.start()
    while build.record.snapshot().get("currentPhase") != BUILD:
        time.sleep(0.01)
    build.stop()
    thread.join(8)
    assert build.record["buildStatus"] == "STOPPED"


@pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root")
@pytest.mark.usefixtures("place")
def test_nothing_of_a_build_stays() -> None:
    build = prepare("version: 0.2\nphases: {build: {commands: ['setsid sleep 98765 & exit 0']}}\n")
    build.run()
    assert build.record["buildStatus"] == "SUCCEEDED"
    found = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert "sleep 98765" not in found


@pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root")
def test_only_a_privileged_build_has_docker(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as engine:
        engine.bind(str(tmp_path / "s"))
        for given, expected in ((tmp_path / "s", 0), (None, 1)):
            container = Container(given)
            try:
                assert (
                    subprocess.run([*container.enter, "test", "-S", "/var/run/docker.sock"], check=False).returncode
                    == expected
                )
            finally:
                container.stop()


@pytest.mark.usefixtures("place")
def test_exported_variables() -> None:
    text = "version: 0.2\nenv: {exported-variables: [A, B, C]}\nphases: {build: {commands: [A=1, B=2, 'exit 3']}}\n"
    build = prepare(text)
    build.run()
    exported = build.record.snapshot()["exportedEnvironmentVariables"]
    assert exported == [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]


def test_custom_cache_is_there_the_next_time(place: Settings) -> None:
    text = "version: 0.2\ncache: {paths: ['c/**/*']}\nphases: {build: {commands: ['cat c/d/e || true', mkdir -p c/d; echo kept >c/d/e]}}\n"
    cache = {"type": "LOCAL", "modes": ["LOCAL_CUSTOM_CACHE"]}
    for expected in (False, True):
        build = prepare(text, cache=cache)
        build.run()
        assert ("kept" in log_of(place, build)) is expected


def zip_of(**files: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def test_artifact_that_would_leave_the_source(tmp_path: Path) -> None:
    with pytest.raises(artifacts.ArtifactError, match="outside"):
        artifacts.unpack(zip_of(**{"../evil": "x"}), tmp_path / "src")
    with pytest.raises(artifacts.ArtifactError, match="not a zip file"):
        artifacts.unpack(b"no", tmp_path / "src")


PACKED = {
    "every file": (Artifact(("**/*",)), {"a", "d/b", "d/e/c"}),
    "a directory": (Artifact(("d/*",)), {"d/b"}),
    "a base directory": (Artifact(("**/*",), base_directory="d"), {"b", "e/c"}),
    "no paths": (Artifact(("**/*",), discard_paths=True), {"a", "b", "c"}),
    "without some": (Artifact(("**/*",), exclude_paths=("d/e/*",)), {"a", "d/b"}),
}


@pytest.mark.parametrize("name", PACKED)
def test_pack(name: str, tmp_path: Path) -> None:
    artifact, expected = PACKED[name]
    (tmp_path / "d" / "e").mkdir(parents=True)
    for file in ("a", "d/b", "d/e/c"):
        (tmp_path / file).write_text(file)
    names = zipfile.ZipFile(io.BytesIO(artifacts.pack(artifact, tmp_path))).namelist()
    assert set(names) == expected


def test_nothing_to_pack(tmp_path: Path) -> None:
    with pytest.raises(artifacts.ArtifactError, match="no matching artifact paths found"):
        artifacts.pack(Artifact(("none",)), tmp_path)


TRUST = {
    "the service": ({"Principal": {"Service": "codebuild.amazonaws.com"}}, True),
    "one of several services": ({"Principal": {"Service": ["ec2.amazonaws.com", "codebuild.amazonaws.com"]}}, True),
    "another service": ({"Principal": {"Service": "ec2.amazonaws.com"}}, False),
    "the account": ({"Principal": {"AWS": "arn:aws:iam::111122223333:root"}}, False),
    "this project": (
        {"Principal": {"Service": "codebuild.amazonaws.com"}, "Condition": {"ArnEquals": {"aws:SourceArn": "arn:aws:codebuild:us-east-2:111122223333:project/p"}}},
        True,
    ),
    "another project": (
        {"Principal": {"Service": "codebuild.amazonaws.com"}, "Condition": {"ArnLike": {"aws:SourceArn": "arn:aws:codebuild:*:111122223333:project/q"}}},
        False,
    ),
    "another account": (
        {"Principal": {"Service": "codebuild.amazonaws.com"}, "Condition": {"StringEquals": {"aws:SourceAccount": "999900001111"}}},
        False,
    ),
    "another action": ({"Principal": {"Service": "codebuild.amazonaws.com"}, "Action": "sts:TagSession"}, False),
    "a denial": ({"Principal": {"Service": "codebuild.amazonaws.com"}, "Effect": "Deny"}, False),
}  # fmt: skip


@pytest.mark.parametrize("name", TRUST)
def test_trust_of_a_service(name: str) -> None:
    statement, expected = TRUST[name]
    document = {"Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", **statement}]}
    project = "arn:aws:codebuild:us-east-2:111122223333:project/p"
    assert (
        service_role.trusts(document, "arn:aws:iam::111122223333:role/r", "codebuild.amazonaws.com", project)
        is expected
    )
