"""What the walk has built, as facts: a name in words, and a value without what changes on its own, such as a time.

Two sets of facts are compared, so everything counts that someone did to the cluster, to the kubectl role, to the stack or
on GitHub, whichever tool was used.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from rehearsal import learner, waiting
from rehearsal.emulator.client import root
from rehearsal.github import model
from rehearsal.settings import settings
from rehearsal.tutorial import NAMESPACE, PIPELINE, ROLE

Json = dict[str, Any]
Facts = dict[str, Any]

#: Kinds in the app's namespace. Of pods, only those that no controller has made.
NAMESPACED = (
    "deployments,statefulsets,daemonsets,jobs,cronjobs,pods,services,configmaps,secrets,roles,rolebindings,"
    "horizontalpodautoscalers,poddisruptionbudgets,resourcequotas,limitranges,networkpolicies,serviceaccounts"
)
CLUSTER_WIDE = "nodes,namespaces,clusterrolebindings,validatingwebhookconfigurations,mutatingwebhookconfigurations"
#: Annotations that only say who has changed an object, and when.
PASSING = re.compile(r"^(kubectl|deployment|autoscaling\.alpha)\.kubernetes\.io/")
#: The image by digest: which commit runs is not a fact of its own.
DIGEST = re.compile(r"@sha256:[0-9a-f]{64}")


def collect() -> tuple[Facts, list[Json]]:
    """Return the facts, and the objects of the cluster that they are made of."""
    objects = [each for each in _objects() if not _is_made_by_controller(each)]
    return {name(each): cluster_fact(each) for each in objects} | _role() | _access() | _stack() | _github(), objects


def differences(before: Facts, now: Facts) -> list[str]:
    """Return the names of the facts that are not what they were."""
    return [each for each in sorted({*before, *now}) if before.get(each) != now.get(each)]


def name(item: Mapping[str, Any]) -> str:
    """Return what an object of the cluster is called in facts."""
    return f"{item['kind']} {item['metadata']['name']}"


def cluster_fact(item: Mapping[str, Any]) -> Json:
    """Return what someone has decided about an object."""
    item = json.loads(DIGEST.sub("", json.dumps(item)))
    metadata = item["metadata"]
    kept = {key: item[key] for key in ("data", "rules", "subjects", "roleRef", "webhooks") if key in item}
    kept["labels"] = metadata.get("labels", {})
    kept["annotations"] = {
        key: value for key, value in metadata.get("annotations", {}).items() if not PASSING.match(key)
    }
    if item["kind"] == "ConfigMap" and "mapRoles" in kept.get("data", {}):
        kept["data"] = {key: _entries(text) for key, text in kept["data"].items()}
    if item["kind"] == "Node":
        spec = item["spec"]
        # A node that is cut off, or short of memory, has taints of its own.
        kept |= {"unschedulable": spec.get("unschedulable", False), "taints": spec.get("taints", [])}
    elif item["kind"] != "Namespace":
        kept["spec"] = _decided(item["kind"], item.get("spec", {}))
    return kept


def _decided(kind: str, spec: Json) -> Json:
    """Return a specification without what controllers write into it."""
    if kind == "Service":
        spec = {key: value for key, value in spec.items() if not key.startswith(("clusterIP", "healthCheckNodePort"))}
        spec["ports"] = [
            {key: value for key, value in port.items() if key != "nodePort"} for port in spec.get("ports", [])
        ]
    if kind == "Deployment":
        spec.pop("replicas", None)  # the HorizontalPodAutoscaler's
        annotations = spec["template"]["metadata"].pop("annotations", {})
        spec["template"]["metadata"]["annotations"] = {
            key: value for key, value in annotations.items() if not PASSING.match(key)
        }
    return spec


def _entries(text: str) -> object:
    """Return the entries of aws-auth in any order, or the text if it is no YAML."""
    try:
        return sorted(yaml.safe_load(text) or [], key=str)
    except (yaml.YAMLError, TypeError):
        return text


def _objects() -> Iterable[Json]:
    for query in (
        ["--namespace", NAMESPACE, "get", NAMESPACED],
        ["get", CLUSTER_WIDE],
        ["--namespace", "kube-system", "get", "configmaps", "--field-selector=metadata.name=aws-auth"],
    ):
        yield from json.loads(kubectl(*query, "--output=json"))["items"]


def kubectl(*words: str, text: str | None = None) -> str:
    """Run kubectl as the cluster's administrator and return its output.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    command = [str(settings.bin / "kubectl"), "--kubeconfig", str(admin()), *words]
    try:
        return subprocess.run(
            command, input=text, capture_output=True, text=True, check=True, timeout=waiting.bound(60)
        ).stdout
    except subprocess.CalledProcessError as error:
        error.add_note(error.stderr)
        raise


def admin() -> Path:
    """Return the kubeconfig of the cluster's administrator."""
    return settings.run / "kubernetes" / "admin.conf"


def repository() -> Path:
    """Return the learner's repository on GitHub."""
    return model.directory() / learner.OWNER / f"{learner.REPOSITORY}.git"


def _is_made_by_controller(item: Mapping[str, Any]) -> bool:
    return item["kind"] == "Pod" and bool(item["metadata"].get("ownerReferences"))


def _role() -> Facts:
    iam = root("iam")
    try:
        trust = iam.get_role(RoleName=ROLE)["Role"]["AssumeRolePolicyDocument"]
    except iam.exceptions.NoSuchEntityException:
        return {}
    names = iam.list_role_policies(RoleName=ROLE)["PolicyNames"]
    policies = {each: iam.get_role_policy(RoleName=ROLE, PolicyName=each)["PolicyDocument"] for each in names}
    attached = [each["PolicyArn"] for each in iam.list_attached_role_policies(RoleName=ROLE)["AttachedPolicies"]]
    return {f"the role {ROLE}": {"trust": trust, "policies": policies, "attached": attached}}


def cluster() -> str:
    """Return the cluster's name."""
    return str(root("eks").list_clusters()["clusters"][0])


def _access() -> Facts:
    """Return who may sign in to the cluster by EKS's own records: its access entries, by the ARN of their principals."""
    eks, name = root("eks"), cluster()

    def granted(principal: str) -> Json:
        entry = eks.describe_access_entry(clusterName=name, principalArn=principal)["accessEntry"]
        policies = eks.list_associated_access_policies(clusterName=name, principalArn=principal)
        return {
            "entry": {key: entry[key] for key in ("type", "username", "kubernetesGroups")},
            "policies": [
                {key: each[key] for key in ("policyArn", "accessScope")}
                for each in policies["associatedAccessPolicies"]
            ],
        }

    principals = eks.list_access_entries(clusterName=name)["accessEntries"]
    return {f"access to the cluster {name}": {each: granted(each) for each in principals}}


def _stack() -> Facts:
    """Return how the stack is, and the parts of it that someone can change without CloudFormation."""
    cloudformation = root("cloudformation")
    try:
        stack = cloudformation.describe_stacks(StackName=PIPELINE)["Stacks"][0]
    except cloudformation.exceptions.ClientError:
        return {}
    parameters = {each["ParameterKey"]: each["ParameterValue"] for each in stack.get("Parameters", [])}
    parameters.pop("KubectlRoleId", None)  # of a role that was made again, it is another
    project = root("codebuild").batch_get_projects(names=[PIPELINE])["projects"]
    pipeline = root("codepipeline").get_pipeline(name=PIPELINE)["pipeline"]
    return {
        f"the stack {PIPELINE}": {"can be updated": _is_usable(stack["StackStatus"]), "parameters": parameters},
        f"the project {PIPELINE}": [
            {key: each.get(key) for key in ("environment", "source", "serviceRole", "timeoutInMinutes", "cache")}
            for each in project
        ],
        f"the pipeline {PIPELINE}": {key: value for key, value in pipeline.items() if key != "version"},
    }


def _is_usable(status: str) -> bool:
    return status.endswith("_COMPLETE") and status not in ("ROLLBACK_COMPLETE", "DELETE_COMPLETE")


def _github() -> Facts:
    hooks = model.read(model.hooks_file(repository())).values()
    return {"the repository's webhooks": [{key: hook[key] for key in ("events", "active")} for hook in hooks]}
