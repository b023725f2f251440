"""The scripts with staging: rights in its namespace, its address, its cost and its end; and nothing of it without."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.desk import NO_STAGING, Desk, copy_of_checkout
from tests.support.names import ROLE_ARN as ROLE
from tests.support.paths import ROOT

STAGING = "hello-world-staging"
METADATA = {"name": "aws-auth", "namespace": "kube-system", "resourceVersion": "1"}
MAPPED = f"- {{rolearn: '{ROLE}', username: build, groups: [deployers]}}"
AWS_AUTH = json.dumps({"kind": "ConfigMap", "metadata": METADATA, "data": {"mapRoles": MAPPED}})


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A cluster in which the role may deploy to production."""
    desk = Desk(tmp_path / "desk", copy_of_checkout(tmp_path / "checkout"))
    desk.answer_as_if_present()
    desk.answer("aws", "describe-access-entry", stderr="An error occurred (ResourceNotFoundException)", code=254)
    desk.answer("aws", "describe-cluster .*upgradePolicy", stdout="ACTIVE, 1.36, STANDARD, CONFIG_MAP\n")
    desk.answer("aws", "describe-stacks", stderr="An error occurred (ValidationError): Stack does not exist", code=254)
    desk.answer("aws", "get-role", stderr="An error occurred (NoSuchEntity)", code=254)
    desk.answer("kubectl", "get configmap/aws-auth", stdout=AWS_AUTH)
    for name, address in ((r"hello-world ", "10.0.0.1"), (STAGING, "10.0.0.2")):
        desk.answer("kubectl", f"get services -n {name}", stdout=f"{address}\n")
    return desk


def namespaces(desk: Desk, verb: str) -> list[str]:
    """Return the namespaces in which kubectl was called with a verb."""
    calls = [" ".join(call) for call in desk.calls() if call[0] == "kubectl"]
    return [found[1] for call in calls if (found := re.search(rf" {verb} .*-n (\S+)", call))]


@pytest.mark.parametrize(
    ("value", "wanted"),
    [("true", ["hello-world", STAGING]), ("false", ["hello-world"]), ("", ["hello-world"])],
)
def test_role_gets_and_is_asked_for_its_rights_in_each_namespace(value: str, wanted: list[str], desk: Desk) -> None:
    done = desk.run("authorize-role.sh", STAGING=value)
    assert done.returncode == 0, done.stderr
    assert namespaces(desk, "apply") == wanted
    assert sum("reviews.json" in " ".join(call) for call in desk.calls()) == len(wanted)


def test_right_that_is_missing_in_staging_is_reported(desk: Desk) -> None:
    answers = desk.home / "answers"
    real = next(rule[2]["real"] for rule in desk.rules if "reviews" in rule[1])
    answers.write_text(
        f'#!/bin/sh\nif grep -q {STAGING} "$HOME"/tmp.*/reviews.json; then {real} "$@" | sed s/true/false/; '
        f'else exec {real} "$@"; fi\n'
    )
    answers.chmod(0o755)
    desk.answer("kubectl", "create -f .*reviews.json", real=str(answers))
    done = desk.run("authorize-role.sh", STAGING="true")
    assert done.returncode == 1
    assert f"the RoleBinding deployer in {STAGING}, then run this again" in done.stderr


@pytest.mark.parametrize("there", [True, False])
def test_status_and_teardown_find_staging_in_the_cluster(there: bool, desk: Desk) -> None:
    """Neither needs the setting, which the terminal may no longer have."""
    desk.answer("kubectl", NO_STAGING, stdout=STAGING if there else "")
    shown = desk.run("status.sh")
    assert shown.returncode == 0, shown.stderr
    assert "app         http://10.0.0.1/" in shown.stdout.splitlines()
    assert ("staging     http://10.0.0.2/" in shown.stdout.splitlines()) == there
    assert ("2 load balancer" in shown.stdout) == there
    desk.run("teardown.sh", "--yes")
    wanted = ["hello-world", STAGING][: 1 + there]
    assert namespaces(desk, "delete deployment,service,hpa") == wanted
    assert [found for call in desk.calls() for found in re.findall(r"delete namespace (\S+)", " ".join(call))] == wanted


@pytest.mark.parametrize("script", ["authorize-role.sh", "create-stack.sh", "preflight.sh"])
@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"STAGING": "yes"}, "STAGING is yes: set it to true or false"),
        ({"STAGING": "true", "APP_NAMESPACE": "a" * 56},
         f"APP_NAMESPACE is {'a' * 56}: set it to at most 55 characters, because STAGING appends \"-staging\""),
    ],
)  # fmt: skip
def test_wrong_settings_are_refused_before_any_call(
    script: str, settings: dict[str, str], says: str, desk: Desk
) -> None:
    done = desk.run(script, **settings)
    assert (done.returncode, done.stderr) == (2, f"{says}, in settings.sh or the environment\n")
    assert desk.calls() == []


def test_longest_name_with_staging_is_that_of_a_namespace(desk: Desk) -> None:
    """A namespace's name has at most 63 characters, "-staging" included."""
    done = desk.run("preflight.sh", STAGING="true", APP_NAMESPACE="a" * 55)
    assert "APP_NAMESPACE" not in done.stderr
    assert desk.calls()


def test_page_says_what_staging_costs() -> None:
    def an_hour(**environment: str) -> float:
        command = [sys.executable, "scripts/lib/cost.py", "t3.medium", "2"]
        said = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True, timeout=60
        )
        return float(said.stdout.split()[1].removeprefix("$"))

    more = an_hour(STAGING="true") - an_hour()
    assert f"costs ${more:.2f} an hour more" in " ".join((ROOT / "docs" / "staging.md").read_text().split())
