"""The stack's template as data, and as CloudFormation evaluates it with given parameters."""

from __future__ import annotations

import string
from typing import Any

from awscli.customizations.cloudformation.yamlhelper import yaml_parse

from tests.support.paths import ROOT

FILE = ROOT / "ci-cd-codepipeline.cfn.yml"
TEMPLATE: dict[str, Any] = yaml_parse(FILE.read_text(encoding="utf-8"))
NO_VALUE = {"Ref": "AWS::NoValue"}


def parameters(**given: str) -> dict[str, str]:
    """Return the values of all parameters: those given, and the defaults of the others."""
    defaults = {name: str(each.get("Default", "")) for name, each in TEMPLATE["Parameters"].items()}
    return defaults | given


def holds(condition: Any, values: dict[str, str]) -> bool:
    """Return whether a condition function of Conditions or Rules is true."""
    if not isinstance(condition, dict) or len(condition) != 1:
        raise ValueError(f"not a condition: {condition}")
    ((name, given),) = condition.items()
    match name:
        case "Condition":
            return holds(TEMPLATE["Conditions"][given], values)
        case "Fn::Equals":
            first, second = (values[each["Ref"]] if isinstance(each, dict) else each for each in given)
            return bool(first == second)
        case "Fn::Not":
            return not holds(given[0], values)
        case "Fn::Or":
            return any(holds(each, values) for each in given)
        case "Fn::And":
            return all(holds(each, values) for each in given)
    raise ValueError(f"unknown function: {name}")


def refused(**given: str) -> list[str]:
    """Return the descriptions of the Rules that these parameters violate."""
    values = parameters(**given)
    assertions = [each for rule in TEMPLATE["Rules"].values() for each in rule["Assertions"]]
    return [each["AssertDescription"] for each in assertions if not holds(each["Assert"], values)]


def resources(**given: str) -> dict[str, Any]:
    """Return the resources for these parameters, with every Fn::If evaluated and other functions kept."""
    values = parameters(**given)
    made = {
        name: resource
        for name, resource in TEMPLATE["Resources"].items()
        if "Condition" not in resource or holds({"Condition": resource["Condition"]}, values)
    }
    decided: dict[str, Any] = _decide(made, values)
    return decided


def text(node: Any, values: dict[str, str]) -> str:
    """Evaluate Ref, and Fn::Sub with a mapping, Fn::Select and Fn::Split."""
    match node:
        case {"Ref": name}:
            return values[name]
        case {"Fn::Select": [index, {"Fn::Split": [separator, whole]}]}:
            return text(whole, values).split(separator)[int(index)]
        case {"Fn::Sub": [pattern, dict(inner)]}:
            return string.Template(pattern).substitute({name: text(each, values) for name, each in inner.items()})
    return str(node)


def _decide(node: Any, values: dict[str, str]) -> Any:
    if isinstance(node, list):
        decided = [_decide(each, values) for each in node]
        return [each for each in decided if each != NO_VALUE]
    if not isinstance(node, dict):
        return node
    if set(node) == {"Fn::If"}:
        name, yes, no = node["Fn::If"]
        return _decide(yes if holds({"Condition": name}, values) else no, values)
    decided_items = {str(key): _decide(value, values) for key, value in node.items()}
    return {key: value for key, value in decided_items.items() if value != NO_VALUE}
