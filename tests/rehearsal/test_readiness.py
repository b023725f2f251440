"""What a directory with an own app must have, and the report's verdicts over made-up observations."""

from __future__ import annotations

import contextlib
import re
import subprocess
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from rehearsal import rehearse
from rehearsal.__main__ import main
from rehearsal.readiness import directory, report
from rehearsal.readiness.manifest import read_manifest, size
from rehearsal.readiness.rollouts import Event
from rehearsal.readiness.trial import Sample, Trial
from rehearsal.settings import settings
from tests.support.paths import ROOT

APP = "from flask import Flask\n\napp = Flask(__name__)\n"
MANIFEST = read_manifest(ROOT / "deployment.yml")
MIB = 1024 * 1024
PKG_INFO = "Metadata-Version: 2.1\nName: nest\nVersion: 1.0\n"


def made(path: Path, files: dict[str, str | None] | None = None) -> Path:
    """Write a directory with an app, and more ``files`` by name; None removes one."""
    for name, text in {"app.py": APP, "requirements.txt": "flask --hash=sha256:0\n", **(files or {})}.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        if text is not None:
            (path / name).write_text(text)
    return path


def git(path: Path, *args: str) -> None:
    identity = ["-c", "user.name=T", "-c", "user.email=t@example.com", "-c", "protocol.file.allow=always"]
    subprocess.run(["git", *identity, *args], cwd=path, check=True, capture_output=True, timeout=60)


# The directory


@pytest.mark.parametrize(
    ("files", "target"),
    [
        ({}, "app:app"),
        ({"app.py": None, "wsgi.py": "from shop import application\n"}, "wsgi:application"),
        ({"app.py": None, "shop/__init__.py": "def create_app(config=None): ...\n"}, "shop:create_app()"),
        ({"app.py": None, "shop/__init__.py": "", "shop/main.py": APP}, "shop.main:app"),
        ({"app.py": "def create_app(): ...\nif __name__ == '__main__':\n    app = create_app()\n"}, "app:create_app()"),
        ({"app.py": "def create_app(config): ...\n", "wsgi.py": APP}, "wsgi:app"),
        ({"app.py": None, "gunicorn.conf.py": "wsgi_app = 'x:y'\n"}, ""),
    ],
)
def test_finds_the_app(tmp_path: Path, files: dict[str, str | None], target: str) -> None:
    assert directory.read(made(tmp_path, files)).target == target


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("app.py", "from flask import Flask\n", "has no Flask app called app and no function create_app"),
        ("app.py", "def broken(:\n", "app.py is not valid Python"),
        ("requirements.txt", None, "has no requirements.txt: list the app's packages there"),
        ("Dockerfile", "FROM x\n", "Dockerfile needs a .dockerignore"),
        ("deployment.yml", "a: [\n", "deployment.yml is not valid YAML"),
        ("deployment.yml", "kind: Service\n", 'deployment.yml needs a Deployment with "image: CONTAINER_IMAGE"'),
        ("logo.png", "version https://git-lfs.github.com/spec/v1\noid x\n", "logo.png is stored with Git LFS"),
    ],
)
def test_refuses_in_one_line(
    tmp_path: Path,
    name: str,
    text: str | None,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    made(tmp_path, {name: text})
    monkeypatch.setattr("sys.argv", ["rehearse.sh", "--app", str(tmp_path)])
    monkeypatch.setattr("signal.signal", lambda *_: None)  # this process is the tests'
    monkeypatch.setattr(rehearse.lifecycle, "exclusive", pytest.fail)  # with it a rehearsal would begin
    assert main() == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    (line,) = printed.err.splitlines()
    assert said in line


def test_refuses_a_stage_that_the_build_needs(tmp_path: Path) -> None:
    made(tmp_path, {".dockerignore": "*\n!app.py\n", "Dockerfile": "FROM x AS release\n", "requirements.txt": None})
    with pytest.raises(directory.Refused, match="Dockerfile has no stage called test"):
        directory.read(tmp_path)
    (tmp_path / "Dockerfile").write_text("FROM x AS test\nFROM x as release\n")
    assert directory.read(tmp_path).target == "app:app"
    (tmp_path / "app.py").unlink()
    assert directory.read(tmp_path).target == "", "another program may be the app"


def test_refuses_a_submodule(tmp_path: Path) -> None:
    theme, shop = tmp_path / "theme", made(tmp_path / "shop")
    theme.mkdir()
    (theme / "a").write_text("a")
    for path in (theme, shop):
        git(path, "init", "--quiet")
        git(path, "add", "--all")
        git(path, "commit", "--quiet", "--message", "first")
    git(shop, "submodule", "add", str(theme), "theme")
    with pytest.raises(directory.Refused, match="theme is a git submodule"):
        directory.read(shop)


def test_refuses_lfs_although_the_files_are_there(tmp_path: Path) -> None:
    shop = made(tmp_path / "shop")
    (shop / "logo.png").write_bytes(b"png")
    (shop / ".gitattributes").write_text("*.png filter=lfs\n")
    git(shop, "init", "--quiet")
    git(shop, "-c", "filter.lfs.clean=cat", "add", "--all")
    with pytest.raises(directory.Refused, match=r"logo\.png is stored with Git LFS"):
        directory.read(shop)


def test_refuses_a_link_to_the_outside(tmp_path: Path) -> None:
    shop = made(tmp_path / "shop")
    (tmp_path / "common.py").write_text("")
    (shop / "common.py").symlink_to("../common.py")
    with pytest.raises(directory.Refused, match=r"common\.py links to a file outside of"):
        directory.read(shop)


def test_subdirectory_of_a_repository_is_taken_alone(tmp_path: Path) -> None:
    made(tmp_path / "services" / "shop")
    (tmp_path / "services" / "other.py").write_text("")
    git(tmp_path, "init", "--quiet")
    assert set(directory.read(tmp_path / "services" / "shop").files) == {"app.py", "requirements.txt"}


def test_leaves_out_what_is_no_part_of_the_app(tmp_path: Path) -> None:
    names = (".env", "venv/pyvenv.cfg", "venv/lib/x.py", "node_modules/a.js", "__pycache__/app.pyc")
    made(tmp_path, dict.fromkeys(names, ""))
    assert set(directory.read(tmp_path).files) == {"app.py", "requirements.txt"}


def test_prepares_a_copy_and_leaves_the_directory_as_it_is(tmp_path: Path) -> None:
    files: dict[str, str | None] = {"app.py": None, "config.ini": "a", "README.md": "mine", "shop/static/a.css": "a"}
    shop = made(tmp_path / "shop dir", files | {"shop/__init__.py": "def create_app(): ...\n"})
    before = sorted((path, path.stat().st_mtime_ns) for path in shop.rglob("*"))
    taken = directory.prepare(directory.read(shop), tmp_path / "copy")
    assert sorted((path, path.stat().st_mtime_ns) for path in shop.rglob("*")) == before
    copy = tmp_path / "copy"
    dockerfile = (copy / "Dockerfile").read_text()
    assert "COPY shop shop\nCOPY config.ini gunicorn.conf.py ./\n" in dockerfile
    assert "COPY shop shop\nCOPY config.ini gunicorn.conf.py tests/test_app.py ./\n" in dockerfile
    assert {"!shop", "!config.ini", "!gunicorn.conf.py"} <= set((copy / ".dockerignore").read_text().splitlines())
    assert 'wsgi_app = "shop:create_app()"' in (copy / "gunicorn.conf.py").read_text()
    assert "assert callable(create_app())" in (copy / "tests" / "test_app.py").read_text()
    assert (copy / "README.md").read_text() == "mine"
    assert (copy / "buildspec.yml").read_bytes() == (ROOT / "buildspec.yml").read_bytes()
    assert not (copy / "app.py").exists()
    assert any(line.startswith("Dockerfile: the tutorial's") for line in taken)
    assert "release-check/" not in (copy / "deployment.yml").read_text()


def test_folder_that_the_tutorial_has_too_is_copied_without_the_tutorials_files(tmp_path: Path) -> None:
    """Once, such a folder was left out of the image without a word."""
    own = {"docs/my guide.md": "mine", "docs/api/a.html": "a", "scripts/__init__.py": "", "tests/test_shop.py": ""}
    shop = made(tmp_path / "shop", dict.fromkeys(own, "mine") | {"README.md": "mine", "LICENSE": "mine"})
    taken = "\n".join(directory.prepare(directory.read(shop), tmp_path / "copy"))
    assert "COPY docs docs\nCOPY scripts scripts\nCOPY tests tests\n" in (tmp_path / "copy/Dockerfile").read_text()
    lines = (tmp_path / "copy/.dockerignore").read_text().splitlines()
    assert {f"!{name}" for name in own} <= set(lines)
    assert not {"!docs", "!scripts", "!tests"} & set(lines)
    assert "not in the image: LICENSE, README.md, because the tutorial has files of these names" in taken
    assert "the pipeline runs no other tests" in taken
    assert all((tmp_path / "copy" / name).read_text() == "mine" for name in own)
    assert (tmp_path / "copy/scripts/teardown.sh").exists()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("LICENSE/a.txt", "LICENSE is the name of one of the tutorial's files, and here of a folder"),
        ("scripts", "scripts is the name of one of the tutorial's folders, and here of a file"),
        ("docs/what?.md", "docs/what?.md has a name that .dockerignore does not take"),
    ],
)
def test_refuses_a_name_that_cannot_be_next_to_the_tutorials(tmp_path: Path, name: str, said: str) -> None:
    shop = made(tmp_path / "shop", {name: "mine"})
    with pytest.raises(directory.Refused, match=re.escape(said)):
        directory.prepare(directory.read(shop), tmp_path / "copy")


def test_names_a_package_without_a_wheel(tmp_path: Path) -> None:
    """uv finds a source distribution alone; it is in a directory, so that no index is asked."""
    with tarfile.open(
        made(tmp_path / "packages", {"nest-1.0/PKG-INFO": PKG_INFO}) / "nest-1.0.tar.gz", "w:gz"
    ) as archive:
        archive.add(tmp_path / "packages" / "nest-1.0", "nest-1.0")
    options = f"--no-index\n--find-links {tmp_path / 'packages'}\nnest\ngunicorn\n"
    shop = made(tmp_path / "shop", {"requirements.txt": options})
    with pytest.raises(directory.Refused, match=r"^nest has no wheel for Python 3\.13"):
        directory.prepare(directory.read(shop), tmp_path / "copy")


# deployment.yml


def test_container_runs_as_deployment_yml_says() -> None:
    options = MANIFEST.docker_options()
    for option in ("--read-only", "--user=10001:10001", "--cap-drop=ALL", "--security-opt=no-new-privileges"):
        assert option in options
    assert f"--memory={128 * MIB}" in options
    assert (MANIFEST.deployment, MANIFEST.service, MANIFEST.port) == ("hello-world", "hello-world", 8080)
    assert MANIFEST.paths == ["/readyz", "/healthz"]
    assert (MANIFEST.start_allowed, MANIFEST.stop_allowed) == (30, 25)


def test_environment_and_volumes_reach_the_container(tmp_path: Path) -> None:
    text = (ROOT / "deployment.yml").read_text()
    mount = "          volumeMounts: [{name: data, mountPath: /data}]\n"
    text = text.replace("          ports:\n", mount + "          ports:\n", 1)
    text = text.replace("          env:\n", "          env:\n            - {name: A, value: b c}\n", 1)
    text = text.replace("      containers:\n", "      volumes: [{name: data, emptyDir: {}}]\n      containers:\n", 1)
    (tmp_path / "deployment.yml").write_text(text)
    options = read_manifest(tmp_path / "deployment.yml").docker_options()
    assert "--tmpfs=/data:mode=1777" in options
    assert "--env=A=b c" in options


def test_sizes() -> None:
    assert [size(text) for text in ("128Mi", "1.5Gi", "64M", "100")] == [128 * MIB, 1536 * MIB, 64 * 10**6, 100]


# The report


def good() -> report.Observations:
    trial = Trial(
        built=True,
        started=0.5,
        statuses={"/readyz": 200, "/healthz": 200},
        user=10001,
        ports=[8080],
        samples=[Sample(800 * number, 34 * MIB + 50_000 * number) for number in range(1, 5)],
        stopped=2.6,
        code=0,
    )
    events = [Event("a rollout", 1000), Event("an undo", 1000), Event("a drain", 1000)]
    return report.Observations(MANIFEST, trial, events=events)


def judged(**changes: object) -> dict[str, report.Verdict]:
    """Judge good observations with some of the trial's fields changed; return the checks that failed."""
    seen = good()
    seen.trial = replace(seen.trial, **changes)  # type: ignore[arg-type]  # each is one field's type
    return {verdict.check: verdict for verdict in report.verdicts(seen) if verdict.change}


def test_good_app_is_ready() -> None:
    console = Console(record=True, width=200)
    assert report.show(console, "shop", good())
    text = console.export_text()
    assert "✗" not in text
    assert "To change" not in text
    for check in (
        "builds",
        "starts",
        "not root",
        "read-only root",
        "memory",
        "stops",
        "a rollout",
        "an undo",
        "a drain",
    ):
        assert f"✓ {check} " in text


@pytest.mark.parametrize(
    ("log", "change"),
    [
        ("ERROR: No matching distribution found for docopt==0.6.2", "docopt==0.6.2 has no wheel"),
        ("ERROR: In --require-hashes mode, all requirements must have", "pin every package with its hashes"),
        ("ModuleNotFoundError: No module named 'gunicorn'", "requirements.in: add gunicorn"),
        ("E   ModuleNotFoundError: No module named 'common'", "the package that has common"),
        ("E   ModuleNotFoundError: No module named 'distutils'", "requirements.in: add setuptools"),
        ("E   KeyError: 'DATABASE_URL'", "set DATABASE_URL under env"),
        ("something else", "see the log of the build above"),
    ],
)
def test_failed_build_names_what_to_change(log: str, change: str) -> None:
    failed = judged(built=False, log=log)
    assert list(failed) == ["builds"]
    assert change in failed["builds"].change


def test_the_line_that_says_most_is_shown() -> None:
    log = "#16 2.6 E   KeyError: 'A'\n#16 2.6 ERROR test_app.py\n#16 2.7 === 1 error in 1.80s ===\n"
    assert judged(built=False, log=log)["builds"].seen == "KeyError: 'A'"
    assert judged(built=False, log="#1 0.1 killed\n")["builds"].seen == "killed"


@pytest.mark.parametrize(
    ("seen", "what", "change"),
    [
        ({"ports": [5000]}, "listens on port 5000, not on 8080", "listen on 0.0.0.0:8080"),
        ({"ports": [8080]}, "answers no request within 30 s", "startupProbe's failureThreshold"),
        ({"ports": [], "code": 1, "log": "ValueError: no"}, "exited with 1: ValueError: no", "fix this error"),
        (
            {"ports": [], "code": 1, "log": "OSError: [Errno 30] Read-only file system: '/app/.lock'"},
            ".lock",
            "emptyDir",
        ),
        ({"ports": [], "code": 137, "out_of_memory": True}, "killed at its limit of 128 MiB", "raise limits.memory"),
    ],
)
def test_app_that_does_not_start(seen: dict[str, object], what: str, change: str) -> None:
    failed = judged(started=None, **seen)
    assert list(failed) == ["starts"]
    assert what in failed["starts"].seen
    assert change in failed["starts"].change


@pytest.mark.parametrize(
    ("check", "changes", "change"),
    [
        ("starts", {"started": 25.0}, "startupProbe's failureThreshold"),
        ("answers the probes", {"statuses": {"/readyz": 404, "/healthz": 404}}, "a path that answers with 200"),
        ("not root", {"user": 0}, "runAsNonRoot"),
        (
            "read-only root",
            {"log": "OSError: [Errno 30] Read-only file system: 'visits.txt'"},
            "where it writes visits.txt",
        ),
        ("memory", {"samples": [Sample(800, 120 * MIB)] * 2}, "raise limits.memory to 160Mi or more"),
        ("memory leak", {"samples": [Sample(800 * n, (40 + 8 * n) * MIB) for n in range(1, 5)]}, "keeps memory"),
        ("stops", {"code": 137, "stopped": 25.1}, "end at SIGTERM"),
        ("stops", {"code": 0, "stopped": 20.5}, "end at SIGTERM"),
        ("answers under load", {"lost": ["kept status 500"]}, "see its log"),
    ],
)
def test_each_defect_is_named(check: str, changes: dict[str, object], change: str) -> None:
    failed = judged(**changes)
    assert list(failed) == [check]
    assert change in failed[check].change


def test_restricted_host_names_are_named() -> None:
    seen = good()
    seen.trial = replace(seen.trial, statuses={"/readyz": 400, "/healthz": 400})
    seen.hosts = ["config.py:3 sets TRUSTED_HOSTS"]
    (failed,) = [verdict for verdict in report.verdicts(seen) if verdict.change]
    assert "config.py:3 sets TRUSTED_HOSTS" in failed.seen
    assert "httpHeaders" in failed.change


def test_lost_requests_failed_releases_and_restarts_are_named() -> None:
    seen = good()
    seen.events = [Event("a drain", 500, ("kept ConnectionResetError()",))]
    seen.failure, seen.log = "the execution of 1234567 is Failed, not Succeeded", "KeyError: 'API_KEY'"
    seen.restarts = 2
    failed = {verdict.check: verdict for verdict in report.verdicts(seen) if verdict.change}
    assert list(failed) == ["deploys", "a drain", "keeps running"]
    assert "1 of 500 requests lost" in failed["a drain"].seen
    assert "set API_KEY under env" in failed["deploys"].change


def test_visitors_get_the_home_page_and_not_a_probe() -> None:
    """/readyz answers 503 during a shutdown, on purpose, so requests to it would be counted as lost."""
    assert Trial(statuses={"/readyz": 200, "/healthz": 200, "/": 200}).page(MANIFEST.paths) == "/"
    assert Trial(statuses={"/readyz": 404, "/healthz": 200, "/": 404}).page(MANIFEST.paths) == "/healthz"
    assert Trial(statuses={"/": 404}).page(MANIFEST.paths) == ""


def test_only_an_app_that_answers_is_released() -> None:
    seen = good()
    assert report.may_be_released(seen)
    seen.trial = replace(seen.trial, started=None)
    assert not report.may_be_released(seen)


# The run, with nothing started

RELEASE = ["push_all", "setup_cluster", "create_stack", "cluster"]


@pytest.fixture
def steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Replace what starts, examines and stops by notes of it."""
    steps: list[str] = []

    class Tutorial:
        def __getattr__(self, name: str) -> object:
            return lambda *_: steps.append(name)

    def begin(_progress: object, source: Path) -> tuple[str, Tutorial]:
        assert (source / "app.py").read_text() == APP
        assert (source / "buildspec.yml").exists()
        steps.append("begin")
        (tmp_path / "run").mkdir()
        return "before", Tutorial()

    def in_cluster(_progress: object, _tutorial: object, seen: report.Observations) -> None:
        steps.append("cluster")
        seen.address = "http://10.250.0.9/"

    monkeypatch.setattr(rehearse, "LOGS", tmp_path / "logs")
    monkeypatch.setattr(rehearse, "settings", replace(settings, cache=tmp_path))  # none is kept there
    monkeypatch.setattr(rehearse, "begin", begin)
    monkeypatch.setattr(rehearse, "_refuse_if_kept", lambda: None)
    monkeypatch.setattr(rehearse.lifecycle, "exclusive", contextlib.nullcontext)
    monkeypatch.setattr(rehearse.lifecycle, "stop", lambda: steps.append("stop"))
    monkeypatch.setattr(rehearse.examine, "in_cluster", in_cluster)
    monkeypatch.setattr(rehearse.footprint, "snapshot", lambda: "after")
    monkeypatch.setattr(rehearse.footprint, "difference", lambda *_: [])
    return steps


def run_app(monkeypatch: pytest.MonkeyPatch, directory: Path, *, keep: bool = False, **changes: object) -> int:
    """Rehearse a made-up app of which good observations, with some of the trial's fields changed, are made."""
    seen = good()
    seen.trial = replace(seen.trial, **changes)  # type: ignore[arg-type]  # each is one field's type
    monkeypatch.setattr(rehearse.examine, "one_container", lambda *_: seen)
    return rehearse.run_app(made(directory), keep=keep, verbose=False)


@pytest.mark.parametrize(
    ("changes", "released", "code"),
    [({}, RELEASE, 0), ({"stopped": 24.0}, RELEASE, 1), ({"started": None}, [], 1)],
)
def test_app_is_released_only_if_it_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: list[str], changes: dict[str, object], released: list[str], code: int
) -> None:  # fmt: skip
    assert run_app(monkeypatch, tmp_path / "shop", **changes) == code
    assert steps == ["stop", "begin", *released, "stop"]


def test_rehearsal_of_an_app_ends_with_the_check_that_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    def difference(before: str, after: str) -> list[str]:
        assert (before, after) == ("before", "after")
        assert steps[-1] == "stop"
        return ["process 4711: sleep 60"]

    monkeypatch.setattr(rehearse.footprint, "difference", difference)
    assert run_app(monkeypatch, tmp_path / "shop") == 1
    said = capsys.readouterr().out
    assert "process 4711: sleep 60" in said
    assert "✓ a drain" in said, "the report is printed in any case"


def test_kept_rehearsal_of_an_app_says_how_to_enter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(rehearse.footprint, "difference", lambda *_: ["a kept rehearsal"])
    assert run_app(monkeypatch, tmp_path / "shop", keep=True) == 0
    assert steps == ["stop", "begin", *RELEASE]
    said = capsys.readouterr().out
    assert 'scripts/rehearse.sh env)"' in said
    assert f"http://127.0.0.1:{settings.ports.console}/" in said
    assert "The app answers at http://10.250.0.9/" in said
