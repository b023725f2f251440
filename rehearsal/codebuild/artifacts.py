"""Unpacks source artifacts and packs output artifacts.

Follows https://docs.aws.amazon.com/codebuild/latest/userguide/build-spec-ref.html#build-spec.artifacts.path; what the log
says and how it fails are as in public logs, such as https://github.com/aws/copilot-cli/issues/2780. Differs from AWS:
symbolic links are followed (``enable-symlinks`` is ignored), and CodePipeline names the artifacts.
"""

from __future__ import annotations

import io
import os
import stat
import zipfile
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path

from rehearsal.codebuild.buildspec import Artifact


class ArtifactError(Exception):
    """No file matches the artifact, or the source cannot be unpacked."""


def unpack(data: bytes, target: Path) -> None:
    """Unpack a zip file with its permissions and symbolic links.

    Raises:
        ArtifactError: it is not a zip file, or a path in it is outside ``target``.
    """
    target.mkdir(parents=True, exist_ok=True)
    root = target.resolve()
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for entry in archive.infolist():
                path = root / entry.filename
                if not path.resolve().is_relative_to(root):
                    raise ArtifactError(f"{entry.filename} is outside the source directory")
                mode = entry.external_attr >> 16
                if stat.S_ISLNK(mode):
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.symlink_to(archive.read(entry).decode())
                    continue
                archive.extract(entry, root)
                if mode and not entry.is_dir():
                    path.chmod(stat.S_IMODE(mode))
    except zipfile.BadZipFile as error:
        raise ArtifactError(f"the source is not a zip file: {error}") from error


def pack(artifact: Artifact, source: Path, say: Callable[[str], None] = lambda _: None) -> bytes:
    """Pack the files that a buildspec names; ``say`` is called with each line for the log.

    Raises:
        ArtifactError: no file matches, or no base directory.
    """
    buffer = io.BytesIO()
    packed = set()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for base in _base_directories(artifact, source):
            for pattern in artifact.files:
                say(f"Expanding {pattern}")
            for path in _matching(artifact, base):
                name = path.name if artifact.discard_paths else str(path.relative_to(base))
                if name not in packed:
                    archive.write(path, name)
                    packed.add(name)
    if not packed:
        raise ArtifactError("no matching artifact paths found")
    say(f"Found {len(packed)} file(s)")
    return buffer.getvalue()


def matching_paths(pattern: str, base: Path) -> list[Path]:
    """Return the files below ``base`` that match a buildspec's pattern; ``**/*`` is every file."""
    found = {base / pattern} if not any(sign in pattern for sign in "*?[") else set(base.glob(pattern))
    return sorted(path for path in found if path.is_file())


def _base_directories(artifact: Artifact, source: Path) -> list[Path]:
    found = sorted(source.glob(artifact.base_directory)) if artifact.base_directory else [source]
    if not found:
        raise ArtifactError(f"no matching base directory path found for {artifact.base_directory}")
    return found


def _matching(artifact: Artifact, base: Path) -> list[Path]:
    files = {path for pattern in artifact.files for path in matching_paths(os.path.normpath(pattern), base)}
    excluded = artifact.exclude_paths
    return sorted(
        path for path in files if not any(fnmatch(str(path.relative_to(base)), pattern) for pattern in excluded)
    )
