"""Finds words that tests/docs/style.toml avoids, in what a person reads: ``python -m tests.support.prose [FILE...]``.

Read are Markdown without its code, Python's comments, strings and names of tests, and every line of other files.
"""

from __future__ import annotations

import io
import re
import subprocess
import sys
import tokenize
import tomllib
from collections.abc import Iterator
from pathlib import Path

from markdown_it import MarkdownIt

from tests.support.paths import ROOT

STYLE = ROOT / "tests" / "docs" / "style.toml"
WORDS: dict[str, str] = tomllib.loads(STYLE.read_text(encoding="utf-8"))["words"]
RULES = [(re.compile(rf"\b(?:{words})\b".replace(" ", r"\s+"), re.IGNORECASE), use) for words, use in WORDS.items()]
#: Other people's words, what a program writes, and the words to avoid themselves.
UNREAD = (
    "LICENSE",
    "uv.lock",
    "requirements.txt",
    "tests/requirements.txt",
    "scripts/lib/sbom-requirements.txt",
    "benchmarks/results/",
    "tests/docs/style.toml",
    "tests/docs/test_english.py",
)
SUFFIXES = (".md", ".py", ".sh", ".yml", ".toml", ".html", ".js", ".css", ".json", ".in", "")
STRINGS = {tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}


def files() -> list[str]:
    """Return the files that are checked, by their path from the root."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return [
        name
        for name in sorted(names)
        if Path(name).suffix in SUFFIXES and not name.startswith(UNREAD) and (ROOT / name).is_file()
    ]


def findings(name: str, text: str) -> Iterator[str]:
    """Find what a file's text should say in other words, as ``FILE:LINE: "words": use ...``."""
    text = {".md": _markdown, ".py": _python}.get(Path(name).suffix, str)(text)
    # A comment's mark at the start of a line is no part of a phrase that goes over two lines; neither is code.
    text = re.sub(r"^[ \t]*(?:#:?|//|\*)[ \t]?", "", text, flags=re.MULTILINE)
    text = re.sub(r"``[^`]+``|`[^`\n]*(?:\n[^`\n]*)?`", lambda span: "`" + "\n" * span[0].count("\n"), text)
    text = re.sub(r"\$\{?\w+|\b\w+=", "", text)
    found = [
        (text.count("\n", 0, match.start()) + 1, " ".join(match[0].split()), use)
        for rule, use in RULES
        for match in rule.finditer(text)
    ]
    for line, words, use in sorted(found):
        yield f'{name}:{line}: "{words}": use {use}'


def _markdown(text: str) -> str:
    lines = text.split("\n")
    for token in MarkdownIt().parse(text):
        if token.type in {"fence", "code_block", "html_block"} and token.map:
            lines[slice(*token.map)] = [""] * (token.map[1] - token.map[0])
    return re.sub(r"\]\([^)\s]*\)", "]", "\n".join(lines))


def _python(text: str) -> str:
    lines = [""] * (text.count("\n") + 2)
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        read = token.string
        if token.type == tokenize.NAME and read.startswith("test_"):
            read = read.replace("_", " ")
        elif token.type in STRINGS and " " in read:
            read = re.sub(r"\{[^{}\n]*\}", "{}", read)  # before Python 3.12, the code in an f-string too
        elif token.type != tokenize.COMMENT:
            continue
        for number, line in enumerate(read.split("\n"), token.start[0] - 1):
            lines[number] += f" {line}"
    return "\n".join(lines)


def main() -> None:
    """Print what is found in the named files, or in all."""
    found = [line for name in sys.argv[1:] or files() for line in findings(name, (ROOT / name).read_text("utf-8"))]
    sys.exit("\n".join(found) if found else 0)


if __name__ == "__main__":
    main()
