"""Runs the tests of the tutorial's Python against each mutant of it: ``python -m tests.faults.planted.mutate PYTHON [WORD...]``.

PYTHON is that of the environment with cosmic-ray. A mutant survives if all tests pass. Those that cannot be told from the
original are listed, with the reason, in ``equivalents.toml``. Exits with 1 if another one survives, or if one of the list
does not.

The tests run in a fork of this process, in a copy of the checkout, since most of a short test's time is its imports.
"""

from __future__ import annotations

import difflib
import json
import os
import subprocess
import sys
import tempfile
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.planted.run import copy_checkout
from tests.faults.planted.serve import forked, prepare
from tests.support import template

HERE = Path(__file__).parent
FUNCTION = "ci-cd-codepipeline.cfn.yml"
#: Whose mutants are made, and the tests that are to kill them.
TARGETS = {
    "scripts/lib/render.py": ["tests/scripts/test_contract_python.py"],
    "scripts/lib/stack_parameters.py": ["tests/scripts/test_contract_python.py"],
    "scripts/lib/aws_auth.py": ["tests/scripts/test_contract_aws_auth.py", "tests/scripts/test_aws_auth.py"],
    FUNCTION: ["tests/stack/test_contract_lambda.py", "tests/stack/test_lambda.py"],
}
#: Would kill a mutant for being a letter longer.
SIZE = "tests/stack/test_lambda.py::test_code_fits_inline_and_imports_cfnresponse"
PATIENCE = 300  # seconds for the tests of one mutant; one that hangs is noticed too

Mutant = tuple[str, str]  # the line as it is, and as it becomes


def source(file: str) -> str:
    """Return the Python text of a target: that of the template is its function's."""
    if file != FUNCTION:
        return Path(file).read_text(encoding="utf-8")
    return str(template.TEMPLATE["Resources"]["TrustFunction"]["Properties"]["Code"]["ZipFile"])


def put(file: str, text: str) -> None:
    """Let the tests find another text there."""
    if file == FUNCTION:
        template.TEMPLATE["Resources"]["TrustFunction"]["Properties"]["Code"]["ZipFile"] = text
    else:
        Path(file).write_text(text, encoding="utf-8")


def mutants(python: str, text: str) -> Iterator[str]:
    """Yield the mutants of a text."""
    with tempfile.NamedTemporaryFile("w", suffix=".py", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        made = subprocess.run([python, HERE / "mutants.py", file.name], capture_output=True, text=True, check=True)
    yield from map(json.loads, made.stdout.splitlines())


def described(before: str, after: str) -> Mutant:
    """Return the line that differs, as it is and as it becomes."""
    lines = [line for line in difflib.ndiff(before.splitlines(), after.splitlines()) if line[0] in "-+"]
    old, new = (" ".join(line[2:].strip() for line in lines if line[0] == sign) for sign in "-+")
    return old, new


def passes(tests: list[str]) -> bool:
    """Whether all of these tests pass."""
    arguments = ["--exitfirst", "--quiet", "--noconftest", "-p", "no:xdist", "-m", "not slow", f"--deselect={SIZE}"]
    return forked(lambda: int(pytest.main([*arguments, *tests])), PATIENCE) == 0


def survivors(python: str, file: str) -> Iterator[tuple[Mutant, bool]]:
    """Yield each mutant of a file, and whether it survives.

    Raises:
        SystemExit: the tests fail without any.
    """
    tests = [test for test in TARGETS[file] if Path(test).exists()]
    text = source(file)
    if not passes(tests):
        sys.exit(f"{file}: its tests fail as it is")
    for mutant in mutants(python, text):
        put(file, mutant)
        yield described(text, mutant), passes(tests)
        put(file, text)


def judge(python: str, file: str) -> bool:
    """Print the figures of a file and what is wrong with them; whether nothing is."""
    rows = tomllib.loads((HERE / "equivalents.toml").read_text(encoding="utf-8")).get(file, [])
    known = Counter((row["is"], row["becomes"]) for row in rows)
    found = list(survivors(python, file))
    alive = Counter(mutant for mutant, survives in found if survives)
    killed = len(found) - alive.total()
    print(f"{file}: {len(found)} mutants, {killed} killed, {(alive & known).total()} equivalent", flush=True)
    for old, new in (alive - known).elements():
        print(f"  survives: {old}\n        as: {new}")
    for old, new in (known - alive).elements():
        print(
            f"  listed as equivalent, but does not survive: {old}\n                                          as: {new}"
        )
    return alive == known


def main() -> None:
    """Run the command line; the work is done in a copy of the checkout, by this very program."""
    python, *words = sys.argv[1:]
    if words[:1] == ["--here"]:
        prepare()
        files = [file for file in TARGETS if not words[1:] or any(word in file for word in words[1:])]
        good = [judge(python, file) for file in files]
        sys.exit(0 if all(good) else 1)
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-B", "-m", "tests.faults.planted.mutate", python, "--here", *words]
        environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(command, cwd=copy_checkout(Path(scratch)), env=environment, check=False)
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
