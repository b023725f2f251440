"""Print what ECR's scan of an image says.

    findings.py status <findings.json     the status of the scan, or nothing if there is no scan yet
    findings.py SEVERITY <findings.json   a line for each finding of this severity or worse, the worst first
    findings.py summary <findings.json    how many findings there are of each severity

findings.json is empty or [status, [[severity, name, uri, [[key, value], ...]], ...]], of DescribeImageScanFindings (Amazon
ECR API reference, ImageScanFinding). UNDEFINED is what the distribution has given no severity yet, so it is the least.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from typing import Any

SEVERITIES = ("UNDEFINED", "INFORMATIONAL", "LOW", "MEDIUM", "HIGH", "CRITICAL")


def rank(finding: list[Any]) -> int:
    """Return how bad a finding is; a severity that is not known is the worst."""
    return SEVERITIES.index(finding[0]) if finding[0] in SEVERITIES else len(SEVERITIES)


def described(finding: list[Any]) -> str:
    """Return a finding as one line: what it is, in which package, which version fixes it, and where to read on."""
    severity, name, uri, attributes = finding
    known = dict(attributes or [])
    package = " ".join(filter(None, (known.get("package_name"), known.get("package_version"))))
    fixed = known.get("patched_version") or known.get("fixed_version")
    parts = [severity, name, package + (f" (fixed in {fixed})" if fixed else ""), uri]
    line = "    " + "  ".join(str(part) for part in parts if part)
    return "".join(each if each.isprintable() else "?" for each in line)


def main() -> None:
    """Run the command line."""
    asked, given = sys.argv[1], sys.stdin.read()
    try:
        status, found = json.loads(given) if given.strip() else ("", [])
    except ValueError as error:
        sys.exit(f"findings.py: {error}")
    findings = sorted(found or [], key=rank, reverse=True)
    if asked == "status":
        print(status)
    elif asked == "summary":
        counts = Counter(str(finding[0]) for finding in findings)
        print(", ".join(f"{count} {severity}" for severity, count in counts.items()) or "nothing")
    else:
        for finding in findings:
            if rank(finding) >= SEVERITIES.index(asked):
                print(described(finding))


if __name__ == "__main__":
    main()
