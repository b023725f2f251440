"""Dockerfile: its stages, what each has, and what the released image is checked by."""

from __future__ import annotations

import json
import re
import runpy

import pytest

from app import app
from tests.support.image_stages import stages
from tests.support.paths import ROOT


def test_last_stage_runs_the_server_without_root_or_tests() -> None:
    found = stages()
    assert list(found)[-1] == "release"
    assert found["release"][0] == "FROM runtime AS release"
    users = [line for line in found["release"] if line.startswith("USER ")]
    assert users == ["USER 10001:10001"]
    assert found["release"][-1] == 'CMD ["gunicorn"]'
    assert [line for line in found["release"] if line.startswith("COPY ")] == [
        "COPY --from=bom /bom.json /",
        "COPY app.py gunicorn.conf.py ./",
    ], "the bill of materials first, so that a change of the app leaves its layer as it is"
    assert "ARG VERSION=development" in found["release"]
    assert "ENV VERSION=$VERSION" in found["release"]


def test_tests_run_on_the_released_stage_and_can_fail_it() -> None:
    assert stages()["test"][0] == "FROM runtime AS test"
    assert stages()["test"][-1].startswith("RUN python -m pytest ")
    assert not re.search(r"\|\||;|&& true|\bexit\b", stages()["test"][-1])


def test_every_package_is_verified_by_its_hash() -> None:
    installs = [line for lines in stages().values() for line in lines if "pip " in line and " install " in line]
    assert len(installs) == 3
    assert all("--require-hashes" in line and "--only-binary :all:" in line for line in installs)
    for name in ("requirements.txt", "tests/requirements.txt", "scripts/lib/sbom-requirements.txt"):
        pins = re.split(r"\n(?=[a-z])", (ROOT / name).read_text(encoding="utf-8"))
        assert all("--hash=sha256:" in pin for pin in pins if "==" in pin.partition("\n")[0]), name


def test_base_image_has_a_version_and_no_pull_limit() -> None:
    outside = [lines[0].split()[1] for lines in stages().values() if lines[0].split()[1] not in stages()]
    assert len(outside) == 1
    assert re.fullmatch(r"public\.ecr\.aws/docker/library/python:3\.\d+-slim(-\w+)?(@sha256:[0-9a-f]{64})?", outside[0])


def instructions(stage: str, name: str) -> list[str]:
    """Return what follows an instruction in a stage, for each of them."""
    return [line.removeprefix(f"{name} ") for line in stages()[stage] if line.startswith(f"{name} ")]


def test_log_is_not_buffered_and_files_have_a_directory() -> None:
    assert instructions("base", "ENV") == ["PYTHONUNBUFFERED=1"]
    assert instructions("base", "WORKDIR") == ["/app"]


def test_environment_of_the_image_is_where_its_programs_are_found() -> None:
    made, filled = instructions("dependencies", "RUN")
    (directory,) = re.findall(r"^python -m venv --without-pip (/\S+)$", made)
    assert filled.startswith(f"pip --python {directory}/bin/python install ")
    assert instructions("runtime", "ENV") == [f"PATH={directory}/bin:$PATH"]
    assert instructions("runtime", "COPY") == [f"--from=dependencies {directory} {directory}"]


@pytest.mark.parametrize("stage", ["test", "bom"])
def test_packages_of_a_stage_that_only_checks_are_in_no_other(stage: str) -> None:
    """So a builder without layers, whose bill has not changed, installs nothing for the bill when it runs the tests."""
    (filled,) = instructions(f"{stage}-dependencies", "RUN")
    (directory,) = re.findall(r"^pip install --target (/\S+) ", filled)
    assert f"--from={stage}-dependencies {directory} {directory}" in instructions(stage, "COPY")
    having = [name for name, lines in stages().items() if directory in " ".join(lines)]
    assert having == [f"{stage}-dependencies", stage]


def test_tests_find_their_packages() -> None:
    (directory,) = re.findall(r"^pip install --target (/\S+) ", *instructions("test-dependencies", "RUN"))
    assert instructions("test", "ENV") == [f"PYTHONPATH={directory}"]


def test_bill_of_materials_is_made_in_the_released_stage_and_can_fail_it() -> None:
    """sbom.py leaves out what is below PYTHONPATH."""
    assert stages()["bom"][0] == "FROM runtime AS bom"
    (directory,) = re.findall(r"^pip install --target (/\S+) ", *instructions("bom-dependencies", "RUN"))
    assert instructions("bom", "COPY") == [f"--from=bom-dependencies {directory} {directory}", "scripts/lib/sbom.py ./"]
    assert instructions("bom", "RUN") == [f"PYTHONPATH={directory} python sbom.py >/bom.json"]


def test_requirements_are_installed_from_the_file_that_is_copied() -> None:
    files = {
        "dependencies": "requirements.txt",
        "test-dependencies": "tests/requirements.txt",
        "bom-dependencies": "scripts/lib/sbom-requirements.txt",
    }
    for stage, file in files.items():
        assert instructions(stage, "COPY") == [f"{file} ./"]
        install = instructions(stage, "RUN")[-1]
        assert "--no-cache-dir --" in install, "a cache would only enlarge the layer"
        assert "--disable-pip-version-check" in install
        assert "--no-compile" in install, (
            "the release compiles what it imports in its next stage, and the others run once"
        )
        assert install.endswith(f"--requirement {file.rpartition('/')[2]}")


def test_tests_run_as_the_user_of_the_release_with_the_same_files() -> None:
    assert instructions("test", "USER") == instructions("release", "USER")
    released = instructions("release", "COPY")[-1]
    assert instructions("test", "COPY")[-1] == released.replace(" ./", " tests/test_app.py ./")
    assert instructions("test", "RUN") == ["python -m pytest -p no:cacheprovider test_app.py"]


def test_everything_that_the_server_imports_is_compiled() -> None:
    """As root, because the user of the release cannot write the bytecode."""
    (command,) = instructions("runtime", "RUN")
    (names,) = re.findall(r'^python -c "import ([^"]+)"$', command)
    assert set(re.split(r"[ \\,]+", names)) == {
        "flask", "gunicorn.app.wsgiapp", "gunicorn.glogging", "gunicorn.workers.gthread", "concurrent.futures.thread",
        "encodings.idna",
    }  # fmt: skip


def test_labels_are_those_of_the_image_specification() -> None:
    """https://github.com/opencontainers/image-spec/blob/main/annotations.md"""
    (labels,) = instructions("release", "LABEL")
    found = dict(re.findall(r'org\.opencontainers\.image\.(\w+)="([^"]+)"', labels))
    assert (found["title"], found["revision"]) == ("hello-world", "$VERSION")
    assert set(found) == {"title", "description", "revision"}


def test_health_check_asks_the_server_and_ends_in_time() -> None:
    (check,) = instructions("release", "HEALTHCHECK")
    interval, timeout = (int(re.findall(rf"--{name}=(\d+)s", check)[0]) for name in ("interval", "timeout"))
    (command,) = re.findall(r"CMD (\[.+\])$", check)
    program, option, code = json.loads(command)
    assert (program, option) == ("python", "-c"), "the image has no curl"
    (url, inner) = re.findall(r"^from urllib\.request import urlopen; urlopen\('(\S+)', timeout=(\d+)\)$", code)[0]
    port = runpy.run_path(str(ROOT / "gunicorn.conf.py"))["bind"].rpartition(":")[2]
    assert url == f"http://127.0.0.1:{port}/healthz"
    assert "/healthz" in {rule.rule for rule in app.url_map.iter_rules()}
    assert 1 < int(inner) < timeout < interval <= 10
