"""Authentication to the cluster: genuine tokens, the real aws-iam-authenticator, aws-auth and access entries."""

from __future__ import annotations

import json
import re
import ssl
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from rehearsal import waiting
from rehearsal.emulator.client import root
from rehearsal.learner import USER
from rehearsal.settings import settings
from scripts.lib.certify.pages import commands
from tests.support.fixtures import Rehearsal
from tests.support.paths import ROOT
from tests.support.tokens import decode, encode, sign

pytestmark = [pytest.mark.rehearsal, pytest.mark.timeout(120)]

NAMESPACE = "identity-test"
GROUP = "identity-testers"
ACCOUNT_ROOT = f"arn:aws:iam::{settings.account}:root"
DEPLOYMENTS = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments"
TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"AWS": ACCOUNT_ROOT}, "Action": "sts:AssumeRole"}],
}

ROLES = {"tester": "/", "stranger": "/", "pathy": "/team/x/"}
HOME = f"arn:aws:iam::{settings.account}:role"

Mapping = dict[str, Any]


def admin(*args: str, stdin: str | None = None) -> str:
    """Run kubectl with the cluster's own client certificate, which needs no token."""
    kubeconfig = settings.run / "kubernetes" / "super-admin.conf"
    command = [str(settings.bin / "kubectl"), "--kubeconfig", str(kubeconfig), *args]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, check=True, timeout=30).stdout


def read_aws_auth() -> Mapping | None:
    text = admin("-n", "kube-system", "get", "configmap", "aws-auth", "--ignore-not-found", "-o", "json")
    return dict(json.loads(text)["data"]) if text else None


def replace_aws_auth(data: Mapping | None) -> None:
    admin("-n", "kube-system", "delete", "configmap", "aws-auth", "--ignore-not-found")
    if data is not None:
        metadata = {"name": "aws-auth", "namespace": "kube-system"}
        document = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
        admin("create", "-f", "-", stdin=json.dumps(document))


def write_aws_auth(map_roles: str | None) -> None:
    replace_aws_auth(None if map_roles is None else {"mapRoles": map_roles})


def write_mappings(*mappings: Mapping) -> None:
    write_aws_auth(json.dumps(list(mappings)))


def mapping(rolearn: str, username: str = "tester:{{SessionName}}", *groups: str) -> Mapping:
    return {"rolearn": rolearn, "username": username, "groups": list(groups or [GROUP])}


@pytest.fixture(scope="module", name="eks")
def _eks(cluster: Rehearsal) -> Iterator[Rehearsal]:
    """The cluster with roles, a namespace and a group for these tests; aws-auth is restored afterwards."""
    iam = root("iam")
    kept = read_aws_auth()
    for name, path in ROLES.items():
        iam.create_role(RoleName=name, Path=path, AssumeRolePolicyDocument=json.dumps(TRUST))
    admin("create", "namespace", NAMESPACE)
    admin("-n", NAMESPACE, "create", "role", "learner", "--verb=get,list", "--resource=deployments.apps")
    admin("-n", NAMESPACE, "create", "rolebinding", "learner", "--role=learner", f"--group={GROUP}")
    yield cluster
    replace_aws_auth(kept)
    admin("delete", "namespace", NAMESPACE, "--wait=false")
    for name in ROLES:
        iam.delete_role(RoleName=name)


@pytest.fixture(autouse=True)
def _mapped(eks: Rehearsal) -> None:
    """Map only the role ``tester`` before each test."""
    assert eks
    write_mappings(mapping(f"{HOME}/tester"))


def cluster_name(eks: Rehearsal) -> str:
    return str(root("eks").list_clusters()["clusters"][0]) if eks else ""


def assume(role: str, session: str = "session") -> dict[str, str]:
    arn = root("iam").get_role(RoleName=role)["Role"]["Arn"]
    got = root("sts").assume_role(RoleArn=arn, RoleSessionName=session)["Credentials"]
    return {
        "AWS_ACCESS_KEY_ID": got["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": got["SecretAccessKey"],
        "AWS_SESSION_TOKEN": got["SessionToken"],
    }


def cli_token(eks: Rehearsal) -> str:
    """The token that ``aws eks get-token`` returns for the role ``tester``."""
    args = ["aws", "eks", "get-token", "--cluster-name", cluster_name(eks)]
    got = subprocess.run(args, env=eks.env | assume("tester"), capture_output=True, text=True, check=True, timeout=30)
    return str(json.loads(got.stdout)["status"]["token"])


def token(eks: Rehearsal, role: str = "tester", session: str = "session", name: str = "") -> str:
    """A token of a role, signed as the AWS CLI signs it but without starting the CLI, which is slow."""
    return sign(name or cluster_name(eks), assume(role, session))


def ask(bearer: str, path: str = DEPLOYMENTS, review: Mapping | None = None) -> httpx.Response:
    """Send one request to the API server with only a bearer token."""
    record = json.loads(settings.cluster_record.read_text())
    context = ssl.create_default_context(cafile=record["certificate_authority"])
    with httpx.Client(base_url=record["endpoint"], verify=context, trust_env=False, timeout=20) as client:
        return client.request(
            "POST" if review else "GET", path, json=review, headers={"Authorization": f"Bearer {bearer}"}
        )


def settles(bearer: Callable[[], str], status: int, path: str = DEPLOYMENTS) -> bool:
    """Wait until the API server answers ``status``; every request has a new token, because answers are cached."""
    answers: list[int] = []

    def answered() -> bool:
        answers.append(ask(bearer(), path).status_code)
        return answers[-1] == status

    return waiting.until(answered, 15, f"status {status}", lambda: f"The API server answers {answers[-1]}.", pause=0.3)


def identity(bearer: str) -> Mapping:
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    answer = ask(bearer, "/apis/authentication.k8s.io/v1/selfsubjectreviews", review)
    assert answer.status_code == 201, answer.text
    return dict(answer.json()["status"]["userInfo"])


def test_mapped_role_has_the_name_of_aws_auth_and_the_rights_of_rbac(eks: Rehearsal) -> None:
    assert settles(lambda: cli_token(eks), 200)
    who = identity(cli_token(eks))
    assert who["username"] == "tester:session"
    assert GROUP in who["groups"]
    assert ask(token(eks), "/api/v1/namespaces/kube-system/secrets").status_code == 403
    assert ask(token(eks), "/apis/apps/v1/namespaces/default/deployments").status_code == 403


def test_kubectl_works_with_the_kubeconfig_of_update_kubeconfig(eks: Rehearsal, tmp_path: Any) -> None:
    assert settles(lambda: token(eks), 200)
    kubeconfig = str(tmp_path / "kubeconfig")
    eks.run("aws", "eks", "update-kubeconfig", "--name", cluster_name(eks), "--kubeconfig", kubeconfig)
    command = ["kubectl", "--kubeconfig", kubeconfig, "-n", NAMESPACE, "get", "deployments"]
    done = subprocess.run(
        command, env=eks.env | assume("tester"), capture_output=True, text=True, check=True, timeout=30
    )
    assert "No resources found" in done.stderr


@pytest.mark.parametrize(
    "map_roles",
    [
        pytest.param(None, id="no aws-auth"),
        pytest.param("- {rolearn: [", id="not YAML"),
        pytest.param(json.dumps([mapping(f"{HOME}/stranger")]), id="another role"),
    ],
)
def test_unmapped_role_is_unauthorized(eks: Rehearsal, map_roles: str | None) -> None:
    write_aws_auth(map_roles)
    assert settles(lambda: token(eks), 401)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda url: url[:-1] + ("0" if url[-1] != "0" else "1"), id="signature"),
        pytest.param(lambda url: url.replace("://", "://evil.", 1), id="host"),
        pytest.param(lambda url: url.replace("https:", "http:", 1), id="scheme"),
        pytest.param(lambda url: url.replace("GetCallerIdentity", "GetSessionToken", 1), id="action"),
        pytest.param(lambda url: url + "&X=1", id="extra parameter"),
        pytest.param(lambda url: url + "&action=GetCallerIdentity", id="repeated parameter"),
        pytest.param(lambda url: re.sub(r"(X-Amz-Date=\d{8}T)\d{6}", r"\g<1>235959", url), id="date"),
        pytest.param(lambda url: re.sub(r"ASIA[A-Z0-9]+", settings.account, url), id="key of the account's root"),
    ],
)
def test_changed_token_is_unauthorized(eks: Rehearsal, change: Callable[[str], str]) -> None:
    assert settles(lambda: token(eks), 200)
    assert ask(encode(change(decode(token(eks))))).status_code == 401


def test_token_of_another_cluster_is_unauthorized(eks: Rehearsal) -> None:
    assert settles(lambda: token(eks), 200)
    assert ask(token(eks, name="another-cluster")).status_code == 401


@pytest.mark.parametrize(("seconds", "status"), [(-1000, 401), (-600, 200)])
def test_token_is_valid_for_fifteen_minutes(eks: Rehearsal, seconds: int, status: int) -> None:
    assert settles(lambda: token(eks), 200)
    assert ask(sign(cluster_name(eks), assume("tester"), seconds)).status_code == status


def test_account_id_as_key_is_unauthorized_even_if_root_is_mapped(eks: Rehearsal) -> None:
    write_mappings(mapping(f"{HOME}/tester"), mapping(ACCOUNT_ROOT, "root", "system:masters"))
    assert settles(lambda: token(eks), 200)
    forged = {"AWS_ACCESS_KEY_ID": settings.account, "AWS_SECRET_ACCESS_KEY": "test"}
    assert ask(sign(cluster_name(eks), forged)).status_code == 401


def test_session_names_are_sanitized_unless_the_mapping_wants_them_raw(eks: Rehearsal) -> None:
    session = "a" * 50 + "@example.com"
    assert settles(lambda: token(eks), 200)
    assert identity(token(eks, session=session))["username"] == f"tester:{session.replace('@', '-')}"
    write_mappings(mapping(f"{HOME}/tester", "raw:{{SessionNameRaw}}"))
    assert settles(lambda: token(eks, session=session), 200)
    raw = f"raw:{session}"
    waiting.until(lambda: identity(token(eks, session=session))["username"] == raw, 10, f"the user {raw}")


def test_role_with_a_path_is_mapped_without_the_path(eks: Rehearsal) -> None:
    write_mappings(mapping(f"{HOME}/tester"), mapping(f"{HOME}/team/x/pathy"))
    assert settles(lambda: token(eks), 200)
    assert ask(token(eks, "pathy")).status_code == 401
    write_mappings(mapping(f"{HOME}/PATHY"))
    assert settles(lambda: token(eks, "pathy"), 200)


def test_access_entry_takes_precedence_over_aws_auth(eks: Rehearsal) -> None:
    api, name = root("eks"), cluster_name(eks)
    principal = f"{HOME}/tester"
    api.create_access_entry(clusterName=name, principalArn=principal, kubernetesGroups=[GROUP], username="by-entry")
    try:
        waiting.until(
            lambda: ask(token(eks)).status_code == 200 and identity(token(eks))["username"] == "by-entry",
            10, "the user of the access entry", pause=0.3,
        )  # fmt: skip
        write_aws_auth(None)
        assert settles(lambda: token(eks), 200)
    finally:
        api.delete_access_entry(clusterName=name, principalArn=principal)
    assert settles(lambda: token(eks), 401)


def test_aws_auth_does_not_count_in_mode_api(eks: Rehearsal) -> None:
    assert settles(lambda: token(eks), 200)
    kept = settings.authenticator_backends.read_text()
    settings.authenticator_backends.write_text('{"backendMode": "DynamicFile"}')
    try:
        assert settles(lambda: token(eks), 401)
    finally:
        settings.authenticator_backends.write_text(kept)
    assert settles(lambda: token(eks), 200)


@pytest.mark.parametrize("by", ["hand", "script"])
def test_role_is_mapped_where_eks_made_no_aws_auth(eks: Rehearsal, by: str, tmp_path: Path) -> None:
    write_aws_auth(None)
    context = eks.run("kubectl", "config", "current-context").stdout.strip()
    env = eks.env | {"KUBECTL_ROLE_NAME": "tester", "ACCOUNT_ID": settings.account, "PARTITION": "aws"}
    env |= {"context": context, "scratch": str(tmp_path)}
    (edit,) = [each.script for each in commands(ROOT / "README.md") if "mapRoles: |/r" in each.script]
    command = ["bash", "-euc", edit] if by == "hand" else ["scripts/authorize-role.sh"]
    subprocess.run(command, env=env, cwd=eks.checkout, check=True, timeout=120, capture_output=True)
    assert settles(lambda: token(eks), 403)
    assert identity(token(eks))["username"] == "build"


def test_creator_is_an_administrator(eks: Rehearsal) -> None:
    write_aws_auth(None)
    done = eks.run("kubectl", "auth", "whoami", "-o", "jsonpath={.status.userInfo.groups}")
    assert "system:masters" in done.stdout


def test_script_corrects_the_access_entry_that_wins(eks: Rehearsal) -> None:
    """aws-auth maps the role already, but its access entry gives it another user; and only warn is restricted."""
    api, name, principal = root("eks"), cluster_name(eks), f"{HOME}/tester"
    namespace = "identity-app"
    admin("create", "namespace", namespace)
    level = "pod-security.kubernetes.io/"
    admin("label", "namespace", namespace, f"{level}enforce=privileged", f"{level}warn=restricted")
    write_mappings(mapping(principal, "build", "deployers"))
    api.create_access_entry(clusterName=name, principalArn=principal, kubernetesGroups=["readers"], username="reader")
    env = eks.env | {"KUBECTL_ROLE_NAME": "tester", "APP_NAMESPACE": namespace}
    deployments = f"/apis/apps/v1/namespaces/{namespace}/deployments"
    # The learner may read the age of the tutorial's role only.
    right = {"Effect": "Allow", "Action": "iam:GetRole", "Resource": principal}
    document = json.dumps({"Version": "2012-10-17", "Statement": [right]})
    root("iam").put_user_policy(UserName=USER, PolicyName="age", PolicyDocument=document)
    try:
        assert settles(lambda: token(eks), 403, deployments)
        done = subprocess.run(
            ["scripts/authorize-role.sh"], env=env, cwd=eks.checkout, check=False, timeout=120, capture_output=True, text=True
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        last = "==> The role may deploy: to the cluster it is user build of group deployers, by an access entry"
        assert done.stdout.splitlines()[-1] == last
        assert settles(lambda: token(eks), 200, deployments)
        assert identity(token(eks))["username"] == "build"
        assert (
            json.loads(admin("get", "namespace", namespace, "-o", "json"))["metadata"]["labels"][f"{level}enforce"]
            == "restricted"
        )
    finally:
        root("iam").delete_user_policy(UserName=USER, PolicyName="age")
        api.delete_access_entry(clusterName=name, principalArn=principal)
        admin("delete", "namespace", namespace, "--wait=false")
