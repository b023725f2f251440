"""EKS's side of the cluster: endpoint and certificate authority, authentication modes, versions, access entries.

Follows the Amazon EKS API reference (Cluster, UpdateClusterConfig, DescribeClusterVersions, CreateAccessEntry) and the
user guide's "Grant IAM users access to Kubernetes with EKS access entries". MiniStack keeps the records; this module
adds what it lacks:

- A cluster becomes ACTIVE, with its endpoint and certificate authority, once the Kubernetes cluster has written its
  record.
- The authentication mode changes in one direction only, and access entries need a mode that includes them.
- Access entries are written to the file that aws-iam-authenticator reads. Each keeps the unique id of its principal,
  which the API does not show: it does not authorise a role that was deleted and created again (CreateAccessEntry,
  ``principalArn``).
- A managed node group gets an access entry, and an entry in aws-auth, except where the mode excludes one. Sources
  differ on whether EKS writes aws-auth in mode API_AND_CONFIG_MAP.

Differs from AWS: the only access policy is AmazonEKSClusterAdminPolicy for the whole cluster, granted as group
system:masters; updates finish at once.
"""

from __future__ import annotations

import base64
import calendar
import json
import re
import threading
import time
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from rehearsal.emulator import ministack
from rehearsal.emulator.client import root
from rehearsal.emulator.extensions import Around, Call, Extensions, Json, Proceed, Response, ServiceError, json_response
from rehearsal.settings import settings

MODES = ("CONFIG_MAP", "API_AND_CONFIG_MAP", "API")
ADMIN_POLICY = "arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy"
NODE_GROUPS, NODE_NAME = ["system:nodes"], "system:node:{{EC2PrivateDNSName}}"
RESERVED_GROUPS = ("system:", "eks:", "aws:", "amazon:", "iam:")
CHANGES_ENTRIES = (
    "CreateAccessEntry",
    "UpdateAccessEntry",
    "DeleteAccessEntry",
    "AssociateAccessPolicy",
    "DisassociateAccessPolicy",
)

#: Version, its release, end of standard support (14 months) and of extended support (12 more); user guide, "Understand
#: the Kubernetes version lifecycle on EKS".
VERSIONS = (
    ("1.37", "2026-10-01", "2027-12-01", "2028-12-01"),
    ("1.36", "2026-06-02", "2027-08-02", "2028-08-02"),
    ("1.35", "2026-01-27", "2027-03-27", "2028-03-27"),
    ("1.34", "2025-10-02", "2026-12-02", "2027-12-02"),
)
DEFAULT_VERSION = settings.kubernetes_version.rpartition(".")[0]

#: Parameters of CreateCluster that MiniStack drops, by cluster.
_extra: dict[str, Json] = {}
#: The unique ids of the principals of access entries, by cluster and ARN.
_ids: dict[tuple[str, str], str] = {}
_updates: dict[str, Json] = {}
_writing = threading.Lock()


def register(extensions: Extensions) -> None:
    """Complete MiniStack's EKS."""
    extensions.around("eks", answer)


def answer(call: Call, proceed: Proceed) -> Response:
    """Answer one call, or amend MiniStack's answer."""
    if "access-entries" in call.path:
        return _access_entry(call, proceed)
    answerers: dict[str, Around] = {
        "CreateCluster": _create,
        "DeleteCluster": _delete,
        "DescribeCluster": lambda _, proceed: _amended(proceed()),
        "DescribeClusterVersions": lambda call, _: json_response({"clusterVersions": cluster_versions(call.query)}),
        "DescribeUpdate": lambda call, _: json_response({"update": _update_of(call.path)}),
        "UpdateClusterConfig": lambda call, _: json_response({"update": update_config(_cluster_of(call), call.json)}),
    }
    answerer = answerers.get(call.action)
    return answerer(call, proceed) if answerer else proceed()


def cluster_versions(query: dict[str, str]) -> list[Json]:
    """Return the versions of DescribeClusterVersions that match its filters; ``clusterVersions`` may name only one."""
    return [
        {
            "clusterVersion": version,
            "clusterType": "eks",
            "defaultPlatformVersion": "eks.1",
            "defaultVersion": version == DEFAULT_VERSION,
            "kubernetesPatchVersion": settings.kubernetes_version if version == DEFAULT_VERSION else f"{version}.0",
            "releaseDate": _epoch(release),
            "endOfStandardSupportDate": _epoch(standard),
            "endOfExtendedSupportDate": _epoch(extended),
            "status": "standard-support",
            "versionStatus": "STANDARD_SUPPORT",
        }
        for version, release, standard, extended in VERSIONS
        if query.get("clusterVersions", version) == version
        and (query.get("defaultOnly") != "true" or version == DEFAULT_VERSION)
        and query.get("versionStatus", "STANDARD_SUPPORT") == "STANDARD_SUPPORT"
    ]


def update_config(name: str, request: Json) -> Json:
    """Change the authentication mode as UpdateClusterConfig does.

    Raises:
        ServiceError: there is no such cluster, the request changes something else, or the mode cannot follow this one.
    """
    extra = _known(name)
    wanted = request.get("accessConfig", {}).get("authenticationMode")
    if wanted not in MODES:
        raise ServiceError("InvalidParameterException", "the rehearsal changes accessConfig.authenticationMode only")
    now = extra["accessConfig"]["authenticationMode"]
    if MODES.index(wanted) - MODES.index(now) != 1:
        raise ServiceError(
            "InvalidParameterException", f"Unsupported authentication mode update from {now} to {wanted}"
        )
    extra["accessConfig"]["authenticationMode"] = wanted
    write_access_entries(name)
    update = {
        "id": str(uuid.uuid4()),
        "status": "Successful",
        "type": "AccessConfigUpdate",
        "params": [{"type": "AuthenticationMode", "value": wanted}],
        "createdAt": time.time(),
        "errors": [],
    }
    _updates[str(update["id"])] = update
    return update


def write_access_entries(name: str) -> None:
    """Write the cluster's access entries, and the backends to use, for aws-iam-authenticator.

    The files are written in place because the program watches them by inode. In mode CONFIG_MAP only the creator
    has an entry: EKS admits the creator in every mode ("Grant access ...", note on the creator).
    """
    mode = _known(name)["accessConfig"]["authenticationMode"]
    with _writing:
        settings.access_entries.parent.mkdir(parents=True, exist_ok=True)
        settings.access_entries.write_text(json.dumps(mappings(name), indent=2), encoding="utf-8")
        backends = "DynamicFile" if mode == "API" else "DynamicFile EKSConfigMap"
        settings.authenticator_backends.write_text(json.dumps({"backendMode": backends}), encoding="utf-8")


def mappings(name: str) -> Json:
    """Return the cluster's access entries in the form of aws-iam-authenticator's dynamic file."""
    users, roles = [], []
    eks = root("eks")
    for principal in eks.list_access_entries(clusterName=name)["accessEntries"]:
        entry = eks.describe_access_entry(clusterName=name, principalArn=principal)["accessEntry"]
        policies = eks.list_associated_access_policies(clusterName=name, principalArn=principal)
        admin = any(policy["policyArn"] == ADMIN_POLICY for policy in policies["associatedAccessPolicies"])
        groups = NODE_GROUPS if entry["type"] == "EC2_LINUX" else entry["kubernetesGroups"]
        mapping = {
            "userid": _ids[name, principal],
            "username": entry["username"] or default_username(principal),
            "groups": [*groups, *(["system:masters"] if admin else [])],
        }
        if ":role/" in principal:
            roles.append({"rolearn": principal, **mapping})
        else:
            users.append({"userarn": principal, **mapping})
    return {"mapRoles": roles, "mapUsers": users, "mapAccounts": []}


def default_username(principal: str) -> str:
    """Return the Kubernetes user name that EKS gives an entry without one (CreateAccessEntry, ``username``)."""
    found = re.fullmatch(r"arn:aws:iam::(\d+):role/(?:.*/)?([^/]+)", principal)
    return f"arn:aws:sts::{found[1]}:assumed-role/{found[2]}/{{{{SessionName}}}}" if found else principal


def unique_id(principal: str) -> str:
    """Return the unique id of a user, a role or the account's root, by which EKS recognizes the principal.

    Raises:
        ServiceError: there is no such principal.
    """
    kind, _, path = principal.rpartition(":")[2].partition("/")
    name, iam = path.rpartition("/")[2], root("iam")
    try:
        match kind:
            case "role":
                return str(iam.get_role(RoleName=name)["Role"]["RoleId"])
            case "user":
                return str(iam.get_user(UserName=name)["User"]["UserId"])
            case _:
                return settings.account
    except iam.exceptions.NoSuchEntityException:
        raise ServiceError(
            "InvalidParameterException", "The specified principalArn is invalid: invalid principal."
        ) from None


def create_for_stack(properties: Json) -> Json:
    """Create a cluster's record for AWS::EKS::Cluster, in the name of the stack's caller, and return it.

    Raises:
        botocore.exceptions.ClientError: EKS refuses it.
    """
    eks, name, access = root("eks"), str(properties["Name"]), properties.get("AccessConfig", {})
    cluster = eks.create_cluster(
        name=name,
        version=str(properties.get("Version", DEFAULT_VERSION)),
        roleArn=properties["RoleArn"],
        resourcesVpcConfig={"subnetIds": properties["ResourcesVpcConfig"]["SubnetIds"]},
        accessConfig={"authenticationMode": access.get("AuthenticationMode", "CONFIG_MAP"),
                      "bootstrapClusterCreatorAdminPermissions": False},
        upgradePolicy={"supportType": properties.get("UpgradePolicy", {}).get("SupportType", "EXTENDED")},
    )["cluster"]  # fmt: skip
    creator = _principal(ministack.caller().arn)
    eks.create_access_entry(clusterName=name, principalArn=creator)
    eks.associate_access_policy(
        clusterName=name, principalArn=creator, policyArn=ADMIN_POLICY, accessScope={"type": "cluster"}
    )
    return dict(cluster)


def admit_nodes(cluster: str, role: str) -> bool:
    """Give a node group's role its access entry; return whether it belongs into aws-auth too."""
    mode = _known(cluster)["accessConfig"]["authenticationMode"]
    if mode != "CONFIG_MAP":
        root("eks").create_access_entry(clusterName=cluster, principalArn=role, type="EC2_LINUX")
    return bool(mode != "API")


def dismiss_nodes(cluster: str, role: str) -> None:
    """Delete the access entry of a node group's role."""
    if role in root("eks").list_access_entries(clusterName=cluster)["accessEntries"]:
        root("eks").delete_access_entry(clusterName=cluster, principalArn=role)


def _principal(caller: str) -> str:
    """Return the ARN of the role for a role's session, and any other caller's own."""
    return re.sub(r"^arn:aws:sts::(\d+):assumed-role/([^/]+)/.*", r"arn:aws:iam::\1:role/\2", caller)


def amend(cluster: Json) -> Json:
    """Return a cluster's record with what MiniStack lacks."""
    cluster |= _extra.get(cluster["name"], {})
    if cluster["status"] not in ("CREATING", "ACTIVE"):
        return cluster
    try:
        record = json.loads(settings.cluster_record.read_text(encoding="utf-8"))
        authority = Path(record["certificate_authority"]).read_bytes()
    except FileNotFoundError:
        cluster.pop("endpoint", None)
        return cluster | {"status": "CREATING", "certificateAuthority": {}}
    data = base64.b64encode(authority).decode()
    return cluster | {"status": "ACTIVE", "endpoint": record["endpoint"], "certificateAuthority": {"data": data}}


def _create(call: Call, proceed: Proceed) -> Response:
    name, given = str(call.json.get("name", "")), call.json.get("accessConfig") or {}
    if not re.fullmatch(r"[0-9A-Za-z][A-Za-z0-9_-]{0,99}", name):
        raise ServiceError("InvalidParameterException", f"The cluster name {name!r} is not valid")
    if str(call.json.get("version", DEFAULT_VERSION)) not in [version[0] for version in VERSIONS]:
        raise ServiceError("InvalidParameterException", "unsupported Kubernetes version")
    mode = given.get("authenticationMode", "CONFIG_MAP")
    if mode not in MODES:
        raise ServiceError("InvalidParameterException", f"Unsupported authentication mode {mode}")
    response = proceed()
    if response[0] != 200:
        return response
    _extra[name] = {
        "accessConfig": {"authenticationMode": mode},
        "upgradePolicy": call.json.get("upgradePolicy") or {"supportType": "EXTENDED"},
    }
    for principal in root("eks").list_access_entries(clusterName=name)["accessEntries"]:
        _ids[name, principal] = unique_id(principal)
    write_access_entries(name)
    return _amended(response)


def _delete(call: Call, proceed: Proceed) -> Response:
    response = _amended(proceed())
    if response[0] == 200:
        _extra.pop(_cluster_of(call), None)
        settings.access_entries.unlink(missing_ok=True)
        settings.authenticator_backends.unlink(missing_ok=True)
    return response


def _access_entry(call: Call, proceed: Proceed) -> Response:
    name = _cluster_of(call)
    if _known(name)["accessConfig"]["authenticationMode"] == "CONFIG_MAP" and not _is_own(call):
        raise ServiceError(
            "InvalidRequestException",
            "The cluster's authentication mode must be set to one of [API, API_AND_CONFIG_MAP] "
            "to perform this operation.",
        )
    _check_entry(call.json)
    principal = str(call.json.get("principalArn", ""))
    identifier = unique_id(principal) if call.action == "CreateAccessEntry" else ""
    status, headers, body = proceed()
    if status == 200 and identifier:
        _ids[name, principal] = identifier
    if status == 200 and call.action in CHANGES_ENTRIES:
        write_access_entries(name)
    if status == 200 and "accessEntry" in (shown := json.loads(body or b"{}")):
        entry = shown["accessEntry"]
        default = NODE_NAME if entry["type"] == "EC2_LINUX" else default_username(entry["principalArn"])
        entry["username"] = entry["username"] or default
        return json_response(shown)
    return status, headers, body


def _check_entry(request: Json) -> None:
    for group in request.get("kubernetesGroups") or []:
        if str(group).startswith(RESERVED_GROUPS):
            start = str(group).split(":")[0]
            raise ServiceError(
                "InvalidParameterException",
                f"The kubernetes group name {group} is invalid, it cannot start with {start}:",
            )
    if request.get("policyArn", ADMIN_POLICY) != ADMIN_POLICY or request.get("accessScope", {}).get("namespaces"):
        raise ServiceError("InvalidParameterException", f"the rehearsal has only {ADMIN_POLICY}, cluster-wide")


def _is_own(call: Call) -> bool:
    """Whether this module reads, as root, what the mode hides from clients."""
    return call.caller.arn.endswith(":root")


def _amended(response: Response) -> Response:
    if response[0] != 200:
        return response
    return json_response({"cluster": amend(json.loads(response[2])["cluster"])})


def _known(name: str) -> Json:
    if name not in _extra:
        raise ServiceError("ResourceNotFoundException", f"No cluster found for name: {name}.", 404)
    return _extra[name]


def _cluster_of(call: Call) -> str:
    found = re.match(r"/clusters/([^/]+)", call.path)
    return unquote(found[1]) if found else ""


def _update_of(path: str) -> Json:
    update: Any = _updates.get(path.rpartition("/")[2])
    if update is None:
        raise ServiceError("ResourceNotFoundException", "No update found", 404)
    return dict(update)


def _epoch(day: str) -> float:
    return float(calendar.timegm(time.strptime(day, "%Y-%m-%d")))
