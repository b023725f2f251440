"""aws_auth.py changes one entry of mapRoles and nothing else, and never changes text that it cannot parse."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.aws_auth import (
    ENTRY,
    LIST,
    NODES,
    SCRIPT,
    STATUS,
    WANTED,
    add,
    aws_auth,
    config_map,
    map_roles,
    remove,
    run,
)
from tests.support.names import ROLE_ARN as ROLE
from tests.support.paths import ROOT


def test_entry_is_appended() -> None:
    assert add(NODES) == NODES + ENTRY


@pytest.mark.parametrize("text", ["", "[]", "null", "\n", "# no one yet\n"])
def test_entry_is_added_to_an_empty_list(text: str) -> None:
    assert yaml.safe_load(add(text)) == [WANTED]


@pytest.mark.parametrize("text", [NODES, "", "[]", "# no one\n" + NODES, NODES.replace("\n", "\r\n")])
def test_add_is_idempotent_and_remove_restores(text: str) -> None:
    once = add(text)
    assert add(once) == once
    assert yaml.safe_load(remove(once)) == (yaml.safe_load(text) or None)


def test_keeps_comments_order_and_indentation() -> None:
    text = "# first\n  - rolearn: a # nodes\n    groups: [x]\n    # why\n    username: u\n\n  # second\n  - {rolearn: b, note: 1}\n"
    indented = "".join("  " + line + "\n" for line in ENTRY.splitlines())
    assert add(text) == text + indented
    assert remove(add(text)) == text


def test_keeps_line_endings() -> None:
    text = NODES.replace("\n", "\r\n")
    assert add(text) == (NODES + ENTRY).replace("\n", "\r\n")


def test_accepts_text_without_a_final_newline() -> None:
    assert add(NODES.rstrip("\n")) == NODES + ENTRY


def test_entry_in_system_masters_is_corrected() -> None:
    old = f"- groups:\n  - system:masters\n  rolearn: {ROLE}\n  username: build\n"
    assert add(old + NODES) == NODES + ENTRY


def test_keeps_unknown_keys() -> None:
    text = f"- rolearn: {ROLE}\n  username: other\n  note: keep\n- rolearn: b\n  session: 7\n"
    assert yaml.safe_load(add(text)) == [{"rolearn": "b", "session": 7}, {**WANTED, "note": "keep"}]


def test_merges_duplicates_of_the_role_only() -> None:
    text = NODES + ENTRY + NODES + ENTRY.replace(ROLE, ROLE.lower())
    assert yaml.safe_load(add(text)) == [*yaml.safe_load(NODES + NODES), WANTED]
    assert remove(text) == NODES + NODES


def test_longer_name_is_another_role() -> None:
    text = ENTRY.replace(ROLE, ROLE + "2")
    assert add(text) == text + ENTRY
    assert remove(text) == text


def test_flow_style() -> None:
    text = "[{rolearn: a, groups: [b]}]"
    assert yaml.safe_load(add(text)) == [{"rolearn": "a", "groups": ["b"]}, WANTED]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (" - groups:\n   \t- system:masters\n", "line 2: found character '\\t' that cannot start any token"),
        ("- a: b\n c: d\n", "line 2: expected <block end>, but found"),
        ("rolearn: x\n", "it is not a list"),
        ("just words", "it is not a list"),
        ("- just words\n", "entry 1 is not a mapping with a rolearn"),
        ("- rolearn: [5]\n", "entry 1 is not a mapping with a rolearn"),
        ("- rolearn: a\n  rolearn: b\n", "line 1: 'rolearn' appears twice in one entry"),
        ('- "\\e[31m\\n": a\n  "\\e[31m\\n": b\n', "line 1: '\\x1b[31m\\n' appears twice in one entry"),
        ("- {<<: {rolearn: a}}\n", "it uses YAML aliases, merge keys or tags, which are not supported"),
        ("- &x {rolearn: a}\n- *x\n", "it uses YAML aliases, merge keys or tags, which are not supported"),
        ("---\n- rolearn: a\n---\n- rolearn: b\n", "line 3: but found another document"),
        ("<!doctype html><p>Sign in</p>", "it is not a list"),
        ("- !!omap [a: b]\n", "it uses YAML aliases, merge keys or tags, which are not supported"),
        ("[" * 1500, "it is not a list of mappings"),
    ],
)  # fmt: skip
def test_rejects_text_it_cannot_parse(text: str, why: str) -> None:
    for edit in (add, remove):
        with pytest.raises(map_roles.Unreadable) as caught:
            edit(text)
        assert str(caught.value).startswith(why.split(" '", 1)[0])


entries = st.lists(
    st.fixed_dictionaries(
        {"rolearn": st.one_of(st.just(ROLE), st.sampled_from([ROLE.lower(), ROLE + "x"]), st.text(max_size=20))},
        optional={
            "username": st.text(max_size=20),
            "groups": st.lists(st.text(max_size=9), max_size=3),
            "x": st.integers(),
        },
    ),
    max_size=5,
)
texts = st.one_of(
    entries.map(yaml.safe_dump),
    entries.map(lambda value: yaml.safe_dump(value, default_flow_style=True, allow_unicode=True)),
    entries.map(lambda value: json.dumps(value, indent=3)),
    st.lists(st.sampled_from(["- ", "rolearn: ", ROLE, "\n", "  ", "\t", "\r\n", "# ", "[", "]", "{", "}", "|\n", "a", ":", "'", "groups:\n"]))
    .map("".join),
    st.text(max_size=60),
)  # fmt: skip


@given(texts)
@settings(max_examples=150, deadline=None)
def test_changes_only_the_one_entry(text: str) -> None:
    try:
        before = map_roles.read_roles(text)
    except map_roles.Unreadable:
        with pytest.raises(map_roles.Unreadable):
            add(text)
        return
    others = [role for role in before if role.get("rolearn", "").lower() != ROLE.lower()]
    after = map_roles.read_roles(add(text))
    assert [role for role in after if role.get("rolearn", "").lower() != ROLE.lower()] == others
    (own,) = [role for role in after if role.get("rolearn", "").lower() == ROLE.lower()]
    assert own.items() >= WANTED.items()
    assert add(add(text)) == add(text)
    assert map_roles.read_roles(remove(add(text))) == others


@given(st.text(max_size=200))
@settings(max_examples=200, deadline=None)
def test_patch_preserves_any_text(text: str) -> None:
    assert yaml.safe_load(aws_auth.dump(aws_auth.config_map(text)))["data"]["mapRoles"] == text


def test_patch_names_the_resource_version_that_was_read(tmp_path: Path) -> None:
    done = run("add", config_map(NODES, mapUsers="[]"), tmp_path / "saved.yml")
    assert yaml.safe_load(done.stdout) == {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "aws-auth", "namespace": "kube-system", "resourceVersion": "77"},
        "data": {"mapRoles": NODES + ENTRY},
    }
    saved = yaml.safe_load((tmp_path / "saved.yml").read_text())
    assert saved["data"] == {"mapRoles": NODES, "mapUsers": "[]"}
    assert "resourceVersion" not in saved["metadata"]  # so that kubectl replace can restore it


def test_keeps_scalars_when_rewriting_a_flow_list() -> None:
    """YAML 1.1 would read these as a time, an octal number, a boolean, null and a date."""
    text = "[{rolearn: a, groups: [1:30, 012, yes, ~, 2026-11-23, '5']}]"
    assert add(text).splitlines()[0] == "- {rolearn: a, groups: ['1:30', 012, yes, ~, 2026-11-23, '5']}"


@pytest.mark.parametrize("end", ["...\n", "--- # none\n...\n"])
def test_accepts_document_end_markers(end: str) -> None:
    assert yaml.safe_load(add(ENTRY + end) if end == "...\n" else add(end)) == [WANTED]


METADATA = config_map("")["metadata"]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("<html>", "it is not JSON"),
        ('{"a": "\\ud800"}', "it is not JSON"),
        ("[" * 100_000, "it is nested too deeply"),
        ('{"a":' * 100_000, "it is nested too deeply"),
        ("[]", "its kind is not ConfigMap"),
        ("5", "its kind is not ConfigMap"),
        ({}, "its kind is not ConfigMap"),
        (STATUS, "its kind is not ConfigMap"),
        (LIST, "its kind is not ConfigMap"),
        (LIST | {"items": [config_map(NODES)]}, "its kind is not ConfigMap"),
        (config_map(NODES) | {"kind": "Secret"}, "its kind is not ConfigMap"),
        (config_map(NODES) | {"metadata": 1}, "its kind is not ConfigMap"),
        (config_map(NODES) | {"metadata": METADATA | {"name": "other"}}, "its name is not aws-auth"),
        (config_map(NODES) | {"metadata": METADATA | {"namespace": "default"}}, "its namespace is not kube-system"),
        (config_map(NODES) | {"metadata": METADATA | {"resourceVersion": ""}}, "it has no resourceVersion"),
        (config_map(NODES) | {"metadata": METADATA | {"resourceVersion": 77}}, "it has no resourceVersion"),
        (config_map(NODES) | {"metadata": METADATA | {"labels": {"a": 5}}}, "its labels is not a map of text"),
        (config_map(NODES) | {"data": {"mapRoles": 5}}, "its data is not a map of text"),
        (config_map(NODES) | {"data": {"mapRoles": NODES, "mapUsers": None}}, "its data is not a map of text"),
        (config_map(NODES) | {"data": None}, "its data is not a map of text"),
        (config_map(NODES) | {"data": [NODES]}, "its data is not a map of text"),
        (config_map(NODES) | {"binaryData": "x"}, "its binaryData is not a map of text"),
        (config_map(NODES) | {"metadata": METADATA | {"x": json.loads("[" * 600 + "]" * 600)}}, "it is nested too deeply"),
    ],
    ids=lambda value: str(value)[:60],
)  # fmt: skip
@pytest.mark.parametrize("verb", ["add", "remove"])
def test_writes_nothing_without_the_whole_config_map(verb: str, answer: object, why: str, tmp_path: Path) -> None:
    """A patch without a resourceVersion would be written over what someone else wrote."""
    done = run(verb, answer, tmp_path / "saved.yml")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"aws-auth: kubectl's answer is not the ConfigMap aws-auth ({why}); nothing was changed\n"
    assert not (tmp_path / "saved.yml").exists()


def test_copy_has_all_that_a_restore_needs(tmp_path: Path) -> None:
    present = config_map(NODES, mapUsers="[]") | {"apiVersion": "v1", "binaryData": {"x": "AAE="}, "immutable": False}
    kept = {
        "name": "aws-auth",
        "namespace": "kube-system",
        "labels": {"owner": "platform", "number": "012"},
        "annotations": {"note": "a: b\n# c\n"},
        "finalizers": ["example.com/keep"],
    }
    server = {"uid": "u", "resourceVersion": "77", "creationTimestamp": "2026-11-25T10:00:00Z", "managedFields": [{}]}
    run("add", present | {"metadata": kept | server}, tmp_path / "saved.yml")
    assert yaml.safe_load((tmp_path / "saved.yml").read_text()) == present | {"metadata": kept}


COMMENTED = f"""\
# 1
- rolearn: {ROLE} # 2
  # 3
  username: other # 4
  note: | # 5
    # text, not a comment
  # 6
# 7
- rolearn: nodes # 8
  groups: [a, # 9
    "b # text"] # 10
  note: c#text
# 11
"""


@pytest.mark.parametrize(
    ("text", "verb", "lost"),
    [
        (COMMENTED, "add", ["2", "3", "4", "5"]),
        (COMMENTED, "remove", ["2", "3", "4", "5"]),
        (COMMENTED.replace(ROLE, "other"), "add", []),
        ("[ # 1\n  {rolearn: nodes}, # 2\n] # 3\n", "add", ["1", "2", "3"]),
        (f"# 1\n[{{rolearn: nodes}}, {{rolearn: {ROLE}}}]", "remove", ["1"]),
        ("[] # 1\n", "add", ["1"]),
        ("# 1\n", "add", []),
    ],
)
def test_no_comment_is_lost_silently(text: str, verb: str, lost: list[str], tmp_path: Path) -> None:
    saved = tmp_path / "saved.yml"
    done = run(verb, config_map(text), saved)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines() == [
        f"aws-auth: this comment is only in the copy, {saved}: # {each}" for each in lost
    ]
    after = yaml.safe_load(done.stdout)["data"]["mapRoles"]
    found = [each.removeprefix("# ") for each in map_roles.comments(text)]
    assert found == re.findall(r"(?:^|\s)# (\d+)$", text, re.MULTILINE)
    assert [each for each in found if not re.search(rf"# {each}$", after, re.MULTILINE)] == lost


def test_works_in_any_locale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "latin-1")
    given_map = json.dumps(config_map("# é\n" + NODES), ensure_ascii=False).encode()
    done = subprocess.run(
        [sys.executable, SCRIPT, "add", ROLE, tmp_path / "saved.yml"], input=given_map, capture_output=True, timeout=30, check=True
    )  # fmt: skip
    assert yaml.safe_load(done.stdout)["data"]["mapRoles"] == "# é\n" + NODES + ENTRY


@pytest.mark.parametrize("present", ["", {"kind": "ConfigMap", "metadata": METADATA}, config_map(None), config_map("")])
def test_config_map_without_roles(present: object, tmp_path: Path) -> None:
    done = run("add", present, tmp_path / "saved.yml")
    assert yaml.safe_load(yaml.safe_load(done.stdout)["data"]["mapRoles"]) == [WANTED]
    assert run("remove", present, tmp_path / "saved.yml").stdout == ""


def test_prints_nothing_if_nothing_changes(tmp_path: Path) -> None:
    assert run("add", config_map(NODES + ENTRY), tmp_path / "saved.yml").stdout == ""


def test_unreadable_roles_error_names_the_copy_and_the_remedy(tmp_path: Path) -> None:
    saved = tmp_path / "saved.yml"
    done = run("add", config_map("\t- x"), saved)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == (
        "aws-auth: mapRoles cannot be read (line 1: found character '\\t' that cannot start any token); nothing was changed. "
        f"A copy is in {saved}. Fix it with kubectl edit configmap/aws-auth -n kube-system, then run this again\n"
    )
    assert yaml.safe_load(saved.read_text())["data"] == {"mapRoles": "\t- x"}


def test_sample_equals_the_scripts_output(tmp_path: Path) -> None:
    arn = "arn:<PARTITION>:iam::<ACCOUNT_ID>:role/"
    nodes = NODES.replace(
        "arn:aws:iam::111122223333:role/nodes", arn + "eksctl-eksctl-demo-nodegroup-nodes-NodeInstanceRole"
    )
    given_map = config_map(nodes)
    given_map["metadata"]["resourceVersion"] = "1234"
    done = subprocess.run(
        [sys.executable, SCRIPT, "add", arn + "UdacityFlaskDeployCBKubectlRole", tmp_path / "saved.yml"],
        input=json.dumps(given_map), capture_output=True, text=True, timeout=30, check=True,
    )  # fmt: skip
    assert (ROOT / "aws-auth-patch.yml").read_text() == done.stdout
