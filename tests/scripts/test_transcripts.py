"""Each script's calls and output in usual situations are those of transcripts.txt."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.transcripts import FILE, SITUATIONS, Situation, transcript

COMMITTED = dict(
    zip(SITUATIONS, ("## " + each.rstrip("\n") + "\n" for each in FILE.read_text().split("## ")[1:]), strict=True)
)


@pytest.mark.parametrize("situation", SITUATIONS, ids=str)
def test_script_calls_and_prints_what_it_did(situation: Situation, tmp_path: Path) -> None:
    """If the change is meant: python -m tests.support.transcripts, and read the diff."""
    assert transcript(situation, tmp_path) == COMMITTED[situation]
