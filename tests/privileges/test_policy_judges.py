"""Every policy as two independent programs judge it with their own defaults: parliament and cloudsplaining.

What they find is fixed, or is in exemptions.toml with its reason. Neither judges trust policies.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from pathlib import Path

import parliament
import pytest
from cloudsplaining.command.scan_policy_file import scan_policy

from tests.support.fixtures import Figure
from tests.support.policies import every_policy, statements
from tests.support.privileges import Json

POLICIES = {name: each for name, each in every_policy().items() if any(one["Resource"] for one in statements(each))}
EXEMPTIONS = tomllib.loads(Path(__file__).with_name("exemptions.toml").read_text(encoding="utf-8"))["exemption"]


def by_parliament(policy: Json) -> list[str]:
    judged = parliament.analyze_policy_string(json.dumps(policy))
    return [f"{each.issue}: {each.detail}" for each in judged.findings]


def by_cloudsplaining(policy: Json) -> list[str]:
    judged = scan_policy(policy)
    return [
        f"{risk}: {each}" for risk, about in judged.items() if isinstance(about, dict) for each in about["findings"]
    ]


JUDGES: dict[str, Callable[[Json], list[str]]] = {"parliament": by_parliament, "cloudsplaining": by_cloudsplaining}


def test_judges_find_nothing_without_a_reason(figure: Figure) -> None:
    found = {
        (judge, name, each) for judge, by in JUDGES.items() for name, policy in POLICIES.items() for each in by(policy)
    }
    exempt = {(each["judge"], each["policy"], each["finding"]) for each in EXEMPTIONS}
    counts = ", ".join(f"{judge} {len([each for each in found & exempt if each[0] == judge])}" for judge in JUDGES)
    figure(
        "independent judges find nothing in the policies that has no reason",
        f"{len(found - exempt)} in {len(POLICIES)} policies; with a reason: {counts}",
    )
    assert found - exempt == set()
    assert exempt - found == set(), "exemptions without effect"
    assert len(POLICIES) == 10


def test_every_exemption_has_a_judge_and_a_reason() -> None:
    assert {each["judge"] for each in EXEMPTIONS} <= set(JUDGES)
    assert [each for each in EXEMPTIONS if len(each["reason"].split()) < 5] == []


@pytest.mark.parametrize("judge", JUDGES)
def test_judge_reports_a_bad_policy(judge: str) -> None:
    assert JUDGES[judge](
        {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
    )
