"""Secrets are only where AWS, GitHub and the learner's own shell keep them."""

from __future__ import annotations

import gzip
import io
import json
import os
import subprocess
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from rehearsal import executions
from rehearsal.emulator.client import root
from rehearsal.settings import settings
from tests.support.fixtures import Figure, Rehearsal, WholeRehearsal
from tests.support.names import STACK
from tests.support.process_list import learner_secrets

#: The files that may contain a secret: the learner's shell environment, and GitHub's record of its webhook.
KEPT = ("env", "learner.json", "github/learner/aws_pipeline.hooks.json")


def webhook_secret() -> bytes:
    """Return the secret with which GitHub signs pushes."""
    manager = root("secretsmanager")
    (secret,) = [
        one for one in manager.list_secrets()["SecretList"] if one["Name"].startswith(STACK) or STACK in one["Name"]
    ]
    return manager.get_secret_value(SecretId=secret["ARN"])["SecretString"].encode()


def containing(secrets: set[bytes], text: bytes) -> bool:
    return any(secret in text for secret in secrets)


@pytest.mark.rehearsal
@pytest.mark.timeout(1500)
def test_no_command_line_or_output_has_a_secret(whole_rehearsal: WholeRehearsal, figure: Figure) -> None:
    done, processes = whole_rehearsal.done, whole_rehearsal.processes
    assert done.returncode == 0, done.stderr
    assert len(processes.secrets) == 3
    assert len(processes.command_lines) > 200
    found = [line for line in processes.command_lines if containing(processes.secrets, line)]
    figure(
        "no secret in a process list during a whole rehearsal",
        f"{len(found)} of ~{len(processes.command_lines)} command lines, ~{processes.samples} samples",
    )
    assert found == []
    assert not containing(processes.secrets, (done.stdout + done.stderr).encode())
    for file in whole_rehearsal.replay.parent.iterdir():
        assert not containing(processes.secrets, file.read_bytes()), file


@pytest.fixture(name="released", scope="module")
def _released(stack: Rehearsal) -> Rehearsal:
    """The stack after its first execution."""
    commit = stack.run("git", "rev-parse", "HEAD").stdout.strip()
    assert executions.follow(root("codepipeline"), STACK, commit, 200)["status"] == "Succeeded"
    return stack


def places(released: Rehearsal) -> Iterator[tuple[str, bytes]]:
    """Yield everything that AWS, Docker and the cluster show, and where it was found."""
    yield from stack_places()
    yield from pipeline_places()
    yield from build_places()
    yield from artifact_places()
    yield from image_places(released)
    yield from cluster_places(released)


def stack_places() -> Iterator[tuple[str, bytes]]:
    cloudformation = root("cloudformation")
    yield "stack", shown(cloudformation.describe_stacks(StackName=STACK))
    yield "stack events", shown(cloudformation.describe_stack_events(StackName=STACK))
    yield "stack resources", shown(cloudformation.describe_stack_resources(StackName=STACK))
    yield "template", shown(cloudformation.get_template(StackName=STACK))


def pipeline_places() -> Iterator[tuple[str, bytes]]:
    codepipeline = root("codepipeline")
    yield "pipeline", shown(codepipeline.get_pipeline(name=STACK))
    yield "pipeline state", shown(codepipeline.get_pipeline_state(name=STACK))
    yield "action executions", shown(codepipeline.list_action_executions(pipelineName=STACK))


def build_places() -> Iterator[tuple[str, bytes]]:
    codebuild, logs = root("codebuild"), root("logs")
    builds = codebuild.list_builds_for_project(projectName=STACK)["ids"]
    yield "project", shown(codebuild.batch_get_projects(names=[STACK]))
    yield "builds", shown(codebuild.batch_get_builds(ids=builds))
    for group in logs.describe_log_groups()["logGroups"]:
        events = logs.filter_log_events(logGroupName=group["logGroupName"])["events"]
        yield f"log {group['logGroupName']}", shown(events)


def artifact_places() -> Iterator[tuple[str, bytes]]:
    s3 = root("s3")
    for bucket in s3.list_buckets()["Buckets"]:
        for item in s3.list_objects_v2(Bucket=bucket["Name"]).get("Contents", []):
            body = s3.get_object(Bucket=bucket["Name"], Key=item["Key"])["Body"].read()
            yield f"artifact {item['Key']}", body
            if zipfile.is_zipfile(io.BytesIO(body)):
                with zipfile.ZipFile(io.BytesIO(body)) as packed:
                    yield from ((f"artifact {item['Key']} {name}", packed.read(name)) for name in packed.namelist())


def image_places(released: Rehearsal) -> Iterator[tuple[str, bytes]]:
    images = released.run("docker", "image", "ls", "--quiet", "--no-trunc").stdout.split()
    for image in sorted(set(images)):
        yield f"history of {image}", released.run("docker", "history", "--no-trunc", image).stdout.encode()
        yield f"settings of {image}", released.run("docker", "image", "inspect", image).stdout.encode()
        saved = subprocess.run(
            ["docker", "image", "save", image], env=released.env, capture_output=True, timeout=120, check=True
        ).stdout
        with tarfile.open(fileobj=io.BytesIO(saved)) as archive:
            for member in archive:
                if member.isfile():
                    content = archive.extractfile(member)
                    assert content is not None
                    yield f"layer {member.name} of {image}", unpacked(content.read())


def cluster_places(released: Rehearsal) -> Iterator[tuple[str, bytes]]:
    kinds = "pods,deployments,replicasets,services,configmaps,events"
    found = released.run("kubectl", "get", kinds, "--all-namespaces", "--output", "json")
    yield "cluster objects", found.stdout.encode()


def shown(answer: object) -> bytes:
    return json.dumps(answer, default=str).encode()


def unpacked(data: bytes) -> bytes:
    return gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data


def files_with(secrets: set[bytes], directory: Path) -> set[str]:
    """Return the files below a directory that contain a secret; grep reads the secrets from standard input."""
    done = subprocess.run(
        ["grep", "--recursive", "--files-with-matches", "--text", "--fixed-strings", "--file=-", "--devices=skip", "."],
        input=b"\n".join(secrets),
        cwd=directory,
        capture_output=True,
        timeout=250,
        check=False,
    )
    return {os.fsdecode(line).removeprefix("./") for line in done.stdout.splitlines()}


@pytest.mark.rehearsal
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_secrets_are_only_where_they_are_kept(released: Rehearsal, figure: Figure) -> None:
    secrets = learner_secrets() | {webhook_secret()}
    assert len(secrets) == 3
    searched = list(places(released))
    assert {name.split(" ", maxsplit=1)[0] for name, _ in searched} >= {"stack", "log", "artifact", "layer", "cluster"}
    found = [name for name, text in searched if containing(secrets, text)]
    files = files_with(secrets, settings.run)
    figure(
        "no secret in logs, artifacts, image layers, stack, events, state files",
        f"{len(found)} of ~{len(searched)} documents; in {len(files)} files, where the learner's shell and GitHub keep them",
    )
    assert found == []
    # The search finds exactly the files that keep a secret, so it does work.
    assert files == set(KEPT)


@pytest.mark.rehearsal
@pytest.mark.slow
@pytest.mark.usefixtures("released")
def test_no_long_running_process_inherits_a_secret(figure: Figure) -> None:
    secrets = learner_secrets() | {webhook_secret()}
    found, looked = [], 0
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            looked += 1
            if containing(secrets, (process / "environ").read_bytes()):
                found.append((process / "cmdline").read_bytes())
    figure("no secret in the environment of a long-running process", f"{len(found)} of ~{looked} processes")
    assert found == []
