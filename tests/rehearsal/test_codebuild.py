"""CodeBuild's rules for buildspecs: a table of buildspecs, each with the phases and the log it must produce."""

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
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from rehearsal import waiting
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
    """A buildspec's phases and the expected result.

    ``phases`` has ``name: commands`` in YAML's flow style, and ``head`` is what precedes it. ``ran`` and ``failed`` are
    phases, ``logged`` and ``not_logged`` are lines of the log, and ``context`` is the first failed phase's.
    """

    phases: str
    status: str = "SUCCEEDED"
    ran: tuple[str, ...] = (INSTALL, PRE_BUILD, BUILD, POST_BUILD, UPLOAD)
    failed: tuple[str, ...] = ()
    logged: tuple[str, ...] = ()
    not_logged: tuple[str, ...] = ()
    head: str = ""
    context: tuple[str, str] = field(default=("", ""))


UP_TO_INSTALL = (INSTALL,)
UP_TO_PRE_BUILD = (INSTALL, PRE_BUILD)
UP_TO_BUILD = (INSTALL, PRE_BUILD, BUILD)

CASES = {
    "phases run in their own order, not in the file's": Case(
        "post_build: {commands: [echo 4]}\n  build: {commands: [echo 3]}\n  install: {commands: [echo 1]}\n"
        "  pre_build: {commands: [echo 2]}",
        logged=("1", "2", "3", "4"),
    ),
    "a failed install ends the build": Case(
        "install: {commands: ['false', echo no]}\n  build: {commands: [echo no]}\n  post_build: {commands: [echo no]}",
        "FAILED", UP_TO_INSTALL, UP_TO_INSTALL, not_logged=("no",),
        context=("COMMAND_EXECUTION_ERROR", "Error while executing command: false. Reason: exit status 1"),
    ),
    "a failed pre_build ends the build": Case(
        "pre_build: {commands: ['false']}\n  build: {commands: [echo no]}\n  post_build: {commands: [echo no]}",
        "FAILED", UP_TO_PRE_BUILD, (PRE_BUILD,), not_logged=("no",),
    ),
    "post_build and the artifacts follow a failed build phase": Case(
        "build: {commands: ['false', echo no]}\n  post_build: {commands: [echo after]}",
        "FAILED", failed=(BUILD,), logged=("after",), not_logged=("no",),
    ),
    "the artifacts follow a failed post_build": Case(
        "post_build: {commands: ['exit 9']}", "FAILED", failed=(POST_BUILD,),
        context=("COMMAND_EXECUTION_ERROR", "Error while executing command: exit 9. Reason: exit status 9"),
    ),
    "finally runs after success": Case("build: {commands: [echo a], finally: [echo b]}", logged=("a", "b")),
    "finally runs after a failure": Case(
        "install: {commands: ['false'], finally: [echo tidied]}", "FAILED", UP_TO_INSTALL, UP_TO_INSTALL, logged=("tidied",)
    ),
    "a failing finally fails its phase": Case(
        "build: {commands: [echo a], finally: ['false', echo no]}", "FAILED", failed=(BUILD,), logged=("a",), not_logged=("no",)
    ),
    "on-failure ABORT ends the build after its finally": Case(
        "build: {on-failure: ABORT, commands: ['false'], finally: [echo tidied]}\n  post_build: {commands: [echo no]}",
        "FAILED", UP_TO_BUILD, (BUILD,), logged=("tidied",), not_logged=("no",),
    ),
    "on-failure CONTINUE runs the other phases, and the build fails": Case(
        "install: {on-failure: CONTINUE, commands: ['false']}\n  build: {commands: [echo on]}",
        "FAILED", failed=(INSTALL,), logged=("on",),
    ),
    "on-failure ABORT without a failure changes nothing": Case(
        "build: {on-failure: ABORT, commands: [echo a]}\n  post_build: {commands: [echo b]}", logged=("a", "b")
    ),
    "CODEBUILD_BUILD_SUCCEEDING is 1, and 0 after a failure": Case(
        "pre_build: {commands: ['echo pre=$CODEBUILD_BUILD_SUCCEEDING']}\n"
        "  build: {commands: ['false'], finally: ['echo end=$CODEBUILD_BUILD_SUCCEEDING']}\n"
        "  post_build: {commands: ['echo post=$CODEBUILD_BUILD_SUCCEEDING']}",
        "FAILED", failed=(BUILD,), logged=("pre=1", "end=0", "post=0"),
    ),
    "variables carry over, exported or not": Case(
        "install: {commands: [A=1, export B=2]}\n  build: {commands: ['echo $A$B', 'sh -c \"echo child=$A\"']}",
        logged=("12", "child=1"),
    ),
    "the directory carries over": Case(
        "install: {commands: [mkdir -p x/y, cd x/y]}\n  build: {commands: ['basename $PWD', 'cd $CODEBUILD_SRC_DIR; ls']}",
        logged=("y", "x"),
    ),
    "set -e does not outlive its command": Case(
        "build: {commands: [set -e, 'false || true; echo on']}", logged=("on",)
    ),
    "set -e applies within its command": Case(
        "build: {commands: ['set -e; false; echo no']}", "FAILED", failed=(BUILD,), not_logged=("no",)
    ),
    "without set -e the last status counts": Case("build: {commands: ['false; echo on']}", logged=("on",)),
    "exit 0 ends only the command": Case("build: {commands: [A=1; exit 0, 'echo next=$A']}", logged=("next=1",)),
    "a command's own trap runs": Case(
        "build: {commands: ['trap \"echo bye\" EXIT; A=1', 'echo a=$A']}", logged=("bye", "a=1")
    ),
    "values with quotes and line ends carry over": Case(
        "build: {commands: ['A=\"it''s \\\"b\\\"\"; B=$(printf \"x\\ny\")', 'echo \"[$A]\"; echo \"$B\" | wc -l | tr -d \" \"']}",
        logged=('[it\'s "b"]', "2"),
    ),
    "/bin/sh is the default shell": Case("build: {commands: ['echo bash=$BASH_VERSION.']}", logged=("bash=.",)),
    "bash on request": Case(
        "build: {commands: ['[[ -n $BASH_VERSION ]] && echo yes']}", logged=("yes",), head="env: {shell: bash}"
    ),
    "env/variables are set": Case(
        "build: {commands: ['echo $WORD']}", logged=("hello",), head="env: {variables: {WORD: hello}}"
    ),
    "the project's variables take precedence over the buildspec's": Case(
        "build: {commands: ['echo $OF_PROJECT']}", logged=("project",), head="env: {variables: {OF_PROJECT: buildspec}}"
    ),
    "the host's environment is not visible": Case(
        "build: {commands: ['echo secret=$HOST_SECRET.', 'echo home=$(basename $HOME)']}", logged=("secret=.", "home=home")
    ),
    "standard input is empty": Case("build: {commands: ['read -r line; echo got=$?.']}", logged=("got=1.",)),
    "standard error is in the log": Case("build: {commands: [echo oops >&2]}", logged=("oops",)),
    "a command that does not exist": Case(
        "build: {commands: [nonesuch]}", "FAILED", failed=(BUILD,),
        context=("COMMAND_EXECUTION_ERROR", "Error while executing command: nonesuch. Reason: exit status 127"),
    ),
    "a command that is not shell": Case("build: {commands: ['if']}", "FAILED", failed=(BUILD,)),
    "a command of several lines": Case(
        "build:\n    commands:\n      - |\n        for n in 1 2; do\n          echo n=$n\n        done", logged=("n=1", "n=2")
    ),
    "a background process does not delay the build": Case("build: {commands: ['sleep 300 &', echo on]}", logged=("on",)),
    "runtime versions are accepted": Case(
        "install: {runtime-versions: {python: 3.13}}\n  build: {commands: [echo on]}", logged=("on",)
    ),
    "secrets are masked in the log": Case("build: {commands: ['echo [$HIDDEN]']}", logged=("[***]",), not_logged=("[s3cret]",)),
    "an output artifact": Case(
        "build: {commands: [mkdir out; echo x >out/a; echo y >b]}", head="artifacts: {files: ['out/*', b]}"
    ),
}  # fmt: skip


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings with a temporary state directory, and a service role without AWS."""
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
    """Return a build of an inline buildspec, without AWS."""
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
def test_buildspec_runs_as_documented(name: str, place: Settings) -> None:
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
    for line in case.logged:
        assert line in lines
    for line in case.not_logged:
        assert line not in lines
    if case.context[0]:
        context = phases[case.failed[0]]["contexts"][0]
        assert (context["statusCode"], context["message"]) == case.context
    assert list(phases)[-2:] == ["FINALIZING", "COMPLETED"]
    assert time.monotonic() - began < 20


INVALID = {
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
    "commands that are not a list": ("version: 0.2\nphases: {build: {commands: x}}", "phases/build/commands: a list"),
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


@pytest.mark.parametrize("name", INVALID)
def test_rejects_an_invalid_buildspec(name: str) -> None:
    text, expected = INVALID[name]
    with pytest.raises(BuildspecError, match=expected):
        parse(text)


@pytest.mark.usefixtures("place")
def test_invalid_buildspec_fails_download_source() -> None:
    build = prepare("version: 0.2\nphases: {tests: {}}\n")
    build.run()
    phases = {one["phaseType"]: one for one in build.record.snapshot()["phases"]}
    assert build.record["buildStatus"] == "FAILED"
    assert phases["DOWNLOAD_SOURCE"]["contexts"][0]["statusCode"] == "YAML_FILE_ERROR"
    assert INSTALL not in phases


@pytest.mark.usefixtures("place")
def test_missing_buildspec_is_named_in_the_failure() -> None:
    build = prepare("")
    build.run()
    phase = build.record.snapshot()["phases"][1]
    assert "buildspec.yml: no such file or directory" in phase["contexts"][0]["message"]


def test_accepts_the_tutorials_buildspec() -> None:
    text = (ROOT / "buildspec.yml").read_text()
    assert set(parse(text).phases) <= {"install", "pre_build", "build", "post_build"}


@pytest.mark.usefixtures("place")
def test_build_that_exceeds_its_timeout_is_killed() -> None:
    build = prepare("version: 0.2\nphases: {build: {commands: ['sleep 60 & sleep 60']}}\n", timeoutInMinutes=0.02)
    began = time.monotonic()
    build.run()
    assert time.monotonic() - began < 8
    assert build.record["buildStatus"] == "TIMED_OUT", build.record.snapshot()["phases"]
    phase = next(one for one in build.record.snapshot()["phases"] if one["phaseType"] == BUILD)
    assert phase["phaseStatus"] == "TIMED_OUT"


@pytest.mark.usefixtures("place")
def test_stopped_build_is_killed() -> None:
    build = prepare("version: 0.2\nphases: {build: {commands: ['sleep 60']}}\n")
    thread = threading.Thread(target=build.run)
    thread.start()
    waiting.until(lambda: build.record.snapshot().get("currentPhase") == BUILD, 10, "the BUILD phase", pause=0.01)
    build.stop()
    thread.join(8)
    assert build.record["buildStatus"] == "STOPPED"


@pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root")
@pytest.mark.usefixtures("place")
def test_background_processes_end_with_the_build() -> None:
    build = prepare("version: 0.2\nphases: {build: {commands: ['setsid sleep 98765 & exit 0']}}\n")
    build.run()
    assert build.record["buildStatus"] == "SUCCEEDED"
    assert ["sleep", "98765"] not in [process.info["cmdline"] for process in psutil.process_iter(["cmdline"])]


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
def test_exports_the_variables_that_are_set() -> None:
    text = "version: 0.2\nenv: {exported-variables: [A, B, C]}\nphases: {build: {commands: [A=1, B=2, 'exit 3']}}\n"
    build = prepare(text)
    build.run()
    exported = build.record.snapshot()["exportedEnvironmentVariables"]
    assert exported == [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]


def test_custom_cache_is_restored_in_the_next_build(place: Settings) -> None:
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


def test_rejects_a_source_that_would_write_elsewhere(tmp_path: Path) -> None:
    with pytest.raises(artifacts.ArtifactError, match="outside"):
        artifacts.unpack(zip_of(**{"../evil": "x"}), tmp_path / "src")
    with pytest.raises(artifacts.ArtifactError, match="not a zip file"):
        artifacts.unpack(b"no", tmp_path / "src")


PACKED = {
    "every file": (Artifact(("**/*",)), {"a", "d/b", "d/e/c"}),
    "a directory": (Artifact(("d/*",)), {"d/b"}),
    "a base directory": (Artifact(("**/*",), base_directory="d"), {"b", "e/c"}),
    "discarded paths": (Artifact(("**/*",), discard_paths=True), {"a", "b", "c"}),
    "excluded paths": (Artifact(("**/*",), exclude_paths=("d/e/*",)), {"a", "d/b"}),
}


@pytest.mark.parametrize("name", PACKED)
def test_packs_the_files_of_an_artifact(name: str, tmp_path: Path) -> None:
    artifact, expected = PACKED[name]
    (tmp_path / "d" / "e").mkdir(parents=True)
    for file in ("a", "d/b", "d/e/c"):
        (tmp_path / file).write_text(file)
    names = zipfile.ZipFile(io.BytesIO(artifacts.pack(artifact, tmp_path))).namelist()
    assert set(names) == expected


#: By the artifacts of a buildspec: the names in the zip, or the message of the phase that fails.
UPLOADED = {
    "a file": ("{files: ['out/*']}", {"out/a"}),
    "without its directory": ("{files: ['out/*'], discard-paths: yes}", {"a"}),
    "one of two": ("{files: [none, out/a]}", {"out/a"}),
    "a file that is missing": ("{files: ['none.*']}", "no matching artifact paths found"),
    "a base directory that is missing": ("{files: [a], base-directory: dist}", "no matching base directory path found for dist"),
    "nothing": ("{}", set()),
}  # fmt: skip


@pytest.mark.parametrize("name", UPLOADED)
def test_output_artifact_goes_to_the_pipelines_bucket(
    name: str, place: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, expected = UPLOADED[name]
    stored: dict[tuple[str, str], bytes] = {}
    client = SimpleNamespace(
        get_object=lambda **_: {"Body": io.BytesIO(zip_of(nothing=""))},
        put_object=lambda **what: stored.update({(what["Bucket"], what["Key"]): what["Body"]}),
    )
    monkeypatch.setattr(service_role.Credentials, "client", lambda *_: client)
    text = f"version: 0.2\nphases: {{build: {{commands: [mkdir out, echo x >out/a]}}}}\nartifacts: {given}\n"
    build = prepare(text, PipelineJob("p", "bucket", "p/App/1", "commit", outputs={"Sbom": "p/Sbom/2"}))
    build.run()
    phases = {one["phaseType"]: one for one in build.record.snapshot()["phases"]}
    context = phases[UPLOAD]["contexts"][0]
    if isinstance(expected, str):
        assert (build.record["buildStatus"], stored) == ("FAILED", {})
        assert (context["statusCode"], context["message"]) == ("CLIENT_ERROR", expected)
        return
    assert (build.record["buildStatus"], context["message"]) == ("SUCCEEDED", "")
    packed = {key: set(zipfile.ZipFile(io.BytesIO(body)).namelist()) for key, body in stored.items()}
    assert packed == ({("bucket", "p/Sbom/2"): expected} if expected else {})
    assert any(line.endswith("Found 1 file(s)") for line in log_of(place, build)) is bool(expected)


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
def test_trust_policy_decides_who_may_assume_the_role(name: str) -> None:
    statement, expected = TRUST[name]
    document = {"Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", **statement}]}
    project = "arn:aws:codebuild:us-east-2:111122223333:project/p"
    assert (
        service_role.trusts(document, "arn:aws:iam::111122223333:role/r", "codebuild.amazonaws.com", project)
        is expected
    )
