"""Runs a rehearsal: prepares it, runs the tutorial's steps, stops it, checks that nothing is left, and reports."""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table

from rehearsal import aws, caches, check, console, github, learner, once, waiting, without_cluster
from rehearsal.docker import base_image, engine
from rehearsal.fronts import proxy, tls_front
from rehearsal.progress import Progress, StepFailed
from rehearsal.readiness import examine, report
from rehearsal.readiness.directory import prepare, read
from rehearsal.replay import recorder
from rehearsal.sandbox import SandboxError, footprint, lifecycle, network, supervisor
from rehearsal.sandbox.programs import Program
from rehearsal.settings import settings
from rehearsal.tutorial import Push, Tutorial

#: Logs of the last rehearsal's steps and, if it failed, of everything in it: RUN is removed.
LOGS = settings.cache / "logs"
#: Seconds, far above what the slowest package mirror needs.
PACKAGES_TIMEOUT = 1800.0

#: Exceptions with a message for the learner; any other is a defect and shows its traceback.
FAILURES = (StepFailed, SandboxError, TimeoutError, base_image.BaseImageError, check.Missing)


class NotPossible(Exception):
    """The rehearsal cannot run here or now; the message is one line with the remedy."""


def run(*, keep: Callable[[Progress, Tutorial], object] | None, verbose: bool, record: Path | None = None) -> int:
    """Rehearse the whole tutorial; return the exit code.

    With ``keep``, start the services, call it, and leave everything running. With ``record``, a replay is written to that
    file.
    """
    if record and (record.is_dir() or not os.access(record.parent, os.W_OK)):
        raise NotPossible(f"--record: {record} is not a file in a directory that you can write to")
    progress = Progress(LOGS / "steps", verbose=verbose, started=_began())
    with lifecycle.exclusive():
        _refuse_if_kept()
        with _alone():
            try:
                before, tutorial = begin(progress)
                if keep:
                    keep(progress, tutorial)
                    (settings.run / "kept").touch()
                    return 0
                with recorder.recording(progress, record) if record else contextlib.nullcontext():
                    push = walk(progress, tutorial)
            except FAILURES as error:
                return _fail(progress, error)
        if not _nothing_left(progress, before):
            return 1
    _report(progress, push)
    return 0


def run_app(directory: Path, *, keep: bool, verbose: bool) -> int:
    """Rehearse with an app of the learner's in place of the tutorial's, and report how ready it is; 1 if it is not."""
    app = read(directory)
    with lifecycle.exclusive(), tempfile.TemporaryDirectory() as work:
        _refuse_if_kept()
        prepared = Path(work) / "checkout"
        taken = prepare(app, prepared)
        progress = Progress(LOGS / "steps", verbose=verbose, started=_began())
        with _alone():
            try:
                before, tutorial = begin(progress, prepared)
                seen = examine.one_container(progress, tutorial, app, taken)
                if report.may_be_released(seen):
                    tutorial.push_all("Let the probes ask a path of the app")
                    tutorial.setup_cluster()
                    tutorial.create_stack()
                    examine.in_cluster(progress, tutorial, seen)
                if keep:
                    (settings.run / "kept").touch()
            except FAILURES as error:
                return _fail(progress, error)
        clean = keep or _nothing_left(progress, before)
    ready = report.show(progress.console, directory.name, seen)
    if keep:
        print_how_to_enter(progress.console, "to change the app and push it")
        progress.console.print(f"The app answers at {seen.address}" if seen.address else "The app was not released")
    return 0 if ready and clean else 1


def run_without_cluster(*, verbose: bool) -> int:
    """Rehearse what needs neither root nor Docker, and list what is left out."""
    progress = Progress(LOGS / "steps", verbose=verbose)
    with lifecycle.exclusive():
        shutil.rmtree(LOGS, ignore_errors=True)
        if settings.run.exists():
            raise NotPossible("an earlier rehearsal was not removed; run scripts/rehearse.sh stop")
        try:
            with without_cluster.running():
                try:
                    with progress.step("Start AWS and GitHub on this machine"):
                        tutorial = Tutorial(progress, *_make_learner())
                    tutorial.create_role()
                    tutorial.create_stack()
                    tutorial.first_source()
                    tutorial.delete_stack_and_role()
                except FAILURES as error:
                    return _fail(progress, error)
        except SandboxError as error:
            raise NotPossible(str(error)) from error
    progress.console.print("Left out, because it needs root on Linux:")
    for part in without_cluster.LEFT_OUT:
        progress.console.print(f"  - {part}")
    return 0


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Remove what a killed rehearsal has left before the block, and this rehearsal after it, unless it is kept."""
    lifecycle.stop()
    shutil.rmtree(LOGS, ignore_errors=True)
    try:
        yield
    finally:
        if not (settings.run / "kept").exists():
            lifecycle.stop()


def _began() -> float:
    """Return when this process began, by ``time.monotonic``: scripts/rehearse.sh became it by exec."""
    ticks = int(Path("/proc/self/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()[19])
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    return time.monotonic() - age


def begin(progress: Progress, source: Path | None = None) -> tuple[footprint.Snapshot, Tutorial]:
    """Prepare what is missing and start what the tutorial needs, side by side with the build of Kubernetes.

    Returns the state of this machine before the start, and the tutorial. ``source`` is what the learner's checkout has
    instead of the tutorial's files.
    """
    with progress.alongside(lambda: once.KUBERNETES.ensure(progress)):
        install_packages(progress)
        before = footprint.snapshot()
        return before, start(progress, source)


def install_packages(progress: Progress) -> None:
    """Install the system packages that are missing.

    Raises:
        StepFailed: apt-get failed.
        check.Missing: this machine cannot have the rules of the nodes.
    """
    script = str(settings.root / "scripts" / "dev" / "packages.sh")
    missing = subprocess.run(
        [script, "--missing", "rehearsal"], stdout=subprocess.PIPE, text=True, check=True, timeout=waiting.bound(60)
    )
    if missing.stdout.strip():
        with progress.step("Install system packages (once)") as step:
            step.run(
                [script, "rehearsal"], env=os.environ, cwd=settings.root, timeout=PACKAGES_TIMEOUT, to_the_end=True
            )
            # What could not be checked without them.
            check.rules()
            network.check_passage()
            step(f"= {missing.stdout.strip()}")


def programs() -> list[Program]:
    """Return the programs that run as long as the sandbox."""
    return [part.program() for part in (proxy, tls_front, aws, engine, console)]


def start(progress: Progress, source: Path | None = None) -> Tutorial:
    """Start AWS, GitHub and Docker, and create what a learner has; make the base image meanwhile, if it is missing."""
    with (
        concurrent.futures.ThreadPoolExecutor(1) as pool,
        progress.alongside(lambda: once.BASE_IMAGE.ensure(progress)) as made,
        progress.step("Start AWS, GitHub and Docker on this machine") as show,
    ):
        lifecycle.start(programs)
        loading = pool.submit(_load_base_image, progress, made)
        env, checkout = _make_learner(source)
        show("load the base image")
        loading.result()
        show(f"= watch it at http://127.0.0.1:{settings.ports.console}/")
    return Tutorial(progress, env, checkout)


def _load_base_image(progress: Progress, made: concurrent.futures.Future[None]) -> None:
    concurrent.futures.wait([made])
    progress.check_not_stopping()
    engine.load_base_image()


def _make_learner(source: Path | None = None) -> tuple[dict[str, str], Path]:
    """Create what a learner has: a GitHub account with a repository and a token, an IAM user, a checkout."""
    token = learner.new_token()
    github.add_token(token, learner.OWNER)
    github.create_repository(learner.OWNER, learner.REPOSITORY)
    access_key = learner.create_user()
    env = learner.environment(access_key, token)
    learner.write_environment(access_key, token)
    learner.remember(access_key, token)
    learner.write_client_files()
    return env, learner.make_checkout(env, source)


def walk(progress: Progress, tutorial: Tutorial) -> Push:
    """Run the tutorial's steps, from no cluster to a live commit, a bad one that is undone, and the teardown."""
    walk_to_first_release(progress, tutorial)
    push = tutorial.push_change()
    tutorial.push_bad_change()
    tutorial.status()
    tutorial.teardown()
    return push


def walk_to_first_release(progress: Progress, tutorial: Tutorial) -> None:
    """Run the tutorial's steps until the first commit is live."""
    tutorial.setup_cluster()
    tutorial.create_stack()
    tutorial.first_release()
    progress.console.print(f"    The first commit was live after {progress.elapsed:.0f} s")


def status() -> int:
    """Print what a kept rehearsal runs and where, and what rehearsals keep on the disk; returns 1 if none is running."""
    console = Console(highlight=False)
    if not lifecycle.is_running():
        console.print("no rehearsal is running; start one with scripts/rehearse.sh --keep")
        caches.show(console)
        return 1
    table = Table("program", "state", "since")
    for name, state, since in supervisor.states():
        table.add_row(name, state, since)
    console.print(table)
    console.print(f"console page  http://127.0.0.1:{settings.ports.console}/")
    console.print(f"checkout      {learner.checkout_path()}")
    console.print(f"logs          {settings.run / 'log'}")
    caches.show(console)
    return 0


def env() -> int:
    """Print the environment of a kept rehearsal for ``eval``."""
    path = settings.run / "env"
    if not (lifecycle.is_running() and path.exists()):
        raise NotPossible("no rehearsal is kept; start one with scripts/rehearse.sh --keep")
    print(path.read_text(encoding="utf-8"), end="")
    return 0


def stop() -> int:
    """Stop the rehearsal, if there is one, and remove what it left."""
    running = lifecycle.is_running()
    lifecycle.stop()
    print("the rehearsal was stopped and removed" if running else "no rehearsal was running")
    return 0


def clean() -> int:
    """Remove what rehearsals keep on the disk to start faster the next time."""
    with lifecycle.exclusive():
        if settings.run.exists():
            raise NotPossible("a rehearsal is running or was killed; run scripts/rehearse.sh stop first")
        caches.remove(Console(highlight=False))
    return 0


def _refuse_if_kept() -> None:
    if lifecycle.is_running() and (settings.run / "kept").exists():
        raise NotPossible("a rehearsal is kept on this machine; stop it with scripts/rehearse.sh stop")


def leave_to_the_learner(progress: Progress, _tutorial: Tutorial) -> None:
    """Say how to take the tutorial's steps by hand."""
    print_how_to_enter(progress.console, "and follow the README from the step with\nscripts/preflight.sh")


def print_how_to_enter(console: Console, purpose: str) -> None:
    """Say how to enter what is left running, and what for."""
    console.print(
        f"\nEverything is running. Enter it in this or another terminal, {purpose}:\n"
        f'\n    eval "$({settings.root}/scripts/rehearse.sh env)"\n    cd "$REHEARSAL_CHECKOUT"\n'
        f"\nWatch the pipeline at http://127.0.0.1:{settings.ports.console}/ and stop everything with\n"
        "scripts/rehearse.sh stop"
    )


def _show_failure(progress: Progress, error: Exception) -> None:
    for line in getattr(error, "excerpt", []):
        progress.console.print(f"    {line}", style="dim", markup=False)
    progress.console.print(f"Step {progress.failed} failed: {error}", style="red", markup=False)


def _fail(progress: Progress, error: Exception) -> int:
    """Show why a step failed and keep the logs; return the exit code."""
    _show_failure(progress, error)
    _keep_logs(progress)
    return 1


def _keep_logs(progress: Progress) -> None:
    """Copy the logs out of RUN, which is removed with the sandbox."""
    for name in ("log", "builds"):
        if (settings.run / name).is_dir():
            shutil.copytree(settings.run / name, LOGS / name, ignore_dangling_symlinks=True)
    progress.console.print(f"All logs: {LOGS}")


def _nothing_left(progress: Progress, before: footprint.Snapshot) -> bool:
    """Whether this machine is as it was before the rehearsal; shows what is left."""
    try:
        with progress.step("Compare this machine with its state before the rehearsal") as show:
            _check_nothing_left(footprint.difference(before, footprint.snapshot()))
            show("= no process, namespace, link, mount, cgroup, rule or file is left")
    except StepFailed as error:
        _show_failure(progress, error)
        return False
    return True


def _check_nothing_left(left: list[str]) -> None:
    if left:
        raise StepFailed("the rehearsal left something behind", left)


def _report(progress: Progress, push: Push) -> None:
    table = Table("from git push to live", "seconds", title="The pushed commit, by stage")
    for name, seconds in push.moments.items():
        table.add_row(name, f"{seconds:.1f}")
    progress.console.print(table)
    progress.console.print(
        "Real: Kubernetes, containerd, Docker, EKS's authenticator, git, every file of the tutorial.\n"
        "Not real: an emulator replaces the AWS services and decides by their IAM policies; small programs replace\n"
        "CodePipeline, CodeBuild, eksctl and GitHub; EC2, load balancer and VPC do not exist.\n"
        "rehearsal/README.md lists the differences.\n"
        f"Whole rehearsal: {progress.elapsed:.0f} s on {os.cpu_count()} cores."
    )
