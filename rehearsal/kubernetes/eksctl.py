"""Stand-in for eksctl 0.231 that accepts only the command lines and the config file that the tutorial uses.

    eksctl version
    eksctl create cluster -f FILE
    eksctl create cluster --name=N --version=V --nodes=2 --instance-types=T --nodegroup-name=G --vpc-nat-mode=M --region=R
    eksctl create nodegroup -f FILE
    eksctl create addon -f FILE [--timeout=0s]
    eksctl create|update addon --cluster N --name A [--version V] [--region R]
    eksctl delete cluster --name N --region R [--wait] [...]

Follows https://eksctl.io/usage/schema (``eksctl.io/v1alpha5``) and eksctl's source, of which the rules below are:

- A cluster and each node group is a CloudFormation stack, which continues if eksctl is interrupted. The add-ons are
  none of the stacks' business: only ``create cluster`` and ``create addon`` create them (ctl/create/cluster.go;
  cfn/builder/cluster.go, ``BootstrapSelfManagedAddons: false``).
- ``create nodegroup`` passes over a node group whose stack exists, in whatever state (cmdutils/filter/nodegroup_filter.go,
  ``SetOnlyLocal``).
- ``create addon`` passes over one that is present. It fails on one that is DEGRADED, except on coredns if the config
  names no node group, and except with a timeout of 0, which means not to wait (actions/addon/create.go and addon.go).
- The hop limit of the instances' metadata is 2, or 1 with ``disablePodIMDS`` (cfn/builder/nodegroup.go,
  ``makeMetadataOptions``).

Differs from eksctl: no VPC and no EC2 instances; seconds where EKS takes a quarter of an hour.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import secrets
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
from rehearsal.settings import settings

VERSION = "0.231.0"
MODES = ("CONFIG_MAP", "API_AND_CONFIG_MAP", "API")
NAT_MODES = ("HighlyAvailable", "Single", "Disable")

#: The default add-ons, and whether each comes before the nodes (v1alpha5/known_addons.go).
DEFAULT_ADDONS = {"vpc-cni": True, "kube-proxy": True, "coredns": True, "metrics-server": False}

#: States of a stack in which ``create nodegroup`` looks for no node group in it (cfn/manager/nodegroup.go).
NOT_LISTED = ("DELETE_COMPLETE", "DELETE_FAILED")

#: Bound in seconds for an operation of a stack, or an add-on.
TIMEOUT = 400

SUBNETS = ["subnet-11111111", "subnet-22222222"]

#: Supported keys of the config file, by their path; ``[]`` means the items of a list.
KNOWN_KEYS = {
    "": {"apiVersion", "kind", "metadata", "upgradePolicy", "accessConfig", "vpc", "managedNodeGroups", "addons"},
    "metadata": {"name", "region", "version", "tags"},
    "upgradePolicy": {"supportType"},
    "accessConfig": {"authenticationMode", "bootstrapClusterCreatorAdminPermissions"},
    "vpc": {"nat"},
    "vpc.nat": {"gateway"},
    "addons[]": {"name", "version"},
    "managedNodeGroups[]": {
        "name", "amiFamily", "instanceType", "instanceTypes", "desiredCapacity", "minSize", "maxSize", "volumeSize",
        "volumeType", "volumeEncrypted", "disableIMDSv1", "disablePodIMDS", "privateNetworking",
    },
}  # fmt: skip


@functools.cache
def client(service: str) -> Any:
    """Return a client of one service with the caller's credentials."""
    return boto3.client(service)


class Refused(Exception):
    """The command or the config file is not one that the stand-in supports."""


@dataclass(frozen=True)
class Cluster:
    """The properties of a cluster that the tutorial sets; ``group`` is empty if no node group is named."""

    name: str
    region: str
    version: str
    nodes: int
    instance_type: str
    support: str = "EXTENDED"
    mode: str = "API_AND_CONFIG_MAP"
    nat: str = "Single"
    group: str = ""
    pod_imds: bool = True
    addons: tuple[tuple[str, str], ...] = ()
    """Names and versions; an empty version is the default one."""

    @property
    def stack(self) -> str:
        """Name of the stack of the control plane."""
        return f"eksctl-{self.name}-cluster"

    @property
    def group_stack(self) -> str:
        """Name of the stack of the node group."""
        return f"eksctl-{self.name}-nodegroup-{self.group}"


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
    groups = config.get("managedNodeGroups") or [{}]
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
        nat=str(((config.get("vpc") or {}).get("nat") or {}).get("gateway", "Single")),
        group=str(group.get("name", "")),
        pod_imds=not group.get("disablePodIMDS", False),
        addons=tuple((str(each["name"]), str(each.get("version", ""))) for each in config.get("addons") or []),
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
    if not cluster.group:
        raise Refused("managedNodeGroups has 0 entries; the rehearsal makes one")
    if cluster.nodes != 2:
        raise Refused(f"the rehearsal has 2 nodes, not {cluster.nodes}")
    if cluster.mode not in MODES:
        raise Refused(f"authenticationMode is {cluster.mode!r}; it may be {', '.join(MODES)}")
    if cluster.nat not in NAT_MODES:
        raise Refused(f"the NAT mode is {cluster.nat!r}; it may be {', '.join(NAT_MODES)}")
    if cluster.support not in ("STANDARD", "EXTENDED"):
        raise Refused(f"supportType is {cluster.support!r}; it may be STANDARD or EXTENDED")


def create(cluster: Cluster) -> None:
    """Create the cluster; like eksctl, refuse if it exists."""
    check(cluster)
    if cluster.name in client("eks").list_clusters()["clusters"]:
        raise Refused(f"cluster {cluster.name!r} already exists in {cluster.region}")
    addons = {**dict.fromkeys(DEFAULT_ADDONS, ""), **dict(cluster.addons)}
    log(f"building cluster {cluster.name!r}: Kubernetes {cluster.version}, {cluster.nodes} nodes")
    create_stack(cluster, cluster.stack, control_plane(cluster))
    for name, version in addons.items():
        if DEFAULT_ADDONS.get(name):
            create_addon(cluster, name, version, wait=False)
    create_stack(cluster, cluster.group_stack, node_group(cluster))
    for name, version in addons.items():
        if not DEFAULT_ADDONS.get(name):
            create_addon(cluster, name, version)
    write_kubeconfig(cluster)
    log(f"EKS cluster {cluster.name!r} in {cluster.region!r} region is ready")


def create_nodes(cluster: Cluster) -> None:
    """Create the node group, unless its stack exists in any state."""
    check(cluster)
    made = 0
    if stack_status(cluster.group_stack) in NOT_LISTED:
        create_stack(cluster, cluster.group_stack, node_group(cluster))
        made = 1
    else:
        log(f"1 existing nodegroup(s) ({cluster.group}) will be excluded")
    log(f"created {made} managed nodegroup(s) in cluster {cluster.name!r}")


def create_addon(cluster: Cluster, name: str, version: str = "", *, wait: bool = True) -> None:
    """Create an add-on, unless it is present, and wait until it is active."""
    eks = client("eks")
    try:
        eks.describe_addon(clusterName=cluster.name, addonName=name)
    except eks.exceptions.ResourceNotFoundException:
        log(f"creating addon: {name}")
    else:
        log(f"{name!r} addon is already present on the cluster, as an EKS managed addon, skipping creation")
        return
    eks.create_addon(clusterName=cluster.name, addonName=name, addonVersion=addon_version(eks, name, version))
    if wait and (name != "coredns" or cluster.group):
        await_addon(eks, cluster.name, name)


def update_addon(cluster: Cluster, name: str, version: str) -> None:
    """Update an add-on to a version, or keep the one it has."""
    eks = client("eks")
    present = eks.describe_addon(clusterName=cluster.name, addonName=name)["addon"]["addonVersion"]
    wanted = addon_version(eks, name, version) if version else present
    log(f"new version provided {wanted}" if version else f"no new version provided, preserving existing: {present}")
    eks.update_addon(clusterName=cluster.name, addonName=name, addonVersion=wanted)
    await_addon(eks, cluster.name, name)


def addon_version(eks: Any, name: str, version: str) -> str:
    """Return the default version of an add-on, its newest for ``latest``, or the given one."""
    offered = eks.describe_addon_versions(addonName=name)["addons"][0]["addonVersions"]
    names = {each["addonVersion"] for each in offered}
    if version not in ("", "latest", *names):
        raise Refused(f"no version(s) found matching {version!r} for {name!r}")
    default = next(each["addonVersion"] for each in offered if each["compatibilities"][0]["defaultVersion"])
    return {"": str(default), "latest": str(max(names))}.get(version, version)


def await_addon(eks: Any, cluster: str, name: str) -> None:
    """Wait until an add-on is active."""

    def active() -> bool:
        status = eks.describe_addon(clusterName=cluster, addonName=name)["addon"]["status"]
        if status not in ("ACTIVE", "CREATING", "UPDATING"):
            raise Refused(f"addon status transitioned to {status!r}")
        return bool(status == "ACTIVE")

    waiting.until(active, TIMEOUT, f"the addon {name}")


def control_plane(cluster: Cluster) -> dict[str, Any]:
    """Return the resources of the control plane's stack."""
    return {
        "ServiceRole": _role("eks.amazonaws.com"),
        "ControlPlane": {
            "Type": "AWS::EKS::Cluster",
            "Properties": {
                "Name": cluster.name,
                "Version": cluster.version,
                "RoleArn": {"Fn::GetAtt": ["ServiceRole", "Arn"]},
                "ResourcesVpcConfig": {"SubnetIds": SUBNETS},
                "AccessConfig": {
                    "AuthenticationMode": cluster.mode,
                    "BootstrapClusterCreatorAdminPermissions": True,
                },
                "BootstrapSelfManagedAddons": False,
                "UpgradePolicy": {"SupportType": cluster.support},
            },
        },
    }


def node_group(cluster: Cluster) -> dict[str, Any]:
    """Return the resources of the node group's stack."""
    metadata = {"HttpTokens": "required", "HttpPutResponseHopLimit": 2 if cluster.pod_imds else 1}
    return {
        "NodeInstanceRole": _role("ec2.amazonaws.com"),
        "LaunchTemplate": {
            "Type": "AWS::EC2::LaunchTemplate",
            "Properties": {
                "LaunchTemplateName": cluster.group_stack,
                "LaunchTemplateData": {"MetadataOptions": metadata},
            },
        },
        "ManagedNodeGroup": {
            "Type": "AWS::EKS::Nodegroup",
            "Properties": {
                "ClusterName": cluster.name,
                "NodegroupName": cluster.group,
                "NodeRole": {"Fn::GetAtt": ["NodeInstanceRole", "Arn"]},
                "InstanceTypes": [cluster.instance_type],
                "ScalingConfig": dict.fromkeys(("MinSize", "MaxSize", "DesiredSize"), cluster.nodes),
                "Subnets": SUBNETS,
                "LaunchTemplate": {"Id": {"Ref": "LaunchTemplate"}},
            },
        },
    }


def create_stack(cluster: Cluster, stack: str, resources: dict[str, Any]) -> None:
    """Create a stack and wait for it.

    Raises:
        Refused: it could not be created; the message has the first reason.
    """
    cloudformation = client("cloudformation")
    log(f"deploying stack {stack!r}")
    cloudformation.create_stack(
        StackName=stack,
        TemplateBody=json.dumps({"Resources": resources}),
        Capabilities=["CAPABILITY_IAM"],
        Tags=[{"Key": "alpha.eksctl.io/cluster-name", "Value": cluster.name}],
    )
    if settle(stack) != "CREATE_COMPLETE":
        events = cloudformation.describe_stack_events(StackName=stack)["StackEvents"]
        reasons = [each.get("ResourceStatusReason", "") for each in events if each["ResourceStatus"] == "CREATE_FAILED"]
        raise Refused(f"creating CloudFormation stack {stack!r}: {reasons[-1] if reasons else 'failed'}")


def settle(stack: str) -> str:
    """Wait until no operation of a stack is in progress; return its status."""
    waiting.until(lambda: not stack_status(stack).endswith("_IN_PROGRESS"), TIMEOUT, f"the stack {stack}", pause=0.3)
    return stack_status(stack)


def stack_status(stack: str) -> str:
    """Return a stack's status; DELETE_COMPLETE if there is none."""
    try:
        return str(client("cloudformation").describe_stacks(StackName=stack)["Stacks"][0]["StackStatus"])
    except ClientError as error:
        if "does not exist" in str(error):
            return "DELETE_COMPLETE"
        raise


def delete(name: str, region: str) -> None:
    """Delete the stacks of the cluster and its node group; clean up the caller's kubeconfig."""
    if region != settings.region:
        raise Refused(f"the rehearsal's region is {settings.region}, not {region!r}")
    eks, cloudformation = client("eks"), client("cloudformation")
    if name not in eks.list_clusters()["clusters"]:
        raise Refused(f"no cluster {name!r} in {settings.region}")
    log(f"deleting EKS cluster {name!r}")
    arn = eks.describe_cluster(name=name)["cluster"]["arn"]
    groups = eks.list_nodegroups(clusterName=name)["nodegroups"]
    for stack in (*(f"eksctl-{name}-nodegroup-{group}" for group in groups), f"eksctl-{name}-cluster"):
        cloudformation.delete_stack(StackName=stack)
        if (status := settle(stack)) != "DELETE_COMPLETE":
            raise Refused(f"the stack {stack} is {status}")
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


def _role(service: str) -> dict[str, Any]:
    trust = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}],
    }
    return {"Type": "AWS::IAM::Role", "Properties": {"AssumeRolePolicyDocument": trust}}


#: Flags that describe what a config file describes too.
DESCRIBING = (
    "name", "cluster", "version", "region", "nodes", "instance-types", "node-type", "nodegroup-name", "vpc-nat-mode",
)  # fmt: skip


def parse(args: list[str]) -> Mapping[str, Any]:
    """Parse the command line; an unknown argument ends the program with a message that names it."""
    parser = argparse.ArgumentParser(prog="eksctl", allow_abbrev=False, description=__doc__.split("\n", 1)[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("version")
    making = verbs.add_parser("create", allow_abbrev=False)
    making.add_argument("what", choices=["cluster", "nodegroup", "addon"])
    changing = verbs.add_parser("update", allow_abbrev=False)
    changing.add_argument("what", choices=["addon"])
    for verb in (making, changing):
        verb.add_argument("-f", "--config-file", dest="file")
        verb.add_argument("--timeout")
        for name in DESCRIBING:
            verb.add_argument(f"--{name}")
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
    flags = {name: given[name.replace("-", "_")] for name in DESCRIBING}
    if given["file"]:
        if any(flags.values()):
            raise Refused("--config-file cannot be combined with the flags that describe a cluster")
        text = sys.stdin.read() if given["file"] == "-" else Path(given["file"]).read_text(encoding="utf-8")
        return read_config(text)
    addon = given["what"] == "addon"
    return Cluster(
        name=(flags["cluster"] if addon else flags["name"]) or "",
        region=flags["region"] or os.environ.get("AWS_REGION", ""),
        version=flags["version"] or "",
        nodes=int(flags["nodes"] or 2),
        instance_type=flags["instance-types"] or flags["node-type"] or "m5.large",
        nat=flags["vpc-nat-mode"] or "Single",
        group="" if addon else flags["nodegroup-name"] or f"ng-{secrets.token_hex(4)}",
        addons=((flags["name"] or "", flags["version"] or ""),) if addon else (),
    )


def run(given: Mapping[str, Any]) -> None:
    """Create or update what the command line names."""
    cluster = wanted_cluster(given)
    match given["what"]:
        case "cluster":
            create(cluster)
        case "nodegroup":
            create_nodes(cluster)
        case _:
            if not cluster.addons:
                raise Refused("no addons specified")
            for name, version in cluster.addons:
                if given["verb"] == "create":
                    create_addon(cluster, name, version, wait=given["timeout"] not in ("0", "0s"))
                else:
                    update_addon(cluster, name, version)


def main() -> int:
    """Run the command and return an exit code: 0 done, 1 refused or failed."""
    given = parse(sys.argv[1:])
    try:
        if given["verb"] == "version":
            print(VERSION)
        elif given["verb"] == "delete":
            delete(given["name"], given["region"])
        else:
            run(given)
    except (Refused, OSError, BotoCoreError, ClientError, subprocess.SubprocessError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
