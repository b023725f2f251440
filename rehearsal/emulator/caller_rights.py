"""CloudFormation acts on each resource with the permissions of the stack's caller; here they are checked.

The permissions that a type needs are AWS's own list, ``handlers.*.permissions`` of the type's schema
(https://docs.aws.amazon.com/cloudformation-cli/latest/userguide/resource-type-schema.html), which cfn-lint carries.
The list covers every property, and names some actions that IAM does not have. Those are left out here, and permissions
whose property is not set (``TAKEN_BY``), except for those of reading, which has to find out what is set.

Differs from AWS: a generated name is checked in the form that CloudFormation gives it, without the real random suffix;
the tags ``aws:cloudformation:*`` need no permission.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from fnmatch import fnmatchcase
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rehearsal.emulator import ministack, service_reference
from rehearsal.emulator.extensions import Extensions, Json
from rehearsal.settings import settings

#: The handlers that CloudFormation runs for each operation; it reads a resource to learn its attributes.
HANDLERS = {"create": ("create", "read"), "update": ("update", "read"), "delete": ("delete",)}

#: Types without a public schema, and the template's custom resource: by the API reference of their service.
UNLISTED = {
    "AWS::CodeBuild::Project": {
        "create": ["codebuild:CreateProject", "codebuild:BatchGetProjects", "iam:PassRole"],
        "update": ["codebuild:UpdateProject", "codebuild:BatchGetProjects", "iam:PassRole"],
        "delete": ["codebuild:DeleteProject"],
    },
    "Custom::KubectlRoleTrust": {each: ["lambda:InvokeFunction"] for each in ("create", "update", "delete")},
}

#: Pattern of an action, and the properties of which at least one makes a handler use it; empty means never.
TAKEN_BY = {
    "*:TagResource": ("Tags",),
    "*:UntagResource": ("Tags",),
    "*:*agRole": ("Tags",),
    "s3:PutBucketTagging": ("Tags",),
    "kms:*": ("KmsKey", "KmsKeyArn", "KmsKeyId"),
    "codepipeline:*StageTransition": ("DisableInboundStageTransitions",),
    "codepipeline:StartPipelineExecution": ("RestartExecutionOnUpdate",),
    "*:PassConnection": ("ConnectionArn",),
    "ecr:SetRepositoryPolicy": ("RepositoryPolicyText",),
    "ecr:DeleteRepositoryPolicy": ("RepositoryPolicyText",),
    "ecr:DeleteLifecyclePolicy": ("LifecyclePolicy",),
    "ecr:PutImageScanningConfiguration": ("ImageScanningConfiguration",),
    "ecr:PutImageTagMutability": ("ImageTagMutability", "ImageTagMutabilityExclusionFilters"),
    "eks:CreateAccessEntry": ("ComputeConfig",),
    "iam:*InstanceProfile": ("ComputeConfig",),
    "iam:CreateServiceLinkedRole": (),  # each account gets these roles once
    "iam:*GroupPolicy": ("Groups",),
    "iam:*UserPolicy": ("Users",),
    "iam:*tachRolePolicy": ("Roles", "ManagedPolicyArns"),
    "iam:PutRolePolicy": ("Policies",),
    "iam:DeleteRolePolicy": ("Policies",),
    "iam:*PermissionsBoundary": ("PermissionsBoundary",),
    "lambda:PutFunctionConcurrency": ("ReservedConcurrentExecutions",),
    "lambda:DeleteFunctionConcurrency": ("ReservedConcurrentExecutions",),
    "lambda:*CodeSigningConfig": ("CodeSigningConfigArn",),
    "lambda:GetLayerVersion": ("Layers",),
    "lambda:PutRuntimeManagementConfig": ("RuntimeManagementConfig",),
    "lambda:PutFunctionRecursionConfig": ("RecursiveLoop",),
    "lambda:*FunctionScalingConfig": ("FunctionScalingConfig",),
    "lambda:PassCapacityProvider": ("CapacityProviderConfig",),
    "lambda:PublishVersion": ("PublishToLatestPublished",),
    "ec2:*": ("VpcConfig",),
    "elasticfilesystem:*": ("FileSystemConfigs",),
    "s3files:*": ("FileSystemConfigs",),
    "s3:GetObject*": ("S3Bucket",),
    "logs:PutDataProtectionPolicy": ("DataProtectionPolicy",),
    "logs:DeleteDataProtectionPolicy": ("DataProtectionPolicy",),
    "logs:CreateLogDelivery": ("DataProtectionPolicy",),
    "firehose:*": ("DataProtectionPolicy",),
    "logs:*ResourcePolic*": ("ResourcePolicyDocument",),
    "logs:*utIndexPolicy": ("FieldIndexPolicies",),
    "logs:DeleteIndexPolicy": ("FieldIndexPolicies",),
    "logs:DeleteRetentionPolicy": ("RetentionInDays",),
    "logs:PutLogGroupDeletionProtection": ("DeletionProtectionEnabled",),
    "logs:*ssociateKmsKey": ("KmsKeyId",),
    "logs:PutBearerTokenAuthentication": ("BearerTokenAuthenticationEnabled",),
    "sns:*DataProtectionPolicy": ("DataProtectionPolicy",),
    "s3:PutAnalyticsConfiguration": ("AnalyticsConfigurations",),
    "s3:PutInventoryConfiguration": ("InventoryConfigurations",),
    "s3:PutMetricsConfiguration": ("MetricsConfigurations",),
    "s3:PutAccelerateConfiguration": ("AccelerateConfiguration",),
    "s3:PutIntelligentTieringConfiguration": ("IntelligentTieringConfigurations",),
    "s3:Put*Replication*": ("ReplicationConfiguration",),
    "s3:Put*ObjectLockConfiguration": ("ObjectLockConfiguration",),
    "s3:PutBucketAbac": ("AbacStatus",),
    "s3:PutBucketCORS": ("CorsConfiguration",),
    "s3:PutBucketNotification": ("NotificationConfiguration",),
    "s3:*BucketWebsite": ("WebsiteConfiguration",),
    "s3:PutBucketLogging": ("LoggingConfiguration",),
    "s3:*BucketAcl": ("AccessControl",),
    "s3:*MetadataTableConfiguration": ("MetadataTableConfiguration",),
    "s3:UpdateBucketMetadata*": ("MetadataConfiguration",),
    "s3:PutObjectAcl": ("AccessControl",),
    "s3:DeleteObject": (),
    "s3tables:*": ("MetadataTableConfiguration",),
    "secretsmanager:*Region*": ("ReplicaRegions",),
}

#: Values of EncryptionType with which ECR makes grants on a key. The caller who deletes the repository retires them, also
#: if the key is AWS's own (Amazon ECR user guide, "Encryption at rest", required IAM permissions).
GRANTED = ("KMS", "KMS_DSSE")
RETIRE = "kms:RetireGrant"

#: The ARN that IAM checks, by the action's service or, where a type differs, by the type's name.
RESOURCES = {
    "codebuild": "codebuild:{region}:{account}:project/{name}",
    "codepipeline": "codepipeline:{region}:{account}:{name}",
    "AWS::CodePipeline::Webhook": "codepipeline:{region}:{account}:webhook:{name}",
    "ecr": "ecr:{region}:{account}:repository/{name}",
    "eks": "eks:{region}:{account}:cluster/{name}",
    "events": "events:{region}:{account}:rule/{name}",
    "iam": "iam::{account}:role/{name}",
    "AWS::IAM::ManagedPolicy": "iam::{account}:policy/{name}",
    "lambda": "lambda:{region}:{account}:function:{name}",
    "logs": "logs:{region}:{account}:log-group:{name}:log-stream:",
    "s3": "s3:::{name}",
    "secretsmanager": "secretsmanager:{region}:{account}:secret:{name}-1a2B3c",
    "sns": "sns:{region}:{account}:{name}",
}
#: Actions for which AWS's documents disagree whether a policy may name a resource; with ``*`` it works either way.
EVERYWHERE = ("codepipeline:ListWebhooks", "sns:Unsubscribe")
#: Properties that pass a role to the service.
ROLES = ("Role", "RoleArn", "NodeRole", "ServiceRole")
#: Properties that name the resource, or the resource that a policy belongs to.
NAMES = ("Name", "ClusterName", "LogGroupName", "Bucket", "Topics", "ServiceToken")
#: Types whose names are in lower case.
LOWER_CASE = ("AWS::ECR::Repository", "AWS::S3::Bucket")

#: The service that a type passes its role to: condition key iam:PassedToService.
PASSED_TO = {
    "AWS::CodeBuild::Project": "codebuild.amazonaws.com",
    "AWS::CodePipeline::Pipeline": "codepipeline.amazonaws.com",
    "AWS::EKS::Cluster": "eks.amazonaws.com",
    "AWS::EKS::Nodegroup": "eks.amazonaws.com",
    "AWS::Lambda::Function": "lambda.amazonaws.com",
}


def actions(type_name: str, operation: str, properties: Json) -> list[str]:
    """Return the IAM actions that CloudFormation needs to create, update or delete a resource with these properties."""
    used = set(_keys(properties))
    listed = [
        # The schema has the service's old name; a policy must have that of the connection's ARN.
        action.replace("codestar-connections:", f"{connection_service(properties)}:")
        for handler in HANDLERS[operation]
        for action in permissions(type_name, handler)
        if _is_taken(action, used) or (handler == "read" and not action.startswith("kms:"))
    ]
    if operation == "delete" and properties.get("EncryptionConfiguration", {}).get("EncryptionType") in GRANTED:
        listed.append(RETIRE)
    return [action for action in dict.fromkeys(listed) if service_reference.details(action)]


def connection_service(properties: Json) -> str:
    """Return the service in the ARN of the connection in these properties, by default the one of new connections."""
    arns = [value for value in _values(properties) if ":connection/" in value]
    return arns[0].split(":")[2] if arns else "codeconnections"


def permissions(type_name: str, handler: str) -> list[str]:
    """Return the actions that AWS lists for a type's handler: create, read, update or delete."""
    return _handlers(type_name).get(handler, [])


def resources(action: str, type_name: str, name: str, properties: Json) -> list[str]:
    """Return the ARNs that an action on a resource is checked against; none if the action does not apply to it."""
    service = action.partition(":")[0]
    if action in EVERYWHERE:
        return ["*"]
    if action.endswith(":PassConnection"):
        return [value for value in _values(properties) if ":connection/" in value]
    if service == "iam" and not type_name.startswith("AWS::IAM::"):
        return [properties[key] for key in ROLES if key in properties]
    if action.endswith("tachRolePolicy") and "Roles" in properties:
        return [_arn("iam", role) for role in properties["Roles"]]
    kind = type_name if type_name in RESOURCES else service
    if kind not in RESOURCES:  # a type that the tutorial's stack does not use
        return ["*"]
    arn = _arn(kind, name)
    return [arn.removesuffix(":log-stream:") if action == "logs:ListTagsForResource" else arn]


def contexts(action: str, type_name: str, properties: Json) -> list[Json]:
    """Return the condition keys of each call of an action on a resource."""
    if action == "iam:PassRole":
        return [{"iam:passedtoservice": PASSED_TO.get(type_name, "")}]
    if action.endswith("tachRolePolicy") and "ManagedPolicyArns" in properties:
        return [{"iam:policyarn": arn} for arn in properties["ManagedPolicyArns"]]
    return [{}]


def name_of(type_name: str, logical_id: str, properties: Json, stack: str) -> str:
    """Return a resource's name: the one in the template, or one in the form that CloudFormation generates."""
    given = next((properties[key] for key in NAMES if key in properties), "")
    given = given[0] if isinstance(given, list) else given
    if given:
        return str(given).rpartition(":")[2]
    made = f"{logical_id if type_name == 'AWS::SecretsManager::Secret' else f'{stack}-{logical_id}'}-1A2B3C4D5E6F"
    return made.lower() if type_name in LOWER_CASE else made


def register(extensions: Extensions) -> None:
    """Check every resource that a stack creates, updates or deletes."""

    def check(operation: str, type_name: str, logical_id: str, properties: Json, stack: str) -> None:
        own = [tag for tag in properties.get("Tags", []) if not str(tag).count("'aws:cloudformation:")]
        properties = {key: value for key, value in properties.items() if key != "Tags"} | ({"Tags": own} if own else {})
        name = name_of(type_name, logical_id, properties, stack)
        for action in actions(type_name, operation, properties):
            for arn in resources(action, type_name, name, properties):
                for context in contexts(action, type_name, properties):
                    ministack.require(action, arn, {"aws:calledvia": ["cloudformation.amazonaws.com"]} | context)

    extensions.before_resource(check)


@functools.cache
def _handlers(type_name: str) -> dict[str, list[str]]:
    if type_name in UNLISTED:
        return UNLISTED[type_name]
    spec = find_spec("cfnlint")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("cfnlint, whose schemas list the permissions that a resource needs")
    schemas = Path(spec.submodule_search_locations[0]) / "data" / "schemas"
    index = json.loads((schemas / "providers" / f"{settings.region}.json").read_text(encoding="utf-8"))
    if type_name not in index:
        return {}
    schema = json.loads((schemas / "resources" / f"{index[type_name]}.json").read_text(encoding="utf-8"))
    return {name: handler["permissions"] for name, handler in schema.get("handlers", {}).items()}


def _is_taken(action: str, used: set[str]) -> bool:
    return all(used & set(by) for pattern, by in TAKEN_BY.items() if fnmatchcase(action, pattern))


def _arn(kind: str, name: str) -> str:
    return "arn:aws:" + RESOURCES[kind].format(region=settings.region, account=settings.account, name=name)


def _keys(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            yield key
            yield from _keys(value)
    elif isinstance(node, list):
        for value in node:
            yield from _keys(value)


def _values(node: Any) -> Iterator[str]:
    if isinstance(node, dict | list):
        for value in node.values() if isinstance(node, dict) else node:
            yield from _values(value)
    elif isinstance(node, str) and node.startswith("arn:"):
        yield node
