"""README.md keeps its promises: its form, its links, and, in a kept rehearsal, its commands and what they print."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from markdown_it import MarkdownIt
from markdown_it.token import Token

from tests.support.fixtures import Rehearsal
from tests.support.paths import ROOT
from tests.support.readme_runner import Result, commands, difference, run_readme, skipped

README = ROOT / "README.md"

#: Why a fence is not run, by the word after its language.
WORDS = {
    "rehearsal": "starts or ends the rehearsal in which the others run",
    "account": "needs an AWS or GitHub account",
    "macos": "is for macOS",
    "linux": "installs tools, which a rehearsal brings along",
    "powershell": "is for Windows",
    "alternative": "is another way to do a step",
}


def tokens() -> list[Token]:
    return MarkdownIt().enable("table").parse(README.read_text())


def headings() -> list[str]:
    found = tokens()
    return [found[at + 1].content for at, token in enumerate(found) if token.type == "heading_open"]


def anchor(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def links() -> list[str]:
    return [
        str(child.attrs["href"]) for token in tokens() for child in token.children or [] if child.type == "link_open"
    ]


# Its form


def test_the_first_commands_are_the_rehearsal_and_the_tests() -> None:
    first, second, *_ = commands(README.read_text())
    assert first.script == "scripts/rehearse.sh\n"
    assert second.script == "scripts/test.sh\n"


def test_what_is_built_and_what_it_costs_come_before_the_first_command() -> None:
    before = README.read_text().split("```bash", 1)[0]
    assert "```mermaid" in before
    assert re.search(r"\$\d+\.\d\d an hour", before)
    assert "a month" in before


def test_steps_are_numbered_in_order_and_the_last_deletes_everything() -> None:
    steps = [re.match(r"(\d+)\. (.*)", heading) for heading in headings()]
    numbered = [(int(step[1]), step[2]) for step in steps if step]
    assert [number for number, _ in numbered] == list(range(1, len(numbered) + 1))
    last = f"{numbered[-1][0]}. {numbered[-1][1]}"
    assert any("scripts/teardown.sh" in each.script for each in commands(README.read_text()) if each.section == last)
    assert commands(README.read_text())[-1].section == last, "a command after the last step would meet nothing"


def test_each_command_follows_a_sentence_that_ends_in_a_colon() -> None:
    found = tokens()
    for at, token in enumerate(found):
        if token.type == "fence" and token.info.split()[:1] in (["bash"], ["powershell"]):
            before = found[at - 2].content if found[at - 1].type == "paragraph_close" else ""
            assert before.endswith(":"), f"line {token.map and token.map[0] + 1}: {before!r}"


def test_commands_have_no_prompt_and_words_that_are_explained() -> None:
    for command in commands(README.read_text()):
        assert not re.search(r"^\s*\$ ", command.script, re.MULTILINE), f"line {command.line} has a prompt"
        assert command.is_run or command.word in WORDS, f"line {command.line}: {command.word!r} is not explained"


def test_no_command_is_skipped_that_could_run() -> None:
    """Most of the page is run; what is not is named here, so that skipping one more is a decision."""
    run = [command for command in commands(README.read_text()) if command.is_run]
    assert len(run) > 2 * sum(skipped(README).values())


def test_local_links_and_anchors_lead_somewhere() -> None:
    anchors = {anchor(heading) for heading in headings()}
    for link in links():
        if link.startswith("#"):
            assert link[1:] in anchors, f"{link} is no heading"
        elif not link.startswith(("https://", "http://127.0.0.1")):
            assert (ROOT / link.split("#")[0]).exists(), f"{link} does not exist"


def test_there_is_the_section_for_an_own_app() -> None:
    assert "Use it for your own app" in headings()


# Its agreement with the files


def fences_of_files() -> Iterator[tuple[str, str]]:
    for token in tokens():
        if token.type == "fence" and len(token.info.split()) == 2 and token.info.split()[0] in ("json", "yaml"):
            yield token.info.split()[1], token.content


@pytest.mark.parametrize(("name", "text"), list(fences_of_files()), ids=lambda value: value if len(value) < 40 else "")
def test_what_it_shows_of_a_file_is_in_the_file(name: str, text: str) -> None:
    lines = (ROOT / name).read_text()
    shown = textwrap.dedent(text).strip("\n").splitlines()
    margin = re.search(rf"^( *){re.escape(shown[0])}$", lines, re.MULTILINE)
    assert margin, f"{name} has no line {shown[0]!r}"
    assert textwrap.indent("\n".join(shown), margin[1]) in lines


def test_every_file_at_the_root_is_listed() -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True, timeout=60,
    ).stdout.splitlines()  # fmt: skip
    unlisted = {"README.md", "LICENSE", ".github/CONTRIBUTING.md"}
    wanted = {name.split("/")[0] for name in tracked if not name.startswith(".")} - unlisted
    assert wanted - {link.rstrip("/") for link in links()} == set()


def test_its_edits_find_what_they_replace() -> None:
    """sed says nothing when it replaces nothing."""
    for command in commands(README.read_text()):
        for line in command.script.replace("\\\n", "").splitlines():
            files = [ROOT / word for word in line.split() if (ROOT / word).is_file()]
            for expression in re.findall(r"['\"]s([/#])(.+?)\1.*?\1", line) if line.startswith("sed") else ():
                assert files, f"line {command.line} edits no file that exists"
                assert any(expression[1] in file.read_text() for file in files), f"line {command.line}: {expression[1]}"


def test_aws_auth_edited_by_hand_is_as_the_script_would_have_it(tmp_path: Path) -> None:
    """What the learner fetches, with the lines that the README has inserted, leaves the script nothing to do."""
    node = "- groups:\n  - system:nodes\n  rolearn: arn:aws:iam::111122223333:role/node\n  username: node\n"
    fetched = {"apiVersion": "v1", "data": {"mapRoles": node}, "kind": "ConfigMap"}
    (tmp_path / "aws-auth-patch.yml").write_text(
        "apiVersion: v1\ndata:\n  mapRoles: |\n" + textwrap.indent(node, "    ") + "kind: ConfigMap\n"
    )
    (edit,) = [each.script for each in commands(README.read_text()) if "mapRoles: |/r" in each.script]
    settings = {
        "ACCOUNT_ID": "111122223333",
        "KUBECTL_ROLE_NAME": "deploy",
        "scratch": str(tmp_path),
        "PATH": os.environ["PATH"],
    }
    subprocess.run(["bash", "-euc", edit], check=True, env=settings, timeout=60)
    edited = yaml.safe_load((tmp_path / "aws-auth-patch.yml").read_text())
    entry, rest = yaml.safe_load(edited["data"]["mapRoles"])[0], yaml.safe_load(edited["data"]["mapRoles"])[1:]
    assert rest == yaml.safe_load(node)
    assert {**edited, "data": fetched["data"]} == fetched
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "lib" / "aws_auth.py", "add", entry["rolearn"], tmp_path / "saved.yml"],
        input=json.dumps(edited), capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert done.stdout == ""


def template() -> dict[str, Any]:
    class Loader(yaml.SafeLoader):
        """Takes CloudFormation's tags for nothing; no parameter has one."""

    Loader.add_multi_constructor("!", lambda *_: None)
    text = (ROOT / "ci-cd-codepipeline.cfn.yml").read_text()
    loaded: dict[str, Any] = yaml.load(text, Loader)  # noqa: S506 (it is a SafeLoader)
    return loaded


def rows(section: str) -> list[list[str]]:
    """The cells of the tables under a heading, without their header rows."""
    found: list[list[str]] = []
    here, body = "", False
    for at, token in enumerate(tokens()):
        if token.type == "heading_open":
            here = tokens()[at + 1].content
        body = token.type == "tbody_open" or (body and token.type != "tbody_close")
        if here == section and body and token.type == "tr_open":
            found.append([])
        if here == section and body and token.type == "inline":
            found[-1].append(token.content)
    return found


def test_the_parameter_table_is_the_templates() -> None:
    parameters = template()["Parameters"]
    table = {cells[0].strip("`"): cells[1].strip("`") for cells in rows("Its parameters")}
    assert list(table) == list(parameters)
    for name, value in parameters.items():
        assert table[name] == str(value.get("Default", "")), name


def test_the_cost_is_the_one_that_the_scripts_say() -> None:
    """A month is 730 hours, as AWS's calculator has it."""
    printed = subprocess.run(
        [sys.executable, ROOT / "scripts" / "lib" / "cost.py", "t3.medium", "2"],
        cwd=ROOT, capture_output=True, text=True, check=True, timeout=60,
    ).stdout  # fmt: skip
    told = re.match(r"about \$(\d+\.\d\d) an hour, \$(\d+\.\d\d) a day", printed)
    assert told, printed
    *parts, hour, day, month = (float(re.sub(r"[^\d.]", "", cells[1])) for cells in rows("What it costs"))
    assert (hour, day) == (float(told[1]), float(told[2]))
    assert month == round(day / 24 * 730)
    assert abs(sum(parts) - hour) < 0.005
    assert f"about **${told[1]} an hour**" in README.read_text()


def test_every_symptom_has_a_cause_and_a_remedy() -> None:
    table = rows("If something goes wrong")
    assert len(table) >= 30
    assert all(len(cells) == 3 and all(cells) for cells in table)


# The runner itself


@pytest.mark.parametrize(
    ("expected", "actual"),
    [
        ("", ""),
        ("one", "one\n"),
        ("one  \n\n", "one\n\n\n"),
        ("NAME   AGE", "NAME\tAGE"),
        ("id …", "id 42"),
        ("…s/…", "pods/hello"),
        ("a\n…\nz", "a\nb\nc\nz"),
        ("a\n…\nz", "a\nz"),
        ("…", ""),
        ("…\nz", "z\nz"),
        ("$1.00 (…)", "$1.00 (about)"),
    ],
)
def test_output_fits(expected: str, actual: str) -> None:
    assert difference(expected, actual) == ""


@pytest.mark.parametrize(
    ("expected", "actual", "problem"),
    [
        ("", "noise", "expected 'no more output', got 'noise'"),
        ("one", "two", "expected 'one', got 'two'"),
        ("one\ntwo", "one", "expected 'two', got the end of the output"),
        ("a\n…\nz", "a\nb", "expected 'z', got the end of the output"),
        ("a.c", "abc", "expected 'a.c', got 'abc'"),
    ],
)
def test_output_differs(expected: str, actual: str, problem: str) -> None:
    assert difference(expected, actual) == problem


def page(*fences: tuple[str, str]) -> str:
    return "# Title\n\nDo it:\n\n" + "\n".join(f"```{info}\n{text}\n```\n" for info, text in fences)


def results(tmp_path: Path, *fences: tuple[str, str], limit: float = 20) -> list[Result]:
    readme = tmp_path / "README.md"
    readme.write_text(page(*fences))
    return list(run_readme(readme, tmp_path, {"PATH": "/usr/bin:/bin"}, limit))


def test_commands_are_found_with_line_section_and_output() -> None:
    found = commands(
        page(("bash", "true"), ("text", "x"), ("bash macos", "brew"), ("json", "{}"), ("powershell", "dir"))
    )
    assert [(each.line, each.section, each.word, each.expected) for each in found] == [
        (5, "Title", "", "x\n"),
        (13, "Title", "macos", ""),
        (21, "Title", "powershell", ""),
    ]
    assert [each.is_run for each in found] == [True, False, False]


def test_commands_share_a_shell_and_its_directory(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    ran = results(tmp_path, ("bash", "x=1\ncd deep"), ("bash", 'echo "$x" "${PWD##*/}"'), ("text", "1 deep"))
    assert [each.problem for each in ran] == ["", ""]


def test_a_failing_command_is_a_problem_and_ends_the_run(tmp_path: Path) -> None:
    ran = results(tmp_path, ("bash", "false\ntrue"), ("bash", "true"))
    assert [each.problem for each in ran] == ["ended with status 1"]


def test_a_refusal_must_be_one(tmp_path: Path) -> None:
    ran = results(tmp_path, ("bash refused", "echo no; false"), ("text", "no"), ("bash refused", "true"))
    assert [each.problem for each in ran] == ["", "ended with status 0"]


def test_errors_are_output_and_other_output_is_a_problem(tmp_path: Path) -> None:
    ran = results(tmp_path, ("bash", "echo seen >&2"), ("text", "seen"), ("bash", "printf unsaid"))
    assert [each.problem for each in ran] == ["", "expected 'no more output', got 'unsaid'"]


def test_a_fence_is_not_run_that_is_for_elsewhere(tmp_path: Path) -> None:
    assert results(tmp_path, ("bash macos", "touch ran"), ("powershell", "touch ran")) == []
    assert skipped(tmp_path / "README.md") == {"macos": 1, "powershell": 1}
    assert not (tmp_path / "ran").exists()


def test_a_command_that_hangs_or_ends_the_shell_is_told(tmp_path: Path) -> None:
    with pytest.raises(TimeoutError, match="so far:\nbegun"):
        results(tmp_path, ("bash", "echo begun; sleep 60"), limit=0.5)
    with pytest.raises(EOFError, match="the shell ended"):
        results(tmp_path, ("bash", "exit 0"))


# Its commands, in a kept rehearsal


@pytest.fixture
def learner(rehearsal: Rehearsal) -> Iterator[Rehearsal]:
    """The kept rehearsal, in which another app stands at the end of the page; whoever uses it next finds this one."""
    begun = rehearsal.run("git", "rev-parse", "HEAD").stdout.strip()
    yield rehearsal
    rehearsal.run("git", "read-tree", "--reset", "-u", begun)
    rehearsal.run("git", "commit", "--quiet", "--message", "Start from the tutorial again")
    rehearsal.run("git", "push", "--quiet")


@pytest.mark.rehearsal
@pytest.mark.timeout(1800)
def test_the_commands_do_what_the_readme_says(learner: Rehearsal, capsys: pytest.CaptureFixture[str]) -> None:
    """A learner's whole walk: every command of the page, in order, in the learner's own checkout."""
    ran = []
    with capsys.disabled():
        print()
        for result in run_readme(README, learner.checkout, learner.env):
            first = result.command.script.splitlines()[0]
            print(f"  line {result.command.line:>4}  {result.seconds:6.1f} s  {result.problem or 'ok':4}  {first[:80]}")
            assert not result.problem, f"README.md, line {result.command.line}: {result.problem}\n{result.output}"
            ran.append(result)
        elsewhere = ", ".join(f"{count} {word} ({WORDS[word]})" for word, count in sorted(skipped(README).items()))
        print(f"  {len(ran)} run and compared, not run: {elsewhere}")
    assert len(ran) == sum(command.is_run for command in commands(README.read_text()))
