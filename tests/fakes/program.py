#!/usr/bin/env python3
"""Stands in for a command line tool: writes down each call, then answers by rule, is the real program, or kills its caller.

The directory FAKES holds ``rules.json``, a list of [program, pattern of the arguments, answer]; the first that matches
counts. An answer has ``stdout``, ``stderr`` and ``code``; ``real`` runs the program of that path instead. KILL is
``before:N`` or ``after:N``: the N-th call kills the script (the leader of the session) at that moment.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

HOME = Path(os.environ["FAKES"])


def note(program: str, arguments: list[str]) -> int:
    """Write the call down and return its number, counted from 1."""
    with (HOME / "calls").open("a+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        number = len(file.readlines()) + 1
        file.write(json.dumps([program, *arguments]) + "\n")
    return number


def kill_at(moment: str) -> None:
    """Kill the script if this is the moment that KILL names."""
    if os.environ.get("KILL") == moment:
        os.kill(os.getsid(0), signal.SIGKILL)
        sys.exit(137)


def main() -> int:
    """Answer one call."""
    program, arguments = Path(sys.argv[0]).name, sys.argv[1:]
    number = note(program, arguments)
    kill_at(f"before:{number}")
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
    kill_at(f"after:{number}")
    return code


if __name__ == "__main__":
    sys.exit(main())
