"""Writes a replay again, around the recording in it: ``python -m rehearsal.replay FILE``.

For a change of the console page or of the player; a change of the tutorial's steps needs a new recording.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rehearsal.replay import page


def main() -> int:
    """Write the page; return 0, or 2 if the file is not a replay of today's tutorial."""
    parser = argparse.ArgumentParser(prog="python -m rehearsal.replay", description="Write a replay again.")
    parser.add_argument("file", type=Path)
    file: Path = parser.parse_args().file
    try:
        file.write_text(page.render(page.recorded(file.read_text(encoding="utf-8"))), encoding="utf-8")
    except (OSError, ValueError, page.Stale) as error:
        print(f"{file}: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
