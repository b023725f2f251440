"""AWS for tests without a pipeline or Kubernetes: MiniStack with IAM enforced, the pipeline's types kept as records.

``python -m tests.support.stack_aws FILE`` serves on the port of rehearsal.settings. It writes to FILE, as JSON, the
properties of each pipeline and webhook that CloudFormation has created and not deleted. Nothing runs: no commit is
fetched and nothing is built. A cluster is only a state file, ``cluster.json`` next to FILE (fakes/kubectl.py); while a
file ``slow`` is there too, creating a control plane takes some seconds.
"""

from __future__ import annotations

import json
import os
import sys
import time
from importlib import import_module
from pathlib import Path

import yaml

from rehearsal import aws
from rehearsal.emulator import ministack
from rehearsal.emulator.extensions import Extensions, Json, ResourceHandler
from rehearsal.kubernetes import managed
from rehearsal.settings import settings

#: Seconds in which a control plane is created slowly.
SLOW = 3
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


def machine(verb: str, *arguments: str) -> None:
    """Take the place of ``python -m rehearsal.kubernetes``."""
    kubectl = import_module("tests.support.fakes.kubectl")
    record = settings.cluster_record
    if verb == "up":
        if kubectl.STATE.with_name("slow").exists():
            time.sleep(SLOW)
        record.parent.mkdir(parents=True, exist_ok=True)
        record.with_name("ca.crt").write_text("a certificate")
        write_record(nodes=0)
    elif verb == "down":
        record.unlink(missing_ok=True)
        kubectl.STATE.unlink(missing_ok=True)
    elif verb in ("join", "leave"):
        count = int(arguments[1]) if verb == "join" else 0
        kubectl.save(kubectl.load(), nodes=[f"node-{number}" for number in range(1, count + 1)])
        write_record(nodes=count)
        if "--role" in arguments and "roles" not in kubectl.load():
            kubectl.save(kubectl.load(), roles=yaml.safe_dump([{"rolearn": arguments[-1]}]))


def write_record(nodes: int) -> None:
    """Write what the emulator's EKS reads of an ACTIVE cluster."""
    file = settings.cluster_record
    authority = str(file.with_name("ca.crt"))
    file.write_text(json.dumps({"endpoint": "https://192.0.2.1", "certificate_authority": authority, "nodes": nodes}))


def run_clusters(extensions: Extensions) -> None:
    """Keep clusters and node groups in the state file."""
    os.environ["CLUSTER_STATE"] = str(Path(sys.argv[1]).with_name("cluster.json"))
    import_module("tests.support.fakes.kubectl")  # reads the variable, which serve removes
    managed.register(extensions, machine)


if __name__ == "__main__":
    ministack.serve(aws.extensions(*aws.CORRECTIONS, record_pipelines, run_clusters))
