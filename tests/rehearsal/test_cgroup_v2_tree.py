"""The rehearsal's groups in the unified hierarchy, on a made-up tree; test_cgroup_v2.py has a machine with a real one."""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rehearsal.sandbox import SandboxError, cgroups, footprint
from rehearsal.settings import Settings
from tests.support.cgroup_tree import CONTROLLERS, Group, populate, words
from tests.support.fixtures import Figure

NODE = f"{cgroups.NAME}/node-1"
#: What systemd enables at the root of a machine that does not need more.
SYSTEMD = {"memory", "pids"}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Group:
    """The real root of a machine, with one other group, which uses two controllers."""
    made = Group(tmp_path / "cgroup")
    Path(made).mkdir()
    monkeypatch.setattr(cgroups, "ROOT", made)
    monkeypatch.setattr(cgroups, "is_v2", lambda: True)
    monkeypatch.setattr(cgroups, "settings", Settings(cache=tmp_path / "cache"))
    monkeypatch.setattr(Group, "refused", set())
    populate(made, CONTROLLERS, pids="1 2")
    (made / "system.slice").mkdir()
    (made / "cgroup.subtree_control").write_text("+memory +pids")
    (made / "system.slice" / "cgroup.subtree_control").write_text("+memory +pids")
    return made


@pytest.fixture
def container(root: Group) -> Group:
    """The root that a container sees: an ordinary group, with the container's processes in it."""
    (root / "system.slice" / "cgroup.subtree_control").write_text("-memory -pids")
    (root / "cgroup.subtree_control").write_text("-memory -pids")
    (root / "system.slice").rmdir()
    Path(root / "cgroup.type").write_text("domain")
    return root


def listed() -> list[str]:
    return sorted(footprint._cgroups())


def test_groups_get_every_controller(root: Group) -> None:
    cgroups.create()
    cgroups.create(NODE)
    assert words(root / NODE / "cgroup.controllers") == set(CONTROLLERS.split())
    assert words(root / "cgroup.procs") == {"1", "2"}, "the real root may have processes and controllers"


def test_removal_restores_what_the_root_enabled(root: Group) -> None:
    before = listed()
    cgroups.create()
    cgroups.create(NODE)
    assert words(root / "cgroup.subtree_control") == set(CONTROLLERS.split())
    cgroups.remove()
    assert words(root / "cgroup.subtree_control") == SYSTEMD
    assert listed() == before


def test_footprint_shows_a_changed_root(root: Group) -> None:
    before = listed()
    (root / "cgroup.subtree_control").write_text("+cpu")
    assert set(listed()) - set(before) == {f"{root}/cgroup.subtree_control: cpu memory pids"}


def test_removal_leaves_what_another_group_has_begun_to_use(root: Group) -> None:
    cgroups.create()
    (root / "system.slice" / "cgroup.subtree_control").write_text("+cpu")
    cgroups.remove()
    assert words(root / "cgroup.subtree_control") == SYSTEMD | {"cpu"}


def test_removal_of_one_node_leaves_the_others(container: Group) -> None:
    cgroups.create()
    cgroups.create(NODE)
    cgroups.create(f"{cgroups.NAME}/engine")
    cgroups.remove(NODE)
    assert [path.name for path in cgroups._children(container / cgroups.NAME)] == ["engine"]
    assert words(container / cgroups.NAME / "engine" / "cgroup.controllers") == set(CONTROLLERS.split())
    assert words(container / cgroups.LEAF / "cgroup.procs") == {"1", "2"}


def test_refused_controller_does_not_keep_the_next_from_being_enabled(root: Group) -> None:
    Group.refused = {"io"}
    cgroups.create(NODE)
    assert words(root / NODE / "cgroup.controllers") == set(CONTROLLERS.split()) - {"io"}


def test_refused_controller_that_a_kubelet_needs_is_named(root: Group) -> None:
    Group.refused = {"cpu", "rdma"}
    refusal = f"{root} refuses its controllers: cpu (Invalid argument); in a container, start it with --privileged"
    with pytest.raises(SandboxError, match=re.escape(refusal)):
        cgroups.create()
    cgroups.remove()
    assert words(root / "cgroup.subtree_control") == SYSTEMD


def test_missing_controller_is_named_before_anything_changes(root: Group) -> None:
    (Path(root) / "cgroup.controllers").write_text("cpuset cpu pids")
    before = listed()
    with pytest.raises(SandboxError, match="has no controller memory: enable it on the kernel's command line"):
        cgroups.create()
    assert listed() == before


def test_read_only_hierarchy_is_reported_with_a_remedy(root: Group, monkeypatch: pytest.MonkeyPatch) -> None:
    def mkdir(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system", str(root / cgroups.NAME))

    monkeypatch.setattr(Group, "mkdir", mkdir)
    with pytest.raises(SandboxError, match=r"Read-only file system.*start it with --privileged"):
        cgroups.create()


def test_processes_of_a_container_make_room_and_return(container: Group) -> None:
    before = listed()
    cgroups.create()
    cgroups.create(NODE)
    assert words(container / "cgroup.procs") == set()
    assert words(container / cgroups.LEAF / "cgroup.procs") == {"1", "2"}
    assert words(container / NODE / "cgroup.controllers") == set(CONTROLLERS.split())
    cgroups.remove()
    assert words(container / "cgroup.procs") == {"1", "2"}
    assert listed() == before


def test_container_whose_root_is_threaded_makes_room_too(container: Group) -> None:
    """runc leaves such a root when it has tried to enable all controllers in a group with processes."""
    (container / "cgroup.subtree_control").write_text("+cpu +pids")
    before = listed()
    cgroups.create()
    assert words(container / cgroups.NAME / "cgroup.controllers") == set(CONTROLLERS.split())
    cgroups.remove()
    assert words(container / "cgroup.procs") == {"1", "2"}
    assert listed() == before


def test_container_with_an_init_that_has_groups_moves_no_process(container: Group) -> None:
    (container / "init.scope").mkdir()
    for pid in ("1", "2"):
        (container / "init.scope" / "cgroup.procs").write_text(pid)
    (container / "cgroup.subtree_control").write_text("+memory")
    before = listed()
    cgroups.create()
    assert not (container / cgroups.LEAF).exists()
    cgroups.remove()
    assert listed() == before


def test_processes_outside_the_pid_namespace_are_not_moved(container: Group) -> None:
    """The kernel lists them as 0, and writing 0 moves the writer."""
    (Path(container) / "cgroup.procs").write_text("0 0")
    with pytest.raises(SandboxError, match="memory \\(Device or resource busy\\)"):
        cgroups.create()
    assert cgroups.processes() == set()


def test_next_removal_restores_the_root_after_a_kill_at_any_step(
    container: Group, monkeypatch: pytest.MonkeyPatch, figure: Figure
) -> None:
    before, good = listed(), []
    for steps in itertools.count():
        left = itertools.count(steps, -1)

        def until_killed(step: Callable[..., Any], left: Iterator[int] = left) -> Callable[..., Any]:
            def take(*args: Any, **kwargs: Any) -> Any:
                if next(left) <= 0:
                    raise KeyboardInterrupt
                return step(*args, **kwargs)

            return take

        with monkeypatch.context() as patched, contextlib.suppress(KeyboardInterrupt):
            for name in ("mkdir", "rmdir", "write_text"):
                patched.setattr(Group, name, until_killed(getattr(Group, name)))
            cgroups.create(NODE)
            cgroups.remove()
        cgroups.remove()
        good.append((words(container / "cgroup.procs"), listed()) == ({"1", "2"}, before))
        if next(left) > 0:
            break
    figure(
        "with cgroup v2, a kill while groups are created or removed leaves nothing", f"{sum(good)} of {len(good)} runs"
    )
    assert all(good), good
    assert len(good) > 40, "the steps of one creation and removal"


def test_record_from_before_a_restart_says_nothing(root: Group, tmp_path: Path) -> None:
    """A restart removes all groups, but not the record of a rehearsal that it ended."""
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "subtree_control").write_text("")
    cgroups.remove()
    assert words(root / "cgroup.subtree_control") == SYSTEMD
    cgroups.create()
    cgroups.remove()
    assert words(root / "cgroup.subtree_control") == SYSTEMD
