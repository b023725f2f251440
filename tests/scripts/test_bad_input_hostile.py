"""Hostile values: in settings, in data from elsewhere, and in the checkout's path.

Each value would create a file named ``pwned`` if a shell evaluated it. Programs receive it as a single word.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from tests.support.aws_auth import ENTRY, config_map
from tests.support.bad_input import IMAGE, USED
from tests.support.bad_input import ROLE as DEPLOYER
from tests.support.desk import SCRIPTS, Desk, copy_of_checkout
from tests.support.fixtures import Figure
from tests.support.hostile import AWKWARD, pwned
from tests.support.names import TOKEN
from tests.support.paths import FAKES, ROOT

HOSTILE = [
    "$(touch pwned)", "`touch pwned`", ";touch pwned", "|touch pwned", "&touch pwned", "\ntouch pwned\n", "';touch pwned;'",
    '";touch pwned;"', "a[$(touch pwned)]", "$(touch${IFS}pwned)", "-rf", "--help", "--endpoint-url=http://127.0.0.1:9", "x y",
    "*", "~root", "%n%s", "../../pwned", "a" * 5000, "\u202eünïcode", "\x1b]0;pwned\x07", "x' || @ || 'x",
]  # fmt: skip

#: When an execution started and ended.
WHEN = "2026-11-23T10:00:00Z"

#: The settings, and the other variables that each script reads.
SETTINGS = ("AWS_REGION", "CLUSTER_NAME", "KUBERNETES_VERSION", "NODE_TYPE", "NODE_COUNT", "AUTHENTICATION_MODE", "KUBECTL_ROLE_NAME",
            "STACK_NAME", "APP_NAMESPACE", "GITHUB_USER", "GITHUB_REPO", "GITHUB_BRANCH")  # fmt: skip
OPTIONAL = {
    "create-stack.sh": ("GITHUB_TOKEN", "CONNECTION_ARN", "CODEBUILD_IMAGE", "STAGING", "APPROVAL_REQUIRED", "FAIL_ON_SEVERITY",
                        "NOTIFICATION_EMAIL"),
    "budget.sh": ("BUDGET_EMAIL", "BUDGET_AMOUNT"),
    "check-github.sh": ("GITHUB_TOKEN", "CONNECTION_ARN", "HTTPS_PROXY"),
    "preflight.sh": ("GITHUB_TOKEN", "CONNECTION_ARN", "STAGING"),
    "authorize-role.sh": ("STAGING", "TMPDIR", "XDG_CACHE_HOME", "AWS_RETRY_MODE", "AWS_MAX_ATTEMPTS", "KUBECONFIG"),
    "create-role.sh": ("TMPDIR", "AWS_PROFILE", "CDPATH", "AWS_DEFAULT_REGION"),
    "build/connect.sh": ("KUBECONFIG", "AWS_PROFILE"),
    "build/deploy.sh": ("KUBECONFIG", "CDPATH", "work", "reported"),
    "dev/venv.sh": ("XDG_CACHE_HOME",),
}  # fmt: skip
#: Names that GitHub and git accept, which are only part of addresses and documents.
ACCEPTED = (("GITHUB_REPO", "-rf"), ("GITHUB_REPO", "--help"), ("GITHUB_BRANCH", "%n%s"))
#: Those that name a directory.
DIRECTORIES = ("TMPDIR", "XDG_CACHE_HOME", "CDPATH")
ARGUMENTS = {
    "build/connect.sh": ("demo", DEPLOYER),
    "build/deploy.sh": (IMAGE,),
    "teardown.sh": ("--yes",),
    "dev/venv.sh": ("scripts",),
}
ALL = ("create-cluster.sh", "create-role.sh", "authorize-role.sh", "create-stack.sh", "status.sh", "preflight.sh", "check-github.sh",
       "leftovers.sh", "teardown.sh", "build/deploy.sh", "build/connect.sh", "setup-cluster.sh")  # fmt: skip


def answering(desk: Desk) -> Desk:
    """Let the tools answer as if every resource existed."""
    desk.answer_as_if_present()
    version = '{"clientVersion": {"minor": "36", "gitVersion": "v1.36.3"},\n "minor": "36"}'
    desk.answer("curl", "--version", stdout="curl 8.5.0\n")
    desk.answer("kubectl", "version", stdout=version)
    desk.answer("kubectl", "get --raw", stdout=IMAGE)
    desk.answer("kubectl", "get configmap/aws-auth", stdout=json.dumps(config_map(ENTRY)))
    return desk


def combinations() -> list[tuple[str, str, str]]:
    """Yield script, variable and value; each setting is tried with two of the scripts that use it."""
    using = {name: [script for script in ALL if name in USED[script]] for name in SETTINGS}
    given = [
        (using[name][(2 * number + each) % len(using[name])], name)
        for number, name in enumerate(SETTINGS)
        for each in range(2)
    ]
    given += [(script, name) for script, names in OPTIONAL.items() for name in names]
    return [(script, name, value) for script, name in given for value in HOSTILE]


def in_place(name: str, value: str, home: Path) -> str:
    """Return the value, or for a variable that names a directory, the path of a directory with that name."""
    if name not in DIRECTORIES or len(value) > 200:
        return value
    directory = home / value.strip("/.")
    directory.mkdir(parents=True, exist_ok=True)
    if name == "XDG_CACHE_HOME":
        cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
        (directory / "eks-rehearsal").symlink_to(cache / "eks-rehearsal")
    return str(directory)


def fault(script: str, name: str, value: str, desk: Desk) -> str:
    """Return what is wrong with a run, or an empty string."""
    environment = {"KUBECONFIG": str(desk.home / "config")} | {name: in_place(name, value, desk.home)}
    done = desk.run(script, *ARGUMENTS.get(script, ()), **environment)
    if done.returncode not in {0, 1, 2}:
        return f"{script} {name}={value[:40]!r} ended with {done.returncode}: {done.stderr}"
    if (name, value) in ACCEPTED:
        return ""
    if name in SETTINGS and (done.returncode, desk.calls(), "\x1b" in done.stderr) != (2, [], False):
        return f"{script} {name}={value[:40]!r} was not refused first: {done.stderr}"
    return ""


@pytest.mark.parametrize("every", [9, pytest.param(1, marks=[pytest.mark.slow, pytest.mark.timeout(900)])])
def test_no_shell_runs_a_value(every: int, tmp_path: Path, figure: Figure) -> None:
    checkout = copy_of_checkout(tmp_path / "checkout")
    tried = combinations()[::every]

    def run(numbered: tuple[int, tuple[str, str, str]]) -> str:
        number, (script, name, value) = numbered
        return fault(script, name, value, answering(Desk(tmp_path / str(number), checkout)))

    with ThreadPoolExecutor(4) as pool:
        assert list(filter(None, pool.map(run, enumerate(tried)))) == []
    found = [file for file in pwned(tmp_path) if not file.is_dir()]
    figure("hostile values in settings and environment are never executed", f"{len(found)} run of {len(tried):,}")
    assert found == []


@pytest.mark.parametrize(
    "script",
    [
        "teardown.sh",
        "authorize-role.sh",
        "build/deploy.sh",
        "build/connect.sh",
        "build/install-kubectl.sh",
        "dev/venv.sh",
        "dev/packages.sh",
    ],
)
def test_no_shell_runs_an_argument(script: str, tmp_path: Path) -> None:
    desk = answering(Desk(tmp_path / "desk", copy_of_checkout(tmp_path / "checkout")))
    for value in HOSTILE:
        if value != "--help" and not (script == "build/install-kubectl.sh" and not value.startswith("-")):
            done = desk.run(script, value, KUBECONFIG=str(tmp_path / "config"))
            assert (done.returncode, desk.calls()) == (2, []), value
            assert len(done.stderr.splitlines()) == 1
            assert done.stderr[:-1].isascii()
            assert done.stderr[:-1].isprintable()
    assert pwned(tmp_path) == []


def test_no_script_evaluates_text() -> None:
    """Shells run only constant code. together.sh runs its arguments, which are constants in buildspec.yml."""
    texts = {
        str(path.relative_to(ROOT / "scripts")): path.read_text(encoding="utf-8")
        for path in sorted((ROOT / "scripts").rglob("*"))
        if path.suffix in {".sh", ".py"}
    }
    handed = [
        (name, line.strip())
        for name, text in texts.items()
        for line in text.splitlines()
        if re.search(r"\beval\b|\b(ba)?sh .*-c |shell=True|os\.system", line)
    ]
    handed = [(name, line) for name, line in handed if not line.startswith("#")]
    assert handed == [
        ("build/together.sh", 'bash -euo pipefail -c "$2" 2>&1 </dev/null | while IFS= read -r line || [[ -n $line ]]; do printf \'%s | %s\\n\' "$1" "$line"; done'),
        ("lib/settings.sh", "problem=$(bash -euo pipefail -c 'source ./settings.sh' 2>&1) || {"),
    ]  # fmt: skip


# --- Data from elsewhere


def git(checkout: Path, *args: str) -> None:
    subprocess.run(["git", "-C", str(checkout), *args], check=True, capture_output=True, timeout=30)


@pytest.mark.parametrize(
    ("url", "branch", "line"),
    [
        (
            "https://github.com/$(touch${IFS}pwned)/x",
            "master",
            r"GITHUB_USER is \$\(touch\$\{IFS\}pwned\): set it to the owner",
        ),
        (
            "https://github.com/a/x;touch${IFS}pwned",
            "master",
            r"GITHUB_REPO is x\;touch\$\{IFS\}pwned: set it to the repository's name",
        ),
        (
            "https://github.com/a/b",
            "$(touch${IFS}pwned)",
            r"GITHUB_BRANCH is \$\(touch\$\{IFS\}pwned\): set it to a branch name",
        ),
        (
            "https://github.com/a/b",
            "x`touch${IFS}pwned`",
            r"GITHUB_BRANCH is x\`touch\$\{IFS\}pwned\`: set it to a branch name",
        ),
    ],
)
def test_rejects_a_hostile_origin(url: str, branch: str, line: str, tmp_path: Path) -> None:
    desk = Desk(tmp_path / "desk", copy_of_checkout(tmp_path / "checkout"))
    git(desk.checkout, "init", "--quiet", "--initial-branch", branch)
    git(desk.checkout, "remote", "add", "origin", url)
    done = desk.run("create-stack.sh", GITHUB_USER="", GITHUB_TOKEN=TOKEN)
    assert (done.returncode, desk.calls()) == (2, [])
    assert done.stderr.startswith(line)
    assert pwned(tmp_path) == []


def test_prints_hostile_commit_messages_as_text(tmp_path: Path) -> None:
    desk = answering(Desk(tmp_path / "desk", copy_of_checkout(tmp_path / "checkout")))
    desk.answer("aws", "describe-stacks", stdout="CREATE_COMPLETE\n")
    rows = [["Succeeded", WHEN, "0123456", "".join(HOSTILE[at::3]).replace("\n", ""), WHEN] for at in range(3)]
    desk.answer("aws", "list-pipeline-executions", stdout=json.dumps(rows))
    done = desk.run("status.sh")
    assert done.returncode == 0, done.stderr
    assert "$(touch pwned)" in done.stdout
    assert done.stdout.replace("\n", "").isprintable(), "terminal escapes must be removed"
    assert pwned(tmp_path) == []


def test_shows_the_commit_message_that_a_connection_wraps(tmp_path: Path) -> None:
    desk = answering(Desk(tmp_path / "desk", copy_of_checkout(tmp_path / "checkout")))
    wrapped = json.dumps({"ProviderType": "GitHub", "CommitMessage": 'Say "hi"\n\nand more'}, separators=(",", ":"))
    messages = (wrapped, wrapped[:40], None)
    rows = [["Succeeded", WHEN, "0123456", message, WHEN] for message in messages]
    desk.answer("aws", "list-pipeline-executions", stdout=json.dumps(rows))
    desk.answer("aws", "describe-stacks", stdout="CREATE_COMPLETE\n")
    done = desk.run("status.sh")
    assert done.returncode == 0, done.stderr
    shown = [line.split("  ")[-1] for line in done.stdout.splitlines() if "0123456" in line]
    assert shown == ['Say "hi"', wrapped[:40], "-"]


def test_hashes_files_with_hostile_names(tmp_path: Path) -> None:
    checkout = copy_of_checkout(tmp_path / "checkout")
    for name in ("Dockerfile", ".dockerignore", "buildspec.yml"):
        shutil.copy(ROOT / name, checkout)
    names = ["-delete", "-rf", "a b", "$(touch pwned)", "new\nline", "'", '"', "\\", "é", "*"]
    for name in names:
        (checkout / name).write_text(name)
    (checkout / ".dockerignore").write_text("*\n" + "".join(f"!{name}\n" for name in names if "\n" not in name))
    desk = Desk(tmp_path / "desk", checkout)
    (desk.home / "bin" / "docker").symlink_to(FAKES / "docker.sh")
    tags = set()
    for name in [*names, ""]:
        done = desk.run("build/content-tag.sh")
        assert done.returncode == 0, done.stderr
        assert re.fullmatch(r"content-[0-9a-f]{32}\nfiles-[0-9a-f]{32}\n", done.stdout)
        tags.add(done.stdout)
        if name:
            (checkout / name).write_text("changed")
    assert len(tags) == len(names) or len(tags) == len(names) + 1, (
        "each file counts (.dockerignore cannot list a name with a newline)"
    )
    assert all((checkout / name).exists() for name in names)
    assert pwned(tmp_path) == []


def test_keeps_hostile_roles_in_aws_auth(tmp_path: Path) -> None:
    desk = answering(Desk(tmp_path / "desk", copy_of_checkout(tmp_path / "checkout")))
    present = [{"rolearn": f"arn:aws:iam::1:role/{value}", "username": value, "groups": [value]} for value in HOSTILE]
    state, cluster = tmp_path / "state", tmp_path / "cluster"
    state.write_text(json.dumps({"writes": 0, "rules": "x", "roles": yaml.safe_dump(present)}))
    cluster.write_text(f'#!/bin/sh\nCLUSTER_STATE="{state}" exec {FAKES}/kubectl.py "$@"\n')
    cluster.chmod(0o755)
    for call in ("get configmap/aws-auth", "patch configmap", "create -f"):
        desk.answer("kubectl", call, real=str(cluster))
    done = desk.run("authorize-role.sh")
    assert done.returncode == 0, done.stderr
    patched = yaml.safe_load(json.loads(state.read_text())["roles"])
    assert patched[:-1] == present
    assert pwned(tmp_path) == []


@pytest.mark.parametrize("value", ["$(touch pwned)", "a[$(touch pwned)]", "-rf", "*"])
def test_survives_hostile_answers_of_aws(value: str, tmp_path: Path) -> None:
    """Values that should be numbers, names of leftovers, and the learner's own name."""
    desk = answering(Desk(tmp_path / "desk", copy_of_checkout(tmp_path / "checkout")))
    desk.answer(
        "aws",
        "describe-instance-type-offerings|get-service-quota|describe-instance-types|Account, Arn|list-stacks",
        stdout=f"{value}\n",
    )
    desk.answer("aws", "get-caller-identity --query Arn ", stdout=f"arn:aws:iam::111122223333:user/{value}\n")
    assert desk.run("preflight.sh").returncode == 1
    assert desk.run("leftovers.sh").returncode == 1
    assert pwned(tmp_path) == []


# --- The checkout's path

REAL = {"create-cluster.sh": (), "create-role.sh": (), "authorize-role.sh": (), "status.sh": (), "preflight.sh": (), "check-github.sh": (),
        "build/deploy.sh": (IMAGE,), "build/connect.sh": ("demo", DEPLOYER), "build/install-kubectl.sh": ("bin",), "build/content-tag.sh": (),
        "dev/venv.sh": ("scripts",), "teardown.sh": ("--yes",), "setup-cluster.sh": ()}  # fmt: skip


@pytest.fixture(scope="module")
def awkward(tmp_path_factory: pytest.TempPathFactory) -> Path:
    checkout = copy_of_checkout(tmp_path_factory.mktemp("path") / AWKWARD / "-x")
    for name in ("Dockerfile", "buildspec.yml", "app.py", "gunicorn.conf.py"):
        shutil.copy(ROOT / name, checkout)
    (checkout / ".dockerignore").write_text("*\n!app.py\n!gunicorn.conf.py\n")
    return checkout


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_in_an_awkward_checkout(script: str, awkward: Path, tmp_path: Path) -> None:
    done = Desk(tmp_path / "desk", awkward).run(script, "-h", CDPATH=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert f"Usage: scripts/{script}" in done.stdout
    assert pwned(awkward.parent.parent, tmp_path) == []


@pytest.mark.parametrize("script", REAL)
def test_run_in_an_awkward_checkout(script: str, awkward: Path, tmp_path: Path) -> None:
    """Called by its full path from another directory, with an equally awkward TMPDIR."""
    desk = answering(Desk(tmp_path / f"desk {AWKWARD}", awkward))
    (desk.home / "bin" / "docker").symlink_to(FAKES / "docker.sh")
    decoy = tmp_path / "decoy" / "scripts"
    decoy.mkdir(parents=True)
    done = desk.run(script, *REAL[script], CDPATH=str(decoy.parent), KUBECONFIG=str(desk.home / "config"))
    if script != "teardown.sh":  # which still finds the stand-ins' cluster
        assert (done.returncode, done.stderr.replace("the previous aws-auth is saved in ", "")[:1]) in (
            (0, ""),
            (0, "/"),
        ), done.stderr
    else:
        assert not re.search(r"No such file|syntax error|not found|cannot", done.stderr), done.stderr
    assert pwned(awkward.parent.parent, tmp_path) == []
