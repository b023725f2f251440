"""The rehearsal on a machine with cgroup v2 and systemd: Debian 13 in User-Mode Linux.

That takes an hour or more on a busy machine. Every bound is far above what was seen, so that only a hang exceeds it.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.cgroup_rounds import MOMENTS
from tests.support.fixtures import Figure
from tests.support.guest import CACHE, NEEDED, TUTORIAL, Guest, booted

#: Bounds are in seconds of this machine, which may have other work.
HOUR = 3600

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(12 * HOUR),
    pytest.mark.skipif(
        any(shutil.which(program) is None for program in NEEDED),
        reason="needs Debian's user-mode-linux and slirp, which are for x86-64: scripts/dev/packages.sh slow",
    ),
]

#: The guest has one processor, and is slower than a learner's machine by its own clock, too.
PATIENCE = 10
REHEARSE = f"cd {TUTORIAL} && export REHEARSAL_PATIENCE={PATIENCE} && "
PYTHON = '"$(scripts/dev/venv.sh rehearsal)/bin/python"'
#: Makes the guest's own files the root of a container, with the container's /proc, /sys and /dev and a /run of its own.
#: The container's /sys lacks the clock speed that the guest's has for the kubelet.
ENTER = """
for part in proc sys dev; do mount --rbind /$part /guest/$part; done
mount -t tmpfs tmpfs /guest/run
cd /guest && mkdir -p mnt/old && pivot_root . mnt/old && umount --lazy /mnt/old
/usr/local/sbin/clock-speed
exec sleep infinity
"""


@pytest.fixture(scope="module")
def guest() -> Iterator[Guest]:
    with booted() as machine:
        commit = "git -c user.name=A -c user.email=a@example.com commit --quiet --all --message Tutorial"
        machine.run(f"cd {TUTORIAL} && git init --quiet && git add --all && {commit}", timeout=HOUR)
        yield machine


@pytest.fixture(scope="module")
def container(guest: Guest) -> Iterator[str]:
    """A privileged container with a cgroup namespace of its own; yields the start of a command in it."""
    guest.run(f"systemctl start docker && docker import {CACHE}/base-image-*.tar base", timeout=HOUR)
    run = "docker run --detach --name v2 --privileged --cgroupns=private --volume /:/guest base sh -euc"
    guest.run(f"{run} '{ENTER}'", timeout=HOUR)
    yield "docker exec --workdir / v2 sh -euc"
    guest.run("docker rm --force v2 && systemctl stop docker.socket docker containerd", timeout=HOUR)


def measured(guest: Guest, command: str, timeout: float) -> Any:
    return json.loads(guest.run(command, timeout=timeout).stdout.splitlines()[-1])


def test_groups_of_the_real_root_have_limits_and_go_away(guest: Guest) -> None:
    found = measured(guest, f"{REHEARSE} {PYTHON} -m tests.support.cgroup_rounds kernel", HOUR)
    assert {"cpu", "io", "memory", "pids"} <= set(found["controllers"])
    assert found["limits"] == ["134217728", "50000 100000", "10"]
    assert found["seen"]
    assert found["kept while a process runs"]
    assert not found["moved"], "the real root may have processes and controllers"
    assert found["left"] == []


def test_groups_of_a_delegated_subtree_make_room_for_its_processes(guest: Guest) -> None:
    enter = "systemd-run --quiet --scope --property=Delegate=yes unshare --cgroup --mount sh -euc"
    script = f"mount -t cgroup2 none /sys/fs/cgroup; {REHEARSE} {PYTHON} -m tests.support.cgroup_rounds kernel"
    found = measured(guest, f"{enter} '{script}'", HOUR)
    assert {"cpu", "memory", "pids"} <= set(found["controllers"])
    assert found["moved"]
    assert found["returned"] == found["processes"] > 0
    assert found["left"] == []


def test_whole_tutorial_succeeds_and_leaves_nothing(guest: Guest, figure: Figure) -> None:
    done = guest.run(f"{REHEARSE} scripts/rehearse.sh", timeout=6 * HOUR, check=False)
    print(done.stdout)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "live" in done.stdout
    assert "was undone" in done.stdout
    assert "no process, namespace, link, mount, cgroup, rule or file is left" in done.stdout
    (live,) = re.findall(r"The first commit was live after (\d+) s", done.stdout)
    (whole,) = re.findall(r"Whole rehearsal: (\d+) s", done.stdout)
    figure(
        "with cgroup v2, a whole rehearsal ends with nothing left",
        f"live after ~{live} s, ended after ~{whole} s of the guest's clock",
    )


@pytest.mark.parametrize("moment", MOMENTS)
def test_next_stop_removes_everything_after_kill_9(guest: Guest, moment: str, figure: Figure) -> None:
    left = measured(guest, f"{REHEARSE} {PYTHON} -m tests.support.cgroup_rounds kill {shlex.quote(moment)}", 2 * HOUR)
    figure("with cgroup v2, the next stop removes everything after kill -9", f"{int(left == [])} of 1")
    assert left == []


def test_cluster_runs_in_a_container_and_its_root_is_restored(guest: Guest, container: str) -> None:
    state = "cd /sys/fs/cgroup; cat cgroup.subtree_control; ls -d */ 2>/dev/null || true; grep -vcx 0 cgroup.procs"
    before = guest.run(f"{container} '{state}'", timeout=HOUR).stdout
    inside = f'{REHEARSE} scripts/rehearse.sh --keep && eval "$(scripts/rehearse.sh env)" && cd $REHEARSAL_CHECKOUT'
    limits = "cat /sys/fs/cgroup/eks-rehearsal/node-1/kubepods/memory.max"
    try:
        guest.run(f"{container} '{inside} && scripts/setup-cluster.sh'", timeout=6 * HOUR)
        nodes = guest.run(
            f"{container} '{REHEARSE} eval \"$(scripts/rehearse.sh env)\"; kubectl get nodes --no-headers; {limits}'",
            timeout=HOUR,
        ).stdout.splitlines()
        assert [line.split()[1] for line in nodes[:2]] == ["Ready", "Ready"]
        assert int(nodes[2]) > 0
    finally:
        guest.run(f"{container} '{REHEARSE} scripts/rehearse.sh stop'", timeout=HOUR)
    assert guest.run(f"{container} '{state}'", timeout=HOUR).stdout == before
