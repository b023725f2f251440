"""What EKS does on its own: a cluster, a node group and an add-on that were created come to life here.

CloudFormation creates the first two from the stacks of eksctl, and continues if eksctl is interrupted. Runs in the
process of rehearsal/aws.py.

Differs from AWS: a cluster or node group that is created by the EKS API alone stays a record; deleting an add-on leaves
what it runs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from rehearsal import waiting
from rehearsal.emulator import eks, quotas
from rehearsal.emulator.client import root
from rehearsal.emulator.extensions import Call, Extensions, Json, Proceed, ResourceHandler, Response
from rehearsal.kubernetes import addons
from rehearsal.sandbox import entry
from rehearsal.settings import settings

#: Seconds for one command of ``python -m rehearsal.kubernetes``, far above what a slow machine needs.
TIMEOUT = 300

Machine = Callable[..., None]
"""``machine(verb, *arguments)``: runs a command of ``python -m rehearsal.kubernetes``; an exception means that it
failed."""


def kubernetes(*arguments: str) -> None:
    """Run a command of ``python -m rehearsal.kubernetes``.

    Raises:
        RuntimeError: it failed; the message is the last line of its errors.
    """
    command = [sys.executable, "-m", "rehearsal.kubernetes", *arguments]
    done = entry.run(
        command, cwd=settings.root, check=False, timeout=waiting.bound(TIMEOUT), text=True, capture_output=True
    )
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or [f"{arguments[0]} failed"])[-1])


def register(extensions: Extensions, machine: Machine = kubernetes) -> None:
    """Let clusters, node groups and add-ons run on ``machine``."""
    running: set[str] = set()
    extensions.add_resource("AWS::EKS::Cluster", _cluster(machine, running))
    extensions.add_resource("AWS::EKS::Nodegroup", _node_group(machine))

    def install(call: Call, proceed: Proceed) -> Response:
        response = proceed()
        if call.action == "CreateAddon" and response[0] == 200 and call.path.split("/")[2] in running:
            name = call.json["addonName"]
            if name in addons.EFFECTIVE:
                machine("install", name)
        return response

    extensions.around("eks", install)


def _cluster(machine: Machine, running: set[str]) -> ResourceHandler:
    def create(_: str, properties: Json, __: str) -> tuple[str, Json]:
        cluster = eks.create_for_stack(properties)
        mode = cluster["accessConfig"]["authenticationMode"]
        running.add(cluster["name"])
        try:
            machine("up", "--name", cluster["name"], "--version", cluster["version"], "--authentication-mode", mode)
        except Exception:
            delete(cluster["name"], properties)
            raise
        return cluster["name"], {"Arn": cluster["arn"]}

    def delete(name: str, _: Json) -> None:
        if name in root("eks").list_clusters()["clusters"]:
            running.discard(name)
            machine("down")
            root("eks").delete_cluster(name=name)

    return ResourceHandler(create, _unchanged, delete)


def _node_group(machine: Machine) -> ResourceHandler:
    def create(_: str, properties: Json, __: str) -> tuple[str, Json]:
        cluster, name, role = (properties[key] for key in ("ClusterName", "NodegroupName", "NodeRole"))
        sizes = properties["ScalingConfig"]
        root("eks").create_nodegroup(
            clusterName=cluster, nodegroupName=name, nodeRole=role, subnets=properties["Subnets"],
            instanceTypes=properties["InstanceTypes"],
            scalingConfig={key: int(sizes[key[0].upper() + key[1:]]) for key in ("minSize", "maxSize", "desiredSize")},
        )  # fmt: skip
        try:
            quotas.check_launch(properties["InstanceTypes"])
            mapped = eks.admit_nodes(cluster, role)
            machine("join", "--nodes", str(sizes["DesiredSize"]), *(["--role", role] if mapped else []))
        except Exception:
            delete(name, properties)
            raise
        return name, {"NodegroupName": name, "ClusterName": cluster}

    def delete(name: str, properties: Json) -> None:
        cluster = properties["ClusterName"]
        if cluster not in root("eks").list_clusters()["clusters"]:
            return
        if name in root("eks").list_nodegroups(clusterName=cluster)["nodegroups"]:
            machine("leave")
            eks.dismiss_nodes(cluster, properties["NodeRole"])
            root("eks").delete_nodegroup(clusterName=cluster, nodegroupName=name)

    return ResourceHandler(create, _unchanged, delete)


def _unchanged(physical_id: str, _: Json, __: Json, ___: str) -> tuple[str, Json]:
    raise NotImplementedError(f"the rehearsal cannot update {physical_id}")
