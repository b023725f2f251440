"""The token by which the learner's scripts call the cluster."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from tests.support.paths import ROOT

NEW = '{"kind": "ExecCredential", "status": {"token": "k8s-aws-v1.new"}}\n'
CALL = "eks get-token --cluster-name eksctl-demo --output json\n"


class Plugin:
    """The credential plugin with a stand-in for the AWS CLI, and the file that it keeps the token in."""

    def __init__(self, directory: Path) -> None:
        self.file = directory / "a, token"
        self.asked = directory / "asked"
        self.asked.touch()
        self.aws = directory / "aws"
        self.answer(f"echo '{NEW.strip()}'")

    def answer(self, what: str) -> None:
        self.aws.write_text(f'#!/bin/sh\necho "$*" >>"{self.asked}"\n{what}\n')
        self.aws.chmod(0o755)

    def age(self, minutes: float) -> None:
        self.file.write_text("old\n")
        made = time.time() - 60 * minutes
        os.utime(self.file, (made, made))

    def run(self) -> subprocess.CompletedProcess[str]:
        command = ["bash", "scripts/lib/token.sh", "eksctl-demo", str(self.file)]
        path = f"{self.aws.parent}:{os.environ['PATH']}"
        return subprocess.run(
            command, cwd=ROOT, env={"PATH": path}, capture_output=True, text=True, timeout=30, check=False
        )


@pytest.fixture
def plugin(tmp_path: Path) -> Plugin:
    return Plugin(tmp_path)


def test_token_is_made_once(plugin: Plugin) -> None:
    for _ in range(2):
        assert plugin.run().stdout == NEW
    assert plugin.asked.read_text() == CALL


@pytest.mark.parametrize(("minutes", "said", "asked"), [(9, "old\n", ""), (12, NEW, CALL)])
def test_token_serves_for_ten_minutes(plugin: Plugin, minutes: float, said: str, asked: str) -> None:
    plugin.age(minutes)
    assert plugin.run().stdout == said
    assert plugin.asked.read_text() == asked


def test_old_token_is_not_used_if_there_is_no_new_one(plugin: Plugin) -> None:
    plugin.answer("echo Unable to locate credentials >&2; exit 253")
    plugin.age(12)
    done = plugin.run()
    assert (done.returncode, done.stdout, done.stderr) == (253, "", "Unable to locate credentials\n")
