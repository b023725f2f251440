"""Removes from a text what is the learner's own: everything but public words.

A word is kept only if it is public for certain: one of this repository's own, a plain English word, an error code, a
small number, a version. All else becomes ``…``: account numbers, ARNs, keys, tokens, addresses, host names, ids, paths. A
plain word that is a name of the learner is removed too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

REMOVED = "…"
#: The account and the caller in this repository's documents.
EXAMPLE_ACCOUNT, EXAMPLE_NAME = "111122223333", "learner"
EXAMPLE_CALLER = f"arn:aws:iam::{EXAMPLE_ACCOUNT}:user/{EXAMPLE_NAME}"
#: Documents whose words are public.
PUBLIC = (
    "README.md",
    "settings.sh",
    "ci-cd-codepipeline.cfn.yml",
    "docs/*.md",
    "docs/policies/*.json",
    "scripts/*.sh",
    "scripts/lib/*.sh",
)
#: Marks around a word.
MARKS = " .,:;!?()[]{}<>\"'`*=…|"
PLAIN = re.compile(
    r"""
    [A-Z]?[a-z]{1,16}([-'][a-z]{1,16}){0,4}                   # in-progress, can't
  | (?=.{4,45}$)([A-Z]{1,4}[a-z]{2,}[A-Z]{0,4}){2,}           # an error code of AWS: AccessDenied
  | [A-Z][A-Za-z]{2,30}\.[A-Z][A-Za-z]{2,30}                  # InvalidVpcID.NotFound
  | [A-Z]{1,12}(_[A-Z]{2,12}){0,4}                            # FAILED, CREATE_FAILED
  | AWS(::[A-Z][A-Za-z0-9]{1,30}){2}
  | -?\d{1,4}(\.\d{1,2})?[%s]?                                # a count, a percentage, seconds
  | v?\d{1,3}\.\d{1,3}(\.\d{1,3})?                            # a version, which has fewer parts than an address
  | [a-z]{2}(-[a-z]{2,9}){1,2}-\d                             # a region
  | [a-z][a-z0-9-]{1,11}\.(\d{1,2}x)?(nano|micro|small|medium|large|xlarge)
    """,
    re.VERBOSE,
)
ACTION = re.compile(r"([a-z0-9-]{2,30}):[A-Z][A-Za-z]{2,40}")
#: Fields of the report that have a form of their own, and that form.
FORMS = {
    "commit": r"[0-9a-f]{40}",
    "machine": r"[a-z0-9_]{1,10}",
    "started": r"\d{4}-\d\d-\d\dT\d\d:\d\dZ",
    "system": r"[A-Za-z/ ]{1,40}[\d.]{0,8}",
}


class Redaction:
    """Removes what is private from texts and documents.

    ``private`` are names that are removed even if they are plain words; ``examples`` are values of the learner, such as
    the account number, with what this repository's documents have in their place.
    """

    def __init__(self, root: Path, private: Iterable[str] = (), examples: Mapping[str, str] | None = None) -> None:
        self._public = set(_words(root))
        self._services = {match[1] for match in map(ACTION.fullmatch, self._public) if match}
        names = {name.lower() for name in private if len(name) > 1}
        self._equal = names
        self._within = tuple(name for name in names if len(name) > 3)
        self._examples = sorted((examples or {}).items(), key=lambda pair: -len(pair[0]))

    def text(self, text: str) -> str:
        """Return the text with ``…`` in place of every private word."""
        for own, example in self._examples:
            text = text.replace(own, example)
        return re.sub(r"\S+", lambda word: self._word(word[0]), text)

    def document(self, value: object, key: str = "") -> object:
        """Return a copy of a JSON document with every text in it redacted."""
        if isinstance(value, dict):
            return {name: self.document(each, name) for name, each in value.items()}
        if isinstance(value, list):
            return [self.document(each, key) for each in value]
        if not isinstance(value, str) or (key in FORMS and re.fullmatch(FORMS[key], value)):
            return value
        return self.text(value)

    def _word(self, word: str) -> str:
        core = word.strip(MARKS)
        if not core or self._is_public(core):
            return word
        before, _, after = word.partition(core)
        return f"{before}{REMOVED}{after}"

    def _is_public(self, core: str) -> bool:
        small = core.lower()
        if small in self._equal or any(name in small for name in self._within):
            return False
        action = ACTION.fullmatch(core)
        return core in self._public or bool(PLAIN.fullmatch(core)) or bool(action and action[1] in self._services)


def _words(root: Path) -> Iterator[str]:
    """The words of this repository's own documents."""
    for pattern in PUBLIC:
        for file in sorted(root.glob(pattern)):
            yield from (word.strip(MARKS) for word in file.read_text(encoding="utf-8").split())
