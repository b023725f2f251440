"""Runs one build, phase by phase.

Follows https://docs.aws.amazon.com/codebuild/latest/userguide/view-build-details-phases.html: if DOWNLOAD_SOURCE,
INSTALL or PRE_BUILD fails, the build skips to FINALIZING; if BUILD fails, POST_BUILD still runs and UPLOAD_ARTIFACTS is
attempted. A phase can change this with ``on-failure``
(https://docs.aws.amazon.com/codebuild/latest/userguide/build-spec-ref.html#build-spec.phases.on-failure). In a
phase, the first command that fails ends ``commands``; ``finally`` runs all the same, but only in phases that began.

Differs from AWS: a build whose failed phase has ``on-failure: CONTINUE`` ends as FAILED (AWS does not document this);
LOCAL_CUSTOM_CACHE is the only cache; an unknown ``run-as`` user fails the command, not DOWNLOAD_SOURCE.
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

#: The build continues after a failure of these phases, unless ``on-failure`` says otherwise.
CONTINUE_AFTER = ("build", "post_build")
#: The context's code for a defect of the rehearsal.
INTERNAL = "INTERNAL_SERVICE_ERROR"


class BuildRun:
    """Runs one build, whose record has passed SUBMITTED and QUEUED."""

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
        """Run the build in a new thread."""
        threading.Thread(target=self.run, name=f"build {self.record['id']}", daemon=True).start()

    def stop(self) -> None:
        """Stop the build; its status becomes STOPPED."""
        self._stop.set()
        if self._shell:
            self._shell.stop()

    def run(self) -> None:
        """Run the build to its end; the outcome is in the record."""
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
            self._container = self._start_container()
        with self._phase("DOWNLOAD_SOURCE"):
            buildspec = managed_phases.download(self.build, role)
            variables = managed_phases.resolve_environment(self.build, buildspec, role)
        self._shell = Shell(
            self.build.directory / "shell",
            self.build.source,
            variables,
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
            if (phase.on_failure or ("CONTINUE" if name in CONTINUE_AFTER else "ABORT")) == "ABORT":
                return False
        return True

    def _run_phase(self, name: str, phase: Phase, shell: Shell) -> bool:
        self.log.say(f"Entering phase {name.upper()}")
        try:
            with self._phase(name.upper()):
                self._run_commands_and_finally(phase, shell)
        except PhaseFailed:
            return False
        return True

    def _run_commands_and_finally(self, phase: Phase, shell: Shell) -> None:
        """Run a phase's commands, then its ``finally`` commands even if a command failed.

        Raises:
            PhaseFailed: one of them failed.
        """
        failed = self._run_commands(phase.commands, phase.run_as, shell)
        if failed:
            shell.set("CODEBUILD_BUILD_SUCCEEDING", "0")
        failed = self._run_commands(phase.finally_commands, phase.run_as, shell) or failed
        if failed:
            raise PhaseFailed("COMMAND_EXECUTION_ERROR", failed)

    def _run_commands(self, commands: tuple[str, ...], user: str, shell: Shell) -> str:
        """Run commands until one fails; return the reason of the failure, or an empty string."""
        for command in commands:
            self.log.say(f"Running command {command}")
            status = shell.run(command, user=user)
            if status:
                self.log.say(f"Command did not exit successfully {command} exit status {status}")
                return f"Error while executing command: {command}. Reason: exit status {status}"
        return ""

    @contextmanager
    def _phase(self, name: str) -> Iterator[None]:
        """Write a phase and its outcome to the record and the log."""
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

    def _start_container(self) -> Container | None:
        """Create the build's namespaces if the rehearsal runs as root."""
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
