"""Version 2 of the AWS CLI, as AWS's own package carries it for Lambda functions on x86-64 Linux."""

from __future__ import annotations

import stat
import tarfile
import zipfile
from pathlib import Path

from tests.support.environments import environment


def unpacked(directory: Path) -> Path:
    """Unpack the program and its 250 MB of libraries into a directory; return the program."""
    (package,) = environment("awscli").parent.glob("lib/*/site-packages/aws_cdk/asset_awscli_v2/_jsii/*.tgz")
    with tarfile.open(package) as archive:
        archive.extract("package/lib/layer.zip", directory, filter="data")
    with zipfile.ZipFile(directory / "package/lib/layer.zip") as layer:
        layer.extractall(directory)  # noqa: S202 (the package's hash is in uv.lock)
    (program,) = directory.glob("awscli/v2/2.*/dist/aws")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return program
