"""scripts/dev/packages.sh with made-up package managers: what it finds missing, what it installs, what it reports."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.paths import ROOT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the packages are those of Linux distributions")

#: What the script itself calls.
TOOLS = ("bash", "env", "mktemp", "readlink", "rm", "sed", "tail", "uname")
#: For each set, the packages that it adds to those before, and what each is recognized by: programs, or files.
PACKAGES = {
    "minimal": {
        "python3": "python3", "python3-venv": "", "git": "git", "curl": "curl",
        "ca-certificates": "/etc/ssl/certs/ca-certificates.crt",
    },
    "rehearsal": {
        "docker.io": "docker dockerd", "mmdebstrap": "mmdebstrap", "containernetworking-plugins": "/opt/cni/bin/ptp",
        "runc": "runc", "iptables": "iptables", "iproute2": "ip", "ethtool": "ethtool", "conntrack": "conntrack",
        "procps": "ps",
    },
    "tests": {"debootstrap": "debootstrap", "chromium": "chromium", "chromium-driver": "chromedriver"},
    "slow": {
        "slirp4netns": "slirp4netns", "qemu-user-static": "qemu-aarch64-static", "user-mode-linux": "linux.uml",
        "slirp": "slirp-fullbolt", "gcc": "gcc", "libc6-dev": "/usr/include/time.h",
    },
    "benchmarks": {"wrk": "wrk"},
}  # fmt: skip
BEFORE = {
    "minimal": [], "rehearsal": ["minimal"], "tests": ["minimal", "rehearsal"],
    "slow": ["minimal", "rehearsal", "tests"], "benchmarks": ["minimal", "rehearsal"],
}  # fmt: skip
#: Hides this machine's files of packages, makes those given, and runs the rest as its arguments say.
INSIDE = """
for directory in /etc/ssl/certs /usr/include /usr/lib/cni /usr/libexec/cni /opt; do
  [ ! -d $directory ] || mount -t tmpfs none $directory
done
mkdir -p /opt/cni/bin
for file in $FILES; do touch $file; chmod +x $file; done
exec "$@"
"""
REMEDY = (
    "use a machine with Debian 12 or later or Ubuntu 24.04 or later as root, or the container of docs/environments.md"
)
SILENT_APT = 'for word; do echo "$word"; done >>"$HOME/apt"'


def everything(name: str) -> dict[str, str]:
    """Return the packages of a set, and what each is recognized by."""
    return {package: by for part in [*BEFORE[name], name] for package, by in PACKAGES[part].items()}


@dataclass
class Machine:
    """A machine with a few programs, which has what it is given, and no other files of packages."""

    home: Path
    files: str = ""

    def __post_init__(self) -> None:
        (self.home / "bin").mkdir(parents=True)
        for tool in TOOLS:
            (self.home / "bin" / tool).symlink_to(shutil.which(tool) or tool)
        self.program("apt-get", SILENT_APT)
        self.program("apt-cache")

    def program(self, name: str, script: str = "", interpreter: str = "/bin/sh") -> None:
        """Put a program on PATH, in place of what is there."""
        (path := self.home / "bin" / name).unlink(missing_ok=True)
        path.write_text(f"#!{interpreter}\n{script}\n")
        path.chmod(0o755)

    def has(self, recognized_by: dict[str, str]) -> None:
        """Give it what packages are recognized by."""
        words = " ".join(recognized_by.values()).split()
        self.files = " ".join(word for word in words if word.startswith("/"))
        for word in words:
            if not word.startswith("/"):
                self.program(word)

    def run(self, *call: str, user: int = 0) -> subprocess.CompletedProcess[str]:
        """Run packages.sh as root or another user."""
        identity = [] if user == 0 else ["/usr/bin/unshare", f"--map-user={user}"]
        script = [f"{self.home}/bin/env", "-i", f"PATH={self.home}/bin", f"HOME={self.home}", f"TMPDIR={self.home}",
                  f"{self.home}/bin/bash", str(ROOT / "scripts/dev/packages.sh")]  # fmt: skip
        return subprocess.run(
            ["/usr/bin/unshare", "--map-root-user", "--mount", "/bin/sh", "-c", INSIDE, "sh", *identity, *script, *call],
            env={"PATH": os.environ["PATH"], "FILES": self.files}, capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "machine")


def result(done: subprocess.CompletedProcess[str]) -> tuple[int, str, str]:
    return done.returncode, done.stdout, done.stderr


# --- What is missing


@pytest.mark.parametrize("name", PACKAGES)
def test_a_set_names_all_its_packages_where_there_are_none(name: str, machine: Machine) -> None:
    done = machine.run("--missing", name)
    assert (done.returncode, set(done.stdout.split()), done.stderr) == (0, set(everything(name)), "")


@pytest.mark.parametrize("name", PACKAGES)
def test_nothing_is_installed_where_everything_is(name: str, machine: Machine) -> None:
    machine.has(everything(name))
    for call in ([name], ["--missing", name]):
        assert result(machine.run(*call)) == (0, "", "")
        assert result(machine.run(*call, user=1000))[0] == (0 if name == "minimal" else 2)
    assert not (machine.home / "apt").exists()


@pytest.mark.parametrize("name", ["slow", "benchmarks"])
def test_a_package_is_missing_without_any_of_its_programs(name: str, tmp_path: Path) -> None:
    packages = everything(name)
    for package, recognized_by in packages.items():
        for word in recognized_by.split():
            machine = Machine(tmp_path / package / word.replace("/", "-"))
            machine.has(packages | {package: " ".join({*recognized_by.split()} - {word})})
            named = machine.run("--missing", name).stdout.split()
            assert named == ([package] if package != "python3" else ["python3", "python3-venv"])


@pytest.mark.parametrize(
    ("module", "missing"), [("ensurepip", "python3-venv\n"), ("venv", "python3-venv\n"), ("x", "")]
)
def test_python_without_the_modules_of_venv_is_not_enough(module: str, missing: str, machine: Machine) -> None:
    machine.has(everything("minimal"))
    (machine.home / "modules").mkdir()
    (machine.home / "modules" / f"{module}.py").write_text("raise ImportError")
    machine.program("python3", f'PYTHONPATH={machine.home}/modules exec {sys.executable} "$@"')
    assert result(machine.run("--missing", "minimal")) == (0, missing, "")


@pytest.mark.parametrize("directory", ["/usr/lib/cni", "/usr/libexec/cni"])
def test_plug_ins_are_found_where_distributions_have_them(directory: str, machine: Machine) -> None:
    if not Path(directory).exists():
        pytest.skip("this machine has no such directory to hide")
    machine.has(everything("rehearsal") | {"containernetworking-plugins": f"{directory}/ptp"})
    assert machine.run("--missing", "rehearsal").stdout == ""


def test_other_processors_have_no_user_mode_linux(machine: Machine) -> None:
    machine.has(everything("slow") | {"user-mode-linux": ""})
    machine.program("uname", "[ $1 = -s ] && echo Linux || echo aarch64")
    assert machine.run("--missing", "slow").stdout == ""


def test_macos_has_certificates_of_its_own(machine: Machine) -> None:
    machine.has(everything("minimal") | {"ca-certificates": ""})
    machine.program("uname", "echo Darwin")
    assert result(machine.run("minimal")) == (0, "", "")


# --- What is refused


@pytest.mark.parametrize(("system", "user"), [("Linux", 1000), ("Darwin", 0)])
def test_all_but_the_minimal_set_needs_root_on_linux(system: str, user: int, machine: Machine) -> None:
    machine.has(everything("rehearsal"))
    machine.program("uname", f"echo {system}")
    done = machine.run("rehearsal", user=user)
    line = f"packages.sh: namespaces and cgroups need root on Linux: {REMEDY}, or pass --without-cluster (rehearse.sh) or --fast (test.sh)\n"
    assert result(done) == (2, "", line)


@pytest.mark.parametrize("call", [["minimal"], ["--missing", "minimal"]], ids=" ".join)
@pytest.mark.parametrize("lacks", ["root", "apt-get"])
def test_what_cannot_be_installed_is_named(lacks: str, call: list[str], machine: Machine) -> None:
    machine.has(everything("minimal") | {"git": "", "curl": ""})
    if lacks == "apt-get":
        (machine.home / "bin" / "apt-get").unlink()
    done = machine.run(*call, user=1000 if lacks == "root" else 0)
    assert result(done) == (2, "", f"packages.sh: missing git curl: install them, or {REMEDY}\n")
    assert not (machine.home / "apt").exists()


# --- What is installed


def test_missing_packages_are_installed_without_questions(machine: Machine) -> None:
    """RUNLEVEL=1 keeps the package docker.io from starting an engine."""
    machine.has(everything("minimal") | {"git": ""})
    machine.program(
        "apt-get",
        f'{SILENT_APT}; [ $1 = update ] || printf "#!/bin/sh\\n" >{machine.home}/bin/git\n'
        f'/bin/chmod +x {machine.home}/bin/*; echo noise; echo noise >&2; echo "$DEBIAN_FRONTEND $RUNLEVEL" >>"$HOME/apt"',
    )
    assert result(machine.run("minimal")) == (0, "==> Install the system packages git\n", "")
    assert (machine.home / "apt").read_text().split() == [
        "update", "noninteractive", "1", "install", "--yes", "--no-install-recommends", "git", "noninteractive", "1",
    ]  # fmt: skip
    assert {path.name for path in machine.home.iterdir()} == {"bin", "apt"}, "the log is removed"


def test_failed_installation_shows_the_end_of_its_output(machine: Machine) -> None:
    machine.program("apt-get", "[ $1 = install ] || exit 0; for i in $(/usr/bin/seq 30); do echo $i; done; exit 100")
    machine.has(everything("minimal") | {"git": ""})
    done = machine.run("minimal")
    assert (done.returncode, done.stdout) == (1, "==> Install the system packages git\n")
    *output, line = done.stderr.splitlines()
    assert output == [str(number) for number in range(11, 31)]
    assert line == "packages.sh: apt-get could not install git: see its output above"
    assert {path.name for path in machine.home.iterdir()} == {"bin"}, "the log is removed"


@pytest.mark.parametrize("works", [False, True])
def test_failed_update_is_named_if_the_installation_fails_too(machine: Machine, works: bool) -> None:
    """Once, it was ignored: the installation then asks for versions that the mirror no longer has."""
    git = f"cp {machine.home}/bin/curl {machine.home}/bin/git" if works else "exit 100"
    machine.program("apt-get", f"[ $1 = install ] || exit 100; PATH=/usr/bin; {git}")
    machine.has(everything("minimal"))
    (machine.home / "bin" / "git").unlink()
    done = machine.run("minimal")
    line = (
        "packages.sh: apt-get could not install git, after apt-get update failed (check the network and the package "
        "sources): see its output above\n"
    )
    assert (done.returncode, done.stderr) == ((0, "") if works else (1, line))


#: The programs of packages with another name, where docker.io has no client, as since Debian 13.
SPLIT = {"docker.io": "dockerd", "docker-cli": "docker", "iproute2": "ip", "procps": "ps", "docker-buildx": "buildx"}
WHOLE = {**SPLIT, "docker.io": "dockerd docker"}


def install(machine: Machine, programs: dict[str, str], known: str) -> subprocess.CompletedProcess[str]:
    """Run ``packages.sh rehearsal`` on a machine that has nothing; ``known`` are the packages that apt-cache finds."""
    cases = "\n".join(f"{package}) names='{names}' ;;" for package, names in programs.items())
    machine.files = "/opt/cni/bin/ptp /etc/ssl/certs/ca-certificates.crt"
    machine.program(
        "apt-get",
        f"""shift
for package; do
  case $package in -*) continue ;; {cases} *) names=$package ;; esac
  for name in $names; do
    printf '#!/bin/sh\\n' >"{machine.home}/bin/$name"
    /bin/chmod +x "{machine.home}/bin/$name"
  done
done""",
        interpreter="/bin/bash",
    )
    machine.program(
        "apt-cache",
        f"""[[ $1 == search && $2 == --names-only ]] || exit 1
for name in {known}; do if [[ $name =~ ${{!#}} ]]; then echo "$name - of this release"; fi; done""",
        interpreter="/bin/bash",
    )
    return machine.run("rehearsal")


@pytest.mark.parametrize(
    ("programs", "known"),
    [
        (SPLIT, "docker-cli docker-buildx"),
        (WHOLE, "docker-buildx"),
        (WHOLE, ""),
        (WHOLE, "docker-cli-x x-docker-buildx"),
    ],
)
def test_brings_the_client_of_docker_in_every_release(machine: Machine, programs: dict[str, str], known: str) -> None:
    done = install(machine, programs, known)
    there = {path.name for path in (machine.home / "bin").iterdir()}
    assert done.returncode == 0
    assert {"docker", "dockerd"} <= there
    assert ("buildx" in there) == ("docker-buildx" in known.split())
    assert "docker-cli" not in there


def test_clients_of_docker_are_not_installed_without_its_engine(machine: Machine) -> None:
    machine.has(everything("rehearsal") | {"runc": ""})
    machine.program("apt-cache", "echo docker-buildx")
    machine.run("rehearsal")
    assert (machine.home / "apt").read_text().split()[-1] == "runc"
    assert "docker-buildx" not in (machine.home / "apt").read_text()


@pytest.mark.parametrize(
    ("programs", "missing"),
    [
        ({**WHOLE, "docker.io": "dockerd", "conntrack": ""}, "docker.io conntrack"),
        ({**WHOLE, "conntrack": ""}, "conntrack"),
    ],
)
def test_names_the_programs_that_an_installation_did_not_bring(
    machine: Machine, programs: dict[str, str], missing: str
) -> None:
    done = install(machine, programs, known="")
    line = (
        f"packages.sh: apt-get succeeded, but the programs of {missing} are not on PATH ({machine.home}/bin): "
        f"install them, or {REMEDY}\n"
    )
    assert (done.returncode, done.stderr) == (1, line)
