"""The syntax of shell scripts, as shfmt parses it, and the calls of the AWS CLI in it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from scripts.lib.certify.pages import commands
from tests.support.paths import ROOT

Node = dict[str, Any]
SHFMT = Path(sys.executable).with_name("shfmt")
#: Programs that only look for the program named in their arguments, and the function of preflight.sh that prints its name.
LOOK_FOR = {"require", "start_check", "type"}


def tree(text: str) -> Node:
    done = subprocess.run([SHFMT, "-ln=bash", "--to-json"], input=text, capture_output=True, text=True, check=True)
    parsed: Node = json.loads(done.stdout)
    return parsed


def nodes(parsed: Any) -> Iterator[Node]:
    """Every node below and including this one, in the order of the text."""
    if isinstance(parsed, dict):
        yield parsed
        parsed = list(parsed.values())
    if isinstance(parsed, list):
        for each in parsed:
            yield from nodes(each)


def literal(word: Node) -> str:
    """The text of a word that is one unquoted or one single-quoted string; empty for any other."""
    part = word["Parts"][0]
    return part.get("Value", "") if len(word["Parts"]) == 1 and part["Type"] in ("Lit", "SglQuoted") else ""


def source(text: str, first: Node, last: Node) -> str:
    return text.encode()[first["Pos"]["Offset"] : last["End"]["Offset"]].decode()


def arrays(text: str) -> list[str]:
    """The arrays of a script that hold options, as it assigns them."""
    found = [source(text, node, node) for node in nodes(tree(text)) if "Name" in node and "Array" in node]
    return [each for each in found if "=(--" in each]


def aws_calls(text: str) -> list[str]:
    """The calls of the AWS CLI in a script, as it has them, also where another command runs them."""
    found = []
    for node in nodes(tree(text)):
        words = node.get("Args") or [] if node.get("Type") == "CallExpr" else []
        names = [literal(word) for word in words]
        if "aws" in names and names[-1] != "aws" and names[0] not in LOOK_FOR:
            last = len(names) - 1 - names[::-1].index("aws")
            found.append(source(text, words[last], words[-1]))
        for name in names:
            found += aws_calls(name) if re.search(r"(^|[;|] )aws ", name) else []
    return found


def shell_texts() -> dict[str, str]:
    """Every shell text that runs on AWS or at a learner's: the scripts, buildspec.yml, the fences and `aws …` of the pages."""
    scripts = [ROOT / "settings.sh", *sorted((ROOT / "scripts").rglob("*.sh"))]
    found = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in scripts}
    phases = yaml.safe_load((ROOT / "buildspec.yml").read_text(encoding="utf-8"))["phases"].values()
    for number, command in enumerate(each for phase in phases for each in phase["commands"]):
        found[f"buildspec.yml, command {number + 1}"] = command
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for each in commands(page):
            if each.word != "powershell":
                found[f"{page.name}:{each.line}"] = each.script
        inline = re.findall(r"`(aws [a-z0-9-]+ [a-z-]+(?: [^`…]*)?)`", page.read_text(encoding="utf-8"))
        found |= {f"{page.name}, `{each}`": each for each in inline}
    return found
