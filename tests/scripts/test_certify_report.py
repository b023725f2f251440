"""What certify.sh records: nothing private, whatever a command prints; each call of the AWS CLI, and nothing else of it."""

from __future__ import annotations

import json
import os
import re
import string
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scripts.lib.certify.calls import BIN, Call, Record, counted
from scripts.lib.certify.pages import Command
from scripts.lib.certify.redact import PUBLIC, Redaction
from scripts.lib.certify.report import Report
from scripts.lib.certify.walk import SHOWN, promised_minutes, steps
from tests.support.fixtures import Figure
from tests.support.paths import ROOT

ACCOUNT = "444455556666"
NAMES = ("Margaret Hamilton", "margaret", "hamilton", "mhamilton")
EXAMPLES = {f"arn:aws:iam::{ACCOUNT}:user/margaret": "arn:aws:iam::111122223333:user/learner", ACCOUNT: "111122223333"}
REDACTION = Redaction(ROOT, NAMES, EXAMPLES)
CASES = 1000

# What must never be in a report

alphanumeric = string.ascii_letters + string.digits
digits = st.text(string.digits, min_size=12, max_size=12).filter(lambda text: text != "111122223333")
octet = st.integers(0, 255)
hexadecimal = "0123456789abcdef"
name = st.text(string.ascii_lowercase + string.digits, min_size=3, max_size=12).filter(lambda text: not text.isalpha())
labels = st.lists(
    st.text(string.ascii_lowercase + string.digits + "-", min_size=2, max_size=20), min_size=2, max_size=5
)
secret = st.text(alphanumeric + "/+", min_size=40, max_size=40).filter(
    lambda text: any(c in text for c in string.digits)
)
PRIVATE = st.one_of(
    digits,
    st.builds("{0[0]}-{0[1]}-{0[2]}".format, digits.map(lambda text: (text[:4], text[4:8], text[8:]))),
    st.builds("arn:aws:{}:{}:{}:{}/{}".format, st.sampled_from(["iam", "eks", "sts", "codeconnections"]),
              st.sampled_from(["", "us-east-2"]), digits, st.sampled_from(["role", "user", "cluster"]), name),
    st.builds("{}{}".format, st.sampled_from(["AKIA", "ASIA", "AROA", "AIDA"]),
              st.text(string.ascii_uppercase + "234567", min_size=16, max_size=17)),
    secret,
    st.builds("{}{}".format, st.sampled_from(["ghp_", "gho_", "ghs_", "github_pat_"]),
              st.text(alphanumeric, min_size=36, max_size=60)),
    st.builds("k8s-aws-v1.{}".format, st.text(alphanumeric + "-_", min_size=60, max_size=200)),
    st.builds("eyJ{}.eyJ{}.{}".format, *[st.text(alphanumeric, min_size=20, max_size=40)] * 3),
    st.builds("{}.{}.{}.{}".format, octet, octet, octet, octet),
    st.builds("{}.{}.{}.{}:{}".format, octet, octet, octet, octet, st.integers(1, 65535)),
    st.lists(st.text(hexadecimal, min_size=1, max_size=4), min_size=8, max_size=8).map(":".join),
    st.builds("fd00::{}:{}".format, *[st.text(hexadecimal, min_size=1, max_size=4)] * 2),
    st.builds("ip-{}-{}-{}-{}.us-east-2.compute.internal".format, octet, octet, octet, octet),
    labels.map(lambda parts: ".".join([*parts, "elb.amazonaws.com"])),
    labels.map(lambda parts: "https://" + ".".join([*parts, "eks.amazonaws.com"])),
    st.builds("{}@{}.com".format, name, name),
    st.uuids().map(str),
    st.builds("{}-{}".format, st.sampled_from(["i", "vpc", "sg", "subnet", "eni", "vol", "eipalloc"]),
              st.text(hexadecimal, min_size=17, max_size=17)),
    st.builds("aws-pipeline-artifactbucket-{}".format, digits),
    st.builds("{}.dkr.ecr.us-east-2.amazonaws.com/{}".format, digits, name),
    st.text(hexadecimal, min_size=40, max_size=64).filter(lambda text: any(c in text for c in string.digits)),
    st.builds("/home/{}/{}".format, name, name),
    st.sampled_from(["Margaret", "Hamilton", "margaret", "HAMILTON", "mhamilton", "margaret/aws_pipeline", "user/mhamilton"]),
)  # fmt: skip
#: What may be around it. Some of these characters are part of the private text itself, so that it does not end there.
AROUND = st.text("\"'`()[]{}<>,;!?|= \t", max_size=3)
WORDS = st.sampled_from(["error", "User:", "is", "not authorized", "AccessDenied", "==>", "\x1b[31m", "…", "key", "4."])


@st.composite
def lines(draw: st.DrawFn) -> tuple[str, list[str]]:
    """A line of output, and the private texts in it."""
    secrets, parts = draw(st.lists(PRIVATE, min_size=1, max_size=3)), []
    for each in secrets:
        parts += [draw(WORDS), draw(AROUND) + each + draw(AROUND)]
    return draw(st.sampled_from([" ", "  ", "\t"])).join(parts), secrets


SEEN = {"texts": 0, "left": 0}


@settings(max_examples=CASES, deadline=None)
@given(lines())
def check_redaction(case: tuple[str, list[str]]) -> None:
    line, secrets = case
    redacted = REDACTION.text(line)
    for each in secrets:
        SEEN["texts"] += 1
        SEEN["left"] += each in redacted
        assert each not in redacted
        assert ACCOUNT not in redacted
    assert REDACTION.text(redacted) == redacted


def test_nothing_private_stays(figure: Figure) -> None:
    SEEN.update(texts=0, left=0)
    try:
        check_redaction()
    finally:
        figure(
            "a report has nothing private in it, whatever a command prints",
            f"{SEEN['left']} of ~{SEEN['texts']} private texts left",
        )
    assert SEEN["texts"] >= CASES


@settings(max_examples=100, deadline=None)
@given(lines(), lines(), st.data())
def test_no_field_of_a_report_has_anything_private(
    first: tuple[str, list[str]], second: tuple[str, list[str]], data: st.DataObject
) -> None:
    """The whole document is redacted, not only the fields that are known to hold output."""
    texts = [first[0], second[0]]
    document = {
        data.draw(st.sampled_from(["commit", "started", "system", "machine", "x"])): texts[0],
        "list": [{"deep": texts[1]}],
    }
    text = json.dumps(REDACTION.document(document), ensure_ascii=False)
    assert [each for each in (*first[1], *second[1]) if each in text] == []


@pytest.mark.parametrize(
    "text",
    [
        "expected 'Succeeded', got 'Failed'",
        "aws iam create-role: AccessDenied",
        "FAILED  vCPU quota  1 vCPUs allowed, 4 needed: request an increase in the console",
        "An error occurred (VcpuLimitExceeded) when calling the RunInstances operation",
        "Resource handler returned message: CREATE_FAILED AWS::EKS::Nodegroup",
        "not authorized to perform: ec2:RunInstances",
        "InvalidSubnetID.NotFound in eu-west-1, m7i-flex.large, v1.36.3",
        "ended with status 254",
        "arn:aws:iam::111122223333:role/UdacityFlaskDeployCBKubectlRole",
    ],
)
def test_what_explains_a_failure_stays(text: str) -> None:
    assert REDACTION.text(text) == text


@pytest.mark.parametrize("pattern", PUBLIC)
def test_every_source_of_public_words_exists(pattern: str) -> None:
    assert list(ROOT.glob(pattern))


def test_the_learners_values_become_those_of_the_page() -> None:
    text = f"ok account {ACCOUNT} as arn:aws:iam::{ACCOUNT}:user/margaret, region us-east-2"
    assert REDACTION.text(text) == "ok account 111122223333 as arn:aws:iam::111122223333:user/learner, region us-east-2"


# The record of the calls


@pytest.fixture
def record(tmp_path: Path) -> Record:
    """A record, and an AWS CLI that answers with its arguments: SECONDS, CODE, EXIT."""
    (tmp_path / "bin").mkdir()
    cli = tmp_path / "bin" / "aws"
    cli.write_text('#!/bin/sh\necho out\nprintf "%b" "$ERROR" >&2\nexit "${EXIT:-0}"\n')
    cli.chmod(0o755)
    return Record(tmp_path / "calls")


def call(record: Record, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    path = f"{record.file.parent / 'bin'}:{os.environ['PATH']}"
    env = {"PATH": path} | record.environment(path) | environment
    return subprocess.run(["aws", *arguments], env=env, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (("iam", "get-role", "--role-name", "mine"), ("iam", "get-role")),
        (("--cli-connect-timeout", "10", "--cli-read-timeout", "60", "eks", "list-clusters"), ("eks", "list-clusters")),
        (("--region=us-east-2", "--no-cli-pager", "--debug", "s3", "ls", "s3://mine"), ("s3", "ls")),
        (("--output", "text", "ec2", "wait", "vpc-exists", "--vpc-ids", "x"), ("ec2", "wait")),
    ],
)
def test_only_service_and_operation_are_recorded(
    arguments: tuple[str, ...], wanted: tuple[str, str], record: Record
) -> None:
    done = call(record, *arguments)
    assert (done.returncode, done.stdout, done.stderr) == (0, "out\n", "")
    assert "mine" not in record.file.read_text()
    assert record.new() == [Call(*wanted, "")]
    assert record.new() == []


@pytest.mark.parametrize("arguments", [("--version",), ("help",), ("--region",), ("IAM", "get role"), ()])
def test_what_is_no_call_is_not_recorded(arguments: tuple[str, ...], record: Record) -> None:
    assert call(record, *arguments, EXIT="3").returncode == 3
    assert record.new() == []


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (
            "\\nAn error occurred (NoSuchEntity) when calling the GetRole operation: The role mine is gone\\n",
            "NoSuchEntity",
        ),
        (
            "aws: [ERROR]: An error occurred (InvalidVpcID.NotFound) when calling the X operation: no\\n",
            "InvalidVpcID.NotFound",
        ),
        ('{\\n  "Code": "ExpiredToken",\\n  "Message": "no"\\n}\\n', "ExpiredToken"),
        ("Code: Throttling\\nMessage: slow\\n", "Throttling"),
        ("Could not connect to the endpoint URL: https://mine\\n", "exit code 254"),
    ],
)
def test_the_error_code_is_recorded_and_the_error_shown(error: str, code: str, record: Record) -> None:
    done = call(record, "iam", "get-role", ERROR=error, EXIT="254")
    assert done.returncode == 254
    assert done.stderr == error.replace("\\n", "\n")
    assert record.new() == [Call("iam", "get-role", code)]


def test_a_call_that_does_not_end_is_named(record: Record) -> None:
    record.file.write_text("begin 7 iam get-role\nbegin 8 s3 ls\nend 8 0 \nend 9 0 \n")
    assert record.new() == [Call("iam", "get-role", "did not end"), Call("s3", "ls", "")]


def test_same_calls_are_counted() -> None:
    calls = [Call("s3", "ls", ""), Call("s3", "ls", "NoSuchBucket"), Call("s3", "ls", "")]
    assert [(each["error"], each["times"]) for each in counted(calls)] == [("", 2), ("NoSuchBucket", 1)]


# The report


@pytest.fixture
def report(tmp_path: Path) -> Report:
    found = Report(tmp_path / "report.json", REDACTION, {"differences": [], "steps": []})
    found.begin(Command("README.md", 7, "4. Create the cluster", "", "true\n", ""))
    return found


def test_a_denied_call_is_a_difference_even_if_the_step_succeeds(report: Report) -> None:
    report.end(1.0, "", "", [Call("iam", "get-role", "AccessDenied"), Call("iam", "get-role", "NoSuchEntity")])
    assert report.differences == ["step 4. Create the cluster, line 7: aws iam get-role: AccessDenied"]


def test_a_failure_names_the_last_call_that_failed(report: Report) -> None:
    calls = [
        Call("iam", "get-role", "NoSuchEntity"),
        Call("iam", "put-role-policy", "Throttling"),
        Call("s3", "ls", ""),
    ]
    assert (
        report.end(1.0, "ended with status 1", "", calls) == "ended with status 1; aws iam put-role-policy: Throttling"
    )


def test_a_call_that_found_nothing_is_no_difference(report: Report) -> None:
    report.end(1.0, "", "", [Call("iam", "get-role", "NoSuchEntity")])
    assert report.differences == []


def test_the_file_is_whole_after_every_step(report: Report) -> None:
    assert json.loads(report.file.read_text())["steps"][0]["problem"] == "did not end"
    report.end(1.5, "", "", [])
    assert json.loads(report.file.read_text())["steps"][0]["seconds"] == 1.5


def test_shown_values_are_the_defaults_of_the_settings() -> None:
    defaults = dict(re.findall(r'^: "\$\{(\w+):=([^}]+)\}"', (ROOT / "settings.sh").read_text(), re.MULTILINE))
    assert {setting: defaults[setting] for setting in SHOWN.values()} == {each: shown for shown, each in SHOWN.items()}


def test_every_step_of_the_page_has_minutes_or_is_open() -> None:
    minutes = dict(promised_minutes(ROOT / "README.md"))
    sections = {command.section for command in steps(ROOT / "README.md")}
    assert len(sections) == 9  # step 7 needs a person, step 12 is the chapters
    assert sections <= set(minutes)


def test_aws_is_called_through_the_record() -> None:
    assert os.access(BIN / "aws", os.X_OK)
