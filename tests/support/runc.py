#!/usr/bin/env python3
"""runc(8), without the capabilities that this machine does not have itself.

Docker gives a privileged container every capability that the kernel knows, and runc refuses one that the caller lacks.
A virtual machine or container in which the tests run may lack some, such as CAP_SYS_RESOURCE.
"""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

#: Of linux/capability.h, in its order, as far as privileged machines have been seen without them.
NUMBERS = {"CAP_SYS_MODULE": 16, "CAP_SYS_RAWIO": 17, "CAP_SYS_BOOT": 22, "CAP_SYS_RESOURCE": 24, "CAP_SYS_TIME": 25}


def main() -> None:
    """Rewrite the container's or process's configuration, then become runc."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    bounding = int(re.findall(r"^CapBnd:\s*(\w+)$", status, re.MULTILINE)[0], 16)
    missing = {name for name, number in NUMBERS.items() if not bounding >> number & 1}
    for option, argument in zip(sys.argv, sys.argv[1:], strict=False):
        if option == "--bundle":
            _restrict(Path(argument, "config.json"), missing)
        elif option == "--process":
            _restrict(Path(argument), missing)
    os.execvp("runc", ["runc", *sys.argv[1:]])  # noqa: S606  # becomes the runc that is on PATH


def _restrict(file: Path, missing: set[str]) -> None:
    configuration = json.loads(file.read_text(encoding="utf-8"))
    sets = configuration.get("process", configuration).get("capabilities") or {}
    for name, capabilities in sets.items():
        sets[name] = [each for each in capabilities if each not in missing]
    file.write_text(json.dumps(configuration), encoding="utf-8")


if __name__ == "__main__":
    main()
