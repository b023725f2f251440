"""The figures of tests/README.md, which are those that tests recorded in tests/record.json.

``python -m tests.support.figures`` takes the figures of the last run of pytest into the record, and writes the table of
tests/README.md from it. A figure is a text with numbers. ``~`` marks a number that differs between runs, such as a time:
a run agrees if its number is within a twentieth and twenty times of the recorded one. Every other number has to be the same.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.support.paths import ROOT

TESTS = ROOT / "tests"
RECORD = TESTS / "record.json"
PAGE = TESTS / "README.md"
#: Where pytest keeps the figures of its last run.
LAST_RUN = ROOT / ".pytest_cache" / "figures.json"
#: For each promise the figure of each test that recorded one.
Record = dict[str, dict[str, str]]
NUMBER = re.compile(r"(~?)(?<![\w.])(\d+(?:,\d{3})*(?:\.\d+)?)(?![\w.]*\d)( (?:s|MB)\b)?")
ROW = re.compile(r"^\| ([^|]+?) \| ([^|]+?) \| ([^|]+?) \|$", re.MULTILINE)


def recorded() -> Record:
    """Read the record."""
    return dict(json.loads(RECORD.read_text(encoding="utf-8")))


def shape(figure: str) -> str:
    """Return a figure without its numbers."""
    return NUMBER.sub(r"\1#\3", figure)


def numbers(figure: str) -> list[float]:
    """Return the numbers of a figure."""
    return [float(number.replace(",", "")) for _, number, _ in NUMBER.findall(figure)]


def agrees(figure: str, record: str) -> bool:
    """Whether a run's figure is the recorded one, except for numbers that may differ."""
    marks = [mark for mark, _, _ in NUMBER.findall(record)]
    pairs = zip(marks, numbers(figure), numbers(record), strict=False)
    return shape(figure) == shape(record) and all(
        min(old / 20, old - 20) <= new <= max(old * 20, old + 20) if mark else new == old for mark, new, old in pairs
    )


def contradictions(run: Record, record: Record) -> Iterator[str]:
    """Yield a line for each figure of a run with which the record disagrees."""
    for promise, figures in run.items():
        for test, figure in figures.items():
            old = record.get(promise, {}).get(test)
            if old is None or not agrees(figure, old):
                yield f"{promise}: {figure!r}, but recorded is {old!r} ({test})"


def written(number: float) -> str:
    """Write a number as the page does."""
    return f"{number:,.0f}" if number == int(number) else f"{number:,}"


def together(figures: Iterable[str]) -> str:
    """Return one figure for those of several tests: of numbers with a unit the range, of others the sum."""
    shapes: dict[str, list[list[float]]] = {}
    for figure in figures:
        shapes.setdefault(shape(figure), []).append(numbers(figure))
    texts = []
    for text, rows in shapes.items():
        columns = iter(zip(*rows, strict=True))

        def column(found: re.Match[str], columns: Iterator[tuple[float, ...]] = columns) -> str:
            values = next(columns)
            unit = found.group(1) or ""
            shown = {min(values): 0, max(values): 0} if unit else {sum(values): 0}
            return " to ".join(map(written, shown)) + unit

        texts.append(re.sub(r"#( (?:s|MB)\b)?", column, text))
    return ", ".join(texts)


def promised() -> dict[str, str]:
    """Return the table of tests/README.md: the figure of each promise."""
    return {promise: figure for promise, _, figure in ROW.findall(PAGE.read_text(encoding="utf-8")) if figure != "---"}


def rendered(page: str, record: Record) -> str:
    """Return the page with the figures of the record."""

    def row(found: re.Match[str]) -> str:
        promise, how, _ = found.groups()
        return f"| {promise} | {how} | {together(record[promise].values())} |" if promise in record else found.group()

    return ROW.sub(row, page)


def taken(record: Record, run: Record, tests: set[str]) -> Record:
    """Return the record with the figures of a run; those of tests that do not exist are dropped.

    A figure without a test is of a run that kept only the sum of its tests; the first that is recorded replaces it.
    """
    both = {promise: record.get(promise, {}) | run.get(promise, {}) for promise in sorted({*record, *run})}
    kept = {
        promise: {
            test: figure
            for test, figure in sorted(figures.items())
            if test.partition("[")[0] in tests or (not test and promise not in run)
        }
        for promise, figures in both.items()
    }
    return {promise: figures for promise, figures in kept.items() if figures}


def functions() -> set[str]:
    """Return the ids of all test functions, without parameters."""
    files = TESTS.rglob("test_*.py")
    return {
        f"{file.relative_to(ROOT)}::{name}"
        for file in files
        for name in re.findall(r"^def (test_\w+)", file.read_text(encoding="utf-8"), re.MULTILINE)
    }


def take(last_run: Path) -> None:
    """Take the figures of a run into the record and onto the page."""
    record = taken(recorded(), json.loads(last_run.read_text(encoding="utf-8")), functions())
    RECORD.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    PAGE.write_text(rendered(PAGE.read_text(encoding="utf-8"), record), encoding="utf-8")


if __name__ == "__main__":
    take(LAST_RUN)
