"""What a learner runs works with the bash 3.2 and the BSD tools of macOS: no later syntax, and no options of GNU alone."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.lib.certify.pages import commands
from tests.support.desk import Desk
from tests.support.paths import ROOT
from tests.support.shell_syntax import nodes, tree

#: Only Linux machines and CodeBuild run scripts/build, with answer.sh, scripts/dev and the rehearsal.
SCRIPTS = sorted(
    path
    for path in [
        ROOT / "settings.sh",
        ROOT / "scripts/lib/certify/bin/aws",
        *ROOT.glob("scripts/*.sh"),
        *ROOT.glob("scripts/lib/*.sh"),
    ]
    if path.name not in ("rehearse.sh", "test.sh", "answer.sh")
)
#: Later syntax of bash, and what GNU's tools have alone: the pattern, and a line that it must find.
RULES = {
    "associative array, nameref or global": (r"\b(declare|local|typeset)\s+-\w*[Agn]", "declare -A names"),
    "mapfile": (r"\b(mapfile|readarray|coproc)\b", "mapfile -t lines <file"),
    "change of case": (r"\$\{[^}]*(,,?|\^\^?)\}", "${name,,}"),
    "transformation": (r"\$\{[^}]*@[A-Za-z]\}", "${name@Q}"),
    "redirection of both": (r"&>>|\|&", "make |& tee log"),
    "fall-through": (r";;?&", "a) echo ;;&"),
    "time in printf": (r"printf\b.*%\([^)]*\)T", "printf '%(%F)T'"),
    "wait for any": (r"(^|[;&|] *)\s*wait\s+-", "wait -n"),
    "test of a variable": (r"\[\[ (! )?-[vR] ", "[[ -v name ]]"),
    "negative index": (r"\[-\d+\]|\$\{\w+: -\d+:|\$\{[^}]*:-?\w+: ?-\d", "${names[-1]}"),
    "new variable": (r"\$\{?(EPOCH\w+|BASHPID|SRANDOM|BASH_ARGV0)", "$EPOCHSECONDS"),
    "new option": (r"\bshopt\b.*\b(globstar|lastpipe|inherit_errexit)", "shopt -s globstar"),
    "case in a substitution": (r"\$\(case\b", "x=$(case y in y) echo ;; esac)"),
    "sed": (r"\bsed\b.*\s(-[nEr]*i(\s|$)|-r\b|--in-place|-z\b)", "sed -i s/a/b/ file"),
    "grep": (r"\bgrep\s+(-\S+\s+)*-\w*P", "grep -oP x"),
    "date": (r"\bdate\b.*\s(-d\b|--date|\+%[^' ]*N)", "date -d yesterday"),
    "mktemp": (r"\bmktemp\b.*\s(--|-p\b)", "mktemp --suffix .json"),
    "stat": (r"\bstat\s+(-\w*c|--)", "stat -c %s file"),
    "base64": (r"\bbase64\s+(-w|--wrap)", "base64 -w 0"),
    "sort": (r"(?<!-)\bsort\b[^|]*\s(-\w*V|--)", "sort -V"),
    "head or tail": (r"\b(head|tail)\s([^|]*\s)?(-n ?-\d|-c ?-\d|--)", "head -n -1"),
    "xargs": (r"\bxargs\b.*\s(-r\b|-d\b|--)", "xargs -r rm"),
    "cp, mv, rm, ln": (r"(^|[;&|] *)\s*(cp|mv|rm|ln|mkdir|chmod)\s+(-\w+ )*--\w", "cp --parents a b"),
    "option of read": (r"\bread\b.*\s-\w*(N|i|t ?\d*\.\d)", "read -N 1 key"),
    "descriptor in a variable": (r"(?<!\$)\{\w+\}[<>]", "exec {lock}>file"),
    "range": (r"\{(0\d+\.\.|\w+\.\.\w+\.\.)", "{01..10}"),
    # macOS has readlink -f since 12.3.
    "tool": (r"(^|[;|&(]\s*|\s)(timeout|tac|realpath|nproc|sha256sum|setsid|flock) ", "timeout 5 x"),
}


def code(text: str) -> list[tuple[int, str]]:
    """The lines of a script without comments."""
    lines = enumerate(text.splitlines(), 1)
    return [(number, re.sub(r"(^|\s)#\s.*", "", line)) for number, line in lines]


def found(text: str) -> list[str]:
    return [
        f"line {number}: {rule}: {line.strip()}"
        for number, line in code(text)
        for rule, (pattern, _) in RULES.items()
        if re.search(pattern, line)
    ]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_script_runs_on_macos(script: Path) -> None:
    assert found(script.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))], ids=lambda path: path.name
)
def test_page_runs_on_macos(page: Path) -> None:
    assert [line for each in commands(page) if each.is_run for line in found(each.script)] == []


@pytest.mark.parametrize("rule", RULES)
def test_rule_finds_what_it_is_for(rule: str) -> None:
    assert any(f": {rule}: " in each for each in found(RULES[rule][1]))


# What only bash 3.2 does: set -e ignores a subshell that fails, and a test that is a command of its own


def ignored(text: str) -> Iterator[str]:
    """Yield the failures that set -e would not notice, unless the next command looks at them."""
    for node in nodes(tree(text)):
        statements = node.get("Stmts") or []
        for number, statement in enumerate(statements):
            kind = (statement.get("Cmd") or {}).get("Type")
            after = text.encode()[statement["End"]["Offset"] :].decode()
            checked = re.match(r"\s*\w+=\$\?", after)
            if kind == "Subshell" and not checked and not statement.get("Negated"):
                yield f"line {statement['Pos']['Line']}: a subshell"
            if kind in ("TestClause", "ArithmCmd") and number < len(statements) - 1:
                yield f"line {statement['Pos']['Line']}: a test"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_every_failure_stops_bash_3_2(script: Path) -> None:
    assert list(ignored(script.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [("(false)\necho", 1), ("f() {\n  [[ a ]]\n  echo\n}", 1), ("((a))\necho", 1), ("(false)\ncode=$?", 0), ("f() { [[ a ]]; }", 0)],
)  # fmt: skip
def test_ignored_failure_is_found(text: str, found: int) -> None:
    assert len(list(ignored(text))) == found


def is_old(bash: str) -> bool:
    said = subprocess.run([bash, "-c", "echo $BASH_VERSION"], capture_output=True, text=True, check=False)
    return said.stdout.startswith("3.2")


#: macOS has it; elsewhere, BASH_3_2 may name one. With that variable, all tests that run scripts at a desk run them in it.
OLD = [bash for bash in (os.environ.get("BASH_3_2"), "/bin/bash") if bash and is_old(bash)]
needs_it = pytest.mark.skipif(not OLD, reason="there is no bash 3.2: set BASH_3_2 to its path")


@needs_it
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_bash_3_2_reads_it(script: Path) -> None:
    if script.name != "aws":
        subprocess.run([OLD[0], "-n", script], check=True)


# After an unset variable, the EXIT trap of bash 3.2 sees status 0. So status 0 counts only after a call of end.

COMMON = [path for path in (ROOT / "scripts").rglob("*.sh") if "source scripts/lib/common.sh\n" in path.read_text()]
LAST = re.compile(r"(end|die .*|continue_as)\n")


@pytest.mark.parametrize("script", COMMON, ids=lambda path: path.name)
def test_script_says_that_it_has_come_to_its_end(script: Path) -> None:
    lines = script.read_text(encoding="utf-8").splitlines(keepends=True)
    assert LAST.fullmatch(lines[-1])
    assert [line for line in lines if re.search(r"\bexit( 0)?\s*($|[;&|}#])", line)] == []


def run_in(bash: str, last: str) -> tuple[int, str]:
    script = f"set -euo pipefail\nself=/scripts/x.sh\nsource scripts/lib/common.sh\n{last}\n"
    done = subprocess.run([bash, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


@pytest.mark.parametrize("bash", [*OLD, "bash"])
def test_script_that_does_not_come_to_its_end_fails(bash: str) -> None:
    assert run_in(bash, "end") == (0, "")
    code, said = run_in(bash, ":")
    assert code == 1
    assert "fix the error above, then run it again" in said


@needs_it
@pytest.mark.parametrize("last", ['echo "$nope"', 'f() { echo "$nope"; }; f'])
def test_unset_variable_in_bash_3_2_fails(last: str) -> None:
    code, said = run_in(OLD[0], f"{last}\nend")
    assert code == 1
    assert "nope: unbound variable" in said


@needs_it
@pytest.mark.parametrize("kind", ["deployment", "namespace"])
def test_teardown_in_bash_3_2_reports_what_it_could_not_delete(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BASH_3_2", OLD[0])
    desk = Desk(tmp_path / "desk")
    desk.answer_as_if_present()
    missing = "An error occurred (ValidationError) when calling DescribeStacks: Stack with id x does not exist\n"
    desk.answer("aws", "describe-stacks", stderr=missing, code=254)
    desk.answer("aws", "get-role ", stderr="An error occurred (NoSuchEntity) when calling GetRole: x\n", code=254)
    desk.answer("kubectl", f"delete {kind}", stderr="no\n", code=1)
    done = desk.run("teardown.sh", "--yes")
    assert (
        done.stderr.splitlines()[-1] == "failed: the namespace hello-world: fix the errors above, then run this again"
    )
    assert done.returncode == 1
