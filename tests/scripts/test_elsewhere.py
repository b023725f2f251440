"""Every setting with another value at once, in another region and in other partitions."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.support.account import started_account
from tests.support.desk import IDENTITY, Desk
from tests.support.names import ACCOUNT, CLUSTER, NAMESPACE, REGION, ROLE, STACK
from tests.support.parameter_values import PARTITIONS
from tests.support.paths import ROOT
from tests.support.template import TEMPLATE
from tests.support.worlds import world

#: Another value of every setting.
OTHER = {
    "AWS_REGION": "eu-central-1", "CLUSTER_NAME": "shop-cluster", "KUBERNETES_VERSION": "1.36", "NODE_TYPE": "t3.large", "NODE_COUNT": "2",
    "AUTHENTICATION_MODE": "CONFIG_MAP", "KUBECTL_ROLE_NAME": "ShopDeployer", "STACK_NAME": "Shop-Pipeline", "APP_NAMESPACE": "shop",
    "GITHUB_USER": "someone", "GITHUB_REPO": "shop", "GITHUB_BRANCH": "release",
}  # fmt: skip
DEFAULTS = (REGION, CLUSTER, NAMESPACE, ROLE, STACK, STACK.lower())
POLICIES = ("scripts", "stack", "cluster")
DOCUMENTS = (
    "trust.json",
    "iam-role-policy.json",
    "aws-auth-patch.yml",
    *(f"docs/policies/{name}.json" for name in POLICIES),
)


@pytest.mark.services
@pytest.mark.timeout(600)
def test_walk_in_another_region_with_the_rights_of_the_pages(tmp_path: Path) -> None:
    """The learner's policies, as learner-policy.sh prints them, suffice there, and nothing gets a default's name."""
    (tmp_path / "aws").mkdir()
    (tmp_path / "home").mkdir()
    with started_account(tmp_path / "aws", OTHER["AWS_REGION"]) as aws, world(aws, tmp_path / "home") as there:
        iam = aws.root("iam")
        iam.create_user(UserName="learner")
        for name in POLICIES:
            printed = there.run("learner-policy.sh", name, **OTHER)
            assert printed.code == 0, printed.output
            iam.put_user_policy(UserName="learner", PolicyName=name, PolicyDocument=printed.output)
        key = iam.create_access_key(UserName="learner")["AccessKey"]
        learner = OTHER | {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}
        for script in ("create-cluster.sh", "create-role.sh", "authorize-role.sh", "create-stack.sh"):
            run = there.run(script, **learner)
            assert run.code == 0, f"{script}: {run.output}"
        made = json.dumps(there.state(), default=str) + json.dumps(aws.outputs(OTHER["STACK_NAME"]))
        run = there.run("teardown.sh", "--yes", **learner)
        assert (run.code, run.output.splitlines()[-1]) == (0, "==> Nothing is left"), run.output
    assert [
        name
        for name in DEFAULTS
        if re.search(rf"\b{name}\b", re.sub("metadata.name: hello-world|hello-world:http", "", made))
    ] == []
    assert all(
        OTHER[name] in made
        for name in ("AWS_REGION", "CLUSTER_NAME", "KUBECTL_ROLE_NAME", "STACK_NAME", "APP_NAMESPACE")
    )


# --- Partitions: the emulator has only one, so these look at what the scripts would send.

KEEP = """\
#!/bin/sh
for word; do case $word in file://*.json | */*.yml) cat "${word#file://}" >>"$FAKES/documents" ;; esac; done
"""


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """Nothing is there yet, and the documents that AWS and the cluster get are kept."""
    desk = Desk(tmp_path / "desk")
    desk.answer_as_if_present()
    keep = desk.home / "keep"
    keep.write_text(KEEP)
    keep.chmod(0o755)
    desk.answer("aws", "create-role |put-role-policy ", real=str(keep))
    desk.answer("aws", "get-role ", stderr="An error occurred (NoSuchEntity) when calling GetRole: no\n", code=254)
    desk.answer(
        "kubectl", "get configmap", stderr='Error from server (NotFound): configmaps "aws-auth" not found\n', code=1
    )
    desk.answer("kubectl", "create -f .*aws-auth-patch", real=str(keep))
    desk.answer("kubectl", "get-contexts", stdout="")
    return desk


@pytest.mark.parametrize("region", PARTITIONS)
def test_documents_and_calls_are_of_the_callers_partition(region: str, desk: Desk) -> None:
    partition = PARTITIONS[region]
    desk.answer(IDENTITY[0], IDENTITY[1], stdout=f"arn:{partition}:iam::{ACCOUNT}:user/learner\n")
    here = OTHER | {"AWS_REGION": region, "AUTHENTICATION_MODE": "API_AND_CONFIG_MAP", "NODE_COUNT": "2"}
    printed = ""
    for script, *arguments in (
        ["create-role.sh"],
        ["authorize-role.sh"],
        ["leftovers.sh"],
        *(["learner-policy.sh", name] for name in POLICIES),
    ):
        done = desk.run(script, *arguments, **here)
        assert done.returncode == 0 or script == "authorize-role.sh", f"{script}: {done.stderr}"
        printed += done.stdout
    text = printed + (desk.home / "documents").read_text() + json.dumps(desk.calls())
    arns = re.findall(r"\barn:([\w-]*):([\w-]*):([\w-]*):", text)
    assert {each[0] for each in arns} == {partition}
    assert {each[2] for each in arns} <= {region, ""}
    assert "sts:AssumeRole" in text
    assert "rolearn" in text
    assert [name for name in (*DEFAULTS, "<") if name in text.replace("hello-world", "")] == []


@pytest.mark.parametrize("region", [region for region, partition in PARTITIONS.items() if partition != "aws"])
def test_free_plan_exists_in_the_main_partition_only(region: str, desk: Desk) -> None:
    done = desk.run("preflight.sh", AWS_REGION=region)
    assert "ok      plan        none in this region" in done.stdout.splitlines()
    assert [call for call in desk.calls() if "freetier" in call] == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_documents_have_placeholders_for_what_settings_name(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert not re.search(r"arn:aws|\d{12}", text)
    if name.endswith(".json"):
        assert [value for value in DEFAULTS if value in text] == []


def test_pages_name_the_settings_in_their_commands() -> None:
    """What a reader pastes works in another region and partition; the output that is shown is that of the defaults."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    commands = "\n".join(
        fence
        for page in pages
        for fence in re.findall(r"^```bash[^\n]*\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
    )
    remedies = "\n".join(re.findall(r"`(aws [^`]*|kubectl [^`]*)`", (ROOT / "docs" / "troubleshooting.md").read_text()))
    assert re.findall(rf"arn:aws:.*|.*\b(?:{REGION}|{CLUSTER}|{STACK}|{ROLE})\b.*", commands + remedies) == []


def test_template_has_the_console_of_each_partition() -> None:
    assert set(TEMPLATE["Mappings"]["Partition"]) == set(PARTITIONS.values())
    assert "arn:aws:" not in json.dumps(TEMPLATE["Resources"]) + json.dumps(TEMPLATE["Outputs"])
