"""The sandbox: it starts, stops as a whole and leaves nothing behind, however it is stopped."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path

import pytest
from supervisor.options import ServerOptions

from rehearsal import rehearse, waiting
from rehearsal.sandbox import (
    SandboxError,
    cgroups,
    entry,
    first_process,
    footprint,
    identity,
    lifecycle,
    locks,
    network,
    programs,
    supervisor,
)
from rehearsal.sandbox.identity import Identity
from rehearsal.sandbox.programs import Program
from rehearsal.settings import settings
from tests.support.paths import ROOT

RUN_A_CLUSTER = """
import sys
from rehearsal import rehearse
from rehearsal.sandbox import entry, lifecycle
lifecycle.start(rehearse.programs)
for command in (["up", "--name", "x", "--version", "1.36"], ["install", "vpc-cni", "kube-proxy"], ["join"]):
    entry.run([sys.executable, "-m", "rehearsal.kubernetes", *command])
"""


# Configuration of supervisord


def test_program_is_rendered_with_its_namespace_and_environment() -> None:
    text = Program("etcd", ["/bin/etcd", "a b", "100%"], {"X": "1,2"}, netns="node-1", autostart=True).render()
    assert "command=nsenter --net=/run/netns/node-1 /bin/etcd 'a b' 100%%" in text.splitlines()
    assert 'environment=X="1,2"' in text.splitlines()
    assert "autostart=true" in text.splitlines()


@pytest.mark.parametrize("value", ["a ;b", "a #b", "a\nb"])
def test_rejects_values_that_the_format_would_truncate(value: str) -> None:
    with pytest.raises(ValueError, match="cannot express"):
        Program("x", ["echo", value]).render()


def test_rejects_quotes_in_the_environment() -> None:
    with pytest.raises(ValueError, match="cannot express"):
        Program("x", ["echo"], {"A": 'say "hi"'}).render()


def test_supervisord_reads_rendered_configuration(tmp_path: Path) -> None:
    program = Program("x", ["sh", "-c", "echo 50% 'a, b'"], {"PATH": "/bin:/usr/bin", "Q": "a=b&c"})
    text = programs.render_daemon() + program.render()
    text = text.replace(str(settings.run), str(tmp_path))
    (tmp_path / "log").mkdir()
    (tmp_path / "c.conf").write_text(text, encoding="utf-8")
    options = ServerOptions()
    options.realize(["-c", str(tmp_path / "c.conf")])
    (group,) = options.process_group_configs
    (process,) = group.process_configs
    assert process.command == "sh -c 'echo 50% '\"'\"'a, b'\"'\"''"
    assert process.environment == {"PATH": "/bin:/usr/bin", "Q": "a=b&c"}


# Identity and locks


def test_identity_distinguishes_processes_with_the_same_pid() -> None:
    me = Identity.of(os.getpid())
    assert me.alive()
    assert not Identity(me.pid, me.started + 1, me.boot, me.mounts).alive()
    assert not Identity(me.pid, me.started, "another boot", me.mounts).alive()


def test_zombie_is_not_alive() -> None:
    child = subprocess.Popen(["true"])
    time.sleep(0.2)
    with pytest.raises(ProcessLookupError):
        Identity.of(child.pid)
    child.wait()


def test_stale_record_stops_no_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """After a reboot, or much later, the recorded PID may be that of any process."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    sleeper = subprocess.Popen(["sleep", "60"])
    try:
        now = Identity.of(sleeper.pid)
        stale = asdict(Identity(now.pid, now.started, "before the reboot", "mnt:[1]"))
        run = tmp_path / "eks-rehearsal" / "run"
        run.mkdir(parents=True)
        (run / identity.file().name).write_text(json.dumps(stale), encoding="utf-8")
        code = "from rehearsal.sandbox import lifecycle; assert not lifecycle.is_running(); lifecycle.stop()"
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)
        assert sleeper.poll() is None
        assert not run.exists()
    finally:
        sleeper.kill()
        sleeper.wait()


def test_lock_has_one_holder_and_is_released_by_the_kernel(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    hold = f"from rehearsal.sandbox import locks; import pathlib, time\nwith locks.hold(pathlib.Path({str(path)!r})): print('held', flush=True); time.sleep(60)"
    holder = subprocess.Popen([sys.executable, "-c", hold], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    assert locks.is_held(path)
    with pytest.raises(locks.Locked, match="another rehearsal"), locks.hold(path):
        pass
    holder.kill()
    holder.wait()
    holder.stdout.close()
    assert not locks.is_held(path)


def test_wait_is_bounded_and_names_what_it_waited_for() -> None:
    with pytest.raises(TimeoutError, match=r"waited 0 s for the moon\. It said: no"):
        waiting.until(lambda: False, 0.1, "the moon", lambda: "It said: no")


def test_block_that_exceeds_its_limit_is_ended() -> None:
    sleeper = subprocess.Popen(["sleep", "60"])
    with waiting.limit(0.1, sleeper.kill) as expired:
        sleeper.wait(10)
    assert expired.is_set()
    with waiting.limit(60, sleeper.kill) as expired:
        pass
    assert not expired.is_set()


# Addresses and footprint


def test_finds_route_that_takes_addresses_of_the_rehearsal() -> None:
    """A wider route does not: the kernel prefers the narrower one, so both work."""
    routes = [{"dst": "default"}, {"dst": "192.0.2.0/24", "dev": "eth0"}, {"dst": "10.250.0.0/16", "dev": "vpn0"}]
    assert network.overlapping(routes) is None
    routes.append({"dst": "10.250.1.64/26", "dev": "vpn0"})
    assert network.overlapping(routes) == (settings.load_balancer_cidr, "10.250.1.64/26", "vpn0")


def test_route_has_one_gateway_or_several_of_equal_weight() -> None:
    assert network.next_hops(["10.0.0.1"]) == ["via", "10.0.0.1"]
    two = network.next_hops(["10.0.0.1", "10.0.0.2"])
    assert " ".join(two) == "nexthop via 10.0.0.1 weight 1 nexthop via 10.0.0.2 weight 1"


def test_difference_lists_what_is_new_and_what_is_missing() -> None:
    before, after = {"link": ["a", "b"]}, {"link": ["b", "c"]}
    assert footprint.difference(before, after) == ["new link: c", "missing link: a"]


def test_rehearsal_that_leaves_something_fails_and_names_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(footprint, "snapshot", lambda: {"file": ["/etc/left"]})
    monkeypatch.setattr(lifecycle, "exclusive", nullcontext)
    for name in ("stop", "is_running"):
        monkeypatch.setattr(lifecycle, name, lambda: None)
    monkeypatch.setattr(rehearse, "LOGS", tmp_path)
    monkeypatch.setattr(rehearse, "begin", lambda _: ({"file": []}, None))
    monkeypatch.setattr(rehearse, "walk", lambda *_: None)
    assert rehearse.run(keep=None, verbose=False) == 1
    assert "new file: /etc/left" in capsys.readouterr().out


# The real sandbox


@pytest.fixture
def free() -> Iterator[dict[str, object]]:
    """Ensure that no sandbox runs before and after the test; returns the footprint before it."""
    if lifecycle.is_running():
        pytest.fail("a rehearsal is running; these tests start and stop their own")
    lifecycle.stop()
    yield footprint.snapshot()
    lifecycle.stop()


@pytest.mark.rehearsal
def test_start_run_stop_leaves_nothing(free: dict[str, object]) -> None:
    lifecycle.start(rehearse.programs)
    assert lifecycle.is_running()
    inside = entry.run(["ps", "-ww", "-o", "args=", "1"], capture_output=True, text=True).stdout
    assert "supervisor.supervisord" in inside
    addresses = entry.run(["ip", "-4", "-brief", "address"], netns="engine", capture_output=True, text=True).stdout
    assert settings.engine_ip in addresses
    began = time.monotonic()
    lifecycle.stop()
    assert time.monotonic() - began < 10
    assert not lifecycle.is_running()
    assert footprint.difference(free, footprint.snapshot()) == []
    lifecycle.stop()


@pytest.mark.rehearsal
def test_supervisor_declares_starts_kills_stops_and_forgets_programs(free: dict[str, object]) -> None:
    lifecycle.start(rehearse.programs)
    supervisor.declare([Program("sleeper", ["sleep", "1000"], netns="engine")])
    assert supervisor.state("sleeper")[0] == "STOPPED"
    supervisor.start("sleeper")
    supervisor.start("sleeper")
    waiting.until(lambda: supervisor.state("sleeper")[0] == "RUNNING", 10, "sleeper")
    first = supervisor.state("sleeper")[1]
    supervisor.kill("sleeper")
    waiting.until(lambda: supervisor.state("sleeper")[1] not in (0, first), 10, "sleeper again")
    supervisor.stop("sleeper")
    supervisor.stop("sleeper")
    assert supervisor.state("sleeper")[0] == "STOPPED"
    supervisor.forget(["sleeper", "unknown"])
    with pytest.raises(SandboxError, match="no program sleeper"):
        supervisor.state("sleeper")
    assert free


@pytest.mark.rehearsal
def test_writes_in_the_sandbox_do_not_change_the_host(free: dict[str, object]) -> None:
    lifecycle.start(rehearse.programs)
    files = [*first_process.COVERED, *first_process.LAYERED, "/run", "/proc/sys/vm/overcommit_memory"]
    for name in files:
        target = Path(name) / "written" if Path(name).is_dir() else Path(name)
        entry.run(["sh", "-c", f"echo 2 > {target}"])
        assert entry.run(["cat", str(target)], capture_output=True, text=True).stdout == "2\n"
        assert target.name != "written" or not target.exists()
    assert footprint.difference({"kernel setting": free["kernel setting"]}, {
        "kernel setting": footprint.snapshot()["kernel setting"]}) == []  # fmt: skip


@pytest.mark.parametrize(("after", "difference"), [("1", 0), ("0", 2)])
def test_module_that_the_kernel_loads_is_no_change_of_a_setting(
    after: str, difference: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(footprint, "SETTINGS", tmp_path)
    before = footprint.snapshot()["kernel setting"]
    file = tmp_path / "net" / "bridge" / "bridge-nf-call-iptables"
    file.parent.mkdir(parents=True)
    file.write_text(f"{after}\n")
    found = footprint.difference({"kernel setting": before}, {"kernel setting": footprint.snapshot()["kernel setting"]})
    assert len(found) == difference


@pytest.mark.rehearsal
def test_rejects_second_rehearsal_with_another_cache_directory(free: dict[str, object], tmp_path: Path) -> None:
    lifecycle.start(rehearse.programs)
    done = subprocess.run(
        [sys.executable, "-c", "from rehearsal.sandbox import lifecycle; lifecycle.start()"],
        cwd=ROOT, env={**os.environ, "XDG_CACHE_HOME": str(tmp_path)}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert f"the link {network.HOST_LINK} exists: another rehearsal runs on this machine" in done.stderr
    assert lifecycle.is_running()
    assert free


#: Ten random moments, the same in each run; two are tried every time, the others with ``--all``.
_RANDOM = random.Random(7)  # noqa: S311  # moments, not secrets
MOMENTS = [
    pytest.param(round(_RANDOM.uniform(0, 12), 2), victim, marks=[] if number < 2 else pytest.mark.slow)
    for number, victim in enumerate(["front-end", "sandbox"] * 5)
]


@pytest.mark.rehearsal
@pytest.mark.parametrize(("moment", "victim"), MOMENTS)
def test_next_start_removes_everything_after_kill_9_at_any_moment(
    free: dict[str, object], moment: float, victim: str
) -> None:
    """Kill the process that creates a cluster, or the sandbox that it runs in; then start and stop again."""
    front = subprocess.Popen([sys.executable, "-c", RUN_A_CLUSTER], cwd=ROOT, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)  # fmt: skip
    time.sleep(moment)
    if victim == "sandbox" and identity.file().exists():
        os.kill(json.loads(identity.file().read_text(encoding="utf-8"))["pid"], signal.SIGKILL)
    front.kill()
    front.wait()
    lifecycle.start(rehearse.programs)
    lifecycle.stop()
    assert footprint.difference(free, footprint.snapshot()) == []
    assert not settings.run.exists()


@pytest.mark.rehearsal
def test_stop_with_another_cache_directory_keeps_this_sandbox(free: dict[str, object], tmp_path: Path) -> None:
    lifecycle.start(rehearse.programs)
    cgroups.create(f"{cgroups.NAME}/empty")
    (tmp_path / "eks-rehearsal" / "run").mkdir(parents=True)
    subprocess.run(
        [sys.executable, "-c", "from rehearsal.sandbox import lifecycle; lifecycle.stop()"],
        cwd=ROOT, env={**os.environ, "XDG_CACHE_HOME": str(tmp_path)}, check=True, timeout=120,
    )  # fmt: skip
    assert all((root / cgroups.NAME / "empty").is_dir() for root in cgroups.hierarchies())
    assert lifecycle.is_running()
    assert free


@pytest.mark.rehearsal
def test_cgroups_are_created_and_removed(free: dict[str, object]) -> None:
    cgroups.create(f"{cgroups.NAME}/a/b")
    assert cgroups.processes(f"{cgroups.NAME}/a") == set()
    cgroups.remove()
    assert footprint.difference(free, footprint.snapshot()) == []
