"""Compare two times as the AWS CLI prints them: in ISO 8601, in any time zone, or as seconds since 1970.

    is_later.py TIME OTHER

Which of the two a call prints depends on the version of the CLI, its settings and the service's protocol. Fractions of
a second do not count, because IAM has none.

Prints "later" if TIME is later, and nothing if it is not. Exit codes: 0 done, 1 one of them is no time.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime


def seconds(text: str) -> int:
    """Return a time as seconds since 1970; one without a zone is in UTC.

    Raises:
        ValueError: it is in neither form.
    """
    try:
        return int(float(text))
    except ValueError:
        time = datetime.fromisoformat(text)
        return int((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp())


def main() -> None:
    """Run the command line."""
    try:
        time, other = map(seconds, sys.argv[1:])
    except ValueError as error:
        sys.exit(f"is_later.py: {error}")
    if time > other:
        print("later")


if __name__ == "__main__":
    main()
