"""Copy the interpreter and all that it needs to run the app into a directory that becomes an image."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

#: Of the standard library, what no server needs.
LEFT_OUT = shutil.ignore_patterns(
    "ensurepip", "idlelib", "lib2to3", "pydoc_data", "test", "tkinter", "turtledemo", "config-*"
)


def libraries(program: Path) -> set[Path]:
    """Return the shared libraries that a program or an extension module loads, and their loader."""
    said = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
    return {Path(name) for name in re.findall(r"(/\S+) \(0x", said)}


def copy(path: Path, root: Path) -> None:
    """Copy a file, and where it is a link also what that leads to, to the same place under ``root``."""
    target = root / path.relative_to("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    if not os.path.lexists(target):
        shutil.copy2(path, target, follow_symlinks=False)
    if path.is_symlink():
        copy(path.parent / path.readlink(), root)


def main(root: Path) -> None:
    """Collect into ``root``."""
    python = Path("/opt/venv/bin/python")
    library = Path(sysconfig.get_path("stdlib"))
    for tree in (library, Path("/opt/venv"), Path("/app")):
        shutil.copytree(tree, root / tree.relative_to("/"), symlinks=True, ignore=LEFT_OUT)
    needed = {python, Path("/etc/passwd")}
    for program in (python, *library.rglob("*.so"), *Path("/opt/venv").rglob("*.so")):
        needed |= libraries(program)
    for path in needed:
        copy(path, root)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
