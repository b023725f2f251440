"""scripts/build/deploy.sh: what it applies, waits for and undoes, and which errors of kubectl are a verdict on the release."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.builds import Build
from tests.support.desk import copy_of_checkout
from tests.support.names import ECR_HOSTS
from tests.support.paths import ROOT

IMAGE = "111122223333.dkr.ecr.us-east-2.amazonaws.com/hello-world@sha256:" + "a" * 64
OLD_IMAGE = IMAGE.replace("a" * 64, "b" * 64)
VERDICT = 'error: deployment "hello-world" exceeded its progress deadline'
TIMED_OUT = "error: timed out waiting for the condition"
MANIFEST = list(yaml.safe_load_all((ROOT / "deployment.yml").read_text(encoding="utf-8")))
#: Part of a call: the question at the start, the one before a rollback, and those that wait.
BEFORE, NOW, WAIT, HEALTH = "--ignore-not-found", "--output=jsonpath={.spec", "--timeout=10s", "--timeout=20s"


def runs(build: Build, revision: int = 3) -> None:
    """Let an earlier release be live, and this one be what the Deployment names after the apply."""
    build.answer(BEFORE, f"{revision}|{OLD_IMAGE}")
    build.answer(NOW, IMAGE)


def edited(build: Build, *objects: Any, text: str = "") -> None:
    """Let the build run in a copy of the checkout with another deployment.yml."""
    build.checkout = copy_of_checkout(build.notes / "checkout")
    (build.checkout / "deployment.yml").write_text(text or yaml.safe_dump_all(objects), encoding="utf-8")


def deployment(name: str, *images: str, init: tuple[str, ...] = (), **spec: Any) -> dict[str, Any]:
    """Return a Deployment with these containers."""
    pod = {"containers": [{"name": f"c{number}", "image": image} for number, image in enumerate(images)]}
    if init:
        pod["initContainers"] = [{"name": f"i{number}", "image": image} for number, image in enumerate(init)]
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": spec | {"template": {"spec": pod}},
    }


def verbs(build: Build) -> list[str]:
    """Return the kubectl calls without the context and the namespace, which each must name."""
    prefix = "kubectl --context deployer --namespace hello-world "
    calls = [call for call in build.calls if not call.startswith("sleep ")]
    assert all(call.startswith(prefix) for call in calls)
    return [call.removeprefix(prefix) for call in calls]


def last(done: subprocess.CompletedProcess[str]) -> str:
    return done.stderr.splitlines()[-1]


def undone(build: Build) -> list[str]:
    return [call for call in verbs(build) if call.startswith("rollout undo")]


def test_deploys_and_waits(build: Build) -> None:
    runs(build)
    done = build.run("build/deploy.sh", IMAGE)
    assert done.returncode == 0, done.stderr
    assert [call.split()[0:2] for call in verbs(build)] == [
        ["get", "deployment/hello-world"],
        ["apply", "--filename"],
        ["get", "deployment/hello-world"],
        ["rollout", "status"],
        ["get", "--raw"],
    ]
    expected = (ROOT / "deployment.yml").read_text().replace("CONTAINER_IMAGE", IMAGE)
    assert (build.notes / "applied").read_text() == expected
    assert done.stdout.splitlines()[-1] == f"==> Live: {IMAGE}"


@pytest.mark.parametrize("host", ECR_HOSTS)
def test_image_of_any_partition_is_deployed(build: Build, host: str) -> None:
    image = f"{host}/aws-pipeline@sha256:{'a' * 64}"
    done = build.run("build/deploy.sh", image)
    assert done.returncode == 0, done.stderr
    assert f"image: {image}\n" in (build.notes / "applied").read_text()


def test_failed_rollout_is_explained_and_rolled_back(build: Build) -> None:
    runs(build)
    build.answer(WAIT, VERDICT, 1)
    build.answer("{.metadata.name} {.status", "old-1 True\nnew-1 False\nnew-2 False\nnew-3 \n")
    build.answer("get events", "".join(f"event {number}\n" for number in range(40)))
    build.answer("logs new-2 *--previous", "ModuleNotFoundError: No module named 'flsk'\n")
    failed = build.run("build/deploy.sh", IMAGE)
    assert failed.returncode == 1
    events = [line for line in failed.stderr.splitlines() if line.startswith("event")]
    assert events == [f"event {number}" for number in range(10, 40)], "the newest, and the log stays readable"
    assert "ModuleNotFoundError" in failed.stderr
    assert (
        last(failed) == "the deployment failed and was rolled back to revision 3 of hello-world: see the errors above"
    )
    calls = verbs(build)
    assert calls[-2:] == [
        "rollout undo deployment/hello-world --to-revision=3",
        "rollout status deployment/hello-world --timeout=20s",
    ]
    every = "--all-containers --ignore-errors --prefix --tail=50"
    assert [call for call in calls if call.startswith("logs")] == [
        f"logs new-2 {every}",
        f"logs new-2 {every} --previous",
        f"logs new-3 {every}",
        f"logs new-3 {every} --previous",
    ]
    assert [line for line in failed.stderr.splitlines() if line.startswith("--- ")] == [
        "--- pods",
        "--- events",
        "--- new-2",
        "--- log of new-2",
        "--- log of its containers before the last restart",
        "--- new-3",
        "--- log of new-3",
        "--- log of its containers before the last restart",
    ]


# What the app answers

ASK = "get --raw /api/v1/namespaces/hello-world/services/hello-world:http/proxy/version"
BY_APP = {
    "another version": (f"1234567 {OLD_IMAGE}", 0, f"The answer is not {IMAGE}: 1234567 {OLD_IMAGE}"),
    "nothing": ("", 0, f"The answer is not {IMAGE}: "),
    "control characters": ("\\033[2Jok", 0, f"The answer is not {IMAGE}:  [2Jok"),
    "silence": ("", 124, "No answer within 10 seconds"),
    "404": ("Error from server (NotFound): the server could not find the requested resource", 1, "(NotFound): "),
    "500": ('Error from server (InternalError): an error on the server ("x") has prevented the request', 1, "(InternalError): "),
    "503": ("Error from server (ServiceUnavailable): the server is currently unable to handle the request", 1, "(Serv"),
    "401": ("error: You must be logged in to the server (Unauthorized)", 1, "You must be logged in"),
    "refused": ("Error from server (ServiceUnavailable): error trying to reach service: dial tcp 10.0.0.3:8080: connect: connection refused", 1, "refused"),
}  # fmt: skip


def test_live_only_if_the_app_answers_for_the_release(build: Build) -> None:
    runs(build)
    build.answer(ASK, f"1234567 {IMAGE}\n")
    build.install("timeout", '#!/bin/bash\necho "timeout $1" >>"$NOTES/calls"\nexec "${@:2}"\n')
    done = build.run("build/deploy.sh", IMAGE)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-3:] == [
        "==> Ask hello-world:http/version",
        f"Answered: 1234567 {IMAGE}",
        f"==> Live: {IMAGE}",
    ]
    assert build.calls[-2:] == ["timeout 10", f"kubectl --context deployer --namespace hello-world {ASK}"]
    assert build.calls.count("timeout 10") == 1


@pytest.mark.parametrize("answer", BY_APP)
def test_release_that_answers_wrongly_is_rolled_back(build: Build, answer: str) -> None:
    text, code, says = BY_APP[answer]
    runs(build)
    build.answer(ASK, text, code)
    build.answer("{.metadata.name} {.status", "old-1 True\nnew-1 True\n")
    build.answer("logs new-1", "KeyError: 'DATABASE_URL'\n")
    failed = build.run("build/deploy.sh", IMAGE)
    assert failed.returncode == 1
    assert says in failed.stderr
    assert "KeyError: 'DATABASE_URL'" in failed.stderr
    assert "logs old-1" not in "".join(build.calls)
    assert last(failed).endswith("was rolled back to revision 3 of hello-world: see the errors above")
    assert undone(build) == ["rollout undo deployment/hello-world --to-revision=3"]
    assert "Live" not in failed.stdout
    assert len([call for call in verbs(build) if call == ASK]) == 4


@pytest.mark.parametrize("answer", BY_APP)
def test_app_is_asked_again(build: Build, answer: str) -> None:
    """A pod that is being stopped may still get requests, and a single error may pass."""
    text, code, _ = BY_APP[answer]
    runs(build)
    build.answer(ASK, text, code, "once")
    done = build.run("build/deploy.sh", IMAGE)
    assert (done.returncode, undone(build)) == (0, []), done.stderr


@pytest.mark.parametrize("answer", BY_APP)
def test_no_verdict_on_the_app_while_the_cluster_does_not_answer(build: Build, answer: str) -> None:
    """kubectl prints an error of the app like one of the API server."""
    text, code, _ = BY_APP[answer]
    build.answer("--output=name", NO_VERDICT["503"], 1)
    runs(build)
    build.answer(ASK, text, code)
    failed = build.run("build/deploy.sh", IMAGE)
    assert last(failed).startswith("not known what hello-world:http/version answers: the cluster gave no answer, ")
    assert (failed.returncode, undone(build)) == (1, [])


def test_right_to_ask_is_missing(build: Build) -> None:
    """A cluster that was set up before has an older Role."""
    runs(build)
    build.answer(
        ASK,
        'Error from server (Forbidden): services "hello-world:http" is forbidden: User "build" cannot get resource "services/proxy"',
        1,
    )
    failed = build.run("build/deploy.sh", IMAGE)
    assert last(failed) == (
        "the pipeline may not ask hello-world:http, so nothing was rolled back: "
        "name it in deployer-rbac.yml, run scripts/authorize-role.sh, then retry the build"
    )
    assert (failed.returncode, undone(build)) == (1, [])


def asking(made: dict[str, Any], **check: str) -> dict[str, Any]:
    """Return the Deployment with these annotations for the check."""
    made["metadata"]["annotations"] = {f"release-check/{name}": value for name, value in check.items()}
    return made


def test_another_app_names_what_is_asked(build: Build) -> None:
    edited(build, asking(deployment("x", "CONTAINER_IMAGE"), url="shop:80/about?as=text", answer="ready | set"))
    build.answer("services/shop:80/proxy/about?as=text", "We are ready | set\n")
    done = build.run("build/deploy.sh", IMAGE)
    assert (done.returncode, done.stdout.splitlines()[-2]) == (0, "Answered: We are ready | set"), done.stderr


def test_any_answer_will_do_without_a_text(build: Build) -> None:
    edited(build, asking(deployment("x", "CONTAINER_IMAGE"), url="shop:http/"))
    build.answer("services/shop:http/proxy/", "")
    assert build.run("build/deploy.sh", IMAGE).returncode == 0


def test_error_is_no_answer_even_if_any_answer_will_do(build: Build) -> None:
    edited(build, asking(deployment("x", "CONTAINER_IMAGE"), url="shop:http/"))
    runs(build)
    build.answer("services/shop:http/proxy/", BY_APP["500"][0], 1)
    failed = build.run("build/deploy.sh", IMAGE)
    assert last(failed) == "the deployment failed and was rolled back to revision 3 of x: see the errors above"


def test_app_that_names_nothing_is_not_asked(build: Build) -> None:
    edited(build, deployment("my-shop", "CONTAINER_IMAGE"))
    done = build.run("build/deploy.sh", IMAGE)
    assert done.returncode == 0, done.stderr
    assert not any("--raw" in call for call in build.calls)
    assert "Ask" not in done.stdout


# Pods that are stuck


def state(*pods: tuple[str, str, tuple[tuple[object, ...], ...]]) -> str:
    """Replica sets and pods in the format that deploy.sh requests: each pod's owner, name and containers."""
    lines = ["=hello-world\t9\told", "=hello-world\t10\tnew", "=worker\t12\tother"]
    for owner, name, within in pods:
        lines += [f"={owner}\t\t{name}", *("\t".join(map(str, each)) for each in within)]
    # The stand-in's printf turns these into tabs.
    return "".join(f"{line}\n" for line in lines).replace("\t", "\\t")


RUNNING = (0, "", "")
STATES = "get replicasets,pods"


@pytest.mark.parametrize("place", ["only", "first", "last"])
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
    build: Build, restarts: str, reason: str, message: str, place: str
) -> None:
    """Whichever container it is, of those that start first or of the others."""
    runs(build)
    build.answer(WAIT, TIMED_OUT, 1)
    stuck = (restarts, reason, message)
    within = {"only": (stuck,), "first": (stuck, RUNNING), "last": (RUNNING, stuck)}[place]
    build.answer(STATES, state(("new", "new-1", (RUNNING,)), ("new", "new-2", within)))
    failed = build.run("build/deploy.sh", IMAGE)
    assert failed.returncode == 1
    assert f"new-2: {reason}, {message}" in failed.stderr.splitlines()
    assert last(failed).endswith("was rolled back to revision 3 of hello-world: see the errors above")
    assert len([call for call in build.calls if WAIT in call]) == 1
    (states,) = [call for call in build.calls if STATES in call]
    assert '={.metadata.ownerReferences[0].name}{"\\t"}{.metadata.annotations.deployment' in states


CRASHING = ("9", "CrashLoopBackOff", "back-off 5m0s restarting failed container")


@pytest.mark.parametrize(
    "pod",
    [
        ("new", ("0", "ErrImagePull", "dial tcp 10.0.0.1:443: connect: connection refused")),
        ("new", ("0", "ImagePullBackOff", "Back-off pulling image: 503 Service Unavailable")),
        ("new", ("1", "CrashLoopBackOff", "back-off 10s restarting failed container")),
        ("new", ("0", "ContainerCreating", "")),
        ("new", ("", "", "")),
        ("old", CRASHING),
        ("old", ("0", "ImagePullBackOff", "x@sha256:00: not found")),
        ("other", CRASHING),
        ("", CRASHING),
    ],
)
def test_waits_for_failures_that_may_pass(build: Build, pod: tuple[str, tuple[str, ...]]) -> None:
    """Those of earlier revisions, of other Deployments and of pods without any pass too."""
    runs(build)
    build.answer(WAIT, TIMED_OUT, 1, "once")
    build.answer(STATES, state((pod[0], "pod-1", (pod[1],))))
    done = build.run("build/deploy.sh", IMAGE)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"==> Live: {IMAGE}"


def test_waits_if_the_pods_cannot_be_read(build: Build) -> None:
    build.answer(WAIT, TIMED_OUT, 1, "once")
    build.answer(STATES, "Unable to connect to the server", 1)
    assert build.run("build/deploy.sh", IMAGE).returncode == 0


# What is rolled back, and what is not


@pytest.mark.parametrize("asked", ["get pods", "get events"], ids=["no pods", "no logs"])
def test_failing_explanation_does_not_prevent_the_rollback(asked: str, build: Build) -> None:
    """Without the list of pods, no pod is asked about, so the last call of the explanation is another one."""
    runs(build)
    build.answer(WAIT, VERDICT, 1)
    for words in (asked, "get events", "describe", "logs"):
        build.answer(words, "Forbidden", 1)
    build.answer("{.metadata.name} {.status", "new-1 False\n")
    failed = build.run("build/deploy.sh", IMAGE)
    assert failed.returncode == 1
    assert "was rolled back" in failed.stderr
    assert "rollout undo" in build.calls[-2]


def test_first_deployment_is_not_rolled_back(build: Build) -> None:
    build.answer(WAIT, VERDICT, 1)
    failed = build.run("build/deploy.sh", IMAGE)
    assert failed.returncode == 1
    assert "nothing to roll back to" in last(failed)
    assert not undone(build)


def test_later_deployment_is_not_rolled_back(build: Build) -> None:
    build.answer(NOW, IMAGE.replace("a" * 64, "c" * 64))
    runs(build)
    build.answer(WAIT, VERDICT, 1)
    failed = build.run("build/deploy.sh", IMAGE)
    assert failed.returncode == 1
    assert "not rolled back, because someone changed it in the meantime" in last(failed)
    assert not undone(build)


@pytest.mark.parametrize(("now", "undo"), [("{env: applied}", True), ("{env: of another}", False)])
def test_change_of_the_same_image_by_someone_else_is_not_rolled_back(build: Build, now: str, undo: bool) -> None:
    """Once, only the images were compared, so that a release or a hand that changed other fields was undone too."""
    build.answer("|{.spec.template}", f"3|{IMAGE}|{{env: before}}", often="once")
    build.answer("|{.spec.template}", f"{IMAGE}|{{env: applied}}", often="once")
    build.answer("|{.spec.template}", f"{IMAGE}|{now}")
    runs(build)
    build.answer(WAIT, VERDICT, 1)
    failed = build.run("build/deploy.sh", IMAGE)
    assert failed.returncode == 1
    assert bool(undone(build)) == undo
    assert ("because someone changed it in the meantime" in last(failed)) != undo


def test_refused_change_of_the_same_image_is_not_undone(build: Build) -> None:
    build.answer("|{.spec.template}", f"3|{IMAGE}|{{env: before}}", often="once")
    build.answer("|{.spec.template}", f"{IMAGE}|{{env: before}}")
    runs(build)
    build.answer("apply", REFUSALS[next(iter(REFUSALS))], 1)
    failed = build.run("build/deploy.sh", IMAGE)
    assert last(failed) == "the cluster refused the change, and the earlier release runs: see the errors above"
    assert not undone(build)


def test_release_that_was_refused_as_a_whole_is_not_undone(build: Build) -> None:
    build.answer(NOW, OLD_IMAGE)
    runs(build)
    build.answer("apply", 'The Deployment "hello-world" is invalid: spec.selector: field is immutable', 1)
    failed = build.run("build/deploy.sh", IMAGE)
    assert last(failed) == "the cluster refused the change, and the earlier release runs: see the errors above"
    assert (failed.returncode, undone(build)) == (1, [])


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        ("rollout undo", "Error from server (Forbidden): no", "cannot roll back, because the cluster refused it: restore"),
        (HEALTH, VERDICT, "revision 3 of hello-world is not healthy either"),
        (HEALTH, TIMED_OUT, "revision 3 of hello-world is not healthy either"),
    ],
)  # fmt: skip
def test_reports_a_failed_rollback(build: Build, words: str, error: str, message: str) -> None:
    runs(build)
    build.answer(WAIT, VERDICT, 1)
    build.answer(words, error, 1)
    failed = build.run("build/deploy.sh", IMAGE)
    assert failed.returncode == 1
    assert message in last(failed)


def test_stale_failure_does_not_fail_rollback(build: Build) -> None:
    runs(build)
    build.answer(WAIT, VERDICT, 1)
    build.answer(HEALTH, VERDICT, 1, "once")
    failed = build.run("build/deploy.sh", IMAGE)
    assert failed.returncode == 1
    assert last(failed).endswith("was rolled back to revision 3 of hello-world: see the errors above")


@pytest.mark.parametrize("error", ["You must be logged in to the server (Unauthorized)", 'context "deployer" does not exist'])  # fmt: skip
def test_denied_access_fails_at_once(build: Build, error: str) -> None:
    build.answer(BEFORE, f"error: {error}", 1)
    failed = build.run("build/deploy.sh", IMAGE)
    assert failed.returncode == 1
    assert "scripts/authorize-role.sh" in last(failed)
    assert len(build.calls) == 1


def test_warnings_of_the_cluster_are_shown(build: Build) -> None:
    warns = '#!/bin/bash\n[[ "$*" != *" apply "* ]] || echo "Warning: would violate PodSecurity" >&2\n'
    build.install("kubectl", warns + (build.notes / "bin" / "kubectl").read_text().removeprefix("#!/bin/bash\n"))
    done = build.run("build/deploy.sh", IMAGE)
    assert (done.returncode, done.stderr) == (0, "Warning: would violate PodSecurity\n")


def test_another_namespace(build: Build) -> None:
    assert build.run("build/deploy.sh", IMAGE, APP_NAMESPACE="shop").returncode == 0
    assert all(call.startswith("kubectl --context deployer --namespace shop ") for call in build.calls)


# Verdicts, and errors that are none

#: How kubectl prints that it has no answer about the objects (k8s.io/kubectl/pkg/cmd/util/helpers.go).
NO_VERDICT = {
    "handshake": "Unable to connect to the server: net/http: TLS handshake timeout",
    "EOF": 'error: Get "https://abc.gr7.us-east-2.eks.amazonaws.com/apis/apps/v1": unexpected EOF',
    "i/o timeout": "Unable to connect to the server: dial tcp 10.0.0.1:443: i/o timeout",
    "refused": "The connection to the server 10.0.0.1:443 was refused - did you specify the right host or port?",
    "reset": "error: read tcp 10.0.0.2:51234->10.0.0.1:443: read: connection reset by peer",
    "no such host": "Unable to connect to the server: dial tcp: lookup abc.gr7.us-east-2.eks.amazonaws.com: no such host",
    "lost": "error: http2: client connection lost",
    "credentials": "Unable to connect to the server: getting credentials: exec: executable aws failed with exit code 255",
    "429": "Error from server (TooManyRequests): the server has received too many requests and has asked us to try again later",
    "500": 'Error from server (InternalError): Internal error occurred: failed calling webhook "x": context deadline exceeded',
    "503": "Error from server (ServiceUnavailable): the server is currently unable to handle the request",
    "504": "Error from server (Timeout): the server was unable to return a response in the time allotted",
    "etcd": "Error from server: etcdserver: request timed out",
    "conflict": "Error from server (Conflict): the object has been modified; please apply your changes to the latest version",
    "schema": "error: error validating data: failed to download openapi: Get x: net/http: TLS handshake timeout",
}
REFUSALS = {
    "invalid": 'The Deployment "hello-world" is invalid: spec.template.spec.containers[0].image: Required value',
    "field": 'Error from server (BadRequest): error when patching "x": strict decoding error: unknown field "spec.x"',
    "forbidden": 'Error from server (Forbidden): error when creating "x": services is forbidden: exceeded quota',
    "together": 'Error from server (Invalid): error when creating "x": Service "x" is invalid',
    "media type": "Error from server (UnsupportedMediaType): error when applying patch: the body was in an unknown format",
    "request": "The request is invalid: patch: Invalid value: x",
    "no kind": 'error: resource mapping not found for name: "x" namespace: "": no matches for kind "X" in version "v1"',
    "with a lost connection": f"{NO_VERDICT['EOF']}\\nError from server (Forbidden): no",
}
ANSWER = "get --raw"
CALLS = {
    "before": BEFORE,
    "answer": ANSWER,
    "apply": " apply ",
    "wait": WAIT,
    "now": NOW,
    "undo": "rollout undo",
    "health": HEALTH,
}


@pytest.mark.parametrize("error", NO_VERDICT)
@pytest.mark.parametrize("call", CALLS)
def test_transient_error_changes_nothing(build: Build, call: str, error: str) -> None:
    build.answer(CALLS[call], NO_VERDICT[error], 1, "once")
    runs(build)
    if call in ("now", "undo", "health"):
        build.answer(WAIT, VERDICT, 1)
    done = build.run("build/deploy.sh", IMAGE)
    if call in ("now", "undo", "health"):
        assert last(done).endswith("and was rolled back to revision 3 of hello-world: see the errors above")
    else:
        assert (done.returncode, undone(build)) == (0, []), done.stderr
    assert NO_VERDICT[error] in done.stderr


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("before", "cannot read deployment/hello-world in hello-world, so nothing was changed: "),
        ("apply", "not known whether all of deployment.yml was applied: the cluster gave no answer, see the last error above; "),
        ("wait", "not known whether deployment/hello-world is rolled out: the cluster gave no answer, see the last error above; "),
        ("answer", "not known what hello-world:http/version answers: the cluster gave no answer, see the last error above; "),
    ],
)  # fmt: skip
def test_lasting_error_is_no_verdict(build: Build, call: str, said: str) -> None:
    app = deployment("hello-world", "CONTAINER_IMAGE", progressDeadlineSeconds=0)
    edited(build, asking(app, url="hello-world:http/version", answer="CONTAINER_IMAGE"))
    runs(build)
    (build.notes / "rules").write_text("")
    build.answer(CALLS[call], NO_VERDICT["handshake"], 1)
    runs(build)
    failed = build.run("build/deploy.sh", IMAGE)
    assert last(failed).startswith(said)
    assert (failed.returncode, undone(build)) == (1, [])
    assert len([line for line in verbs(build) if CALLS[call].strip() in line]) > 3


def test_waits_twice_the_deadline_for_a_cluster_that_does_not_answer(build: Build) -> None:
    """5 seconds are for the network. In the last deadline, it asks whether the cluster creates pods at all."""
    edited(build, deployment("hello-world", "CONTAINER_IMAGE", progressDeadlineSeconds=10))
    runs(build)
    build.answer(WAIT, NO_VERDICT["handshake"], 1)
    clock = build.notes / "clock"
    clock.write_text('sleep() { echo "sleep $1" >>"$NOTES/calls"; SECONDS=$((SECONDS + $1)); }\n')
    failed = build.run("build/deploy.sh", IMAGE, BASH_ENV=str(clock))
    assert last(failed).startswith(
        "not known whether deployment/hello-world is rolled out: the cluster gave no answer, "
    )
    pauses = [call for call in build.calls if call.startswith("sleep ")]
    assert {*pauses} == {"sleep 2"}
    assert 20 <= 2 * len(pauses) <= 26
    assert 10 <= 2 * len([call for call in build.calls if "ReplicaFailure" in call]) <= 12


def test_deployment_without_a_verdict_is_not_undone(build: Build) -> None:
    """The cluster's controllers may be down."""
    edited(build, deployment("hello-world", "CONTAINER_IMAGE", progressDeadlineSeconds=0))
    runs(build)
    refused = 'deployments.apps is forbidden: User "build" cannot list resource "deployments"\n'
    build.answer(WAIT, refused + TIMED_OUT, 1)
    failed = build.run("build/deploy.sh", IMAGE)
    assert refused in failed.stderr
    assert last(failed) == (
        "not known whether deployment/hello-world is rolled out: the Deployment has neither finished nor failed; "
        "nothing was rolled back: see scripts/status.sh, then retry the build"
    )
    assert (failed.returncode, undone(build)) == (1, [])


def test_deployment_for_which_no_pod_is_created_is_undone_though_it_has_no_verdict(build: Build) -> None:
    """Kubernetes counts no deadline if it returns to a pod template, as when a refused commit is pushed again."""
    edited(build, deployment("hello-world", "CONTAINER_IMAGE", progressDeadlineSeconds=0))
    runs(build)
    build.answer(WAIT, TIMED_OUT, 1)
    build.answer("ReplicaFailure", 'pods "hello-world-1" is forbidden: exceeded quota: team')
    failed = build.run("build/deploy.sh", IMAGE)
    assert 'pods "hello-world-1" is forbidden: exceeded quota: team\n' in failed.stderr
    assert last(failed).endswith("was rolled back to revision 3 of hello-world: see the errors above")
    assert undone(build) == ["rollout undo deployment/hello-world --to-revision=3"]


def test_waits_as_long_as_there_is_progress(build: Build) -> None:
    """The Deployment counts its deadline from the last progress."""
    edited(build, deployment("hello-world", "CONTAINER_IMAGE", progressDeadlineSeconds=0))
    runs(build)
    build.install("kubectl", PROGRESS + (build.notes / "bin" / "kubectl").read_text().removeprefix("#!/bin/bash\n"))
    done = build.run("build/deploy.sh", IMAGE)
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stdout.splitlines() if line.startswith("Waiting")] == [
        f"Waiting: {number} of 3" for number in (1, 2, 3)
    ]


#: Five steps of two seconds each, which say something new every other time; the manifest above allows five seconds.
PROGRESS = """\
#!/bin/bash
if [[ "$*" == *--timeout=10s ]]; then
  printf x >>"$NOTES/steps"
  steps=$(<"$NOTES/steps")
  echo "Waiting: $(((${#steps} + 1) / 2)) of 3"
  ((${#steps} < 5)) || exit 0
  /bin/sleep 2
  echo "error: timed out waiting for the condition" >&2
  exit 1
fi
"""


def test_waits_twice_the_deadline_without_visible_progress(build: Build) -> None:
    """kubectl does not show all progress, from which the Deployment counts its deadline; 5 seconds are for the network."""
    edited(build, deployment("hello-world", "CONTAINER_IMAGE", progressDeadlineSeconds=10))
    runs(build)
    silent = PROGRESS.replace('  echo "Waiting: $(((${#steps} + 1) / 2)) of 3"\n', "").replace(
        "${#steps} < 5", "${#steps} < 2"
    )
    silent = silent.replace("sleep 2", "sleep 7")
    build.install("kubectl", silent + (build.notes / "bin" / "kubectl").read_text().removeprefix("#!/bin/bash\n"))
    done = build.run("build/deploy.sh", IMAGE)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("error", REFUSALS)
def test_partly_refused_manifest_is_rolled_back(build: Build, error: str) -> None:
    runs(build)
    build.answer("apply", REFUSALS[error], 1)
    failed = build.run("build/deploy.sh", IMAGE)
    assert failed.returncode == 1
    assert REFUSALS[error].rpartition("\\n")[2] in failed.stderr
    assert undone(build) == ["rollout undo deployment/hello-world --to-revision=3"]
    assert not any(WAIT in call for call in build.calls)
    assert len([call for call in build.calls if " apply " in call]) == 1


def test_undo_whose_answer_was_lost_is_not_an_error(build: Build) -> None:
    """The revision has become the newest, so a second attempt does not find its number."""
    runs(build)
    build.answer(WAIT, VERDICT, 1)
    build.answer("rollout undo", NO_VERDICT["EOF"], 1, "once")
    build.answer("rollout undo", "error: unable to find specified revision 3 in history", 1)
    failed = build.run("build/deploy.sh", IMAGE)
    assert last(failed).endswith("was rolled back to revision 3 of hello-world: see the errors above")


def test_undo_of_a_missing_revision_is_an_error(build: Build) -> None:
    runs(build)
    build.answer(WAIT, VERDICT, 1)
    build.answer("rollout undo", "error: unable to find specified revision 3 in history", 1)
    failed = build.run("build/deploy.sh", IMAGE)
    assert last(failed).startswith("cannot roll back, because ")


@pytest.mark.parametrize("call", ["undo", "health"])
def test_rollback_without_an_answer_says_so(build: Build, call: str) -> None:
    runs(build)
    build.answer(WAIT, VERDICT, 1)
    build.answer(CALLS[call], NO_VERDICT["refused"], 1)
    failed = build.run("build/deploy.sh", IMAGE)
    assert "the cluster gave no answer" in last(failed)
    assert "not healthy" not in last(failed)


# The manifest says what to wait for


def test_renamed_app_is_waited_for_and_undone(build: Build) -> None:
    """Once, the name stood in the script too: with another name in the manifest, it waited for the old Deployment."""
    edited(build, text=(ROOT / "deployment.yml").read_text().replace("hello-world", "my-shop"))
    runs(build)
    build.answer("rollout status deployment/my-shop --timeout=10s", VERDICT.replace("hello-world", "my-shop"), 1)
    failed = build.run("build/deploy.sh", IMAGE)
    assert failed.returncode == 1
    assert undone(build) == ["rollout undo deployment/my-shop --to-revision=3"]
    assert "hello-world" not in "".join(verbs(build)).replace(IMAGE, "")


def test_manifest_may_have_windows_line_ends(build: Build) -> None:
    """Once, its image line was not found, and the message said that there had to be one."""
    edited(build, text=(ROOT / "deployment.yml").read_text().replace("\n", "\r\n"))
    done = build.run("build/deploy.sh", IMAGE)
    assert done.returncode == 0, done.stderr
    assert f"image: {IMAGE}\r\n" in (build.notes / "applied").read_bytes().decode()


SHOP = (
    deployment("my-shop", "envoy:1", "CONTAINER_IMAGE", init=("CONTAINER_IMAGE",)),
    *MANIFEST[1:],
    deployment("worker", "CONTAINER_IMAGE"),
)
USED = {"my-shop": f"{IMAGE} envoy:1 {IMAGE}", "worker": IMAGE}


@pytest.mark.parametrize("failing", USED)
def test_every_deployment_is_waited_for_and_all_are_undone(build: Build, failing: str) -> None:
    edited(build, *SHOP)
    for number, (name, used) in enumerate(USED.items(), 3):
        build.answer(f"{name} {BEFORE}", f"{number}|{used.replace(IMAGE, OLD_IMAGE)}")
        build.answer(f"get deployment/{name} --output", used)
    build.answer(f"status deployment/{failing} {WAIT}", VERDICT, 1)
    failed = build.run("build/deploy.sh", IMAGE)
    assert failed.returncode == 1
    assert undone(build) == [
        "rollout undo deployment/my-shop --to-revision=3",
        "rollout undo deployment/worker --to-revision=4",
    ]
    assert "rolled back to revision 3 of my-shop, revision 4 of worker" in last(failed)


def test_several_deployments_go_live(build: Build) -> None:
    edited(build, *SHOP)
    done = build.run("build/deploy.sh", IMAGE)
    assert done.returncode == 0, done.stderr
    assert [call for call in verbs(build) if call.startswith("rollout")] == [
        f"rollout status deployment/{name} --timeout=10s" for name in USED
    ]
    applied = yaml.safe_load_all((build.notes / "applied").read_text())
    assert [each["metadata"]["name"] for each in applied] == ["my-shop", *["hello-world"] * 3, "worker"]
    assert (build.notes / "applied").read_text().count(IMAGE) == 3


@pytest.mark.parametrize("line", ['image: "CONTAINER_IMAGE"', "image: 'CONTAINER_IMAGE' # the digest goes here", "image:   CONTAINER_IMAGE  "])  # fmt: skip
def test_quotes_and_comments_make_no_difference(build: Build, line: str) -> None:
    text = (ROOT / "deployment.yml").read_text().replace("image: CONTAINER_IMAGE", line)
    edited(build, text="# image: CONTAINER_IMAGE\n" + text)
    assert build.run("build/deploy.sh", IMAGE).returncode == 0
    applied = list(yaml.safe_load_all((build.notes / "applied").read_text()))
    assert applied[0]["spec"]["template"]["spec"]["containers"][0]["image"] == IMAGE


def of_kind(kind: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": "x"}, "spec": spec}


TEMPLATE = deployment("x", "CONTAINER_IMAGE")["spec"]
RUNS_PODS = "runs pods, but only the rollout of a Deployment can be waited for and undone: leave it out"
REFUSED = {
    "another address": (
        (asking(deployment("x", "CONTAINER_IMAGE"), url="http://hello-world/version"),),
        "release-check/url must be SERVICE:PORT/PATH, as in shop:http/version, not http://hello-world/version",
    ),
    "an answer to nothing": (
        (asking(deployment("x", "CONTAINER_IMAGE"), answer="ok"),),
        "release-check/url must be SERVICE:PORT/PATH, as in shop:http/version, not ''",
    ),
    "a pod": ((MANIFEST[0], of_kind("Pod", TEMPLATE["template"]["spec"])), f"Pod x {RUNS_PODS}"),
    "a job": ((MANIFEST[0], of_kind("Job", TEMPLATE)), f"Job x {RUNS_PODS}"),
    "a cron job": ((MANIFEST[0], of_kind("CronJob", {"jobTemplate": {"spec": TEMPLATE}})), f"CronJob x {RUNS_PODS}"),
    "a stateful set": ((MANIFEST[0], of_kind("StatefulSet", TEMPLATE)), f"StatefulSet x {RUNS_PODS}"),
    "another tool's rollout": ((MANIFEST[0], of_kind("Rollout", TEMPLATE)), f"Rollout x {RUNS_PODS}"),
    "paused": (
        (deployment("x", "CONTAINER_IMAGE", paused=True),),
        'the Deployment x is paused, so it never rolls out: remove "paused: true"',
    ),
    "a tag": (
        (deployment("x", "CONTAINER_IMAGE:v1"),),
        "the image CONTAINER_IMAGE:v1 has more than CONTAINER_IMAGE, which the build replaces with repository and digest",
    ),
    "another image": (
        (deployment("x", "nginx"),),
        "no container of a Deployment has the image CONTAINER_IMAGE, where the digest goes: set it",
    ),
    "no name": ((deployment("", "CONTAINER_IMAGE"),), "'' is not the name of a Deployment"),
    "an option as its name": (
        (deployment("--all", "CONTAINER_IMAGE"),),
        "--all is not the name of a Deployment",
    ),
    "a namespace": (
        (MANIFEST[0] | {"metadata": {"name": "x", "namespace": "other"}},),
        "its objects must not set a namespace: APP_NAMESPACE sets it",
    ),
}


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize("name", REFUSED)
def test_refuses_what_it_cannot_wait_for(build: Build, name: str, check: bool) -> None:
    objects, problem = REFUSED[name]
    edited(build, *objects)
    refused = build.run("build/deploy.sh", "--check" if check else IMAGE)
    assert refused.stderr == f"deployment.yml: {problem}\n"
    assert (refused.returncode, build.calls) == (2, [])


def test_check_calls_nothing(build: Build) -> None:
    done = build.run("build/deploy.sh", "--check")
    assert (done.returncode, build.calls) == (0, [])
    assert done.stdout == "==> deployment.yml can be deployed: hello-world\n"


# Arguments


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
        [IMAGE, "--check"],
        ["--check", IMAGE],
        [IMAGE + "\n"],
        ["x&y@sha256:" + "a" * 64],
        ["$(touch hacked)@sha256:" + "a" * 64],
        ["--namespace=kube-system@sha256:" + "a" * 64],
    ],
)
def test_rejects_anything_but_one_digest(build: Build, args: list[str], tmp_path: Path) -> None:
    refused = build.run("build/deploy.sh", *args)
    assert refused.returncode == 2
    assert len(refused.stderr.splitlines()) == 1
    assert build.calls == []
    assert not (tmp_path / "hacked").exists()
