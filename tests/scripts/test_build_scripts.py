"""The scripts that a build runs, with stand-ins for kubectl, aws and curl that record each call and answer by rules."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from rehearsal.settings import settings
from tests.support.builds import Build
from tests.support.names import ROLE_ARN as ROLE

# --- install-kubectl.sh


def kubectl_version(client: str, server: str) -> str:
    versions = {"clientVersion": {"major": "1", "minor": client}, "serverVersion": {"major": "1", "minor": server}}
    versions["serverVersion"] |= {"emulationMinor": "11"}
    return json.dumps(versions, indent=2)


#: Ends in time, since a cluster without a network answers nothing.
QUESTION = "kubectl --context deployer version --output=json --request-timeout=30s"
#: A minute or two for one file, and three more tries.
FETCH = "curl --fail --silent --show-error --location --proto =https --retry 3 --connect-timeout 10 --max-time 120 --output "


def publish(build: Build, minor: str, binary: str = "a new kubectl", checksum: str | None = None) -> None:
    checksum = checksum or hashlib.sha256(binary.encode()).hexdigest()
    build.answer(f"stable-1.{minor}.txt", f"v1.{minor}.10")
    build.answer("/kubectl.sha256", checksum)
    build.answer("/kubectl", binary)


@pytest.mark.parametrize(("client", "server"), [("36", "36"), ("35", "36"), ("37", "36+"), ("36+", "37"), ("40", "40")])
def test_kubectl_within_one_minor_version_is_kept(build: Build, client: str, server: str) -> None:
    build.answer("kubectl --context deployer version", kubectl_version(client, server))
    done = build.run("build/install-kubectl.sh", str(build.notes / "new"))
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"==> kubectl 1.{client[:2]} supports the cluster's version, 1.{server[:2]}\n"
    assert build.calls == [QUESTION]
    assert not (build.notes / "new").exists()


@pytest.mark.parametrize(("client", "server"), [("34", "36"), ("38", "36"), ("9", "37")])
def test_kubectl_outside_the_skew_is_replaced(build: Build, client: str, server: str) -> None:
    build.answer("kubectl --context deployer version", kubectl_version(client, server))
    publish(build, server)
    done = build.run("build/install-kubectl.sh", str(build.notes / "new dir"))
    assert done.returncode == 0, done.stderr
    assert f"==> Install kubectl v1.{server}.10 in {build.notes / 'new dir'}\n" in done.stdout
    assert (build.notes / "new dir" / "kubectl").read_text() == "a new kubectl"
    assert (build.notes / "new dir" / "kubectl").stat().st_mode & 0o7777 == 0o755
    asked, *fetched = build.calls
    assert asked == QUESTION
    assert all(call.startswith(FETCH) for call in fetched)
    assert [call.rpartition(" ")[2] for call in fetched] == [
        f"https://dl.k8s.io/release/{path}"
        for path in (
            f"stable-1.{server}.txt",
            f"v1.{server}.10/bin/linux/{settings.architecture}/kubectl",
            f"v1.{server}.10/bin/linux/{settings.architecture}/kubectl.sha256",
        )
    ]


def path_without(build: Build, *names: str) -> str:
    """Return a PATH like the build's that lacks some programs."""
    programs = build.notes / "programs"
    programs.mkdir()
    for program in Path("/usr/bin").iterdir():
        if program.name not in names:
            (programs / program.name).symlink_to(program)
    for name in names:
        (build.notes / "bin" / name).unlink(missing_ok=True)
    return f"{build.notes / 'bin'}:{programs}"


def test_without_kubectl_uses_the_setting(build: Build) -> None:
    path = path_without(build, "kubectl")
    publish(build, "35")
    done = build.run("build/install-kubectl.sh", str(build.notes / "new"), KUBERNETES_VERSION="1.35", PATH=path)
    assert done.returncode == 0, done.stderr
    assert (build.notes / "new" / "kubectl").exists()


def test_without_curl_nothing_is_fetched(build: Build) -> None:
    failed = build.run(
        "build/install-kubectl.sh", str(build.notes / "new"), PATH=path_without(build, "kubectl", "curl")
    )
    assert (failed.returncode, failed.stdout) == (1, "")
    assert failed.stderr == 'curl is not on PATH: install it as described in the README under "What you need"\n'


#: macOS has no sha256sum.
SHASUM = '#!/bin/sh\n[ "$1 $2" = "-a 256" ] && shift 2 && exec /usr/bin/sha256sum "$@"\n'


@pytest.mark.parametrize(("checksum", "code"), [(None, 0), ("0" * 64, 1)])
def test_kubectl_is_checked_on_macos(build: Build, checksum: str | None, code: int) -> None:
    path = path_without(build, "kubectl", "sha256sum", "shasum")
    build.install("shasum", SHASUM)
    build.install("uname", "#!/bin/sh\n[ $1 = -m ] && echo arm64 || echo Darwin\n")
    publish(build, "36", checksum=checksum)
    done = build.run("build/install-kubectl.sh", str(build.notes / "new"), PATH=path)
    assert done.returncode == code, done.stderr
    assert (build.notes / "new" / "kubectl").exists() == (code == 0)
    assert build.calls[-1].endswith("/bin/darwin/arm64/kubectl.sha256")


@pytest.mark.parametrize(("machine", "published"), [("x86_64", "amd64"), ("amd64", "amd64"), ("aarch64", "arm64")])
def test_kubectl_is_that_for_the_processor(build: Build, machine: str, published: str) -> None:
    build.install("uname", f"#!/bin/sh\n[ $1 = -m ] && echo {machine} || echo Linux\n")
    build.answer("kubectl --context deployer version", kubectl_version("30", "36"))
    publish(build, "36")
    assert build.run("build/install-kubectl.sh", str(build.notes / "new")).returncode == 0
    assert build.calls[-1].endswith(f"/bin/linux/{published}/kubectl.sha256")


def test_processor_without_a_kubectl_is_named(build: Build) -> None:
    build.install("uname", "#!/bin/sh\necho riscv64\n")
    build.answer("kubectl --context deployer version", kubectl_version("30", "36"))
    failed = build.run("build/install-kubectl.sh", str(build.notes / "new"))
    assert (failed.returncode, failed.stderr) == (1, "there is no kubectl for riscv64\n")
    assert build.calls == [QUESTION]


@pytest.mark.parametrize("answer", ["{}", '{"minor": "36"}', '{"minor": ""}\n{"minor": "36"}'])
def test_cluster_that_reports_no_version_is_an_error(build: Build, answer: str) -> None:
    build.answer("kubectl --context deployer version", answer)
    failed = build.run("build/install-kubectl.sh", str(build.notes / "new"))
    assert (failed.returncode, failed.stderr) == (1, "kubectl does not report the cluster's version\n")


def test_wrong_checksum_installs_nothing(build: Build) -> None:
    build.answer("kubectl --context deployer version", kubectl_version("30", "36"))
    publish(build, "36", checksum="0" * 64)
    failed = build.run("build/install-kubectl.sh", str(build.notes / "new"))
    assert failed.returncode == 1
    assert failed.stderr == "kubectl v1.36.10 does not match its published checksum\n"
    assert not (build.notes / "new").exists()


@pytest.mark.parametrize("page", ["<html>log in</html>", "v1.35.9", ""])
def test_invalid_version_page_installs_nothing(build: Build, page: str) -> None:
    build.answer("kubectl --context deployer version", kubectl_version("30", "36"))
    build.answer("stable-1.36.txt", page)
    failed = build.run("build/install-kubectl.sh", str(build.notes / "new"))
    assert failed.returncode == 1
    assert failed.stderr == "https://dl.k8s.io/release/stable-1.36.txt does not contain a version\n"
    assert len(build.calls) == 2


@pytest.mark.parametrize("path", ["stable-1.36.txt", f"v1.36.10/bin/linux/{settings.architecture}/kubectl"])
def test_failed_download_is_reported(build: Build, path: str) -> None:
    build.answer("kubectl --context deployer version", kubectl_version("30", "36"))
    build.answer(path, "curl: (22) The requested URL returned error: 503", 22)
    publish(build, "36")
    failed = build.run("build/install-kubectl.sh", "new")
    assert failed.returncode == 1
    assert ("==> Install kubectl v1.36.10 in new\n" in failed.stdout) == ("bin" in path)
    assert failed.stderr.splitlines() == [
        "curl: (22) The requested URL returned error: 503",
        f"cannot fetch https://dl.k8s.io/release/{path}: check the network, and HTTPS_PROXY if you use a proxy",
    ]


def test_unauthorized_role_gets_the_remedy(build: Build) -> None:
    build.answer("kubectl --context deployer version", "error: You must be logged in to the server (Unauthorized)", 1)
    failed = build.run("build/install-kubectl.sh", str(build.notes / "new"))
    assert failed.returncode == 1
    assert failed.stderr.splitlines()[-1] == (
        "kubectl cannot query the cluster: if it reports Unauthorized, aws-auth does not list this role; "
        "run scripts/authorize-role.sh"
    )


@pytest.mark.parametrize("args", [[], [""], ["a", "b"], ["--directory"]])
def test_install_kubectl_takes_one_directory(build: Build, args: list[str]) -> None:
    assert build.run("build/install-kubectl.sh", *args).returncode == 2
    assert build.calls == []


# --- connect.sh


def test_connects_as_the_role(build: Build) -> None:
    name = "e" * 100  # as long as a cluster's name may be
    done = build.run("build/connect.sh", name, ROLE)
    assert done.returncode == 0, done.stderr
    (call,) = build.calls
    for words in (f"eks update-kubeconfig --name {name} ", f"--role-arn {ROLE}", f"--assume-role-arn {ROLE}"):
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
    assert failed.stderr.splitlines()[-1] == (
        "access denied: UdacityFlaskDeployCBKubectlRole must trust this build and have the policy of iam-role-policy.json: "
        "run scripts/create-role.sh, then scripts/create-stack.sh"
    )
    pauses = [int(call.split()[1]) for call in build.calls if call.startswith("sleep")]
    assert sum(pauses) == 30, "a new role takes some seconds"
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
