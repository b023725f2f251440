"""The stand-ins' answers that the product parses are as AWS's service models say.

Every client of the tests checks every answer (tests/support/shapes.py), so also those of a pipeline's whole life in
test_codepipeline.py. The answers of the services in XML are parsed by botocore itself.
"""

from __future__ import annotations

import json
from typing import Any

import botocore.session
import pytest
from botocore.awsrequest import AWSResponse

from tests.support.account import Aws
from tests.support.names import ACCOUNT, REGION
from tests.support.queries import queries
from tests.support.shapes import check_answers, deviations

ROLE = f"arn:aws:iam::{ACCOUNT}:role/reader"
BUDGET = {
    "BudgetName": "shop",
    "BudgetType": "COST",
    "TimeUnit": "MONTHLY",
    "BudgetLimit": {"Amount": "1", "Unit": "USD"},
}
ALARM: dict[str, Any] = {
    "Notification": {"NotificationType": "ACTUAL", "ComparisonOperator": "GREATER_THAN", "Threshold": 50},
    "Subscribers": [{"SubscriptionType": "EMAIL", "Address": "a@b.example"}],
}

#: The calls whose answers scripts and pages parse, in an order in which each has something to answer.
CALLS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    (
        "eks",
        "create_cluster",
        {"name": "demo", "version": "1.36", "roleArn": ROLE, "resourcesVpcConfig": {"subnetIds": []}},
    ),
    ("eks", "describe_cluster", {"name": "demo"}),
    ("eks", "list_clusters", {}),
    ("eks", "describe_cluster_versions", {}),
    ("eks", "create_access_entry", {"clusterName": "demo", "principalArn": ROLE, "kubernetesGroups": ["deployers"]}),
    ("eks", "describe_access_entry", {"clusterName": "demo", "principalArn": ROLE}),
    ("eks", "update_access_entry", {"clusterName": "demo", "principalArn": ROLE, "username": "build"}),
    ("eks", "create_addon", {"clusterName": "demo", "addonName": "vpc-cni"}),
    ("eks", "list_addons", {"clusterName": "demo"}),
    ("eks", "describe_addon", {"clusterName": "demo", "addonName": "vpc-cni"}),
    ("eks", "describe_addon_versions", {"addonName": "vpc-cni"}),
    ("budgets", "create_budget", {"AccountId": ACCOUNT, "Budget": BUDGET, "NotificationsWithSubscribers": [ALARM]}),
    ("budgets", "describe_budget", {"AccountId": ACCOUNT, "BudgetName": "shop"}),
    (
        "budgets",
        "describe_subscribers_for_notification",
        {"AccountId": ACCOUNT, "BudgetName": "shop", "Notification": ALARM["Notification"]},
    ),
    ("freetier", "get_account_plan_state", {}),
    ("service-quotas", "get_service_quota", {"ServiceCode": "ec2", "QuotaCode": "L-1216C47A"}),
    ("ecr", "create_repository", {"repositoryName": "shop"}),
    ("ecr", "describe_repositories", {}),
    ("ecr", "batch_get_image", {"repositoryName": "shop", "imageIds": [{"imageTag": "first"}]}),
    ("ecr", "get_authorization_token", {}),
    ("logs", "create_log_group", {"logGroupName": "/shop"}),
    ("logs", "describe_log_groups", {}),
)


#: Services whose answers test_codepipeline.py gets.
ELSEWHERE = ("codepipeline", "codeconnections")
#: Of which test_emulator.py gets each answer.
SCAN = ("ecr", "describe_image_scan_findings")


def test_every_parsed_answer_is_tried() -> None:
    session = botocore.session.Session()
    parsed = {(service, operation.replace("-", "_")) for _, service, operation, _ in queries() if service != "s3api"}
    in_json = {one for one in parsed if "json" in session.get_service_model(one[0]).metadata["protocol"]}
    here = {(service, operation) for service, operation in in_json if service not in ELSEWHERE}
    assert here <= {(service, operation) for service, operation, _ in CALLS} | {SCAN}


@pytest.mark.services
def test_answers_have_the_shapes_of_the_service_models(aws: Aws) -> None:
    aws.root("iam").create_role(RoleName="reader", AssumeRolePolicyDocument='{"Version":"2012-10-17","Statement":[]}')
    for service, operation, arguments in CALLS:
        getattr(aws.client(service), operation)(**arguments)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({}, []),
        ({"status": "Done"}, ["status is 'Done', not one of"]),
        ({"startTime": {"at": 1}}, ["startTime is {'at': 1}, not a timestamp"]),
        ({"commit": "abc"}, ["commit does not exist on AWS"]),
        ({"sourceRevisions": [{"revisionId": "abc"}]}, ["sourceRevisions[0].actionName is missing"]),
        ({"pipelineExecutionId": 5}, ["pipelineExecutionId is 5, not a string"]),
    ],
)
def test_finds_deviations(change: dict[str, Any], found: list[str]) -> None:
    summary = {"pipelineExecutionId": "1", "status": "Succeeded", "startTime": 1.5, "sourceRevisions": []} | change
    model = botocore.session.Session().get_service_model("codepipeline")
    shape = model.operation_model("ListPipelineExecutions").output_shape
    said = list(deviations({"pipelineExecutionSummaries": [summary]}, shape, ""))
    assert len(said) == len(found)
    assert all(part in line for part, line in zip(found, said, strict=True)), said


def test_client_fails_on_a_deviation() -> None:
    session = botocore.session.Session()
    session.set_credentials("key", "secret")
    client = check_answers(session.create_client("eks", REGION, endpoint_url="http://127.0.0.1:1"))

    class Raw:
        def stream(self, **_: Any) -> list[bytes]:
            return [json.dumps({"clusters": ["a"], "more": True}).encode()]

    client.meta.events.register("before-send", lambda **_: AWSResponse("http://127.0.0.1:1", 200, {}, Raw()))
    with pytest.raises(AssertionError, match=r"ListClusters\.more does not exist on AWS"):
        client.list_clusters()
