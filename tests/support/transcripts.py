"""What the scripts print and call in usual situations, in tests/scripts/transcripts.txt.

``python -m tests.support.transcripts`` writes that file: a change of the scripts is then seen in its diff, with each
option of each call and each word of the output. The tests next to it say which of it matters and why.
"""

from __future__ import annotations

import json
import re
import shlex
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.desk import Desk, copy_of_checkout
from tests.support.names import ROLE_ARN, TOKEN
from tests.support.paths import FAKES, ROOT

FILE = ROOT / "tests" / "scripts" / "transcripts.txt"
IMAGE = "111122223333.dkr.ecr.us-east-2.amazonaws.com/hello-world@sha256:" + "a" * 64
CONTEXT = "arn:aws:eks:us-east-2:111122223333:cluster/eksctl-demo"
ABSENT = {
    "cluster": ("aws", "describe-cluster", "ResourceNotFoundException) when calling DescribeCluster: No cluster"),
    "stack": ("aws", "describe-stacks", "ValidationError) when calling DescribeStacks: Stack with id x does not exist"),
    "role": ("aws", "get-role ", "NoSuchEntity) when calling GetRole: no such role"),
    "aws-auth": ("kubectl", "get configmap", "NotFound): configmaps aws-auth not found"),
    "success": ("kubectl", "rollout status", "Timeout): deployment hello-world exceeded its progress deadline"),
    "namespace": ("kubectl", "get namespace", "NotFound): namespaces hello-world not found"),
}
#: What else the tools answer; the last rule that matches wins.
MORE = (
    ("kubectl", "version --client", json.dumps({"clientVersion": {"gitVersion": "v1.36.3"}}, indent=2)),
    ("aws", "freetier get-account-plan-state", "PAID\n"),
    ("aws", "describe-stacks", "CREATE_COMPLETE\n"),
    ("aws", "describe-stacks .*Parameters", "[]\n"),
    ("aws", "describe-stacks .*Outputs", "PipelineName\taws-pipeline\n"),
    ("aws", "get-role ", f"{ROLE_ARN}\n"),
    ("aws", "get-role .*CreateDate", "2026-01-01T00:00:00+00:00\n"),
    ("kubectl", "get nodes --output name", "node/node-1\nnode/node-2\n"),
    ("kubectl", "get-contexts", f"{CONTEXT}\n"),
    ("kubectl", "get --raw", f"1234567 {IMAGE}\n"),
)  # fmt: skip

#: What a call begins with.
CALL = "$ "
#: After such a line, calls run at the same time: they come after the output, in alphabetical order.
PARALLEL = re.compile(r"^==> (Check what the tutorial needs|Look for leftovers in .*)$")


@dataclass(frozen=True)
class Situation:
    """A script, its arguments, what is absent, and answers that differ: a tool, a pattern, and one answer after the other.

    An answer that begins with ``!`` is an error. ``when`` is a title instead of a list of what differs; ``variables`` are
    more of the environment.
    """

    call: str
    absent: tuple[str, ...] = ()
    differs: tuple[tuple[str, ...], ...] = ()
    when: str = ""
    variables: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        told = [f"no {each}" for each in self.absent]
        told += [f"{answer.strip()!r}" for _, _, *answers in self.differs for answer in answers]
        return f"{self.call} [{self.when or ', '.join(told)}]"


#: The revision before the release, and the image that it deployed.
UNDO = (
    ("kubectl", "get deployment/hello-world .*image", IMAGE),
    ("kubectl", "get deployment/hello-world .*revision", f"3|{IMAGE}"),
)
TIMED_OUT, UNREACHABLE = "!error: timed out waiting for the condition", "!Unable to connect to the server: i/o timeout"
VERDICT = '!error: deployment "hello-world" exceeded its progress deadline'
ROLLED_OUT = 'deployment "hello-world" successfully rolled out\n'
WAIT, HEALTH = ("kubectl", "rollout status .*=10s"), ("kubectl", "rollout status .*=20s")
#: As find_stuck_pods in scripts/lib/rollout.sh asks for it.
STUCK = (
    "=hello-world\t3\told\n=hello-world\t4\tnew\n=old\t\told-1\n0\t\t\n"
    "=new\t\tnew-1\n2\tCrashLoopBackOff\tback-off 20s\n"
)
CONNECT, DEPLOY = f"build/connect.sh eksctl-demo {ROLE_ARN}", f"build/deploy.sh {IMAGE}"
SITUATIONS = (
    Situation("preflight.sh"),
    Situation("preflight.sh", differs=(("aws", "get-service-quota", "2.0\n"), ("aws", "freetier", "FREE\n"))),
    Situation("check-github.sh"),
    Situation("create-cluster.sh", ("cluster",)),
    Situation("create-cluster.sh", ("cluster", "stack")),
    Situation("create-cluster.sh"),
    Situation("create-cluster.sh", (), (("aws", "list-addons", "vpc-cni\n"),)),
    Situation("create-role.sh", ("role",)),
    Situation("create-role.sh"),
    Situation("create-stack.sh", ("role",)),
    Situation("authorize-role.sh", ("aws-auth", "namespace")),
    Situation(
        "authorize-role.sh", (), (("aws", "describe-access-entry", "build\tdeployers\t2026-01-02T00:00:00+00:00\n"),)
    ),
    Situation("authorize-role.sh --remove"),
    Situation("status.sh"),
    Situation("status.sh", ("cluster", "stack", "role")),
    Situation("leftovers.sh"),
    Situation("leftovers.sh", ("cluster", "stack", "role"), (("kubectl", "get-contexts", ""),)),
    Situation("teardown.sh --yes", ("cluster", "stack", "role"), (("kubectl", "get-contexts", ""),)),
    Situation(CONNECT),
    Situation(
        CONNECT,
        differs=(
            ("aws", "update-kubeconfig", "!An error occurred (AccessDenied) when calling the AssumeRole operation"),
        ),
        when="the role does not trust the build",
    ),
    Situation(
        CONNECT,
        differs=(("aws", "update-kubeconfig", "!An error occurred (ResourceNotFoundException): No cluster found"),),
        when="no cluster",
    ),
    Situation(
        "build/install-kubectl.sh bin",
        differs=(("kubectl", "deployer version", '{"minor": "35"}\n{"minor": "36"}\n'),),
        when="a kubectl of the version before",
    ),
    Situation("build/install-kubectl.sh bin", differs=(("kubectl", "deployer version", "!error: Unauthorized"),)),
    Situation(DEPLOY),
    Situation("build/deploy.sh --check"),
    Situation(DEPLOY, ("success",), UNDO),
    Situation(DEPLOY, ("success",), when="the first deployment fails"),
    Situation(DEPLOY, differs=(("kubectl", "--ignore-not-found", UNREACHABLE),), when="no answer at first"),
    Situation(DEPLOY, differs=(*UNDO, ("kubectl", "apply", UNREACHABLE)), when="no answer to the change"),
    Situation(
        DEPLOY,
        differs=(
            *UNDO,
            ("kubectl", "--ignore-not-found", UNREACHABLE, f"3|{IMAGE}"),
            ("kubectl", "apply", UNREACHABLE, UNREACHABLE, "deployment.apps/hello-world configured\n"),
            (*WAIT, UNREACHABLE, TIMED_OUT, ROLLED_OUT),
            (
                "kubectl",
                "get --raw",
                "an older version",
                "!Error from server (ServiceUnavailable): no",
                f"1234567 {IMAGE}\n",
            ),
        ),
        when="some answers are lost",
    ),
    Situation(
        DEPLOY,
        differs=(
            *UNDO,
            (*WAIT, TIMED_OUT),
            ("kubectl", "get replicasets,pods", STUCK),
            ("kubectl", "get pods .*jsonpath", "old-1 True\nnew-1 False\n"),
            ("kubectl", "logs .*previous", "ModuleNotFoundError: No module named 'flsk'\n"),
            ("kubectl", "rollout undo", UNREACHABLE, "!error: unable to find specified revision 3 in history"),
            (*HEALTH, VERDICT, UNREACHABLE, ROLLED_OUT),
        ),
        when="its pods do not start",
    ),
    Situation(
        DEPLOY,
        differs=(
            *UNDO,
            ("kubectl", "get --raw", "!Error from server (InternalError): no"),
            ("kubectl", "get pods .*jsonpath", "!Error from server (Forbidden): no pods"),
            ("kubectl", "rollout undo", "!Error from server (Forbidden): no rollback"),
        ),
        when="the app fails, and the role may not undo",
    ),
    Situation(DEPLOY, differs=(*UNDO, (*WAIT, VERDICT), (*HEALTH, UNREACHABLE)), when="no answer after the rollback"),
    Situation(
        "build/check-findings.sh " + IMAGE + " HIGH",
        differs=(
            (
                "aws",
                "describe-image-scan-findings",
                "!An error occurred (ScanNotFoundException) when calling DescribeImageScanFindings: no scan",
                '["PENDING", null]\n',
                '["COMPLETE", [["LOW", "CVE-2026-0001", null, null], ["HIGH", "CVE-2026-0002", null, null]]]\n',
            ),
        ),
        when="one of the findings is HIGH",
    ),
    Situation("build/content-tag.sh"),
)


def shown(line: str) -> str:
    """Return a line of output, or of a call as it would be typed after ``$``."""
    return CALL + shlex.join(json.loads(line, strict=False)).replace("\n", "\\n") if line.startswith('["') else line


def learners_desk(home: Path) -> Desk:
    """Return the desk of a learner who has everything, and whose token GitHub accepts."""
    desk = Desk(home / "desk", copy_of_checkout(home / "checkout"))
    for name in ("Dockerfile", ".dockerignore", "buildspec.yml"):
        (desk.checkout / name).write_text("FROM scratch\n", encoding="utf-8")
    (desk.home / "bin" / "docker").symlink_to(FAKES / "docker.sh")
    desk.answer_as_if_present()
    for tool, pattern, answer in MORE:
        desk.answer(tool, pattern, stdout=answer)
    desk.answer("curl", "", real=str(FAKES / "github.sh"))
    return desk


def learners_environment(desk: Desk) -> dict[str, str]:
    """Return the variables of that learner's terminal."""
    return {
        "GITHUB_TOKEN": TOKEN,
        "ANSWER": "200 repo, admin:repo_hook",
        "KUBECONFIG": str(desk.home / "kubeconfig"),
    }


def transcript(situation: Situation, home: Path) -> str:
    """Return what a script calls, prints and returns, without what differs between runs."""
    desk = learners_desk(home)
    desk.note_pauses()
    for tool, pattern, *answers in situation.differs:
        desk.answer_in_turn(tool, pattern, *answers)
    for tool, pattern, error in (ABSENT[name] for name in situation.absent):
        desk.answer(
            tool,
            pattern,
            stderr=f"An error occurred ({error}\n" if tool == "aws" else f"Error from server ({error}\n",
            code=1,
        )
    script, *arguments = situation.call.split()
    with (desk.home / "calls").open("a", encoding="utf-8") as output:  # so that the calls are between what is printed
        done = desk.run(
            script,
            *arguments,
            output=output.fileno(),
            **(learners_environment(desk) | dict(situation.variables)),
        )
    lines = [shown(line) for line in (desk.home / "calls").read_text(encoding="utf-8").splitlines()]
    first = next((at for at, line in enumerate(lines, 1) if PARALLEL.match(line)), len(lines))
    lines[first:] = sorted(lines[first:], key=lambda line: line if line.startswith(CALL) else "")
    text = "\n".join([f"## {situation}", *lines, f"exit {done.returncode}"])
    for path, name in ((home / "desk", "HOME"), (home / "checkout", "CHECKOUT"), (ROOT, "ROOT")):
        text = text.replace(str(path), name)
    text = re.sub(r"^(ok +(python3|git|curl) +)\S+$", r"\1VERSION", text, flags=re.MULTILINE)
    return re.sub(r"(tmp|eksctl-demo|kubeconfig)\.\w{6,}", r"\1.RANDOM", text) + "\n"


def transcripts() -> Iterator[str]:
    """Yield the transcript of each situation."""
    for situation in SITUATIONS:
        with tempfile.TemporaryDirectory() as home:
            yield transcript(situation, Path(home))


if __name__ == "__main__":
    FILE.write_text("\n".join(transcripts()), encoding="utf-8")
