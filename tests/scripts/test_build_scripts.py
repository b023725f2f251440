"""The scripts that a build runs, with stand-ins for kubectl, aws and curl that record each call and answer by rules."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from tests.support.builds import Build
from tests.support.names import ROLE_ARN as ROLE

# --- install-kubectl.sh


def kubectl_version(client: str, server: str) -> str:
    versions = {"clientVersion": {"major": "1", "minor": client}, "serverVersion": {"major": "1", "minor": server}}
    versions["serverVersion"] |= {"emulationMinor": "11"}
    return json.dumps(versions, indent=2)


def publish(build: Build, minor: str, binary: str = "a new kubectl", checksum: str | None = None) -> None:
    checksum = checksum or hashlib.sha256(binary.encode()).hexdigest()
    build.answer(f"stable-1.{minor}.txt", f"v1.{minor}.4")
    build.answer("/kubectl.sha256", checksum)
    build.answer("/kubectl", binary)


@pytest.mark.parametrize(("client", "server"), [("36", "36"), ("35", "36"), ("37", "36+"), ("36+", "37")])
def test_kubectl_within_one_minor_version_is_kept(build: Build, client: str, server: str) -> None:
    build.answer("kubectl --context deployer version", kubectl_version(client, server))
    done = build.run("build/install-kubectl.sh", str(build.notes / "new"))
    assert done.returncode == 0, done.stderr
    assert not any(call.startswith("curl") for call in build.calls)
    assert not (build.notes / "new").exists()


@pytest.mark.parametrize(("client", "server"), [("34", "36"), ("38", "36"), ("9", "37")])
def test_kubectl_outside_the_skew_is_replaced(build: Build, client: str, server: str) -> None:
    build.answer("kubectl --context deployer version", kubectl_version(client, server))
    publish(build, server)
    done = build.run("build/install-kubectl.sh", str(build.notes / "new dir"))
    assert done.returncode == 0, done.stderr
    assert (build.notes / "new dir" / "kubectl").exists()
    assert f"==> Install kubectl v1.{server}.4 in {build.notes / 'new dir'}\n" in done.stdout
    assert (build.notes / "new dir" / "kubectl").read_text() == "a new kubectl"
    assert os.access(build.notes / "new dir" / "kubectl", os.X_OK)
    assert all("https://dl.k8s.io/release/" in call for call in build.calls[1:])


def test_without_kubectl_uses_the_setting(build: Build) -> None:
    (build.notes / "bin" / "kubectl").unlink()
    programs = build.notes / "programs"
    programs.mkdir()
    for program in Path("/usr/bin").iterdir():
        if program.name != "kubectl":
            (programs / program.name).symlink_to(program)
    publish(build, "35")
    path = f"{build.notes / 'bin'}:{programs}"
    done = build.run("build/install-kubectl.sh", str(build.notes / "new"), KUBERNETES_VERSION="1.35", PATH=path)
    assert done.returncode == 0, done.stderr
    assert (build.notes / "new" / "kubectl").exists()


def test_wrong_checksum_installs_nothing(build: Build) -> None:
    build.answer("kubectl --context deployer version", kubectl_version("30", "36"))
    publish(build, "36", checksum="0" * 64)
    failed = build.run("build/install-kubectl.sh", str(build.notes / "new"))
    assert failed.returncode == 1
    assert "checksum" in failed.stderr
    assert not (build.notes / "new").exists()


@pytest.mark.parametrize("page", ["<html>log in</html>", "v1.35.9", ""])
def test_invalid_version_page_installs_nothing(build: Build, page: str) -> None:
    build.answer("kubectl --context deployer version", kubectl_version("30", "36"))
    build.answer("stable-1.36.txt", page)
    failed = build.run("build/install-kubectl.sh", str(build.notes / "new"))
    assert failed.returncode == 1
    assert "does not contain a version" in failed.stderr
    assert len(build.calls) == 2


def test_failed_download_is_reported(build: Build) -> None:
    build.answer("kubectl --context deployer version", kubectl_version("30", "36"))
    build.answer("curl", "", 22)
    failed = build.run("build/install-kubectl.sh", str(build.notes / "new"))
    assert failed.returncode == 1
    assert "--location --proto =https --retry 3 --connect-timeout 10 --max-time 120 " in build.calls[-1]
    assert (
        failed.stderr.splitlines()[-1]
        == "cannot fetch https://dl.k8s.io/release/stable-1.36.txt: check the network, and HTTPS_PROXY if you use a proxy"
    )


def test_unauthorized_role_gets_the_remedy(build: Build) -> None:
    build.answer("kubectl --context deployer version", "error: You must be logged in to the server (Unauthorized)", 1)
    failed = build.run("build/install-kubectl.sh", str(build.notes / "new"))
    assert failed.returncode == 1
    assert "scripts/authorize-role.sh" in failed.stderr


@pytest.mark.parametrize("args", [[], [""], ["a", "b"], ["--directory"]])
def test_install_kubectl_takes_one_directory(build: Build, args: list[str]) -> None:
    assert build.run("build/install-kubectl.sh", *args).returncode == 2
    assert build.calls == []


# --- connect.sh


def test_connects_as_the_role(build: Build) -> None:
    done = build.run("build/connect.sh", "eksctl-demo", ROLE)
    assert done.returncode == 0, done.stderr
    (call,) = build.calls
    for words in ("eks update-kubeconfig --name eksctl-demo", f"--role-arn {ROLE}", f"--assume-role-arn {ROLE}"):
        assert words in call
    assert "--alias deployer " in call
    assert f"--kubeconfig {build.notes / 'kubeconfig'}" in call


def test_kubectl_gets_its_tokens_from_the_program_that_starts_sooner(build: Build) -> None:
    """In each list that kubectl takes, a comma separates; a role's name may have one, too."""
    build.install("aws-iam-authenticator")
    assert build.run("build/connect.sh", "eksctl-demo", f"{ROLE},2", AWS_REGION="us-east-2").returncode == 0
    written, changed = build.calls
    assert "--user-alias deployer " in written
    program = "--exec-api-version=client.authentication.k8s.io/v1beta1 --exec-command=aws-iam-authenticator"
    arguments = f'token,--region=us-east-2,--cluster-id=eksctl-demo,"--role={ROLE},2"'
    assert changed == f"kubectl config set-credentials deployer {program} --exec-arg={arguments}"


def test_waits_a_limited_time_for_a_new_role(build: Build) -> None:
    build.answer("update-kubeconfig", "AccessDenied: not authorized to perform: sts:AssumeRole", 254)
    failed = build.run("build/connect.sh", "eksctl-demo", ROLE)
    assert failed.returncode == 1
    assert failed.stderr.splitlines()[-1].startswith("access denied: UdacityFlaskDeployCBKubectlRole must trust")
    pauses = [int(call.split()[1]) for call in build.calls if call.startswith("sleep")]
    assert 15 <= sum(pauses) <= 60
    assert "sleep" not in build.calls[-1]


def test_does_not_wait_for_a_missing_cluster(build: Build) -> None:
    build.answer("update-kubeconfig", "ResourceNotFoundException: No cluster found for name: eksctl-demo.", 254)
    failed = build.run("build/connect.sh", "eksctl-demo", ROLE)
    assert failed.returncode == 1
    assert "cannot get the endpoint of cluster eksctl-demo in us-east-2" in failed.stderr
    assert len(build.calls) == 1


@pytest.mark.parametrize(
    "args",
    [
        [],
        ["eksctl-demo"],
        [ROLE],
        ["eksctl-demo", "role"],
        ["-demo", ROLE],
        ["a;b", ROLE],
        ["a", ROLE, "b"],
        ["", ROLE],
    ],
)
def test_connect_takes_a_cluster_and_a_role(build: Build, args: list[str]) -> None:
    assert build.run("build/connect.sh", *args).returncode == 2
    assert build.calls == []
