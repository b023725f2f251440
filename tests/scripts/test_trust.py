"""status.sh names everyone who may assume the kubectl role."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from scripts.lib import trust
from tests.support.desk import IDENTITY, Desk, copy_of_checkout
from tests.support.function import ACCOUNT_ROOT, BUILDS, HELD, OPEN, OTHER_BUILDS, held
from tests.support.names import ACCOUNT, ROLE

Json = dict[str, Any]
ONLY = ["which only the stack's builds may assume"]
ADMIN = f"arn:aws:iam::{ACCOUNT}:role/admin"
ANY = "any identity in the account with sts:AssumeRole"
NO_CLUSTER = (
    "An error occurred (ResourceNotFoundException) when calling the DescribeCluster operation: No cluster found\n"
)


def limited(**condition: Any) -> Json:
    return OPEN | {"Condition": condition}


#: Statements, and what is said of them after "the stack's builds".
MORE: list[tuple[Json, list[str]]] = [
    (OPEN, [ANY]),
    (OPEN | {"Principal": {"AWS": ACCOUNT}}, [ANY]),
    (OPEN | {"Action": "*"}, [ANY]),
    (OPEN | {"Action": ["STS:Assume*"]}, [ANY]),
    ({"Effect": "Allow", "Principal": {"AWS": ACCOUNT_ROOT}, "NotAction": "sts:TagSession"}, [ANY]),
    (OPEN | {"Principal": "*"}, ["anyone, in any account"]),
    (OPEN | {"Principal": {"AWS": "*"}}, ["anyone, in any account"]),
    (OPEN | {"Principal": {"AWS": [ADMIN, "444455556666"]}}, [ADMIN, "any identity in account 444455556666"]),
    (OPEN | {"Principal": {"AWS": "AROAEXAMPLEOFAROLE7"}}, ["the deleted identity AROAEXAMPLEOFAROLE7"]),
    (OPEN | {"Principal": {"Service": "ec2.amazonaws.com"}}, ["ec2.amazonaws.com"]),
    (
        OPEN | {"Principal": {"Federated": "accounts.example.com"}, "Action": "sts:AssumeRoleWithWebIdentity"},
        ["accounts.example.com"],
    ),
    (
        {"Effect": "Allow", "NotPrincipal": {"AWS": ADMIN}, "Action": "sts:AssumeRole"},
        [f"everyone but {ADMIN}"],
    ),
    (held(OTHER_BUILDS), [OTHER_BUILDS]),
    (limited(ArnLike={"aws:PrincipalArn": [BUILDS, f"arn:aws:iam::{ACCOUNT}:role/*"]}),
     [f"every role that matches arn:aws:iam::{ACCOUNT}:role/*"]),
    (limited(ArnNotEquals={"aws:PrincipalArn": BUILDS}), [f"{ANY}, if aws:PrincipalArn ArnNotEquals {BUILDS}"]),
    (limited(Null={"aws:PrincipalArn": "true"}), [f"{ANY}, if aws:PrincipalArn Null true"]),
    (limited(StringEquals={"sts:ExternalId": "42"}), [f"{ANY}, if sts:ExternalId StringEquals 42"]),
    (limited(ArnEquals={"aws:PrincipalArn": BUILDS}, StringEquals={"sts:ExternalId": "42"}),
     [f"{BUILDS}, if sts:ExternalId StringEquals 42"]),
    (OPEN | {"Effect": "Deny"}, [f"denied: {ANY}"]),
    (HELD | {"Effect": "Deny"}, [f"denied: {BUILDS}"]),
]  # fmt: skip


@pytest.mark.parametrize(("statement", "said"), MORE, ids=[" + ".join(said) for _, said in MORE])
def test_every_other_statement_is_named(statement: Json, said: list[str]) -> None:
    found = trust.summary({"Statement": [HELD, statement]}, ACCOUNT, BUILDS)
    assert found == ["which these may assume:", "the stack's builds", *said]


@pytest.mark.parametrize(
    "statements",
    [
        HELD,
        [HELD],
        [HELD, HELD | {"Sid": "OnlyBuilds"}],
        [limited(StringLike={"AWS:principalarn": BUILDS})],
        [OPEN | {"Principal": {"AWS": BUILDS}}],
        [HELD, OPEN | {"Action": "sts:TagSession"}, OPEN | {"Effect": "Deny", "Action": "sts:TagSession"}],
    ],
)
def test_nothing_but_the_builds(statements: Any) -> None:
    assert trust.summary({"Statement": statements}, ACCOUNT, BUILDS) == ONLY


def test_without_a_stack_the_account_may_assume_the_role() -> None:
    assert trust.summary({"Statement": OPEN}, ACCOUNT, "") == [f"which {ANY} may assume until the stack exists"]


def test_a_stack_whose_builds_may_not_assume_the_role() -> None:
    found = trust.summary({"Statement": [held(OTHER_BUILDS)]}, ACCOUNT, BUILDS)
    assert found == ["which these may assume:", OTHER_BUILDS, "but not the stack's builds"]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A checkout, and an account with a stack but no cluster."""
    desk = Desk(tmp_path / "desk", copy_of_checkout(tmp_path / "checkout"))
    desk.answer(*IDENTITY[:2], **IDENTITY[2])
    desk.answer("aws", "describe-cluster", stderr=NO_CLUSTER, code=254)
    desk.answer("aws", "describe-stacks .*StackStatus", stdout="CREATE_COMPLETE\n")
    desk.answer("aws", "describe-stacks .*CodeBuildRoleArn", stdout=f"{BUILDS}\n")
    desk.answer("aws", "list-pipeline-executions", stdout="[]\n")
    return desk


def shown(desk: Desk, *statements: Json) -> list[str]:
    """Return what status.sh says about the role that these statements trust."""
    desk.answer("aws", "get-role", stdout=json.dumps({"Version": "2012-10-17", "Statement": list(statements)}))
    done = desk.run("status.sh")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    return lines[1 : lines.index("cluster     none: run scripts/create-cluster.sh")]


def test_status_says_that_only_the_builds_may_assume_the_role(desk: Desk) -> None:
    assert shown(desk, HELD) == [f"role        {ROLE}, which only the stack's builds may assume"]


@pytest.mark.parametrize(
    ("statement", "said"), [(OPEN, ANY), (OPEN | {"Principal": "*"}, "anyone, in any account"), (held(OTHER_BUILDS), OTHER_BUILDS)]
)  # fmt: skip
def test_status_names_everyone_else(statement: Json, said: str, desk: Desk) -> None:
    assert shown(desk, HELD, statement) == [
        f"role        {ROLE}, which these may assume:",
        "            the stack's builds",
        f"            {said}",
    ]


def test_status_prints_a_hostile_trust_as_text(desk: Desk) -> None:
    lines = shown(desk, OPEN | {"Principal": {"AWS": "$(touch pwned)\x1b[31m\n"}})
    assert lines[1] == "            $(touch pwned)?[31m?"
    assert not list(desk.checkout.rglob("pwned"))
