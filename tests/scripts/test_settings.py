"""settings.sh has one default per setting, respects the environment, and reads the repository from the origin."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
from pathlib import Path

import pytest

from tests.support.names import TOKEN
from tests.support.parameter_values import ACCEPTED, HOSTILE, REFUSED, SUPPORTED_IMAGES
from tests.support.paths import ROOT
from tests.support.template import TEMPLATE

DEFAULTS = {
    "AWS_REGION": "us-east-2",
    "CLUSTER_NAME": "eksctl-demo",
    "KUBERNETES_VERSION": "1.36",
    "NODE_TYPE": "t3.medium",
    "NODE_COUNT": "2",
    "AUTHENTICATION_MODE": "API_AND_CONFIG_MAP",
    "KUBECTL_ROLE_NAME": "UdacityFlaskDeployCBKubectlRole",
    "STACK_NAME": "aws-pipeline",
    "APP_NAMESPACE": "hello-world",
    "GITHUB_USER": "",
    "GITHUB_REPO": "aws_pipeline",
    "GITHUB_BRANCH": "master",
}


def source(checkout: Path, **environment: str) -> dict[str, str]:
    """Return what settings.sh sets, as the scripts export it."""
    code = 'set -euo pipefail -o allexport; source "$1"; exec env -0'
    base = {"PATH": os.environ["PATH"], "HOME": str(checkout), "GIT_CEILING_DIRECTORIES": str(checkout.parent)}
    done = subprocess.run(
        ["bash", "-c", code, "-", str(checkout / "settings.sh")],
        env=base | environment, capture_output=True, text=True, check=True, timeout=30,
    )  # fmt: skip
    assert done.stderr == ""
    return dict(pair.split("=", 1) for pair in done.stdout.split("\0") if pair)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A directory with settings.sh, outside any repository."""
    target = tmp_path / "a checkout"
    target.mkdir()
    (target / "settings.sh").write_bytes((ROOT / "settings.sh").read_bytes())
    return target


def git(checkout: Path, *args: str) -> None:
    subprocess.run(["git", "-C", str(checkout), *args], check=True, capture_output=True, timeout=30)


def test_defaults(checkout: Path) -> None:
    found = source(checkout)
    assert {name: found[name] for name in DEFAULTS} == DEFAULTS
    assert found["AWS_DEFAULT_REGION"] == "us-east-2"


@pytest.mark.parametrize("name", sorted(DEFAULTS))
def test_environment_wins(name: str, checkout: Path) -> None:
    assert source(checkout, **{name: "other"})[name] == "other"


def test_region_wins_over_default_region(checkout: Path) -> None:
    found = source(checkout, AWS_REGION="eu-west-1", AWS_DEFAULT_REGION="us-west-2")
    assert (found["AWS_REGION"], found["AWS_DEFAULT_REGION"]) == ("eu-west-1", "eu-west-1")


def in_terminal(checkout: Path, *lines: str) -> str:
    """Return what a learner's terminal prints that has read settings.sh, by lines typed after that."""
    base = {"PATH": os.environ["PATH"], "HOME": str(checkout), "GIT_CEILING_DIRECTORIES": str(checkout.parent)}
    script = "\n".join(["source settings.sh", *lines])
    done = subprocess.run(["bash", "-c", script], cwd=checkout, env=base, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout


EDIT = "sed -i.bak 's/NODE_COUNT:=2/NODE_COUNT:=5/' settings.sh"
SCRIPT = "bash -c 'set -o allexport; source settings.sh; printenv NODE_COUNT'"


def test_edit_counts_in_a_terminal_that_has_read_the_file(checkout: Path) -> None:
    assert in_terminal(checkout, 'echo "$NODE_COUNT"', EDIT, SCRIPT) == "2\n5\n"
    assert in_terminal(checkout, "source settings.sh", 'echo "$NODE_COUNT $AWS_DEFAULT_REGION"') == "5 us-east-2\n"


def test_terminal_gets_no_functions(checkout: Path) -> None:
    assert in_terminal(checkout, "declare -F") == ""


def test_export_wins_over_an_edit(checkout: Path) -> None:
    printed = in_terminal(checkout, "export NODE_COUNT=3", EDIT, SCRIPT, "source settings.sh", 'echo "$NODE_COUNT"')
    assert printed == "3\n3\n"


def test_every_setting_is_read_again(checkout: Path) -> None:
    change = "sed -i.bak 's/^: \"\\(\\${[A-Z_]*:=\\)[^}]*/: \"\\1changed/' settings.sh; source settings.sh"
    shown = in_terminal(checkout, change, f"printf '%s\n' {' '.join(f'${name}' for name in DEFAULTS)}")
    assert shown.split() == ["changed"] * 12


def test_twelve_values_at_most_and_no_secret(checkout: Path) -> None:
    text = (checkout / "settings.sh").read_text()
    assert set(re.findall(r"\$\{([A-Z_]+):=", text)) == set(DEFAULTS)
    assert len(DEFAULTS) <= 12
    assert not re.search(r"\d{12}", text)


def test_template_defaults_equal_the_settings() -> None:
    defaults = {name: parameter.get("Default", "") for name, parameter in TEMPLATE["Parameters"].items()}
    pairs = {
        "EksClusterName": "CLUSTER_NAME",
        "AppNamespace": "APP_NAMESPACE",
        "KubectlRoleName": "KUBECTL_ROLE_NAME",
        "GitHubUser": "GITHUB_USER",
        "GitSourceRepo": "GITHUB_REPO",
        "GitBranch": "GITHUB_BRANCH",
    }
    assert {name: defaults[name] for name in pairs} == {name: DEFAULTS[setting] for name, setting in pairs.items()}


def test_every_template_parameter_comes_from_a_script(tmp_path: Path) -> None:
    present = tmp_path / "present.json"
    present.write_text(json.dumps([{"ParameterKey": name, "ParameterValue": ""} for name in TEMPLATE["Parameters"]]))
    done = subprocess.run(
        ["python3", "scripts/lib/stack_parameters.py", "update-stack", str(present)], cwd=ROOT, input="",
        capture_output=True, text=True, env={"PATH": os.environ["PATH"]}, check=True, timeout=30,
    )  # fmt: skip
    assert {row["ParameterKey"] for row in json.loads(done.stdout)} == set(TEMPLATE["Parameters"])


@pytest.mark.parametrize(
    "url",
    ["https://github.com/octocat/my.repo.git", "https://github.com/octocat/my.repo", "https://github.com/octocat/my.repo/",
     "https://github.com/octocat/my.repo.git//", "https://github.com//octocat/my.repo", "https://www.github.com/octocat/my.repo",
     "https://GitHub.com/octocat/my.repo", "HTTPS://github.com/octocat/my.repo", "https://github.com:443/octocat/my.repo",
     "https://octocat:secret@github.com/octocat/my.repo.git", "https://octocat:secret@github.com@github.com/octocat/my.repo",
     "git@github.com:octocat/my.repo.git", "git@github.com:/octocat/my.repo", "github.com:octocat/my.repo",
     "git@GITHUB.COM:octocat/my.repo", "git@github.com-work:octocat/my.repo.git", "github.com-work:octocat/my.repo",
     "ssh://git@github.com/octocat/my.repo.git", "ssh://git@github.com:22/octocat/my.repo", "ssh://github.com-work/octocat/my.repo",
     "ssh://git@ssh.github.com:443/octocat/my.repo.git", "git+ssh://git@github.com/octocat/my.repo", "git://github.com/octocat/my.repo"],
)  # fmt: skip
def test_origin_gives_the_repository(url: str, checkout: Path) -> None:
    git(checkout, "init", "--quiet", "--initial-branch", "trunk")
    git(checkout, "remote", "add", "origin", url)
    found = source(checkout)
    assert (found["GITHUB_USER"], found["GITHUB_REPO"], found["GITHUB_BRANCH"]) == ("octocat", "my.repo", "trunk")
    assert "secret" not in found.values()


def test_origins_default_branch_wins_over_the_one_checked_out(checkout: Path) -> None:
    git(checkout, "init", "--quiet", "--initial-branch", "my-change")
    git(checkout, "remote", "add", "origin", "https://github.com/octocat/aws_pipeline")
    git(checkout, "symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/main")
    assert source(checkout)["GITHUB_BRANCH"] == "main"


@pytest.mark.parametrize(
    "url",
    ["https://gitlab.com/octocat/x", "/srv/git/x", "https://github.com/octocat", "https://github.com/octocat/x/y",
     "https://notgithub.com/octocat/x", "https://github.com.example/octocat/x", "https://github.com-work/octocat/x",
     "https://example.com/github.com/octocat/x", "https://github.com:secret@example.com/octocat/x", "https://github.comx/octocat/x",
     "git@notgithub.com:octocat/x", "git@work:octocat/x", "/srv/github.com/octocat/x", "/srv/github.com:octocat/x", "./github.com/octocat/x",
     "file:///github.com/octocat/x", "file://github.com/octocat/x", "ssh://git@gist.github.com/octocat/x"],
)  # fmt: skip
def test_other_origins_are_ignored(url: str, checkout: Path) -> None:
    git(checkout, "init", "--quiet", "--initial-branch", "trunk")
    git(checkout, "remote", "add", "origin", url)
    found = source(checkout)
    assert (found["GITHUB_USER"], found["GITHUB_REPO"], found["GITHUB_BRANCH"]) == ("", "aws_pipeline", "master")


@pytest.mark.parametrize("host", ["github.com", "ssh.github.com"])
def test_origin_may_name_any_alias_of_ssh(host: str, checkout: Path) -> None:
    ssh = checkout / "bin" / "ssh"
    ssh.parent.mkdir()
    ssh.write_text(f'#!/bin/sh\n[ "$*" = "-G -- work" ] && echo "user git\nhostname {host}\nport 443"\n')
    ssh.chmod(0o755)
    git(checkout, "init", "--quiet", "--initial-branch", "trunk")
    git(checkout, "remote", "add", "origin", "git@work:octocat/my.repo.git")
    assert source(checkout, PATH=f"{ssh.parent}:{os.environ['PATH']}")["GITHUB_USER"] == "octocat"


def test_origin_is_what_git_makes_of_it(checkout: Path) -> None:
    """An abbreviation in git's own settings (git-config, url.<base>.insteadOf)."""
    git(checkout, "init", "--quiet", "--initial-branch", "trunk")
    git(checkout, "remote", "add", "origin", "gh:octocat/my.repo")
    git(checkout, "config", "url.git@github.com:.insteadOf", "gh:")
    assert source(checkout)["GITHUB_REPO"] == "my.repo"


def test_checkout_of_no_branch_leaves_the_branch_at_its_default(checkout: Path) -> None:
    """As CI systems check out; the scripts end at any command that fails."""
    git(checkout, "init", "--quiet", "--initial-branch", "trunk")
    git(checkout, "-c", "user.name=x", "-c", "user.email=x", "commit", "--quiet", "--allow-empty", "--message", "x")
    git(checkout, "checkout", "--quiet", "--detach")
    git(checkout, "remote", "add", "origin", "https://github.com/octocat/my.repo")
    found = source(checkout)
    assert (found["GITHUB_USER"], found["GITHUB_BRANCH"]) == ("octocat", "master")


def test_checkout_may_belong_to_another_user(checkout: Path) -> None:
    """As in a container, or under sudo; git would refuse other commands there."""
    git(checkout, "init", "--quiet", "--initial-branch", "trunk")
    git(checkout, "remote", "add", "origin", "https://github.com/octocat/my.repo")
    for path in (checkout, *checkout.rglob("*")):
        os.chown(path, 12345, 12345)
    assert source(checkout)["GITHUB_USER"] == "octocat"


def test_value_in_the_file_wins_over_the_origin(checkout: Path) -> None:
    git(checkout, "init", "--quiet", "--initial-branch", "my-change")
    git(checkout, "remote", "add", "origin", "https://github.com/octocat/aws_pipeline")
    file = checkout / "settings.sh"
    file.write_text(file.read_text().replace("${GITHUB_BRANCH:=}", "${GITHUB_BRANCH:=release}"))
    found = source(checkout)
    assert (found["GITHUB_USER"], found["GITHUB_REPO"], found["GITHUB_BRANCH"]) == (
        "octocat",
        "aws_pipeline",
        "release",
    )


def test_origin_of_a_repository_around_the_checkout_is_ignored(checkout: Path) -> None:
    """The files of a ZIP download, unpacked in a checkout of something else."""
    git(checkout.parent, "init", "--quiet", "--initial-branch", "trunk")
    git(checkout.parent, "remote", "add", "origin", "https://github.com/someone/else")
    found = source(checkout, GIT_CEILING_DIRECTORIES="")
    assert (found["GITHUB_USER"], found["GITHUB_REPO"], found["GITHUB_BRANCH"]) == ("", "aws_pipeline", "master")


def test_work_tree_has_the_origin_of_its_repository(checkout: Path) -> None:
    main = checkout.parent / "main"
    git(checkout.parent, "init", "--quiet", "--initial-branch", "trunk", str(main))
    git(main, "remote", "add", "origin", "https://github.com/octocat/aws_pipeline")
    git(main, "-c", "user.name=x", "-c", "user.email=x", "commit", "--quiet", "--allow-empty", "--message", "x")
    git(main, "worktree", "add", "--quiet", str(checkout.parent / "tree"))
    (checkout.parent / "tree" / "settings.sh").write_bytes((ROOT / "settings.sh").read_bytes())
    assert source(checkout.parent / "tree")["GITHUB_USER"] == "octocat"


# --- The scripts' checks and the template's patterns

SETTING = {
    "EksClusterName": "CLUSTER_NAME",
    "AppNamespace": "APP_NAMESPACE",
    "GitSourceRepo": "GITHUB_REPO",
    "GitBranch": "GITHUB_BRANCH",
    "GitHubToken": "GITHUB_TOKEN",
    "GitHubUser": "GITHUB_USER",
    "KubectlRoleName": "KUBECTL_ROLE_NAME",
    "ConnectionArn": "CONNECTION_ARN",
    "NotificationEmail": "NOTIFICATION_EMAIL",
    "CodeBuildDockerImage": "CODEBUILD_IMAGE",
    "Staging": "STAGING",
    "ApprovalRequired": "APPROVAL_REQUIRED",
    "FailOnSeverity": "FAIL_ON_SEVERITY",
}
CHECK = """\
refuse() { exit 2; }
source scripts/lib/settings.sh
source scripts/lib/checks.sh
source "$1"
while IFS= read -r -d '' name && IFS= read -r -d '' value; do
  (
    printf -v "$name" %s "$value"
    case $name in
      GITHUB_TOKEN | CONNECTION_ARN) check_source ;;
      CODEBUILD_IMAGE | STAGING | APPROVAL_REQUIRED | FAIL_ON_SEVERITY | NOTIFICATION_EMAIL) check_stack_options ;;
      *) check_setting "$name" ;;
    esac
  ) && echo accepted || echo refused
done
"""


def accepted_by_scripts(samples: list[tuple[str, str]], checkout: Path) -> list[bool]:
    """Return whether the scripts accept each setting with its value."""
    done = subprocess.run(
        ["bash", "-c", CHECK, "-", str(checkout / "settings.sh")], cwd=ROOT, capture_output=True, check=True, timeout=120,
        input="".join(f"{SETTING.get(name, name)}\0{value}\0" for name, value in samples).encode(),
        env={"PATH": os.environ["PATH"], "GITHUB_USER": "octocat", "GIT_CEILING_DIRECTORIES": str(checkout.parent)},
    )  # fmt: skip
    return [line == b"accepted" for line in done.stdout.splitlines()]


def accepted_by_template(name: str, value: str) -> bool:
    parameter = TEMPLATE["Parameters"][name]
    if "AllowedValues" in parameter:
        return value in parameter["AllowedValues"]
    return bool(
        re.fullmatch(parameter["AllowedPattern"], value, re.ASCII)
    )  # to Java, the classes of characters are ASCII


TYPOS = [*map(chr, range(1, 128)), "é", "..", "//", "/.", ".lock", ".lock/", ".git", "@{", "--"]


def with_typo(value: str, typo: str, pick: random.Random) -> str:
    """Return the value with other text in it, in place of a character or between two."""
    place = pick.randrange(len(value) + 1)
    return value[:place] + typo + value[place + pick.randrange(2) :]


def samples() -> list[tuple[str, str]]:
    """Return good values, bad ones, and good ones with a typo. Omits empty values, which mean the default, and NULs."""
    pick = random.Random(20261123)  # noqa: S311 (not a secret)
    accepted = {name: values for name, values in ACCEPTED.items() if name in SETTING}
    found = [(name, value) for name in accepted for value in accepted[name] + REFUSED[name] + HOSTILE]
    for name, values in accepted.items():
        good = [value for value in values if value]
        found += [(name, with_typo(pick.choice(good), character, pick)) for character in TYPOS for _ in range(2)]
    images = [*SUPPORTED_IMAGES, "aws/codebuild/standard:4.0", "ubuntu", "aws/codebuild/standard:8x0", *HOSTILE]
    found += [("CodeBuildDockerImage", image) for image in images]
    found += [
        (name, value)
        for name in ("ApprovalRequired", "Staging")
        for value in ["true", "false", "True", "yes", "1", *HOSTILE]
    ]
    found += [
        ("FailOnSeverity", value)
        for value in ["NONE", "LOW", "MEDIUM", "HIGH", "CRITICAL", "high", "INFORMATIONAL", *HOSTILE]
    ]
    return [(name, value) for name, value in found if value and "\0" not in value]


def test_scripts_and_template_agree(checkout: Path) -> None:
    tried = samples()
    by_scripts = accepted_by_scripts(tried, checkout)
    assert len(by_scripts) == len(tried) > 2000
    by_template = [accepted_by_template(*sample) for sample in tried]
    assert [sample for sample, one, other in zip(tried, by_scripts, by_template, strict=True) if one != other] == []
    assert {name for (name, _), good in zip(tried, by_scripts, strict=True) if good} == set(SETTING), (
        "each setting has an accepted value"
    )


#: Values of settings that are no parameter of the template: regions of each partition, large types, the longest name.
OTHERS = {
    "AWS_REGION": [
        "us-east-2",
        "ap-southeast-7",
        "us-gov-west-1",
        "cn-northwest-1",
        "eusc-de-east-1",
        "us-isob-east-1",
    ],
    "KUBERNETES_VERSION": ["1.10", "1.36", "1.99"],
    "NODE_TYPE": ["t3.medium", "u7inh-32tb.480xlarge", "mac2-m1ultra.metal", "c7gd.metal-48xl"],
    "NODE_COUNT": ["1", "9", "10", "99"],
    "AUTHENTICATION_MODE": ["API", "API_AND_CONFIG_MAP", "CONFIG_MAP"],
    "STACK_NAME": ["a", "A-1", "a" * 100],
}


def test_accepts_each_value_of_the_other_settings(checkout: Path) -> None:
    tried = [(name, value) for name, values in OTHERS.items() for value in values]
    assert [sample for sample, good in zip(tried, accepted_by_scripts(tried, checkout), strict=True) if not good] == []
    assert set(OTHERS) == set(DEFAULTS) - set(SETTING.values())


def test_every_parameter_is_compared() -> None:
    looked_up = {"KubectlRoleId"}  # by create-stack.sh
    assert set(SETTING) == set(TEMPLATE["Parameters"]) - looked_up
    assert TOKEN in ACCEPTED["GitHubToken"]
