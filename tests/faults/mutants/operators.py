"""Makes mutants of a file: copies with one small change, each by an operator of a table.

A mutant is known by its file, its line's text, its operator and the replacement, so the lines around may change.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import yaml


@dataclass(frozen=True)
class Mutant:
    """A file in which a line is replaced, deleted (``new`` is empty) or swapped with the next.

    Both are without indentation. ``number`` counts equal lines of the file from 0, so no two mutants are equal.
    """

    file: str
    operator: str
    old: str
    new: str
    number: int

    def __str__(self) -> str:
        again = f" ({self.number + 1})" if self.number else ""
        return f"{self.file}: {self.operator}: {self.old}{again} -> {self.new or '(nothing)'}"


OPPOSITE = {
    "&&": "||", "||": "&&", "==": "!=", "!=": "==", "-n": "-z", "-z": "-n", "-eq": "-ne", "-ne": "-eq", "-gt": "-le",
    "-lt": "-ge", "-ge": "-lt", "-le": "-gt", "if": "if !", "while": "until", "until": "while", "true": "false",
    "false": "true", "Allow": "Deny", "and": "or", "or": "and", "not in": "in", "Retain": "Delete",
}  # fmt: skip
NUMBER = re.compile(r"(?<![\w.$&{-])\d+(?![\w.>&])")
#: Per operator: what it replaces, the first time that it occurs in a line, and by what.
OPERATORS: dict[str, tuple[re.Pattern[str], Callable[[re.Match[str]], str]]] = {
    "negate": (
        re.compile(r"(?<![\w-])(?:" + "|".join(map(re.escape, OPPOSITE)) + r")(?![\w-])"),
        lambda found: OPPOSITE[found.group()],
    ),
    # A function's code counts as zero or not.
    "more": (
        re.compile(rf"(?<!return )(?:{NUMBER.pattern})|(?<=return )0"),
        lambda found: str(int(found.group()) * 2 + 1),
    ),
    "less": (NUMBER, lambda found: str(int(found.group()) // 4)),
    "string": (
        re.compile(
            r"(?<=[\"'])([A-Za-z][^\"'$]*)(?=[\"'])|(?<=: )(?<!Sid: )([A-Za-z][\w.:/-]*)$|(?<=- )([A-Za-z][\w.:/*-]*)$"
        ),
        lambda found: found.group() + "x",
    ),
    "flag": (re.compile(r" --[a-z][a-z-]*(?:=(?:\"[^\"]*\"|\S+))?"), lambda _: ""),
    "path": (re.compile(r"(?<![\w:/$.-])\.{0,2}/?[\w.-]+(?:/[\w.-]+)+"), lambda found: found.group() + "x"),
    "resource": (
        re.compile(r"arn:[^\s\"',]+|(?<=!Ref )\w+|(?<=!GetAtt )\w+\.\w+|(?<=\$\{)[A-Z][A-Za-z]+(?=\})"),
        lambda found: "*" if found.group().startswith("arn:") else "AWS::StackName",
    ),
}
SIMPLE = re.compile(r"^\s*(?!if|then|else|elif|fi|for|while|until|do|done|case|esac|local|[\w-]+\)|[})])[a-z][\w./-]* ")


#: Files whose lines or list entries are commands. The order of other entries rarely means something.
ORDERED = (".sh", "Dockerfile", "buildspec.yml")


def is_code(line: str) -> bool:
    """Whether a line is more than a comment, a description for readers or the end of a block."""
    return not re.match(
        r"\s*(#|$|Description:|ConstraintDescription:|[\])}]+,?$|(fi|done|esac|then|else|do|;;)$)", line
    )


def block(lines: list[str], at: int, is_nested: bool) -> int:
    """Return the line after a line and what belongs to it: continued lines, or lines that are indented more."""
    end = at + 1
    while end < len(lines) and lines[end - 1].endswith("\\"):
        end += 1
    indent = len(lines[at]) - len(lines[at].lstrip())
    while is_nested and end < len(lines) and lines[end].strip() and len(lines[end]) - len(lines[end].lstrip()) > indent:
        end += 1
    return end


def meaning(file: str, text: str) -> Any:
    """Return what a file says, to leave out mutants that say the same.

    Raises:
        ValueError: it does not parse; each reader would notice that.
    """
    if file.endswith(".json"):
        return json.loads(text)
    if file.endswith(".yml"):
        try:
            return [
                (type(each), getattr(each, "tag", ""), getattr(each, "value", ""))
                for each in yaml.parse(text, Loader=yaml.CSafeLoader)
            ]
        except yaml.YAMLError as error:
            raise ValueError(error) from error
    command = ["bash", "-n"]
    if (
        file.endswith(".sh")
        and subprocess.run(command, input=text, text=True, capture_output=True, check=False).returncode
    ):
        raise ValueError
    return text


def is_fit(file: str, text: str, mutated: str) -> bool:
    """Whether a mutant parses and says something else."""
    try:
        return bool(meaning(file, mutated) != meaning(file, text))
    except ValueError:
        return False


def changes(file: str, lines: list[str], at: int) -> Iterator[tuple[str, list[str]]]:
    """Yield each operator that applies to a line, with the lines of the mutant."""
    line, is_nested = lines[at], not file.endswith((".sh", "Dockerfile"))
    end = block(lines, at, is_nested)
    before = lines[:at]
    if before and before[-1].endswith("\\") and not lines[end - 1].endswith("\\"):
        before[-1] = before[-1].removesuffix("\\").rstrip()
    yield "delete", before + lines[end:]
    code, comment, said = re.split(r"(\s# |comment: |$)", line, maxsplit=1)
    for name, (pattern, by) in OPERATORS.items():
        changed = pattern.sub(by, code, count=1) + comment + said
        if changed != line:
            yield name, [*lines[:at], changed, *lines[at + 1 :]]
    after = block(lines, end, is_nested) if end < len(lines) else end
    order = r"\s*- " if is_nested else SIMPLE
    if file.endswith(ORDERED) and end < len(lines) and re.match(order, line) and re.match(order, lines[end]):
        yield "swap", lines[:at] + lines[end:after] + lines[at:end] + lines[after:]


def mutants(file: str, text: str) -> Iterator[tuple[Mutant, str]]:
    """Yield the mutants of a file, each with its text. Not all are fit to be tried."""
    lines, seen, prose = text.splitlines(), Counter[str](), 0
    for at, line in enumerate(lines):
        old = line.strip()
        if re.match(r"\s*Description: [>|]", line):
            prose = block(lines, at, is_nested=True)
        if at >= prose and is_code(line):
            for operator, made in changes(file, lines, at):
                new = "" if operator == "delete" else made[at].strip()
                yield Mutant(file, operator, old, new, seen[old]), "\n".join(made) + "\n"
        seen[old] += 1
