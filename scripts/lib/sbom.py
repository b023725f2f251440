"""Print the image's bill of materials: a CycloneDX document of its Python, of Python's packages and of Debian's.

    PYTHONPATH=/opt/bom python sbom.py >bom.json

The Dockerfile's stage bom runs this in the image. What is below PYTHONPATH is in no image, and is not listed. The same
packages give the same document, and so the same layer: it has no time and no serial number. If it is not valid, prints why
and exits with 1.

Follows https://cyclonedx.org/docs/1.6/json/ and https://github.com/package-url/purl-spec (pypi, deb and generic).
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution
from pathlib import Path

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import License
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

#: Where pip, Debian and the official image of Python install packages.
PLACES = (Path("/opt"), Path("/usr"))


def main() -> None:
    """Run the command line."""
    text = document([python(), *python_packages(PLACES, Path(os.environ["PYTHONPATH"])), *debian_packages()])
    errors = list(JsonStrictValidator(SchemaVersion.V1_6).validate_str(text, all_errors=True) or ())
    if errors:
        sys.exit("\n".join(f"the bill of materials is not valid: {error}" for error in errors))
    print(text)


def document(components: list[Component]) -> str:
    """Return the document. The library knows no dependencies, so it does not say that there are none."""
    made = json.loads(JsonV1Dot6(Bom(components=components)).output_as_string())
    del made["serialNumber"], made["metadata"]["timestamp"], made["dependencies"]
    return json.dumps(made, indent=1, sort_keys=True)


def python() -> Component:
    """Return the interpreter, which the official image compiles, so that Debian does not list it."""
    return component(PackageURL("generic", None, "python", platform.python_version()))


def python_packages(places: tuple[Path, ...], tests: Path) -> Iterator[Component]:
    """Find the packages of Python, except those of the tests."""
    for path in sorted(path for place in places for path in place.rglob("*.dist-info")):
        if not path.is_relative_to(tests):
            package = Distribution.at(path)
            # The specification of the type pypi asks for this spelling of the name.
            purl = PackageURL("pypi", None, package.name.lower().replace("_", "-"), package.version)
            yield component(purl, declared_license(package))


def declared_license(package: Distribution) -> str:
    """Return the licence that a package declares: an expression (PEP 639), or a name in one of the older ways."""
    said = package.metadata
    classes = [one.rpartition(" :: ")[2] for one in said.get_all("Classifier") or () if one.startswith("License ::")]
    declared = [*(said.get_all("License-Expression") or ()), *(said.get_all("License") or ()), *classes]
    return next((one for one in declared if one and "\n" not in one), "")


def debian_packages() -> Iterator[Component]:
    """List the packages of Debian."""
    release = platform.freedesktop_os_release()
    form = "${Package} ${Version} ${Architecture} ${db:Status-Status}\n"
    listed = subprocess.run(
        ["dpkg-query", "--show", f"--showformat={form}"], capture_output=True, text=True, check=True
    )
    for line in listed.stdout.splitlines():
        name, version, architecture, status = line.split()
        if status == "installed":
            where = {"arch": architecture, "distro": f"{release['ID']}-{release['VERSION_ID']}"}
            yield component(PackageURL("deb", release["ID"], name, version, where))


def component(purl: PackageURL, license_name: str = "") -> Component:
    """Return a component with its package URL."""
    licenses: list[License] = [LicenseFactory().make_from_string(license_name)] if license_name else []
    return Component(
        name=purl.name,
        version=purl.version,
        purl=purl,
        bom_ref=str(purl),
        type=ComponentType.LIBRARY,
        licenses=licenses,
    )


if __name__ == "__main__":
    main()
