"""Stand-in for eksctl 0.231 that accepts only the command lines and the config file that the tutorial uses.

    eksctl version
    eksctl create cluster -f FILE
    eksctl create cluster --name=N --version=V --nodes=2 --instance-types=T --region=R
    eksctl delete cluster --name N --region R [--wait] [...]

Follows https://eksctl.io/usage/schema (``eksctl.io/v1alpha5``). It creates the roles that eksctl's stacks create, the
EKS cluster's record by ``CreateCluster`` with the caller's credentials, the Kubernetes cluster on this machine,
``aws-auth`` with the nodes' role as EKS writes it, and the caller's kubeconfig.

Differs from eksctl: no VPC, no CloudFormation stacks, no EC2 instances; seconds where EKS takes a quarter of an hour.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import yaml
from botocore.exceptions import BotoCoreError, ClientError

from rehearsal import waiting
from rehearsal.sandbox import entry
from rehearsal.settings import settings

VERSION = "0.231.0"
MODES = ("CONFIG_MAP", "API_AND_CONFIG_MAP", "API")

#: Supported keys of the config file, by their path; ``[]`` means the items of a list.
KNOWN_KEYS = {
    "": {"apiVersion", "kind", "metadata", "upgradePolicy", "accessConfig", "vpc", "managedNodeGroups", "addonsConfig"},
    "metadata": {"name", "region", "version", "tags"},
    "upgradePolicy": {"supportType"},
    "accessConfig": {"authenticationMode", "bootstrapClusterCreatorAdminPermissions"},
    "vpc": {"nat"},
    "vpc.nat": {"gateway"},
    "managedNodeGroups[]": {
        "name", "amiFamily", "instanceType", "instanceTypes", "desiredCapacity", "minSize", "maxSize", "volumeSize",
        "volumeType", "volumeEncrypted", "disableIMDSv1", "privateNetworking",
    },
}  # fmt: skip


class Refused(Exception):
    """The command or the config file is not one that the stand-in supports."""


@dataclass(frozen=True)
class Cluster:
    """The properties of a cluster that the tutorial sets."""

    name: str
    region: str
    version: str
    nodes: int
    instance_type: str
    support: str = "EXTENDED"
    mode: str = "API_AND_CONFIG_MAP"


def read_config(text: str) -> Cluster:
    """Return the cluster that a ClusterConfig describes.

    Raises:
        Refused: it is not YAML, or has an unsupported key or value.
    """
    try:
        config = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise Refused(f"the config file is not YAML: {error}") from error
    if not isinstance(config, dict):
        raise Refused("the config file is not a mapping")
    _check_keys(config, "")
    if (config.get("apiVersion"), config.get("kind")) != ("eksctl.io/v1alpha5", "ClusterConfig"):
        raise Refused("the config file is not an eksctl.io/v1alpha5 ClusterConfig")
    groups = config.get("managedNodeGroups") or []
    if len(groups) != 1:
        raise Refused(f"managedNodeGroups has {len(groups)} entries; the rehearsal makes one")
    group, metadata, access = groups[0], config.get("metadata") or {}, config.get("accessConfig") or {}
    return Cluster(
        name=str(metadata.get("name", "")),
        region=str(metadata.get("region", "")),
        version=str(metadata.get("version", "")),
        nodes=int(group.get("desiredCapacity", 2)),
        instance_type=str(group.get("instanceType") or (group.get("instanceTypes") or ["m5.large"])[0]),
        support=str((config.get("upgradePolicy") or {}).get("supportType", "EXTENDED")),
        mode=str(access.get("authenticationMode", "API_AND_CONFIG_MAP")),
    )


def _check_keys(value: object, path: str) -> None:
    if isinstance(value, list):
        for item in value:
            _check_keys(item, path + "[]")
    elif isinstance(value, dict) and path in KNOWN_KEYS:
        unknown = sorted(set(value) - KNOWN_KEYS[path])
        if unknown:
            raise Refused(f"the stand-in does not support {(path + '.' + str(unknown[0])).lstrip('.')}")
        for key, item in value.items():
            _check_keys(item, f"{path}.{key}".lstrip("."))


def check(cluster: Cluster) -> None:
    """Check that the rehearsal can create this cluster.

    Raises:
        Refused: it cannot; the message names the value and the supported ones.
    """
    minor = ".".join(settings.kubernetes_version.split(".")[:2])
    if not cluster.name:
        raise Refused("metadata.name must be set")
    if cluster.region != settings.region:
        raise Refused(f"the rehearsal's region is {settings.region}, not {cluster.region!r}")
    if cluster.version != minor:
        raise Refused(f"invalid version {cluster.version!r}; the rehearsal has Kubernetes {minor}")
    if cluster.nodes != 2:
        raise Refused(f"the rehearsal has 2 nodes, not {cluster.nodes}")
    if cluster.mode not in MODES:
        raise Refused(f"authenticationMode is {cluster.mode!r}; it may be {', '.join(MODES)}")
    if cluster.support not in ("STANDARD", "EXTENDED"):
        raise Refused(f"supportType is {cluster.support!r}; it may be STANDARD or EXTENDED")


def create(cluster: Cluster) -> None:
    """Create the cluster; like eksctl, refuse if it exists."""
    check(cluster)
    eks, iam = boto3.client("eks"), boto3.client("iam")
    if cluster.name in eks.list_clusters()["clusters"]:
        raise Refused(f"cluster {cluster.name!r} already exists in {cluster.region}")
    log(f"creating the roles of cluster {cluster.name!r}")
    service_role = _role(iam, f"eksctl-{cluster.name}-cluster-ServiceRole", "eks.amazonaws.com")
    node_role = _role(iam, f"eksctl-{cluster.name}-nodegroup-NodeInstanceRole", "ec2.amazonaws.com")
    log(f"building cluster {cluster.name!r}: Kubernetes {cluster.version}, {cluster.nodes} nodes")
    eks.create_cluster(
        name=cluster.name,
        version=cluster.version,
        roleArn=service_role,
        resourcesVpcConfig={"subnetIds": ["subnet-11111111", "subnet-22222222"]},
        accessConfig={"authenticationMode": cluster.mode, "bootstrapClusterCreatorAdminPermissions": True},
        upgradePolicy={"supportType": cluster.support},
    )
    _bring_up(cluster, node_role)
    log(f"EKS cluster {cluster.name!r} in {cluster.region!r} region is ready")


def _bring_up(cluster: Cluster, node_role: str) -> None:
    """Start Kubernetes and its nodes, authorize the nodes' role, and give the caller a kubeconfig."""
    _inside("up", "--name", cluster.name, "--version", cluster.version, "--nodes", str(cluster.nodes),
            "--authentication-mode", cluster.mode)  # fmt: skip
    if cluster.mode != "API":
        _seed_aws_auth(node_role)
    write_kubeconfig(cluster)


def create_nodes(cluster: Cluster) -> None:
    """Start the nodes of a cluster whose creation was interrupted after its record was created."""
    check(cluster)
    node_role = _role(boto3.client("iam"), f"eksctl-{cluster.name}-nodegroup-NodeInstanceRole", "ec2.amazonaws.com")
    _bring_up(cluster, node_role)


def delete(name: str, region: str) -> None:
    """Delete the cluster, its record and its roles, if they exist; clean up the caller's kubeconfig."""
    if region != settings.region:
        raise Refused(f"the rehearsal's region is {settings.region}, not {region!r}")
    eks, iam = boto3.client("eks"), boto3.client("iam")
    if name not in eks.list_clusters()["clusters"]:
        raise Refused(f"no cluster {name!r} in {settings.region}")
    log(f"deleting EKS cluster {name!r}")
    arn = eks.describe_cluster(name=name)["cluster"]["arn"]
    _inside("down")
    eks.delete_cluster(name=name)
    for suffix in ("cluster-ServiceRole", "nodegroup-NodeInstanceRole"):
        try:
            iam.delete_role(RoleName=f"eksctl-{name}-{suffix}")
        except iam.exceptions.NoSuchEntityException:
            continue
    for kind in ("context", "cluster", "user"):
        verb = f"delete-{kind}"
        subprocess.run(["kubectl", "config", verb, arn], capture_output=True, timeout=waiting.bound(30), check=False)
    subprocess.run(
        ["kubectl", "config", "unset", "current-context"], capture_output=True, timeout=waiting.bound(30), check=False
    )
    log("all cluster resources were deleted")


def write_kubeconfig(cluster: Cluster) -> None:
    """Add the cluster to the caller's kubeconfig with the AWS CLI."""
    subprocess.run(
        ["aws", "eks", "update-kubeconfig", "--name", cluster.name, "--region", cluster.region],
        check=True, timeout=waiting.bound(60), stdout=subprocess.DEVNULL,
    )  # fmt: skip


def log(message: str) -> None:
    """Print what is being done, in eksctl's format."""
    print(f"[i]  {message}", flush=True)


def _role(iam: Any, name: str, service: str) -> str:
    trust = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}],
    }
    try:
        iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust))
    except iam.exceptions.EntityAlreadyExistsException:
        log(f"role {name} already exists")
    return str(iam.get_role(RoleName=name)["Role"]["Arn"])


def _inside(*args: str) -> None:
    """Run the cluster's command inside the sandbox; its output goes to the caller."""
    entry.run([str(settings.venv_bin / "python"), "-m", "rehearsal.kubernetes", *args])


def _seed_aws_auth(node_role: str) -> None:
    """Create the ConfigMap that EKS creates when the first managed node group joins."""
    node = {"rolearn": node_role, "groups": ["system:bootstrappers", "system:nodes"],
            "username": "system:node:{{EC2PrivateDNSName}}"}  # fmt: skip
    document = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "aws-auth", "namespace": "kube-system"},
        "data": {"mapRoles": yaml.safe_dump([node], sort_keys=True)},
    }
    subprocess.run(
        ["kubectl", "--kubeconfig", str(settings.run / "kubernetes" / "admin.conf"), "create", "-f", "-"],
        input=yaml.safe_dump(document), text=True, check=True, timeout=waiting.bound(60), stdout=subprocess.DEVNULL,
    )  # fmt: skip


def parse(args: list[str]) -> Mapping[str, Any]:
    """Parse the command line; an unknown argument ends the program with a message that names it."""
    parser = argparse.ArgumentParser(prog="eksctl", allow_abbrev=False, description=__doc__.split("\n", 1)[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("version")
    making = verbs.add_parser("create", allow_abbrev=False)
    making.add_argument("what", choices=["cluster", "nodegroup"])
    making.add_argument("-f", "--config-file", dest="file")
    for name in ("name", "version", "region", "nodes", "instance-types", "node-type"):
        making.add_argument(f"--{name}")
    ending = verbs.add_parser("delete", allow_abbrev=False)
    ending.add_argument("what", choices=["cluster"])
    ending.add_argument("--name", required=True)
    ending.add_argument("--region", required=True)
    for flag in ("--wait", "--disable-nodegroup-eviction", "--force"):
        ending.add_argument(flag, action="store_true")
    ending.add_argument("--timeout")
    return vars(parser.parse_args(args))


def wanted_cluster(given: Mapping[str, Any]) -> Cluster:
    """Return the cluster that ``eksctl create cluster`` describes, either by a file or by flags."""
    if given["file"]:
        if any(given[name] for name in ("name", "version", "region", "nodes", "instance_types", "node_type")):
            raise Refused("--config-file cannot be combined with the flags that describe a cluster")
        text = sys.stdin.read() if given["file"] == "-" else Path(given["file"]).read_text(encoding="utf-8")
        return read_config(text)
    return Cluster(
        name=given["name"] or "",
        region=given["region"] or os.environ.get("AWS_REGION", ""),
        version=given["version"] or "",
        nodes=int(given["nodes"] or 2),
        instance_type=given["instance_types"] or given["node_type"] or "m5.large",
    )


def main() -> int:
    """Run the command and return an exit code: 0 done, 1 refused or failed."""
    given = parse(sys.argv[1:])
    try:
        if given["verb"] == "version":
            print(VERSION)
        elif given["verb"] == "delete":
            delete(given["name"], given["region"])
        elif given["what"] == "cluster":
            create(wanted_cluster(given))
        else:
            create_nodes(wanted_cluster(given))
    except (Refused, OSError, BotoCoreError, ClientError, subprocess.SubprocessError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
