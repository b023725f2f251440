"""The manifests as kube-score judges them with its own defaults. What it finds is fixed, or in exemptions.toml."""

from __future__ import annotations

import json
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from tests.support.fixtures import Figure
from tests.support.paths import ROOT

HERE = Path(__file__).parent
EXEMPTIONS = tomllib.loads((HERE / "exemptions.toml").read_text(encoding="utf-8"))["exemption"]
IMAGE = f"111122223333.dkr.ecr.us-east-2.amazonaws.com/hello-world@sha256:{'0' * 64}"
FILES = ("deployment.yml", "deployer-rbac.yml")
#: Building it for the first time takes minutes.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(shutil.which("go") is None, reason="kube-score is built with Go"),
]


def found(text: str) -> set[str]:
    """The checks that do not find everything in order."""
    command = ["go", "-C", HERE / "kube-score", "tool", "kube-score", "score", "--kubernetes-version", "v1.36"]
    done = subprocess.run(
        [*command, "--output-format", "json", "-"], input=text, capture_output=True, text=True, timeout=800, check=False
    )
    assert done.stdout, done.stderr
    checks = [check for scored in json.loads(done.stdout) for check in scored["checks"]]
    assert len([check for check in checks if not check["skipped"]]) > 20
    return {check["check"]["id"] for check in checks if not check["skipped"] and check["grade"] < 10}


def test_kube_score_finds_nothing_without_a_reason(figure: Figure) -> None:
    manifests = "\n---\n".join((ROOT / name).read_text(encoding="utf-8") for name in FILES)
    exempt = {each["check"] for each in EXEMPTIONS}
    said = found(manifests.replace("CONTAINER_IMAGE", IMAGE))
    figure(
        "kube-score finds nothing in the manifests that has no reason",
        f"{len(said - exempt)}; with a reason: {len(said & exempt)}",
    )
    assert said == exempt
    assert [each for each in EXEMPTIONS if len(each["reason"].split()) < 5] == []


def test_kube_score_reports_a_bad_manifest() -> None:
    text = (ROOT / "deployment.yml").read_text(encoding="utf-8").replace("CONTAINER_IMAGE", "hello-world:latest")
    wrong = text.replace("readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false")
    assert {"container-image-tag", "container-security-context-readonlyrootfilesystem"} <= found(wrong)
