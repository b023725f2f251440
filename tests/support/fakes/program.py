#!/usr/bin/env -S python3 -IS
"""Stand-in for a command line tool: records each call, then answers by a rule or runs the real program.

The directory FAKES contains ``rules.json``, a list of [program, pattern of the arguments, answer]. The first match wins.
An answer has ``stdout``, ``stderr`` and ``code``; ``real`` is the path of a program to run instead. Tests start this
thousands of times, so it imports little.
"""

import fcntl
import json
import os
import re
import sys

HOME = os.environ["FAKES"]


def record(program: str, arguments: list[str]) -> None:
    """Record the call."""
    with open(f"{HOME}/calls", "a", encoding="utf-8") as file:  # noqa: PTH123 - pathlib takes as long as all else
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(json.dumps([program, *arguments]) + "\n")


def main() -> int:
    """Answer one call and return its exit code."""
    program, arguments = sys.argv[0].rpartition("/")[2], sys.argv[1:]
    record(program, arguments)
    with open(f"{HOME}/rules.json", encoding="utf-8") as file:  # noqa: PTH123 - as above
        rules = json.load(file)
    for name, pattern, answer in rules:
        if name == program and re.search(pattern, " ".join(arguments), re.DOTALL):
            if answer.get("real"):
                os.execv(answer["real"], [answer["real"], *arguments])  # noqa: S606 - a test's program
            sys.stdout.write(answer.get("stdout", ""))
            sys.stderr.write(answer.get("stderr", ""))
            return int(answer.get("code", 0))
    return 0


if __name__ == "__main__":
    sys.exit(main())
