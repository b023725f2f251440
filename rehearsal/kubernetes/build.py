"""Gets the cluster's programs, once: as their projects publish them, else built from one Go module.

``programs/`` is the module of all programs: what two of them import is compiled once, and one ``go build`` keeps every
core busy to its end. The price is that a program may get newer dependencies than it was released with. go.sum pins every
byte. A build can be interrupted at any time: the programs get into ``settings.bin`` by one rename, and until then the next
build continues with Go's build cache.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rehearsal import waiting
from rehearsal.kubernetes import official, pause, toolchain
from rehearsal.kubernetes.download import NotAvailable
from rehearsal.sandbox import locks
from rehearsal.settings import settings

MODULE = Path(__file__).with_name("programs")
CONTAINERD = "github.com/containerd/containerd/v2/cmd"
#: What to build: the names of the programs in ``settings.bin``, by their package.
PACKAGES: Mapping[str, Sequence[str]] = {
    "./kube": (
        "kube-apiserver",
        "kube-controller-manager",
        "kube-proxy",
        "kube-scheduler",
        "kubelet",
    ),
    "k8s.io/kubernetes/cmd/kubectl": ("kubectl",),
    "go.etcd.io/etcd/server/v3": ("etcd",),
    f"{CONTAINERD}/containerd": ("containerd",),
    f"{CONTAINERD}/containerd-shim-runc-v2": ("containerd-shim-runc-v2",),
    f"{CONTAINERD}/ctr": ("ctr",),
    "sigs.k8s.io/aws-iam-authenticator/cmd/aws-iam-authenticator": ("aws-iam-authenticator",),
    "sigs.k8s.io/metrics-server/cmd/metrics-server": ("metrics-server",),
}
#: Parts of containerd that no node uses: three snapshotters, plug-ins in WebAssembly, exported traces, manual pages.
TAGS = "no_btrfs,no_zfs,no_devmapper,nri_no_wasm,no_tracing,urfave_cli_no_docs"
#: Bytes that a first build needs: modules 2 GB, build cache 3 GB, programs 0.5 GB, and a reserve.
SPACE_NEEDED = 6_500_000_000
LIST_TIMEOUT = 1200
BUILD_TIMEOUT = 3600
#: Where programs come from.
COMPILED, DOWNLOADED = "compiled", "downloaded"
#: Lines shown of the end of a failed build's output.
EXCERPT = 15


class BuildError(RuntimeError):
    """The programs could not be built; the message says why, ``excerpt`` is the end of the compiler's output."""

    def __init__(self, message: str, excerpt: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.excerpt = list(excerpt)


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


def flags(version: str) -> list[str]:
    """Return the flags that decide what is compiled, for ``go build`` and ``go list``.

    Without inlining and debug information, the compiler takes less than half of the time. Git does not stamp the
    programs, because the learner's checkout may belong to another user, and then Go refuses to build.
    """
    return [
        f"-tags={TAGS}",
        "-gcflags=all=-l -dwarf=false",
        f"-ldflags=-s -w {version_flags(version)}",
        "-buildvcs=false",
    ]


def version_flags(version: str) -> str:
    """Return the linker flags that set the programs' version; kubectl fails to parse an empty one."""
    major, minor, _ = version.split(".")
    values = {"gitVersion": f"v{version}", "gitMajor": major, "gitMinor": minor}
    packages = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    return " ".join(f"-X {package}.{name}={value}" for package in packages for name, value in values.items())


def is_built() -> bool:
    """Whether the programs exist and are those that the repository describes."""
    wanted = [COMPILED] if settings.compiles else [COMPILED, DOWNLOADED]
    try:
        return _marker().read_text(encoding="ascii") in [_key(origin) for origin in wanted]
    except OSError:
        return False


def build(show: Callable[[str], None] = print) -> None:
    """Get all programs, unless they exist; ``show`` is called with the progress in one line.

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
    stage = settings.bin.with_name(settings.bin.name + ".new")
    origin, note = COMPILED, ""
    _empty(stage)
    if not settings.compiles:
        try:
            official.fetch(stage, show)
            origin = DOWNLOADED
        except NotAvailable as error:
            note = f" ({error})"
            show(f"compile, because {error}")
            _empty(stage)
    if origin == COMPILED:
        compile_all(stage, show)
    count = len(list(stage.iterdir()))
    pause.write_image(stage / pause.ARCHIVE)
    (stage / _marker().name).write_text(_key(origin), encoding="ascii")
    shutil.rmtree(settings.bin, ignore_errors=True)
    stage.rename(settings.bin)
    shutil.rmtree(official.kept(), ignore_errors=True)
    toolchain.remove_caches()
    show(f"= {count} programs {origin}, {_size(settings.bin) / 1e9:.1f} GB{note}")


def _empty(directory: Path) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)


def _size(directory: Path) -> int:
    """Return the bytes that the files of ``directory`` take on the disk; one with several names counts once."""
    files = {status.st_ino: status.st_size for status in map(Path.stat, directory.iterdir())}
    return sum(files.values())


def compile_all(stage: Path, show: Callable[[str], None]) -> None:
    """Compile all programs into ``stage``."""
    go, environment = toolchain.find(show)
    missing = _stale(go, environment, show)
    count = Count(packages=len(missing), programs=len(PACKAGES))
    free = shutil.disk_usage(stage).free
    if count.packages > 1000 and free < SPACE_NEEDED:
        raise BuildError(
            f"the first build needs {SPACE_NEEDED / 1e9:.1f} GB in {settings.cache}; {free / 1e9:.1f} GB are free"
        )
    for package in _compile(go, environment, stage):
        if package in missing:
            missing.remove(package)
            count.compiled += 1
        elif package.startswith(LINKED):
            count.linked += 1
        show(str(count))
    for package, names in PACKAGES.items():
        made = stage / file_of(package)
        made.rename(stage / names[0])
        for name in names[1:]:
            (stage / name).hardlink_to(stage / names[0])


#: Prefix of ``_compile`` for the name of a linked program.
LINKED = "linked "


def file_of(package: str) -> str:
    """Return the name that ``go build`` gives to a package's program."""
    *_, parent, name = package.split("/")
    return parent if re.fullmatch(r"v\d+", name) else name


def _compile(go: Path, environment: Mapping[str, str], stage: Path) -> Iterator[str]:
    """Run ``go build``; yields each package when it is compiled and each program when it is linked."""
    missing = {file_of(package) for package in PACKAGES}
    other: list[str] = []
    pace = ["-p", str(toolchain.cores())]
    arguments = ["build", "-v", *pace, *flags(settings.kubernetes_version), "-o", f"{stage}/", *PACKAGES]
    process = _go(go, arguments, {**environment, **toolchain.pace()})
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
        raise BuildError(f"building took longer than {BUILD_TIMEOUT} s; run it again to continue", other[-EXCERPT:])
    if code:
        raise BuildError(f"go build failed in {MODULE}", other[-EXCERPT:])
    for name in sorted(missing):
        yield LINKED + name


def _stale(go: Path, environment: Mapping[str, str], show: Callable[[str], None]) -> set[str]:
    """Fetch the modules, and return the packages to compile."""
    show("find what the programs need")
    # go gives a reason for each package that is not up to date; see ``stale`` for the one that does not count.
    form = "{{if .StaleReason}}{{.ImportPath}}\t{{.StaleReason}}{{end}}"
    arguments = ["list", "-deps", "-f", form, *flags(settings.kubernetes_version), *PACKAGES]
    fetched = 0
    said = []
    with tempfile.TemporaryFile("w+") as listed, _go(go, arguments, environment, listed.fileno()) as process:
        with waiting.limit(LIST_TIMEOUT, process.kill):
            for line in process.stderr or ():
                said.append(line.rstrip())
                if line.startswith("go: downloading"):
                    fetched += 1
                    show(f"fetch modules from the Go proxy: {fetched} so far")
            code = process.wait()
        if code:
            raise BuildError(f"the modules of {MODULE / 'go.mod'} cannot be fetched", said[-EXCERPT:])
        listed.seek(0)
        return stale(listed)


def stale(lines: Iterable[str]) -> set[str]:
    """Return the packages to compile, from ``go list``'s lines of import path and reason."""
    fields = [line.rstrip("\n").split("\t") for line in lines if line.count("\t") == 1]
    cached = "not installed but available in build cache"  # only the program's file is missing
    return {package for package, reason in fields if reason != cached}


def _go(
    go: Path, arguments: Sequence[str], environment: Mapping[str, str], stdout: int = subprocess.DEVNULL
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [str(go), *arguments],
        cwd=MODULE,
        # Programs without C libraries need no C compiler and run on any Linux.
        env={**environment, "CGO_ENABLED": "0"},
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
    )


def _key(origin: str) -> str:
    """Return a digest of everything that the programs of an origin are made from."""
    made_from = [origin, pause.program(), official.key() if origin == DOWNLOADED else _sources()]
    return hashlib.sha256(repr(made_from).encode()).hexdigest()


def _sources() -> list[object]:
    files = [path for path in sorted(MODULE.rglob("*")) if path.suffix in (".mod", ".sum", ".go")]
    contents = [(str(path.relative_to(MODULE)), path.read_bytes()) for path in files]
    return [PACKAGES, flags(settings.kubernetes_version), contents]


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
        elif time.monotonic() - shown > 15 or message.startswith(("= ", "compile, because")):
            shown = time.monotonic()
            print(message, flush=True)

    try:
        build(show)
    except BuildError as error:
        print("\n".join(["", *error.excerpt, f"build: {error}"]), file=sys.stderr)
        return 1
    print()
    return 0
