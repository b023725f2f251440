"""The scripts that a build runs, with stand-ins for kubectl, aws and curl that record each call and answer by rules."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.names import ROLE_ARN as ROLE
from tests.support.paths import ROOT

IMAGE = "111122223333.dkr.ecr.us-east-2.amazonaws.com/hello-world@sha256:" + "a" * 64

# Records the call and its standard input, and answers by the first rule whose words are in the call.
STAND_IN = """\
#!/usr/bin/env bash
call="${0##*/} $*"
printf '%s\\n' "$call" >>"$NOTES/calls"
[[ $call != *"--filename -"* ]] || cat >"$NOTES/applied"
line=0
while IFS=$'\\t' read -r words code often text; do
  line=$((line + 1))
  [[ $call == *$words* ]] || continue
  [[ $often == always ]] || sed -i "${line}d" "$NOTES/rules"
  printf '%b' "$text"
  if [[ $call =~ --output\\ ([^\\ ]+)\\ https ]]; then printf '%b' "$text" >"${BASH_REMATCH[1]}"; fi
  ((code == 0)) || printf '%b\\n' "$text" >&2
  exit "$code"
done <"$NOTES/rules"
"""


@dataclass
class Build:
    """A build's shell. Its PATH has only the stand-ins and the system's programs."""

    notes: Path

    def answer(self, words: str, text: str = "", code: int = 0, often: str = "always") -> None:
        with (self.notes / "rules").open("a") as rules:
            rules.write(f"{words}\t{code}\t{often}\t{text.replace(chr(10), chr(92) + 'n')}\n")

    def run(self, script: str, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", ROOT / "scripts" / script, *args],
            env={
                "PATH": f"{self.notes / 'bin'}:/usr/bin:/bin",
                "HOME": str(self.notes),
                "NOTES": str(self.notes),
                "KUBECONFIG": str(self.notes / "kubeconfig"),
                "GITHUB_USER": "octocat",
                **env,
            },
            cwd=self.notes,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    @property
    def calls(self) -> list[str]:
        path = self.notes / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def install(self, name: str) -> None:
        program = self.notes / "bin" / name
        program.write_text(STAND_IN)
        program.chmod(0o755)


@pytest.fixture
def build(tmp_path: Path) -> Build:
    (tmp_path / "bin").mkdir()
    (tmp_path / "rules").touch()
    build = Build(tmp_path)
    for name in ("kubectl", "aws", "curl", "sleep"):
        build.install(name)
    build.answer("{.spec.template", IMAGE)
    return build


def verbs(build: Build) -> list[str]:
    """Return the kubectl calls without the context and the namespace, which each must name."""
    prefix = "kubectl --context deployer --namespace hello-world "
    assert all(call.startswith(prefix) for call in build.calls)
    return [call.removeprefix(prefix) for call in build.calls]


# --- deploy.sh


def test_deploys_and_waits(build: Build) -> None:
    build.answer("get deployment/", "3")
    done = build.run("build/deploy.sh", IMAGE)
    assert done.returncode == 0, done.stderr
    assert [call.split()[0:2] for call in verbs(build)] == [
        ["get", "deployment/hello-world"],
        ["apply", "--filename"],
        ["rollout", "status"],
    ]
    expected = (ROOT / "deployment.yml").read_text().replace("CONTAINER_IMAGE", IMAGE)
    assert (build.notes / "applied").read_text() == expected
    assert done.stdout.splitlines()[-1] == f"==> Live: {IMAGE}"


def test_failed_rollout_is_explained_and_rolled_back(build: Build) -> None:
    build.answer("get deployment/", "3")
    build.answer("rollout status deployment/hello-world --timeout=10s", "exceeded its progress deadline", 1)
    build.answer("{.metadata.name} {.status", "old-1 true\nnew-1 false\nnew-2 false\nnew-3 \n")
    build.answer("get events", "Back-off restarting failed container\n")
    build.answer("logs new-2 --tail=50 --previous", "ModuleNotFoundError: No module named 'flsk'\n")
    failed = build.run("build/deploy.sh", IMAGE)
    assert failed.returncode == 1
    assert "Back-off restarting failed container" in failed.stderr
    assert "ModuleNotFoundError" in failed.stderr
    assert failed.stderr.splitlines()[-1] == (
        "the deployment failed and was rolled back to revision 3: see the errors above"
    )
    calls = verbs(build)
    assert calls[-2:] == [
        "rollout undo deployment/hello-world --to-revision=3",
        "rollout status deployment/hello-world --timeout=25s",
    ]
    assert [call for call in calls if call.startswith("logs")] == [
        "logs new-2 --tail=50",
        "logs new-2 --tail=50 --previous",
        "logs new-3 --tail=50",
        "logs new-3 --tail=50 --previous",
    ]


TIMED_OUT = "error: timed out waiting for the condition\n"
STATES = "get replicasets,pods"


def state(*rows: tuple[object, ...]) -> str:
    """Replica sets and pods in the format that deploy.sh requests. Only replica sets have a revision."""
    versions = [("3", "old", "hello-world-old", "", "", ""), ("10", "new", "hello-world-new", "", "", "")]
    # The stand-in's printf turns these into tabs.
    return "".join("\\t".join(map(str, row)) + "\n" for row in [*versions, *rows])


@pytest.mark.parametrize(
    ("restarts", "reason", "message"),
    [
        ("0", "ErrImagePull", "failed to resolve reference: x@sha256:00: not found"),
        ("0", "ImagePullBackOff", "Back-off pulling image: ErrImagePull: x@sha256:00: not found"),
        ("2", "CrashLoopBackOff", "back-off 20s restarting failed container"),
        ("0", "InvalidImageName", "Failed to apply default image tag"),
        ("0", "CreateContainerConfigError", 'configmap "settings" not found'),
    ],
)
def test_stuck_rollout_is_rolled_back_before_its_deadline(
    build: Build, restarts: str, reason: str, message: str
) -> None:
    build.answer("get deployment/", "3")
    build.answer("--timeout=10s", TIMED_OUT, 1)
    healthy = ("", "new", "new-1", "0", "", "")
    build.answer(STATES, state(healthy, ("", "new", "new-2", restarts, reason, message)))
    failed = build.run("build/deploy.sh", IMAGE)
    assert failed.returncode == 1
    assert f"new-2: {reason}, {message}" in failed.stderr.splitlines()
    assert failed.stderr.splitlines()[-1].endswith("was rolled back to revision 3: see the errors above")
    assert len([call for call in build.calls if "--timeout=10s" in call]) == 1


@pytest.mark.parametrize(
    "pod",
    [
        ("", "new", "new-1", "0", "ErrImagePull", "dial tcp 10.0.0.1:443: connect: connection refused"),
        ("", "new", "new-1", "0", "ImagePullBackOff", "Back-off pulling image: 503 Service Unavailable"),
        ("", "new", "new-1", "1", "CrashLoopBackOff", "back-off 10s restarting failed container"),
        ("", "new", "new-1", "0", "ContainerCreating", ""),
        ("", "new", "new-1", "", "", ""),
        ("", "old", "old-1", "9", "CrashLoopBackOff", "back-off 5m0s restarting failed container"),
        ("", "old", "old-1", "0", "ImagePullBackOff", "x@sha256:00: not found"),
    ],
)
def test_waits_for_failures_that_may_pass(build: Build, pod: tuple[str, ...]) -> None:
    build.answer("get deployment/", "3")
    build.answer("--timeout=10s", TIMED_OUT, 1, "once")
    build.answer(STATES, state(pod))
    done = build.run("build/deploy.sh", IMAGE)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"==> Live: {IMAGE}"


def test_waits_if_the_pods_cannot_be_read(build: Build) -> None:
    build.answer("--timeout=10s", TIMED_OUT, 1, "once")
    build.answer(STATES, "Unable to connect to the server", 1)
    assert build.run("build/deploy.sh", IMAGE).returncode == 0


def test_failing_explanation_does_not_prevent_the_rollback(build: Build) -> None:
    build.answer("get deployment/", "3")
    build.answer("--timeout=10s", "", 1)
    for words in ("get pods", "get events", "describe", "logs"):
        build.answer(words, "Forbidden", 1)
    failed = build.run("build/deploy.sh", IMAGE)
    assert failed.returncode == 1
    assert "was rolled back" in failed.stderr
    assert "rollout undo" in build.calls[-2]


def test_first_deployment_is_not_rolled_back(build: Build) -> None:
    build.answer("--timeout=10s", "", 1)
    failed = build.run("build/deploy.sh", IMAGE)
    assert failed.returncode == 1
    assert "nothing to roll back to" in failed.stderr.splitlines()[-1]
    assert not any("undo" in call for call in build.calls)


def test_later_deployment_is_not_rolled_back(build: Build) -> None:
    (build.notes / "rules").write_text("")
    build.answer("{.spec.template", IMAGE.replace("a" * 64, "b" * 64))
    build.answer("get deployment/", "3")
    build.answer("--timeout=10s", "exceeded its progress deadline", 1)
    failed = build.run("build/deploy.sh", IMAGE)
    assert failed.returncode == 1
    assert "not rolled back, because someone deployed another image in the meantime" in failed.stderr.splitlines()[-1]
    assert not any("undo" in call for call in build.calls)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("rollout undo", "cannot roll back: restore revision 3 by hand"),
        ("--timeout=[12]5s", "revision 3 is not healthy either"),
    ],
)
def test_reports_a_failed_rollback(build: Build, words: str, message: str) -> None:
    build.answer("get deployment/", "3")
    build.answer("--timeout=10s", "", 1)
    build.answer(words, "", 1)
    failed = build.run("build/deploy.sh", IMAGE)
    assert failed.returncode == 1
    assert message in failed.stderr.splitlines()[-1]


def test_stale_failure_does_not_fail_rollback(build: Build) -> None:
    build.answer("get deployment/", "3")
    build.answer("--timeout=10s", "exceeded its progress deadline", 1)
    build.answer("--timeout=25s", "exceeded its progress deadline", 1)
    failed = build.run("build/deploy.sh", IMAGE)
    assert failed.returncode == 1
    assert failed.stderr.splitlines()[-1].endswith("was rolled back to revision 3: see the errors above")


def test_denied_access_fails_at_once(build: Build) -> None:
    build.answer("get deployment/", "You must be logged in to the server (Unauthorized)", 1)
    failed = build.run("build/deploy.sh", IMAGE)
    assert failed.returncode == 1
    assert "scripts/authorize-role.sh" in failed.stderr.splitlines()[-1]
    assert len(build.calls) == 1


def test_partly_rejected_manifest_is_rolled_back(build: Build) -> None:
    build.answer("get deployment/", "3")
    build.answer("apply", "error when creating: Forbidden", 1)
    failed = build.run("build/deploy.sh", IMAGE)
    assert failed.returncode == 1
    assert "error when creating: Forbidden" in failed.stderr
    assert "rollout undo deployment/hello-world --to-revision=3" in verbs(build)
    assert not any("--timeout=10s" in call for call in build.calls)


def test_another_namespace(build: Build) -> None:
    assert build.run("build/deploy.sh", IMAGE, APP_NAMESPACE="shop").returncode == 0
    assert all(call.startswith("kubectl --context deployer --namespace shop ") for call in build.calls)


@pytest.mark.parametrize(
    "args",
    [
        [],
        [""],
        ["hello-world"],
        ["hello-world:latest"],
        [IMAGE[:-1]],
        [IMAGE + "0"],
        [IMAGE, IMAGE],
        [IMAGE + "\n"],
        ["x&y@sha256:" + "a" * 64],
        ["$(touch hacked)@sha256:" + "a" * 64],
        ["--namespace=kube-system@sha256:" + "a" * 64],
    ],
)
def test_rejects_anything_but_one_digest(build: Build, args: list[str]) -> None:
    refused = build.run("build/deploy.sh", *args)
    assert refused.returncode == 2
    assert len(refused.stderr.splitlines()) == 1
    assert build.calls == []
    assert not (build.notes / "hacked").exists()


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


# --- content-tag.sh


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    files = ["settings.sh", "Dockerfile", ".dockerignore", "README.md"]
    files += [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for name in files + [str(path.relative_to(ROOT)) for path in ROOT.glob("scripts/**/*.sh")]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def content_tag(copy: Path) -> str:
    return subprocess.run(
        ["bash", copy / "scripts" / "build/content-tag.sh"], capture_output=True, text=True, check=True
    ).stdout.strip()


def test_file_outside_the_image_does_not_change_the_tag(copy: Path) -> None:
    before = content_tag(copy)
    (copy / "README.md").write_text("Another text.\n")
    (copy / "new.py").write_text("print()\n")
    assert content_tag(copy) == before


@pytest.mark.parametrize("name", ["app.py", "requirements.txt", "gunicorn.conf.py", "tests/test_app.py", "Dockerfile"])
def test_file_in_the_image_changes_the_tag(copy: Path, name: str) -> None:
    before = content_tag(copy)
    with (copy / name).open("a") as file:
        file.write("# another line\n")
    assert content_tag(copy) != before


def test_directory_in_the_image_changes_the_tag(copy: Path) -> None:
    with (copy / ".dockerignore").open("a") as file:
        file.write("!static\n")
    (copy / "static").mkdir()
    tags = {content_tag(copy)}
    (copy / "static" / "a.css").write_text("a")
    tags.add(content_tag(copy))
    (copy / "static" / "a.css").rename(copy / "static" / "b.css")
    tags.add(content_tag(copy))
    assert len(tags) == 3


def test_docker_sees_only_the_files_it_copies() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"
    assert all((ROOT / line.removeprefix("!")).is_file() for line in lines[1:])
    copied = {
        word
        for line in (ROOT / "Dockerfile").read_text().splitlines()
        if line.startswith("COPY ") and "--from" not in line
        for word in line.split()[1:-1]
    }
    assert copied == {line.removeprefix("!") for line in lines[1:]}
