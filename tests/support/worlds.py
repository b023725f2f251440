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

from rehearsal.kubernetes import eksctl
from tests.support.account import Aws, environment
from tests.support.desk import copy_of_checkout
from tests.support.inventory import inventory
from tests.support.names import ACCOUNT, CLUSTER, NAMESPACE, REGION, ROLE, STACK, TOKEN
from tests.support.paths import FAKES, ROOT
from tests.support.tracing import Endpoint, Run, Tracer, warm_aws

PARTS = ("cluster", "namespace", "role", "mapping", "stack", "budget")
#: The stack's parameters that come from the scripts' settings.
GIVEN = {"GitHubUser": "learner", "GitHubToken": TOKEN}


BUDGET = {
    "BudgetName": f"{STACK}-budget",
    "BudgetType": "COST",
    "TimeUnit": "MONTHLY",
    "BudgetLimit": {"Amount": "20", "Unit": "USD"},
}


@dataclass
class World:
    """AWS on loopback with the real AWS CLI; eksctl, kubectl and GitHub are stand-ins (tests/support/fakes)."""

    aws: Aws
    endpoint: Endpoint
    tracer: Tracer
    state_file: Path
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
        if "budget" in parts:
            self.aws.root("budgets").create_budget(AccountId=ACCOUNT, Budget=BUDGET)

    def empty(self) -> None:
        """Remove everything."""
        for stack in (STACK, f"eksctl-{CLUSTER}-nodegroup-nodes", f"eksctl-{CLUSTER}-cluster"):
            if self.aws.settle(stack) != "DELETE_COMPLETE":
                self.aws.delete(stack)
        iam, eks = self.aws.root("iam"), self.aws.root("eks")
        for role in iam.list_roles()["Roles"]:
            for policy in iam.list_role_policies(RoleName=role["RoleName"])["PolicyNames"]:
                iam.delete_role_policy(RoleName=role["RoleName"], PolicyName=policy)
            iam.delete_role(RoleName=role["RoleName"])
        for name in eks.list_clusters()["clusters"]:
            eks.delete_cluster(name=name)
        budgets = self.aws.root("budgets")
        for budget in budgets.describe_budgets(AccountId=ACCOUNT).get("Budgets", []):
            budgets.delete_budget(AccountId=ACCOUNT, BudgetName=budget["BudgetName"])
        for file in (self.state_file, self.kubeconfig):
            file.unlink(missing_ok=True)

    def _make_cluster(self, parts: tuple[str, ...]) -> None:
        cluster = eksctl.Cluster(CLUSTER, REGION, "1.36", 2, "t3.medium", group="nodes")
        cloudformation, eks = self.aws.root("cloudformation"), self.aws.root("eks")
        for stack, resources in (
            (cluster.stack, eksctl.control_plane(cluster)),
            (cluster.group_stack, eksctl.node_group(cluster)),
        ):
            cloudformation.create_stack(
                StackName=stack, TemplateBody=json.dumps({"Resources": resources}), Capabilities=["CAPABILITY_IAM"]
            )
            assert self.aws.settle(stack) == "CREATE_COMPLETE", self.aws.reasons(stack)
        for addon in eksctl.DEFAULT_ADDONS:
            eks.create_addon(clusterName=CLUSTER, addonName=addon)
        mapped = {"groups": ["deployers"], "rolearn": f"arn:aws:iam::{ACCOUNT}:role/{ROLE}", "username": "build"}
        state = self.cluster() | {"writes": 0}
        if "mapping" in parts:
            state["roles"] = yaml.safe_dump([*yaml.safe_load(state["roles"]), mapped])
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
    state, kubeconfig = aws.records.with_name("cluster.json"), home / "kubeconfig"
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
                    "REHEARSAL_REGION": aws.region,
                }
            )
            found = World(
                aws, endpoint, Tracer(home, variables, copy_of_checkout(home / "checkout")), state, kubeconfig
            )
            yield found
            found.empty()
    finally:
        endpoint.close()
