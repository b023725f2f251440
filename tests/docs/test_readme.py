"""README.md and its chapters keep their promises: form, links, agreement with the files, and commands with their output.

The commands run in a kept rehearsal, in the order that scripts/lib/certify/pages.py describes.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from markdown_it import MarkdownIt
from markdown_it.token import Token

from rehearsal import waiting
from scripts.lib.certify.pages import chapters, commands, difference, walk
from tests.support.console_form import form
from tests.support.fixtures import Rehearsal
from tests.support.paths import ROOT
from tests.support.readme_runner import Result, run_readme, skipped
from tests.support.template import TEMPLATE
from tests.support.trap import Listener, kubeconfig

README = ROOT / "README.md"
CHAPTERS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [README, *CHAPTERS]

#: Why a fence is not run, by the word after its language.
WORDS = {
    "short": "is a summary of the steps",
    "rehearsal": "starts or ends the rehearsal in which the others run",
    "account": "needs an AWS or GitHub account",
    "powershell": "is for Windows",
    "container": "needs a Docker Engine that may run privileged containers",
    "alternative": "is another way to do a step",
}

#: The files that the tutorial is about, in the order of the table.
REQUIRED = [
    "app.py",
    "Dockerfile",
    "buildspec.yml",
    "deployment.yml",
    "ci-cd-codepipeline.cfn.yml",
    "trust.json",
    "iam-role-policy.json",
    "aws-auth-patch.yml",
    "scripts",
    "tests",
    "requirements.txt",
    "README.md",
]

#: Where a step's **Read more** line leads: the documentation of its commands.
DOCUMENTATION = ("docs.aws.amazon.com", "kubernetes.io", "docs.github.com", "docs.docker.com")


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


each_page = pytest.mark.parametrize("page", PAGES, ids=name)


def tokens(page: Path = README) -> list[Token]:
    return MarkdownIt().enable("table").parse(page.read_text(encoding="utf-8"))


def headings(page: Path = README) -> list[str]:
    found = tokens(page)
    return [found[at + 1].content for at, token in enumerate(found) if token.type == "heading_open"]


def section(title: str) -> str:
    """The text of a section of README.md, without its heading and without sections of the same or a higher level."""
    found = re.search(
        rf"^(#+) {re.escape(title)}\n(.*?)(?=^#{{1,3}} |\Z)", README.read_text(), re.MULTILINE | re.DOTALL
    )
    assert found, f"README.md has no section {title}"
    return found[2]


def steps() -> list[str]:
    """The headings of the numbered steps."""
    return [heading for heading in headings() if re.match(r"\d+\. ", heading)]


def anchor(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def links(page: Path = README) -> list[str]:
    return [
        str(child.attrs["href"])
        for token in tokens(page)
        for child in token.children or []
        if child.type == "link_open"
    ]


# Its form


def test_readme_is_short() -> None:
    assert len(README.read_text().splitlines()) <= 450


@pytest.mark.parametrize("page", CHAPTERS, ids=name)
def test_chapter_is_short_and_has_a_title(page: Path) -> None:
    lines = page.read_text().splitlines()
    assert len(lines) < 250
    assert lines[0].startswith("# ")


def test_sections_come_in_the_order_of_the_walk() -> None:
    wanted = ["What it costs", "In short", "Try it without AWS", "The route", *steps(), "What was and was not tried"]
    assert [heading for heading in headings() if heading in wanted] == wanted


def test_one_sentence_and_the_diagram_come_first() -> None:
    heading, sentence, diagram, *_ = re.split(r"\n\n", README.read_text())
    assert heading.startswith("# ")
    assert sentence.count(".") == 1
    assert diagram.startswith("```mermaid")


def test_in_short_lists_five_commands() -> None:
    (short,) = [each for each in commands(README) if each.section == "In short"]
    assert short.word == "short"
    assert [line.partition("#")[0].strip() for line in short.script.splitlines()] == [
        "scripts/setup-cluster.sh",
        "scripts/create-stack.sh",
        "git push",
        "scripts/status.sh",
        "scripts/teardown.sh",
    ]


def test_first_commands_are_the_rehearsal_and_the_tests() -> None:
    first = next(each for each in commands(README) if each.word != "short")
    assert first.script == "scripts/rehearse.sh\n"
    _, after = section("Try it without AWS").split(first.script)
    assert "`scripts/test.sh`" in after.split("```")[1]


def test_route_lists_the_steps_with_minutes() -> None:
    listed = re.findall(r"^(\d+)\. \[(.*)\]\(#(.*)\): (.*)$", section("The route"), re.MULTILINE)
    assert [f"{number}. {title}" for number, title, _, _ in listed] == steps()
    for number, title, link, minutes in listed:
        assert link == anchor(f"{number}. {title}")
        assert "minutes" in minutes


@pytest.mark.parametrize("step", steps())
def test_step_ends_with_one_line_to_read_more(step: str) -> None:
    paragraphs = section(step).strip().split("\n\n")
    assert [paragraph.startswith("**Read more**: ") for paragraph in paragraphs[:-1]] == [False] * (len(paragraphs) - 1)
    last = paragraphs[-1]
    assert last.startswith("**Read more**: ")
    assert "\n" not in last
    hosts = re.findall(r"\]\(https://([^/]+)/", last)
    assert hosts
    assert set(hosts) <= set(DOCUMENTATION)


def test_go_further_lists_every_chapter() -> None:
    assert sorted(chapters(README)) == CHAPTERS
    assert len(CHAPTERS) == 14


def test_what_is_built_and_what_it_costs_come_before_the_first_command() -> None:
    before = README.read_text().split("```bash", 1)[0]
    assert "```mermaid" in before
    assert re.search(r"\$\d+\.\d\d an hour", before)
    assert "a month" in before


def test_steps_are_numbered_in_order_and_the_last_deletes_everything() -> None:
    assert [int(step.partition(".")[0]) for step in steps()] == list(range(1, len(steps()) + 1))
    last = steps()[-1]
    assert any("scripts/teardown.sh" in each.script for each in commands(README) if each.section == last)
    assert walk(README)[-1].section == last, "a command after the last step would find nothing"
    assert steps()[-2].endswith(". Go further"), "the chapters' commands need what the last step deletes"


@each_page
def test_each_command_follows_a_sentence_that_ends_in_a_colon(page: Path) -> None:
    found = tokens(page)
    for at, token in enumerate(found):
        if token.type == "fence" and token.info.split()[:1] in (["bash"], ["powershell"]):
            before = found[at - 2].content if found[at - 1].type == "paragraph_close" else ""
            assert before.endswith(":"), f"line {token.map and token.map[0] + 1}: {before!r}"


@each_page
def test_commands_have_no_prompt_and_words_that_are_explained(page: Path) -> None:
    for command in commands(page):
        assert not re.search(r"^\s*\$ ", command.script, re.MULTILINE), f"line {command.line} has a prompt"
        assert command.is_run or command.word in WORDS, f"line {command.line}: {command.word!r} is not explained"


def test_no_command_is_skipped_that_could_run() -> None:
    """Most commands are run. Those of the page that are not are counted here, so that skipping one more is a decision."""
    run = [command for command in walk(README) if command.is_run]
    assert len(run) > 2 * sum(skipped(README).values())
    words = [command.word for command in commands(README) if not command.is_run]
    assert sorted(words) == ["account", "account", "account", "powershell", "rehearsal", "rehearsal", "short"]


@each_page
def test_local_links_and_anchors_lead_somewhere(page: Path) -> None:
    for link in links(page):
        path, _, fragment = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not link.startswith(("https://", "http://127.0.0.1")):
            assert target.exists(), f"{link} does not exist"
            assert not fragment or fragment in map(anchor, headings(target)), f"{link} is no heading"


def test_token_link_fills_in_the_scopes() -> None:
    (link,) = [link for link in links() if link.startswith("https://github.com/settings/tokens/new")]
    query = parse_qs(urlsplit(link).query)
    assert query["scopes"] == ["repo,admin:repo_hook"]
    assert query["description"]


def test_there_is_a_chapter_for_an_own_app() -> None:
    assert "Use it for your own app" in headings(ROOT / "docs" / "own-app.md")


# Its agreement with the files


def fences_of_files(*languages: str) -> Iterator[tuple[str, str]]:
    """The files, and their excerpts, that fences such as ``json trust.json`` show."""
    for page in PAGES:
        for token in tokens(page):
            words = token.info.split() if token.type == "fence" else []
            if len(words) == 2 and words[0] in languages:
                yield words[1], token.content


@pytest.mark.parametrize(
    ("file", "text"),
    list(fences_of_files("json", "yaml", "python", "Dockerfile")),
    ids=lambda value: value if len(value) < 40 else "",
)
def test_excerpt_of_a_file_is_in_the_file(file: str, text: str) -> None:
    lines = (ROOT / file).read_text()
    shown = textwrap.dedent(text).strip("\n").splitlines()
    margin = re.search(rf"^( *){re.escape(shown[0])}$", lines, re.MULTILINE)
    assert margin, f"{file} has no line {shown[0]!r}"
    assert textwrap.indent("\n".join(shown), margin[1]) in lines


def test_required_documents_are_shown() -> None:
    assert {"trust.json", "iam-role-policy.json"} <= {file for file, _ in fences_of_files("json")}


def test_aws_auth_is_shown_whole_with_the_new_lines_marked() -> None:
    ((file, text),) = fences_of_files("diff")
    shown = text.splitlines()
    assert "".join(f"{line[1:]}\n" for line in shown) == (ROOT / file).read_text()
    roles = yaml.safe_load((ROOT / file).read_text())["data"]["mapRoles"]
    added = "".join(f"{line[1:]}\n" for line in shown if line.startswith("+"))
    assert yaml.safe_load(added) == yaml.safe_load(roles)[-1:]
    assert {line[0] for line in shown} == {" ", "+"}


def test_every_file_at_the_root_is_listed() -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True, timeout=60,
    ).stdout.splitlines()  # fmt: skip
    wanted = {name.split("/")[0] for name in tracked if not name.startswith(".")}
    assert wanted - set(links()) == set()


def test_table_of_files_begins_with_the_required_ones() -> None:
    first = [re.match(r"\[(.*?)\]\((.*?)\)", cells[0]) for cells in rows("What is in here")]
    assert [link[2] for link in first if link][: len(REQUIRED)] == REQUIRED


def test_its_edits_find_what_they_replace() -> None:
    """sed says nothing when it replaces nothing."""
    for command in walk(README):
        for line in command.script.replace("\\\n", "").splitlines():
            files = [ROOT / word for word in line.split() if (ROOT / word).is_file()]
            for expression in re.findall(r"['\"]s([/#])(.+?)\1.*?\1", line) if line.startswith("sed") else ():
                where = f"{command.page}, line {command.line}"
                assert files, f"{where} edits no file that exists"
                assert any(expression[1] in file.read_text() for file in files), f"{where}: {expression[1]}"


def test_aws_auth_edited_by_hand_needs_no_change_by_the_script(tmp_path: Path) -> None:
    """The learner fetches, edits and updates aws-auth by the README's lines; then the script has nothing to do."""
    node = "- groups:\n  - system:nodes\n  rolearn: arn:aws:iam::111122223333:role/node\n  username: node\n"
    metadata = {"name": "aws-auth", "namespace": "kube-system", "resourceVersion": "1"}
    fetched = {"apiVersion": "v1", "data": {"mapRoles": node}, "kind": "ConfigMap", "metadata": metadata}
    (tmp_path / "fetched.yml").write_text(
        "apiVersion: v1\ndata:\n  mapRoles: |\n" + textwrap.indent(node, "    ") + "kind: ConfigMap\n"
        'metadata: {name: aws-auth, namespace: kube-system, resourceVersion: "1"}\n'
    )
    kubectl = tmp_path / "kubectl"
    kubectl.write_text(
        f'#!/bin/sh\n[ "$1 $2 $3 $4 $5" != "--context this get configmap aws-auth" ] || cat "{tmp_path}/fetched.yml"\n'
    )
    kubectl.chmod(0o755)
    (edit,) = [each.script for each in commands(README) if "mapRoles: |/r" in each.script]
    settings = {
        "ACCOUNT_ID": "111122223333",
        "PARTITION": "aws",
        "KUBECTL_ROLE_NAME": "deploy",
        "APP_NAMESPACE": "hello-world",
        "context": "this",
        "scratch": str(tmp_path),
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
    }
    subprocess.run(["bash", "-euc", edit], cwd=ROOT, check=True, env=settings, timeout=60)
    edited = yaml.safe_load((tmp_path / "aws-auth-patch.yml").read_text())
    entry, rest = yaml.safe_load(edited["data"]["mapRoles"])[0], yaml.safe_load(edited["data"]["mapRoles"])[1:]
    assert entry["rolearn"] == "arn:aws:iam::111122223333:role/deploy"
    assert rest == yaml.safe_load(node)
    assert {**edited, "data": fetched["data"]} == fetched
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "lib" / "aws_auth.py", "add", entry["rolearn"], tmp_path / "saved.yml"],
        input=json.dumps(edited), capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert done.stdout == ""


def test_aws_auth_is_edited_in_powershell_too() -> None:
    (lines,) = [each.script for each in commands(README) if each.word == "powershell"]
    fetch, edit, update = lines.splitlines()
    assert "get configmap aws-auth -n kube-system -o yaml | Out-File -Encoding ascii aws-auth-patch.yml" in fetch
    assert edit.endswith(" aws-auth-patch.yml")
    assert "patch configmap aws-auth -n kube-system --patch-file aws-auth-patch.yml" in update


def rows(title: str, page: Path = README) -> list[list[str]]:
    """The cells of the tables under a heading, or of a whole page if there is none, without their header rows."""
    found: list[list[str]] = []
    here, body, all_tokens = "", False, tokens(page)
    for at, token in enumerate(all_tokens):
        if token.type == "heading_open":
            here = all_tokens[at + 1].content
        body = token.type == "tbody_open" or (body and token.type != "tbody_close")
        if title in ("", here) and body and token.type == "tr_open":
            found.append([])
        if title in ("", here) and body and token.type == "inline":
            found[-1].append(token.content)
    return found


def test_form_of_the_console_is_the_templates() -> None:
    """On failure, replace the table in README.md by what ``python -m tests.support.console_form`` prints."""
    assert form() in section("8. Create the stack"), f"paste this table:\n{form()}"


def test_form_has_every_parameter() -> None:
    assert sorted(cells[2].strip("`") for cells in rows("8. Create the stack")) == sorted(TEMPLATE["Parameters"])


def test_cost_is_what_the_scripts_print() -> None:
    """A month is 730 hours, as in AWS's calculator."""
    printed = subprocess.run(
        [sys.executable, ROOT / "scripts" / "lib" / "cost.py", "t3.medium", "2"],
        cwd=ROOT, capture_output=True, text=True, check=True, timeout=60,
    ).stdout  # fmt: skip
    cost = re.match(r"about \$(\d+\.\d\d) an hour, \$(\d+\.\d\d) a day", printed)
    assert cost, printed
    *parts, hour, day, month = (float(re.sub(r"[^\d.]", "", cells[1])) for cells in rows("What it costs"))
    assert (hour, day) == (float(cost[1]), float(cost[2]))
    assert month == round(day / 24 * 730)
    assert abs(sum(parts) - hour) < 0.005
    assert f"about **${cost[1]} an hour**" in README.read_text()


def test_every_symptom_has_a_cause_and_a_remedy() -> None:
    table = rows("", ROOT / "docs" / "troubleshooting.md")
    assert len(table) >= 57
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


def markdown(*fences: tuple[str, str]) -> str:
    return "# Title\n\nDo it:\n\n" + "\n".join(f"```{info}\n{text}\n```\n" for info, text in fences)


def results(tmp_path: Path, *fences: tuple[str, str], limit: float = 20) -> list[Result]:
    readme = tmp_path / "README.md"
    readme.write_text(markdown(*fences))
    return list(run_readme(readme, tmp_path, {"PATH": "/usr/bin:/bin"}, limit))


def test_commands_are_found_with_line_section_and_output(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        markdown(("bash", "true"), ("text", "x"), ("bash macos", "brew"), ("json", "{}"), ("powershell", "dir"))
    )
    found = commands(page)
    assert [(each.page, each.line, each.section, each.word, each.expected) for each in found] == [
        ("page.md", 5, "Title", "", "x\n"),
        ("page.md", 13, "Title", "macos", ""),
        ("page.md", 21, "Title", "powershell", ""),
    ]
    assert [each.is_run for each in found] == [True, False, False]


def test_chapters_run_where_go_further_links_them(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    for chapter in ("first", "second"):
        (tmp_path / "docs" / f"{chapter}.md").write_text(markdown(("bash", f'steps="$steps {chapter}"')))
    readme = tmp_path / "README.md"
    readme.write_text(
        "[Only a link](docs/second.md), to be followed later.\n\n"
        + markdown(("bash", "steps=begun"))
        + "\n### 1. Go further\n\n- [One](docs/first.md), [a part](docs/second.md#part)\n- [Two](docs/second.md)\n\n"
        + "### 2. End\n\nEnd:\n\n```bash\necho $steps\n```\n```text\nbegun first second\n```\n"
    )
    assert chapters(readme) == [tmp_path / "docs" / "first.md", tmp_path / "docs" / "second.md"]
    assert [each.page for each in walk(readme)] == ["README.md", "first.md", "second.md", "README.md"]
    assert [each.problem for each in run_readme(readme, tmp_path, {"PATH": "/usr/bin:/bin"})] == [""] * 4


@each_page
def test_every_fence_of_commands_is_found(page: Path) -> None:
    """A parser of Markdown finds the same fences, in the same lines."""
    wanted = [
        (token.map and token.map[0] + 1, token.content)
        for token in tokens(page)
        if token.type == "fence" and token.info.split()[:1] in (["bash"], ["powershell"])
    ]
    assert [(each.line, each.script) for each in commands(page)] == wanted


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


def test_a_command_that_hangs_or_ends_the_shell_is_reported(tmp_path: Path) -> None:
    with pytest.raises(TimeoutError, match="so far:\nbegun"):
        results(tmp_path, ("bash", "echo begun; sleep 60"), limit=0.5)
    with pytest.raises(EOFError, match="the shell ended"):
        results(tmp_path, ("bash", "exit 0"))


RUN = "import os, pathlib, sys; from tests.support.readme_runner import run_readme; list(run_readme(*map(pathlib.Path, sys.argv[1:]), os.environ))"


def test_commands_end_with_the_process_that_runs_them(tmp_path: Path) -> None:
    file, readme = tmp_path / "process", tmp_path / "README.md"
    readme.write_text(markdown(("bash", "echo $$ >new; mv new process; while sleep 0.1; do :; done")))
    with subprocess.Popen([sys.executable, "-c", RUN, readme, tmp_path], cwd=ROOT) as runner:
        waiting.until(file.exists, 30, "the command to begin")
        runner.kill()
    shell = int(file.read_text())

    def has_ended() -> bool:
        with contextlib.suppress(ProcessLookupError):
            os.kill(shell, 0)
            return False
        return True

    waiting.until(has_ended, 30, "the command to end")


# Its commands, in a kept rehearsal


@pytest.fixture
def learner(rehearsal: Rehearsal) -> Iterator[Rehearsal]:
    """The kept rehearsal. Its last chapter deploys another app, so restore the tutorial's for the tests that follow."""
    begun = rehearsal.run("git", "rev-parse", "HEAD").stdout.strip()
    yield rehearsal
    rehearsal.run("git", "read-tree", "--reset", "-u", begun)
    rehearsal.run("git", "commit", "--quiet", "--message", "Start from the tutorial again")
    rehearsal.run("git", "push", "--quiet")


@pytest.mark.rehearsal
@pytest.mark.timeout(1800)
def test_the_commands_do_what_the_readme_says(
    learner: Rehearsal, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Run the whole walk: every command of the page and its chapters, in order, in the learner's checkout.

    The learner's own kubeconfig has another cluster as its current context, which no command may reach.
    """
    ran, other = [], Listener()
    (tmp_path / "kubeconfig").write_text(kubeconfig(another=other.url))
    env = learner.env | {"KUBECONFIG": str(tmp_path / "kubeconfig")}
    with capsys.disabled():
        print()
        for result in run_readme(README, learner.checkout, env):
            first = result.command.script.splitlines()[0]
            where = f"{result.command.page}:{result.command.line}"
            print(f"  {where:27}  {result.seconds:6.1f} s  {result.problem or 'ok':4}  {first[:80]}")
            assert not result.problem, f"{where}: {result.problem}\n{result.output}"
            ran.append(result)
        elsewhere = ", ".join(f"{count} {word} ({WORDS[word]})" for word, count in sorted(skipped(README).items()))
        print(f"  {len(ran)} run and compared, not run: {elsewhere}")
    assert len(ran) == sum(command.is_run for command in walk(README))
    assert (other.count, (tmp_path / "kubeconfig").read_text()) == (0, kubeconfig(another=other.url))
