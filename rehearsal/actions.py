"""What ``python -m rehearsal`` does when its arguments are right. Each message of an error is one line."""

from __future__ import annotations

import argparse
import signal
import sys
from types import FrameType

from rehearsal import rehearse
from rehearsal.practice import commands
from rehearsal.practice.practice import NotNow
from rehearsal.progress import StepFailed
from rehearsal.readiness.directory import Refused
from rehearsal.sandbox import SandboxError


def act(given: argparse.Namespace) -> int:
    """Do what the arguments say and return the exit code."""
    signal.signal(signal.SIGTERM, _interrupt)
    actions = {"status": rehearse.status, "env": rehearse.env, "stop": rehearse.stop, "clean": rehearse.clean}
    try:
        if given.action == "practice":
            return commands.run(given.what)
        return actions[given.action]() if given.action in actions else _run(given)
    except (rehearse.NotPossible, Refused, NotNow) as error:
        print(f"rehearse.sh: {error}", file=sys.stderr)
        return 2
    except (StepFailed, SandboxError, TimeoutError) as error:
        print(f"rehearse.sh: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("rehearse.sh: interrupted; everything was stopped and removed", file=sys.stderr)
        return 130


def _run(given: argparse.Namespace) -> int:
    if given.app:
        return rehearse.run_app((given.caller / given.app).resolve(), keep=given.keep, verbose=given.verbose)
    if given.without_cluster:
        return rehearse.run_without_cluster(verbose=given.verbose)
    record = given.record and (given.caller / given.record).resolve()
    keep = rehearse.leave_to_the_learner if given.keep else None
    return rehearse.run(keep=keep, verbose=given.verbose, record=record)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
