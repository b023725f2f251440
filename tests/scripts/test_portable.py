"""What a learner runs works with the bash 3.2 and the BSD tools of macOS: no later syntax, and no options of GNU alone."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from scripts.lib.certify.pages import commands
from tests.support.paths import ROOT

#: Only Linux machines and CodeBuild run scripts/build, scripts/dev and the rehearsal.
SCRIPTS = sorted(
    path
    for path in [
        ROOT / "settings.sh",
        ROOT / "scripts/lib/certify/bin/aws",
        *ROOT.glob("scripts/*.sh"),
        *ROOT.glob("scripts/lib/*.sh"),
    ]
    if path.name not in ("rehearse.sh", "test.sh")
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
    "sort": (r"\bsort\b[^|]*\s(-\w*V|--)", "sort -V"),
    "head or tail": (r"\b(head|tail)\s([^|]*\s)?(-n ?-\d|-c ?-\d|--)", "head -n -1"),
    "xargs": (r"\bxargs\b.*\s(-r\b|-d\b|--)", "xargs -r rm"),
    "cp, mv, rm, ln": (r"(^|[;&|] *)\s*(cp|mv|rm|ln|mkdir|chmod)\s+(-\w+ )*--\w", "cp --parents a b"),
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
