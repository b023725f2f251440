"""What a build waits for: each external command of one push, when it began and ended, and the critical path.

Usage: python -m benchmarks.trace DIRECTORY [--cold] [--pushes]

Prints the critical path of each build in DIRECTORY/trace.json, which picture.py draws. First records there, with --cold, a
build on a cold builder (cold.py) and one with its layers; with --pushes, two pushes in the kept rehearsal.

A directory of shims comes first on the build's PATH. What a traced program starts itself is part of it.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import cold
from benchmarks.figures import Context
from benchmarks.releases import BenchmarkError, Edit, Releases, change_code, change_nothing
from rehearsal import learner

PROGRAMS = ("aws", "curl", "docker", "kubectl", "python3", "sleep")
#: A shim records its call in a file of its own, so that no two write to one.
SHIM = """#!/bin/bash
begin=$EPOCHREALTIME directory=${0%/*} program=${0##*/}
PATH=${PATH//"$directory:"/} "$program" "$@"
code=$?
printf '%s\\n' "$begin" "$EPOCHREALTIME" "$program" "$@" >"$directory/../calls/$BASHPID"
exit "$code"
"""
FIRST_ON_PATH = 'PATH="$HOME/.local/bin:$PATH"'
#: Options of the build's commands whose value is the next word.
WITH_VALUE = re.compile(
    r"--(context|namespace|cli-[a-z]+-timeout|username|cache-from|build-arg|tag|format|config|header|output|name|proto|retry|connect-timeout|max-time|write-out)"
)
#: Seconds between the end of one command and the start of the next in the same shell, at most.
CLOSE = 0.02


@dataclass(frozen=True)
class Call:
    """A command, and the seconds since the first of its build at which it began and ended."""

    words: str
    begin: float
    end: float


def add_shims(directory: Path) -> Path:
    """Write the shims to a directory; return that which has to come first on PATH."""
    shims = directory / "shims"
    for each in (shims, directory / "calls"):
        each.mkdir(parents=True)
    for name in PROGRAMS:
        (shims / name).write_text(SHIM)
        (shims / name).chmod(0o755)
    return shims


def traced(buildspec: str, shims: Path) -> str:
    """Return a buildspec whose commands find the shims first."""
    if FIRST_ON_PATH not in buildspec:
        raise BenchmarkError(f"buildspec.yml has no {FIRST_ON_PATH}")
    return buildspec.replace(FIRST_ON_PATH, f'PATH="{shims}:$HOME/.local/bin:$PATH"')


def read(directory: Path) -> list[Call]:
    """Return the calls that shims have recorded, in the order in which they began."""
    found = []
    for file in (directory / "calls").iterdir():
        begin, end, *words = file.read_text(errors="replace").split("\n")
        found.append((float(begin), float(end), short(words[:-1])))
    zero = min(begin for begin, _, _ in found)
    return [Call(words, begin - zero, end - zero) for begin, end, words in sorted(found)]


def short(words: Sequence[str]) -> str:
    """Return what names a call: the program, the verbs and what it is about."""
    kept = [words[0]]
    skip = False
    for word in words[1:]:
        if skip:
            skip = False
        elif WITH_VALUE.fullmatch(word):
            skip = True
        elif not word.startswith("-") or word in ("--target", "--check"):
            kept.append(re.sub(r"^.*/(?=[^/]*$)|@?sha256:.*|(?<=[-:][0-9a-f]{7})[0-9a-f]{9,}", "", word))
    return " ".join(word for word in kept if word not in (".", ""))[:48]


def critical_path(calls: Sequence[Call]) -> list[Call]:
    """Return the calls that the end waited for: from the last back, each time the one that ended last before it began."""
    path = [max(calls, key=lambda call: call.end)]
    while before := [call for call in calls if call.end <= path[0].begin + CLOSE and call.begin < path[0].begin]:
        path.insert(0, max(before, key=lambda call: call.end))
    return path


def record_cold() -> dict[str, list[Call]]:
    """Build a change of one line on a builder that has nothing, and another one there with the layers of the first."""
    builds: dict[str, list[Call]] = {}
    with cold.builder() as far:
        tree = cold.tree(far.work / "tree")
        spec = (tree / "buildspec.yml").read_text(encoding="utf-8")

        def build(name: str) -> None:
            work = far.work / name.replace(" ", "-")
            change_code(tree, name)
            shutil.rmtree(work, ignore_errors=True)  # of a try whose engine crashed
            (tree / "buildspec.yml").write_text(traced(spec, add_shims(work)), encoding="utf-8")
            far.by_buildspec(tree, f"trace-{len(builds)}")
            builds[f"one line of app.py, {name}, until the image is pushed"] = read(work)

        def both() -> None:
            build("a cold builder")
            build("the same builder, warm")

        far.timed(lambda: far.by_buildspec(tree, "first"))
        far.timed(both)
    return builds


def record_pushes() -> dict[str, list[Call]]:
    """Push a change of one line in the kept rehearsal, and then one that changes nothing in the image."""
    releases = Releases(Context(learner.recall(), learner.checkout_path()))
    directory = releases.checkout.parent / "traced"
    shims = add_shims(directory)

    def push(edit: Edit) -> list[Call]:
        def traced_edit(checkout: Path, stamp: str) -> None:
            file = checkout / "buildspec.yml"
            file.write_text(traced(file.read_text(encoding="utf-8"), shims), encoding="utf-8")
            edit(checkout, stamp)

        releases.commit(traced_edit)
        commit = releases.run("git", "rev-parse", "HEAD").strip()
        releases.run("git", "push", "--quiet", "origin", f"{commit}:{learner.BRANCH}")
        releases.await_execution(commit)
        releases.settle()
        calls = read(directory)
        for file in (directory / "calls").iterdir():
            file.unlink()
        return calls

    return {
        "one line of app.py, pushed to the cluster, warm": push(change_code),
        "nothing in the image, pushed to the cluster, warm": push(change_nothing),
    }


def load(file: Path) -> dict[str, list[Call]]:
    """Return the calls of each build in a file, or nothing if there is no file."""
    builds = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    return {name: [Call(**call) for call in calls] for name, calls in builds.items()}


def main(directory: Path, *options: str) -> None:
    """Run the command line."""
    builds = load(directory / "trace.json")
    builds |= record_cold() if "--cold" in options else {}
    builds |= record_pushes() if "--pushes" in options else {}
    data = {name: [asdict(call) for call in calls] for name, calls in builds.items()}
    (directory / "trace.json").write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    for name, calls in builds.items():
        print(f"{name}:")
        for call in critical_path(calls):
            print(f"  {call.begin:6.2f} {call.end - call.begin:6.2f} s  {call.words}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
