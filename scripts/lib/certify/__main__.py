"""Runs the README's commands in the learner's account, then deletes everything: ``python3 -m scripts.lib.certify``.

scripts/certify.sh has checked settings and tools, has asked, and gives the account and the caller in CERTIFY_ACCOUNT and
CERTIFY_CALLER. With the argument ``--teardown``, only deletes what an interrupted run has left.

Exit codes: 0 everything was as the README says, 1 something was not, or is left.
"""

from __future__ import annotations

import os
import platform
import re
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from .calls import Record
from .redact import EXAMPLE_ACCOUNT, EXAMPLE_CALLER, EXAMPLE_NAME, Redaction
from .report import NOT_SEEN, Report
from .versions import versions
from .walk import Stopped, say, walk
from .workspace import Unusable, Workspace

#: How long the teardown may take, in seconds; certify.sh has said so.
TEARDOWN = 3600
SECRETS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "GITHUB_TOKEN", "CONNECTION_ARN")
NAMES = ("USER", "LOGNAME", "HOSTNAME", "GITHUB_USER", "AWS_PROFILE")


def main() -> int:
    """Run, or only delete; return the exit code."""
    workspace = Workspace(Path.cwd(), os.environ)
    try:
        with workspace.alone():
            return (finish_interrupted if sys.argv[1:] == ["--teardown"] else run)(workspace)
    except Unusable as error:
        say(str(error))
        return 1


def run(workspace: Workspace) -> int:
    """Run the README's commands and delete everything, whatever happens."""
    if workspace.is_interrupted:
        raise Unusable("an earlier run has not deleted everything: run scripts/certify.sh --teardown first")
    now = datetime.now(UTC)
    file = workspace.home / f"report-{now:%Y%m%dT%H%M%SZ}.json"
    record = Record(workspace.home / "calls")
    record.new()  # of an earlier run
    (workspace.home / "log").unlink(missing_ok=True)
    report = Report(file, redaction(workspace), header(workspace, now))
    report.save()
    workspace.env |= record.environment(workspace.env["PATH"])
    catch_signals()
    try:
        workspace.begin(os.environ["CERTIFY_ACCOUNT"], f"certify-{now:%Y%m%d-%H%M%S}", file)
        walk(workspace, report, record)
    except Stopped as stop:
        report.differ(f"stopped by {stop}")
    except (OSError, EOFError, subprocess.SubprocessError) as error:
        report.differ(f"stopped: {getattr(error, 'stdout', None) or error}")
    except BaseException as error:
        report.differ(f"stopped by a fault of certify.sh: {type(error).__name__}")
        raise
    finally:
        ignore_signals()
        code = delete(workspace, report, record)
    return code


def header(workspace: Workspace, now: datetime) -> dict[str, object]:
    """Return what a report says about the run as a whole."""
    env = workspace.env
    return {
        "format": 1,
        "started": f"{now:%Y-%m-%dT%H:%MZ}",
        "commit": workspace.git("rev-parse", "HEAD").stdout.strip(),
        "region": env["AWS_REGION"],
        "kubernetes": env["KUBERNETES_VERSION"],
        "nodes": f"{env['NODE_COUNT']} {env['NODE_TYPE']}",
        "authentication": env["AUTHENTICATION_MODE"],
        "source": "connection" if env.get("CONNECTION_ARN") else "token",
        "limit_minutes": int(env["CERTIFY_MINUTES"]),
        "versions": versions(),
        "differences": [],
        "steps": [],
        "not_seen": NOT_SEEN,
    }


def redaction(workspace: Workspace) -> Redaction:
    """Return what removes the learner's names, numbers and secrets from the report."""
    account, caller = os.environ["CERTIFY_ACCOUNT"], os.environ["CERTIFY_CALLER"]
    git = [workspace.git("config", name, check=False).stdout.strip() for name in ("user.name", "user.email")]
    persons = [*git, *re.split("[:/]", caller)[6:]]
    names = [*persons, *(part for name in persons for part in re.findall(r"[^\W\d_]{3,}", name))]
    names += [*(os.environ.get(name, "") for name in NAMES), Path.home().name, platform.node()]
    secrets = [os.environ.get(name, "") for name in SECRETS]
    if account != EXAMPLE_ACCOUNT:
        secrets += [account[:4], account[4:8], account[8:]]
    private = [*secrets, *(name for name in names if name.lower() != EXAMPLE_NAME)]
    return Redaction(workspace.root, private, {caller: EXAMPLE_CALLER, account: EXAMPLE_ACCOUNT})


def catch_signals() -> None:
    """Let the signals that ask to stop, or that a closed terminal sends, raise Stopped."""

    def stop(number: int, _: FrameType | None) -> None:
        ignore_signals()
        raise Stopped(signal.Signals(number).name)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)


def ignore_signals() -> None:
    """Let nothing but a kill end the teardown. Programs would inherit SIG_IGN, so this is a function that does nothing."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: None)


def delete(workspace: Workspace, report: Report, record: Record) -> int:
    """Delete everything, complete the report, and return the exit code."""
    say("==> Delete everything, about 20 minutes; Ctrl-C does not stop this")
    started = time.monotonic()
    output, left = workspace.tear_down(TEARDOWN)
    with (workspace.home / "log").open("a") as log:
        log.write(output)
    report.teardown(time.monotonic() - started, left, record.new())
    for difference in report.differences:
        say(f"    differs: {difference}")
    say(f"==> The report is {report.file.relative_to(workspace.root)}: read it before you send it to anyone")
    if left:
        say("something is left and may cost money: fix what it says above, then run scripts/certify.sh --teardown")
    return 1 if report.differences else 0


def finish_interrupted(workspace: Workspace) -> int:
    """Delete what an interrupted run has left, and complete its report."""
    if not workspace.is_interrupted:
        say("==> No run was interrupted")
        return 0
    if workspace.state["account"] != os.environ["CERTIFY_ACCOUNT"]:
        raise Unusable("the run was in another account: sign in to that one, then run this again")
    record = Record(workspace.home / "calls")
    report = Report.load(Path(workspace.state["report"]), redaction(workspace))
    report.interrupted(record.new())
    workspace.env |= record.environment(workspace.env["PATH"])
    ignore_signals()
    return delete(workspace, report, record)


if __name__ == "__main__":
    sys.exit(main())
