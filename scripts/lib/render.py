"""Fill in the ``<NAME>`` placeholders of an IAM policy and print it as one line. ``<name>`` is the value in lower case.

    python3 scripts/lib/render.py FILE NAME=VALUE...

Exit codes: 0 printed, 1 the file is missing, is not a policy or has an unknown placeholder.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path

VERSIONS = ("2012-10-17", "2008-10-17")
PLACEHOLDER = re.compile(r"<([^<>]*)>")


def render(text: str, values: Mapping[str, str]) -> str:
    """Return the policy with its keys sorted, so that equal policies are equal strings.

    Raises:
        ValueError: the text is not a policy, or has a placeholder without a value.
    """

    def filled(name: str) -> str:
        if name.isupper() or name.upper() not in values:
            return values[name]
        return values[name.upper()].lower()

    def fill(value: object) -> object:
        if isinstance(value, dict):
            return {key: fill(item) for key, item in value.items()}
        if isinstance(value, list):
            return [fill(item) for item in value]
        return PLACEHOLDER.sub(lambda match: filled(match[1]), value) if isinstance(value, str) else value

    try:
        document = fill(json.loads(text))
    except KeyError as error:
        raise ValueError(f"unknown placeholder <{error.args[0]}>") from error
    check_form(document)
    return json.dumps(document, sort_keys=True)


def check_form(document: object) -> None:
    """Reject what IAM would reject (IAM user guide, "Grammar of the IAM JSON policy language").

    Raises:
        ValueError: it is not a policy.
    """
    policy = document if isinstance(document, dict) else {}
    statements = policy.get("Statement")
    if policy.get("Version") not in VERSIONS:
        raise ValueError(f"its Version must be {VERSIONS[0]}")
    if not isinstance(statements, list) or not statements:
        raise ValueError("its Statement must be a list of at least one statement")
    for each in statements:
        if not isinstance(each, dict) or each.get("Effect") not in ("Allow", "Deny") or not each.get("Action"):
            raise ValueError("each statement must have an Action, and Allow or Deny as its Effect")


def main() -> None:
    """Run the command line."""
    path = Path(sys.argv[1])
    try:
        print(render(path.read_text(encoding="utf-8"), dict(pair.split("=", 1) for pair in sys.argv[2:])))
    except OSError as error:
        sys.exit(f"{path}: {error.strerror}")
    except ValueError as error:
        sys.exit(f"{path}: {error}")


if __name__ == "__main__":
    main()
