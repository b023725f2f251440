"""Renders the results of a run as a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.figures import Figure


def table(facts: dict[str, Any], figures: Sequence[Figure]) -> str:
    """Return the results as Markdown: the median, and in parentheses the least and the greatest value."""
    lines = [f"{facts['machine']}, {facts['when']}. {facts['repetitions']} runs; median (least to most).", ""]
    lines += ["| what | measured | against | measured | ratio | goal | |", "|---|---|---|---|---|---|---|"]
    lines += [_row(figure) for figure in figures]
    return "\n".join(lines) + "\n"


def _row(figure: Figure) -> str:
    ratio = "" if figure.ratio is None else f"**{figure.ratio:.2f}**"
    verdict = {None: "", True: "✓", False: "✗"}[figure.holds]
    what = "<br>".join(filter(None, (figure.name, figure.note, figure.run)))
    cells = [what, _spread(figure.values, figure.unit), figure.against, _spread(figure.other, figure.unit), ratio]
    return "| " + " | ".join([*cells, str(figure.goal or ""), verdict]) + " |"


def _spread(values: Sequence[float], unit: str) -> str:
    if not values:
        return ""
    middle, least, most = sorted(values)[len(values) // 2], min(values), max(values)
    spread = f" ({_number(least)} to {_number(most)})" if len(values) > 1 else ""
    return f"{_number(middle)} {unit}".strip() + spread


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 1 else f"{value:.2g}"
