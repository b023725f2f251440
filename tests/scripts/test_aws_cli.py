"""Every call of the AWS CLI in the scripts, buildspec.yml and the pages, as AWS's own programs judge it.

The programs parse each call and check its parameters against the models of the services. Then they find no endpoint.
"""

from __future__ import annotations

import functools
import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import botocore.session
import pytest
from awscli.clidriver import create_clidriver
from botocore import xform_name
from botocore.model import ServiceModel

from tests.support.aws_version_2 import unpacked
from tests.support.fixtures import Figure
from tests.support.paths import ROOT
from tests.support.shell_syntax import arrays, aws_calls, shell_texts

#: What the calls use that settings.sh does not set.
VALUES = {
    "ACCOUNT_ID": "111122223333",
    "BACK": "00000000-0000-0000-0000-000000000001",
    "BEFORE": "00000000-0000-0000-0000-000000000000",
    "BUDGET_AMOUNT": "20",
    "BUDGET_EMAIL": "ann@example.com",
    "CONNECTION_ARN": f"arn:aws:codeconnections:us-east-2:111122223333:connection/{'0' * 36}",
    "CONTENT": "files-0",
    "ECR_REPOSITORY_URI": "111122223333.dkr.ecr.us-east-2.amazonaws.com/app",
    "EKS_KUBECTL_ROLE_ARN": "arn:aws:iam::111122223333:role/kubectl",
    "EKS_CLUSTER_NAME": "eksctl-demo",
    "KUBECONFIG": "kubeconfig",
    "TOKEN": "0" * 36,
    "VERSION": "0" * 40,
    "WHERE": "aws-pipeline-artifactbucket-1a/aws-pipeline/Sbom/0",
    "account": "111122223333",
    "alarm": "NotificationType=ACTUAL,ComparisonOperator=GREATER_THAN,ThresholdType=PERCENTAGE,Threshold=",
    "budget": "aws-pipeline-budget",
    "found": "aws-pipeline-budget",
    "image": f"aws-pipeline@sha256:{'0' * 64}",
    "limit": "BudgetName=aws-pipeline-budget,BudgetType=COST,TimeUnit=MONTHLY,BudgetLimit={Amount=20,Unit=USD}",
    "old": "bob@example.com",
    "repository": "aws-pipeline",
    "subscriber": "SubscriptionType=EMAIL,Address=ann@example.com",
    "by_cluster": "Name=tag-key,Values=x",
    "by_stack": "Name=tag-key,Values=x",
    "cluster": "eksctl-demo",
    "group": "/aws/codebuild/x",
    "lower": "aws-pipeline",
    "policy": "stack",
    "arn": "arn:aws:iam::111122223333:policy/tutorial-stack",
    "region": "us-east-1",
    "service": "codestar-connections",
    "role_arn": "arn:aws:iam::111122223333:role/kubectl",
}
#: The arguments of the function that a call is in. The names of the operations are also valid names of stacks and buckets.
ARGUMENTS = {
    '"$alarm$1"': ["50"],
    '"$@"': ["sts get-caller-identity"],
    'cloudformation "$1"': ["create-stack", "update-stack"],
    '"$1"': ["create-stack"],
}
FILES = {
    "parameters.json": "[]",
    "versions.json": '{"Objects": [{"Key": "x"}]}',
    "trust.json": (ROOT / "trust.json").read_text(),
    "policy.json": (ROOT / "iam-role-policy.json").read_text(),
    "iam-role-policy.json": (ROOT / "iam-role-policy.json").read_text(),
}
ONLY_IN_VERSION_2 = {("logs", "tail"), ("sso", "login")}
#: What AWS's linter reports for every call without an option that chooses version 1's behavior.
OF_EVERY_CALL = {
    "pager-by-default",  # common.sh turns the pager off; in a terminal, the pager ends at once where the output fits
    "binary-params-base64",  # a test below finds no call with a binary parameter
}
Calls = dict[tuple[str, ...], str]


def expand(call: str, given: str, script: str, directory: Path) -> tuple[str, ...]:
    """The arguments of a call after bash has expanded them."""
    values = VALUES | {"work": str(directory), "scratch": str(directory)}
    lines = [
        "set -euo pipefail",
        ". ./settings.sh",
        *(f"{name}={shlex.quote(value)}" for name, value in values.items()),
        f"set -- {given}",
        *arrays(script),
        "aws() { printf '%s\\0' \"$@\"; }",
        call.replace("scripts/learner-policy.sh", "echo"),  # which would call AWS
    ]
    done = subprocess.run(["bash", "-c", "\n".join(lines)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{call}: {done.stderr}"
    return tuple(done.stdout.replace("/dev/stdin", f"{directory}/parameters.json").split("\0")[:-1])


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("work")
    for name, content in FILES.items():
        (made / name).write_text(content)
    return made


@pytest.fixture(scope="module")
def calls(directory: Path) -> Calls:
    """The arguments of every call, and where it is."""
    found: Calls = {}
    for place, text in shell_texts().items():
        for call in aws_calls(text):
            for given in next((each for form, each in ARGUMENTS.items() if form in call), [""]):
                found.setdefault(expand(call, given, text, directory), place)
    return found


@pytest.fixture(scope="module")
def nowhere(directory: Path) -> dict[str, str]:
    """An environment in which the AWS CLI finds credentials, but no AWS."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(directory),
        "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "x" * 40,
        "AWS_REGION": "us-east-2",
        "AWS_DEFAULT_REGION": "us-east-2",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_MAX_ATTEMPTS": "1",
        "AWS_PAGER": "",
    }


def refusal(place: str, call: tuple[str, ...], status: int, error: str) -> list[str]:
    """Why the CLI refused a call; nothing if it accepted it. A page may name a command without its arguments."""
    accepted = status == 0 or "Could not connect to the endpoint URL" in error
    if accepted or ("`" in place and len(call) == 2 and "nvalid choice" not in error):
        return []
    return [f"{place}: aws {shlex.join(call)}: {error.strip()[:400]}"]


def by_version_1(
    calls: Calls, nowhere: Mapping[str, str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> list[str]:
    """What version 1 refuses, whose models of the services are those of version 2; in this process, which is faster."""
    for name, value in nowhere.items():
        monkeypatch.setenv(name, value)
    found = []
    driver = create_clidriver()
    for call, place in calls.items():
        try:
            status = driver.main(list(call))
        except SystemExit as ended:
            status = int(ended.code or 0)
        found += refusal(place, call, status, capfd.readouterr().err)
    return found


def run(program: Path, call: tuple[str, ...], env: Mapping[str, str]) -> tuple[int, str]:
    done = subprocess.run([program, *call], env=env, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stderr


def test_every_call_is_found(calls: Calls) -> None:
    found = {call[:2] for call in calls}
    assert {
        ("ecr", "get-login-password"),
        ("logs", "tail"),
        ("eks", "create-access-entry"),
        ("s3api", "delete-objects"),
    } < found
    assert {("cloudformation", "create-stack"), ("cloudformation", "update-stack"), ("iam", "wait")} < found
    assert len(calls) > 60


def test_version_1_accepts_every_call(
    calls: Calls, nowhere: dict[str, str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    known = {call: place for call, place in calls.items() if call[:2] not in ONLY_IN_VERSION_2}
    assert len(known) == len(calls) - len(ONLY_IN_VERSION_2)
    assert by_version_1(known, nowhere, monkeypatch, capfd) == []


@pytest.mark.parametrize(
    "call",
    [
        "eks describe-clusters",
        "iam get-role --name x",
        "ecr put-image",
        "eks create-access-entry --cluster-name x --tags 1",
    ],
)
def test_version_1_refuses_a_wrong_call(
    call: str, nowhere: dict[str, str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert by_version_1({tuple(call.split()): "x"}, nowhere, monkeypatch, capfd)


def rules_of_the_linter(directory: Path, script: str) -> set[str]:
    """The rules by which AWS's linter finds what changed from version 1 to version 2."""
    file = directory / "calls.sh"
    file.write_text(script)
    linter = Path(sys.executable).with_name("migrate-aws-cli")
    done = subprocess.run([linter, "--script", file], capture_output=True, text=True, timeout=60, check=False)
    return set(re.findall(r"calls\.sh:\d+ \[([a-z0-9-]+)\]", done.stdout))


def test_nothing_depends_on_version_1(tmp_path: Path) -> None:
    script = "\n".join(call for text in shell_texts().values() for call in aws_calls(text))
    assert rules_of_the_linter(tmp_path, script) == OF_EVERY_CALL
    assert rules_of_the_linter(tmp_path, "aws cloudformation deploy --template-file x --stack-name x\n") - OF_EVERY_CALL


@functools.cache
def service_model(service: str) -> ServiceModel | None:
    session = botocore.session.get_session()
    return session.get_service_model(service) if service in session.get_available_services() else None


def binary_parameters(call: tuple[str, ...]) -> list[str]:
    """The options of a call that version 2 expects in base64."""
    service, operation = ("s3" if call[0] == "s3api" else call[0]), call[1] if len(call) > 1 else ""
    model = service_model(service)
    if model is None:
        return []
    shapes = {xform_name(each, "-"): model.operation_model(each).input_shape for each in model.operation_names}
    members = shapes[operation].members if shapes.get(operation) else {}
    return [name for name, each in members.items() if each.type_name == "blob" and f"--{xform_name(name, '-')}" in call]


def test_no_call_has_a_binary_parameter(calls: Calls) -> None:
    assert [call for call in calls if binary_parameters(call)] == []
    assert binary_parameters(("kms", "encrypt", "--key-id", "x", "--plaintext", "x")) == ["Plaintext"]


@pytest.mark.slow
@pytest.mark.timeout(900)  # each start of the program takes a second or more, and the first unpacks it
@pytest.mark.skipif((sys.platform, platform.machine()) != ("linux", "x86_64"), reason="the package is for x86-64 Linux")
def test_version_2_accepts_every_call(calls: Calls, nowhere: dict[str, str], tmp_path: Path, figure: Figure) -> None:
    program = unpacked(tmp_path)
    version = subprocess.run([program, "--version"], capture_output=True, text=True, env=nowhere, check=True).stdout
    (number,) = re.findall(r"^aws-cli/(2\.\S+)", version)
    assert refusal("x", (), *run(program, ("ecr", "get-login"), nowhere)), "version 1's command"
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = pool.map(lambda call: run(program, call, nowhere), calls)
    refused = {
        call: said
        for (call, place), done in zip(calls.items(), results, strict=True)
        if (said := refusal(place, call, *done))
    }
    figure(
        "AWS's own AWS CLI version 2 accepts every call of the scripts and the pages",
        f"{len(calls) - len(refused)} of {len(calls)} calls, {number}",
    )
    assert refused == {}
