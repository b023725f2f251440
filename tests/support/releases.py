"""Releases into the kept rehearsal: by scripts/build/deploy.sh with the deployer's permissions, and by git push."""

from __future__ import annotations

import base64
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import yaml

from rehearsal import executions
from rehearsal.docker import engine
from rehearsal.emulator.client import root
from rehearsal.settings import settings
from rehearsal.tutorial import NAMESPACE, PIPELINE
from rehearsal.waiting import until
from tests.support.fixtures import Rehearsal
from tests.support.names import APP
from tests.support.paths import ROOT

#: Timeout of everything that a release does, in seconds.
PATIENCE = 180.0
#: The tag of the first live image in the Docker Engine.
BASE = "localhost/first"


@dataclass(frozen=True)
class Run:
    """The result of a run of scripts/build/deploy.sh; ``log`` is its output."""

    code: int
    log: str
    seconds: float


class Deploying:
    """A run of scripts/build/deploy.sh that is in progress."""

    def __init__(self, command: list[str], env: dict[str, str], log: Path) -> None:
        self._began = time.monotonic()
        self._log = log
        with log.open("w") as out:
            self._process = subprocess.Popen(command, env=env, stdout=out, stderr=subprocess.STDOUT)

    @property
    def log(self) -> str:
        """Its output so far."""
        return self._log.read_text()

    def end(self) -> Run:
        """Wait until it has ended."""
        try:
            code = self._process.wait(PATIENCE)
        finally:
            self._process.kill()
        return Run(code, self.log, time.monotonic() - self._began)


class Releases:
    """The app of a kept rehearsal, and ways to release another version of it."""

    def __init__(self, stack: Rehearsal, work: Path) -> None:
        """Wait until the last push is live; ``restore`` returns to it."""
        self.stack = stack
        self.work = work
        self.commit = self.git("rev-parse", "HEAD")
        assert self.end_of(self.commit) == "Succeeded"
        self.first = self.live()
        self.repository = self.first.partition("@")[0]
        self.tags: list[str] = []
        self._log_in()
        self._docker("pull", "--quiet", self.first)
        self._docker("tag", self.first, BASE)

    def restore(self) -> None:
        """Restore the files, the image and the registry."""
        if self.git("rev-parse", "HEAD") != self.commit:
            assert self.end_of(self.push()) == "Succeeded"
        if self.live() != self.first:
            assert self.deploy(self.first).code == 0
        self.settle()
        images = [{"imageTag": tag} for tag in self.tags]
        if images:
            root("ecr").batch_delete_image(repositoryName=self.repository.partition("/")[2], imageIds=images)

    # The cluster

    def kubectl(self, *args: str, stdin: str | None = None) -> str:
        """Run kubectl as the cluster's administrator, in the app's namespace."""
        command = [
            str(settings.bin / "kubectl"),
            "--kubeconfig",
            str(_administrator()),
            "--namespace",
            NAMESPACE,
            *args,
        ]
        return subprocess.run(
            command, env=self.stack.env, input=stdin, capture_output=True, text=True, check=True, timeout=PATIENCE
        ).stdout

    def address(self) -> str:
        """URL of the load balancer."""
        path = "{.status.loadBalancer.ingress[0].ip}"
        return f"http://{self.kubectl('get', 'service', APP, f'--output=jsonpath={path}')}/"

    def live(self) -> str:
        """The image that the Deployment names."""
        path = "{.spec.template.spec.containers[0].image}"
        return self.kubectl("get", "deployment", APP, f"--output=jsonpath={path}")

    def pods(self, path: str) -> list[str]:
        """Return one field of each pod, given as a JSONPath."""
        every = "jsonpath={range .items[*]}" + path + '{"\\n"}{end}'
        return self.kubectl("get", "pods", f"--output={every}").split("\n")[:-1]

    def settle(self) -> None:
        """Wait until no rollout is in progress and no pod is terminating."""
        self.kubectl("rollout", "status", f"deployment/{APP}", "--timeout=90s")
        until(lambda: not any(self.pods("{.metadata.deletionTimestamp}")), 60, "pods to terminate", pause=0.2)

    # By scripts/build/deploy.sh

    def image(self, version: str, *lines: str) -> str:
        """Build and push the first image with more Dockerfile ``lines`` and another version; return it by digest."""
        tag = f"{version}-{time.monotonic_ns()}"
        name = f"{self.repository}:{tag}"
        dockerfile = [f"FROM {BASE}", f"ENV VERSION={version}", *lines]
        self._docker("build", "--quiet", "--tag", name, "-", stdin="\n".join(dockerfile))
        self._docker("push", "--quiet", name)
        self.tags.append(tag)
        (found,) = root("ecr").describe_images(
            repositoryName=self.repository.partition("/")[2], imageIds=[{"imageTag": tag}]
        )["imageDetails"]
        return f"{self.repository}@{found['imageDigest']}"

    def begin(self, image: str, edits: dict[str, str] | None = None) -> Deploying:
        """Start scripts/build/deploy.sh with the deployer's permissions and an edited deployment.yml."""
        tree = self.work / f"tree-{time.monotonic_ns()}"
        shutil.copytree(ROOT / "scripts", tree / "scripts")
        for name in ("settings.sh", "deployment.yml"):
            shutil.copy(ROOT / name, tree)
        manifest = (tree / "deployment.yml").read_text()
        for old, new in (edits or {}).items():
            assert old in manifest
            manifest = manifest.replace(old, new)
        (tree / "deployment.yml").write_text(manifest)
        env = self.stack.env | {"KUBECONFIG": str(self._deployer())}
        return Deploying(["bash", str(tree / "scripts" / "build/deploy.sh"), image], env, tree / "log")

    def deploy(self, image: str, edits: dict[str, str] | None = None) -> Run:
        """Deploy, and wait until it has ended."""
        return self.begin(image, edits).end()

    # By pushes

    def git(self, *args: str) -> str:
        """Run git in the learner's checkout."""
        return self.stack.run("git", *args).stdout.strip()

    def push(self, **additions: str) -> str:
        """Push a commit of the original files with ``additions`` appended to some; return the commit.

        A commit with the same files as an earlier one would get that one's image, and its version.
        """
        self.git("checkout", "--quiet", self.commit, "--", ".")
        for name, text in additions.items():
            with (self.stack.checkout / name).open("a") as file:
                file.write(text)
        self.git(
            "commit", "--quiet", "--all", "--allow-empty", "--message", f"Change {' '.join(additions) or 'it back'}"
        )
        self.git("push", "--quiet")
        return self.git("rev-parse", "HEAD")

    def end_of(self, commit: str) -> str:
        """Wait until the pipeline's execution of a commit has ended; return its status."""
        execution = executions.follow(root("codepipeline"), PIPELINE, commit, PATIENCE)
        return str(execution["status"])

    def build_log(self, commit: str) -> str:
        """Return the log of a commit's newest build so far; empty before the build has started."""
        ids = root("codebuild").list_builds()["ids"]
        builds = root("codebuild").batch_get_builds(ids=ids)["builds"] if ids else []
        of_it = [build for build in builds if build.get("resolvedSourceVersion") == commit]
        path = settings.run / "builds" / f"{of_it[0]['id'].partition(':')[2]}.log" if of_it else None
        return path.read_text(errors="replace") if path and path.exists() else ""

    # Parts

    def _deployer(self) -> Path:
        """Write a kubeconfig with the kubectl role's permissions, which it has by its group alone."""
        config = yaml.safe_load(_administrator().read_text())
        config["contexts"][0]["name"] = "deployer"
        config["users"][0]["user"] |= {"as": "deployer", "as-groups": ["deployers", "system:authenticated"]}
        path = self.work / "deployer.conf"
        path.write_text(yaml.safe_dump(config))
        path.chmod(0o600)
        return path

    def _log_in(self) -> None:
        token = root("ecr").get_authorization_token()["authorizationData"][0]["authorizationToken"]
        user, _, password = base64.b64decode(token).decode().partition(":")
        self._docker("login", "--username", user, "--password-stdin", settings.registry, stdin=password)

    def _docker(self, *args: str, stdin: str = "") -> str:
        command = [engine.client(), "--host", f"unix://{settings.docker_socket}", *args]
        env = {"PATH": engine.SYSTEM_PATH, "HOME": str(self.work), "DOCKER_BUILDKIT": "1"}
        done = subprocess.run(command, env=env, input=stdin, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout


def _administrator() -> Path:
    return settings.run / "kubernetes" / "super-admin.conf"
