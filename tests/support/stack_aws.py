"""AWS for tests of the template alone: MiniStack with IAM enforced, and the pipeline's types kept as records.

``python -m tests.support.stack_aws FILE`` serves on the port of rehearsal.settings. It writes to FILE, as JSON, the
properties of each pipeline and webhook that CloudFormation has created and not deleted. Nothing runs: no commit is
fetched and nothing is built.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from rehearsal import aws
from rehearsal.emulator import ministack
from rehearsal.emulator.extensions import Extensions, Json, ResourceHandler

TYPES = ("AWS::CodePipeline::Pipeline", "AWS::CodePipeline::Webhook")


def recorder(type_name: str, records: dict[str, Json], file: Path) -> ResourceHandler:
    """A handler that only records the properties in the template."""

    def create(logical_id: str, properties: Json, stack: str) -> tuple[str, Json]:
        physical_id = properties.get("Name") or f"{stack}-{logical_id}"
        records[type_name] = properties
        file.write_text(json.dumps(records))
        return physical_id, {"Version": "1", "Url": "https://webhooks.invalid/", "Arn": physical_id}

    def update(physical_id: str, _: Json, properties: Json, stack: str) -> tuple[str, Json]:
        return physical_id, create(physical_id, {**properties, "Name": physical_id}, stack)[1]

    def delete(_: str, __: Json) -> None:
        records.pop(type_name, None)
        file.write_text(json.dumps(records))

    return ResourceHandler(create, update, delete)


def record_pipelines(extensions: Extensions) -> None:
    """Record the pipeline's types in the file that the command line names."""
    records: dict[str, Json] = {}
    for type_name in TYPES:
        extensions.add_resource(type_name, recorder(type_name, records, Path(sys.argv[1])))


if __name__ == "__main__":
    ministack.serve(aws.extensions(*aws.CORRECTIONS, record_pipelines))
