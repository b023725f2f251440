"""ECR's side of the registry: passwords bound to the caller, exceptions from immutable tags, grants on keys, and scans.

Follows GetAuthorizationToken, ImageTagMutabilityExclusionFilter and DescribeImageScanFindings of the Amazon ECR API
reference. MiniStack gives every caller the same password, drops the exclusion filters, lets a stack take over an existing
repository, has no scans, and deletes a repository that KMS encrypts without the right to retire the key's grants. For
stacks, caller_rights.py checks that.

Differs from AWS: nothing is scanned. The file RUN/scan.json says what a scan finds, as {"status": ..., "findings": [...]} in
the API's spelling; without it, nothing. An image's scan begins with the first question about it and ends with the third.
"""

from __future__ import annotations

import base64
import json
from collections import Counter
from typing import Any

from rehearsal.emulator import caller_rights, ministack
from rehearsal.emulator.client import root
from rehearsal.emulator.extensions import (
    Call,
    Caller,
    Extensions,
    Json,
    Proceed,
    ResourceHandler,
    Response,
    ServiceError,
    json_response,
)
from rehearsal.emulator.registry_password import issue
from rehearsal.settings import settings

TYPE = "AWS::ECR::Repository"

#: Exclusion filters by repository, as the API spells them.
_filters: dict[str, list[Json]] = {}
#: How often the scan of each repository's digest was asked for.
_asked: Counter[tuple[str, str]] = Counter()


def authorization_token(_action: str, _request: Json, caller: Caller) -> Json:
    """Answer GetAuthorizationToken."""
    password, end = issue(caller.arn)
    token = base64.b64encode(f"AWS:{password}".encode()).decode()
    endpoint = f"https://{settings.registry}"
    return {"authorizationData": [{"authorizationToken": token, "expiresAt": end, "proxyEndpoint": endpoint}]}


def scan_findings(_action: str, request: Json, caller: Caller) -> Json:
    """Answer DescribeImageScanFindings.

    Raises:
        ServiceError: there is no such image, or no scan of it yet.
    """
    name, image = str(request["repositoryName"]), request["imageId"]
    ecr = root("ecr")
    try:
        (repository,) = ecr.describe_repositories(repositoryNames=[name])["repositories"]
        found = ecr.describe_images(repositoryName=name, imageIds=[image])["imageDetails"]
    except ecr.exceptions.RepositoryNotFoundException as error:
        raise ServiceError("RepositoryNotFoundException", error.response["Error"]["Message"]) from error
    if not found:
        raise ServiceError("ImageNotFoundException", f"The image with imageId {image} does not exist in '{name}'")
    digest = found[0]["imageDigest"]
    scanned = (name, digest)
    _asked[scanned] += 1
    if _asked[scanned] == 1 or not repository["imageScanningConfiguration"]["scanOnPush"]:
        raise ServiceError("ScanNotFoundException", f"Image scan does not exist for the image with '{image}'")
    file = settings.run / "scan.json"
    says = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    status = "IN_PROGRESS" if _asked[scanned] == 2 else says.get("status", "COMPLETE")
    findings = says.get("findings", []) if status == "COMPLETE" else []
    return {
        "registryId": caller.account,
        "repositoryName": name,
        "imageId": {"imageDigest": digest},
        "imageScanStatus": {"status": status},
        "imageScanFindings": {
            "findings": findings,
            "findingSeverityCounts": dict(Counter(each["severity"] for each in findings)),
        },
    }


def keep_filters(call: Call, proceed: Proceed) -> Response:
    """Remember the filters that a call sets, and add them to descriptions of repositories."""
    status, headers, body = proceed()
    name = str(call.json.get("repositoryName", ""))
    if status == 200 and call.action in ("CreateRepository", "PutImageTagMutability"):
        _filters[name] = call.json.get("imageTagMutabilityExclusionFilters", [])
    elif status == 200 and call.action == "DeleteRepository":
        _filters.pop(name, None)
    elif status == 200 and call.action == "DescribeRepositories":
        answer = json.loads(body)
        for repository in answer["repositories"]:
            if _filters.get(repository["repositoryName"]):
                repository["imageTagMutabilityExclusionFilters"] = _filters[repository["repositoryName"]]
        return json_response(answer)
    return status, headers, body


def retire_grants(call: Call, proceed: Proceed) -> Response:
    """Refuse to delete a repository that KMS encrypts if the caller may not retire the grants on its key."""
    if call.action == "DeleteRepository":
        name = str(call.json.get("repositoryName", ""))
        if _encryption(name) in caller_rights.GRANTED:
            ministack.require(caller_rights.RETIRE, "*", {})
    return proceed()


def filters_of_template(properties: Json) -> list[Json]:
    """Return the filters of a template as the API spells them."""
    kind, value = "ImageTagMutabilityExclusionFilterType", "ImageTagMutabilityExclusionFilterValue"
    given: list[Any] = properties.get("ImageTagMutabilityExclusionFilters") or []
    return [{"filterType": item[kind], "filter": item[value]} for item in given]


def with_filters(own: ResourceHandler) -> ResourceHandler:
    """Return MiniStack's handler with the filters kept and existing repositories refused."""

    def create(logical_id: str, properties: Json, stack: str) -> tuple[str, Json]:
        name = properties.get("RepositoryName")
        if name and _exists(name):
            raise ValueError(f"Resource of type '{TYPE}' with identifier '{name}' already exists.")
        made = own.create(logical_id, properties, stack)
        _filters[made[0]] = filters_of_template(properties)
        return made

    def update(physical_id: str, old: Json, new: Json, stack: str) -> tuple[str, Json]:
        made = own.update(physical_id, old, new, stack)
        _filters[made[0]] = filters_of_template(new)
        return made

    def delete(physical_id: str, properties: Json) -> None:
        own.delete(physical_id, properties)
        _filters.pop(physical_id, None)

    return ResourceHandler(create, update, delete)


def register(extensions: Extensions) -> None:
    """Complete MiniStack's ECR."""
    extensions.override("ecr", "GetAuthorizationToken", authorization_token)
    extensions.override("ecr", "DescribeImageScanFindings", scan_findings)
    extensions.around("ecr", keep_filters)
    extensions.around("ecr", retire_grants)
    extensions.wrap_resource(TYPE, with_filters)


def _exists(name: str) -> bool:
    return _encryption(name) is not None


def _encryption(name: str) -> str | None:
    """Return a repository's encryption type, or None if there is no such repository."""
    ecr = root("ecr")
    try:
        (found,) = ecr.describe_repositories(repositoryNames=[name])["repositories"]
    except ecr.exceptions.RepositoryNotFoundException:
        return None
    return str(found["encryptionConfiguration"]["encryptionType"])
