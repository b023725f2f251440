"""aws-auth in a real API server: concurrent writers, a stale version, and documents of every kind.

The script and kubectl are real. Only the AWS CLI is a stand-in that answers at once, since starting 20 real ones would
take most of the time.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from rehearsal.settings import settings
from tests.support.fixtures import Figure, Rehearsal
from tests.support.names import ACCOUNT, ROLE_ARN
from tests.support.paths import ROOT

pytestmark = [pytest.mark.rehearsal, pytest.mark.timeout(240)]

ARN = f"arn:aws:iam::{ACCOUNT}:role/"
OTHER = f"- rolearn: {ARN}nodes # keep\n  username: system:node:{{{{EC2PrivateDNSName}}}}\n  groups: [system:nodes]\n"
AWS = """\
#!/usr/bin/env bash
case $* in
  *get-caller-identity*) echo arn:aws:iam::111122223333:user/learner ;;
  *update-kubeconfig*) cp {kubeconfig} "${!#}" ;;
  *describe-cluster*) echo API_AND_CONFIG_MAP ;;
  *describe-access-entry*) echo "An error occurred (ResourceNotFoundException): none" >&2 && exit 254 ;;
  *) echo "unexpected: $*" >&2 && exit 255 ;;
esac
"""
#: A kubectl that writes to aws-auth for someone else once, right after the script has read it.
RACING_KUBECTL = """\
#!/usr/bin/env bash
{kubectl} "$@" || exit
[[ $* == *"get configmap/aws-auth"* && ! -e {flag} ]] || exit 0
touch {flag}
{kubectl} --kubeconfig {kubeconfig} -n kube-system patch configmap aws-auth --patch '{patch}' >/dev/null
"""

#: On a busy machine one of 20 writers may lose the race for five minutes; the test then follows the message.
GIVEN_UP = "the update of aws-auth is not finished after 5 minutes: check the AWS console, then run this again\n"


class Desk:
    """authorize-role.sh, a real kubectl of the cluster's administrator, and aws-auth."""

    def __init__(self, home: Path, env: dict[str, str]) -> None:
        self.bin = home / "bin"
        self.kubeconfig = settings.run / "kubernetes" / "super-admin.conf"
        self.env = env | {"PATH": f"{self.bin}:{env['PATH']}", "TMPDIR": str(home)}
        self.bin.mkdir()
        self.install("aws", AWS)

    def install(self, name: str, text: str, **values: object) -> None:
        """Install a program that comes before the learner's on PATH."""
        values = {
            "kubectl": settings.bin / "kubectl",
            "kubeconfig": self.kubeconfig,
            "flag": self.bin / "flag",
        } | values
        for key, value in values.items():
            text = text.replace("{" + key + "}", str(value))
        (self.bin / name).write_text(text)
        (self.bin / name).chmod(0o755)

    def kubectl(self, *args: str, stdin: str | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
        command = [str(settings.bin / "kubectl"), "--kubeconfig", str(self.kubeconfig), "-n", "kube-system", *args]
        return subprocess.run(
            command, env=self.env, input=stdin, capture_output=True, text=True, timeout=30, check=check
        )

    def read(self) -> dict[str, Any] | None:
        text = self.kubectl("get", "configmap", "aws-auth", "--ignore-not-found", "-o", "json").stdout
        return dict(json.loads(text)) if text else None

    def write(self, data: dict[str, str] | None) -> None:
        """Replace the data of aws-auth, or delete it."""
        self.kubectl("delete", "configmap", "aws-auth", "--ignore-not-found")
        if data is not None:
            document = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "aws-auth"}, "data": data}
            self.kubectl("create", "-f", "-", stdin=json.dumps(document))

    def authorize(self, *args: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [ROOT / "scripts" / "authorize-role.sh", *args], env=self.env | environment, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=400, check=False,
        )  # fmt: skip


@pytest.fixture
def desk(cluster: Rehearsal, tmp_path: Path) -> Iterator[Desk]:
    """Restores aws-auth afterwards."""
    desk = Desk(tmp_path, cluster.env)
    kept = (desk.read() or {}).get("data")
    yield desk
    desk.write(kept)


def roles(desk: Desk) -> list[str]:
    document = desk.read()
    assert document is not None
    return [entry["rolearn"].removeprefix(ARN) for entry in yaml.safe_load(document["data"]["mapRoles"])]


@pytest.mark.parametrize(
    ("writers", "changes"), [(4, 2), pytest.param(20, 10, marks=[pytest.mark.slow, pytest.mark.timeout(900)])]
)
def test_concurrent_writers_lose_no_change(writers: int, changes: int, desk: Desk, figure: Figure) -> None:
    desk.write({"mapRoles": OTHER, "mapUsers": "[]"})
    refused = 0

    def write(writer: int) -> None:
        nonlocal refused
        for change in range(changes):
            done = desk.authorize(KUBECTL_ROLE_NAME=f"writer-{writer}-{change}")
            if done.stderr.endswith(GIVEN_UP):
                done = desk.authorize(KUBECTL_ROLE_NAME=f"writer-{writer}-{change}")
            assert done.returncode == 0, done.stderr
            refused += done.stderr.count("someone else changed aws-auth at the same time: fetching it again")

    with ThreadPoolExecutor(writers) as pool:
        list(pool.map(write, range(writers)))
    wanted = {f"writer-{writer}-{change}" for writer in range(writers) for change in range(changes)}
    found = roles(desk)
    document = desk.read()
    assert document is not None
    assert found[0] == "nodes"
    assert document["data"]["mapRoles"].startswith(OTHER)
    assert document["data"]["mapUsers"] == "[]"
    kept = f"{len(set(found) & wanted)} of {writers * changes} kept, after ~{refused} rejections"
    figure("aws-auth: concurrent writers lose no change", kept)
    assert sorted(found[1:]) == sorted(wanted)
    assert refused, "no write was rejected, so nothing was tried"


def test_stale_version_is_rejected_and_fetched_again(desk: Desk, figure: Figure) -> None:
    desk.write({"mapRoles": OTHER})
    patch = {"data": {"mapRoles": OTHER + f"- {{rolearn: {ARN}in-between, username: x}}\n"}}
    desk.install("kubectl", RACING_KUBECTL, patch=json.dumps(patch))
    done = desk.authorize()
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("someone else changed aws-auth at the same time: fetching it again") == 1
    wanted = ["in-between", ROLE_ARN.removeprefix(ARN)]
    kept = [role for role in roles(desk) if role in wanted]
    figure("aws-auth: a write to a stale version is rejected and retried", f"{len(kept)} of {len(wanted)} changes kept")
    assert roles(desk) == ["nodes", *wanted]
    assert saved(done.stderr)["data"] == patch["data"], (
        "the copy is of the version that was overwritten, not of the first one read"
    )
    document = desk.read()
    assert document is not None
    document["metadata"] = {"name": "aws-auth", "resourceVersion": "1"}
    stale = desk.kubectl("patch", "configmap", "aws-auth", "--patch", json.dumps(document), check=False)
    assert stale.returncode == 1
    assert "(Conflict)" in stale.stderr


def saved(said: str) -> dict[str, Any]:
    """Read the copy that the script's message names."""
    (line,) = [line for line in said.splitlines() if line.startswith("the previous aws-auth is saved in ")]
    return dict(yaml.safe_load(Path(line.removeprefix("the previous aws-auth is saved in ")).read_text()))


STATES: dict[str, dict[str, str] | None] = {
    "missing": None,
    "empty": {},
    "no roles": {"mapUsers": "- userarn: arn:aws:iam::111122223333:user/ann\n"},
    "empty text": {"mapRoles": ""},
    "CRLF": {"mapRoles": OTHER.replace("\n", "\r\n"), "mapUsers": "[]\r\n"},
    "twice": {"mapRoles": OTHER + OTHER + f"- rolearn: {ROLE_ARN}\n  groups: [system:masters]\n" * 2},
    "unknown": {
        "mapRoles": OTHER + "- rolearn: x\n  session: 012\n  new: {a: [~, yes]}\n",
        "other": "1:30\t\n \u2028é",
    },
    "flow": {"mapRoles": "[{rolearn: x, groups: [yes, 1:30]}]"},
    "long": {"mapRoles": OTHER + "".join(f"- rolearn: {ARN}r{number}\n  username: é\n" for number in range(100))},
}


@pytest.mark.parametrize("state", STATES)
def test_each_state_gets_the_entry_and_keeps_the_rest(state: str, desk: Desk) -> None:
    before = STATES[state] or {}
    desk.write(STATES[state])
    done = desk.authorize()
    assert done.returncode == 0, done.stderr
    document = desk.read()
    assert document is not None
    assert document["data"] | {"mapRoles": ""} == before | {"mapRoles": ""}
    assert saved(done.stderr).get("data", {}) == before
    assert ours(document["data"]["mapRoles"]) == [{"rolearn": ROLE_ARN, "username": "build", "groups": ["deployers"]}]
    assert others(document["data"]["mapRoles"]) == others(before.get("mapRoles", ""))


def test_unreadable_aws_auth_is_unchanged_and_the_copy_restores_it(desk: Desk) -> None:
    broken = {"mapRoles": "- rolearn: x\n\t- system:masters\n", "mapUsers": "[]"}
    desk.write(broken)
    before = desk.read()
    done = desk.authorize()
    assert done.returncode == 1
    assert done.stderr.startswith("aws-auth: mapRoles cannot be read (line 2: ")
    assert desk.read() == before, "nothing was written"
    copy = done.stderr.split("A copy is in ")[1].split(". Fix it")[0]
    desk.write({"mapRoles": "[]"})
    desk.kubectl("replace", "-f", copy)
    assert (desk.read() or {})["data"] == broken


def entries(text: str) -> list[dict[str, Any]]:
    return yaml.load(text, Loader=yaml.CBaseLoader) or []  # noqa: S506 (makes text, lists and mappings alone)


def ours(text: str) -> list[dict[str, Any]]:
    return [entry for entry in entries(text) if entry["rolearn"] == ROLE_ARN]


def others(text: str) -> list[dict[str, Any]]:
    return [entry for entry in entries(text) if entry["rolearn"] != ROLE_ARN]
