"""Finds and follows the pipeline's execution of a commit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rehearsal import waiting

#: States that an execution does not leave (CodePipeline API reference, PipelineExecutionSummary).
FINAL = ("Succeeded", "Failed", "Stopped", "Superseded", "Cancelled")


def latest(codepipeline: Any, pipeline: str, commit: str) -> dict[str, Any]:
    """Return the summary of a commit's newest execution, or an empty dictionary if it has none yet.

    ``codepipeline`` is a boto3 client.
    """
    pages = codepipeline.get_paginator("list_pipeline_executions").paginate(pipelineName=pipeline)
    for page in pages:
        for execution in page["pipelineExecutionSummaries"]:
            if commit in [source.get("revisionId") for source in execution.get("sourceRevisions", [])]:
                return dict(execution)
    return {}


def follow(
    codepipeline: Any, pipeline: str, commit: str, patience: float, show: Callable[[], None] = lambda: None
) -> dict[str, Any]:
    """Wait until a commit's execution has ended, and return its summary.

    ``show`` is called after each query that finds it unfinished.

    Raises:
        TimeoutError: it did not end within ``patience`` seconds.
    """

    def ended() -> dict[str, Any]:
        execution = latest(codepipeline, pipeline, commit)
        if execution.get("status") in FINAL:
            return execution
        show()
        return {}

    return waiting.until(ended, patience, f"the execution of {commit[:7]}", pause=0.25)
