"""An AWS account on loopback with IAM enforced, for tests of the template and the scripts (tests/support/stack_aws.py).

It has no cluster and runs no pipeline. The fixture ``aws`` in tests/conftest.py starts it.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from rehearsal.secret import root_keys
from rehearsal.waiting import until
from tests.support import function
from tests.support.desk import Desk
from tests.support.loopback import reserved_ports
from tests.support.names import ACCOUNT, CLUSTER, REGION, ROLE, STACK, TOKEN
from tests.support.paths import ROOT
from tests.support.shapes import check_answers
from tests.support.template import FILE

OPEN = [function.OPEN]


@dataclass(frozen=True)
class Aws:
    """An account on loopback: its address, the file of the pipeline's records, its root's keys, region and root's clients."""

    url: str
    records: Path
    keys: tuple[str, str]
    roots: dict[str, Any] = field(default_factory=dict)
    region: str = REGION

    def root(self, service: str) -> Any:
        """Return a client of a service, as the account's root user."""
        if service not in self.roots:
            self.roots[service] = self.client(service)
        return self.roots[service]

    def client(self, service: str, **keys: str) -> Any:
        """Return a client of a service with the given keys (``AccessKeyId``, …), by default root's."""
        key, secret_key = (keys["AccessKeyId"], keys["SecretAccessKey"]) if keys else self.keys
        session = boto3.Session(key, secret_key, keys.get("SessionToken"), self.region)
        config = Config(proxies={}, retries={"mode": "standard", "max_attempts": 2})
        return check_answers(session.client(service, endpoint_url=self.url, config=config))  # type: ignore[call-overload]

    def trust(self, role: str = ROLE) -> Any:
        """Return the statements of a role's trust policy."""
        return self.root("iam").get_role(RoleName=role)["Role"]["AssumeRolePolicyDocument"]["Statement"]

    def make_role(self, name: str = ROLE, statements: Any = None) -> None:
        """Create the kubectl role as scripts/create-role.sh does, from trust.json and iam-role-policy.json."""
        trust, policy = (rendered(ROOT / name) for name in ("trust.json", "iam-role-policy.json"))
        if statements:
            trust["Statement"] = statements
        iam = self.root("iam")
        iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust))
        iam.put_role_policy(RoleName=name, PolicyName="eks-describe", PolicyDocument=json.dumps(policy))

    def remove_role(self, name: str) -> None:
        """Delete the kubectl role."""
        iam = self.root("iam")
        iam.delete_role_policy(RoleName=name, PolicyName="eks-describe")
        iam.delete_role(RoleName=name)

    def change(self, verb: str, stack: str, template: str = "", **given: str) -> str:
        """Create or update a stack with a user, a token and the ``given`` parameters; return its final status."""
        self.begin(verb, stack, template, **given)
        return self.settle(stack)

    def begin(self, verb: str, stack: str, template: str = "", **given: str) -> None:
        """Begin to create or update a stack."""
        values = {"GitHubUser": "octocat", "GitHubToken": TOKEN} | given
        getattr(self.root("cloudformation"), f"{verb}_stack")(
            StackName=stack,
            TemplateBody=template or FILE.read_text(encoding="utf-8"),
            Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in values.items()],
            Capabilities=["CAPABILITY_IAM"],
        )

    def create(self, stack: str, **given: str) -> dict[str, str]:
        """Create a stack and return its outputs."""
        assert self.change("create", stack, **given) == "CREATE_COMPLETE", self.reasons(stack)
        return self.outputs(stack)

    def outputs(self, stack: str) -> dict[str, str]:
        """Return the outputs of a stack."""
        (found,) = self.root("cloudformation").describe_stacks(StackName=stack)["Stacks"]
        return {each["OutputKey"]: each["OutputValue"] for each in found["Outputs"]}

    def delete(self, stack: str) -> None:
        """Delete a stack and wait until it is gone."""
        self.root("cloudformation").delete_stack(StackName=stack)
        assert self.settle(stack) == "DELETE_COMPLETE", self.reasons(stack)

    def settle(self, stack: str) -> str:
        """Wait up to two minutes until no operation of a stack is in progress; return its status."""
        status = ""

        def settled() -> bool:
            nonlocal status
            try:
                (found,) = self.root("cloudformation").describe_stacks(StackName=stack)["Stacks"]
            except ClientError:
                found = {"StackStatus": "DELETE_COMPLETE"}
            status = found["StackStatus"]
            return not status.endswith("_IN_PROGRESS")

        until(settled, 120, f"the stack {stack}", lambda: f"It is {status}", pause=0.1)
        return status

    def reasons(self, stack: str) -> str:
        """Return the reasons for which resources of the stack failed."""
        events = self.root("cloudformation").describe_stack_events(StackName=stack)["StackEvents"]
        return "\n".join(each.get("ResourceStatusReason", "") for each in events if "FAILED" in each["ResourceStatus"])

    def act_as(self, role_arn: str, **keys: str) -> dict[str, str]:
        """Assume a role with the given keys and return its credentials."""
        answer = self.client("sts", **keys).assume_role(RoleArn=role_arn, RoleSessionName="test")
        credentials: dict[str, str] = answer["Credentials"]
        return credentials


def rendered(path: Path) -> Any:
    """Read a JSON document and fill in its placeholders."""
    text = path.read_text(encoding="utf-8")
    values = {
        "PARTITION": "aws",
        "ACCOUNT_ID": ACCOUNT,
        "REGION": REGION,
        "CLUSTER_NAME": CLUSTER,
        "KUBECTL_ROLE_NAME": ROLE,
    }
    for name, value in (values | {"STACK_NAME": STACK, "stack_name": STACK}).items():
        text = text.replace(f"<{name}>", value)
    return json.loads(text)


def held(*builds: str) -> list[dict[str, Any]]:
    """The trust policy's statements that allow these roles of builds only."""
    return [function.held(*builds)]


def environment(aws: Aws, **more: str) -> dict[str, str]:
    """The variables of a learner's shell that uses this account."""
    return {
        "AWS_ENDPOINT_URL": aws.url,
        "AWS_ACCESS_KEY_ID": aws.keys[0],
        "AWS_SECRET_ACCESS_KEY": aws.keys[1],
        "AWS_EC2_METADATA_DISABLED": "true",
        "GITHUB_TOKEN": TOKEN,
        "ANSWER": "200 repo",
    } | more


def run(desk: Desk, aws: Aws, script: str, **more: str) -> str:
    """Run a script that must succeed; return its standard output."""
    done = desk.run(script, timeout=240, **environment(aws, **more))
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def refused(call: Callable[..., Any], *args: Any, **kwargs: Any) -> str:
    """Return the error code of a call that must fail."""
    with pytest.raises(ClientError) as caught:
        call(*args, **kwargs)
    return str(caught.value.response["Error"]["Code"])


@contextmanager
def started_account(directory: Path, region: str = REGION) -> Iterator[Aws]:
    """Start AWS on a free port with its state in an empty directory; stop it afterwards."""
    with reserved_ports(1) as port:
        yield from _started(directory, port, region)


def _started(directory: Path, port: int, region: str) -> Iterator[Aws]:
    environment = {"PATH": os.environ["PATH"], "REHEARSAL_PORT": str(port), "XDG_CACHE_HOME": str(directory)}
    environment |= {"TMPDIR": str(directory), "REHEARSAL_REGION": region}
    records, log = directory / "records.json", directory / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.stack_aws", str(records)],
            cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    try:
        _wait_for(port, process, log)
        yield Aws(f"http://127.0.0.1:{port}", records, root_keys(directory / "eks-rehearsal" / "run"), region=region)
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # and the functions' processes
        process.wait(timeout=10)


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    def answers() -> bool:
        if process.poll() is not None:
            raise RuntimeError(log.read_text(encoding="utf-8", errors="replace"))
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            return False
        return True

    until(answers, 30, "AWS on loopback", lambda: log.read_text(encoding="utf-8", errors="replace"), pause=0.1)
