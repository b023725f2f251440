"""Runs the README's commands, compares what they print, and records both in the report."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from .calls import Record
from .pages import REFUSED, Command, commands
from .redact import EXAMPLE_ACCOUNT, EXAMPLE_CALLER
from .report import Report
from .shell import Shell
from .workspace import Workspace

FIRST_STEP = 3
#: Values that the README shows, and the settings that replace them.
SHOWN = {
    "us-east-2": "AWS_REGION",
    "eksctl-demo": "CLUSTER_NAME",
    "aws-pipeline": "STACK_NAME",
    "UdacityFlaskDeployCBKubectlRole": "KUBECTL_ROLE_NAME",
    "t3.medium": "NODE_TYPE",
}


class Stopped(Exception):
    """A signal asked to stop; the message is its name."""


def say(text: str) -> None:
    """Print a line, if anyone still listens."""
    with contextlib.suppress(OSError):
        print(text, flush=True)


@dataclass
class Output:
    """What the commands print: the current command's, and all of it in a file that is not redacted."""

    file: Path
    parts: list[str] = field(default_factory=list)

    def add(self, part: str) -> None:
        """Keep a part of the output."""
        self.parts.append(part)
        with self.file.open("a", encoding="utf-8") as file:
            file.write(part)


def walk(workspace: Workspace, report: Report, record: Record) -> None:
    """Run the commands in order, until one fails or the time is over; other output alone does not end the run."""
    deadline = time.monotonic() + 60 * int(workspace.env["CERTIFY_MINUTES"])
    readme = workspace.checkout / "README.md"
    took: defaultdict[str, float] = defaultdict(float)
    output = Output(workspace.home / "log")
    with Shell(workspace.checkout, workspace.env, output.add, workspace.inherited) as shell:
        workspace.save(group=shell.group)
        for command in steps(readme):
            output.parts.clear()
            say(f"==> {command.section}: {command.script.splitlines()[0]}")
            report.begin(command)
            started = time.monotonic()
            problem, failed = run_one(shell, localized(command, workspace), deadline - started)
            seconds = time.monotonic() - started
            took[command.section] += seconds
            problem = report.end(seconds, problem, shell.without_mark("".join(output.parts)), record.new())
            say(f"    {problem or 'as the README says'}, after {seconds:.0f} s")
            if failed:
                return
    for section, minutes in promised_minutes(readme):
        if took[section] > 60 * minutes:
            report.differ(f"step {section}: took {took[section] / 60:.1f} minutes, not {minutes:g}")


def run_one(shell: Shell, command: Command, limit: float) -> tuple[str, bool]:
    """Run a command; return how it differs from the README, and whether the run cannot continue."""
    try:
        text, status = shell.run(command.script, limit)
    except TimeoutError:
        return "did not end: the time is over", True
    except EOFError:
        return "ended the shell", True
    except Stopped as stop:
        return f"stopped by {stop}", True
    return command.problem(text, status), (status != 0) != (command.word == REFUSED)


def steps(readme: Path) -> Iterator[Command]:
    """Yield the commands from step 3 on that can be run anywhere."""
    for command in commands(readme):
        number = re.match(r"\d+(?=\. )", command.section)
        if command.is_run and number and int(number[0]) >= FIRST_STEP:
            yield command


def localized(command: Command, workspace: Workspace) -> Command:
    """Return the command with the learner's account, name and settings in the output that the README shows."""
    expected = command.expected.replace(EXAMPLE_CALLER, os.environ["CERTIFY_CALLER"])
    expected = expected.replace(EXAMPLE_ACCOUNT, os.environ["CERTIFY_ACCOUNT"])
    for shown, setting in SHOWN.items():
        expected = expected.replace(shown, workspace.env[setting])
    return replace(command, expected=expected)


def promised_minutes(readme: Path) -> Iterator[tuple[str, float]]:
    """Yield the headings of the steps, and the minutes that the route gives them."""
    text = readme.read_text(encoding="utf-8")
    for number, title, minutes in re.findall(r"^(\d+)\. \[(.*)\]\(#.*\): ([\d.]+) minutes?$", text, re.MULTILINE):
        yield f"{number}. {title}", float(minutes)
