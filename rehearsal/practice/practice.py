"""The commands of the practice: begin an exercise, give a hint, check, show the solution, reset."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import httpx
from rich.console import Console
from rich.table import Table

from rehearsal import executions, learner, waiting
from rehearsal.emulator.client import root, root_environment
from rehearsal.github import model
from rehearsal.practice import exercise as exercises
from rehearsal.practice import facts, session
from rehearsal.practice.exercise import Exercise
from rehearsal.practice.restore import restore
from rehearsal.practice.session import Session
from rehearsal.rehearse import print_how_to_enter
from rehearsal.tutorial import NAMESPACE, PIPELINE, Tutorial

#: Requests of a check, so many that a pod in ten that answers wrongly is seen.
REQUESTS = 60
BREAK_TIMEOUT = 300.0
RESET = "scripts/rehearse.sh practice reset"


class NotNow(Exception):
    """The command does not fit what is in progress; the message is one line with the remedy."""


def listed(console: Console) -> None:
    """Print all exercises, with those that are solved."""
    table = Table("exercise", "level", "what it is about", "solved")
    solved = session.solved()
    for each in exercises.every():
        done = solved.get(each.name)
        hints = f"{done['on']}, {done['hints']} of {len(each.hints)} hints" if done else ""
        table.add_row(each.name, str(each.level), each.title, hints)
    console.print(table)


def chosen(name: str | None) -> Exercise:
    """Return the exercise with a name, or the first that is not solved.

    Raises:
        NotNow: there is none.
    """
    every = exercises.every()
    solved = session.solved()
    found = [each for each in every if (each.name == name if name else each.name not in solved)]
    if not found and name:
        raise NotNow(f"no exercise is called {name}: scripts/rehearse.sh practice list shows them all")
    if not found:
        raise NotNow("every exercise is solved: name one of scripts/rehearse.sh practice list to do it again")
    return found[0]


def begin(console: Console, tutorial: Tutorial, exercise: Exercise) -> None:
    """Break something, and print what a colleague would say.

    Raises:
        NotNow: another exercise is in progress, or the rehearsal is not as the walk leaves it.
        subprocess.CalledProcessError: it could not be broken.
    """
    if running := session.current():
        raise NotNow(f"{running.exercise} is in progress: solve it, or give it up with {RESET}")
    if seen := symptoms():
        raise NotNow(f"an exercise begins where everything works, but {seen[0]}")
    before, objects = facts.collect()
    started = Session(exercise.name, head(), before, objects)
    started.save()
    console.print(f"Something happens to the rehearsal: [bold]{exercise.name}[/bold] …")
    run(exercise.breaks, tutorial, broken_environment(tutorial.env))
    started.broken = facts.differences(before, facts.collect()[0])
    started.save()
    console.print(f"\n{exercise.story}\n")
    print_how_to_enter(console, "and find out why and fix it with the real tools")
    console.print(
        "scripts/rehearse.sh practice check says whether it is solved, hint helps a step further, solution shows one, and "
        "reset gives up.",
        soft_wrap=True,
    )


def hint(console: Console) -> None:
    """Print the next hint."""
    started, exercise = _in_progress()
    if started.hints == len(exercise.hints):
        raise NotNow("there are no more hints: scripts/rehearse.sh practice solution shows a solution")
    started.hints += 1
    started.save()
    console.print(f"Hint {started.hints} of {len(exercise.hints)}: {exercise.hints[started.hints - 1]}", soft_wrap=True)


def solution(console: Console) -> None:
    """Print the solution, and why it is one."""
    _, exercise = _in_progress()
    console.print(f"{exercise.solution}\n", markup=False, soft_wrap=True)
    _explain(console, exercise)


def check(console: Console) -> bool:
    """Print whether the exercise in progress is solved, and whether its repair broke something else."""
    started, exercise = _in_progress()
    found = verdict(started)
    for line in found:
        console.print(f"not yet: {line}", markup=False, soft_wrap=True)
    if found:
        return False
    session.note_solved(started)
    started.end()
    console.print(f"Solved: {exercise.title}.\n")
    _explain(console, exercise)
    return True


def verdict(started: Session) -> list[str]:
    """Return what is still wrong; of what the exercise broke itself, only that it is."""
    found = symptoms()
    changed = facts.differences(started.before, facts.collect()[0])
    found += [f"{each} is not as it was before" for each in changed if each not in started.broken]
    if not found and changed:
        found.append("everything answers, but the cause is still there")
    return found


def symptoms() -> list[str]:
    """Return what users of the page and of the pipeline see to be wrong."""
    found = []
    failed = _failed_requests()
    if failed:
        found.append(f"the page fails {failed} of {REQUESTS} requests")
    commit = head()
    state = executions.latest(root("codepipeline"), PIPELINE, commit).get("status", "not started")
    if state != "Succeeded":
        found.append(f"the newest commit of the branch, {commit[:7]}, is not released: its execution is {state}")
    return found


def reset(console: Console, tutorial: Tutorial) -> None:
    """Give the exercise in progress up, and put everything back.

    Raises:
        NotNow: that did not succeed.
    """
    started, _ = _in_progress()
    restore(started, tutorial)
    if found := verdict(started):
        raise NotNow(f"{found[0]} after the reset: begin again with scripts/rehearse.sh stop and practice")
    started.end()
    console.print("Everything is as it was before. Changes of your own in the checkout are in git stash list.")


def run(commands: str, tutorial: Tutorial, env: Mapping[str, str]) -> str:
    """Run an exercise's commands in the learner's checkout, and return what they print.

    Raises:
        subprocess.CalledProcessError: one failed; ``output`` has what they printed.
    """
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", f". {exercises.FUNCTIONS}\n{commands}"],
        cwd=tutorial.checkout, env=dict(env), check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        timeout=waiting.bound(BREAK_TIMEOUT),
    ).stdout  # fmt: skip


def broken_environment(env: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of someone with every right in the account and in the cluster."""
    return {**env, **root_environment(), "NO_PROXY": env.get("NO_PROXY", ""), "KUBECONFIG": str(facts.admin())}


def _explain(console: Console, exercise: Exercise) -> None:
    console.print(exercise.explanation, soft_wrap=True)
    console.print(f"In docs/troubleshooting.md: {exercise.row}", markup=False, soft_wrap=True)


def _in_progress() -> tuple[Session, Exercise]:
    started = session.current()
    if started is None:
        raise NotNow("no exercise is in progress: begin one with scripts/rehearse.sh practice")
    return started, chosen(started.exercise)


def head() -> str:
    """Return the newest commit of the branch on GitHub."""
    return model.refs(facts.repository())[f"refs/heads/{learner.BRANCH}"]


def _failed_requests() -> int:
    query = "jsonpath={.status.loadBalancer.ingress[0].ip}"
    address = facts.kubectl("--namespace", NAMESPACE, "get", "service", "hello-world", "--output", query)
    # At once, because each may wait for its timeout.
    with ThreadPoolExecutor(REQUESTS // 3) as callers:
        return REQUESTS - sum(callers.map(_answers, [f"http://{address}/"] * REQUESTS))


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=waiting.bound(3), trust_env=False).is_success
    except httpx.HTTPError:
        return False
