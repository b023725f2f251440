"""Plants one fault at a time in a copy of the checkout, and runs the tests that should catch it there.

``python -m tests.faults.planted.run [WORD...]`` prints each fault with the test that caught it; with words, only those
whose description has one of them.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from xml.etree import ElementTree as ET

from tests.support.paths import ROOT

TABLE = Path(__file__).with_name("faults.toml")
#: Runs a command that cannot write to the caches of this machine, and whose processes end with it: a fault does what it
#: likes. One that starts processes without end gets no more than a few thousand, where the kernel has a limit for each
#: namespace (since 6.14).
_ENTER = """
mount --rbind "$0" "$0" && mount -o remount,bind,ro "$0"
{ echo 2000 >/proc/sys/kernel/pid_max || true; } 2>/dev/null
exec "$@"
"""
CONFINED = (
    "unshare", "--map-root-user", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-euc", _ENTER,
    str(Path.home() / ".cache"),
)  # fmt: skip
#: How the message of a failed assertion begins in pytest's report.
ASSERTION = ("AssertionError", "assert ", "Failed: DID NOT RAISE")


class Unfit(Exception):
    """The table does not match its file, or the tests cannot run; the message says where."""


@dataclass(frozen=True)
class Fault:
    """Replaces ``old``, which occurs once in ``file``, by ``new``; one of the tests ``caught_by`` must fail."""

    what: str
    file: str
    old: str
    new: str
    caught_by: list[str]

    def planted_in(self, text: str) -> str:
        """Return the file's text with the fault in it.

        Raises:
            Unfit: the text that the fault replaces does not occur exactly once.
        """
        if (count := text.count(self.old)) != 1:
            raise Unfit(f"{self.what}: in {self.file} this text occurs {count} times, not once: {self.old!r}")
        return text.replace(self.old, self.new)


def faults() -> list[Fault]:
    """Return the table."""
    return [Fault(**row) for row in tomllib.loads(TABLE.read_text(encoding="utf-8"))["fault"]]


def copy_checkout(target: Path) -> Path:
    """Copy the files that git tracks or would track into a repository of its own, since some tests use git."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True
    )  # fmt: skip
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    for arguments in (["init", "--quiet"], ["add", "--all"]):
        subprocess.run(["git", *arguments], cwd=target, check=True)
    return target


class Copy:
    """A copy of the checkout with a process that runs tests in it (tests/faults/planted/serve.py)."""

    def __init__(self, target: Path) -> None:
        """Copy the checkout and start the process."""
        self.checkout = copy_checkout(target)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
        self.server = subprocess.Popen(
            [*CONFINED, sys.executable, "-B", "-m", "tests.faults.planted.serve"],
            cwd=target, env=environment | {"PYTHONDONTWRITEBYTECODE": "1"},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.server.communicate(timeout=60)

    @contextlib.contextmanager
    def changed(self, name: str, text: str) -> Iterator[None]:
        """Give a file another text, and its own afterwards."""
        file = self.checkout / name
        whole = file.read_text(encoding="utf-8")
        file.write_text(text, encoding="utf-8")
        try:
            yield
        finally:
            file.write_text(whole, encoding="utf-8")

    @contextlib.contextmanager
    def planted(self, fault: Fault) -> Iterator[None]:
        """Plant a fault, and remove it afterwards."""
        with self.changed(fault.file, fault.planted_in((self.checkout / fault.file).read_text(encoding="utf-8"))):
            yield

    def failed(self, tests: Sequence[str], patience: float) -> str | None:
        """Run tests until one fails, by an assertion or in any other way; return it, or its file if that cannot be loaded.

        A test that ran out of time fails only if it does so twice.
        """
        with tempfile.TemporaryDirectory() as scratch:
            report = Path(scratch) / "report.xml"
            self.run([*tests, "--assert=plain", "-p", "no:anyio", f"--junitxml={report}"], patience)  # starts faster
            cases = list(ET.parse(report).iter("testcase")) if report.exists() else []  # noqa: S314 - pytest wrote it
        for case in cases:
            for failure in (*case.findall("failure"), *case.findall("error")):
                module, name = case.get("classname", ""), case.get("name", "")
                test = f"{module.replace('.', '/')}.py::{name}" if module else f"{name.replace('.', '/')}.py"
                is_late = "timeout" in failure.get("message", "").lower() and [*tests] != [test]
                return self.failed([test], patience) if is_late else test
        return None

    def failures(self, tests: Sequence[str], patience: float = 120) -> list[str]:
        """Run tests until one fails; return ``test: message``, or nothing if all pass.

        Raises:
            Unfit: they did not run to the end, one does not exist, or one failed other than by an assertion.
        """
        with tempfile.TemporaryDirectory() as scratch:
            report = Path(scratch) / "report.xml"
            code = self.run([*tests, f"--junitxml={report}"], patience)
            cases = list(ET.parse(report).iter("testcase")) if report.exists() else []  # noqa: S314 - pytest wrote it
        failed = [(case, failure.get("message", "")) for case in cases for failure in case.findall("failure")]
        broken = [error.get("message") for case in cases for error in case.findall("error")]
        broken += [message for _, message in failed if not message.startswith(ASSERTION)]
        if code not in (0, 1) or broken or not cases:
            raise Unfit(f"pytest {' '.join(tests)} exits with {code}, not with a failed assertion: {broken}")
        return [f"{case.get('classname')}::{case.get('name')}: {message}" for case, message in failed]

    def run(self, arguments: list[str], patience: float) -> int:
        """Run the tests that take seconds, until one fails; return pytest's exit code, or TOO_LONG."""
        assert self.server.stdin is not None
        assert self.server.stdout is not None
        options = ["--numprocesses=0", "--exitfirst", "--quiet", "-m", "not slow and not rehearsal and not services"]
        print(json.dumps([[*options, *arguments], patience]), file=self.server.stdin, flush=True)
        return int(self.server.stdout.readline())


def main() -> None:
    """Run the command line."""
    words = sys.argv[1:]
    missed = 0
    with tempfile.TemporaryDirectory() as scratch, Copy(Path(scratch)) as copy:
        for fault in faults():
            if words and not any(word in fault.what for word in words):
                continue
            catcher = "NOT CAUGHT"
            try:
                with copy.planted(fault):
                    catcher = copy.failures(fault.caught_by)[0].splitlines()[0]
            except (Unfit, IndexError) as error:
                missed += 1
                print(error, file=sys.stderr)
            print(f"{fault.file}: {fault.what}: {catcher}", flush=True)
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
