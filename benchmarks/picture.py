"""Draws push to live by its parts, and the curves of scale; writes the table too.

Usage: python -m benchmarks.picture DIRECTORY, which has results.json; writes table.md and picture.svg there.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import colormaps
from matplotlib import pyplot as plt
from matplotlib.patches import Patch

from benchmarks.figures import Curve, Timeline, read
from benchmarks.report import table

#: The parts of a push to live by kind; each kind has a colour.
KINDS = {
    "push, webhook, source": ("git push", "webhook, source", "start"),
    "install: ask cluster and registry": ("install", "pre_build"),
    "build, tests": ("build", "docker build"),
    "push the image": ("push", "docker push"),
    "deploy, until a new pod answers": ("kubectl set image", "pods"),
}


def picture(path: Path, timelines: Sequence[Timeline], curves: Sequence[Curve]) -> None:
    """Draw push to live by its parts, and the curves of scale below it."""
    mpl.rcParams |= {"svg.hashsalt": "benchmarks", "svg.fonttype": "none", "font.family": "sans-serif"}
    charts = list(dict.fromkeys((curve.across, curve.up) for curve in curves))
    # The fast ones again in a chart of their own, since the slowest leaves them no room.
    quick = [timeline for timeline in timelines if timeline.live < max(one.live for one in timelines) / 2]
    bars = [group for group in (timelines, quick) if group]
    rows = (len(charts) + 1) // 2
    heights = [*(1.0 + 0.4 * len(group) for group in bars), *[2.8] * rows]
    figure = plt.figure(figsize=(10, 1 + sum(heights)), layout="constrained")
    grid = figure.add_gridspec(len(heights), 2, height_ratios=heights)
    for number, group in enumerate(bars):
        axes = figure.add_subplot(grid[number, :])
        _draw_timelines(axes, group)
        axes.set_title("Push to live, one line of app.py changed" if number == 0 else "The same, without the slowest")
    for number, chart in enumerate(charts):
        axes = figure.add_subplot(grid[len(bars) + number // 2, number % 2])
        _draw_curves(axes, [curve for curve in curves if (curve.across, curve.up) == chart])
    names = [Patch(color=colormaps["tab10"](number), label=name) for number, name in enumerate(KINDS)]
    figure.legend(handles=names, loc="outside upper center", ncols=len(names), fontsize=8)
    figure.savefig(path, format="svg", metadata={"Date": None})
    plt.close(figure)


def _draw_timelines(axes: Any, timelines: Sequence[Timeline]) -> None:
    colours = colormaps["tab10"]
    kinds = {part: colours(number) for number, parts in enumerate(KINDS.values()) for part in parts}
    longest = max((timeline.live for timeline in timelines), default=1)
    for timeline in timelines:
        for part, begin, end in timeline.spans:
            bars = axes.barh(timeline.name, end - begin, left=begin, color=kinds[part], edgecolor="white")
            if end - begin > longest / 16:
                axes.bar_label(bars, [f"{end - begin:.1f} s"], label_type="center", fontsize=8)
        axes.text(
            timeline.live + longest / 100, timeline.name, f"live after {timeline.live:.1f} s", va="center", fontsize=8
        )
    axes.invert_yaxis()
    axes.set_xlim(0, longest * 1.2)
    axes.set_xlabel("seconds")


def _draw_curves(axes: Any, curves: Sequence[Curve]) -> None:
    for curve in curves:
        axes.plot(*zip(*curve.points, strict=True), marker="o", label=curve.name)
    axes.set_xlabel(curves[0].across)
    axes.set_ylabel(curves[0].up)
    axes.set_ylim(bottom=0)
    axes.legend()


def main(directory: Path) -> None:
    """Write the table and the picture next to the results."""
    facts, figures, timelines, curves = read(json.loads((directory / "results.json").read_text(encoding="utf-8")))
    (directory / "table.md").write_text(table(facts, figures), encoding="utf-8")
    picture(directory / "picture.svg", timelines, curves)
    print(table(facts, figures))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
