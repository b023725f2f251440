"""The stack's function: who may assume the kubectl role, what it restores, and that it always answers."""

from __future__ import annotations

import contextlib
import copy
import json
import signal
import time
from types import SimpleNamespace
from typing import Any

import pytest

from rehearsal.emulator.runtime import cfnresponse as stand_in
from tests.support.function import (
    ACCOUNT_ROOT,
    HELD,
    OPEN,
    OTHER_BUILDS,
    OWN,
    STACK_ID,
    Function,
    error,
    held,
    properties,
    source,
)
from tests.support.names import OTHER_ROLE, ROLE

OTHERS = [
    {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"},
    {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::111122223333:user/ann"}, "Action": "sts:AssumeRole"},
    {
        "Effect": "Allow",
        "Principal": {"AWS": [ACCOUNT_ROOT, "arn:aws:iam::444455556666:root"]},
        "Action": "sts:AssumeRole",
    },
    {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::444455556666:root"}, "Action": "sts:AssumeRole"},
    {
        "Effect": "Allow",
        "Principal": "*",
        "Action": "sts:AssumeRole",
        "Condition": {"Bool": {"aws:MultiFactorAuthPresent": "true"}},
    },
    {"Effect": "Deny", "Principal": {"AWS": ACCOUNT_ROOT}, "Action": "sts:AssumeRole"},
    {"Effect": "Allow", "Principal": {"AWS": ACCOUNT_ROOT}, "Action": "sts:TagSession"},
    {"Effect": "Allow", "Principal": {"Federated": "cognito"}, "Action": "sts:AssumeRoleWithWebIdentity"},
    OPEN | {"Condition": {"StringEquals": {"sts:ExternalId": "42"}}},
]


def test_code_fits_inline_and_imports_cfnresponse() -> None:
    assert len(source()) <= 4096
    assert "\nimport cfnresponse\n" in source()


def test_create_narrows_the_open_statement_to_the_builds(function: Function) -> None:
    answer = function("Create")
    assert (answer["Status"], answer["PhysicalResourceId"]) == ("SUCCESS", "aws-pipeline-trust")
    assert function.statements == [HELD]


@pytest.mark.parametrize(
    "found",
    [
        OPEN | {"Principal": {"AWS": [ACCOUNT_ROOT]}},
        OPEN | {"Action": ["sts:AssumeRole", "sts:TagSession"]},
        OPEN | {"Action": "sts:*"},
        OPEN | {"Sid": "Mine", "Condition": {}},
    ],
    ids=["list of one principal", "several actions", "all of sts", "empty condition"],
)
def test_other_spellings_of_open_trust_are_narrowed_and_restored(function: Function, found: dict[str, Any]) -> None:
    function.statements = [found]
    function("Create")
    assert function.statements == [found | {"Condition": HELD["Condition"]}]
    function("Delete")
    assert function.statements == [{key: value for key, value in found.items() if key != "Condition"}]


def test_accepts_a_single_statement(function: Function) -> None:
    function.statements = dict(OPEN)
    function("Create")
    assert function.statements == [HELD]


@pytest.mark.parametrize("other", OTHERS, ids=json.dumps)
def test_keeps_every_other_statement(function: Function, other: dict[str, Any]) -> None:
    function.statements = [other]
    function("Create")
    assert function.statements == [other, OWN]
    function("Delete")
    assert function.statements == [other]


def test_restores_mixed_statements_in_order(function: Function) -> None:
    before = [*OTHERS[:4], OPEN, *OTHERS[4:]]
    function.statements = before
    function("Create")
    assert [s for s in function.statements if s not in OTHERS] == [HELD]
    function("Delete")
    assert function.statements == before


def test_narrows_every_open_statement(function: Function) -> None:
    function.statements = [OPEN, OPEN | {"Sid": "Again"}]
    function("Create")
    assert all(s["Condition"] == HELD["Condition"] for s in function.statements)


@pytest.mark.parametrize("request_type", ["Create", "Update", "Delete"])
def test_each_request_is_idempotent(function: Function, request_type: str) -> None:
    old = {"OldResourceProperties": properties()} if request_type == "Update" else {}
    function(request_type, **old)
    before, writes = copy.deepcopy(function.statements), function.iam.writes
    answer = function(request_type, PhysicalResourceId="aws-pipeline-trust", **old)
    assert (function.statements, function.iam.writes, answer["Status"]) == (before, writes, "SUCCESS")


def test_update_moves_to_another_role_and_restores_the_old_one(function: Function) -> None:
    function.iam.trust[OTHER_ROLE] = {"Version": "2012-10-17", "Statement": [OPEN]}
    function("Create")
    answer = function(
        "Update",
        PhysicalResourceId="given",
        ResourceProperties=properties(OTHER_ROLE),
        OldResourceProperties=properties(),
    )
    assert (answer["Status"], answer["PhysicalResourceId"]) == ("SUCCESS", "given")
    assert function.statements == [OPEN]
    assert function.iam.trust[OTHER_ROLE]["Statement"] == [HELD]
    assert function.s3.buckets["artifacts"] == 3


def test_rolled_back_update_restores_the_trust(function: Function) -> None:
    function.iam.trust[OTHER_ROLE] = {"Version": "2012-10-17", "Statement": [OPEN]}
    function("Create")
    function("Update", ResourceProperties=properties(OTHER_ROLE), OldResourceProperties=properties())
    function("Update", ResourceProperties=properties(), OldResourceProperties=properties(OTHER_ROLE))
    assert function.statements == [HELD]
    assert function.iam.trust[OTHER_ROLE]["Statement"] == [OPEN]


def test_failed_update_keeps_the_old_role_narrowed(function: Function) -> None:
    function("Create")
    answer = function("Update", ResourceProperties=properties(OTHER_ROLE), OldResourceProperties=properties())
    assert answer["Status"] == "FAILED"
    assert function.statements == [HELD]
    rollback = function("Update", ResourceProperties=properties(), OldResourceProperties=properties(OTHER_ROLE))
    assert (rollback["Status"], function.statements) == ("SUCCESS", [HELD])


def test_update_switches_to_a_new_build_role_in_one_write(function: Function) -> None:
    function("Create")
    writes = function.iam.writes
    function("Update", ResourceProperties=properties(builds=OTHER_BUILDS), OldResourceProperties=properties())
    assert function.statements == [held(OTHER_BUILDS)]
    assert function.iam.writes == writes + 1


def test_update_when_the_old_role_is_gone(function: Function) -> None:
    function.iam.trust = {OTHER_ROLE: {"Version": "2012-10-17", "Statement": [OPEN]}}
    answer = function("Update", ResourceProperties=properties(OTHER_ROLE), OldResourceProperties=properties())
    assert answer["Status"] == "SUCCESS"
    assert function.iam.trust[OTHER_ROLE]["Statement"] == [HELD]


def test_update_narrows_a_recreated_role(function: Function) -> None:
    function("Create")
    function.statements = [OPEN]
    function("Update", OldResourceProperties=properties())
    assert function.statements == [HELD]


def test_delete_restores_the_trust_and_empties_the_bucket(function: Function) -> None:
    function("Create")
    answer = function("Delete", PhysicalResourceId="aws-pipeline-trust")
    assert (answer["Status"], answer["PhysicalResourceId"]) == ("SUCCESS", "aws-pipeline-trust")
    assert function.statements == [OPEN]
    assert function.s3.buckets == {"artifacts": 0}


def test_delete_never_leaves_an_empty_policy(function: Function) -> None:
    function.statements = [OWN]
    assert function("Delete")["Status"] == "SUCCESS"
    assert function.statements == [OWN]


@pytest.mark.parametrize("gone", ["role", "bucket", "both"])
def test_delete_succeeds_if_role_or_bucket_is_gone(function: Function, gone: str) -> None:
    function("Create")
    if gone != "bucket":
        function.iam.trust.clear()
    if gone != "role":
        function.s3.buckets.clear()
    assert function("Delete")["Status"] == "SUCCESS"
    assert gone == "role" or function.s3.buckets == {}
    assert gone != "role" or function.s3.buckets == {"artifacts": 0}


def test_delete_after_a_failed_create_changes_nothing(function: Function) -> None:
    function.statements = OTHERS
    function.iam.failures = [error("MalformedPolicyDocument")]
    physical_id = function("Create")["PhysicalResourceId"]
    assert function("Delete", PhysicalResourceId=physical_id)["Status"] == "SUCCESS"
    assert function.statements == OTHERS


def test_missing_role_error_has_a_remedy(function: Function) -> None:
    function.iam.trust.clear()
    answer = function("Create")
    assert answer["Status"] == "FAILED"
    assert f"role {ROLE} does not exist: run scripts/create-role.sh" in answer["Reason"]
    assert not function.pauses


@pytest.mark.parametrize("code", ["AccessDenied", "ConcurrentModification"])
@pytest.mark.parametrize("request_type", ["Create", "Delete"])
def test_retries_transient_errors(function: Function, code: str, request_type: str) -> None:
    function.iam.failures = [error(code)] * 4
    assert function(request_type)["Status"] == "SUCCESS"
    assert function.pauses == [2, 4, 8, 16] + [2] * (request_type == "Create")  # and to verify the change


@pytest.mark.parametrize(
    "code",
    [
        "AccessDenied",
        "ConcurrentModification",
        "MalformedPolicyDocument",
        "LimitExceeded",
        "UnmodifiableEntity",
        "ServiceFailure",
    ],
)
@pytest.mark.parametrize("request_type", ["Create", "Update", "Delete"])
def test_other_errors_are_reported_with_their_text(function: Function, code: str, request_type: str) -> None:
    function.iam.failures = [error(code)] * 9
    answer = function(request_type, OldResourceProperties=properties())
    assert answer["Status"] == "FAILED"
    assert f"({code}) when calling the GetRole operation: {code} happened" in answer["Reason"]
    assert sum(function.pauses) <= 30


def test_objects_that_cannot_be_deleted_are_named(function: Function) -> None:
    function.s3.errors = [{"Key": "source/abc", "Message": "Access Denied"}]
    answer = function("Delete")
    assert (answer["Status"], "source/abc: Access Denied" in answer["Reason"]) == ("FAILED", True)


@pytest.mark.parametrize(
    "failure", [KeyboardInterrupt(), SystemExit("x"), ValueError("y"), RuntimeError(), MemoryError()]
)
def test_every_exception_is_reported(function: Function, failure: BaseException) -> None:
    function.iam.failures = [failure]
    answer = function("Create")
    assert (answer["Status"], type(failure).__name__ in answer["Reason"]) == ("FAILED", True)


@pytest.mark.parametrize("missing", ["KubectlRoleName", "CodeBuildRoleArn", "ArtifactBucketName"])
def test_missing_property_is_named(function: Function, missing: str) -> None:
    incomplete = {key: value for key, value in properties().items() if key != missing}
    answer = function("Delete", ResourceProperties=incomplete)
    assert (answer["Status"], missing in answer["Reason"]) == ("FAILED", True)


@pytest.mark.parametrize("text", ["x" * 100_000, "\N{SNOWMAN}" * 100_000, '"\\' * 100_000])
def test_long_reason_is_truncated(function: Function, text: str) -> None:
    function.iam.failures = [ValueError(text)]
    assert function("Create")["Status"] == "FAILED"


def test_answers_before_the_timeout(function: Function) -> None:
    def never_ending(**_: str) -> Any:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            pass

    function.iam.get_role = never_ending  # type: ignore[method-assign, assignment]
    began = time.monotonic()
    answer = function("Create", seconds=6.5)
    assert (answer["Status"], "try again" in answer["Reason"]) == ("FAILED", True)
    assert time.monotonic() - began < 3


def test_alarm_does_not_outlive_the_call(function: Function) -> None:
    function("Create")
    assert signal.alarm(0) == 0


def test_stand_in_sends_the_documented_response(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rehearsal's cfnresponse accepts the function's arguments and sends the documented fields."""
    puts: list[Any] = []

    def urlopen(request: Any, **_: Any) -> Any:
        puts.append(request)
        return contextlib.nullcontext(SimpleNamespace(status=200))

    monkeypatch.setattr(stand_in, "urlopen", urlopen)
    event = {"ResponseURL": "https://example.invalid/", "StackId": STACK_ID, "RequestId": "1", "LogicalResourceId": "L"}
    stand_in.send(event, None, stand_in.FAILED, {}, "id", reason="why")
    assert puts[0].get_method() == "PUT"
    assert json.loads(puts[0].data) == {
        "Status": "FAILED",
        "Reason": "why",
        "PhysicalResourceId": "id",
        "StackId": STACK_ID,
        "RequestId": "1",
        "LogicalResourceId": "L",
        "NoEcho": False,
        "Data": {},
    }
