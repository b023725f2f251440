"""No call of kubectl reaches another cluster than that of the settings, whatever context is current.

The learner's kubeconfig has a current context whose server only notes who connects. kubectl is a stand-in that finds the
server by kubectl's rules for --kubeconfig, --context and KUBECONFIG, connects to it, and then answers.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts.lib.certify.pages import commands
from tests.support.desk import IDENTITY, Desk, copy_of_checkout
from tests.support.names import ACCOUNT, CLUSTER, REGION
from tests.support.names import ROLE_ARN as ROLE
from tests.support.paths import ROOT
from tests.support.shell_syntax import Node, literal, nodes, tree
from tests.support.trap import Listener, kubeconfig

ARN = f"arn:aws:eks:{REGION}:{ACCOUNT}:cluster/{CLUSTER}"
IMAGE = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/hello-world@sha256:{'a' * 64}"
NO_CLUSTER = (
    "An error occurred (ResourceNotFoundException) when calling the DescribeCluster operation: No cluster found\n"
)
NO_STACK = (
    "An error occurred (ValidationError) when calling the DescribeStacks operation: Stack with id x does not exist\n"
)
#: Verbs of kubectl that change something in the cluster.
CHANGING = {"create", "label", "apply", "patch", "delete", "edit", "replace", "scale", "annotate", "set", "drain"}


@pytest.fixture
def servers() -> Iterator[tuple[Listener, Listener]]:
    """The cluster of the settings, and another."""
    found = Listener(), Listener()
    yield found
    for each in found:
        each.socket.close()


@pytest.fixture
def desk(tmp_path: Path, servers: tuple[Listener, Listener]) -> Desk:
    """Every part exists; ``aws eks update-kubeconfig`` and kubectl work on real files."""
    desk = Desk(tmp_path / "desk", copy_of_checkout(tmp_path / "checkout"))
    desk.answer("kubectl", "version --client", stdout='{"gitVersion": "v1.36.0"}')
    desk.answer("kubectl", "get nodes --no-headers", stdout="node-1 Ready\nnode-2 Ready\n")
    desk.answer("kubectl", "get nodes --output name", stdout="node/node-1\nnode/node-2\n")
    desk.answer("kubectl", "get configmap/aws-auth", stdout='{"metadata": {"resourceVersion": "5"}, "data": {}}')
    desk.answer(*IDENTITY[:2], **IDENTITY[2])
    desk.answer("aws", "describe-cluster .*status", stdout="ACTIVE\n")
    desk.answer("aws", "describe-cluster .*authenticationMode", stdout="CONFIG_MAP\n")
    desk.answer("aws", "describe-cluster .*join", stdout="ACTIVE, 1.36\n")
    desk.answer("aws", "describe-stacks", stderr=NO_STACK, code=254)
    desk.answer("aws", "list-addons", stdout="coredns\tkube-proxy\tmetrics-server\tvpc-cni\n")
    desk.answer("aws", "update-kubeconfig", real=program(desk, "update", UPDATE.replace("URL", servers[0].url)))
    (desk.home / "answers").mkdir()
    (desk.home / "bin" / "kubectl").rename(desk.home / "answers" / "kubectl")
    program(desk, "bin/kubectl", KUBECTL)
    return desk


def program(desk: Desk, name: str, text: str) -> str:
    path = desk.home / name
    path.write_text(f"#!{sys.executable} -IS\n{text}")
    path.chmod(0o755)
    return str(path)


# The kubeconfigs are JSON, so that these programs need no YAML: they are started often, and its import takes half of that.

#: As the AWS CLI does: a file that has the cluster, or else the first.
UPDATE = f"""
import json, os, sys
words = dict(zip(sys.argv[1:], sys.argv[2:]))
files = os.environ.get("KUBECONFIG", os.environ["HOME"] + "/.kube/config").split(":")
files = [words["--kubeconfig"]] if "--kubeconfig" in words else files
file = next((each for each in files if os.path.exists(each) and "{ARN}" in open(each).read()), files[0])
old = json.load(open(file)) if os.path.exists(file) else {{"clusters": [], "contexts": []}}
name = words.get("--alias", "{ARN}")
old["clusters"] += [{{"name": "{ARN}", "cluster": {{"server": "URL"}}}}]
old["contexts"] += [{{"name": name, "context": {{"cluster": "{ARN}"}}}}]
os.makedirs(os.path.dirname(file), exist_ok=True)
json.dump(old | {{"current-context": name}}, open(file, "w"))
"""
#: https://kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig/#merging-kubeconfig-files
KUBECTL = """
import json, os, socket, sys
words = dict(zip(sys.argv[1:], sys.argv[2:]))
files = [words.get("--kubeconfig") or os.environ.get("KUBECONFIG") or os.environ["HOME"] + "/.kube/config"]
read = [json.load(open(each)) for each in files[0].split(":") if os.path.exists(each)]
name = words.get("--context") or next((each["current-context"] for each in read if each["current-context"]), "")
if "config" not in sys.argv[1:2] and not {"--client", "--local"} & {*sys.argv}:
    found = {each["name"]: each["context"]["cluster"] for file in read for each in file["contexts"]}
    if name not in found:
        sys.exit(f'error: context "{name}" does not exist')
    urls = {each["name"]: each["cluster"]["server"] for file in read for each in file["clusters"]}
    host, port = urls[found[name]].removeprefix("https://").split(":")
    socket.create_connection((host, int(port)), timeout=10).close()
os.execv(os.environ["FAKES"] + "/answers/kubectl", ["kubectl", *sys.argv[1:]])
"""

ELSEWHERE = ("home", "KUBECONFIG", "two files", "two files, the cluster in the second")


def as_json(text: str) -> str:
    return json.dumps(yaml.safe_load(text))


def trapped(desk: Desk, servers: tuple[Listener, Listener], where: str) -> dict[str, str]:
    """Write the learner's kubeconfig, in which another cluster is the current one; return the variables for it."""
    first, second = desk.home / "first", desk.home / "second"
    home = desk.home / ".kube" / "config"
    home.parent.mkdir(exist_ok=True)
    text = as_json(kubeconfig(another=servers[1].url))
    if where == "home":
        home.write_text(text)
        return {}
    first.write_text(text)
    if where == "KUBECONFIG":
        return {"KUBECONFIG": str(first)}
    if "second" in where:
        second.write_text(as_json(kubeconfig(**{ARN: servers[0].url})))
    return {"KUBECONFIG": f"{first}:{second}"}


@pytest.mark.parametrize("where", ELSEWHERE)
@pytest.mark.parametrize(
    "script", ["create-cluster.sh", "authorize-role.sh", "status.sh", "teardown.sh", "leftovers.sh"]
)
def test_scripts_reach_only_the_cluster_of_the_settings(
    script: str, where: str, desk: Desk, servers: tuple[Listener, Listener]
) -> None:
    arguments = ["--yes"] if script == "teardown.sh" else []
    done = desk.run(script, *arguments, **trapped(desk, servers, where))
    assert servers[1].count == 0, done.stdout + done.stderr
    assert (servers[0].count > 0) == (script != "leftovers.sh"), done.stdout + done.stderr


def test_nodes_of_another_cluster_are_not_counted(desk: Desk, servers: tuple[Listener, Listener]) -> None:
    """With nodes in the other cluster and none in this, the old script called the cluster complete."""
    desk.answer("aws", "describe-stacks --stack-name eksctl-eksctl-demo-cluster", stdout="CREATE_COMPLETE\n")
    desk.answer("aws", "list-addons", stdout="\n")
    desk.answer("eksctl", "create nodegroup", code=1)
    desk.answer("kubectl", "get nodes", stdout="")
    desk.answer("kubectl", "^--request-timeout=30s get nodes", stdout="other-1 Ready\nother-2 Ready\n")
    done = desk.run("create-cluster.sh", **trapped(desk, servers, ELSEWHERE[-1]))
    assert (servers[1].count, "other-1" in done.stdout) == (0, False)
    assert [call[:3] for call in desk.calls() if call[0] == "eksctl"][-1] == ["eksctl", "create", "nodegroup"]


@pytest.mark.parametrize("script", ["build/deploy.sh", "build/install-kubectl.sh"])
def test_builds_reach_only_what_connect_has_connected(
    script: str, desk: Desk, servers: tuple[Listener, Listener]
) -> None:
    environment = trapped(desk, servers, "KUBECONFIG")
    argument = IMAGE if "deploy" in script else str(desk.home / "new")
    done = desk.run(script, argument, **environment)
    assert done.returncode == 1
    assert 'context "deployer" does not exist' in done.stderr
    assert desk.run("build/connect.sh", CLUSTER, ROLE, **environment).returncode == 0
    (desk.home / "first").write_text(
        (desk.home / "first").read_text().replace('"current-context": "deployer"', '"current-context": "another"')
    )
    desk.run(script, argument, **environment)
    assert (servers[0].count > 0, servers[1].count) == (True, 0)


# Every call in the texts


def kubectl_calls(text: str) -> list[list[str]]:
    """The words of each call of kubectl in a script that has a literal first word; a word with an expansion is ``$``."""
    return [
        [literal(word) or "$" for word in node["Args"]]
        for node in nodes(tree(text))
        if node.get("Type") == "CallExpr" and literal((node.get("Args") or [EMPTY])[0]) == "kubectl"
    ]


EMPTY: Node = {"Parts": [{"Type": ""}]}


def is_bound(words: list[str]) -> bool:
    """Whether a call names its cluster, or asks none."""
    return words[1] in ("--kubeconfig", "--context", "config") or words[2:3] in (["--client"], ["--local"])


@pytest.mark.parametrize(
    "script", [*sorted((ROOT / "scripts").rglob("*.sh")), ROOT / "buildspec.yml"], ids=lambda path: path.name
)
def test_scripts_name_the_cluster_in_every_call(script: Path) -> None:
    text = script.read_text(encoding="utf-8")
    if script.suffix == ".yml":
        text = "\n".join(c for phase in yaml.safe_load(text)["phases"].values() for c in phase["commands"])
    assert [words for words in kubectl_calls(text) if not is_bound(words)] == []


def changes(words: list[str]) -> bool:
    return "undo" in words or ("auth" not in words and bool(CHANGING & set(words[1:4])))


PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def of_pages() -> Iterator[tuple[str, list[str]]]:
    """Each call of kubectl in the pages, in fences and in the text."""
    for page in PAGES:
        for each in commands(page):
            if each.word != "powershell":
                yield from ((f"{page.name}:{each.line}", words) for words in kubectl_calls(each.script))
        for code in re.findall(r"`(kubectl [a-z-]+ [^`…]+)`", page.read_text(encoding="utf-8")):
            yield from ((f"{page.name}: {code}", words) for words in kubectl_calls(code))


def test_pages_name_the_cluster_in_every_change() -> None:
    found = [(place, words) for place, words in of_pages() if changes(words)]
    assert [place for place, words in found if words[1] != "--context"] == [
        "figures.md: kubectl set image"  # what a person would type without this repository
    ]
    assert len(found) > 5


def test_pages_use_a_kubeconfig_of_this_cluster_alone() -> None:
    """It is exported before the first call, and no command goes back to another."""
    scripts = [each.script for each in commands(ROOT / "README.md") if each.is_run]
    exported = next(i for i, script in enumerate(scripts) if "export KUBECONFIG=$scratch/kubeconfig" in script)
    assert not any("kubectl" in script or "scripts/create-cluster.sh" in script for script in scripts[:exported])
    texts = [each.script for page in PAGES for each in commands(page)]
    assert sum("KUBECONFIG" in text for text in texts) == 1


@pytest.mark.parametrize(
    "call", ["kubectl get nodes", "kubectl version", "kubectl -n a get pods", "if kubectl get x; then :; fi"]
)
def test_bare_call_is_found(call: str) -> None:
    assert [words for words in kubectl_calls(call) if not is_bound(words)]


def test_change_in_a_page_is_found() -> None:
    calls: list[Any] = [
        "kubectl edit configmap aws-auth",
        "kubectl rollout undo deployment/x",
        "kubectl -n a apply -f b",
    ]
    assert all(changes(words) for call in calls for words in kubectl_calls(call))
