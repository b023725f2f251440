"""A learner's repository in which scripts/certify.sh runs, with a short README and faults planted in the tools."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rehearsal.waiting import until
from tests.support.names import TOKEN


def page(*steps: tuple[str, str, str, str]) -> str:
    """Return a README with these steps: heading, minutes, commands, output."""
    route = "".join(f"{title.replace('. ', '. [', 1)}](#x): {minutes} minutes\n" for title, minutes, _, _ in steps)
    text = "# A tutorial\n\n## The route\n\n" + route
    for title, _, script, shown in steps:
        text += f"\n### {title}\n\nDo it:\n```bash\n{script}\n```\n" + (f"```text\n{shown}\n```\n" if shown else "")
    return text


def make_repository(checkout: Path, readme: str) -> Path:
    """Make a git repository of a checkout with this README, whose origin is a bare repository; return the latter."""
    (checkout / "README.md").write_text(readme, encoding="utf-8")
    (checkout / ".gitignore").write_text("/.certify/\n__pycache__/\n", encoding="utf-8")
    origin = checkout.with_name("origin.git")
    for args in (
        ["init", "--quiet", "--bare", str(origin)],
        ["init", "--quiet", "--initial-branch=master"],
        ["config", "user.name", "Ada Lovelace"],
        ["config", "user.email", "ada@example.com"],
        ["remote", "add", "origin", str(origin)],
        ["add", "--all"],
        ["commit", "--quiet", "--message", "Start"],
        ["push", "--quiet", "--set-upstream", "origin", "master"],
    ):
        subprocess.run(["git", *args], cwd=checkout, check=True, timeout=60)
    return origin


@dataclass
class Learner:
    """A repository, the environment of its owner's terminal, and programs that come first on PATH."""

    checkout: Path
    env: Mapping[str, str]
    planted: Path
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def plant(self, program: str, pattern: str, commands: str) -> None:
        """Let ``commands`` run in place of a program if the pattern of the shell matches its arguments, or else it."""
        self.planted.mkdir(exist_ok=True)
        file = self.planted / program
        others = f'PATH=${{PATH//{shlex.quote(str(self.planted))}:/}} exec {program} "$@"\n'
        text = file.read_text(encoding="utf-8") if file.exists() else "#!/usr/bin/env bash\n" + others
        text = text.replace(others, f'case " $* " in {pattern})\n{commands}\n;; esac\n{others}')
        file.write_text(text, encoding="utf-8")
        file.chmod(0o755)

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """Start certify.sh without a terminal."""
        given = {"GITHUB_TOKEN": TOKEN, **self.env, "PATH": f"{self.planted}:{self.env['PATH']}"} | environment
        process = subprocess.Popen(
            ["scripts/certify.sh", *arguments], cwd=self.checkout, env=given, text=True, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self.started.append(process)
        return process

    def run(self, *arguments: str, timeout: float = 240, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run certify.sh to its end."""
        process = self.start(*arguments, **environment)
        output, _ = process.communicate(timeout=timeout)
        return subprocess.CompletedProcess(arguments, process.returncode, output)

    def interrupt(self, process: subprocess.Popen[str], number: int, reached: Callable[[], bool]) -> str:
        """Send a signal as soon as ``reached`` is true; return what certify.sh prints until its end."""
        until(reached, 600, "the moment of the signal", lambda: f"exit code {process.poll()}", pause=0.05)
        os.kill(process.pid, number)
        output, _ = process.communicate(timeout=600)
        return output

    def end(self) -> None:
        """Kill what a failed test has left running."""
        for process in self.started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(10)
        state = self.home / "state.json"
        if state.exists():  # its commands are in a session of their own
            with contextlib.suppress(ProcessLookupError):
                os.killpg(json.loads(state.read_text(encoding="utf-8"))["group"], signal.SIGKILL)

    @property
    def home(self) -> Path:
        """The directory of the runs."""
        return self.checkout / ".certify"

    def report(self) -> dict[str, Any]:
        """Return the report of the last run."""
        return dict(json.loads(max(self.home.glob("report-*.json")).read_text(encoding="utf-8")))

    def left(self) -> list[str]:
        """Return what a run has left in the repository, on GitHub and among the processes."""
        listed = ["git", "for-each-ref", "--format=%(refname)", "refs/heads", "refs/remotes"]
        names = subprocess.run(listed, cwd=self.checkout, capture_output=True, text=True, check=True).stdout.split()
        there = subprocess.run(
            ["git", "ls-remote", "--heads", "origin"], cwd=self.checkout, env=dict(self.env),
            capture_output=True, text=True, check=True,
        ).stdout.split()  # fmt: skip
        files = [
            file.name for file in self.home.glob("*") if file.name in ("checkout", "tmp", "kubeconfig", "state.json")
        ]
        changed = subprocess.run(
            ["git", "status", "--porcelain"], cwd=self.checkout, capture_output=True, text=True, check=True
        ).stdout.splitlines()
        return [name for name in (*names, *there) if "certify" in name] + files + changed + self.processes()

    def processes(self) -> list[str]:
        """Return the programs that run in the work tree."""
        found = []
        for directory in Path("/proc").glob("[0-9]*"):
            try:
                if (directory / "cwd").readlink().is_relative_to(self.home):
                    found.append((directory / "cmdline").read_text().replace("\0", " "))
            except OSError:
                continue
        return found

    def wait_for(self, text: str) -> Callable[[], bool]:
        """Return whether the log has this text."""
        log = self.home / "log"
        return lambda: log.exists() and text in log.read_text(encoding="utf-8")
