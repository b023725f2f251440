"""Say who may assume a role, by its trust policy.

    aws iam get-role --query Role.AssumeRolePolicyDocument … | trust.py ACCOUNT BUILDS

BUILDS is the ARN of the role of the stack's builds, or empty without a stack. Prints a summary or, if there is more to say,
everyone who may assume the role, one a line. Conditions that limit more than the role are quoted, not evaluated.

The rules are IAM's (IAM user guide, "AWS JSON policy elements" and "Policy evaluation logic"): an account as principal
stands for every identity in it that has the right itself, and a condition on ``aws:PrincipalArn`` limits it to roles. IAM
shows a deleted identity as its unique id, such as AROA….
"""

from __future__ import annotations

import json
import re
import sys
from fnmatch import fnmatchcase
from typing import Any

ASSUME = ("sts:assumerole", "sts:assumerolewithsaml", "sts:assumerolewithwebidentity")
LIMITS = ("ArnEquals", "ArnLike", "StringEquals", "StringLike")  # of aws:PrincipalArn
PRESENT = {"Null": {"aws:PrincipalArn": "false"}}  # always true; the stack's function marks its statements with it
ACCOUNT = "any identity in the account with sts:AssumeRole"

Json = dict[str, Any]


def as_list(value: Any) -> list[Any]:
    """Return a list, which IAM lets everyone write as its only element."""
    return value if isinstance(value, list) else [value]


def allowed(statement: Json, account: str) -> list[str]:
    """Return whom a statement lets assume the role, or forbids to: no one if it is about other actions."""
    patterns = [str(each).lower() for each in as_list(statement.get("Action", "*"))]
    if "NotAction" not in statement and not any(fnmatchcase(each, pattern) for each in ASSUME for pattern in patterns):
        return []
    roles, others = _conditions(statement.get("Condition") or {})
    who = [name for each in _principals(statement) for name in _names(each, account, roles)]
    suffix = f", if {', '.join(others)}" if others else ""
    prefix = "" if statement.get("Effect") == "Allow" else "denied: "
    return [f"{prefix}{name}{suffix}" for name in who]


def _conditions(condition: Json) -> tuple[list[str], list[str]]:
    """Return the roles that a condition allows, empty for all, and the keys of everything else that it demands."""
    roles: list[str] = []
    others: list[str] = []
    for operator, values in condition.items():
        for key, value in values.items():
            if operator in LIMITS and key.lower() == "aws:principalarn" and not roles:
                roles = [str(each) for each in as_list(value)]
            elif {operator: {key: value}} != PRESENT:
                others.append(f"{key} {operator} {' or '.join(map(str, as_list(value)))}")
    return roles, others


def _principals(statement: Json) -> list[str]:
    """Return the principals of a statement, each as IAM writes it, or everyone but those of NotPrincipal."""
    key = "NotPrincipal" if "NotPrincipal" in statement else "Principal"
    given = statement.get(key, "*")
    found = (
        [str(each) for value in given.values() for each in as_list(value)] if isinstance(given, dict) else [str(given)]
    )
    return [f"everyone but {', '.join(found)}"] if key == "NotPrincipal" else found


def _names(principal: str, account: str, roles: list[str]) -> list[str]:
    """Return a principal in words: the roles that a condition limits it to, or else itself."""
    words = {"*": "anyone, in any account", account: ACCOUNT}
    if number := re.fullmatch(r"arn:[a-z-]+:iam::(\d{12}):root", principal):
        principal = number[1]
    if roles and principal in words:
        return [f"every role that matches {each}" if re.search(r"[*?]", each) else each for each in roles]
    if re.fullmatch(r"A[A-Z]{3}[A-Z0-9]{12,}", principal):
        principal = f"the deleted identity {principal}"
    if re.fullmatch(r"\d{12}", principal):
        principal = words.get(principal, f"any identity in account {principal}")
    return [words.get(principal, principal) + (f", if it is {' or '.join(roles)}" if roles else "")]


def summary(document: Json, account: str, builds: str) -> list[str]:
    """Return who may assume the role, the shortest way it can be said."""
    found = [name for each in as_list(document["Statement"]) for name in allowed(each, account)]
    names = list(dict.fromkeys("the stack's builds" if builds and name == builds else name for name in found))
    if names == ["the stack's builds"]:
        return ["which only the stack's builds may assume"]
    if names == [ACCOUNT] and not builds:
        return [f"which {ACCOUNT} may assume until the stack exists"]
    if builds and "the stack's builds" not in names:
        names.append("but not the stack's builds")
    return ["which these may assume:", *names]


def main() -> None:
    """Run the command line."""
    account, builds = sys.argv[1:]
    try:
        lines = summary(json.load(sys.stdin), account, builds)
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
        sys.exit("trust.py: this is not a trust policy")
    for line in lines:
        print("".join(each if each.isprintable() else "?" for each in line))  # no terminal escapes


if __name__ == "__main__":
    main()
