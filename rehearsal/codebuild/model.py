"""A build as BatchGetBuilds reports it.

Follows https://docs.aws.amazon.com/codebuild/latest/APIReference/API_Build.html and API_BuildPhase.html.
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
    """One build's record; safe to read while the build changes it."""

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
        """Whether the build is over."""
        return bool(self._data["buildComplete"])

    def begin(self, phase: str) -> None:
        """Enter a phase."""
        with self._lock:
            self._data["currentPhase"] = phase
            self._data["phases"].append({"phaseType": phase, "startTime": time.time()})

    def end(self, status: str, code: str = "", message: str = "") -> None:
        """Leave the phase entered last, with its outcome and the context that explains a failure."""
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
    """What CodePipeline tells CodeBuild beside StartBuild: where the artifacts lie in the pipeline's bucket."""

    pipeline: str
    bucket: str
    source: str
    revision: str
    #: Further inputs, and outputs, by artifact name: keys in the bucket.
    more_sources: dict[str, str] = field(default_factory=dict)
    outputs: dict[str, str] = field(default_factory=dict)


@dataclass
class Build:
    """What a build is given.

    ``project`` is as BatchGetProjects gives it, with the overrides of StartBuild; ``variables`` are the declared ones
    (``environment.declared``); ``job`` names the artifacts of a build of a pipeline.
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
        """Whether the project gives its builds a Docker Engine."""
        return str(self.project["environment"].get("privilegedMode", False)).lower() == "true"

    @property
    def cache(self) -> Path | None:
        """Where the project's own cache is kept, if it has one."""
        modes = self.project.get("cache", {}).get("modes", [])
        return settings.run / "build-cache" / self.project["name"] if "LOCAL_CUSTOM_CACHE" in modes else None
