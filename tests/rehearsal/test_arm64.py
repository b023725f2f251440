"""The programs for arm64: compiled on this machine, and run as far as an emulator of the processor can."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from rehearsal.kubernetes import build, pause

EMULATOR = "qemu-aarch64-static"
AARCH64 = pause.MACHINES["aarch64"][0]
VERSIONS = {
    "aws-iam-authenticator": "version",
    "containerd-shim-runc-v2": "-v",
    "kubectl": "version --client",
}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(build.BUILD_TIMEOUT)]


def machine(path: Path) -> int:
    """Return the number of the processor that an ELF file is for."""
    with path.open("rb") as file:
        header = file.read(20)
    assert header.startswith(b"\x7fELF")
    return int(struct.unpack("<H", header[18:20])[0])


@pytest.fixture(scope="module")
def emulator() -> str:
    found = shutil.which(EMULATOR)
    if not found:
        pytest.fail(f"{EMULATOR} is missing: install qemu-user-static")
    return found


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compile all programs for arm64."""
    stage = tmp_path_factory.mktemp("arm64")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GOARCH", "arm64")
        build.compile_all(stage, print)
    return stage


def test_every_program_is_for_arm64(programs: Path) -> None:
    found = {path.name: machine(path) for path in programs.iterdir()}
    assert found == dict.fromkeys([name for names in build.PACKAGES.values() for name in names], AARCH64)


@pytest.mark.parametrize("name", [name for names in build.PACKAGES.values() for name in names])
def test_program_runs_on_arm64(programs: Path, emulator: str, name: str) -> None:
    command = [emulator, str(programs / name), *VERSIONS.get(name, "--version").split()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    print(done.stdout.splitlines()[0])


def test_pause_program_runs_on_arm64(tmp_path: Path, emulator: str) -> None:
    path = tmp_path / "pause"
    path.write_bytes(pause.program("aarch64"))
    path.chmod(0o755)
    assert machine(path) == AARCH64
    with subprocess.Popen([emulator, str(path)], stderr=subprocess.PIPE) as process:
        try:
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(3)
        finally:
            process.kill()
