"""The stack's function answers every request in time, after any exception, and compares strings by value."""

from __future__ import annotations

import contextlib
import json
import signal
from typing import Any

import pytest

from tests.support.function import OPEN, OTHER_BUILDS, Function, error, held, properties
from tests.support.names import ROLE


@pytest.mark.parametrize(
    "failure",
    [
        KeyboardInterrupt(),
        SystemExit(1),
        ValueError("x"),
        RuntimeError(),
        MemoryError(),
        OSError(5, "x"),
        error("Throttling"),
    ],
    ids=lambda failure: type(failure).__name__,
)
@pytest.mark.parametrize("request_type", ["Create", "Update", "Delete"])
def test_answers_after_any_exception(request_type: str, failure: BaseException, function: Function) -> None:
    """CloudFormation waits for an answer, for an hour by default."""
    function.iam.failures = [failure] * 9
    with contextlib.suppress(BaseException):
        function(request_type, OldResourceProperties=properties())
    assert [answer["Status"] for answer in function.answers] == ["FAILED"]
    assert type(failure).__name__ in function.answers[0]["Reason"]


@pytest.mark.parametrize(
    ("milliseconds", "seconds"), [(120_000, 115), (119_999, 114), (119_880, 114), (6_000, 1), (5_000, 1), (0, 1)]
)
def test_reserves_five_seconds_to_answer(
    milliseconds: int, seconds: int, function: Function, monkeypatch: pytest.MonkeyPatch
) -> None:
    alarms: list[int] = []
    monkeypatch.setattr(signal, "alarm", alarms.append)
    function("Create", seconds=milliseconds / 1000)
    assert alarms == [seconds, 0]


def received(value: Any) -> Any:
    """Return a copy as it arrives over the network: equal, but not the same object."""
    return json.loads(json.dumps([value]))[0]


def test_accepts_deserialised_events(function: Function) -> None:
    function(received("Create"), ResourceProperties=received(properties()))
    writes = function.iam.writes
    new = received(properties(builds=OTHER_BUILDS))
    function(received("Update"), ResourceProperties=new, OldResourceProperties=received(properties()))
    assert function.statements == [held(OTHER_BUILDS)]
    assert function.iam.writes == writes + 1
    function(received("Delete"), ResourceProperties=new)
    assert (function.statements, function.s3.buckets) == ([OPEN], {"artifacts": 0})


def test_recognises_deserialised_error_codes(function: Function) -> None:
    function.iam.failures = [error(received("NoSuchEntity"))]
    assert f"role {ROLE} does not exist" in function("Create")["Reason"]
