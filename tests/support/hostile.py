"""Values that do harm if a shell evaluates them, and the trace that they leave."""

from __future__ import annotations

from pathlib import Path

#: The name of a directory, with spaces, quotes, a newline and commands.
AWKWARD = "my 'own' \"check\"out\n; touch pwned; $(touch pwned) `touch pwned` * é"


def pwned(*places: Path) -> list[Path]:
    """Return the files that a command in a hostile value created below these directories."""
    return [found for place in places for found in place.rglob("pwned")]
