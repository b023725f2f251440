"""The steps of a rehearsal: one line each, also side by side; the first failure stops the others."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from rehearsal import once, progress, rehearse, waiting
from rehearsal.progress import Progress, StepFailed, Stopped
from rehearsal.sandbox import footprint
from tests.support.paths import ROOT

#: Far longer than any of these tests may take.
FOREVER = "sleep 100"


@pytest.fixture
def steps(tmp_path: Path) -> Progress:
    return Progress(tmp_path / "logs", console=Console(file=io.StringIO(), soft_wrap=True, highlight=False))


def run(steps: Progress, title: str, script: str, timeout: float = 50) -> list[str]:
    return steps.command(title, ["sh", "-c", script], env=os.environ, cwd=ROOT, timeout=timeout)


def run_both(steps: Progress, work: Callable[[], object], script: str) -> None:
    """Run a script in the step Other, alongside work whose step begins first."""
    with steps.alongside(work):
        waiting.until(lambda: steps.number, 20, "the first step to begin")
        run(steps, "Other", script)


def said(steps: Progress) -> str:
    assert isinstance(steps.console.file, io.StringIO)
    return steps.console.file.getvalue()


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_step_leaves_one_line_with_its_result_and_time(steps: Progress) -> None:
    assert run(steps, "Make it", "echo working; echo; echo '= 3 [things]'") == ["working", "", "= 3 [things]"]
    assert re.fullmatch(r"✓  1  Make it  3 \[things\] \d\.\d s\n", said(steps))
    assert (steps.logs / "step-01.log").read_text().startswith("$ sh -c ")


def test_steps_side_by_side_have_their_own_lines_logs_and_times(steps: Progress) -> None:
    began = time.monotonic()
    with steps.alongside(partial(run, steps, "Long", "sleep 1.5; echo long")):
        waiting.until(lambda: steps.number, 20, "the other step to begin")
        run(steps, "First", "sleep 0.5; echo first")
        run(steps, "Second", "sleep 0.5")
    assert time.monotonic() - began < 2.4, "they ran one after another"
    lines = said(steps).splitlines()
    assert [line.split()[:3] for line in lines] == [["✓", "2", "First"], ["✓", "3", "Second"], ["✓", "1", "Long"]]
    assert [float(line.split()[-2]) >= least for line, least in zip(lines, (0.5, 0.5, 1.5), strict=True)] == [True] * 3
    assert "first" in (steps.logs / "step-02.log").read_text()
    assert "long" in (steps.logs / "step-01.log").read_text()


def test_terminal_has_a_line_for_each_running_step(tmp_path: Path) -> None:
    screen = io.StringIO()
    steps = Progress(tmp_path, console=Console(file=screen, force_terminal=True, width=90, soft_wrap=True))
    with steps.alongside(lambda: run(steps, "Long", "echo compiling; sleep 1")):
        run(steps, "Short", "echo unpacking; sleep 0.6; echo '= 112 MB'")
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", screen.getvalue()).replace("\r", "\n").splitlines()
    assert any(re.search(r" Long +compiling +0:00:0\d", line) for line in shown)
    assert any(re.search(r" Short +unpacking +0:00:0\d", line) for line in shown)
    assert [line.split()[:3] for line in shown if "✓" in line and line.endswith(" s")] in (
        [["✓", "1", "Short"], ["✓", "2", "Long"]],
        [["✓", "2", "Short"], ["✓", "1", "Long"]],
    )


def test_slow_step_gives_signs_of_life_with_its_number(steps: Progress, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "SIGN_OF_LIFE", 0.2)
    run(steps, "Slow", "echo early; sleep 0.4; echo late")
    assert said(steps).splitlines()[0] == "   1  late"


def test_failure_stops_the_step_side_by_side_and_is_the_one_reported(steps: Progress) -> None:
    began = time.monotonic()
    build = partial(run, steps, "Build", "sleep 0.5; echo no space; exit 3")
    with pytest.raises(StepFailed, match="exited with 3") as caught:
        run_both(steps, build, FOREVER)
    assert time.monotonic() - began < 20
    assert not isinstance(caught.value, Stopped)
    assert caught.value.excerpt == ["no space"]
    assert steps.failed == 1
    assert re.search(r"✗  1  Build \d\.\d s\n✗  2  Other  stopped \d\.\d s\n", said(steps))
    with pytest.raises(Stopped):
        run(steps, "Next", "true")
    assert "Next" not in said(steps)


def test_failure_of_the_block_stops_the_work_alongside(steps: Progress) -> None:
    began = time.monotonic()
    with pytest.raises(StepFailed, match="exited with 4"):
        run_both(steps, partial(run, steps, "Build", FOREVER), "exit 4")
    assert time.monotonic() - began < 20
    assert steps.failed == 2
    assert not steps.running


def test_defect_in_the_work_alongside_is_raised_as_it_is(steps: Progress) -> None:
    def defect() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), steps.alongside(defect):
        run(steps, "Other", FOREVER)


def test_program_that_must_not_be_stopped_ends_by_its_own(steps: Progress, tmp_path: Path) -> None:
    def install() -> None:
        script = f"sleep 1.5; touch {tmp_path}/whole"
        with steps.step("Install") as step:
            step.run(["sh", "-c", script], env=os.environ, cwd=ROOT, timeout=50, to_the_end=True)

    with pytest.raises(StepFailed, match="exited with 5"):
        run_both(steps, install, "exit 5")
    assert (tmp_path / "whole").exists()


def test_step_that_takes_too_long_is_ended_with_all_it_started(steps: Progress) -> None:
    with pytest.raises(StepFailed, match="took longer than 1 s") as caught:
        run(steps, "Hang", f"{FOREVER} & echo $!; wait", timeout=1)
    waiting.until(lambda: not runs(int(caught.value.excerpt[0])), 20, "what it started to end")


INTERRUPTED = """
import os, sys
from pathlib import Path
from rehearsal.progress import Progress
steps = Progress(Path(sys.argv[1]))
def run(title):
    steps.command(title, ["sh", "-c", "echo $$; sleep 100"], env=os.environ, cwd=Path("/"), timeout=50)
with steps.alongside(lambda: run("Build")):
    if "Other" in sys.argv:
        run("Other")
"""


def started(logs: Path) -> list[int]:
    """Return the PIDs that the steps' programs have printed."""
    lines = [log.read_text().splitlines()[-1:] for log in logs.glob("step-*.log")]
    return [int(line) for last in lines for line in last if line.isdigit()]


@pytest.mark.parametrize("titles", [["Build", "Other"], ["Build"]])
def test_interrupt_ends_all_steps(tmp_path: Path, titles: list[str]) -> None:
    running = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, tmp_path, *titles],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        waiting.until(lambda: len(started(tmp_path)) == len(titles), 20, "the steps to start")
        pids = started(tmp_path)
        running.send_signal(signal.SIGINT)
        out, error = running.communicate(timeout=30)
    finally:
        running.kill()
    assert "KeyboardInterrupt" in error
    waiting.until(lambda: not any(map(runs, pids)), 20, "the programs to end")
    assert sorted(re.findall(r"✗ +\d  (\w+)", out)) == titles


# What a rehearsal prepares


def test_tutorial_begins_when_the_programs_are_built(steps: Progress, monkeypatch: pytest.MonkeyPatch) -> None:
    events, built = [], threading.Event()

    def build(_: Progress) -> None:
        built.wait(20)
        events.append("built")

    def start(_: Progress, _source: object) -> str:
        events.append("started")
        built.set()
        return "tutorial"

    monkeypatch.setattr(once, "KUBERNETES", SimpleNamespace(ensure=build))
    monkeypatch.setattr(rehearse, "install_packages", lambda _: events.append("packages"))
    monkeypatch.setattr(footprint, "snapshot", lambda: events.append("footprint"))
    monkeypatch.setattr(rehearse, "start", start)
    assert rehearse.begin(steps) == (None, "tutorial")
    assert events == ["packages", "footprint", "started", "built"]


def test_failed_build_is_named_and_nothing_is_started(steps: Progress, monkeypatch: pytest.MonkeyPatch) -> None:
    build = SimpleNamespace(ensure=lambda steps: run(steps, "Build", "sleep 0.3; echo go: no space; exit 1"))
    monkeypatch.setattr(once, "KUBERNETES", build)
    monkeypatch.setattr(rehearse, "install_packages", lambda steps: run(steps, "Packages", FOREVER))
    monkeypatch.setattr(rehearse, "start", lambda _: pytest.fail("it was started"))
    with pytest.raises(StepFailed) as caught:
        rehearse.begin(steps)
    rehearse._show_failure(steps, caught.value)
    assert re.search(r"    go: no space\nStep [12] failed: sh -c .* exited with 1\n", said(steps))
    assert re.search(rf"✗  {steps.failed}  Build", said(steps))


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Start nothing; returns what was done, in order, by a learner who is made while the base image is."""
    events: list[str] = []
    image_begun, learner_made = threading.Event(), threading.Event()

    def make_image(_: Progress) -> None:
        events.append("image begun")
        image_begun.set()
        learner_made.wait(20)
        events.append("image made")

    def make_learner(_source: object) -> tuple[dict[str, str], Path]:
        image_begun.wait(20)
        events.append("learner made")
        learner_made.set()
        return {}, Path()

    monkeypatch.setattr(once, "BASE_IMAGE", SimpleNamespace(ensure=make_image))
    monkeypatch.setattr(rehearse.lifecycle, "start", lambda _: None)
    monkeypatch.setattr(rehearse, "_make_learner", make_learner)
    monkeypatch.setattr(rehearse.engine, "load_base_image", lambda: events.append("image loaded"))
    return events


def test_base_image_is_made_while_aws_starts(steps: Progress, parts: list[str]) -> None:
    rehearse.start(steps)
    assert parts == ["image begun", "learner made", "image made", "image loaded"]
    assert steps.number == 1


def test_base_image_that_cannot_be_made_is_not_loaded(
    steps: Progress, parts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    image = SimpleNamespace(ensure=lambda steps: run(steps, "Image", "sleep 0.3; echo no mirror; exit 1"))
    monkeypatch.setattr(once, "BASE_IMAGE", image)
    monkeypatch.setattr(rehearse, "_make_learner", lambda _: ({}, Path()))
    with pytest.raises(StepFailed, match=r"^sh -c .* exited with 1$"):
        rehearse.start(steps)
    assert not parts
    assert re.search(rf"✗  {steps.failed}  Image", said(steps))
    assert re.search(r"✗  [12]  Start AWS, GitHub and Docker on this machine  stopped", said(steps))


def test_part_that_is_there_takes_no_step(steps: Progress) -> None:
    once.Part("kubernetes", "Build", lambda: True, pytest.fail, 1).ensure(steps)
    assert not steps.number


def test_part_that_cannot_be_made_ends_with_the_reason(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "rehearsal.once", "base-image"],
        cwd=ROOT, env=os.environ | {"XDG_CACHE_HOME": str(tmp_path), "PATH": "/none"},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1] == "mmdebstrap is missing; install it with scripts/dev/packages.sh"


def test_only_missing_packages_are_installed(steps: Progress, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script = tmp_path / "scripts" / "dev" / "packages.sh"
    script.parent.mkdir(parents=True)
    lacks = tmp_path / "lacks"
    script.write_text(f'#!/bin/sh\n[ "$1" = --missing ] && {{ cat {lacks}; exit; }}\necho "$1" >{tmp_path}/installed\n')
    script.chmod(0o755)
    monkeypatch.setattr(rehearse, "settings", SimpleNamespace(root=tmp_path))
    for rule in (rehearse.check, "rules"), (rehearse.network, "check_passage"):
        monkeypatch.setattr(*rule, lambda: None)
    lacks.write_text("\n")
    rehearse.install_packages(steps)
    assert not steps.number
    lacks.write_text("docker.io runc\n")
    rehearse.install_packages(steps)
    assert "Install system packages (once)  docker.io runc" in said(steps)
    assert (tmp_path / "installed").read_text() == "rehearsal\n"
