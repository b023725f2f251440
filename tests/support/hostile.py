"""Values that do harm if a shell reads them, and the mark that they leave."""

from __future__ import annotations

from pathlib import Path

#: A directory's name with spaces, quotes, a line end and commands.
AWKWARD = "my 'own' \"check\"out\n; touch pwned; $(touch pwned) `touch pwned` * é"


def pwned(*places: Path) -> list[Path]:
    """The files that a command in a hostile value made below these directories."""
    return [found for place in places for found in place.rglob("pwned")]
