"""Runs one build, phase by phase.

Follows https://docs.aws.amazon.com/codebuild/latest/userguide/view-build-details-phases.html: when DOWNLOAD_SOURCE,
INSTALL or PRE_BUILD fails, the build goes on with FINALIZING; when BUILD fails, POST_BUILD still runs, and
UPLOAD_ARTIFACTS is attempted. ``on-failure`` of a phase changes that
(https://docs.aws.amazon.com/codebuild/latest/userguide/build-spec-ref.html#build-spec.phases.on-failure). Within a
phase the first command that fails ends ``commands``; ``finally`` runs always.

Differs from AWS: a build whose failed phase says ``on-failure: CONTINUE`` counts as failed in the end (AWS does not
say); of caches only LOCAL_CUSTOM_CACHE is kept; an unknown ``run-as`` user fails the command, not the source phase.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rehearsal.codebuild import managed_phases
from rehearsal.codebuild.buildspec import PHASES, Buildspec, Phase
from rehearsal.codebuild.container import Container
from rehearsal.codebuild.managed_phases import PhaseFailed
from rehearsal.codebuild.model import Build
from rehearsal.codebuild.shell import Shell, Stopped, TimedOut
from rehearsal.settings import settings

#: Phases after whose failure the build goes on, unless the buildspec says otherwise.
GOES_ON = ("build", "post_build")
#: The context of a fault that is the rehearsal's own.
INTERNAL = "INTERNAL_SERVICE_ERROR"


class BuildRun:
    """One build on its way; its record is SUBMITTED and QUEUED."""

    def __init__(self, build: Build) -> None:
        self.build = build
        self.record = build.record
        self.log = build.log
        self.succeeding = True
        self.deadline = time.monotonic() + 60 * build.project["timeoutInMinutes"]
        self._stop = threading.Event()
        self._shell: Shell | None = None
        self._container: Container | None = None

    def start(self) -> None:
        """Run the build in a thread of its own."""
        threading.Thread(target=self.run, name=f"build {self.record['id']}", daemon=True).start()

    def stop(self) -> None:
        """End the build as soon as may be; its status becomes STOPPED."""
        self._stop.set()
        if self._shell:
            self._shell.stop()

    def run(self) -> None:
        """Run the build to its end; the record tells the outcome."""
        status = "FAULT"
        try:
            status = self._run()
        except PhaseFailed as error:
            status = "FAULT" if error.code == INTERNAL else "FAILED"
        except TimedOut:
            status = "TIMED_OUT"
        except Stopped:
            status = "STOPPED"
        finally:
            self._finalize()
            self.record.finish(status)

    def _run(self) -> str:
        with self._phase("PROVISIONING"):
            role = managed_phases.provision(self.build)
            self._container = self._make_container()
        with self._phase("DOWNLOAD_SOURCE"):
            buildspec = managed_phases.download(self.build, role)
            settled = managed_phases.settle_environment(self.build, buildspec, role)
        self._shell = Shell(
            self.build.directory / "shell",
            self.build.source,
            settled,
            self.log.descriptor,
            shell=buildspec.shell,
            enter=self._container.enter if self._container else (),
            deadline=self.deadline,
        )
        managed_phases.restore_cache(self.build, buildspec)
        if self._run_phases(buildspec, self._shell):
            with self._phase("UPLOAD_ARTIFACTS"):
                managed_phases.upload(self.build, buildspec, role)
        self._export(buildspec, self._shell)
        managed_phases.save_cache(self.build, buildspec, succeeding=self.succeeding)
        return "SUCCEEDED" if self.succeeding else "FAILED"

    def _run_phases(self, buildspec: Buildspec, shell: Shell) -> bool:
        """Run install, pre_build, build and post_build; return whether UPLOAD_ARTIFACTS follows."""
        for name in PHASES:
            phase = buildspec.phases.get(name, Phase())
            if self._run_phase(name, phase, shell):
                continue
            self.succeeding = False
            shell.set("CODEBUILD_BUILD_SUCCEEDING", "0")
            if (phase.on_failure or ("CONTINUE" if name in GOES_ON else "ABORT")) == "ABORT":
                return False
        return True

    def _run_phase(self, name: str, phase: Phase, shell: Shell) -> bool:
        self.log.say(f"Entering phase {name.upper()}")
        try:
            with self._phase(name.upper()):
                self._run_both(phase, shell)
        except PhaseFailed:
            return False
        return True

    def _run_both(self, phase: Phase, shell: Shell) -> None:
        """Run a phase's commands and, whatever came of them, those at its end.

        Raises:
            PhaseFailed: one of them failed.
        """
        failed = self._run_commands(phase.commands, phase.run_as, shell)
        if failed:
            shell.set("CODEBUILD_BUILD_SUCCEEDING", "0")
        failed = self._run_commands(phase.at_end, phase.run_as, shell) or failed
        if failed:
            raise PhaseFailed("COMMAND_EXECUTION_ERROR", failed)

    def _run_commands(self, commands: tuple[str, ...], user: str, shell: Shell) -> str:
        """Run commands until one fails; return what is said about that one, or nothing."""
        for command in commands:
            self.log.say(f"Running command {command}")
            status = shell.run(command, user=user)
            if status:
                self.log.say(f"Command did not exit successfully {command} exit status {status}")
                return f"Error while executing command: {command}. Reason: exit status {status}"
        return ""

    @contextmanager
    def _phase(self, name: str) -> Iterator[None]:
        """Record a phase and its outcome, in the record and in the log."""
        if self._stop.is_set():
            raise Stopped
        self.record.begin(name)
        status, code, message = "SUCCEEDED", "", ""
        try:
            yield
        except PhaseFailed as error:
            status, code, message = "FAILED", error.code, str(error)
            raise
        except TimedOut:
            status, code, message = "TIMED_OUT", "BUILD_TIMED_OUT", "Build has timed out."
            raise
        except Stopped:
            status = "STOPPED"
            raise
        except Exception as error:
            status, code, message = "FAULT", INTERNAL, f"{type(error).__name__}: {error}"
            raise PhaseFailed(code, message) from error
        finally:
            self.record.end(status, code, message)
            self.log.say(f"Phase complete: {name} State: {status}")
            self.log.say(f"Phase context status code: {code} Message: {message}")

    def _make_container(self) -> Container | None:
        """Make the build's namespaces, where the rehearsal runs as root."""
        if os.geteuid() != 0:
            return None
        return Container(settings.docker_socket if self.build.privileged and settings.docker_socket.exists() else None)

    def _export(self, buildspec: Buildspec, shell: Shell) -> None:
        if buildspec.exported:
            found = shell.variables()
            exported = [{"name": name, "value": found[name]} for name in buildspec.exported if name in found]
            self.record.update(exportedEnvironmentVariables=exported)

    def _finalize(self) -> None:
        self.record.begin("FINALIZING")
        if self._container:
            self._container.stop()
        managed_phases.finalize(self.build)
        self.record.end("SUCCEEDED")
