"""The function of the stack: it answers whatever happens, once, and says enough to go on."""

from __future__ import annotations

import contextlib

import pytest

from tests.test_lambda import Function, error, function, properties

__all__ = ["function"]


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
def test_it_answers_whatever_happens(request_type: str, failure: BaseException, function: Function) -> None:
    """CloudFormation waits for an answer, for an hour if it is not told otherwise."""
    function.iam.failures = [failure] * 9
    with contextlib.suppress(BaseException):
        function(request_type, OldResourceProperties=properties())
    assert [answer["Status"] for answer in function.answers] == ["FAILED"]
    assert type(failure).__name__ in function.answers[0]["Reason"]
