"""A learner's terminal in a checkout with history, for cases that need no cluster (tests/support/symptoms.py)."""

from __future__ import annotations

import json
import os
import shutil
import ssl
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import trustme

from scripts.lib.certify.shell import Shell
from tests.support.account import Aws
from tests.support.faulty_proxy import FaultyProxy
from tests.support.paths import ROOT
from tests.support.worlds import World, world

#: What the commands of a case can call.
FUNCTIONS = Path(__file__).with_name("symptoms.sh")
#: Files of the repository, besides those that the scripts read.
MORE = (".gitattributes", "buildspec.yml", "Dockerfile", ".dockerignore")


@dataclass(frozen=True)
class Learner:
    """The world of a learner, and the variables of their terminals."""

    world: World
    variables: dict[str, str]

    @contextmanager
    def shell(self, has: Sequence[str]) -> Iterator[Shell]:
        """Yield a terminal in a new clone, in an account that has these PARTS; afterwards the account is empty."""
        home = Path(self.variables["HOME"])
        desk, shims = home / "desk", Path(self.variables["SHIMS"])
        for directory in (desk, shims):
            shutil.rmtree(directory, ignore_errors=True)
            directory.mkdir()
        clone = desk / "aws_pipeline"
        git(home, "clone", "--quiet", self.variables["FORK"], str(clone))
        git(clone, "remote", "set-url", "origin", "https://github.com/learner/aws_pipeline.git")
        self.world.fill(*has)
        try:
            with Shell(clone, self.variables) as shell:
                shell.run(f". {FUNCTIONS}; source settings.sh", 10)
                yield shell
        finally:
            self.world.empty()
            (home / ".gitconfig").unlink(missing_ok=True)
            shutil.rmtree(home / ".aws", ignore_errors=True)


@contextmanager
def learner(aws: Aws, home: Path) -> Iterator[Learner]:
    """Yield a learner with a fork, in an account of the emulator; ``home`` is an empty directory.

    At ``$HTML`` any call is answered with a page; at ``$THROTTLED`` and ``$EXPIRED`` it is throttled, or its session has
    expired; ``$OPENED`` answers over TLS, with a certificate of the company whose own is ``company.pem``. A program in
    ``$SHIMS`` hides the tool of that name. The file ``$PLAN`` has the account's plan, if it is not the usual one.
    """
    with ExitStack() as stack:
        proxies = {
            name: stack.enter_context(FaultyProxy(aws.url, plan=lambda _, fault=fault: fault).serving()).url
            for name, fault in {"HTML": "page", "THROTTLED": "throttled", "EXPIRED": "expired"}.items()
        }
        company = trustme.CA()
        company.cert_pem.write_to_path(home / "company.pem")
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        company.issue_cert("127.0.0.1").configure_cert(context)
        proxies["OPENED"] = stack.enter_context(FaultyProxy(aws.url, tls=context).serving()).url
        found = stack.enter_context(world(aws, home))
        variables = dict(found.tracer.environment) | proxies
        del variables["GITHUB_USER"]  # the checkout's origin says it
        yield Learner(
            found,
            variables
            | {
                "AWS_ENDPOINT_URL": aws.url,
                **administrator(aws),
                "ROOT_KEYS": " ".join(aws.keys),
                "FAKES": str(home),
                "FORK": str(fork(found.tracer.checkout, home / "fork.git")),
                "PLAN": str(aws.records.parent / "eks-rehearsal" / "run" / "account-plan"),
                "SHIMS": str(home / "shims"),
                "PATH": f"{home / 'shims'}{os.pathsep}{variables['PATH']}",
            },
        )


def administrator(aws: Aws) -> dict[str, str]:
    """Make the IAM user ``learner`` who may do everything; return the variables with its keys."""
    iam = aws.root("iam")
    iam.create_user(UserName="learner")
    policy = {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}
    iam.put_user_policy(UserName="learner", PolicyName="all", PolicyDocument=json.dumps(policy))
    key = iam.create_access_key(UserName="learner")["AccessKey"]
    return {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}


def fork(checkout: Path, bare: Path) -> Path:
    """Commit what is in a checkout, and return a bare repository of it."""
    for name in MORE:
        shutil.copy(ROOT / name, checkout)
    author = ("-c", "user.name=Ann", "-c", "user.email=ann@example.com")
    git(checkout, "init", "--quiet", "--initial-branch=master")
    git(checkout, "add", "--all")
    git(checkout, *author, "commit", "--quiet", "--message=Fork")
    git(checkout, "clone", "--quiet", "--bare", str(checkout), str(bare))
    return bare


def git(directory: Path, *arguments: str) -> None:
    """Run git."""
    subprocess.run(["git", *arguments], cwd=directory, check=True, capture_output=True, timeout=60)
