"""Draws push to live by its parts, the curves of scale, what a build waits for, and a rehearsal's steps; writes the table.

Usage: python -m benchmarks.picture DIRECTORY, which has results.json and may have trace.json and steps.json; writes table.md
there, and a picture of each.
"""

from __future__ import annotations

import itertools
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
from benchmarks.steps import Record
from benchmarks.steps import load as load_steps
from benchmarks.trace import Call, critical_path, load

mpl.rcParams |= {"svg.hashsalt": "benchmarks", "svg.fonttype": "none", "font.family": "sans-serif"}

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
    _save(figure, path)


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


def draw_traces(path: Path, builds: dict[str, list[Call]]) -> None:
    """Draw the commands of each build below one another, those of the critical path in red."""
    heights = [0.8 + 0.17 * len(calls) for calls in builds.values()]
    size = (10, sum(heights))
    figure, rows = plt.subplots(
        len(builds), 1, figsize=size, layout="constrained", height_ratios=heights, squeeze=False
    )
    for (name, calls), axes in zip(builds.items(), rows[:, 0], strict=True):
        critical = critical_path(calls)
        end = max(call.end for call in calls)
        for number, call in enumerate(calls):
            took = call.end - call.begin
            axes.barh(number, max(took, 0.01), left=call.begin, color="tab:red" if call in critical else "tab:blue")
            axes.text(call.end, number, f" {call.words}, {took:.1f} s", va="center", fontsize=6)
        on_path = sum(call.end - call.begin for call in critical)
        axes.set_title(
            f"{name}: {end:.1f} s, of which the critical path's commands (red) take {on_path:.1f} s", fontsize=10
        )
        axes.invert_yaxis()
        axes.set_yticks([])
        axes.set_xlim(0, end * 1.4)
        axes.set_xlabel("seconds since the first command")
    _save(figure, path)


def draw_steps(path: Path, found: Record) -> None:
    """Draw the steps below one another, and how many cores worked at each moment below them."""
    figure, (above, below) = plt.subplots(
        2, 1, sharex=True, figsize=(10, 2.4 + 0.3 * len(found.steps)), height_ratios=[0.3 * len(found.steps), 1.6], layout="constrained"
    )  # fmt: skip
    axes: Any = above
    for number, step in enumerate(found.steps):
        axes.barh(number, step.end - step.begin, left=step.begin, color="tab:blue")
        said = f" {step.title}, {step.end - step.begin:.1f} s, cores busy {100 * step.busy(found.cores):.0f}%"
        axes.text(step.end, number, said, va="center", fontsize=7)
    axes.invert_yaxis()
    axes.set_yticks([])
    rates = [
        (now, (work - before_work) / (now - before))
        for (before, before_work), (now, work) in itertools.pairwise(found.moments)
    ]
    below.fill_between(*zip(*rates, strict=True), step="pre", color="tab:orange")
    below.set_ylim(0, found.cores)
    below.set_ylabel("cores that work")
    below.set_xlabel("seconds")
    below.set_xlim(0, max(step.end for step in found.steps) * 1.5)
    _save(figure, path)


def _save(figure: Any, path: Path) -> None:
    """Write the same bytes for the same data."""
    figure.savefig(path, format="svg", metadata={"Date": None})
    plt.close(figure)


def main(directory: Path) -> None:
    """Write the table and the picture next to the results."""
    facts, figures, timelines, curves = read(json.loads((directory / "results.json").read_text(encoding="utf-8")))
    (directory / "table.md").write_text(table(facts, figures), encoding="utf-8")
    picture(directory / "picture.svg", timelines, curves)
    if builds := load(directory / "trace.json"):
        draw_traces(directory / "trace.svg", builds)
    if (kept := directory / "steps.json").exists():
        draw_steps(directory / "steps.svg", load_steps(kept))
    print(table(facts, figures))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
