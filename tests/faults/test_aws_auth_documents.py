"""aws-auth in every state: thousands of generated documents that no one would write.

A wrong write to aws-auth locks people and nodes out of the cluster. So whatever it contains, the result has all other
entries unchanged, character by character, and one entry for the role; or nothing is written.
"""

from __future__ import annotations

import contextlib
import io
import json
import random
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.aws_auth import LIST, STATUS, WANTED, aws_auth, config_map, map_roles
from tests.support.fixtures import Figure
from tests.support.names import ROLE_ARN

SEED = 20261123
OURS = [ROLE_ARN, ROLE_ARN.lower(), ROLE_ARN.upper()]
OTHERS = [
    ROLE_ARN + "2",
    ROLE_ARN.replace("role/", "role/team/"),
    "arn:aws:iam::111122223333:role/nodes",
    "",
    "ünïcode",
    "$(id)",
]
#: YAML parses some of these as numbers, dates, booleans or null; in aws-auth they are strings.
WORDS = ["build", "deployers", "system:masters", "1:30", "012", "0o14", "yes", "off", "~", "2026-11-23", "1e3", ".nan", "=",
         "'quoted'", '"a\\tb"', "{{SessionName}}", "!!str 5", "é", "'#no comment'", "a # comment", "|-\n      long"]  # fmt: skip
KEYS = ["rolearn", "username", "groups", "note", "7", "~", "'two words'", '"\\e[31m"']
SHAPES = ["block", "block", "block", "indented", "flow", "json", "noise", "words"]
NOISE = ["- ", "rolearn: ", ROLE_ARN, "\n", "  ", "\t", "\r\n", "# ", "[", "]", "{", "}", "|\n", "a", ": ", "'", '"', "&a ", "*a",
         "---\n", "!!omap ", "!!pairs ", "? ", ">\n", "\u2028", "\x85", "\ufeff", "\ud800", "\x00", "\x1b[31m"]  # fmt: skip
COMMENT = "# about the next entry"
OTHER_DATA = ["mapUsers", "mapAccounts", "note"]


class Documents:
    """Generates unlikely ConfigMaps from a seed, the same in every run."""

    def __init__(self, seed: int) -> None:
        self.pick = random.Random(seed)  # noqa: S311 (not a secret)

    def entry(self) -> list[tuple[str, str]]:
        """Return the keys and values of an entry as YAML, sometimes without a role or with a duplicate key."""
        keys = ["rolearn"] * self.pick.choice([1, 1, 1, 1, 1, 0, 2])
        keys += self.pick.sample(KEYS[1:], self.pick.randrange(4))
        return [(key, self.value(key)) for key in self.pick.sample(keys, len(keys))]

    def value(self, key: str) -> str:
        match key:
            case "rolearn":
                return self.pick.choice(OURS if self.pick.random() < 0.4 else OTHERS) or "''"
            case "groups":
                return "[" + ", ".join(self.pick.choice(WORDS[:15]) for _ in range(self.pick.randrange(3))) + "]"
            case _:
                return self.pick.choice(WORDS)

    def roles(self) -> str:
        shape = self.pick.choice(SHAPES)
        entries = [self.entry() for _ in range(self.pick.choice([0, 1, 2, 3, 5]))]
        match shape:
            case "noise":
                return "".join(self.pick.choice(NOISE) for _ in range(self.pick.randrange(12)))
            case "words":
                return self.pick.choice(
                    ["", "[]", "null", "~", "\n", "# no one\n", "just words", "7", "{}", "[[]]", "[" * 1200]
                )
            case "json":
                return json.dumps([dict(entry) for entry in entries], indent=self.pick.choice([None, 2]))
            case "flow":
                return (
                    self.pick.choice(["[", f"[ {COMMENT}\n"])
                    + ", ".join("{" + ", ".join(f"{key}: {value}" for key, value in each) + "}" for each in entries)
                    + "]"
                )
        indent = "  " if shape == "indented" else ""
        lines = []
        for entry in entries:
            lines += self.pick.choice([[], [COMMENT, ""]])
            lines += [("  " if number else "- ") + f"{key}: {value}" for number, (key, value) in enumerate(entry)]
            lines += self.pick.choice([[], [], ["  " + COMMENT]])
        text = "".join(indent + line + "\n" for line in lines)
        return self.spoilt(text)

    def spoilt(self, text: str) -> str:
        """Return the text with other line endings, a tab, a missing or an extra character; most often unchanged."""
        if self.pick.random() < 0.7:
            return text
        place = self.pick.randrange(len(text) + 1)
        return self.pick.choice(
            [text.replace("\n", "\r\n"), text.rstrip("\n"), text[:place] + "\t" + text[place:], text[:place] + text[place + 1 :],
             text[:place] + self.pick.choice(NOISE) + text[place:], text + text, "---\n" + text, text + "...\n"]
        )  # fmt: skip

    def config_map(self) -> Any:
        """Return the output of kubectl: None if there is no aws-auth, or a document, rarely one of another shape."""
        kind = self.pick.random()
        if kind < 0.01:
            return None
        if kind < 0.03:
            return self.pick.choice(
                [[], 5, "x", {}, {"data": {"mapRoles": 5}}, {"data": {"mapRoles": None}}, {"metadata": 1}, STATUS, LIST]
            )
        data = {} if kind < 0.05 else {"mapRoles": self.roles()}
        data |= {key: self.pick.choice(NOISE + WORDS) for key in self.pick.sample(OTHER_DATA, self.pick.randrange(3))}
        return config_map(None, **data)


def in_process(verb: str, given: str, save_to: Path) -> tuple[str, str, str]:
    """Run aws_auth.py; return its output, its message if it fails, and its warnings."""
    printed, warned, said = io.StringIO(), io.StringIO(), ""
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(warned),
    ):
        patch.setattr(sys, "argv", ["aws_auth.py", verb, ROLE_ARN, str(save_to)])
        patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given.encode()), encoding="utf-8"))
        try:
            aws_auth.main()
        except SystemExit as refusal:
            said = str(refusal.code)
    return printed.getvalue(), said, warned.getvalue()


def entries(text: str) -> list[Any]:
    """Parse the entries with every scalar as a string, with another parser than aws_auth.py."""
    found = yaml.load(text, Loader=yaml.CBaseLoader)  # noqa: S506 (makes text, lists and mappings alone)
    return [] if found in map_roles.NOTHING else list(found)


def is_ours(entry: Any) -> bool:
    return str(entry.get("rolearn", "")).lower() == ROLE_ARN.lower()


def wrong(verb: str, present: Any, printed: str, said: str, save_to: Path) -> str:
    """Return what is wrong with a run; empty if nothing is."""
    if said:
        return (
            ""
            if not printed and said.startswith("aws-auth: ") and "\n" not in said and said.isprintable()
            else f"bad message: {said!r}"
        )
    before = ((present or {}).get("data") or {}).get("mapRoles", "")
    kept = yaml.load(save_to.read_text(), Loader=yaml.CSafeLoader)["data"]
    if kept != ((present or {}).get("data") or {}):
        return f"the copy is {kept!r}"
    after = before
    if printed:
        patch = yaml.load(printed, Loader=yaml.CSafeLoader)
        if list(patch["data"]) != ["mapRoles"] or patch["metadata"].get("resourceVersion") != (present and "77"):
            return f"the patch is {patch!r}"
        after = patch["data"]["mapRoles"]
    ours = [entry for entry in entries(after) if is_ours(entry)]
    if [entry for entry in entries(after) if not is_ours(entry)] != [
        entry for entry in entries(before) if not is_ours(entry)
    ]:
        return f"other entries are {after!r}"
    if verb == "remove":
        return f"the role's entry is still there: {after!r}" if ours else ""
    return "" if len(ours) == 1 and ours[0].items() >= WANTED.items() else f"the role's entry is {ours!r}"


def lost(given: str, printed: str, warned: str) -> str:
    """Return what is wrong if a comment is neither in the patch nor in a warning."""
    kept = printed.count(COMMENT) + warned.count(COMMENT)
    return f"a comment is lost: {printed!r}" if printed and given.count(COMMENT) > kept else ""


def fuzz(count: int, save_to: Path) -> tuple[list[str], int]:
    """Edit ``count`` documents; return what went wrong, and how many were rejected."""
    documents, found, refusals = Documents(SEED), [], 0
    for number in range(count):
        present, verb = documents.config_map(), ("add", "add", "remove")[number % 3]
        given = "" if present is None else json.dumps(present)
        printed, said, warned = in_process(verb, given, save_to)
        refusals += bool(said)
        if fault := wrong(verb, present, printed, said, save_to) or lost(given, printed, warned):
            found.append(f"{number} {verb} {present!r}: {fault}")
    return found, refusals


@pytest.mark.parametrize("count", [600, pytest.param(10_000, marks=[pytest.mark.slow, pytest.mark.timeout(900)])])
def test_fuzzed_documents_are_edited_correctly_or_rejected(count: int, tmp_path: Path, figure: Figure) -> None:
    found, refusals = fuzz(count, tmp_path / "saved.yml")
    figure("aws-auth: no document leads to a wrong write", f"{len(found)} wrong writes of {count:,}")
    assert found == []
    assert count / 20 < refusals < count / 2, "too few or too many rejections to have tried both"
