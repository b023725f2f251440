"""ECR's side of the registry: passwords bound to the caller, exceptions from immutable tags, and grants on keys.

Follows GetAuthorizationToken and ImageTagMutabilityExclusionFilter of the Amazon ECR API reference. MiniStack gives
every caller the same password, drops the exclusion filters, lets a stack take over an existing repository, and deletes
a repository that KMS encrypts without the right to retire the key's grants. For stacks, caller_rights.py checks that.
"""

from __future__ import annotations

import base64
import json
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
    json_response,
)
from rehearsal.emulator.registry_password import issue
from rehearsal.settings import settings

TYPE = "AWS::ECR::Repository"

#: Exclusion filters by repository, as the API spells them.
_filters: dict[str, list[Json]] = {}


def authorization_token(_action: str, _request: Json, caller: Caller) -> Json:
    """Answer GetAuthorizationToken."""
    password, end = issue(caller.arn)
    token = base64.b64encode(f"AWS:{password}".encode()).decode()
    endpoint = f"https://{settings.registry}"
    return {"authorizationData": [{"authorizationToken": token, "expiresAt": end, "proxyEndpoint": endpoint}]}


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
