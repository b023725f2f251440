"""A build, and its record as BatchGetBuilds reports it.

The record follows https://docs.aws.amazon.com/codebuild/latest/APIReference/API_Build.html and API_BuildPhase.html.
"""

from __future__ import annotations

import copy
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rehearsal.codebuild.logs import BuildLog
from rehearsal.settings import settings

Json = dict[str, Any]


class Record:
    """The record of one build; safe to read while the build changes it."""

    def __init__(self, data: Json) -> None:
        self._data = data
        self._lock = threading.Lock()

    def __getitem__(self, key: str) -> Any:
        return self._data[key]

    def snapshot(self) -> Json:
        """Return the record as it is now."""
        with self._lock:
            return copy.deepcopy(self._data)

    def update(self, **fields: Any) -> None:
        """Set fields of the record."""
        with self._lock:
            self._data.update(fields)

    @property
    def ended(self) -> bool:
        """Whether the build has ended."""
        return bool(self._data["buildComplete"])

    def begin(self, phase: str) -> None:
        """Enter a phase."""
        with self._lock:
            self._data["currentPhase"] = phase
            self._data["phases"].append({"phaseType": phase, "startTime": time.time()})

    def end(self, status: str, code: str = "", message: str = "") -> None:
        """Leave the current phase with its status and the context that explains a failure."""
        with self._lock:
            phase = self._data["phases"][-1]
            now = time.time()
            phase.update(
                phaseStatus=status,
                endTime=now,
                durationInSeconds=round(now - phase["startTime"]),
                contexts=[{"statusCode": code, "message": message}],
            )

    def finish(self, status: str) -> None:
        """End the build."""
        with self._lock:
            now = time.time()
            self._data["phases"].append({"phaseType": "COMPLETED", "startTime": now})
            self._data.update(currentPhase="COMPLETED", buildStatus=status, endTime=now, buildComplete=True)


@dataclass(frozen=True)
class PipelineJob:
    """What CodePipeline passes to CodeBuild besides StartBuild: where the artifacts are in the pipeline's bucket.

    ``source``, ``more_sources`` and ``outputs`` are object keys; the last two by artifact name.
    """

    pipeline: str
    bucket: str
    source: str
    revision: str
    more_sources: dict[str, str] = field(default_factory=dict)
    outputs: dict[str, str] = field(default_factory=dict)


@dataclass
class Build:
    """A build.

    ``project`` is as BatchGetProjects returns it, with the overrides of StartBuild; ``variables`` are the environment
    variables of both; ``job`` names the artifacts if a pipeline started the build.
    """

    record: Record
    project: Json
    variables: list[Json]
    job: PipelineJob | None = None

    def __post_init__(self) -> None:
        self.directory: Path = settings.run / "builds" / self.record["id"].partition(":")[2]
        self.log = BuildLog(self.directory.with_suffix(".log"))

    @property
    def source(self) -> Path:
        """Where the source is unpacked."""
        return self.directory / "src"

    @property
    def privileged(self) -> bool:
        """Whether the build has a Docker Engine."""
        return str(self.project["environment"].get("privilegedMode", False)).lower() == "true"

    @property
    def cache(self) -> Path | None:
        """Where the project's custom cache is kept, if it has one."""
        modes = self.project.get("cache", {}).get("modes", [])
        return settings.run / "build-cache" / self.project["name"] if "LOCAL_CUSTOM_CACHE" in modes else None
