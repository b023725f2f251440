"""scripts/lib/aws_auth.py as a module and as a program, and the documents that its tests share."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.names import ROLE_ARN
from tests.support.paths import ROOT

SCRIPT = ROOT / "scripts" / "lib" / "aws_auth.py"
spec = importlib.util.spec_from_file_location("aws_auth", SCRIPT)
assert spec is not None
assert spec.loader is not None
aws_auth = importlib.util.module_from_spec(spec)
sys.path.insert(0, str(SCRIPT.parent))  # as when Python runs the program
spec.loader.exec_module(aws_auth)
map_roles: Any = sys.modules["map_roles"]

NODES = """\
- groups:
  - system:bootstrappers
  - system:nodes
  rolearn: arn:aws:iam::111122223333:role/nodes
  username: system:node:{{EC2PrivateDNSName}}
"""
ENTRY = f"""\
- groups:
  - deployers
  rolearn: {ROLE_ARN}
  username: build
"""
WANTED = {"groups": ["deployers"], "rolearn": ROLE_ARN, "username": "build"}
#: Other answers of the API server.
STATUS = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": 401}
LIST = {"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": ""}, "items": []}


def add(text: str) -> str:
    return str(map_roles.edit(text, ROLE_ARN, add=True))


def remove(text: str) -> str:
    return str(map_roles.edit(text, ROLE_ARN, add=False))


def run(verb: str, config_map: object, save_to: Path) -> subprocess.CompletedProcess[str]:
    given_text = config_map if isinstance(config_map, str) else json.dumps(config_map)
    return subprocess.run(
        [sys.executable, SCRIPT, verb, ROLE_ARN, save_to],
        input=given_text,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def config_map(roles: str | None, **data: str) -> dict[str, Any]:
    return {
        "kind": "ConfigMap",
        "metadata": {"name": "aws-auth", "namespace": "kube-system", "resourceVersion": "77", "uid": "u"},
        "data": ({} if roles is None else {"mapRoles": roles}) | data,
    }
