"""Gets the cluster's programs as their projects publish them, by the checksums in official.toml.

Kubernetes publishes programs at dl.k8s.io (https://kubernetes.io/releases/download/) and images at registry.k8s.io, whose
blobs need no account (https://github.com/kubernetes/registry.k8s.io). A program of which only an image has a checksum in
public is taken from the image: each digest names the next document, down to the layer with the program.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tarfile
import threading
import time
import tomllib
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rehearsal.kubernetes import download
from rehearsal.kubernetes.download import NotAvailable, Transfer
from rehearsal.settings import ARCHITECTURES, settings

if TYPE_CHECKING:
    import httpx

PINS = Path(__file__).with_name("official.toml")
#: Bytes that the downloaded files and the programs need together.
SPACE_NEEDED = 1_500_000_000
#: With fewer bytes a second in this many seconds, compiling is faster.
SLOWEST, PERIOD = 250_000, 20.0
MEDIA_TYPES = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)


@dataclass(frozen=True)
class Source:
    """A published file or image; ``programs`` maps names to paths in it, and ``sha256`` is empty if it is unknown."""

    name: str
    version: str
    url: str
    checksums: str
    programs: Mapping[str, str]
    sha256: str

    @property
    def is_image(self) -> bool:
        """Whether the URL names an image."""
        return "/manifests/" in self.url


def sources(wanted: str) -> list[Source]:
    """Return what official.toml has for an architecture, such as ``amd64``."""
    found: dict[str, dict[str, Any]] = tomllib.loads(PINS.read_text(encoding="utf-8"))
    return [_source(name, entry, wanted) for name, entry in found.items()]


def _source(name: str, entry: dict[str, Any], wanted: str) -> Source:
    def fill(text: str, **more: str) -> str:
        return text.format(version=entry["version"], architecture=wanted, **more)

    url = fill(entry["url"])
    return Source(
        name,
        entry["version"],
        url,
        fill(entry.get("checksums", ""), url=url),
        {program: fill(path) for program, path in entry["programs"].items()},
        entry["sha256"].get(wanted, ""),
    )


def kept() -> Path:
    """Return the directory of what was downloaded, complete or not, until all programs are there."""
    return settings.cache / "downloads"


def key() -> str:
    """Return a digest of everything that decides which programs ``fetch`` gets."""
    return hashlib.sha256(repr(sources(settings.architecture)).encode()).hexdigest()


def fetch(stage: Path, show: Callable[[str], None]) -> None:
    """Download all programs into ``stage``, all at once; what is complete or begun is kept for the next call.

    Raises:
        NotAvailable: one of them cannot be had.
    """
    wanted = sources(settings.architecture)
    for source in wanted:
        if not source.sha256:
            raise NotAvailable(f"{PINS.name} has no checksum of {source.name} for {settings.architecture}")
    if shutil.disk_usage(stage).free < SPACE_NEEDED:
        raise NotAvailable(f"downloading needs {SPACE_NEEDED / 1e9:.1f} GB in {settings.cache}")
    kept().mkdir(parents=True, exist_ok=True)
    transfers: list[Transfer] = []
    cancelled = threading.Event()
    with download.client() as http, ThreadPoolExecutor(len(wanted)) as pool:

        def work(source: Source) -> None:
            url, sha256 = _layer(http, source) if source.is_image else (source.url, source.sha256)
            transfer = Transfer(url, kept() / f"{source.name}-{sha256}", sha256)
            if not transfer.path.exists():
                transfers.append(transfer)
                transfer.run(http, cancelled)
            unpack(transfer.path, source, stage)

        try:
            _watch([pool.submit(work, source) for source in wanted], transfers, show)
        finally:
            cancelled.set()


def _watch(jobs: list[Future[None]], transfers: list[Transfer], show: Callable[[str], None]) -> None:
    """Show the progress until all jobs are done; raises what the first that failed raised."""
    marked, mark = time.monotonic(), 0
    waiting = set(jobs)
    while waiting:
        waiting = wait(jobs, timeout=0.2, return_when=FIRST_EXCEPTION).not_done
        for job in set(jobs) - waiting:
            job.result()
        received, total = (sum(getattr(each, name) for each in transfers) for name in ("received", "total"))
        show(f"download the official programs: {received / 1e6:.0f} of {total / 1e6:.0f} MB, {len(waiting)} to go")
        if time.monotonic() - marked > PERIOD:
            if received - mark < SLOWEST * PERIOD and any(each.received < each.total for each in transfers):
                raise NotAvailable(f"the downloads bring less than {SLOWEST // 1000} kB a second")
            marked, mark = time.monotonic(), received


def unpack(file: Path, source: Source, stage: Path) -> None:
    """Put the programs of a downloaded file or archive into ``stage``.

    Raises:
        NotAvailable: the archive lacks one.
    """
    targets = {path: stage / name for name, path in source.programs.items()}
    if whole := targets.get(""):
        shutil.copyfile(file, whole)
    else:
        try:
            with tarfile.open(file) as archive:
                for path, target in targets.items():
                    _extract(archive, path, target)
        except (KeyError, tarfile.TarError, EOFError) as error:
            raise NotAvailable(f"{source.url} has not the programs that {PINS.name} names: {error}") from error
    for target in targets.values():
        target.chmod(0o755)


def _extract(archive: tarfile.TarFile, path: str, target: Path) -> None:
    member = archive.extractfile(path)
    if member is None:
        raise KeyError(f"{path} is not a file")
    with target.open("wb") as copy:
        shutil.copyfileobj(member, copy)


def _layer(http: httpx.Client, source: Source) -> tuple[str, str]:
    """Return URL and checksum of the last layer of an image, to which an index and a manifest lead by their digests."""
    repository = source.url.rpartition("/manifests/")[0]
    document = _document(http, repository, source.sha256)
    if "manifests" in document:
        for entry in document["manifests"]:
            if entry.get("platform", {}).get("architecture") == settings.architecture:
                document = _document(http, repository, entry["digest"].removeprefix("sha256:"))
                break
    if not document.get("layers"):
        raise NotAvailable(f"{source.url} has no image for {settings.architecture}")
    digest = document["layers"][-1]["digest"]
    return f"{repository}/blobs/{digest}", digest.removeprefix("sha256:")


def _document(http: httpx.Client, repository: str, sha256: str) -> dict[str, Any]:
    url = f"{repository}/manifests/sha256:{sha256}"
    content = download.get(http, url, MEDIA_TYPES)
    if hashlib.sha256(content).hexdigest() != sha256:
        raise NotAvailable(f"{url} has another checksum than expected")
    document: dict[str, Any] = json.loads(content)
    return document


def pin(show: Callable[[str], None] = print) -> None:
    """Read the checksums that the projects publish, and write them to official.toml.

    Raises:
        NotAvailable: a project does not publish one, or cannot be reached; nothing is written.
    """
    text = PINS.read_text(encoding="utf-8")
    with download.client() as http:
        for wanted in ARCHITECTURES.values():
            for source in sources(wanted):
                found = _published(http, source)
                if found != source.sha256:
                    show(f"{source.name} {source.version} {wanted}: {found}")
                section = re.compile(rf'(?ms)^(\[{re.escape(source.name)}\]\n.*?^sha256\.{wanted} = )"[^"]*"')
                text = section.sub(rf'\g<1>"{found}"', text, count=1)
    PINS.write_text(text, encoding="utf-8")


def _published(http: httpx.Client, source: Source) -> str:
    if source.is_image:
        return hashlib.sha256(download.get(http, source.url, MEDIA_TYPES)).hexdigest()
    content = download.get(http, source.checksums).decode(errors="replace")
    name = re.escape(source.url.rpartition("/")[2])
    found = re.search(rf"(?m)^([0-9a-f]{{64}})(?:\s+\*?{name})?$", content.strip())
    if not found:
        raise NotAvailable(f"{source.checksums} has no checksum of {source.name}")
    return found[1]
