"""The template by AWS's own policy language: stack.guard passes, and each of its rules fails on a template that breaks it.

cfn-guard has a package for Python 3.11 and 3.12 only, so newer ones skip this.
"""

from __future__ import annotations

import copy
import json
import re
import sys
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.names import TOKEN
from tests.support.paths import ROOT
from tests.support.template import resources

guard = pytest.importorskip(
    "cfn_guard_rs.cfn_guard_rs",
    reason=f"cfn-guard has no package for Python {sys.version_info.major}.{sys.version_info.minor}",
)

HEAD, *RULES = re.split(r"^(?=rule )", (ROOT / "tests/stack/stack.guard").read_text(), flags=re.MULTILINE)
BY_NAME = {rule.split()[1]: rule for rule in RULES}

Json = dict[str, Any]
#: The template with its conditions evaluated, because a policy in Fn::If cannot be judged.
MADE: Json = {
    "Resources": resources(
        GitHubUser="octocat", GitHubToken=TOKEN, ApprovalRequired="true", NotificationEmail="ann@example.com"
    )
}
#: For each rule, a change of the resources that breaks it.
BREAKS: dict[str, Callable[[Json], object]] = {
    "buckets_are_private_and_encrypted": lambda all_: properties(all_, "ArtifactBucket").pop(
        "PublicAccessBlockConfiguration"
    ),
    "buckets_refuse_plain_http": lambda all_: all_.pop("ArtifactBucketPolicy"),
    "pipelines_are_v2": lambda all_: properties(all_, "Pipeline").update(PipelineType="V1"),
    "webhooks_are_signed_with_a_secret": lambda all_: properties(all_, "Webhook").update(
        AuthenticationConfiguration={"SecretToken": "plain"}
    ),
    "projects_build_images_within_a_bound": lambda all_: properties(all_, "CodeBuildProject").update(
        TimeoutInMinutes=480
    ),
    "repositories_keep_their_tags_and_can_be_deleted": lambda all_: properties(all_, "EcrRepository").update(
        EncryptionConfiguration={"EncryptionType": "KMS"}
    ),
    "logs_expire": lambda all_: properties(all_, "BuildLogs").pop("RetentionInDays"),
    "functions_end_before_their_stack_gives_up": lambda all_: properties(all_, "TrustFunction").update(Timeout=900),
    "roles_have_no_wildcards": lambda all_: properties(all_, "PipelineRole")["Policies"][0]["PolicyDocument"][
        "Statement"
    ][0].update(Action=["codebuild:*"]),
    "topics_name_who_may_publish": lambda all_: properties(all_, "NotificationTopicPolicy")["PolicyDocument"][
        "Statement"
    ][0].update(Principal="*"),
}


def properties(resources: Json, name: str) -> Json:
    """Return the properties of a resource."""
    found: Json = resources[name]["Properties"]
    return found


def verdict(rule: str, template: Json) -> str:
    """Return PASS, FAIL or SKIP. The package's own reading of the report fails on some reports, so it is read here."""
    report = guard.run_checks_rs(json.dumps(template, default=str), HEAD + BY_NAME[rule], False)
    return str(json.loads(report)["status"])


@pytest.mark.parametrize("rule", BY_NAME)
def test_template_keeps_the_rule(rule: str) -> None:
    assert verdict(rule, MADE) == "PASS"


@pytest.mark.parametrize("rule", BY_NAME)
def test_rule_fails_on_a_template_that_breaks_it(rule: str) -> None:
    broken = copy.deepcopy(MADE)
    BREAKS[rule](broken["Resources"])
    assert verdict(rule, broken) == "FAIL"


def test_every_rule_has_a_template_that_breaks_it() -> None:
    assert list(BREAKS) == list(BY_NAME)
