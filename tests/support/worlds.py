"""An account, a cluster and a shell for the scripts, which tests fill, empty and list between runs."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.support.account import Aws, environment
from tests.support.desk import copy_of_checkout
from tests.support.inventory import inventory
from tests.support.names import ACCOUNT, CLUSTER, NAMESPACE, REGION, ROLE, STACK, TOKEN
from tests.support.paths import FAKES, ROOT
from tests.support.tracing import Endpoint, Run, Tracer, warm_aws

PARTS = ("cluster", "namespace", "role", "mapping", "stack")
#: The stack's parameters that come from the scripts' settings.
GIVEN = {"GitHubUser": "learner", "GitHubToken": TOKEN}


@dataclass
class World:
    """AWS on loopback with the real AWS CLI; eksctl, kubectl and GitHub are stand-ins (tests/support/fakes)."""

    aws: Aws
    endpoint: Endpoint
    tracer: Tracer
    state_file: Path
    record: Path
    kubeconfig: Path

    def run(self, script: str, *arguments: str, kill: str = "", fail: str = "", **environment: str) -> Run:
        """Run a script; kill it at the point ``kill``, or let the point ``fail``, if it reaches that."""
        return self.tracer.run(script, *arguments, kill=kill, fail=fail, **environment)

    def cluster(self) -> dict[str, Any]:
        """Return the contents of the cluster."""
        return dict(json.loads(self.state_file.read_text())) if self.state_file.exists() else {}

    def state(self) -> dict[str, Any]:
        """Return the contents of the account, the cluster and the kubeconfig."""
        contexts = yaml.safe_load(self.kubeconfig.read_text()) if self.kubeconfig.exists() else {}
        names = {
            kind: [each["name"] for each in contexts.get(kind) or []] for kind in ("contexts", "clusters", "users")
        }
        cluster = {name: value for name, value in self.cluster().items() if name != "writes"}
        return {"account": inventory(self.aws.root), "cluster": cluster, "kubeconfig": names}

    def writes(self) -> int:
        """Return how often the cluster was changed."""
        return int(self.cluster().get("writes", 0))

    def fill(self, *parts: str) -> None:
        """Create some of PARTS without the scripts, as an undisturbed setup leaves them."""
        if "cluster" in parts:
            self._make_cluster(parts)
        if "role" in parts:
            self.aws.make_role()
        if "stack" in parts:
            self.aws.create(STACK, **GIVEN)

    def empty(self) -> None:
        """Remove everything."""
        if self.aws.settle(STACK) != "DELETE_COMPLETE":
            self.aws.delete(STACK)
        iam, eks = self.aws.root("iam"), self.aws.root("eks")
        for role in iam.list_roles()["Roles"]:
            for policy in iam.list_role_policies(RoleName=role["RoleName"])["PolicyNames"]:
                iam.delete_role_policy(RoleName=role["RoleName"], PolicyName=policy)
            iam.delete_role(RoleName=role["RoleName"])
        for name in eks.list_clusters()["clusters"]:
            eks.delete_cluster(name=name)
        for file in (self.state_file, self.record, self.kubeconfig):
            file.unlink(missing_ok=True)

    def activate(self) -> None:
        """Make the emulator's EKS report its cluster as ACTIVE (rehearsal/emulator/eks.py)."""
        self.record.parent.mkdir(parents=True, exist_ok=True)
        authority = self.record.with_name("ca.crt")
        authority.write_text("a certificate")
        self.record.write_text(json.dumps({"endpoint": "https://192.0.2.1", "certificate_authority": str(authority)}))

    def _make_cluster(self, parts: tuple[str, ...]) -> None:
        iam = self.aws.root("iam")
        trust = json.dumps({"Version": "2012-10-17", "Statement": []})
        for suffix in ("cluster-ServiceRole", "nodegroup-NodeInstanceRole"):
            iam.create_role(RoleName=f"eksctl-{CLUSTER}-{suffix}", AssumeRolePolicyDocument=trust)
        self.activate()
        self.aws.root("eks").create_cluster(
            name=CLUSTER, version="1.36", roleArn=f"arn:aws:iam::{ACCOUNT}:role/eksctl-{CLUSTER}-cluster-ServiceRole",
            resourcesVpcConfig={"subnetIds": ["subnet-1", "subnet-2"]},
            accessConfig={"authenticationMode": "API_AND_CONFIG_MAP"},
        )  # fmt: skip
        mapped = {"groups": ["deployers"], "rolearn": f"arn:aws:iam::{ACCOUNT}:role/{ROLE}", "username": "build"}
        roles = [{"rolearn": "nodes"}, *([mapped] if "mapping" in parts else [])]
        state: dict[str, Any] = {"writes": 0, "nodes": ["node-1", "node-2"], "roles": yaml.safe_dump(roles)}
        if "namespace" in parts:
            state |= {"namespace": NAMESPACE, "labels": "enforce=restricted", "rules": "-", "app": "runs"}
        self.state_file.write_text(json.dumps(state))
        name = f"arn:aws:eks:{REGION}:{ACCOUNT}:cluster/{CLUSTER}"
        entries = {kind: [{"name": name}] for kind in ("contexts", "clusters", "users")}
        self.kubeconfig.write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "Config"} | entries))


@contextmanager
def world(aws: Aws, home: Path) -> Iterator[World]:
    """Yield a shell like a learner's, with nothing created yet; ``home`` is an empty directory."""
    endpoint = Endpoint(aws.url)
    state, record, kubeconfig = (
        home / "cluster.json",
        aws.records.parent / "eks-rehearsal/run/kubernetes/cluster.json",
        home / "kubeconfig",
    )
    try:
        with warm_aws(home) as warm:
            tools = home / "tools"
            for name, fake in {"eksctl": "eksctl.py", "kubectl": "kubectl.py", "curl": "github.sh"}.items():
                (tools / name).symlink_to(FAKES / fake)
            (home / "tmp").mkdir()
            variables = (
                environment(aws, AWS_ENDPOINT_URL=endpoint.url)
                | warm
                | {
                    "HOME": str(home),
                    "TMPDIR": str(home / "tmp"),
                    "FAKES": str(home),
                    "PYTHONPATH": str(ROOT),
                    "XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache")),
                    "GITHUB_USER": "learner",
                    "KUBECONFIG": str(kubeconfig),
                    "CLUSTER_STATE": str(state),
                    "CLUSTER_RECORD": str(record),
                }
            )
            found = World(
                aws, endpoint, Tracer(home, variables, copy_of_checkout(home / "checkout")), state, record, kubeconfig
            )
            yield found
            found.empty()
    finally:
        endpoint.close()
