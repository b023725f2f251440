"""Push to live, compared with the same work by hand and with the pipeline of 2022."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from benchmarks.figures import Context, Figure, Goal
from benchmarks.releases import Edit, Release, Releases, change_code, change_dependency

ORIGINAL = "benchmarks/original-buildspec.yml"
BY_HAND = "floor: docker build, docker push, kubectl set image, by hand"


def measure(context: Context) -> list[Figure]:
    """Measure push to live, and record the timelines for the picture."""
    releases = Releases(context)
    # One release each way first, which fills the caches.
    with releases.by_hand() as by_hand:
        releases.push(change_code)
        by_hand(change_code)
        code = _in_turn(context, "one line of app.py", {
            "hand": lambda: by_hand(change_code),
            "ours": lambda: releases.push(change_code),
            "2022": lambda: releases.push(change_code, buildspec=ORIGINAL),
        })  # fmt: skip
        dependency = _in_turn(context, "a dependency", _two(releases, by_hand, change_dependency))
    for name, made in (("by hand", "hand"), ("this pipeline", "ours"), ("the pipeline of 2022", "2022")):
        middle = sorted(code[made], key=lambda one: one.took)[len(code[made]) // 2]
        context.timelines.append(middle.timeline(name))
    nothing = []
    for number in range(context.repetitions):
        context.say(f"a push that changes nothing in the image, {number + 1} of {context.repetitions}")
        nothing.append(releases.push_without_effect())
    return [
        Figure("push to live, one line of app.py changed", "s", _took(code["ours"]), BY_HAND, _took(code["hand"]),
               Goal(1.25)),
        Figure("push to live, one line of app.py changed", "s", _took(code["ours"]), "the buildspec of 2022",
               _took(code["2022"]), Goal(0.5)),
        Figure("push to live, requirements.txt changed", "s", _took(dependency["ours"]), f"{BY_HAND}, uncached",
               _took(dependency["hand"]), Goal(1.25)),
        Figure("a push that changes nothing in the image, to its end", "s", nothing, "a push that does, to its end",
               [one.ended - one.began for one in code["ours"]], Goal(1 / 3),
               note="image, pods and Deployment as before"),
    ]  # fmt: skip


def _two(releases: Releases, by_hand: Callable[[Edit], Release], edit: Edit) -> dict[str, Callable[[], Release]]:
    return {"hand": lambda: by_hand(edit), "ours": lambda: releases.push(edit)}


def _in_turn(context: Context, what: str, ways: dict[str, Callable[[], Release]]) -> dict[str, list[Release]]:
    """Release each way in turn, as often as the run repeats."""
    made: dict[str, list[Release]] = {name: [] for name in ways}
    for number in range(context.repetitions):
        for name, release in ways.items():
            context.say(f"push to live, {what}, {name}, {number + 1} of {context.repetitions}")
            made[name].append(release())
            context.say(f"  {made[name][-1].took:.1f} s")
    return made


def _took(releases: Sequence[Release]) -> list[float]:
    return [release.took for release in releases]
