"""Builds the cluster's programs from their Go modules, once.

``modules/`` has one Go module for each project, so that its programs are built with the dependencies that it was
released with. go.sum pins every byte. A build can be interrupted at any time: the programs get into ``settings.bin`` by
one rename, and the next build continues with Go's build cache.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rehearsal import waiting
from rehearsal.kubernetes import image, toolchain
from rehearsal.sandbox import locks
from rehearsal.settings import settings

MODULES = Path(__file__).with_name("modules")
PAUSE_IMAGE = "localhost/pause:1"
#: Bytes that a first build needs: modules 2 GB, build cache 5 GB, programs 1 GB, and a reserve.
SPACE_NEEDED = 9_000_000_000
LIST_TIMEOUT = 1200
BUILD_TIMEOUT = 3600
#: Lines shown of the end of a failed build's output.
EXCERPT = 15


class BuildError(RuntimeError):
    """The programs could not be built; the message says why, ``excerpt`` is the end of the compiler's output."""

    def __init__(self, message: str, excerpt: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.excerpt = list(excerpt)


@dataclass(frozen=True)
class Batch:
    """Programs that one ``go build`` makes; ``programs`` maps the name of each to its package."""

    module: str
    programs: Mapping[str, str]
    flags: Sequence[str] = ()
    ldflags: str = "-s -w"
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Count:
    """Progress of a build, counting only the packages that the build cache does not have."""

    packages: int = 0
    programs: int = 0
    compiled: int = 0
    linked: int = 0

    def __str__(self) -> str:
        steps, done = self.packages + self.programs, self.compiled + self.linked
        percent = 100 * done // steps if steps else 100
        return (
            f"{percent} %: {self.compiled} of {self.packages} packages compiled, "
            f"{self.linked} of {self.programs} programs linked"
        )


def batches(version: str) -> list[Batch]:
    """Return what to build for Kubernetes ``version`` (``1.36.3``)."""
    commands = (
        "kube-apiserver",
        "kube-controller-manager",
        "kube-scheduler",
        "kubelet",
        "kubectl",
        "kube-proxy",
        "kubeadm",
    )
    containerd = "github.com/containerd/containerd/v2/cmd"
    static = {"CGO_ENABLED": "0"}
    return [
        Batch(
            "kubernetes",
            {name: f"k8s.io/kubernetes/cmd/{name}" for name in commands},
            ldflags=f"-s -w {version_flags(version)}",
        ),
        Batch("kubernetes", {"etcd": "go.etcd.io/etcd/server/v3"}),
        Batch("kubernetes", {"pause": "./pause"}, environment=static),
        Batch(
            "containerd",
            {name: f"{containerd}/{name}" for name in ("containerd", "containerd-shim-runc-v2", "ctr")},
            flags=["-tags=no_btrfs"],
            environment=static,
        ),
        Batch(
            "authenticator", {"aws-iam-authenticator": "sigs.k8s.io/aws-iam-authenticator/cmd/aws-iam-authenticator"}
        ),
        Batch("metrics-server", {"metrics-server": "sigs.k8s.io/metrics-server/cmd/metrics-server"}),
    ]


def version_flags(version: str) -> str:
    """Return the linker flags that set the programs' version; kubectl fails to parse an empty one."""
    major, minor, _ = version.split(".")
    values = {"gitVersion": f"v{version}", "gitMajor": major, "gitMinor": minor}
    packages = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    return " ".join(f"-X {package}.{name}={value}" for package in packages for name, value in values.items())


def is_built() -> bool:
    """Whether the programs exist and are those that the repository describes."""
    try:
        return _marker().read_text(encoding="ascii") == _key()
    except OSError:
        return False


def build(show: Callable[[str], None] = print) -> None:
    """Build all programs, unless they exist; ``show`` is called with the progress in one line.

    Raises:
        BuildError: a module could not be fetched or compiled, the disk is too small, or another build is running.
    """
    if is_built():
        return
    try:
        with locks.hold(settings.cache / "build.lock"):
            _build(show)
    except locks.Locked as error:
        raise BuildError(str(error)) from error


def _build(show: Callable[[str], None]) -> None:
    go, environment = toolchain.find(show)
    stage = settings.bin.with_name(settings.bin.name + ".new")
    shutil.rmtree(stage, ignore_errors=True)
    stage.mkdir(parents=True)
    todo = batches(settings.kubernetes_version)
    stale = _stale_of_all(go, environment, todo, show)
    count = Count(
        packages=len({key for found in stale for key in found.values()}),
        programs=sum(len(batch.programs) for batch in todo),
    )
    free = shutil.disk_usage(stage).free
    if count.packages > 1000 and free < SPACE_NEEDED:
        raise BuildError(
            f"the first build needs {SPACE_NEEDED / 1e9:.0f} GB in {settings.cache}; {free / 1e9:.1f} GB are free"
        )
    compiled: set[str] = set()
    for batch, expected in zip(todo, stale, strict=True):
        for package in _compile(go, environment, batch, stage):
            if package in expected:
                compiled.add(expected[package])
                count.compiled = len(compiled)
            elif package.startswith(LINKED):
                count.linked += 1
            show(str(count))
        # Packages that an earlier batch has compiled are not compiled again, so go did not name them.
        compiled |= set(expected.values())
        count.compiled = len(compiled)
    image.write(stage / "pause.tar", PAUSE_IMAGE, {"/pause": stage / "pause"}, ["/pause"])
    (stage / _marker().name).write_text(_key(), encoding="ascii")
    shutil.rmtree(settings.bin, ignore_errors=True)
    stage.rename(settings.bin)
    size = sum(path.stat().st_size for path in settings.bin.iterdir())
    show(f"= {count.programs} programs, {size / 1e9:.1f} GB in {settings.bin}")


#: Prefix of ``_compile`` for the name of a linked program.
LINKED = "linked "


def _compile(go: Path, environment: Mapping[str, str], batch: Batch, stage: Path) -> Iterator[str]:
    """Run one ``go build``; yields each package when it is compiled and each program when it is linked."""
    single = len(batch.programs) == 1
    target = stage / next(iter(batch.programs)) if single else stage
    args = ["build", "-v", *batch.flags, "-ldflags", batch.ldflags, "-o", f"{target}{'' if single else '/'}"]
    missing = set(batch.programs)
    other: list[str] = []
    process = _go(go, args + list(batch.programs.values()), environment, batch)
    try:
        with waiting.limit(BUILD_TIMEOUT, process.kill) as expired:
            for line in process.stderr or ():
                words = line.split()
                if len(words) == 1:
                    yield words[0]
                else:
                    other.append(line.rstrip())
                for name in sorted(name for name in missing if (stage / name).exists()):
                    missing.remove(name)
                    yield LINKED + name
            code = process.wait()
    finally:
        process.kill()
        process.wait()
    if expired.is_set():
        raise BuildError(f"building {batch.module} took longer than {BUILD_TIMEOUT} s", other[-EXCERPT:])
    if code:
        raise BuildError(f"go build failed in {MODULES / batch.module}", other[-EXCERPT:])
    for name in sorted(missing):
        yield LINKED + name


def _stale_of_all(
    go: Path, environment: Mapping[str, str], todo: Sequence[Batch], show: Callable[[str], None]
) -> list[dict[str, str]]:
    """Fetch the modules, and return what each batch has to compile (see ``stale``)."""
    found = []
    fetched = 0
    for batch in todo:
        show(f"find what {batch.module} needs" + (f"; {fetched} modules fetched" if fetched else ""))
        # go gives a reason for each package that is not up to date; see ``stale`` for the one that does not count.
        form = "{{if .StaleReason}}{{.ImportPath}}\t{{with .Module}}{{.Version}}{{end}}\t{{.StaleReason}}{{end}}"
        args = ["list", "-deps", "-f", form, *batch.flags, "-ldflags", batch.ldflags, *batch.programs.values()]
        with (
            tempfile.TemporaryFile("w+") as listed,
            _go(go, args, environment, batch, stdout=listed.fileno()) as process,
        ):
            said = []
            for line in process.stderr or ():
                said.append(line.rstrip())
                if line.startswith("go: downloading"):
                    fetched += 1
                    show(f"fetch modules from the Go proxy: {fetched} so far")
            if process.wait(LIST_TIMEOUT):
                raise BuildError(f"the modules of {batch.module} cannot be fetched", said[-EXCERPT:])
            listed.seek(0)
            found.append(stale(listed))
    return found


def stale(lines: Iterable[str]) -> dict[str, str]:
    """Return the packages to compile, from ``go list``'s lines of import path, version and reason.

    The value is the package with its version, because two modules may compile different versions of one package.
    """
    fields = [line.rstrip("\n").split("\t") for line in lines if line.count("\t") == 2]
    cached = "not installed but available in build cache"  # only the program's file is missing
    return {package: f"{package}@{version}" for package, version, reason in fields if reason != cached}


def _go(
    go: Path, args: Sequence[str], environment: Mapping[str, str], batch: Batch, stdout: int = subprocess.DEVNULL
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [str(go), *args],
        cwd=MODULES / batch.module,
        env={**environment, **batch.environment},
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
    )


def _key() -> str:
    """Return a digest of everything that the programs are built from."""
    digest = hashlib.sha256(repr(batches(settings.kubernetes_version)).encode())
    for path in sorted(MODULES.rglob("*")):
        if path.suffix in (".mod", ".sum", ".go"):
            digest.update(str(path.relative_to(MODULES)).encode() + path.read_bytes())
    return digest.hexdigest()


def _marker() -> Path:
    return settings.bin / "built"


def main() -> int:
    """Build, and show the progress on one line of the terminal, or every 15 seconds if there is none."""
    last, shown = "", 0.0

    def show(message: str) -> None:
        nonlocal last, shown
        if message == last:
            return
        last = message
        if sys.stdout.isatty():
            print(f"\r\033[K{message}", end="", flush=True)
        elif time.monotonic() - shown > 15 or message.startswith("="):
            shown = time.monotonic()
            print(message, flush=True)

    try:
        build(show)
    except BuildError as error:
        print("\n".join(["", *error.excerpt, f"build: {error}"]), file=sys.stderr)
        return 1
    print()
    return 0
