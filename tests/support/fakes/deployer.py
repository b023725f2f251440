#!/usr/bin/env python3
"""Stand-in for the kubectl of a build, whose kubeconfig names a program for its tokens: starts that for each call, as kubectl.

As the AWS CLI, by another name, writes the kubeconfig that ``aws eks update-kubeconfig`` would. The cluster accepts all.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import yaml

FILE = Path(os.environ["KUBECONFIG"])
APPLIED = Path(os.environ["FAKES"]) / "applied"


def write_kubeconfig() -> None:
    """Let kubectl get each token from the AWS CLI."""
    FILE.parent.mkdir(exist_ok=True)
    token = {"command": "aws", "args": ["eks", "get-token"]}
    FILE.write_text(yaml.safe_dump({"users": [{"name": "deployer", "user": {"exec": token}}]}))


def set_credentials(name: str, *options: str) -> None:
    """Run ``kubectl config set-credentials``."""
    given = dict(option.removeprefix("--").split("=", 1) for option in options)
    token = {"command": given["exec-command"], "args": given["exec-arg"].replace('"', "").split(",")}
    FILE.write_text(yaml.safe_dump({"users": [{"name": name, "user": {"exec": token}}]}))


def main() -> None:
    """Answer one call."""
    words = sys.argv[1:]
    if "update-kubeconfig" in words:
        return write_kubeconfig()
    if words[:2] == ["config", "set-credentials"]:
        return set_credentials(*words[2:])
    token = yaml.safe_load(FILE.read_text())["users"][0]["user"]["exec"]
    subprocess.run([token["command"], *token["args"]], check=True)
    if "version" in words:
        print(json.dumps({"clientVersion": {"minor": "36"}, "serverVersion": {"minor": "36"}}, indent=1))
    if "apply" in words:
        APPLIED.write_bytes(Path(words[-1]).read_bytes())
    if "--raw" in words:
        print(APPLIED.read_text())
    return None


if __name__ == "__main__":
    main()
