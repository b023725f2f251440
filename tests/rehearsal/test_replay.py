"""The replay: what it shows is what the console showed, it needs nothing but its file, and it has no secret."""

from __future__ import annotations

import json
import random
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from axe_core_python.selenium import Axe  # type: ignore[import-untyped]
from rich.console import Console
from selenium.webdriver import ActionChains, Chrome, Keys

from rehearsal.console.screenshot import browser, emulate, resize, wait_until
from rehearsal.console.snapshot import Snapshot
from rehearsal.console.watch import Watch
from rehearsal.progress import Progress, StepFailed
from rehearsal.replay import __main__ as again
from rehearsal.replay import page, recorder, search
from rehearsal.replay.changes import between
from rehearsal.tutorial import WALK
from rehearsal.waiting import until
from tests.support.console_page import HOSTILE, NEW, OLD, Scripted, browser_log, needs_chromium, serving, stage
from tests.support.fixtures import WholeRehearsal
from tests.support.paths import ROOT

REPLAY = ROOT / "docs" / "replay.html"
SECRET = "ghp_0123456789abcdef0123456789abcdef0123"
LIMIT = 1_000_000  # bytes

#: What an element shows, without durations that count and without links, which a replay does not have.
SHOWN = """
return [...document.querySelectorAll("main *:not(a)")].map((one) => [one.tagName, one.id, one.className, one.title,
  one.getAttribute("aria-label"), one.checkVisibility(), one.dataset.since ??
  [...one.childNodes].filter((child) => child.nodeType === Node.TEXT_NODE).map((child) => child.data).join("|")])
"""


def act(world: Scripted, number: int) -> None:
    """Let the world be as in one of the tutorial's steps."""
    if number == 2:
        world.deployed()
    elif number == 3:
        world.pushed()
        world.versions = [OLD, NEW]
    elif number == 4:
        world.versions = [NEW]
        world.failed()
        world.pipeline["stages"][0] = stage("Source", "Succeeded", summary=HOSTILE, revision=NEW)


def make(directory: Path, monkeypatch: pytest.MonkeyPatch, secrets: set[str], line: str = "") -> Path:
    """Record a made-up rehearsal of a few seconds."""
    monkeypatch.setattr(recorder, "BETWEEN_MOMENTS", 0.0)
    monkeypatch.setattr(search, "of_run", lambda: secrets)
    file, world, progress = directory / "replay.html", Scripted(), Progress(directory, console=Console(file=StringIO()))
    with serving(world) as url, recorder.recording(progress, file, url):
        for number, step in enumerate(WALK):
            with progress.step(f"{step.title}  ({step.command})") as show:
                act(world, number)
                time.sleep(0.6)
                if number == 4:
                    world.build = {**world.build, "lines": [*world.build["lines"], "the end", line]}
                show("= done")
    return file


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a made-up recording."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        return make(tmp_path_factory.mktemp("replay"), monkeypatch, {SECRET})


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chrome]:
    """Yield one browser for all tests of the page."""
    with browser() as driver:
        yield driver


def opened(driver: Chrome, file: Path) -> Chrome:
    """Open a replay from the disk; the log is then of this page alone."""
    driver.get("about:blank")
    browser_log(driver)
    driver.get(file.as_uri())
    wait_until(driver, "document.querySelector('#time')?.innerText.startsWith('0:00')")
    return driver


def moments(file: Path) -> list[tuple[float, Snapshot]]:
    """Return what the console answered at ten moments of a recording."""
    found: list[tuple[float, Snapshot]] = json.loads(recorder.moments_file(file).read_text(encoding="utf-8"))
    assert len(found) == 10
    return found


class Fixed(Watch):
    """A watch that always has the same state."""

    now: Snapshot

    def snapshot(self) -> Snapshot:
        """Return the state."""
        return self.now


def assert_shows_the_moments(driver: Chrome, file: Path) -> None:
    """At each moment, the replay has the state that the console answered, and shows it as the console page does."""
    opened(driver, file)
    versions = driver.execute_script("return [...colours.keys()]")
    shown = []
    for at, answer in moments(file):
        state = driver.execute_script("seek(arguments[0]); return snapshots[frame()]", at)
        assert state == answer, f"at {at} s"
        shown.append(driver.execute_script(SHOWN))
    watch = Fixed(Scripted(), 0.05)
    watch.now = moments(file)[0][1]
    with serving(Scripted(), watch=watch) as url:
        driver.get(url)
        driver.execute_script("arguments[0].forEach(colour)", versions)
        for (at, watch.now), elements in zip(moments(file), shown, strict=True):
            wait_until(driver, f"JSON.stringify(before) === JSON.stringify({json.dumps(watch.now)})")
            assert driver.execute_script(SHOWN) == elements, f"at {at} s"
    assert len({json.dumps(elements) for elements in shown}) == 10


# --- The file ---------------------------------------------------------------------------------------------------


def test_recorded_steps_are_those_of_the_tutorial() -> None:
    page.render(page.recorded(REPLAY.read_text(encoding="utf-8")))  # otherwise the message says what to run


@pytest.mark.parametrize(
    "change", [{"title": "Create the stack twice"}, {"command": "scripts/create-stack.sh --twice"}]
)
def test_changed_step_makes_a_recording_stale(
    made: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], change: dict[str, str]
) -> None:
    monkeypatch.setattr(page, "WALK", (WALK[0], replace(WALK[1], **change), *WALK[2:]))
    monkeypatch.setattr("sys.argv", ["replay", str(made)])
    before = made.read_text(encoding="utf-8")
    assert again.main() == 2
    assert "record them again: scripts/rehearse.sh --record docs/replay.html" in capsys.readouterr().err
    assert made.read_text(encoding="utf-8") == before


def test_page_is_made_of_todays_console() -> None:
    text = REPLAY.read_text(encoding="utf-8")
    assert page.render(page.recorded(text)) == text, "run python -m rehearsal.replay docs/replay.html"


def test_changed_sentences_need_no_new_recording(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "replay.html"
    file.write_bytes(made.read_bytes())
    monkeypatch.setattr(page, "WALK", (replace(WALK[0], says="Something new. And more."), *WALK[1:]))
    monkeypatch.setattr("sys.argv", ["replay", str(file)])
    assert again.main() == 0
    assert page.recorded(file.read_text(encoding="utf-8"))["steps"][0]["says"] == "Something new. And more."


@pytest.mark.parametrize("step", WALK, ids=lambda step: step.title)
def test_each_step_has_two_sentences(step: Any) -> None:
    assert len(re.findall(r"[a-z]\.(?= |$)", step.says)) == 2


def test_replay_is_small_and_dated() -> None:
    assert REPLAY.stat().st_size < LIMIT
    assert time.gmtime(page.recorded(REPLAY.read_text(encoding="utf-8"))["began"]).tm_year >= 2026


def test_line_of_a_log_and_an_answer_are_in_a_recording_once(made: Path) -> None:
    text = made.read_text(encoding="utf-8")
    assert text.count("tests/test_app.py::test_healthz PASSED") == 1
    answers = [answer["at"] for _, snapshot in moments(made) for answer in snapshot["app"]["answers"]]
    assert {text.count(f'"at":{at},"status"') for at in answers} == {1}


@pytest.mark.parametrize(
    "text",
    [
        "AKIAABCDEFGHIJKLMNOP",
        SECRET,
        "-----BEGIN RSA PRIVATE KEY-----",
        "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJrdWJlIn0.abc",
        "token: k8s-aws-v1.aHR0",
        "Authorization: Basic QVdTOmFiY2RlZmdoaWo=",
        "https://s3/?X-Amz-Signature=0",
        "https://AWS:word@registry/",
        r"{\"password\": \"0123456789abcdef\"}",
    ],
)
def test_search_finds_a_secret_by_its_shape(text: str) -> None:
    assert search.found_in(f"before {text} after", set())


def test_replay_has_no_secret_and_nothing_of_the_machine_that_made_it() -> None:
    text = REPLAY.read_text(encoding="utf-8") + recorder.moments_file(REPLAY).read_text(encoding="utf-8")
    assert search.found_in(text, set()) == []
    assert str(ROOT) not in text.replace("/root/.cache", "")


def test_search_knows_the_secrets_of_a_run(tmp_path: Path) -> None:
    kept = {"token": "t-learner", "access_key": {"SecretAccessKey": "s-learner"}}
    (tmp_path / "learner.json").write_text(json.dumps(kept))
    (tmp_path / "secret").write_bytes(b"0" * 32)
    (tmp_path / "github" / "learner").mkdir(parents=True)
    hooks = [{"id": 1, "config": {"url": "https://x", "secret": "s-webhook"}}]
    (tmp_path / "github" / "learner" / "app.hooks.json").write_text(json.dumps(hooks))
    known = search.of_run(tmp_path)
    assert {"t-learner", "s-learner", "s-webhook", "30" * 32} < known
    assert search.found_in("a s-webhook b", known) == ["a secret of the run"]


@pytest.mark.parametrize("line", ["known-to-the-run", f"remote: {SECRET}"])
def test_recording_with_a_secret_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    with pytest.raises(StepFailed, match=r"the recording has a \w+") as failed:
        make(tmp_path, monkeypatch, {"known-to-the-run"}, line)
    assert line not in str(failed.value)
    assert list(tmp_path.glob("replay*")) == []


def test_recording_fails_if_the_console_does_not_answer(tmp_path: Path) -> None:
    progress = Progress(tmp_path, console=Console(file=StringIO()))
    with (
        pytest.raises(StepFailed, match="the rehearsal was not recorded: ConnectError"),
        recorder.recording(progress, tmp_path / "replay.html", "http://127.0.0.1:1/"),
    ):
        pass


class Once(BaseHTTPRequestHandler):
    """A console that answers one request of a connection, and closes it when the next one comes."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer with a snapshot, or with events until the recording ends."""
        if getattr(self, "has_answered", False):
            self.close_connection = True
            return
        self.has_answered = True
        snapshot = json.dumps({"pipeline": {"note": ""}, "cluster": {"note": ""}})
        is_stream = self.path == "/api/events"
        body = f"data: {snapshot}\n\n" * 4 if is_stream else snapshot
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: Any) -> None:
        """Print nothing."""


def test_recording_needs_no_kept_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "BETWEEN_MOMENTS", 0.0)
    monkeypatch.setattr(search, "of_run", set)
    with ThreadingHTTPServer(("127.0.0.1", 0), Once) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        made = recorder.Recorder(f"http://127.0.0.1:{server.server_port}/")
        made.start()
        until(lambda: len(made.moments) == 4, 10, "the moments")
        server.shutdown()


# --- In a browser -----------------------------------------------------------------------------------------------


@pytest.mark.rehearsal
@needs_chromium
class TestPlayer:
    """A replay that is opened from the disk."""

    def test_shows_what_the_console_answered(self, chromium: Chrome) -> None:
        """At ten moments, for the replay of this repository."""
        assert_shows_the_moments(chromium, REPLAY)

    def test_made_up_recording_shows_what_the_console_answered(self, chromium: Chrome, made: Path) -> None:
        assert_shows_the_moments(chromium, made)

    @pytest.mark.timeout(1500)
    def test_recording_of_today_shows_what_the_console_answered(
        self, chromium: Chrome, whole_rehearsal: WholeRehearsal
    ) -> None:
        assert whole_rehearsal.done.returncode == 0, whole_rehearsal.done.stderr
        assert whole_rehearsal.replay.stat().st_size < LIMIT
        assert_shows_the_moments(chromium, whole_rehearsal.replay)

    def test_has_the_whole_tutorial(self, chromium: Chrome) -> None:
        """A commit goes live, a bad one is undone while the good one answers, and nothing is left."""
        opened(chromium, REPLAY)
        ended, answers, nodes, last = chromium.execute_script(
            """return [
                snapshots.flatMap((one) => one.pipeline.executions).filter((one) => one.ended)
                  .map((one) => `${one.message}: ${one.status}`),
                snapshots.flatMap((one) => one.app.answers),
                snapshots.map((one) => one.cluster.nodes.filter((node) => node.pods.some((pod) => pod.ready)).length),
                snapshots.at(-1)]"""
        )
        assert {"Greet from EKS: Succeeded", "Probe a path that does not exist: Failed"} <= set(ended)
        good = {answer["version"] for answer in answers if answer["status"] == 200}
        assert len(good) == 2
        assert len({answer["pod"] for answer in answers}) >= 4
        assert max(nodes) == 2
        assert (last["pipeline"]["stages"], last["cluster"]["nodes"]) == ([], [])

    def test_changes_give_every_value_back(self, chromium: Chrome, made: Path) -> None:
        """Values in a random order, so that each is replaced, extended, shortened and changed inside."""
        chance = random.Random(18)  # noqa: S311 - no secret is made of it
        leaves: list[Any] = [None, True, 0, 1.5, "", "a", [], {}, [1], [1, 2], [2, 3], [2, 2], {"a": 1}, {"a": [1]}]
        values: list[Any] = [
            {"x": chance.choices(leaves, k=chance.randrange(4)), "y": {"z": chance.choice(leaves)}} for _ in range(400)
        ]
        changes = [between(old, new) for old, new in zip([None, *values], values, strict=False)]
        script = "let now = null; return arguments[0].map((change) => (now = changed(now, change)))"
        assert opened(chromium, made).execute_script(script, changes) == values

    def test_plays_pauses_and_ends(self, chromium: Chrome, made: Path) -> None:
        """With the mouse: play, pause, speed, and again from the start after the end."""
        opened(chromium, made)
        play, time_shown = (chromium.find_element("id", name) for name in ("play", "time"))
        slow, fast = (chromium.find_element("css selector", f"#speed option:nth-child({at})") for at in (1, 5))
        slow.click()
        play.click()
        wait_until(chromium, "position > 0.3 && position < 2")
        play.click()
        position = chromium.execute_script("return position")
        time.sleep(0.3)
        assert chromium.execute_script("return position") == position
        fast.click()
        play.click()
        wait_until(chromium, "position === recording.seconds && !playing", 3)
        total = time_shown.text.partition(" of ")[2]
        assert time_shown.text == f"{total} of {total}"
        assert play.text == "Play"
        slow.click()
        play.click()
        wait_until(chromium, "position < recording.seconds && playing")
        assert browser_log(chromium) == []

    def test_jumps_to_a_step(self, chromium: Chrome, made: Path) -> None:
        """Each step shows its command, its sentences and, at its end, its result."""
        opened(chromium, made)
        buttons = chromium.find_elements("css selector", "#steps button")
        assert [one.text for one in buttons] == [f"{at} {step.title}" for at, step in enumerate(WALK, start=1)]
        for button, step in zip(buttons, WALK, strict=True):
            button.click()
            assert button.get_attribute("aria-current") == "step"
            assert chromium.find_element("id", "command").text == step.command
            assert chromium.find_element("id", "step").text.endswith(step.says)
        chromium.find_element("id", "back").click()
        assert chromium.find_element("id", "command").text == WALK[-2].command
        chromium.find_element("id", "next").click()
        chromium.find_element("id", "next").click()
        assert chromium.find_element("id", "step").text.endswith("done")
        assert len(chromium.find_elements("css selector", "#steps button.done")) == len(WALK)

    def test_works_with_the_keyboard(self, chromium: Chrome, made: Path) -> None:
        """Space and arrows without focus; every control with Tab; the slider says where it is in words."""
        opened(chromium, made)
        chromium.execute_script("recording.seconds = 60; document.querySelector('#seek').max = 60")
        keys = ActionChains(chromium)
        keys.send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_LEFT).perform()
        assert chromium.execute_script("return position") == 5
        keys.send_keys(Keys.SPACE).perform()
        assert chromium.execute_script("return playing")
        keys.send_keys(Keys.SPACE).perform()
        assert not chromium.execute_script("return playing")
        reached = []
        for _ in range(6):
            keys.send_keys(Keys.TAB).perform()
            reached.append(chromium.execute_script("return document.activeElement.id"))
        assert reached == ["", "play", "back", "next", "seek", "speed"]
        seek = chromium.find_element("id", "seek")
        seek.send_keys(Keys.HOME)
        assert seek.get_attribute("aria-valuetext") == f"0:00 of 1:00, step 1: {WALK[0].title}"
        seek.send_keys(Keys.END)
        assert seek.get_attribute("aria-valuetext") == f"1:00 of 1:00, step 7: {WALK[-1].title}"

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    @pytest.mark.parametrize("step", [1, 5])
    def test_passes_axe(self, chromium: Chrome, scheme: str, step: int) -> None:
        emulate(chromium, prefers_color_scheme=scheme)
        opened(chromium, REPLAY).execute_script("seek(recording.steps[arguments[0] - 1].ended - 1)", step)
        result = Axe().run(chromium)
        emulate(chromium, prefers_color_scheme="light")
        assert [(one["id"], one["nodes"][0]["html"]) for one in result["violations"]] == []
        assert "color-contrast" in {one["id"] for one in result["passes"]}

    def test_fits_a_narrow_screen(self, chromium: Chrome) -> None:
        opened(chromium, REPLAY)
        resize(chromium, (320, 800))
        width = chromium.execute_script("seek(recording.seconds * 0.6); return document.documentElement.scrollWidth")
        resize(chromium, (1280, 900))
        assert width == 320

    def test_needs_and_allows_nothing_but_its_file(self, chromium: Chrome, made: Path) -> None:
        """No request, no link to addresses that answer no more, and a policy that stops requests and inserted code."""
        opened(chromium, made).execute_script("seek(recording.steps[4].ended)")
        assert chromium.execute_script("return performance.getEntriesByType('resource').length") == 0
        assert chromium.execute_script("return [...document.links].map((one) => one.getAttribute('href'))") == ["#log"]
        assert HOSTILE in chromium.find_element("id", "log").text
        assert browser_log(chromium) == []
        with serving(Scripted()) as url:
            fetched = chromium.execute_async_script(  # type: ignore[no-untyped-call]
                "const [url, done] = arguments; fetch(url, {mode: 'no-cors'}).then(() => done('read'), () => done('refused'))",
                url,
            )
        assert fetched == "refused"
        with pytest.raises(Exception, match="TrustedScript"):
            chromium.execute_script(
                "document.body.append(Object.assign(document.createElement('script'), {textContent: 'taken = 1'}))"
            )
        browser_log(chromium)
