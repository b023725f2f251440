"""Stacks that share a kubectl role: at every moment, its trust names exactly the builds of the stacks that exist."""

from __future__ import annotations

import copy
import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import limits
from tests.support.fixtures import Figure
from tests.support.function import ACCOUNT_ROOT, OPEN, TRUST_QUOTA, Function, error, properties
from tests.support.names import OTHER_ROLE, ROLE
from tests.support.paths import ROOT

Json = dict[str, Any]
KEY = "aws:PrincipalArn"
ROLES = (ROLE, OTHER_ROLE)
STACKS = ("one", "two", "three")
HOME = "arn:aws:iam::111122223333:role"
#: What a role may trust before there is a stack: the account, the account only for other roles, and others.
STATEMENTS = [
    OPEN,
    OPEN | {"Sid": "Mine", "Action": ["sts:AssumeRole", "sts:TagSession"]},
    OPEN | {"Condition": {"ArnEquals": {KEY: f"{HOME}/admin"}}},
    OPEN | {"Condition": {"ArnEquals": {KEY: [f"{HOME}/x-CodeBuildRole-1", f"{HOME}/y-CodeBuildRole-2"]}}},
    OPEN | {"Condition": {"StringEquals": {"sts:ExternalId": "42"}}},
    {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"},
    {"Effect": "Deny", "Principal": {"AWS": ACCOUNT_ROOT}, "Action": "sts:AssumeRole"},
]
trusts = st.lists(st.sampled_from(STATEMENTS), min_size=1, max_size=4, unique_by=json.dumps)
events = st.lists(
    st.tuples(
        st.sampled_from(["create", "update", "update", "delete", "recreate"]),
        st.sampled_from(STACKS),
        st.sampled_from(ROLES),
        st.sampled_from([0, 0, 0, 1, 2, 3, 4, 5]),  # which call of IAM fails
    ),
    min_size=3,
    max_size=14,
)
#: The numbers of events of the sequences that were tried, and of those that ended well.
tried: list[int] = []
held: list[int] = []


@pytest.fixture(scope="module", name="shared")
def _shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Function]:
    with pytest.MonkeyPatch.context() as patch:
        yield Function(patch, tmp_path_factory.mktemp("function"))


class Account:
    """Stacks of one template that share roles, with CloudFormation's requests to their functions."""

    def __init__(self, function: Function, trust: dict[str, list[Json]]) -> None:
        self.function, self.before = function, trust
        self.stacks: dict[str, Json] = {}
        self.forgotten: set[str] = set()  # stacks whose role was recreated, until their next update
        self.unsure: set[str] = set()  # stacks in the middle of a request, or whose deletion failed
        self.replacements = 0
        for role in ROLES:
            self.recreate(role)
        function.s3.buckets = dict.fromkeys(STACKS, 1)
        function.iam.after_write = self.check

    def recreate(self, role: str) -> None:
        """Delete the role and create it with its first trust; a stack's next update narrows it again."""
        self.function.iam.trust[role] = {"Version": "2012-10-17", "Statement": copy.deepcopy(self.before[role])}
        self.forgotten |= {name for name, each in self.stacks.items() if each["KubectlRoleName"] == role}

    def request(self, kind: str, name: str, new: Json, old: Json | None = None, failing: int = 0) -> bool:
        """Send a request whose n-th call of IAM fails, or send it twice, as CloudFormation may; return its success."""
        self.unsure.add(name)
        self.function.iam.failures = [None] * (failing - 1) + [error("ServiceFailure")] * bool(failing)
        event = {"ResourceProperties": new, "PhysicalResourceId": name} | (
            {"OldResourceProperties": old} if old else {}
        )
        done = [self.function(kind, **event)["Status"] == "SUCCESS" for _ in range(1 if failing else 2)]
        self.function.iam.failures = []
        if all(done):
            self.unsure.discard(name)
            self.forgotten.discard(name)
        return all(done)

    def create(self, name: str, role: str, failing: int) -> None:
        if name not in self.stacks:
            self.stacks[name] = self.given(name, role)
            if not self.request("Create", name, self.stacks[name], failing=failing):
                self.delete(name)

    def update(self, name: str, role: str, failing: int) -> None:
        """Move the stack to this role, and its builds to a new role. If that fails, CloudFormation undoes the update."""
        if name in self.stacks and name not in self.unsure:
            old, self.stacks[name] = self.stacks[name], self.given(name, role)
            if not self.request("Update", name, self.stacks[name], old, failing):
                new, self.stacks[name] = self.stacks[name], old
                assert self.request("Update", name, old, new)

    def delete(self, name: str, _role: str = "", failing: int = 0) -> None:
        """Delete the stack; after a failure it is still there, and can only be deleted."""
        if name in self.stacks and self.request("Delete", name, self.stacks[name], failing=failing):
            del self.stacks[name]

    def given(self, name: str, role: str) -> Json:
        self.replacements += 1
        return properties(role, f"{HOME}/{name}-CodeBuildRole-{self.replacements}") | {"ArtifactBucketName": name}

    def trust(self, role: str) -> list[Json]:
        return list(self.function.iam.trust[role]["Statement"])

    def check(self) -> None:
        """Compare each role's trust with the stacks; a stack in the middle of a request may be named or not."""
        for role in ROLES:
            here = {
                name: each["CodeBuildRoleArn"] for name, each in self.stacks.items() if each["KubectlRoleName"] == role
            }
            living = {arn for name, arn in here.items() if name not in self.unsure | self.forgotten}
            names = named(self.trust(role))
            assert living <= names
            kept = [each for each in self.trust(role) if not is_limited(each)]
            if self.unsure:
                assert not living or not any(map(opens, kept))
            elif living:
                assert (names, kept) == (living, [each for each in self.before[role] if not opens(each)])
            else:
                assert self.trust(role) == self.before[role]


def opens(statement: Json) -> bool:
    """Whether a statement lets every identity of the account assume the role."""
    return (
        statement["Effect"] == "Allow"
        and statement["Principal"] == {"AWS": ACCOUNT_ROOT}
        and "sts:AssumeRole" in statement["Action"]
        and not statement.get("Condition")
    )


def is_limited(statement: Json) -> bool:
    """Whether a statement is none of those before the first stack, so that it is the function's."""
    return opens(statement | {"Condition": None}) and statement not in STATEMENTS


def named(statements: list[Json]) -> set[str]:
    """Return the roles to which the function limited statements."""
    found = [each["Condition"]["ArnEquals"][KEY] for each in statements if is_limited(each)]
    return {arn for arns in found for arn in ([arns] if isinstance(arns, str) else arns)}


@given(first=trusts, second=trusts, sequence=events)
@settings(max_examples=400, deadline=None, derandomize=True)
def try_sequence(shared: Function, first: list[Json], second: list[Json], sequence: list[Any]) -> None:
    account = Account(shared, dict(zip(ROLES, (first, second), strict=True)))
    tried.append(len(sequence))
    for what, name, role, failing in sequence:
        if what == "recreate":
            account.recreate(role)
        else:
            getattr(account, what)(name, role, failing)
        account.check()
    for name in list(account.stacks):
        account.delete(name)
        account.check()
    assert {role: account.trust(role) for role in ROLES} == account.before
    held.append(len(sequence))


def test_trust_names_exactly_the_living_builds(shared: Function, figure: Figure) -> None:
    tried.clear()
    held.clear()
    try_sequence(shared)
    figure(
        "stacks that share a kubectl role: its trust names exactly their builds",
        f"{len(held)} of {len(tried)} sequences, ~{sum(held)} events",
    )


def test_as_many_stacks_share_a_role_as_iam_has_room_for(function: Function) -> None:
    """As many as docs/scale.md and docs/security.md say, which is counted without the rest of the function."""
    builds = [limits.ARN.format(number) for number in range(99)]
    taken = 0
    while function("Create", ResourceProperties=properties(builds=builds[taken]))["Status"] == "SUCCESS":
        taken += 1
    assert taken == limits.stacks_in_trust(TRUST_QUOTA)
    assert f"room for [{taken} stacks](scale.md" in (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    assert named(function.statements) == set(builds[:taken])
    for each in builds[: taken + 1]:
        assert function("Delete", ResourceProperties=properties(builds=each))["Status"] == "SUCCESS"
    assert function.statements == [OPEN]


class Clock:
    """Runs threads one at a time: each as soon as its pause is over, on a clock that moves only with their pauses."""

    def __init__(self) -> None:
        self.now, self.running = 0.0, 0
        self.due: dict[int, float] = {}
        self.changed = threading.Condition()

    def pause(self, seconds: float) -> None:
        own = threading.get_ident()
        with self.changed:
            self.due[own] = self.now + seconds
            self.changed.notify_all()
            assert self.changed.wait_for(lambda: self._next() == own, timeout=20)
            self.now = self.due.pop(own)

    def _next(self) -> int | None:
        return min(self.due, key=lambda each: self.due[each]) if len(self.due) == self.running else None

    def run(self, *works: Callable[[], object]) -> None:
        """Run each in a thread until all have returned."""
        self.running = len(works)
        threads = [threading.Thread(target=self._work, args=[work]) for work in works]
        for each in threads:
            each.start()
        for each in threads:
            each.join(timeout=30)

    def _work(self, work: Callable[[], object]) -> None:
        try:
            work()
        finally:
            with self.changed:
                self.running -= 1
                self.changed.notify_all()


@given(seed=st.integers(0, 2**32), old=st.integers(0, 3), new=st.integers(0, 3))
@settings(max_examples=100, deadline=None, derandomize=True)
def try_at_once(shared: Function, seed: int, old: int, new: int) -> None:
    """Delete some stacks and create others at once. A call of IAM takes less than a second; they start within two."""
    pick, clock = random.Random(seed), Clock()  # noqa: S311 (not a secret)
    arns = [f"{HOME}/stack{number}-CodeBuildRole-1" for number in range(old + new + 1)]
    iam = shared.iam
    iam.after_write = lambda: None
    iam.trust[ROLE] = {"Version": "2012-10-17", "Statement": [OPEN]}
    for arn in arns[: old + 1]:  # the last of these stays
        shared.code.fulfil("Create", properties(builds=arn), {})

    def work(kind: str, arn: str) -> None:
        clock.pause(pick.uniform(0, 2))
        shared.code.fulfil(kind, properties(builds=arn), {})

    def slowly(call: Callable[..., Any]) -> Callable[..., Any]:
        def called(**arguments: Any) -> Any:
            clock.pause(pick.uniform(0, 1))
            return call(**arguments)

        return called

    works = [("Delete", arn) for arn in arns[:old]] + [("Create", arn) for arn in arns[old + 1 :]]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(iam, "get_role", slowly(iam.get_role))
        patch.setattr(iam, "update_assume_role_policy", slowly(iam.update_assume_role_policy))
        patch.setattr(time, "sleep", clock.pause)
        clock.run(*[lambda each=each: work(*each) for each in works])
    after = iam.trust[ROLE]["Statement"]
    assert (named(after), any(map(opens, after))) == (set(arns[old:]), False)


def test_functions_at_once_lose_no_change(shared: Function) -> None:
    try_at_once(shared)


def test_a_trust_that_never_settles_is_reported(function: Function) -> None:
    """Someone else overwrites each change."""
    function.iam.after_write = lambda: setattr(function, "statements", [OPEN])
    answer = function("Create")
    assert (answer["Status"], "keeps changing: try again" in answer["Reason"]) == ("FAILED", True)
    assert sum(function.pauses) < 60
