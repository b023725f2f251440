"""List everything below a directory: its path, type and mode, and its content.

    python3 scripts/lib/list_files.py DIRECTORY

One line each, as JSON, sorted by path. The content of a link is its target, that of a file its SHA-256.
"""

from __future__ import annotations

import hashlib
import json
import stat
import sys
from pathlib import Path


def content(path: Path) -> str:
    """Return what a file or a link has in it."""
    if path.is_symlink():
        return str(path.readlink())
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def main() -> None:
    """Run the command line."""
    top = Path(sys.argv[1])
    for path in sorted(top.rglob("*")):
        print(json.dumps([str(path.relative_to(top)), stat.filemode(path.lstat().st_mode), content(path)]))


if __name__ == "__main__":
    main()
