"""Finds each ``--query`` of the scripts, buildspec.yml and the pages, which is what they parse of AWS's answers."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tests.support.paths import ROOT

FILES = sorted(
    [*ROOT.glob("scripts/**/*.sh"), ROOT / "buildspec.yml", ROOT / "README.md", *ROOT.glob("docs/*.md")],
    key=str,
)
CALL = re.compile(
    r"""\baws ([a-z0-9-]+) ([a-z0-9-]+)((?:(?!\baws |\n\n).)*?)--query[ =]+(?:'([^']*)'|"([^"]*)"|([\w.\[\]]+))""",
    re.DOTALL,
)


def queries() -> Iterator[tuple[str, str, str, str]]:
    """Yield the file, the service, the operation and the expression."""
    for path in FILES:
        text = path.read_text(encoding="utf-8").replace("\\\n", " ")
        for service, operation, _, *query in CALL.findall(text):
            yield str(path.relative_to(ROOT)), service, operation, " ".join("".join(query).split())
