"""Compares the answers of the stand-ins with the shapes that AWS publishes in botocore's service models."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

#: The types of JSON values that each type of a shape may have; a timestamp is a number of seconds.
TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "character": (str,),
    "blob": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "long": (int,),
    "float": (int, float),
    "double": (int, float),
    "timestamp": (int, float, str),
    "structure": (dict,),
    "map": (dict,),
    "list": (list,),
}


def check_answers(client: Any) -> Any:
    """Let a boto3 client of a service with JSON answers fail on one that is not as its model says; return the client."""
    if client.meta.service_model.metadata["protocol"] in ("json", "rest-json"):
        client.meta.events.register("before-parse", _check)
    return client


def _check(operation_model: Any, response_dict: dict[str, Any], **_: Any) -> None:
    shape = operation_model.output_shape
    if shape is None or response_dict["status_code"] >= 300 or shape.serialization.get("payload"):
        return
    found = list(deviations(json.loads(response_dict["body"] or "{}"), shape, operation_model.name))
    assert not found, "\n".join(found)


def deviations(value: Any, shape: Any, path: str) -> Iterator[str]:
    """Yield what is not as the shape says: types, members that AWS does not have, missing ones, and values of enums."""
    if value is None:
        return
    if not isinstance(value, TYPES[shape.type_name]) or (isinstance(value, bool) and shape.type_name != "boolean"):
        yield f"{path} is {value!r}, not a {shape.type_name}"
    elif shape.type_name == "structure":
        members = {member.serialization.get("name", name): member for name, member in shape.members.items()}
        located = {name for name, member in shape.members.items() if "location" in member.serialization}
        yield from (f"{path}.{name} does not exist on AWS" for name in value.keys() - members.keys())
        yield from (f"{path}.{name} is missing" for name in set(shape.required_members) - value.keys() - located)
        for name in members.keys() & value.keys():
            yield from deviations(value[name], members[name], f"{path}.{name}")
    elif shape.type_name == "list":
        for number, item in enumerate(value):
            yield from deviations(item, shape.member, f"{path}[{number}]")
    elif shape.type_name == "map":
        for key, item in value.items():
            yield from deviations(item, shape.value, f"{path}.{key}")
    elif getattr(shape, "enum", None) and value and value not in shape.enum:  # the emulator writes "" for nothing
        yield f"{path} is {value!r}, not one of {', '.join(shape.enum)}"
