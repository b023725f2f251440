"""scripts/dev/packages.sh with made-up package managers: what it installs by release, and that it looks afterwards."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the packages are those of Linux distributions")

#: What the script itself calls.
TOOLS = ("bash", "env", "mktemp", "readlink", "rm", "sed", "tail", "uname")
#: The programs of packages with another name, where docker.io has no client, as since Debian 13.
SPLIT = {"docker.io": "dockerd", "docker-cli": "docker", "iproute2": "ip", "procps": "ps", "docker-buildx": "buildx"}
WHOLE = {**SPLIT, "docker.io": "dockerd docker"}


def install(tmp_path: Path, programs: dict[str, str], known: str) -> subprocess.CompletedProcess[str]:
    """Run ``packages.sh rehearsal`` on a machine that has nothing; ``known`` are the packages that apt-cache finds."""
    for tool in TOOLS:
        (tmp_path / tool).symlink_to(shutil.which(tool) or tool)
    cases = "\n".join(f"{package}) names='{names}' ;;" for package, names in programs.items())
    (tmp_path / "apt-get").write_text(f"""#!/bin/bash
shift
for package; do
  case $package in -*) continue ;; {cases} *) names=$package ;; esac
  for name in $names; do
    printf '#!/bin/sh\\n' >"{tmp_path}/$name"
    "$(PATH=/usr/bin:/bin type -P chmod)" +x "{tmp_path}/$name"
  done
done
""")
    (tmp_path / "apt-cache").write_text(f"""#!/bin/bash
for name in {known}; do if [[ $name =~ ${{!#}} ]]; then echo "$name - of this release"; fi; done
""")
    for program in ("apt-get", "apt-cache"):
        (tmp_path / program).chmod(0o755)
    root = [] if os.geteuid() == 0 else ["/usr/bin/unshare", "--map-root-user"]
    return subprocess.run(
        [*root, tmp_path / "bash", ROOT / "scripts" / "dev" / "packages.sh", "rehearsal"], env={"PATH": str(tmp_path)},
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("programs", "known"), [(SPLIT, "docker-cli docker-buildx"), (WHOLE, "docker-buildx"), (WHOLE, "")]
)
def test_brings_the_client_of_docker_in_every_release(tmp_path: Path, programs: dict[str, str], known: str) -> None:
    done = install(tmp_path, programs, known)
    assert (tmp_path / "docker").exists()
    assert (tmp_path / "dockerd").exists()
    assert (tmp_path / "buildx").exists() == ("docker-buildx" in known)
    assert (tmp_path / "docker-cli").exists() is False
    assert "docker" not in done.stderr


def test_names_the_programs_that_an_installation_did_not_bring(tmp_path: Path) -> None:
    done = install(tmp_path, {**WHOLE, "docker.io": "dockerd", "conntrack": ""}, known="")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("packages.sh: apt-get succeeded, but the programs of docker.io")
    assert "conntrack" in line.partition(" are not on PATH")[0]
