"""check-findings.sh waits for ECR's scan and fails on findings of the severity or worse, with a list to act on."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from tests.support.builds import Build

REPOSITORY = "111122223333.dkr.ecr.us-east-2.amazonaws.com/aws-pipeline-ecrrepository-1abc"
DIGEST = "sha256:" + "a" * 64
IMAGE = f"{REPOSITORY}@{DIGEST}"
CALL = "ecr describe-image-scan-findings"
NO_SCAN = "An error occurred (ScanNotFoundException) when calling the DescribeImageScanFindings operation: no scan"
Finding = tuple[str, str, str | None, list[list[str]] | None]
HIGH: Finding = (
    "HIGH",
    "CVE-2026-0002",
    "https://security-tracker.debian.org/tracker/CVE-2026-0002",
    [["package_version", "3.5.1-1"], ["package_name", "openssl"], ["patched_version", "3.5.1-2"]],
)
CRITICAL: Finding = ("CRITICAL", "CVE-2026-0003", None, [["package_name", "zlib"], ["package_version", "1.3"]])
UNKNOWN: Finding = ("UNDEFINED", "CVE-2026-0004", None, None)
NEW: Finding = ("WORST", "CVE-2026-0005", None, None)
LINE = "    HIGH  CVE-2026-0002  openssl 3.5.1-1 (fixed in 3.5.1-2)  https://security-tracker.debian.org/tracker/CVE-2026-0002"


def answer(status: str, *findings: Finding) -> str:
    return json.dumps([status, list(findings)])


def check(build: Build, severity: str = "HIGH", **environment: str) -> subprocess.CompletedProcess[str]:
    return build.run("build/check-findings.sh", IMAGE, severity, **environment)


def said(build: Build, status: str, *findings: Finding, severity: str = "HIGH") -> Any:
    build.answer(CALL, answer(status, *findings))
    return check(build, severity)


def test_waits_for_the_scan_of_the_digest(build: Build) -> None:
    build.answer(CALL, NO_SCAN, code=254, often="once")
    build.answer(CALL, answer("PENDING"), often="once")
    build.answer(CALL, answer("IN_PROGRESS"), often="once")
    done = said(build, "COMPLETE")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        f"==> Wait for the scan of {IMAGE}",
        "==> Nothing of severity HIGH or worse; found: nothing",
    ]
    asked = [call for call in build.calls if CALL in call]
    assert len(asked) == 4
    expected = f"--repository-name aws-pipeline-ecrrepository-1abc --image-id imageDigest={DIGEST} "
    assert all(expected in call for call in asked)


def test_fails_with_a_list_to_act_on(build: Build) -> None:
    done = said(build, "COMPLETE", UNKNOWN, HIGH, CRITICAL)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "    CRITICAL  CVE-2026-0003  zlib 1.3",
        LINE,
        "not deployed, because of the findings above: take fixed versions, with a newer base image or apt-get upgrade in the Dockerfile, and push",
    ]


@pytest.mark.parametrize(
    ("severity", "finding", "code"),
    [("LOW", UNKNOWN, 0), ("LOW", HIGH, 1), ("HIGH", HIGH, 1), ("CRITICAL", HIGH, 0), ("CRITICAL", CRITICAL, 1), ("CRITICAL", NEW, 1)],
)  # fmt: skip
def test_fails_from_the_severity_on(severity: str, finding: Finding, code: int, build: Build) -> None:
    done = said(build, "COMPLETE", finding, severity=severity)
    assert done.returncode == code
    if code == 0:
        assert done.stdout.endswith(f"==> Nothing of severity {severity} or worse; found: 1 {finding[0]}\n")


@pytest.mark.parametrize("status", ["UNSUPPORTED_IMAGE", "FAILED", "FINDINGS_UNAVAILABLE", "SCAN_ELIGIBILITY_EXPIRED"])
def test_a_scan_that_says_nothing_fails(status: str, build: Build) -> None:
    done = said(build, status)
    assert done.returncode == 1
    assert done.stderr == (
        f"the scan of {IMAGE} is {status}, so its findings are not known, and it is not deployed: see the repository in the ECR console\n"
    )


def test_enhanced_scanning_is_refused_with_a_way_out(build: Build) -> None:
    done = said(build, "ACTIVE")
    assert done.returncode == 1
    assert done.stderr == (
        "this account has enhanced scanning, which this does not read: use basic scanning, "
        "or set FAIL_ON_SEVERITY=NONE and run scripts/create-stack.sh\n"
    )


def test_a_scan_that_does_not_end_fails_within_ten_minutes(build: Build) -> None:
    """sleep takes no time here, but the shell's clock runs."""
    clock = build.notes / "clock"
    clock.write_text('sleep() { echo "$SECONDS" >>"$NOTES/times"; SECONDS=$((SECONDS + 100)); }\n')
    build.answer(CALL, answer("IN_PROGRESS"))
    done = check(build, BASH_ENV=str(clock))
    assert done.returncode == 1
    assert done.stderr.startswith(f"the scan of {IMAGE} is not finished after 10 minutes: ")
    assert 500 <= int((build.notes / "times").read_text().split()[-1]) < 600


def test_no_right_to_read_the_findings_fails(build: Build) -> None:
    build.answer(
        CALL, "An error occurred (AccessDeniedException) when calling it: not authorized to perform: x", code=254
    )
    done = check(build)
    assert done.returncode == 1
    assert f"cannot read the findings of {IMAGE}: fix the error above, then retry the build" in done.stderr


def test_an_answer_that_is_not_from_aws_fails(build: Build) -> None:
    build.answer(CALL, "<html>Sign in</html>")
    done = check(build)
    assert done.returncode == 1
    assert f"the answer about {IMAGE} is not from AWS: see the error above, then retry the build\n" in done.stderr


def test_prints_hostile_findings_as_text(build: Build) -> None:
    hostile: Finding = ("HIGH", "\x1b[31mCVE", "x\ny", [["package_name", "$(touch pwned)"]])
    build.answer(CALL, answer("COMPLETE", hostile).replace("\\", "\\\\"))  # the stand-in's printf takes one of two
    done = check(build)
    assert done.stderr.splitlines()[0] == "    HIGH  ?[31mCVE  $(touch pwned)  x?y"


@pytest.mark.parametrize(
    "arguments",
    [(), (IMAGE,), (IMAGE, "NONE"), (IMAGE, "high"), (f"{REPOSITORY}:latest", "HIGH"), (IMAGE, "HIGH", "x"), (DIGEST, "HIGH")],
)  # fmt: skip
def test_a_wrong_call_is_refused(arguments: tuple[str, ...], build: Build) -> None:
    done = build.run("build/check-findings.sh", *arguments)
    assert (done.returncode, build.calls) == (2, [])
    assert done.stderr.startswith("name one image by its digest, and LOW, MEDIUM, HIGH or CRITICAL: ")
