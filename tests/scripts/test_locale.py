"""The scripts work alike in every language: programs sort, compare and change case as in the C locale.

In Turkish, the lower-case letter of I is not i, so ``tr`` leaves it as it is.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from scripts.lib.certify.pages import commands
from tests.support.desk import IDENTITY, SCRIPTS, Desk
from tests.support.paths import ROOT

SOURCES = Path("/usr/share/i18n/locales/tr_TR")
#: What depends on the locale: programs that sort or change case, classes and ranges of characters.
DEPENDS = re.compile(
    r"\b(sort|tr|comm|join|uniq|toupper|tolower)\b(?! =)|\[\[?:[a-z]+:\]|\[[^\]\s]*[a-zA-Z]-[a-zA-Z]|grep -\w*i"
)


@pytest.fixture(scope="module")
def turkish(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The variables of a terminal in Turkish, whose locale is made for this test."""
    if not (shutil.which("localedef") and SOURCES.exists()):
        pytest.skip("the package locales is not installed")
    directory = tmp_path_factory.mktemp("locales")
    subprocess.run(["localedef", "-i", "tr_TR", "-f", "UTF-8", directory / "tr_TR.UTF-8"], check=True, timeout=60)
    variables = {"LOCPATH": str(directory), "LANG": "tr_TR.UTF-8", "LC_ALL": "tr_TR.UTF-8"}
    shown = subprocess.run(
        ["tr", "I", "[:lower:]"], env=variables, input="I", capture_output=True, text=True, check=False
    )
    assert "setlocale" not in shown.stderr
    return variables


def test_buckets_of_a_stack_in_capitals_are_found_in_turkish(turkish: dict[str, str], tmp_path: Path) -> None:
    """A bucket's name is in lower case whatever the stack's is; the one left is missed if its prefix has an I."""
    desk = Desk(tmp_path / "desk")
    desk.answer(*IDENTITY[:2], **IDENTITY[2])
    done = desk.run("leftovers.sh", STACK_NAME="INFRA", **turkish)
    assert done.returncode == 0, done.stderr
    asked = " ".join(" ".join(call) for call in desk.calls() if {"list-buckets", "describe-repositories"} & set(call))
    assert re.findall(r"starts_with\(\w+, '(.+?)'\)", asked) == ["infra-", "infra-"]


def test_help_and_refusals_are_the_same_in_turkish(turkish: dict[str, str], tmp_path: Path) -> None:
    desk = Desk(tmp_path / "desk")
    for script in SCRIPTS:
        assert desk.run(script, "-h", **turkish).stdout == desk.run(script, "-h").stdout
    for region in ("İstanbul-1", "us-ea\u0131st-2", "US-EAST-2"):
        done = desk.run("create-cluster.sh", AWS_REGION=region, **turkish)
        assert (done.returncode, done.stderr) == (2, desk.run("create-cluster.sh", AWS_REGION=region).stderr)


def is_fixed(text: str) -> bool:
    """Whether a script sets the locale for all that it runs, itself or by scripts/lib/common.sh."""
    return "\nsource scripts/lib/common.sh\n" in text or "\nexport LC_ALL=C\n" in text


def test_one_place_sets_the_locale() -> None:
    assert is_fixed((ROOT / "scripts/lib/common.sh").read_text())
    places = [path.name for path in (ROOT / "scripts").rglob("*.sh") if "LC_ALL" in path.read_text()]
    assert sorted(places) == ["common.sh", "venv.sh"]  # which is also called without the former


@pytest.mark.parametrize("script", SCRIPTS)
def test_script_does_not_depend_on_the_language(script: str) -> None:
    text = (ROOT / "scripts" / script).read_text()
    code = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    assert is_fixed(text) or DEPENDS.findall(code) == []


def test_pages_do_not_depend_on_the_language() -> None:
    texts = [each.script for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")] for each in commands(page)]
    assert [text for text in texts if DEPENDS.search(re.sub(r"'[^']*'|\"[^\"]*\"", "", text))] == []


@pytest.mark.parametrize(
    "line", ["tr A B", "x | sort -u", "[[ $a == [[:upper:]] ]]", "[[ $a =~ ^[a-z]+$ ]]", "grep -qi x"]
)
def test_dependence_is_found(line: str) -> None:
    assert DEPENDS.search(line)
