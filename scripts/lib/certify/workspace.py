"""What a run has on this computer, and how all that it made is deleted, here and on AWS.

The directory ``.certify`` in the learner's checkout contains a work tree with a branch of its own, so that the learner's
files and branches stay as they are, and a kubeconfig. ``state.json`` exists from before the first change until everything
is deleted; it has what ``--teardown`` needs after a kill.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

SETTINGS = (
    "AWS_REGION", "AWS_DEFAULT_REGION", "CLUSTER_NAME", "KUBERNETES_VERSION", "NODE_TYPE", "NODE_COUNT",
    "AUTHENTICATION_MODE", "KUBECTL_ROLE_NAME", "STACK_NAME", "APP_NAMESPACE", "GITHUB_USER", "GITHUB_REPO", "GITHUB_BRANCH",
)  # fmt: skip
#: The container and the image that step 10 makes.
GREETING = "greeting"
ATTEMPTS = 2


class Unusable(Exception):
    """A run cannot begin or continue; the message is one line with the remedy."""


class Workspace:
    """The files, processes and AWS resources of one run."""

    def __init__(self, root: Path, env: Mapping[str, str]) -> None:
        self.root, self.home = root, root / ".certify"
        self.checkout, self._state_file = self.home / "checkout", self.home / "state.json"
        self.env = dict(env) | {"KUBECONFIG": str(self.home / "kubeconfig"), "TMPDIR": str(self.home / "tmp")}
        self.state: dict[str, Any] = {}
        self.inherited: tuple[int, ...] = ()

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Hold two locks: one against other runs; commands of this run inherit the other, so that it shows that they run.

        Raises:
            Unusable: another run is in progress.
        """
        self.home.mkdir(mode=0o700, exist_ok=True)
        with (self.home / "run.lock").open("w") as run, (self.home / "commands.lock").open("w") as commands:
            self.inherited = (commands.fileno(),)
            try:
                fcntl.flock(run, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise Unusable(
                    "another certify.sh is running in this checkout: wait for it, or stop it with Ctrl-C"
                ) from error
            self._load()
            self._end_orphans()
            yield

    @property
    def is_interrupted(self) -> bool:
        """Whether an earlier run has not deleted everything."""
        return bool(self.state)

    def _load(self) -> None:
        if self._state_file.exists():
            self.state = json.loads(self._state_file.read_text(encoding="utf-8"))
            self.env |= self.state["settings"]

    def save(self, **changes: object) -> None:
        """Add to the state, and write it so that a kill at any moment leaves a whole file."""
        self.state |= changes
        new = self._state_file.with_suffix(".new")
        new.write_text(json.dumps(self.state), encoding="utf-8")
        new.replace(self._state_file)

    def _end_orphans(self) -> None:
        """Kill the commands of a killed run: as long as one holds the lock, its process group is not another's."""
        for _ in range(100):
            with contextlib.suppress(OSError):
                fcntl.flock(self.inherited[0], fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            if self.state.get("group"):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self.state["group"], signal.SIGKILL)
            time.sleep(0.1)
        raise Unusable("commands of an interrupted run are still running: end them, then run this again")

    def begin(self, account: str, branch: str, report: Path) -> None:
        """Make the work tree, and push its branch.

        Raises:
            subprocess.CalledProcessError: git failed.
        """
        self.env["GITHUB_BRANCH"] = branch
        settings = {name: self.env[name] for name in SETTINGS if name in self.env}
        self.save(account=account, branch=branch, report=str(report), settings=settings)
        (self.home / "tmp").mkdir(exist_ok=True)
        self.git("worktree", "add", "--quiet", "-b", branch, str(self.checkout), "HEAD")
        self.git("push", "--quiet", "--set-upstream", "origin", branch, cwd=self.checkout)

    def git(self, *args: str, cwd: Path | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run git in the learner's checkout, or in the work tree."""
        return self._run(["git", *args], cwd or self.root, 300, check=check)

    def _run(self, args: list[str], cwd: Path, limit: float, *, check: bool) -> subprocess.CompletedProcess[str]:
        """Run a program that a signal from the terminal does not reach."""
        with subprocess.Popen(
            args, cwd=cwd, env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, errors="replace", start_new_session=True, pass_fds=self.inherited,
        ) as process:  # fmt: skip
            if self.state:
                self.save(group=process.pid)
            try:
                output, _ = process.communicate(timeout=limit)
            except BaseException:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                raise
        if check and process.returncode:
            raise subprocess.CalledProcessError(process.returncode, args[:2], output)
        return subprocess.CompletedProcess(args, process.returncode, output)

    def tear_down(self, limit: float) -> tuple[str, list[str]]:
        """Delete everything within ``limit`` seconds; return the output, and what is left in one line each.

        Nothing is left if the list is empty. Otherwise the state stays, so that it can be tried again.
        """
        (self.home / "tmp").mkdir(exist_ok=True)
        deadline, output, left = time.monotonic() + limit, "", ["nothing was deleted: there was no time left"]
        for _ in range(ATTEMPTS):
            try:
                done = self._run(["scripts/teardown.sh", "--yes"], self.root, deadline - time.monotonic(), check=False)
            except subprocess.TimeoutExpired:
                left = ["scripts/teardown.sh --yes did not end in time"]
                break
            output, left = output + done.stdout, _left(done) if done.returncode else []
            if not left:
                break
        left += self._remove_local()
        if not left:
            self._state_file.unlink()
            self.state = {}
        return output, left

    def _remove_local(self) -> list[str]:
        """Remove the container, the branch and the work tree; return what is left of them."""
        branch, left = self.state["branch"], []
        for remove in (["container", "rm", "--force", "--volumes"], ["image", "rm", "--force"]):
            with contextlib.suppress(OSError, subprocess.TimeoutExpired):
                self._run(["docker", *remove, GREETING], self.root, 60, check=False)
        there = self.git("ls-remote", "--exit-code", "--heads", "origin", branch, check=False).returncode != 2
        if there and self.git("push", "--quiet", "origin", "--delete", branch, check=False).returncode:
            left.append("the branch is still on GitHub: delete it there")
        self.git("worktree", "remove", "--force", "--force", str(self.checkout), check=False)
        shutil.rmtree(self.checkout, ignore_errors=True)
        self.git("worktree", "prune", check=False)
        self.git("branch", "--quiet", "--delete", "--force", branch, check=False)
        shutil.rmtree(self.home / "tmp", ignore_errors=True)
        (self.home / "kubeconfig").unlink(missing_ok=True)
        return left


def _left(done: subprocess.CompletedProcess[str]) -> list[str]:
    """The resources that a failed teardown lists, and its last line."""
    lines = done.stdout.splitlines()
    return [line.strip() for line in lines[:-1] if line.startswith("    ")] + lines[-1:]
