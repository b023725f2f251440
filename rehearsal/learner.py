"""What the rehearsal gives its learner: an IAM user, a checkout of the tutorial, and a shell environment to work in.

The user has only the rights that the tutorial asks for. The environment alone directs the tutorial's files to AWS and
GitHub on this machine. Everything in it is an ordinary setting of the AWS CLI, curl, git or kubectl, and no file of the
tutorial knows about any of this.
"""

from __future__ import annotations

import json
import os
import secrets
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from rehearsal import secret, waiting
from rehearsal.docker import engine
from rehearsal.emulator.client import root, wait_until_ready
from rehearsal.secret import root_keys
from rehearsal.settings import VARIABLES, inherited, settings

#: The learner's GitHub account, and the repository and the branch in it.
OWNER = "learner"
REPOSITORY = "aws_pipeline"
BRANCH = "master"

#: The learner's IAM user, and the documents of its policies.
USER = "learner"
POLICIES = settings.root / "docs" / "policies"

#: Variables that the learner's commands inherit from the shell that started the rehearsal; all others are left out, so
#: that a run does not depend on them.
KEPT = (
    "HOME",
    "LANG",
    "LC_ALL",
    "TERM",
    "USER",
    "LOGNAME",
    "TZ",
    *VARIABLES,
)

_CREDENTIAL_HELPER = '!f() { echo "username=x-access-token"; echo "password=$GITHUB_TOKEN"; }; f'


def create_user() -> Mapping[str, str]:
    """Wait for AWS, create the user with its policies, and return a new access key for it.

    Raises:
        TimeoutError: AWS does not answer.
        botocore.exceptions.ClientError: IAM rejects a policy.
    """
    wait_until_ready()
    iam = root("iam")
    iam.create_user(UserName=USER)
    for path in sorted(POLICIES.glob("*.json")):
        policy = iam.create_policy(PolicyName=f"tutorial-{path.stem}", PolicyDocument=_policy(path.stem))["Policy"]
        iam.attach_user_policy(UserName=USER, PolicyArn=policy["Arn"])
    key: Mapping[str, str] = iam.create_access_key(UserName=USER)["AccessKey"]
    return key


def _policy(name: str) -> str:
    """Return what scripts/learner-policy.sh prints to an administrator."""
    key, secret_key = root_keys(settings.run)
    environment = settings_environment({"AccessKeyId": key, "SecretAccessKey": secret_key}, "")
    return subprocess.run(
        ["scripts/learner-policy.sh", name],
        cwd=settings.root, env=environment | {"TMPDIR": tempfile.gettempdir()}, check=True, stdout=subprocess.PIPE, text=True,
    ).stdout  # fmt: skip


def new_token() -> str:
    """Return a token in the format of GitHub's classic ones: ``ghp_`` and 36 characters."""
    return "ghp_" + secrets.token_hex(18)


def settings_environment(access_key: Mapping[str, str], token: str) -> dict[str, str]:
    """Return the variables that direct the learner's tools to this machine, with the learner's credentials."""
    path = [
        str(settings.root / "rehearsal" / "bin"),
        str(settings.venv_bin),
        str(settings.bin),
        os.environ.get("PATH", os.defpath),
    ]
    return settings.client_environment() | {
        "PATH": os.pathsep.join(path),
        "AWS_ACCESS_KEY_ID": access_key["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": access_key["SecretAccessKey"],
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_PAGER": "",
        "KUBECONFIG": str(settings.kubeconfig),
        # So that files that the scripts keep, such as aws-auth before a change, are removed with the rehearsal.
        "TMPDIR": str(settings.run / "tmp"),
        "DOCKER_HOST": f"unix://{settings.docker_socket}",
        # Where Docker and curl find the files of write_client_files.
        "DOCKER_CONFIG": str(settings.run / "client"),
        "CURL_HOME": str(settings.run / "client"),
        "GITHUB_TOKEN": token,
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "credential.helper",
        "GIT_CONFIG_VALUE_0": _CREDENTIAL_HELPER,
        "GIT_TERMINAL_PROMPT": "0",
    }


def environment(access_key: Mapping[str, str], token: str) -> dict[str, str]:
    """Return the whole environment of a command that the learner runs."""
    return inherited(KEPT) | settings_environment(access_key, token)


def write_environment(access_key: Mapping[str, str], token: str) -> Path:
    """Write RUN/env for a shell to ``eval``; readable only by its owner, since it holds keys."""
    path = settings.run / "env"
    variables = settings_environment(access_key, token) | {"REHEARSAL_CHECKOUT": str(checkout_path())}
    secret.write(path, "".join(f"export {name}={shlex.quote(value)}\n" for name, value in variables.items()))
    return path


def remember(access_key: Mapping[str, str], token: str) -> None:
    """Save the credentials, so that ``recall`` can return them in another process of the same user."""
    known = {"access_key": dict(access_key), "token": token}
    secret.write(settings.run / "learner.json", json.dumps(known, default=str))


def write_client_files() -> None:
    """Write what bridges the engine's own network: a proxy for RUN steps, and its address for a published port 8080."""
    directory = settings.run / "client"
    directory.mkdir()
    proxies = {"default": {"httpsProxy": engine.proxy_url(), "noProxy": "127.0.0.1,localhost"}}
    (directory / "config.json").write_text(json.dumps({"proxies": proxies}), encoding="utf-8")
    (directory / ".curlrc").write_text(f'connect-to = "localhost:8080:{settings.engine_ip}:8080"\n', encoding="utf-8")


def recall() -> dict[str, str]:
    """Return the environment of the running rehearsal's learner.

    Raises:
        FileNotFoundError: no rehearsal is running.
    """
    kept = json.loads((settings.run / "learner.json").read_text(encoding="utf-8"))
    return environment(kept["access_key"], kept["token"])


def checkout_path() -> Path:
    """Return the directory of the learner's clone."""
    return settings.run / "learner" / REPOSITORY


def make_checkout(env: Mapping[str, str], source: Path | None = None) -> Path:
    """Copy ``source``, or the tutorial's files as they are now, into the learner's clone and push a first commit.

    Raises:
        subprocess.CalledProcessError: git failed.
    """
    target = checkout_path()
    if source:
        shutil.copytree(source, target, symlinks=True)
    else:
        copy_files(settings.root, files_of(settings.root), target)
    for args in (
        ["init", "--quiet", f"--initial-branch={BRANCH}"],
        ["config", "user.name", "A Learner"],
        ["config", "user.email", "learner@example.com"],
        ["remote", "add", "origin", f"https://github.com/{OWNER}/{REPOSITORY}.git"],
        ["add", "--all"],
        ["commit", "--quiet", "--message", "Start from the tutorial"],
        ["push", "--quiet", "--set-upstream", "origin", BRANCH],
    ):
        subprocess.run(
            ["git", *args], cwd=target, env=dict(env), check=True, capture_output=True, timeout=waiting.bound(60)
        )
    return target


def copy_files(root: Path, names: Iterable[str], target: Path) -> None:
    """Copy files of ``root`` to the same places below ``target``, symbolic links as such."""
    for name in names:
        copy = target / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(root / name, copy, follow_symlinks=False)


def listed_by_git(root: Path, *options: str) -> list[str] | None:
    """Return what git ls-files lists below ``root``; nothing if it is in no git repository.

    Git refuses a checkout that belongs to another user, as for root in a learner's checkout, unless it is declared safe.
    Its scripts run anyway.
    """
    listed = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z", *options],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=waiting.bound(60),
        check=False,
    )
    return [name for name in listed.stdout.split("\0") if name] if listed.returncode == 0 else None


def files_of(root: Path) -> list[str]:
    """List the files that git tracks or would track, relative to ``root``; all files if it is in no git repository."""
    names = listed_by_git(root, "--cached", "--others", "--exclude-standard")
    if names is None:
        names = [str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()]
    return [name for name in names if (root / name).is_file()]
