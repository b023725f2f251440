"""Check a YAML file and report the first problem.

    python check_manifest.py FILE [KIND...]

With kinds, FILE must contain one object of each, without a namespace, and nothing else.

Exit codes: 0 no problem, 1 the file is missing, is not YAML, is empty or contains something else.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml


def fault(text: str, kinds: list[str]) -> str:
    """Return the first problem, or an empty string. Accepts any tag, such as CloudFormation's ``!Sub``."""
    try:
        found: list[Any] = [each for each in yaml.load_all(text, Loader=yaml.BaseLoader) if each]
    except yaml.MarkedYAMLError as error:
        return f"line {error.problem_mark.line + 1 if error.problem_mark else 1}: {error.problem}"
    except yaml.YAMLError as error:
        return " ".join(str(error).split())
    if not found or not all(isinstance(each, dict) for each in found):
        return "it contains no object"
    if kinds and sorted(str(each.get("kind")) for each in found) != sorted(kinds):
        return f"it must contain {' and '.join(kinds)}, once each, and nothing else"
    if kinds and any("namespace" in str(each.get("metadata")) for each in found):
        return "its objects must not set a namespace: APP_NAMESPACE sets it"
    return ""


def main() -> None:
    """Run the command line."""
    path = Path(sys.argv[1])
    try:
        if problem := fault(path.read_text(encoding="utf-8"), sys.argv[2:]):
            sys.exit(f"{path}: {problem}")
    except OSError as error:
        sys.exit(f"{path}: {error.strerror}")
    except ValueError as error:
        sys.exit(f"{path}: {error}")


if __name__ == "__main__":
    main()
