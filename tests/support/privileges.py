"""Splits policies into pieces, and compares them with IAM's decisions in a run (rehearsal/emulator/decision_log.py)."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Iterator
from typing import Any

from rehearsal.emulator import ministack
from rehearsal.emulator.extensions import Question

Json = dict[str, Any]


def as_list(value: Any) -> list[Any]:
    """Return a list, since IAM accepts a single value in place of one."""
    return value if isinstance(value, list) else [value]


def pieces(policy: Json) -> Iterator[tuple[str, Json]]:
    """Yield each action, and each of several resources or condition values: its name, and the policy without it."""
    for index, statement in enumerate(policy["Statement"]):
        sid = statement.get("Sid", str(index))
        for action in as_list(statement["Action"]):
            yield f"{sid}: {action}", without(policy, index, ("Action",), action)
        for key in ("Resource", *(("Condition", *path) for path in _values(statement.get("Condition", {})))):
            keys = (key,) if isinstance(key, str) else key
            values = as_list(_at(statement, keys))
            for value in values if len(values) > 1 else ():
                yield f"{sid}: {value}", without(policy, index, keys, value)


def without(policy: Json, index: int, keys: tuple[str, ...], value: str) -> Json:
    """Return the policy without one value of a list, and without the statement if the list is then empty."""
    left = copy.deepcopy(policy)
    statement = left["Statement"][index]
    holder = _at(statement, keys[:-1])
    holder[keys[-1]] = [each for each in as_list(holder[keys[-1]]) if each != value]
    if not holder[keys[-1]]:
        del left["Statement"][index]
    return left


def allows(policy: Json, question: Json) -> bool:
    """Whether a policy allows a question, by the emulator's evaluator."""
    asked = Question(*(question[name] for name in ("principal", "action", "resource", "context")))
    return ministack.policy_allows(json.dumps(policy), asked)


def needless(policy: Json, questions: Iterable[Json]) -> list[str]:
    """Return the pieces that no question needs: without them, every question that was allowed still is."""
    asked = [question for question in questions if allows(policy, question)]
    return [name for name, left in pieces(policy) if all(allows(left, question) for question in asked)]


def _values(condition: Json) -> Iterator[tuple[str, str]]:
    for operator, keys in condition.items():
        for key in keys:
            yield operator, key


def _at(node: Any, keys: tuple[str, ...]) -> Any:
    for key in keys:
        node = node[key]
    return node
