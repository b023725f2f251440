"""Fill in the ``<NAME>`` placeholders of a JSON document and print it as one line.

    python3 scripts/render.py FILE NAME=VALUE...

Exit codes: 0 printed, 1 the file is missing, is not JSON or keeps a placeholder.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path

PLACEHOLDER = re.compile(r"<([A-Z_]+)>")


def render(text: str, values: Mapping[str, str]) -> str:
    """Return the document with its keys sorted, so that equal documents are equal texts.

    Raises:
        ValueError: the text is not JSON, or has a placeholder without a value.
    """

    def fill(value: object) -> object:
        if isinstance(value, dict):
            return {key: fill(item) for key, item in value.items()}
        if isinstance(value, list):
            return [fill(item) for item in value]
        return PLACEHOLDER.sub(lambda match: values[match[1]], value) if isinstance(value, str) else value

    try:
        return json.dumps(fill(json.loads(text)), sort_keys=True)
    except KeyError as error:
        raise ValueError(f"nothing is known for <{error.args[0]}>") from error


def main() -> None:
    """Run the command line."""
    path = Path(sys.argv[1])
    try:
        print(render(path.read_text(encoding="utf-8"), dict(pair.split("=", 1) for pair in sys.argv[2:])))
    except (OSError, ValueError) as error:
        sys.exit(f"{path}: {error}")


if __name__ == "__main__":
    main()
