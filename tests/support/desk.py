"""Runs the tutorial's scripts with tools that record their calls."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.paths import FAKES, ROOT

FAKE = FAKES / "program.sh"
TOOLS = ("aws", "kubectl", "eksctl", "curl")

#: Files at the root that the scripts read.
DOCUMENTS = ("settings.sh", "trust.json", "iam-role-policy.json", "deployer-rbac.yml", "ci-cd-codepipeline.cfn.yml",
             "deployment.yml", "pyproject.toml", "uv.lock")  # fmt: skip

#: The scripts that a person or a build runs, as paths below scripts/.
SCRIPTS = sorted(
    str(path.relative_to(ROOT / "scripts")) for path in (ROOT / "scripts").rglob("*.sh") if path.parent.name != "lib"
)

#: A pause takes no time, but the shell's clock runs. It can be a call, without the fraction, which is random.
CLOCK = "sleep() {{ {}SECONDS=$((SECONDS + ${{1%.*}})); }}\n"
NOTED = """printf '["sleep", "%s"]\\n' "${1%.*}" >>"$FAKES/calls"; """
#: Gives one answer after the other, and then the last again.
IN_TURN = """#!/bin/bash
answers=({answers})
printf . >>"$0.asked"
asked=$(wc -c <"$0.asked")
answer=${{answers[asked < ${{#answers[@]}} ? asked - 1 : ${{#answers[@]}} - 1]}}
[[ $answer != !* ]] || {{ printf '%s\\n' "${{answer#!}}" >&2; exit 1; }}
printf '%s' "$answer"
"""

IDENTITY = ("aws", "get-caller-identity", {"stdout": "arn:aws:iam::111122223333:user/learner\n"})
#: The question whether there is a namespace of staging, which there is only on request.
NO_STAGING = r"get namespace .*\.metadata\.name\}$"
#: What the tools answer where everything is there: tool, pattern, output. The last rule that matches wins.
PRESENT = (
    (*IDENTITY[:2], str(IDENTITY[2]["stdout"])),
    ("aws", "get-caller-identity .*Account, Arn", "111122223333\tarn:aws:iam::111122223333:user/learner\n"),
    ("aws", "--version", "aws-cli/2.31.0 Python/3.13.7 Linux/6.8.0\n"),
    ("eksctl", "version", "0.231.0\n"),
    ("aws", "describe-instance-type-offerings", "3\n"),
    ("aws", "get-service-quota", "32.0\n"),
    ("aws", "describe-instance-types .*DefaultVCpus", "2\n"),
    ("aws", "describe-cluster .*status", "ACTIVE\n"),
    ("aws", "describe-cluster .*authenticationMode", "API_AND_CONFIG_MAP\n"),
    ("aws", "describe-cluster-versions", "1.37\tSTANDARD_SUPPORT\n1.36\tSTANDARD_SUPPORT\n"),
    ("aws", "list-addons", "coredns\tkube-proxy\tmetrics-server\tvpc-cni\n"),
    ("kubectl", "get nodes --no-headers", "node-1   Ready   <none>   1m   v1.36.3\nnode-2   Ready   <none>   1m   v1.36.3\n"),
    ("kubectl", "get namespace", "hello-world restricted"),
    ("kubectl", NO_STAGING, ""),
)  # fmt: skip


@dataclass
class Desk:
    """A directory with recording tools, and the checkout that the scripts run in."""

    home: Path
    checkout: Path = ROOT
    rules: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        (self.home / "bin").mkdir(parents=True)
        for tool in TOOLS:
            (self.home / "bin" / tool).symlink_to(FAKE)
        (self.home / "clock").write_text(CLOCK.format(""))
        if old := os.environ.get("BASH_3_2"):  # the path of such a bash: runs the scripts in it, as on macOS
            (self.home / "bin" / "bash").symlink_to(old)
        self.answer("kubectl", "^label --local ", real=str(FAKES / "manifest.py"))

    def answer(
        self, tool: str, pattern: str, stdout: str = "", stderr: str = "", code: int = 0, real: str = ""
    ) -> None:
        """Let a tool answer like this if the pattern matches its arguments. The latest rule wins.

        The pattern is an extended regular expression: of those that only Python has, bash would reject or misread some.
        """
        assert not re.search(r"\(\?|\\[dD]|\[\\|[*+?]\?", pattern), pattern
        self.rules.insert(0, (tool, pattern, {"stdout": stdout, "stderr": stderr, "code": int(code), "real": real}))

    def answer_in_turn(self, tool: str, pattern: str, *answers: str) -> None:
        """Let a tool give these answers one after the other, then the last again. One that begins with ``!`` is an error."""
        program = self.home / f"in-turn-{len(self.rules)}"
        program.write_text(IN_TURN.format(answers=shlex.join(answers)), encoding="utf-8")
        program.chmod(0o755)
        self.answer(tool, pattern, real=str(program))

    def answer_as_if_present(self) -> None:
        """Let the tools answer as if everything were there, and the role could deploy."""
        for tool, pattern, stdout in PRESENT:
            self.answer(tool, pattern, stdout=stdout)
        self.answer("kubectl", "create -f .*reviews.json", real=str(FAKES / "reviews.py"))

    def take_time(self) -> None:
        """Let the scripts' pauses last: what they wait for takes its time."""
        (self.home / "clock").unlink()

    def note_pauses(self) -> None:
        """Let the scripts' pauses be calls of ``sleep``, in whole seconds, which take no time."""
        (self.home / "clock").write_text(CLOCK.format(NOTED))

    def run(
        self, script: str, *arguments: str, timeout: float = 120, output: int = subprocess.PIPE, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a script without a terminal and without this shell's AWS, Kubernetes or GitHub settings.

        ``output`` is a file for what it prints.
        """
        self.write_rules()
        base = {
            "PATH": f"{self.home / 'bin'}:{os.environ['PATH']}",
            "HOME": str(self.home),
            "BASH_ENV": "$FAKES/clock",  # bash would run a command in a path
            "TMPDIR": str(self.home),
            "FAKES": str(self.home),
            "XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache")),
            "GITHUB_USER": "learner",
        }
        return subprocess.run(
            [f"scripts/{script}", *arguments], cwd=self.checkout, env=base | environment, stdin=subprocess.DEVNULL,
            stdout=output, stderr=output, text=True, errors="replace", timeout=timeout, check=False, start_new_session=True,
        )  # fmt: skip

    def write_rules(self) -> None:
        """Write the rules for the stand-ins, as commands of bash."""
        lines = (
            shlex.join(["rule", tool, pattern, *(str(answer[part]) for part in ("stdout", "stderr", "code", "real"))])
            for tool, pattern, answer in self.rules
        )
        (self.home / "rules").write_text("\n".join([*lines, ""]), encoding="utf-8", errors="surrogateescape")

    def calls(self) -> list[list[str]]:
        """Return every call so far, starting with the tool's name."""
        file = self.home / "calls"
        lines = file.read_text(encoding="utf-8", errors="surrogateescape").split("\n")[:-1] if file.exists() else []
        return [json.loads(line, strict=False) for line in lines]

    def forget(self) -> None:
        """Clear the list of calls."""
        (self.home / "calls").unlink(missing_ok=True)


def copy_of_checkout(target: Path) -> Path:
    """Copy the scripts and the files they read to ``target``, and return it."""
    target.mkdir(parents=True)
    shutil.copytree(ROOT / "scripts", target / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    for name in DOCUMENTS:
        shutil.copy(ROOT / name, target)
    shutil.copytree(ROOT / "docs" / "policies", target / "docs" / "policies")
    return target
