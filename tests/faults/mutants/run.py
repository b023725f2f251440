"""Plants mutants one at a time in a copy of the checkout, and says which ones no test notices.

``python -m tests.faults.mutants.run`` tries every mutant and prints the score of each file; nothing is tried again whose
result is in ``--results``, so a run can be stopped and resumed. ``survivors.toml`` has the known survivors with a reason.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import functools
import json
import random
import re
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator
from fnmatch import fnmatch
from pathlib import Path

from tests.faults.mutants.operators import Mutant, is_fit, mutants
from tests.faults.planted.run import Copy, Unfit
from tests.support.paths import ROOT

HERE = Path(__file__).parent
#: Seconds for a call of pytest. Each test has its own limit, which is shorter, so that this one ends only what hangs.
PATIENCE = 3600
#: So many tests that noticed other mutants of a file are tried first.
FIRST = 6


@dataclasses.dataclass(frozen=True)
class Survivor:
    """A known survivor, and why no test notices it: ``equivalent``, or what is missing."""

    file: str
    operator: str
    old: str
    new: str
    reason: str
    number: int = 0
    equivalent: bool = True

    @property
    def mutant(self) -> Mutant:
        """The mutant that survives."""
        return Mutant(self.file, self.operator, self.old, self.new, self.number)


@dataclasses.dataclass(frozen=True)
class Result:
    """How a mutant fared."""

    key: str
    file: str
    survived: bool
    seconds: float
    noticed_by: str = ""


def survivors() -> list[Survivor]:
    """Return the known survivors."""
    table = tomllib.loads((HERE / "survivors.toml").read_text(encoding="utf-8"))
    return [Survivor(**row) for row in table.get("survivor", [])]


@functools.cache
def noticed_by() -> dict[str, list[list[str]]]:
    """Return the calls of pytest that could notice a mutant of each file, the cheapest first."""
    table = tomllib.loads((HERE / "noticed_by.toml").read_text(encoding="utf-8"))
    return {
        file: calls(each["tests"], file, table if file.endswith(".sh") else {})
        for each in table["tests"]
        for file in each["files"]
    }


def mentioning(path: str, name: str) -> list[str]:
    """Return the names of the tests of a file that have a word in their text or decorators."""
    lines = (ROOT / path).read_text(encoding="utf-8").splitlines()
    tests = [node for node in ast.parse("\n".join(lines)).body if isinstance(node, ast.FunctionDef)]
    return [
        test.name
        for test in tests
        if test.name.startswith("test_")
        and name
        in "\n".join(lines[min([test.lineno, *(each.lineno for each in test.decorator_list)]) - 1 : test.end_lineno])
    ]


def calls(steps: list[str], file: str, common: dict[str, list[str]]) -> list[list[str]]:
    """Return calls of pytest; the first of a script's own has only the tests that mention it, if there are any.

    Those and the common tests of scripts with its name are one call, because pytest takes a second to start. Last
    come those and its own files as a whole, for a test that calls the script by a function.
    """
    name = Path(file).name
    last = [step.format(name=name, file=file).split() for step in common.get("scripts_last", [])]
    last += [common["scripts_first"]] if common else []
    if re.match(r"scripts/(build/)?[\w-]+\.sh$", file):
        files = [word for word in steps[0].split() if word.endswith(".py")]
        tests = [test for path in files for test in mentioning(path, name) or mentioning(path, Path(file).stem)]
        every = [*common["scripts_first"], *files, "-k", " or ".join([name, *tests])]
        return [every, *(step.split() for step in steps[1 if tests else 0 :]), *last, *([files] if tests else [])]
    return [step.split() for step in steps] + last


def every_mutant(files: str = "*") -> Iterator[tuple[Mutant, str]]:
    """Yield each mutant of each file, with the file's text."""
    for file in noticed_by():
        if fnmatch(file, files):
            yield from mutants(file, (ROOT / file).read_text(encoding="utf-8"))


def first(results: Iterable[Result], file: str) -> list[str]:
    """Return the tests that noticed most of a file's mutants so far."""
    return [
        test
        for test, _ in Counter(
            each.noticed_by for each in results if each.file == file and each.noticed_by
        ).most_common(FIRST)
    ]


def tried(copy: Copy, mutant: Mutant, text: str, results: Iterable[Result]) -> Result:
    """Run the tests with a mutant in place of its file, until one notices it; ``results`` are those of other mutants."""
    began = time.monotonic()
    steps = [first(results, mutant.file), *noticed_by()[mutant.file]]
    with copy.changed(mutant.file, text):
        test = next(filter(None, (copy.failed(step, PATIENCE) for step in steps if step)), None)
    return Result(str(mutant), mutant.file, test is None, round(time.monotonic() - began, 1), test or "")


def check(copy: Copy, results: Iterable[Result]) -> None:
    """Run the tests that noticed mutants without a mutant.

    Raises:
        Unfit: one fails.
    """
    tests = sorted({each.noticed_by for each in results if each.noticed_by})
    if tests and (test := copy.failed(tests, PATIENCE)):
        raise Unfit(f"{test} fails without a mutant: delete the results that have it")


def score(results: list[Result]) -> Iterator[str]:
    """Yield a line for each file and one for all: how many mutants were noticed, of those that are not equivalent."""
    equivalent = {str(each.mutant) for each in survivors() if each.equivalent}
    for file in [*sorted({each.file for each in results}), "together"]:
        of_file = [each for each in results if file in (each.file, "together")]
        same = [each for each in of_file if each.survived and each.key in equivalent]
        alive = [each for each in of_file if each.survived and each not in same]
        share = len(alive) / max(1, len(of_file) - len(same))
        yield (
            f"{file}: {len(of_file) - len(same) - len(alive)} of {len(of_file) - len(same)} noticed, "
            f"{share:.1%} survived, {len(same)} equivalent, {sum(each.seconds for each in of_file):.0f} s"
        )


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", default="*", help="a pattern of file names")
    parser.add_argument("--sample", type=int, help="try this many, chosen at random")
    parser.add_argument("--seed", type=int, default=1, help="of the choice")
    parser.add_argument("--shard", default="1/1", help="try the first of four quarters: 1/4")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="start no other mutant after this time")
    parser.add_argument("--again", action="store_true", help="try those again that survived")
    parser.add_argument("--results", type=Path, default=ROOT / ".pytest_cache" / "mutants.jsonl")
    return parser.parse_args()


def chosen(given: argparse.Namespace) -> list[tuple[Mutant, str]]:
    """Return the mutants that the command line asks for."""
    every = list(every_mutant(given.files))
    if given.sample:
        every = random.Random(given.seed).sample(every, min(given.sample, len(every)))  # noqa: S311 - not a secret
    shard, shards = map(int, given.shard.split("/"))
    files = {file: (ROOT / file).read_text(encoding="utf-8") for file in noticed_by()}
    return [
        (mutant, text) for mutant, text in every[shard - 1 :: shards] if is_fit(mutant.file, files[mutant.file], text)
    ]


def main() -> None:
    """Run the command line."""
    given = arguments()
    given.results.parent.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + given.minutes * 60
    lines = given.results.read_text(encoding="utf-8").splitlines() if given.results.exists() else []
    results = {each.key: each for each in (Result(**json.loads(line)) for line in lines)}
    new = []
    with tempfile.TemporaryDirectory() as scratch, Copy(Path(scratch)) as copy:
        for mutant, text in (planted := chosen(given)):
            known = results.get(str(mutant))
            if (known is None or (given.again and known.survived)) and time.monotonic() < end:
                new.append(result := tried(copy, mutant, text, results.values()))
                results[result.key] = result
                with given.results.open("a", encoding="utf-8") as file:
                    print(json.dumps(dataclasses.asdict(result)), file=file)
                if result.survived:
                    print(f"survived: {mutant}", flush=True)
        check(copy, new)
    print("\n".join(score([results[str(mutant)] for mutant, _ in planted if str(mutant) in results])))
    listed = {str(each.mutant) for each in survivors()}
    sys.exit(any(result.survived and key not in listed for key, result in results.items()))


if __name__ == "__main__":
    main()
