"""The practice: its exercises as files, the facts that it compares, and its commands."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rehearsal.practice import exercise, facts, restore
from tests.support.paths import ROOT

EXERCISES = exercise.every()
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
SCRIPTS = [(each.name, text) for each in EXERCISES for text in (each.breaks, each.symptom, each.solution, *each.wrong)]


def test_exercises_cover_the_chain() -> None:
    assert len(EXERCISES) >= 15
    assert sum(each.causes == 2 for each in EXERCISES) >= 3
    assert {each.level for each in EXERCISES} == {1, 2, 3}


@pytest.mark.parametrize("each", EXERCISES, ids=lambda each: each.name)
def test_exercise_is_complete(each: exercise.Exercise) -> None:
    assert len(each.hints) >= 3
    assert len(each.wrong) == 3
    assert each.row in PAGE
    assert bool(each.symptom) == any(each.row in words for words in PAGE.split("`")[1::2])
    assert all([each.title, each.story, each.breaks, each.solution, each.explanation])


def test_shellcheck_finds_nothing_in_the_exercises(tmp_path: Path) -> None:
    """In one run, because most of its time is its start."""
    for number, (name, script) in enumerate(SCRIPTS):
        (tmp_path / f"{name}-{number}").write_text(f"set -euo pipefail\n. {exercise.FUNCTIONS}\n{script}\n")
    # 1091: the functions are checked as a file; 2312: pipefail shows what fails in a pipe; 2292: as in the README.
    command = [f"{sys.exec_prefix}/bin/shellcheck", "--shell=bash", "--exclude=SC1091,SC2312,SC2292", "--format=gcc"]
    files = sorted(each.name for each in tmp_path.iterdir())
    done = subprocess.run([*command, *files], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
    assert (len(files), done.stdout) == (len(SCRIPTS), "")


@pytest.fixture
def desk(tmp_path: Path) -> Callable[[str], int]:
    """Return what runs commands of an exercise in a learner's checkout of the app, and returns their exit code."""
    git = ("git", "-c", "user.name=Ann", "-c", "user.email=ann@example.com")
    for command in (
        (*git, "init", "--quiet", "--bare", "--initial-branch=master", "origin"),
        (*git, "clone", "--quiet", "origin", "checkout"),
        ("cp", str(ROOT / "app.py"), "checkout"),
        (*git, "-C", "checkout", "add", "--all"),
        (*git, "-C", "checkout", "commit", "--quiet", "--message=Fork"),
        (*git, "-C", "checkout", "push", "--quiet", "origin", "HEAD:master"),
    ):
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=60)

    def run(commands: str) -> int:
        script = f". {exercise.FUNCTIONS}\n{commands}"
        command = ["bash", "-euo", "pipefail", "-c", script]
        return subprocess.run(
            command, cwd=tmp_path / "checkout", check=False, capture_output=True, timeout=60
        ).returncode

    return run


def test_colleague_breaks_the_app_whatever_an_earlier_exercise_has_left(desk: Callable[[str], int]) -> None:
    """A change that found nothing to change was pushed as an empty commit, and the exercise had no red push."""
    for greeting in ("Hello, all!", "Hello, all!!", "Hello, all!"):
        assert desk("colleague_pushes 'Say it' greet 'Hello, all!'; git pull --quiet") == 0
        assert desk(f'grep -qF \'"GREETING", "{greeting}"\' app.py') == 0
    assert desk("colleague_pushes 'Rename it' sed -i s/what-is-not-there/x/ app.py") == 1
    assert desk("colleague_pushes 'Change nothing'; git pull --quiet; git log -1 --format=%s | grep -q nothing") == 0


def deployment(**changes: Any) -> dict[str, Any]:
    container = {"name": "a", "image": "r/a@sha256:" + "0" * 64}
    spec = {"replicas": 2, "template": {"metadata": {"annotations": {}}, "spec": {"containers": [container]}}} | changes
    return {"kind": "Deployment", "metadata": {"name": "a", "uid": "1"}, "spec": spec, "status": {"replicas": 2}}


def test_facts_do_not_have_what_changes_on_its_own() -> None:
    other = deployment(replicas=5)
    base = deployment()
    base["metadata"]["annotations"] = {"release-check/answer": "r/a@sha256:" + "0" * 64}
    other["metadata"] |= {"uid": "2", "annotations": {"deployment.kubernetes.io/revision": "7"}}
    other["metadata"]["annotations"]["release-check/answer"] = "r/a@sha256:" + "1" * 64
    other["spec"]["template"]["metadata"]["annotations"] = {"kubectl.kubernetes.io/restartedAt": "now"}
    other["spec"]["template"]["spec"]["containers"][0]["image"] = "r/a@sha256:" + "1" * 64
    assert facts.cluster_fact(base) == facts.cluster_fact(other)


@pytest.mark.parametrize(
    "item",
    [
        deployment(paused=True),
        deployment() | {"metadata": {"name": "a", "labels": {"a": "b"}}},
        deployment(template={"metadata": {}, "spec": {"containers": [{"name": "a", "image": "other/a:1"}]}}),
    ],
    ids=["field", "label", "image"],
)
def test_facts_have_what_someone_decided(item: dict[str, Any]) -> None:
    assert facts.cluster_fact(deployment()) != facts.cluster_fact(item)


def test_facts_of_a_service_are_not_its_addresses() -> None:
    def service(address: str, port: int, target: str) -> dict[str, Any]:
        ports = [{"port": 80, "nodePort": port, "targetPort": target}]
        spec = {"clusterIP": address, "clusterIPs": [address], "ports": ports}
        return facts.cluster_fact({"kind": "Service", "metadata": {"name": "a"}, "spec": spec})

    assert service("10.0.0.1", 30001, "http") == service("10.0.0.2", 30002, "http")
    assert service("10.0.0.1", 30001, "http") != service("10.0.0.1", 30001, "web")


def test_entries_of_aws_auth_have_no_order() -> None:
    def aws_auth(text: str) -> dict[str, Any]:
        return facts.cluster_fact({"kind": "ConfigMap", "metadata": {"name": "aws-auth"}, "data": {"mapRoles": text}})

    assert aws_auth("- a: 1\n- b: 2\n") == aws_auth("# both\n- b: 2\n- a: 1\n")
    assert aws_auth("- a: 1\n- b: 2\n") != aws_auth("- a: 1\n")
    assert aws_auth("- a: 1\n\tb: 2\n") == {
        "labels": {},
        "annotations": {},
        "data": {"mapRoles": "- a: 1\n\tb: 2\n"},
        "spec": {},
    }


def test_differences_are_named() -> None:
    assert facts.differences({"a": 1, "b": 2, "c": 3}, {"b": 2, "c": 4, "d": 5}) == ["a", "c", "d"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["hint"], "no exercise is in progress: begin one with scripts/rehearse.sh practice"),
        (["check"], "no exercise is in progress: begin one with scripts/rehearse.sh practice"),
        (["nothing"], "no exercise is called nothing: scripts/rehearse.sh practice list shows them all"),
    ],
)
def test_refuses_in_one_line(words: list[str], said: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "rehearsal", "practice", *words], cwd=ROOT, capture_output=True, text=True, timeout=60,
        env={"XDG_CACHE_HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (2, f"rehearse.sh: {said}\n")


@pytest.mark.parametrize(
    ("says", "tried"),
    [(["Error: Operation cannot be fulfilled on deployments.apps"], 2), ([], 1), (["Error: is invalid", ""], 1)],
    ids=["a controller was faster", "at once", "refused"],
)
def test_object_is_restored_though_a_controller_writes_it(
    says: list[str], tried: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """kubectl reads what it replaces, and a rollout in progress writes the Deployment's status in between."""
    calls = []

    def kubectl(*words: str, text: str) -> str:
        calls.append(words)
        if says and (problem := says.pop(0)):
            raise subprocess.CalledProcessError(1, words, stderr=problem)
        return text

    monkeypatch.setattr(facts, "kubectl", kubectl)
    refused = len(says) == 2
    with pytest.raises(subprocess.CalledProcessError) if refused else contextlib.nullcontext():
        restore._restore_objects([deployment()], [deployment(paused=True)], {"Deployment a"})
    assert calls == [("replace", "--filename=-")] * tried
