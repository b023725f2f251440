"""aws_auth.py at its edges: what stands beside the entry stays letter by letter, and a bound is where it is said to be."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.scripts.test_aws_auth import ENTRY, NODES, ROLE, WANTED, add, aws_auth, config_map, remove, run

OTHERS = "# the nodes\n" + NODES + "# the end\n"


def test_an_entry_that_is_right_stays_where_it_is() -> None:
    assert add(ENTRY + OTHERS) == ENTRY + OTHERS


def test_comments_behind_the_entry_stay() -> None:
    assert remove(ENTRY + OTHERS) == OTHERS
    assert remove(OTHERS + ENTRY + OTHERS) == OTHERS + OTHERS
    assert remove(ENTRY + OTHERS + ENTRY + OTHERS) == OTHERS + OTHERS


def test_of_several_entries_the_last_one_counts() -> None:
    notes = "".join(f"- rolearn: {ROLE}\n  note: {note}\n" for note in ("one", "two", "three"))
    assert yaml.safe_load(add(notes)) == [WANTED | {"note": "three"}]


@pytest.mark.parametrize(
    "note",
    ["|\n    two\n    lines\n", ">-\n    two\n    lines\n", '"two\n    lines"\n', "two\n    lines\n", "''\n", "|\n"],
)
def test_an_entry_that_ends_with_a_text_of_several_lines_goes_as_a_whole(note: str) -> None:
    own = f"- rolearn: {ROLE}\n  note: {note}"
    assert remove(own + OTHERS) == OTHERS
    assert remove(OTHERS + own) == OTHERS


@pytest.mark.parametrize(
    "text", [f"[{{rolearn: {ROLE}, groups: [x]}}]", f"- {{rolearn: {ROLE}}}", f'[{{"rolearn": "{ROLE}"}}]\n']
)
def test_the_only_entry_goes_from_a_list_in_any_style(text: str) -> None:
    assert aws_auth.read_roles(remove(text)) == []


def test_one_entry_goes_from_a_list_in_flow_style() -> None:
    text = f"[{{rolearn: a}}, {{rolearn: {ROLE}}}, {{rolearn: b}}]"
    assert aws_auth.read_roles(remove(text)) == [{"rolearn": "a"}, {"rolearn": "b"}]
    assert aws_auth.read_roles(add(text)) == [{"rolearn": "a"}, {"rolearn": "b"}, WANTED]


@pytest.mark.parametrize("line", [1, 2, 3, 4])
def test_a_key_that_stands_twice_is_named_with_its_line(line: int) -> None:
    text = "- rolearn: x\n" * (line - 1) + "- rolearn: a\n  rolearn: b\n"
    with pytest.raises(aws_auth.Unreadable, match=f"^line {line}: 'rolearn' appears twice in one entry$"):
        add(text)


@pytest.mark.parametrize("line", [1, 2, 3, 4])
def test_a_text_that_is_no_yaml_is_named_with_its_line(line: int) -> None:
    with pytest.raises(aws_auth.Unreadable, match=f"^line {line}: "):
        add("- rolearn: x\n" * (line - 1) + "\t- x\n")


def test_eight_levels_are_read_and_nine_are_not() -> None:
    for levels in (7, 8):
        nested = "[" * (levels - 2) + "]" * (levels - 2)
        assert len(aws_auth.read_roles(f"- rolearn: a\n  x: {nested}\n")) == 1
    with pytest.raises(aws_auth.Unreadable, match=r"^it is not a list of mappings$"):
        aws_auth.read_roles(f"- rolearn: a\n  x: {'[' * 7}{']' * 7}\n")


@pytest.mark.parametrize("number", [1, 2, 3])
def test_an_entry_that_is_none_is_named_by_its_number(number: int) -> None:
    with pytest.raises(aws_auth.Unreadable, match=f"^entry {number} is not a mapping with a rolearn$"):
        add("- rolearn: x\n" * (number - 1) + "- x\n")


def test_a_comment_without_a_line_end_stays_one() -> None:
    assert add(OTHERS.rstrip("\n")) == OTHERS + ENTRY


@pytest.mark.parametrize("roles", [ENTRY + NODES, NODES + ENTRY])
def test_removing_prints_a_patch_too(roles: str, tmp_path: Path) -> None:
    done = run("remove", config_map(roles), tmp_path / "saved.yml")
    assert (done.returncode, done.stderr) == (0, "")
    assert yaml.safe_load(done.stdout)["data"] == {"mapRoles": NODES}
