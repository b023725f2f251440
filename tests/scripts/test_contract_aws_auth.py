"""Edge cases of aws_auth.py: text around the entry is kept verbatim, and limits are exact."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.support.aws_auth import ENTRY, NODES, WANTED, add, config_map, map_roles, remove, run
from tests.support.names import ROLE_ARN as ROLE

OTHERS = "# the nodes\n" + NODES + "# the end\n"


def test_correct_entry_is_not_moved() -> None:
    assert add(ENTRY + OTHERS) == ENTRY + OTHERS


def test_keeps_comments_after_the_entry() -> None:
    assert remove(ENTRY + OTHERS) == OTHERS
    assert remove(OTHERS + ENTRY + OTHERS) == OTHERS + OTHERS
    assert remove(ENTRY + OTHERS + ENTRY + OTHERS) == OTHERS + OTHERS


def test_last_of_several_entries_wins() -> None:
    notes = "".join(f"- rolearn: {ROLE}\n  note: {note}\n" for note in ("one", "two", "three"))
    assert yaml.safe_load(add(notes)) == [WANTED | {"note": "three"}]


@pytest.mark.parametrize(
    "note",
    ["|\n    two\n    lines\n", ">-\n    two\n    lines\n", '"two\n    lines"\n', "two\n    lines\n", "''\n", "|\n"],
)
def test_removes_an_entry_that_ends_with_a_multi_line_scalar(note: str) -> None:
    own = f"- rolearn: {ROLE}\n  note: {note}"
    assert remove(own + OTHERS) == OTHERS
    assert remove(OTHERS + own) == OTHERS


@pytest.mark.parametrize(
    "text", [f"[{{rolearn: {ROLE}, groups: [x]}}]", f"- {{rolearn: {ROLE}}}", f'[{{"rolearn": "{ROLE}"}}]\n']
)
def test_removes_the_only_entry_from_any_list(text: str) -> None:
    assert map_roles.read_roles(remove(text)) == []


def test_removes_one_entry_from_a_flow_list() -> None:
    text = f"[{{rolearn: a}}, {{rolearn: {ROLE}}}, {{rolearn: b}}]"
    assert map_roles.read_roles(remove(text)) == [{"rolearn": "a"}, {"rolearn": "b"}]
    assert map_roles.read_roles(add(text)) == [{"rolearn": "a"}, {"rolearn": "b"}, WANTED]


@pytest.mark.parametrize("line", [1, 2, 3, 4])
def test_duplicate_key_is_reported_with_its_line(line: int) -> None:
    text = "- rolearn: x\n" * (line - 1) + "- rolearn: a\n  rolearn: b\n"
    with pytest.raises(map_roles.Unreadable, match=f"^line {line}: 'rolearn' appears twice in one entry$"):
        add(text)


@pytest.mark.parametrize("line", [1, 2, 3, 4])
def test_invalid_yaml_is_reported_with_its_line(line: int) -> None:
    with pytest.raises(map_roles.Unreadable, match=f"^line {line}: "):
        add("- rolearn: x\n" * (line - 1) + "\t- x\n")


def test_accepts_eight_levels_and_rejects_nine() -> None:
    for levels in (7, 8):
        nested = "[" * (levels - 2) + "]" * (levels - 2)
        assert len(map_roles.read_roles(f"- rolearn: a\n  x: {nested}\n")) == 1
    with pytest.raises(map_roles.Unreadable, match=r"^it is not a list of mappings$"):
        map_roles.read_roles(f"- rolearn: a\n  x: {'[' * 7}{']' * 7}\n")


@pytest.mark.parametrize("number", [1, 2, 3])
def test_invalid_entry_is_reported_by_its_number(number: int) -> None:
    with pytest.raises(map_roles.Unreadable, match=f"^entry {number} is not a mapping with a rolearn$"):
        add("- rolearn: x\n" * (number - 1) + "- x\n")


def test_comment_without_a_newline_stays_a_comment() -> None:
    assert add(OTHERS.rstrip("\n")) == OTHERS + ENTRY


@pytest.mark.parametrize("roles", [ENTRY + NODES, NODES + ENTRY])
def test_remove_prints_a_patch(roles: str, tmp_path: Path) -> None:
    done = run("remove", config_map(roles), tmp_path / "saved.yml")
    assert (done.returncode, done.stderr) == (0, "")
    assert yaml.safe_load(done.stdout)["data"] == {"mapRoles": NODES}
