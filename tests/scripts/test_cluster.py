"""create-cluster.sh, authorize-role.sh and teardown.sh: which commands they run, in which order, and when none."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from scripts.lib.cost import VOLUME_GB
from tests.support.desk import IDENTITY, NO_STAGING, Desk, copy_of_checkout
from tests.support.names import ROLE_ARN as ROLE
from tests.support.paths import FAKES, ROOT

ABSENT = "An error occurred (ResourceNotFoundException) when calling the DescribeCluster operation: No cluster found\n"
NO_STACK = (
    "An error occurred (ValidationError) when calling the DescribeStacks operation: Stack with id x does not exist\n"
)
NO_ROLE = "An error occurred (NoSuchEntity) when calling the GetRole operation: no such role\n"
NOT_FOUND = 'Error from server (NotFound): configmaps "aws-auth" not found\n'
CONFLICT = 'Error from server (Conflict): Operation cannot be fulfilled on configmaps "aws-auth": the object has been modified\n'
MADE = "2026-11-25T10:00:00+00:00"
KUBECTL = f'CLUSTER_STATE="{{}}/cluster" exec {FAKES}/kubectl.py "$@"'
CHANGES = ("create", "delete", "update", "put", "apply", "patch", "label", "continue")


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A checkout under a path with a space; the cluster exists and the stack does not."""
    desk = Desk(tmp_path / "desk", copy_of_checkout(tmp_path / "my checkout"))
    desk.answer(*IDENTITY[:2], **IDENTITY[2])
    desk.answer("aws", "describe-cluster .*status", stdout="ACTIVE\n")
    desk.answer("aws", "describe-cluster .*authenticationMode", stdout="API_AND_CONFIG_MAP\n")
    desk.answer("aws", "describe-stacks", stderr=NO_STACK, code=254)
    desk.answer("aws", "get-role", stderr=NO_ROLE, code=254)
    nodes(desk, "Ready", "Ready,SchedulingDisabled")
    addons(desk, "coredns", "kube-proxy", "metrics-server", "vpc-cni")
    desk.answer("kubectl", "get namespace", stdout="hello-world restricted")
    desk.answer("kubectl", NO_STAGING, stdout="")
    desk.answer("kubectl", "create -f .*reviews.json", real=str(FAKES / "reviews.py"))
    desk.answer("aws", "describe-access-entry", stderr=ABSENT, code=254)
    return desk


def nodes(desk: Desk, *states: str) -> None:
    """Let the cluster have nodes in these states."""
    names = [f"node-{number}" for number in range(1, len(states) + 1)]
    lines = [f"{name}   {state}   <none>   1m   v1.36.3\n" for name, state in zip(names, states, strict=True)]
    desk.answer("kubectl", "get nodes --no-headers", stdout="".join(lines))
    desk.answer("kubectl", "get nodes --output name", stdout="".join(f"node/{name}\n" for name in names))


def addons(desk: Desk, *names: str) -> None:
    """Let the cluster have these add-ons."""
    desk.answer("aws", "list-addons", stdout="\t".join(names) + "\n")


def states(desk: Desk, stack: str, *found: str) -> None:
    """Let a stack have one state after the other; it is absent after the last, and stays in the last before."""
    file, program = desk.home / f"{stack}.states", desk.home / f"{stack}.sh"
    file.write_text("".join(f"{state}\n" for state in found))
    program.write_text(
        f'#!/bin/sh\nhead -n 1 "{file}" | grep . && {{ [ "$(wc -l <"{file}")" -lt 2 ] || sed -i 1d "{file}"; exit 0; }}\n'
        f'echo "{NO_STACK.strip()}" >&2\nexit 254\n'
    )
    program.chmod(0o755)
    desk.answer("aws", f"describe-stacks --stack-name {stack} ", real=str(program))


def after(desk: Desk, tool: str, pattern: str, *lines: str) -> None:
    """Run shell commands when a tool is called."""
    program = desk.home / f"after-{len(desk.rules)}"
    program.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    program.chmod(0o755)
    desk.answer(tool, pattern, real=str(program))


def commands(desk: Desk) -> list[str]:
    """Return the calls as lines, without the options common to all."""
    lines = [" ".join(call) for call in desk.calls()]
    options = "--cli-connect-timeout 10 --cli-read-timeout 60 |--kubeconfig [^ ]+/kubeconfig --request-timeout=30s "
    return [re.sub(options, "", line) for line in lines]


def changing(desk: Desk) -> list[str]:
    return [
        line
        for line in commands(desk)
        if any(word.startswith(CHANGES) for word in line.split()[1:4]) and not re.search("kubeconfig|reviews", line)
    ]


def in_turn(desk: Desk, tool: str, pattern: str, first: str, then: str) -> None:
    """Let a tool run one command of sh at the first such call, and another one at each later call."""
    program = desk.home / "in-turn"
    program.write_text(f'#!/bin/sh\nif [ -e "$0.asked" ]; then {then}; exit; fi\n: >"$0.asked"\n{first}\n')
    program.chmod(0o755)
    desk.answer(tool, pattern, real=str(program))


def test_absent_cluster_is_created_from_a_config_file(desk: Desk) -> None:
    desk.answer("aws", "describe-cluster", stderr=ABSENT, code=254)
    seen = desk.home / "config.yml"
    spy = desk.home / "spy"
    spy.write_text(f'#!/bin/sh\ncp "$4" {seen}\n')
    spy.chmod(0o755)
    desk.answer("eksctl", "create cluster", real=str(spy))
    nodes(desk, "Ready", "Ready", "Ready")
    done = desk.run("create-cluster.sh", NODE_TYPE="t3.large", NODE_COUNT="3", AUTHENTICATION_MODE="API")
    assert done.returncode == 0, done.stderr
    assert yaml.safe_load(seen.read_text()) == {
        "apiVersion": "eksctl.io/v1alpha5",
        "kind": "ClusterConfig",
        "metadata": {"name": "eksctl-demo", "region": "us-east-2", "version": "1.36"},
        "upgradePolicy": {"supportType": "STANDARD"},
        "accessConfig": {"authenticationMode": "API"},
        "vpc": {"nat": {"gateway": "Disable"}},
        "addons": [{"name": name} for name in ("vpc-cni", "kube-proxy", "coredns", "metrics-server")],
        "managedNodeGroups": [
            {
                "name": "nodes", "amiFamily": "AmazonLinux2023", "instanceType": "t3.large", "desiredCapacity": 3,
                "minSize": 3, "maxSize": 3, "volumeSize": VOLUME_GB, "volumeType": "gp3", "volumeEncrypted": True,
                "disablePodIMDS": True,
            }
        ],
    }  # fmt: skip
    assert [line.split(" -f")[0] for line in changing(desk)] == ["eksctl create cluster"]


def test_existing_cluster_is_not_changed(desk: Desk) -> None:
    done = desk.run("create-cluster.sh")
    assert done.returncode == 0, done.stderr
    assert "==> The cluster already exists" in done.stdout
    assert "aws eks update-kubeconfig --name eksctl-demo" in commands(desk)
    assert changing(desk) == []


def interrupted(desk: Desk, *group_states: str) -> None:
    """The control plane exists without add-ons and nodes; the node group's stack is in these states, one after another.

    ``create nodegroup`` fails without vpc-cni, and does nothing while the stack exists, as with eksctl.
    """
    nodes(desk)
    addons(desk, "")
    states(desk, "eksctl-eksctl-demo-cluster", "CREATE_COMPLETE")
    states(desk, NODE_GROUP, *group_states)
    present = desk.home / "addons"
    after(desk, "eksctl", "create addon", f'sed -n "/^addons:/,/^managed/s/^  - name: //p" "$4" >>"{present}"')
    made = "node-1 Ready\\nnode-2 Ready\\n"
    after(
        desk, "eksctl", "create nodegroup", f"[ ! -s '{desk.home}/{NODE_GROUP}.states' ] || exit 0",
        f"grep -q vpc-cni {present} && grep -q kube-proxy {present} || exit 1", f"printf '{made}' >{desk.home}/nodes",
    )  # fmt: skip
    after(desk, "aws", "delete-stack", f">'{desk.home}/{NODE_GROUP}.states'")
    after(desk, "kubectl", "get nodes --no-headers", f"cat {desk.home}/nodes 2>/dev/null || true")


NODE_GROUP = "eksctl-eksctl-demo-nodegroup-nodes"
FILLED_IN = ["eksctl create addon", "eksctl create nodegroup"]


def test_interrupted_creation_gets_its_addons_and_nodes(desk: Desk) -> None:
    interrupted(desk)
    done = desk.run("create-cluster.sh")
    assert done.returncode == 0, done.stderr
    assert [line.split(" -f")[0] for line in changing(desk)] == FILLED_IN
    assert (desk.home / "addons").read_text().split() == ["vpc-cni", "kube-proxy", "coredns", "metrics-server"]
    (call,) = [line for line in commands(desk) if line.startswith("eksctl create addon")]
    assert call.endswith(" --timeout=0s"), "coredns is DEGRADED without a node, and eksctl would fail"


@pytest.mark.parametrize("status", ["CREATE_FAILED", "ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "DELETE_FAILED"])
def test_failed_node_group_is_deleted_and_made_again(status: str, desk: Desk) -> None:
    interrupted(desk, status)
    done = desk.run("create-cluster.sh")
    assert done.returncode == 0, done.stderr
    assert f"==> Delete the stack {NODE_GROUP}, which is {status}" in done.stdout.splitlines()
    deletion = f"aws cloudformation delete-stack --stack-name {NODE_GROUP}"
    assert [line.split(" -f")[0] for line in changing(desk)] == [FILLED_IN[0], deletion, *FILLED_IN[1:]]


def test_no_node_group_is_made_if_the_nodes_cannot_be_read(desk: Desk) -> None:
    """Once, a failed question counted as the answer that there are none."""
    interrupted(desk)
    desk.answer("kubectl", "get nodes --output name", stderr="Unable to connect to the server: EOF\n", code=1)
    assert desk.run("create-cluster.sh").returncode == 1
    assert [line for line in changing(desk) if "nodegroup" in line] == []


def test_no_stack_is_deleted_if_the_cluster_cannot_be_read(desk: Desk) -> None:
    """The first question finds no cluster, and the second fails: once, the stack of a cluster could be deleted."""
    desk.answer("aws", "describe-stacks", stdout="CREATE_COMPLETE\n")
    in_turn(desk, "aws", "describe-cluster ", f"echo '{ABSENT.strip()}' >&2; exit 254", 'echo "$0: EOF" >&2; exit 255')
    assert desk.run("create-cluster.sh").returncode == 1
    assert [line for line in changing(desk) if "delete-stack" in line or "eksctl create" in line] == []


def test_no_stack_is_deleted_if_the_cluster_has_been_created_meanwhile(desk: Desk) -> None:
    """The first question finds no cluster, and the second, once the stack is settled, does."""
    desk.answer("aws", "describe-stacks", stdout="CREATE_COMPLETE\n")
    in_turn(desk, "aws", "describe-cluster ", f"echo '{ABSENT.strip()}' >&2; exit 254", "echo ACTIVE")
    done = desk.run("create-cluster.sh")
    assert (done.returncode, done.stderr) == (
        1, "cluster eksctl-demo has just been created by someone else: run this again\n"
    )  # fmt: skip
    assert [line for line in changing(desk) if "delete-stack" in line or "eksctl create" in line] == []


def test_node_group_in_progress_is_awaited(desk: Desk) -> None:
    interrupted(desk, "CREATE_IN_PROGRESS", "CREATE_IN_PROGRESS", "ROLLBACK_IN_PROGRESS", "ROLLBACK_COMPLETE")
    done = desk.run("create-cluster.sh")
    assert done.returncode == 0, done.stderr
    deletion = f"aws cloudformation delete-stack --stack-name {NODE_GROUP}"
    assert [line.split(" -f")[0] for line in changing(desk)] == [FILLED_IN[0], deletion, *FILLED_IN[1:]]


def test_missing_addon_of_a_cluster_with_nodes_is_created(desk: Desk) -> None:
    states(desk, "eksctl-eksctl-demo-cluster", "CREATE_COMPLETE")
    states(desk, NODE_GROUP, "CREATE_COMPLETE")
    addons(desk, "coredns", "kube-proxy", "vpc-cni")
    assert desk.run("create-cluster.sh").returncode == 0
    assert [line.split(" -f")[0] for line in changing(desk)] == ["eksctl create addon"]


def test_node_group_of_another_name_gets_no_second_one(desk: Desk) -> None:
    states(desk, "eksctl-eksctl-demo-cluster", "CREATE_COMPLETE")
    addons(desk, "vpc-cni")
    assert desk.run("create-cluster.sh").returncode == 0
    assert [line.split(" -f")[0] for line in changing(desk)] == ["eksctl create addon"]


def test_cluster_that_eksctl_did_not_create_gets_nothing(desk: Desk) -> None:
    addons(desk, "")
    assert desk.run("create-cluster.sh").returncode == 0
    assert changing(desk) == []


@pytest.mark.parametrize("found", [(), ("Ready",), ("Ready", "NotReady"), ("NotReady,SchedulingDisabled", "Ready")])
def test_too_few_ready_nodes_are_never_called_done(found: tuple[str, ...], desk: Desk) -> None:
    nodes(desk, *found)
    script = desk.checkout / "scripts" / "create-cluster.sh"
    script.write_text(script.read_text().replace("wait_until 600 ", "wait_until 1 "))
    done = desk.run("create-cluster.sh")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("the wait for 2 ready nodes is not finished after ")


def test_regions_outside_the_partition_aws_have_no_metrics_server(desk: Desk) -> None:
    desk.answer("aws", "get-caller-identity", stdout="arn:aws-cn:iam::111122223333:user/learner\n")
    addons(desk, "coredns", "kube-proxy", "vpc-cni")
    done = desk.run("create-cluster.sh", AWS_REGION="cn-north-1")
    assert done.returncode == 0, done.stderr
    assert changing(desk) == []


@pytest.mark.parametrize("status", ["FAILED", "DELETING"])
def test_deleting_or_failed_cluster_is_not_used(status: str, desk: Desk) -> None:
    desk.answer("aws", "describe-cluster .*status", stdout=f"{status}\n")
    done = desk.run("create-cluster.sh")
    assert done.returncode == 1
    assert done.stderr.splitlines()[0].startswith(f"cluster eksctl-demo is {status}: ")
    assert changing(desk) == []


@pytest.mark.parametrize(
    ("stderr", "stdout", "told"),
    [
        ("An error occurred (ExpiredTokenException): The security token included in the request is expired\n", "", "your sign-in to AWS has expired: "),
        ("An error occurred (InvalidClientTokenId): The security token included in the request is invalid\n", "", "AWS does not accept your credentials: "),
        ("", "<html>Sign in</html>\n", "the answer is not from AWS: "),
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    "script", ["create-cluster.sh", "create-role.sh", "authorize-role.sh", "status.sh", "teardown.sh", "leftovers.sh"]
)
def test_without_usable_credentials_nothing_is_changed(
    script: str, stderr: str, stdout: str, told: str, desk: Desk
) -> None:
    desk.answer("aws", "get-caller-identity", stdout=stdout, stderr=stderr, code=bool(stderr))
    done = desk.run(script, *(["--yes"] if script == "teardown.sh" else []))
    assert done.returncode == 1
    assert any(line.startswith(told) for line in done.stderr.splitlines())
    assert changing(desk) == []


def aws_auth(desk: Desk, roles: str | None) -> None:
    """Let the cluster have an aws-auth with these roles, or none, and keep what is written to it."""
    (desk.home / "cluster").write_text(json.dumps({"writes": 0, "rules": "x"} | ({"roles": roles} if roles else {})))
    for call in ("get configmap/aws-auth", "patch configmap/aws-auth", "create -f"):
        after(desk, "kubectl", call, KUBECTL.format(desk.home))


def access_entry(desk: Desk, found: str) -> None:
    """Let the role have this access entry, or none, and keep what is written to it."""
    state = desk.home / "entry"
    state.write_text(found)
    after(desk, "aws", "describe-access-entry", f"grep . {state} || {{ echo '{ABSENT.strip()}' >&2; exit 254; }}")
    after(desk, "aws", "(create|update)-access-entry", f"printf 'build\\tdeployers\\t{MADE}\\n' >{state}")
    after(desk, "aws", "delete-access-entry", f": >{state}")


def test_role_is_mapped_and_the_previous_aws_auth_saved(desk: Desk) -> None:
    aws_auth(desk, "- rolearn: a\n")
    done = desk.run("authorize-role.sh")
    assert done.returncode == 0, done.stderr
    assert [line.split(" --patch-file")[0].split(" -f")[0] for line in changing(desk)] == [
        "kubectl apply -n hello-world",
        "kubectl patch configmap/aws-auth -n kube-system",
    ]
    saved = Path(done.stderr.splitlines()[-1].removeprefix("the previous aws-auth is saved in "))
    assert yaml.safe_load(saved.read_text())["data"] == {"mapRoles": "- rolearn: a\n"}


def test_mapped_role_is_not_changed(desk: Desk) -> None:
    aws_auth(desk, f"- {{rolearn: '{ROLE}', username: build, groups: [deployers]}}")
    done = desk.run("authorize-role.sh")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-2:] == [
        "==> aws-auth is up to date",
        "==> The role may deploy: to the cluster it is user build of group deployers, by aws-auth",
    ]
    assert [line.split(" -f")[0] for line in changing(desk)] == [
        "kubectl apply -n hello-world"
    ]  # which changes nothing if it is equal
    assert not list(desk.home.glob("aws-auth-*"))


def test_conflict_is_retried(desk: Desk) -> None:
    aws_auth(desk, "- rolearn: a\n")
    in_turn(desk, "kubectl", " patch ", f"echo '{CONFLICT.strip()}' >&2; exit 1", KUBECTL.format(desk.home))
    done = desk.run("authorize-role.sh")
    assert done.returncode == 0, done.stderr
    assert "someone else changed aws-auth at the same time: fetching it again" in done.stderr.splitlines()
    assert sum("get configmap/aws-auth" in line for line in commands(desk)) == 3, "two to edit it, and one to confirm"


def test_other_patch_failures_are_reported(desk: Desk) -> None:
    aws_auth(desk, "- rolearn: a\n")
    desk.answer("kubectl", " patch ", stderr="Error from server (Forbidden): no\n", code=1)
    done = desk.run("authorize-role.sh")
    assert done.returncode == 1
    assert done.stderr.splitlines()[0] == "aws-auth is unchanged: Error from server (Forbidden): no"


def test_missing_aws_auth_is_created(desk: Desk) -> None:
    aws_auth(desk, None)
    assert desk.run("authorize-role.sh").returncode == 0
    assert "kubectl create -f" in changing(desk)[-1]


def test_unreadable_aws_auth_is_not_changed(desk: Desk) -> None:
    aws_auth(desk, "\t- tab")
    done = desk.run("authorize-role.sh")
    assert done.returncode == 1
    assert done.stderr.startswith("aws-auth: mapRoles cannot be read (line 1: ")
    assert not [line for line in changing(desk) if "patch" in line or "create" in line]


@pytest.mark.parametrize(
    ("entry", "option", "expected"),
    [
        ("", "", "aws eks create-access-entry"),
        (f"build\tdeployers\t{MADE}\n", "", None),
        (f"build\tsystem:masters\t{MADE}\n", "", "aws eks update-access-entry"),
        (f"build\tdeployers\t{MADE}\n", "--remove", "aws eks delete-access-entry"),
        ("", "--remove", None),
    ],
)
def test_access_entry_in_mode_api(entry: str, option: str, expected: str | None, desk: Desk) -> None:
    desk.answer("aws", "describe-cluster .*authenticationMode", stdout="API\n")
    access_entry(desk, entry)
    done = desk.run("authorize-role.sh", *([option] if option else []))
    assert done.returncode == 0, done.stderr
    found = [line for line in changing(desk) if "access-entry" in line]
    common = f"--cluster-name eksctl-demo --principal-arn {ROLE}"
    given = "" if option else " --kubernetes-groups deployers --username build --output text"
    assert found == ([f"{expected} {common}{given}"] if expected else [])


@pytest.mark.parametrize(
    ("entry", "role", "stale"),
    [
        ("2026-11-25T10:00:00.500000+00:00", "2026-11-25T10:00:00Z", False),
        ("2026-11-25T09:59:59+00:00", "2026-11-25T10:00:00+00:00", True),
        ("2026-11-25T11:00:00+01:00", "2026-11-25T10:00:00Z", False),  # the CLI's version 2 prints local times
        ("2026-11-25T10:30:00+01:00", "2026-11-25T10:00:00Z", True),
        ("1764064799.9", "2025-11-25T10:00:00Z", True),  # version 1, and cli_timestamp_format = wire
        ("1764064800", "2025-11-25T10:00:00Z", False),
    ],
)
def test_access_entry_of_an_earlier_role_is_made_again(entry: str, role: str, stale: bool, desk: Desk) -> None:
    desk.answer("aws", "describe-cluster .*authenticationMode", stdout="API\n")
    access_entry(desk, f"build\tdeployers\t{entry}\n")
    desk.answer("aws", "get-role", stdout=f"{role}\n")
    done = desk.run("authorize-role.sh")
    assert done.returncode == 0, done.stderr
    found = [line.split()[2] for line in changing(desk) if "access-entry" in line]
    assert found == (["delete-access-entry", "create-access-entry"] if stale else [])
    said = "==> Delete the role's access entry, which was made for an earlier role of that name"
    assert (said in done.stdout.splitlines()) is stale


def test_cluster_without_access_entries_is_no_error(desk: Desk) -> None:
    """So answers EKS if the cluster's authentication mode is CONFIG_MAP."""
    refused = "An error occurred (InvalidRequestException) when calling the DescribeAccessEntry operation: The cluster's authentication mode must be set to one of [API, API_AND_CONFIG_MAP] to perform this operation."
    aws_auth(desk, MAPPED)
    desk.answer("aws", "describe-cluster .*authenticationMode", stdout="CONFIG_MAP\n")
    desk.answer("aws", "describe-access-entry", stderr=f"\n{refused}\n", code=254)
    done = desk.run("authorize-role.sh")
    assert done.returncode == 0, done.stderr
    assert not [line for line in changing(desk) if "access-entry" in line]


def test_unreadable_age_changes_no_access_entry(desk: Desk) -> None:
    desk.answer("aws", "describe-cluster .*authenticationMode", stdout="API\n")
    desk.answer("aws", "describe-access-entry", stdout="build\tdeployers\tyesterday\n")
    desk.answer("aws", "get-role", stdout="2026-11-25T10:00:00Z\n")
    done = desk.run("authorize-role.sh")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("cannot determine whether the access entry is older than the role: ")
    assert not [line for line in changing(desk) if "access-entry" in line]


ADMIN = f"admin\tsystem:masters\t{MADE}\n"
MAPPED = f"- {{rolearn: '{ROLE}', username: build, groups: [deployers]}}"


@pytest.mark.parametrize("entry", [ADMIN, f"nobody\t\t{MADE}\n", f"build\tdeployers\t{MADE}\n"])
def test_access_entry_wins_over_aws_auth(entry: str, desk: Desk) -> None:
    """In mode API_AND_CONFIG_MAP, the role is what its access entry says, whatever aws-auth says."""
    aws_auth(desk, MAPPED)
    access_entry(desk, entry)
    done = desk.run("authorize-role.sh")
    assert done.returncode == 0, done.stderr
    assert [line.split()[2] for line in changing(desk) if "access-entry" in line] == (
        ["update-access-entry"] if "build" not in entry else []
    )
    assert not [line for line in changing(desk) if "aws-auth" in line]
    last = "==> The role may deploy: to the cluster it is user build of group deployers, by an access entry"
    assert done.stdout.splitlines()[-1] == last


def test_remove_takes_the_role_out_of_both(desk: Desk) -> None:
    aws_auth(desk, MAPPED)
    access_entry(desk, ADMIN)
    done = desk.run("authorize-role.sh", "--remove")
    assert done.returncode == 0, done.stderr
    found = [line for line in changing(desk) if "aws-auth" in line or "access-entry" in line]
    assert [line.split(" configmap")[0].split(" --")[0] for line in found] == [
        "aws eks delete-access-entry",
        "kubectl patch",
    ]


@pytest.mark.parametrize("verb", ["patch", "list"])
def test_role_that_cannot_deploy_is_reported(verb: str, desk: Desk) -> None:
    """The cluster is asked as the role, about every right in deployer-rbac.yml."""
    aws_auth(desk, MAPPED)
    desk.answer("kubectl", "create -f .*reviews.json", real=str(FAKES / "reviews.py"))
    desk.note_pauses()
    done = desk.run("authorize-role.sh", DENIED=verb)
    assert done.returncode == 1
    assert [call[1] for call in desk.calls() if call[0] == "sleep"] == ["1", "2", "0"], "a new right takes a moment"
    (line,) = done.stderr.splitlines()
    rules = next(yaml.safe_load_all((ROOT / "deployer-rbac.yml").read_text()))["rules"]
    lacking = [
        f"{verb} {resource}" + (f".{rule['apiGroups'][0]}" if rule["apiGroups"][0] else "")
        for rule in rules for resource in rule["resources"] if verb in rule["verbs"]
    ]  # fmt: skip
    assert line.startswith("the role cannot deploy: to the cluster it is user build of group deployers, by aws-auth, ")
    assert f"which may not {', '.join(lacking)}: see whether something else changes aws-auth, " in line
    assert line.endswith("the RoleBinding deployer in hello-world, then run this again")


def test_mapping_that_is_undone_is_reported(desk: Desk) -> None:
    aws_auth(desk, "- rolearn: a\n")
    desk.answer("kubectl", "patch")  # which changes nothing
    done = desk.run("authorize-role.sh")
    assert done.returncode == 1
    assert "the role cannot deploy: to the cluster it is user (none) of group (none), by aws-auth" in done.stderr


@pytest.mark.parametrize("answer", ["", "<html>Sign in</html>", "{}", '{"status": {"allowed": true}}'])
def test_an_answer_that_allows_nothing_is_no_yes(answer: str, desk: Desk) -> None:
    aws_auth(desk, MAPPED)
    desk.answer("kubectl", "create -f .*reviews.json", stdout=answer)
    done = desk.run("authorize-role.sh")
    assert done.returncode == 1
    assert "the role cannot deploy: " in done.stderr


def test_missing_right_to_ask_is_reported(desk: Desk) -> None:
    aws_auth(desk, MAPPED)
    desk.answer("kubectl", "create -f .*reviews.json", stderr="Error from server (Forbidden): no\n", code=1)
    done = desk.run("authorize-role.sh")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith("you need the right to create subjectaccessreviews")


@pytest.mark.parametrize(
    ("labels", "labelled"),
    [
        ({"enforce": "restricted"}, False),
        ({"enforce": "restricted", "warn": "privileged"}, False),
        ({"enforce": "privileged", "warn": "restricted"}, True),
        ({"enforce": "baseline", "audit": "restricted", "warn": "restricted"}, True),
        ({"warn": "restricted"}, True),
        ({}, True),
    ],
)
def test_only_enforce_restricted_counts(labels: dict[str, str], labelled: bool, desk: Desk) -> None:
    aws_auth(desk, MAPPED)
    whole = {f"pod-security.kubernetes.io/{key}": value for key, value in labels.items()}
    for field, shown in ((r"labels\}", json.dumps(whole)), ("/enforce}", labels.get("enforce", ""))):
        desk.answer("kubectl", f"get namespace .*{field}", stdout=f"hello-world {shown}")
    done = desk.run("authorize-role.sh")
    assert done.returncode == 0, done.stderr
    label = "kubectl label namespace hello-world --overwrite pod-security.kubernetes.io/enforce=restricted"
    assert ([line for line in changing(desk) if "label" in line] == [label]) == labelled


@pytest.mark.parametrize(
    ("mode", "entry", "roles", "shown"),
    [
        ("API_AND_CONFIG_MAP", ADMIN, MAPPED, "the role is user admin of group system:masters, by an access entry"),
        ("API_AND_CONFIG_MAP", "", MAPPED, "the role is user build of group deployers, by aws-auth"),
        ("CONFIG_MAP", "", MAPPED.replace(ROLE, ROLE + "2"), "none: run scripts/authorize-role.sh"),
        ("CONFIG_MAP", "", f"# {ROLE}\n[]", "none: run scripts/authorize-role.sh"),
        ("API", "", MAPPED, "none: run scripts/authorize-role.sh"),
    ],
)
def test_status_shows_what_the_cluster_takes_the_role_for(
    mode: str, entry: str, roles: str, shown: str, desk: Desk
) -> None:
    aws_auth(desk, roles)
    access_entry(desk, entry)
    desk.answer("aws", "describe-cluster .*upgradePolicy", stdout=f"ACTIVE, 1.36, STANDARD, {mode}\n")
    done = desk.run("status.sh")
    assert done.returncode == 0, done.stderr
    assert f"mapping     {shown}" in done.stdout.splitlines()


def test_teardown_deletes_in_order(desk: Desk) -> None:
    aws_auth(desk, f"- {{rolearn: '{ROLE}', username: build, groups: [deployers]}}")
    gone = desk.home / "gone"
    states = desk.home / "states"
    states.write_text(
        f'#!/bin/sh\n[ -e {gone} ] && {{ echo "{NO_STACK.strip()}" >&2; exit 254; }}\necho CREATE_COMPLETE\n'
    )
    ending = desk.home / "ending"
    ending.write_text(f"#!/bin/sh\ntouch {gone}\n")
    for program in (states, ending):
        program.chmod(0o755)
    desk.answer("aws", "describe-stacks --stack-name aws-pipeline", real=str(states))
    desk.answer("aws", "delete-stack", real=str(ending))
    desk.answer("aws", "get-role", stdout=ROLE + "\n")
    desk.answer("kubectl", "get-contexts", stdout="arn:aws:eks:us-east-2:111122223333:cluster/eksctl-demo\n")
    done = desk.run("teardown.sh", "--yes")
    order = [" ".join(line.split()[:4]) for line in changing(desk)]
    assert order == [
        "kubectl delete deployment,service,hpa --all",
        "kubectl delete namespace hello-world",
        "aws cloudformation delete-stack --stack-name",
        "kubectl patch configmap/aws-auth -n",
        "aws iam delete-role-policy --role-name",
        "aws iam delete-role --role-name",
        "eksctl delete cluster --name",
        "kubectl config delete-user arn:aws:eks:us-east-2:111122223333:cluster/eksctl-demo",
        "kubectl config delete-cluster arn:aws:eks:us-east-2:111122223333:cluster/eksctl-demo",
        "kubectl config delete-context arn:aws:eks:us-east-2:111122223333:cluster/eksctl-demo",
    ]
    assert done.returncode == 1  # the stand-in still lists the context, so it counts as left
    assert "kubeconfig context: arn:aws:eks:us-east-2:111122223333:cluster/eksctl-demo" in done.stdout


@pytest.mark.parametrize("status", ["CREATING", "UPDATING", "DELETING"])
def test_teardown_waits_for_an_operation_of_the_cluster(status: str, desk: Desk) -> None:
    in_turn(desk, "aws", "describe-cluster .*status", f"echo {status}", "echo ACTIVE")
    desk.run("teardown.sh", "--yes")
    assert any("delete namespace hello-world" in line for line in commands(desk))


@pytest.mark.parametrize("answer", ["yes", "eksctl-demo"])
def test_teardown_says_what_it_deletes_and_asks(answer: str, desk: Desk) -> None:
    terminal, given = os.openpty()
    os.write(terminal, f"{answer}\n".encode())
    done = desk.run("teardown.sh", stdin=given)
    os.close(given)
    os.close(terminal)
    assert done.stdout.splitlines()[:6] == [
        "This deletes, in account 111122223333, region us-east-2:",
        "  the namespace hello-world, with the app and its load balancer, and that of staging",
        "  the stack aws-pipeline with its images and artifacts",
        "  the role UdacityFlaskDeployCBKubectlRole",
        "  the cluster eksctl-demo",
        "  the budget aws-pipeline-budget",
    ]
    asked = "Type the name of the cluster to continue: "
    assert done.stderr.startswith(asked)
    if answer == "yes":
        assert (done.returncode, done.stderr) == (1, f"{asked}nothing was deleted\n")
        assert (len(done.stdout.splitlines()), changing(desk)) == (6, [])
    else:
        assert "eksctl delete cluster" in " ".join(changing(desk))


def test_teardown_of_nothing_changes_nothing(desk: Desk) -> None:
    desk.answer("aws", "describe-cluster", stderr=ABSENT, code=254)
    done = desk.run("teardown.sh", "--yes")
    assert done.returncode == 0, done.stderr
    assert changing(desk) == []
    assert done.stdout.splitlines()[-1] == "==> Nothing is left"


def test_teardown_deletes_the_rest_if_the_stack_cannot_be_deleted(desk: Desk) -> None:
    desk.answer("aws", "describe-stacks --stack-name aws-pipeline", stdout="DELETE_FAILED\n")
    desk.answer("aws", "get-role", stdout=ROLE + "\n")
    events = "AWS::ECR::Repository\tDELETE_FAILED\tEcrRepository\tnot authorized to perform: kms:RetireGrant\n"
    desk.answer(
        "aws",
        "describe-stack-events",
        stdout=events + "AWS::CloudFormation::Stack\tDELETE_IN_PROGRESS\tx\tUser Initiated\n",
    )
    done = desk.run("teardown.sh", "--yes")
    assert done.returncode == 1
    assert "    EcrRepository: not authorized to perform: kms:RetireGrant" in done.stderr.splitlines()
    assert done.stderr.splitlines()[-1] == "failed: the stack aws-pipeline: fix the errors above, then run this again"
    deleted = [" ".join(line.split()[:3]) for line in changing(desk)]
    assert deleted.count("aws cloudformation delete-stack") == 1
    assert {"aws iam delete-role", "eksctl delete cluster"} <= set(deleted)
    assert "Nothing is left" not in done.stdout


def test_teardown_deletes_the_cluster_whose_status_it_cannot_read(desk: Desk) -> None:
    desk.answer("aws", "describe-cluster", stderr="\nAn error occurred (AccessDeniedException): no\n", code=254)
    done = desk.run("teardown.sh", "--yes")
    assert done.returncode == 1
    assert [line.split(" --")[0] for line in changing(desk)] == ["eksctl delete cluster"]
    assert "failed: the status of the cluster: fix the errors above" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("tool", "pattern", "stdout", "what"),
    [
        ("aws", "list-stacks", "aws-pipeline\n", "stack: aws-pipeline"),
        ("aws", "describe-volumes", "vol-1\tvol-2\n", "volume: vol-1"),
        ("aws", "list-buckets", "aws-pipeline-artifactbucket-1\n", "bucket: aws-pipeline-artifactbucket-1"),
    ],
)
def test_leftovers_are_listed(tool: str, pattern: str, stdout: str, what: str, desk: Desk) -> None:
    desk.answer(tool, pattern, stdout=stdout)
    done = desk.run("leftovers.sh")
    assert done.returncode == 1
    assert f"    {what}" in done.stdout.splitlines()


def test_failed_query_does_not_report_nothing_left(desk: Desk) -> None:
    desk.answer("aws", "describe-volumes", stderr="An error occurred (UnauthorizedOperation)\n", code=254)
    done = desk.run("leftovers.sh")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-2:] == [
        "cannot check for leftovers: volume",
        "cannot determine what is left: fix the errors above, then run this again",
    ]
    assert "Nothing is left" not in done.stdout


def test_retries_are_bounded_and_standard(desk: Desk, tmp_path: Path) -> None:
    spy = tmp_path / "spy"
    spy.write_text('#!/bin/sh\necho "$AWS_RETRY_MODE $AWS_MAX_ATTEMPTS ${GITHUB_TOKEN-unset}" >&2\nexit 1\n')
    spy.chmod(0o755)
    desk.answer("aws", "get-caller-identity", real=str(spy))
    done = desk.run("create-cluster.sh", GITHUB_TOKEN="ghp_" + "b" * 36)
    assert done.stderr.splitlines()[0] == "standard 8 unset"


def test_render_rejects_an_unknown_placeholder(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    file.write_text('{"a": "<WHO>"}')
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "lib" / "render.py", file, "A=b"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stderr) == (1, f"{file}: unknown placeholder <WHO>\n")


def test_values_do_not_reach_a_shell(desk: Desk) -> None:
    done = desk.run("leftovers.sh", STACK_NAME="a$(touch${IFS}pwned)")
    assert done.returncode == 2
    assert not list(desk.checkout.rglob("pwned"))
