#!/usr/bin/env python3
"""Stand-in for kubectl without Kubernetes: the cluster is a few facts in the file CLUSTER_STATE.

Supports only the calls that the scripts make. ``writes`` counts the changes.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

STATE = Path(os.environ["CLUSTER_STATE"])
MANIFEST = Path(__file__).resolve().with_name("manifest.py")


def from_yaml(file: Path) -> Any:
    """Return what a file of YAML contains; most calls read none, and the import takes as long as all else."""
    import yaml  # noqa: PLC0415

    return yaml.safe_load(file.read_text())


def load() -> dict[str, Any]:
    return dict(json.loads(STATE.read_text())) if STATE.exists() else {"writes": 0}


def save(state: dict[str, Any], **changes: Any) -> None:
    """Write the changes and count them, if there are any."""
    if all(state.get(name) == value for name, value in changes.items()):
        return
    state |= changes
    STATE.write_text(
        json.dumps({name: value for name, value in state.items() if value} | {"writes": state["writes"] + 1})
    )


def config(verb: str, *names: str) -> int:
    """Run ``kubectl config`` on the file that KUBECONFIG names."""
    file = Path(os.environ["KUBECONFIG"])
    content = from_yaml(file) if file.exists() else {}
    if verb == "get-contexts":
        print("\n".join(each["name"] for each in content.get("contexts") or []))
    elif verb.startswith("delete-"):
        kind = verb.removeprefix("delete-") + "s"
        kept = [each for each in content.get(kind) or [] if each["name"] not in names]
        if kept == (content.get(kind) or []):
            return 1
        file.write_text(json.dumps(content | {kind: kept}))
    return 0


def read(state: dict[str, Any], words: list[str]) -> int:
    """Run ``kubectl get``."""
    match words:
        case ["get", "nodes", "--output", "name"]:
            print("\n".join(f"node/{name}" for name in state.get("nodes", [])))
        case ["get", "nodes", *_]:
            print("\n".join(f"{name} Ready" for name in state.get("nodes", [])))
        case ["get", "namespace", name, *_] if state.get("namespace") == name:
            print(name, state.get("labels", "").rpartition("=")[2])
        case ["get", "configmap/aws-auth", *_] if "roles" in state:
            metadata = {"name": "aws-auth", "namespace": "kube-system", "resourceVersion": "1"}
            print(json.dumps({"kind": "ConfigMap", "metadata": metadata, "data": {"mapRoles": state["roles"]}}))
        case ["get", "services", *_]:
            pass
        case ["get", "pods", *_]:
            print("No resources found")
        case _ if "--ignore-not-found" in words:
            pass
        case _:
            print(f"Error from server (NotFound): {words}", file=sys.stderr)
            return 1
    return 0


def change(state: dict[str, Any], words: list[str]) -> int:
    """Run a call that changes something; reject any other."""
    match words:
        case ["create", "namespace", name]:
            save(state, namespace=name)
        case ["label", "namespace", *_, label]:
            save(state, labels=label)
        case ["apply", "-n", _, "-f", file]:
            save(state, rules=Path(file).read_text())
        case ["patch", "configmap/aws-auth", *_, file] | ["create", "-f", file]:
            save(state, roles=from_yaml(Path(file))["data"]["mapRoles"])
        case ["delete", "deployment,service,hpa", "--all", *_]:
            save(state, app=None)
        case ["delete", "namespace", *_]:
            save(state, app=None, namespace=None, labels=None, rules=None)
        case _:
            print(f"kubectl.py: unknown call: {words}", file=sys.stderr)
            return 1
    return 0


def review(state: dict[str, Any], file: Path) -> int:
    """Create SubjectAccessReviews: the group deployers may do everything if it has its rules."""
    for each in json.loads(file.read_text(encoding="utf-8"))["items"]:
        allowed = "rules" in state and "deployers" in each["spec"]["groups"]
        print(json.dumps(each | {"status": {"allowed": allowed}}))
    return 0


def kubectl(words: list[str]) -> int:
    """Answer one of the calls that the scripts make."""
    match words:
        case ["version", "--client", *_]:
            print(json.dumps({"clientVersion": {"gitVersion": "v1.36.3"}}, indent=2))
            return 0
        case ["config", *rest]:
            return config(*rest)
        case ["create", "-f", file, "--output", "json"]:
            return review(load(), Path(file))
    return (read if words[0] == "get" else change)(load(), words)


if __name__ == "__main__":
    if "--local" in sys.argv:
        os.execv(MANIFEST, [str(MANIFEST), *sys.argv[1:]])  # noqa: S606 - the stand-in for reading a file
    words = [word for word in sys.argv[1:] if not word.startswith("--request-timeout=")]
    sys.exit(kubectl(words[2:] if words[0] == "--kubeconfig" else words))
