"""scripts/build/deploy.sh, compared with `kubectl apply` and `kubectl rollout status` of the same manifest.

Both use one kubeconfig, whose token was fetched before, so that only what each of them waits for is compared.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from pathlib import Path

import yaml

from benchmarks.figures import Context, Figure, Goal
from benchmarks.releases import APP, BenchmarkError, Releases
from rehearsal.tutorial import NAMESPACE

CLUSTER = "eksctl-demo"
FLOOR = "floor: kubectl apply, kubectl rollout status"


def measure(context: Context) -> list[Figure]:
    """Measure a rollout either way, in turn."""
    releases = Releases(context)
    image = releases.kubectl("deployment", APP, "{.spec.template.spec.containers[0].image}")
    manifest = (context.checkout / "deployment.yml").read_text(encoding="utf-8")
    whole, rollouts, hand = [], [], []
    with tempfile.TemporaryDirectory() as work:
        env = context.env | {"KUBECONFIG": str(_kubeconfig(releases, Path(work))), "APP_NAMESPACE": NAMESPACE}
        try:
            for number in range(context.repetitions):
                _vary(context.checkout, manifest, f"hand{number}")
                hand.append(_by_hand(context, env, image))
                releases.settle()
                _vary(context.checkout, manifest, f"ours{number}")
                took, rollout = _by_script(context, env, image)
                whole.append(took)
                rollouts.append(rollout)
                releases.settle()
                context.say(f"a rollout: {rollout:.1f} s, deploy.sh {took:.1f} s, by hand {hand[-1]:.1f} s")
        finally:
            (context.checkout / "deployment.yml").write_text(manifest, encoding="utf-8")
    return [
        Figure("a rollout, from `Apply` to `Ask` in the log of deploy.sh", "s", rollouts, FLOOR, hand, Goal(1.05)),
        Figure("deploy.sh, with what it asks before and after", "s", whole, FLOOR, hand),
    ]


def _kubeconfig(releases: Releases, work: Path) -> Path:
    """Write a kubeconfig with a token of the learner, which is valid for 14 minutes, and the context deployer."""
    found = json.loads(releases.run("kubectl", "config", "view", "--minify", "--flatten", "--output=json"))
    credential = json.loads(releases.run("aws", "eks", "get-token", "--cluster-name", CLUSTER, "--output", "json"))
    cluster = found["contexts"][0]["context"]["cluster"]
    found |= {
        "users": [{"name": "deployer", "user": {"token": credential["status"]["token"]}}],
        "contexts": [{"name": "deployer", "context": {"cluster": cluster, "user": "deployer"}}],
        "current-context": "deployer",
    }
    file = work / "kubeconfig"
    with open(os.open(file, os.O_WRONLY | os.O_CREAT, 0o600), "w", encoding="utf-8") as opened:  # noqa: PTH123 - for its mode
        yaml.safe_dump(found, opened)
    return file


def _vary(checkout: Path, manifest: str, value: str) -> None:
    """Give the pods another annotation, so that all are replaced."""
    before = "  template:\n    metadata:\n"
    if before not in manifest:
        raise BenchmarkError(f"deployment.yml has no {before!r}")
    varied = manifest.replace(before, f"{before}      annotations: {{benchmark: {value}-{time.time_ns()}}}\n", 1)
    (checkout / "deployment.yml").write_text(varied, encoding="utf-8")


def _by_hand(context: Context, env: dict[str, str], image: str) -> float:
    text = (context.checkout / "deployment.yml").read_text(encoding="utf-8").replace("CONTAINER_IMAGE", image)
    begin = time.monotonic()
    subprocess.run(
        ["kubectl", "apply", "-n", NAMESPACE, "-f", "-"], env=env, input=text, text=True, check=True, capture_output=True, timeout=60
    )  # fmt: skip
    subprocess.run(
        ["kubectl", "rollout", "status", f"deployment/{APP}", "-n", NAMESPACE], env=env, check=True, capture_output=True, timeout=300
    )  # fmt: skip
    return time.monotonic() - begin


def _by_script(context: Context, env: dict[str, str], image: str) -> tuple[float, float]:
    """Return the seconds of the script, and those from its line "Apply" to its line "Ask"."""
    begin = time.monotonic()
    seen: dict[str, float] = {}
    with subprocess.Popen(
        ["scripts/build/deploy.sh", image], cwd=context.checkout, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:  # fmt: skip
        said = []
        for line in process.stdout or ():
            said.append(line)
            if line.startswith("==> "):
                seen[line.split()[1]] = time.monotonic()
    if process.returncode:
        raise BenchmarkError(f"deploy.sh failed: {''.join(said)[-1500:]}")
    return time.monotonic() - begin, seen["Ask"] - seen["Apply"]
