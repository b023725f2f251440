#!/usr/bin/env python3
"""Stand-in for a command line tool: records each call, then answers by a rule or runs the real program.

The directory FAKES contains ``rules.json``, a list of [program, pattern of the arguments, answer]. The first match wins.
An answer has ``stdout``, ``stderr`` and ``code``; ``real`` is the path of a program to run instead.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import subprocess
import sys
from pathlib import Path

HOME = Path(os.environ["FAKES"])


def record(program: str, arguments: list[str]) -> None:
    """Record the call."""
    with (HOME / "calls").open("a", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(json.dumps([program, *arguments]) + "\n")


def main() -> int:
    """Answer one call and return its exit code."""
    program, arguments = Path(sys.argv[0]).name, sys.argv[1:]
    record(program, arguments)
    code = 0
    for name, pattern, answer in json.loads((HOME / "rules.json").read_text(encoding="utf-8")):
        if name == program and re.search(pattern, " ".join(arguments), re.DOTALL):
            if answer.get("real"):
                code = subprocess.run([answer["real"], *arguments], check=False).returncode
            else:
                sys.stdout.write(answer.get("stdout", ""))
                sys.stderr.write(answer.get("stderr", ""))
                code = answer.get("code", 0)
            break
    return code


if __name__ == "__main__":
    sys.exit(main())
