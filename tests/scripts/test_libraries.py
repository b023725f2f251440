"""The functions of scripts/lib on their own, with shell functions in place of the tools."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.paths import ROOT

Run = Callable[..., subprocess.CompletedProcess[str]]
#: As a script begins, with the settings that the functions read; sleep records its argument and lets time pass.
BEGINNING = """
self=$PWD/scripts/status.sh
source scripts/lib/common.sh
source scripts/lib/tools.sh
work=$(mktemp -d) AWS_REGION=us-east-2 CLUSTER_NAME=demo KUBECTL_ROLE_NAME=deployer KUBERNETES_VERSION=1.36 NODE_COUNT=2
sleep() { echo "sleep $1" >&2; SECONDS=$((SECONDS + ${1%.*})); }
"""


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A function that runs bash code after the beginning of a script."""

    def code(text: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", f"{BEGINNING}{text}\nend"], cwd=ROOT, capture_output=True, text=True, timeout=60,
            env={"PATH": os.environ["PATH"], "TMPDIR": str(tmp_path)}, check=False,
        )  # fmt: skip

    return code


def sleeps(done: subprocess.CompletedProcess[str]) -> list[int]:
    """Return for how many whole seconds it slept each time."""
    return [int(each) for each in re.findall(r"^sleep (\d+)", done.stderr, re.MULTILINE)]


# --- common.sh


def test_an_exit_code_is_0_1_or_2_and_the_directory_goes(run: Run, tmp_path: Path) -> None:
    """die and refuse say why themselves; any other failure is reported with its line."""
    for code, ends in {"true": 0, "die no": 1, "refuse no": 2, "exit 7": 1, "exit 2": 1, "(exit 9)": 1}.items():
        done = run(f"echo x >$work/file; {code}")
        assert done.returncode == ends, code
        is_unexpected = code in ("exit 7", "exit 2", "(exit 9)")
        stopped = re.search(
            r"^\w+: stopped at line \S+: fix the error above, then run it again$", done.stderr, re.MULTILINE
        )
        assert bool(stopped) is is_unexpected, done.stderr
        assert (done.stderr == "no\n") is code.endswith("no")
        assert [*tmp_path.iterdir()] == []


def test_an_answer_without_the_requested_fields_is_an_error(run: Run) -> None:
    tool = 'command() { shift; printf "%s\\n" "$reply"; }; reply='
    for answer in ("None", "null"):
        done = run(f"{tool}{answer}; aws iam get-role --x")
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.splitlines()[:2] == [
            "aws iam get-role: the requested fields are missing from the answer",
            NOT_FROM_AWS,
        ]
    assert run(f"{tool}; aws a b").stdout == ""
    assert run(f"{tool}'a  b'; aws a b").stdout == "a  b\n"
    assert run("command() { return 3; }; aws a b || echo $?").stdout == "3\n"


def test_calls_of_aws_end_in_time(run: Run) -> None:
    done = run('command() { echo "$@"; }; aws iam get-role')
    assert done.stdout == "aws --cli-connect-timeout 10 --cli-read-timeout 60 iam get-role\n"


# --- tools.sh


@pytest.mark.parametrize(
    ("version", "minimum", "fits"),
    [("2.23.0", "2.23.0", True), ("2.23.1", "2.23.0", True), ("2.22.9", "2.23.0", False), ("2.9.0", "2.23.0", False),
     ("10.0.0", "2.23.0", True), ("2.100.0", "2.23.0", True), ("1.37.10", "1.37.9", True), ("1.37.9", "1.37.10", False),
     ("3.11", "3.11", True), ("3.9", "3.11", False)],
)  # fmt: skip
def test_versions_are_compared_by_number(version: str, minimum: str, fits: bool, run: Run) -> None:
    assert run(f"at_least {version} {minimum} && echo yes || echo no").stdout == ("yes\n" if fits else "no\n")


@pytest.mark.parametrize(
    ("text", "fits"),
    [("git version 2.39.5 (Apple)", True), ("git 2.0", True), ("git 1.9.5", False), ("none", False)],
)
def test_program_prints_its_version(text: str, fits: bool, run: Run) -> None:
    done = run(
        f"type() {{ return 0; }}; git() {{ echo {shlex.quote(text)}; }}; program 2.0 git --version && echo yes || echo no"
    )
    version = re.findall(r"\d[\d.]*", text)
    assert done.stdout.split() == [*version, "yes" if fits else "no"]


@pytest.mark.parametrize(
    ("minor", "cluster", "fits"),
    [(34, 36, False), (35, 36, True), (36, 36, True), (37, 36, True), (38, 36, False), (40, 40, True), (9, 10, True)],
)
def test_kubectl_is_at_most_one_minor_version_away(minor: int, cluster: int, fits: bool, run: Run) -> None:
    answer = f'{{"clientVersion": {{"gitVersion": "v1.{minor}.3-eks"}}}}'
    done = run(
        f"type() {{ return 0; }}; kubectl() {{ echo {shlex.quote(answer)}; }}; KUBERNETES_VERSION=1.{cluster}\n"
        "kubectl_fits && echo yes || echo no"
    )
    assert done.stdout == f"1.{minor}.3-eks, cluster 1.{cluster}\n{'yes' if fits else 'no'}\n"


def test_kubectl_without_a_version_does_not_fit(run: Run) -> None:
    done = run("type() { return 0; }; kubectl() { echo '{}'; }; kubectl_fits && echo yes || echo no")
    assert done.stdout == "no\n"


@pytest.mark.parametrize("check", ["kubectl_fits", "aws_fits", "program 1.0 aws"])
def test_missing_tool_is_reported(check: str, run: Run) -> None:
    done = run(f"type() {{ return 1; }}; {check} || echo $?")
    assert done.stdout == "not on PATH\n1\n"


# --- allowed.sh


def allowed(run: Run, check: str, *answers: str) -> tuple[str, str]:
    """Run a check with AWS's answers in this order, then errors; return what it prints, and yes, no or unknown."""
    queue = " ".join(map(shlex.quote, answers))
    done = run(
        f'source scripts/lib/allowed.sh; NODE_TYPE=t3.medium; for each in {queue}; do echo -e "$each" >>$work/queue; done\n'
        "aws() { [[ -s $work/queue ]] || { echo no answer >&2; return 1; }; head -n 1 $work/queue; tail -n +2 $work/queue >$work/rest; mv $work/rest $work/queue; }\n"
        f"code=0; {check} || code=$?; case $code in 0) echo yes ;; 3) echo unknown ;; *) echo no ;; esac"
    )
    *said, verdict = done.stdout.splitlines()
    return " ".join(said), verdict


@pytest.mark.parametrize(("zones", "verdict"), [("0", "no"), ("1", "no"), ("2", "yes"), ("3", "yes"), ("10", "yes")])
def test_nodes_need_a_type_that_two_zones_have(zones: str, verdict: str, run: Run) -> None:
    assert allowed(run, "type_offered", zones) == (f"t3.medium in {zones} zones", verdict)


@pytest.mark.parametrize(
    ("quota", "each", "said", "verdict"),
    [
        ("4.0", "2", "4 vCPUs allowed, 4 needed", "yes"),
        ("3.0", "2", "3 vCPUs allowed, 4 needed", "no"),
        ("32.0", "16", "32 vCPUs allowed, 32 needed", "yes"),
        ("0.0", "1", "0 vCPUs allowed, 2 needed", "no"),
        ("10", "5", "10 vCPUs allowed, 10 needed", "yes"),
        ("many", "2", "", "no"),
        ("4.0", "two", "", "no"),
    ],
)
def test_quota_is_for_all_nodes_together(quota: str, each: str, said: str, verdict: str, run: Run) -> None:
    assert allowed(run, "quota", quota, each) == (said, verdict)


@pytest.mark.parametrize(
    ("row", "verdict"),
    [("1.36\\tSTANDARD_SUPPORT", "yes"), ("1.36\\tstandard_support", "yes"), ("1.36\\tEXTENDED_SUPPORT", "no"),
     ("1.35\\tSTANDARD_SUPPORT", "no")],
)  # fmt: skip
def test_version_needs_standard_support(row: str, verdict: str, run: Run) -> None:
    said, found = allowed(run, "version_offered", row)
    assert (said.strip(), found) == (f"1.36, offered: {row[:4]}", verdict)


@pytest.mark.parametrize(
    ("answers", "said", "verdict"),
    [
        (("PAID",), "PAID", "yes"),
        (("",), "none", "yes"),
        (("FREE", "t3.micro t3.medium"), "FREE, which starts only t3.micro t3.medium", "yes"),
        (("FREE", "t3.micro xt3.medium"), "FREE, which starts only t3.micro xt3.medium", "no"),
    ],
)
def test_free_plan_starts_only_its_types(answers: tuple[str, ...], said: str, verdict: str, run: Run) -> None:
    assert allowed(run, "plan", *answers) == (said, verdict)


@pytest.mark.parametrize(
    ("check", "answers"),
    [("version_offered", ()), ("type_offered", ()), ("plan", ()), ("plan", ("FREE",)), ("quota", ()), ("quota", ("4.0",))],
)  # fmt: skip
def test_nothing_is_allowed_without_an_answer(check: str, answers: tuple[str, ...], run: Run) -> None:
    assert allowed(run, check, *answers) == ("", "no")


# --- cloud.sh


DENIED = "AWS does not accept your credentials: renew them (aws configure, aws login or aws sso login), then try again"
NOT_FROM_AWS = (
    "the answer is not from AWS: check whether a proxy or a sign-in page of your network sent it, then try again"
)


@pytest.mark.parametrize("error", ["(403) when calling", "(505x) y"])
def test_failed_sign_in_of_an_unknown_kind_is_one_of_the_credentials(error: str, run: Run) -> None:
    done = run(f"aws() {{ echo {shlex.quote(error)} >&2; return 1; }}; identify")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"{error}\n{DENIED}\n")


@pytest.mark.parametrize(
    ("arn", "partition"),
    [("arn:aws:iam::111122223333:user/ann", "aws"), ("arn:aws-cn:sts::012345678901:assumed-role/a/b", "aws-cn")],
)
def test_identity_gives_account_and_role(arn: str, partition: str, run: Run) -> None:
    done = run(f"aws() {{ echo {arn}; }}; identify; echo $caller $account $partition $role_arn")
    account = arn.split(":")[4]
    assert done.stdout == f"{arn} {account} {partition} arn:{partition}:iam::{account}:role/deployer\n"


@pytest.mark.parametrize(
    "arn", ["", "arn:aws:iam::11112222333:user/ann", "arn:aws:ec2::111122223333:x", "x arn:aws:iam::111122223333:"]
)
def test_answer_that_is_no_identity_is_refused(arn: str, run: Run) -> None:
    assert run(f"aws() {{ echo {shlex.quote(arn)}; }}; identify").stderr == f"{NOT_FROM_AWS}\n"


@pytest.mark.parametrize(
    ("error", "absent"),
    [
        ("An error occurred (NoSuchEntity) when calling", True),
        ("Error from server (NoSuchEntity): x", True),
        ("An error occurred (XNoSuchEntity) when calling", True),
        ("An error occurred (AccessDenied): NoSuchEntity", False),
        ("<html>(NoSuchEntity)</html>", False),
    ],
)
def test_only_the_error_of_absence_counts_as_absent(error: str, absent: bool, run: Run) -> None:
    done = run(f"fails() {{ echo {shlex.quote(error)} >&2; return 254; }}; lookup NoSuchEntity fails; echo absent")
    assert (done.stdout, done.stderr.splitlines()[:1]) == (("absent\n", []) if absent else ("", [error]))
    assert run("lookup NoSuchEntity echo there").stdout == "there\n"


def test_wait_asks_less_and_less_often_and_ends(run: Run) -> None:
    done = run('SECONDS=0; wait_until 180 "the stack" false')
    assert done.returncode == 1
    pauses = sleeps(done)
    assert pauses[:7] == [1, 2, 4, 8, 10, 10, 10]
    assert 180 <= sum(pauses) <= 190
    assert done.stderr.splitlines()[-1] == (
        "the stack is not finished after 3 minutes: check the AWS console, then run this again"
    )
    assert sleeps(run("n=0; third() { ((++n == 3)); }; wait_until 180 x third; echo $n >&2")) == [1, 2]


def test_failed_step_stops_nothing_else_and_is_named(run: Run) -> None:
    done = run(
        "bad() { false; echo not here; }; try one true; try two bad; try three exit 3\n"
        'echo "${failed[@]}"; false; echo not here'
    )
    assert done.stdout == "two three\n"


# --- stacks.sh


@pytest.mark.parametrize(
    ("status", "settled"),
    [("CREATE_COMPLETE", True), ("REVIEW_IN_PROGRESS", True), ("", True), ("DELETE_IN_PROGRESS", False)],
)
def test_stack_is_settled_when_nothing_is_in_progress(status: str, settled: bool, run: Run) -> None:
    done = run(f'aws() {{ echo "{status}"; }}; stack_settled demo && echo settled; echo "$status"')
    assert done.stdout == ("settled\n" if settled else "") + f"{status}\n"


def test_unreadable_status_is_no_status(run: Run) -> None:
    done = run("aws() { echo 'An error occurred (AccessDenied) x' >&2; return 1; }; stack_settled demo")
    assert done.stderr.splitlines()[-1].startswith("cannot read the status of stack demo: fix the error above")


def test_failures_of_the_latest_operation_are_explained(run: Run) -> None:
    events = "\n".join("\t".join(each) for each in [
        ("AWS::CloudFormation::Stack", "ROLLBACK_COMPLETE", "demo", ""),
        ("AWS::S3::Bucket", "CREATE_FAILED", "Bucket", "it exists"),
        ("AWS::IAM::Role", "UPDATE_IN_PROGRESS", "Role", "FAILED is a word"),
        ("AWS::IAM::Role", "CREATE_FAILED", "Role", "denied"),
        ("AWS::CloudFormation::Stack", "CREATE_IN_PROGRESS", "demo", "User Initiated"),
        ("AWS::S3::Bucket", "DELETE_FAILED", "Old", "of the operation before"),
    ])  # fmt: skip
    done = run(f"aws() {{ echo {shlex.quote(events)}; }}; explain_stack demo")
    assert (done.stdout, done.stderr) == ("", "    Bucket: it exists\n    Role: denied\n")


#: A bucket with three pages of versions; the third deletion has an error if BAD is set.
BUCKET = """
echo 3 >$work/pages
aws() {
  echo "aws $*" >&2
  local pages; pages=$(<$work/pages)
  case $2 in
    list-object-versions) ((pages == 0)) && echo '{"Objects": []}' || echo '{"Objects": [{"Key": "a"}]}' ;;
    delete-objects) echo $((pages - 1)) >$work/pages; [[ -z ${BAD:-} || $pages != 1 ]] || echo "a: AccessDenied" ;;
  esac
}
"""


def test_bucket_is_emptied_page_by_page(run: Run) -> None:
    done = run(f"{BUCKET} empty_bucket demo; echo done")
    assert done.stdout == "==> Empty the bucket demo\ndone\n"
    verbs = re.findall(r"^aws s3api (\S+) --bucket demo", done.stderr, re.MULTILINE)
    assert verbs == ["list-object-versions", "delete-objects"] * 3 + ["list-object-versions"]
    assert "--max-items 1000 " in done.stderr, "the most that one deletion takes"
    done = run(f"BAD=1; {BUCKET} empty_bucket demo; echo done")
    assert (done.returncode, done.stdout) == (1, "==> Empty the bucket demo\n")
    assert "bucket demo cannot be emptied: a: AccessDenied: fix the error above" in done.stderr


#: A stack whose deletions end with the statuses in order, and the buckets that it keeps.
STACK = """
wait_for_stack() { status=${statuses[0]}; statuses=("${statuses[@]:1}"); }
explain_stack() { echo "explain $1"; }
kept_buckets() { echo $keeps; }
empty_bucket() { echo "empty $1"; }
aws() { echo "$@"; }
"""


def test_deletion_of_a_stack_says_first_how_long_it_takes(run: Run) -> None:
    library = "source scripts/lib/deletion.sh; delete_stack() { echo deleted; }"
    done = run(f"{library}; wait_for_stack() {{ status=CREATE_COMPLETE; }}; remove_stack demo 3")
    assert done.stdout.splitlines() == ["==> Delete the stack demo, about 3 minutes", "deleted"]
    for status in ("", "DELETE_COMPLETE"):
        done = run(f"{library}; wait_for_stack() {{ status={status}; }}; remove_stack demo 3")
        assert done.stdout.splitlines() == ["==> There is no stack demo"]


def test_stack_that_keeps_buckets_is_deleted_again_once(run: Run) -> None:
    delete, failed = "cloudformation delete-stack --stack-name demo", "explain demo"
    done = run(f"{STACK} statuses=(DELETE_COMPLETE); delete_stack demo")
    assert done.stdout.splitlines() == [delete]
    done = run(f"{STACK} statuses=(''); delete_stack demo; echo after")
    assert done.stdout.splitlines() == [delete, "after"]
    done = run(f"{STACK} statuses=(DELETE_FAILED DELETE_COMPLETE) keeps='a b'; delete_stack demo; echo after")
    assert done.stdout.splitlines() == [delete, failed, "empty a", "empty b", delete, "after"]
    done = run(f"{STACK} statuses=(DELETE_FAILED DELETE_FAILED) keeps=a; delete_stack demo")
    assert (done.returncode, done.stdout.splitlines()) == (1, [delete, failed, "empty a", delete, failed])
    assert done.stderr == "stack demo is DELETE_FAILED: fix the errors above, then run this again\n"
    done = run(f"{STACK} statuses=(DELETE_FAILED) keeps=; delete_stack demo")
    assert (done.returncode, done.stdout.splitlines()) == (1, [delete, failed])


# --- cluster.sh


@pytest.mark.parametrize(
    ("nodes", "enough"),
    [("a Ready x\nb Ready,SchedulingDisabled x", True), ("a Ready x\nb NotReady x", False), ("", False),
     ("a Ready x\nb Ready x\nc NotReady x", True)],
)  # fmt: skip
def test_only_ready_nodes_count(nodes: str, enough: bool, run: Run) -> None:
    done = run(
        f"source scripts/lib/cluster.sh; kube() {{ echo {shlex.quote(nodes)}; }}; enough_nodes && echo yes || echo no"
    )
    assert done.stdout == ("yes\n" if enough else "no\n")


@pytest.mark.parametrize(
    ("status", "nodes", "does"),
    [
        ("CREATE_COMPLETE", "", []),
        ("", "", ["create"]),
        ("DELETE_COMPLETE", "", ["create"]),
        ("DELETE_COMPLETE", "node/a", []),
        ("CREATE_FAILED", "", ["delete", "create"]),
        ("ROLLBACK_COMPLETE", "", ["delete", "create"]),
        ("ROLLBACK_FAILED", "", ["delete", "create"]),
        ("DELETE_FAILED", "", ["delete", "create"]),
        ("REVIEW_IN_PROGRESS", "", ["delete", "create"]),
        ("UPDATE_ROLLBACK_COMPLETE", "", []),
    ],
)
def test_node_group_is_created_if_its_stack_has_none(status: str, nodes: str, does: list[str], run: Run) -> None:
    done = run(
        f"source scripts/lib/cluster.sh; wait_for_stack() {{ status='{status}'; }}; kube() {{ [[ $* == 'get nodes --output name' ]] && echo {nodes}; }}\n"
        'delete_stack() { echo "delete $1" >&2; }; eksctl() { echo "create $*" >&2; }; create_node_group; echo after'
    )
    assert done.stdout.splitlines()[-1] == "after"
    assert [line.split()[0] for line in done.stderr.splitlines()] == does
    if "delete" in does:
        assert done.stderr.splitlines()[0] == "delete eksctl-demo-nodegroup-nodes"


# --- budget.sh


@pytest.mark.parametrize(
    ("partition", "error", "printed"),
    [
        ("aws", "", "shown\n0\n"),
        ("aws", "NotFoundException", "0\n"),
        ("aws", "AccessDeniedException", "0\n"),
        ("aws", "ThrottlingException", "1\n"),
        ("aws-us-gov", "", "0\n"),
    ],
)
def test_finds_the_budget_where_there_can_be_one(partition: str, error: str, printed: str, run: Run) -> None:
    """An identity without the right to see it made none, so that teardown.sh works with older policies."""
    tool = f'echo "An error occurred ({error}) when calling" >&2; return 254' if error else "echo shown"
    done = run(
        f"source scripts/lib/budget.sh; partition={partition} account=1 STACK_NAME=s; command() {{ {tool}; }}\n"
        "find_budget --output text || code=$?; echo ${code:-0}"
    )
    assert done.stdout == printed


def test_deletion_of_the_budget_is_said_first(run: Run) -> None:
    done = run(
        "source scripts/lib/budget.sh; partition=aws account=1 STACK_NAME=demo\n"
        'lookup() { shift; [[ $3 == describe-budget ]] && echo demo-budget || echo "$3"; }; delete_budget'
    )
    assert done.stdout.splitlines() == ["==> Delete the budget demo-budget", "delete-budget"]
