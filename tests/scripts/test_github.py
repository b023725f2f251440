"""check-github.sh and preflight.sh: one line, with a remedy, for each problem that would stop a learner later."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.desk import IDENTITY, Desk
from tests.support.names import TOKEN
from tests.support.paths import FAKES

GITHUB = str(FAKES / "github.sh")
ARN = "arn:aws:codeconnections:us-east-2:111122223333:connection/aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
GOOD = "200 repo, admin:repo_hook"


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """Tools and answers with which every check passes."""
    desk = Desk(tmp_path / "desk")
    desk.answer(*IDENTITY[:2], **IDENTITY[2])
    desk.answer(
        "aws", "get-caller-identity .*Account, Arn", stdout="111122223333\tarn:aws:iam::111122223333:user/learner\n"
    )
    desk.answer("curl", "", real=GITHUB)
    desk.answer("aws", "--version", stdout="aws-cli/2.31.0 Python/3.13.7 Linux/6.8.0\n")
    desk.answer("eksctl", "version", stdout="0.231.0\n")
    desk.answer(
        "kubectl", "version --client", stdout=json.dumps({"clientVersion": {"gitVersion": "v1.36.3"}}, indent=2)
    )
    desk.answer(
        "aws",
        "describe-cluster-versions",
        stdout="1.37\tSTANDARD_SUPPORT\n1.36\tSTANDARD_SUPPORT\n1.33\tEXTENDED_SUPPORT\n",
    )
    desk.answer("aws", "describe-instance-type-offerings", stdout="3\n")
    desk.answer("aws", "get-service-quota", stdout="32.0\n")
    desk.answer("aws", "describe-instance-types .*DefaultVCpus", stdout="2\n")
    desk.answer("aws", "freetier get-account-plan-state --region us-east-1", stdout="PAID\n")
    desk.answer("aws", "free-tier-eligible", stdout="m7i-flex.large t3.micro t3.small\n")
    return desk


def test_accepts_a_good_token(desk: Desk) -> None:
    done = desk.run("check-github.sh", GITHUB_TOKEN=TOKEN, ANSWER=GOOD, GITHUB_BRANCH="release/1.2")
    assert (done.returncode, done.stderr) == (0, "")
    assert [call[-1] for call in desk.calls()] == [
        "https://api.github.com/repos/learner/aws_pipeline",
        "https://api.github.com/repos/learner/aws_pipeline/branches/release%2F1.2",
    ]


def test_token_is_on_no_command_line_and_in_no_output(desk: Desk) -> None:
    done = desk.run("check-github.sh", GITHUB_TOKEN=TOKEN, ANSWER=GOOD)
    assert TOKEN in (desk.home / "curl.config").read_text()
    assert TOKEN not in json.dumps(desk.calls()) + done.stdout + done.stderr
    assert not list(desk.home.glob("tmp.*"))


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        ("401 none", "GITHUB_TOKEN: GitHub rejects it; create a new one at https://github.com/settings/tokens"),
        (
            "403 none",
            "GitHub: rate limit reached, or the organisation requires a token authorised for SSO; wait, or authorise it",
        ),
        (
            "404 none",
            "GITHUB_REPO: learner/aws_pipeline does not exist, or the token has no access to it; check GITHUB_USER and GITHUB_REPO",
        ),
        ("502 none", "GitHub: returned status 502 for learner/aws_pipeline; try again later"),
        ("200 gist", 'GITHUB_TOKEN: its scopes are "gist"; create one with the scopes repo and admin:repo_hook'),
        ("200 ", 'GITHUB_TOKEN: its scopes are ""; create one with the scopes repo and admin:repo_hook'),
        (
            "200 public_repo",
            'GITHUB_TOKEN: its scopes are "public_repo"; create one with the scopes repo and admin:repo_hook',
        ),
        (
            "200 admin:repo_hook, user",
            'GITHUB_TOKEN: its scopes are "admin:repo_hook, user"; create one with the scopes repo and admin:repo_hook',
        ),
        (
            "200 repo:status",
            'GITHUB_TOKEN: its scopes are "repo:status"; create one with the scopes repo and admin:repo_hook',
        ),
    ],
)
def test_rejected_token_is_explained(answer: str, line: str, desk: Desk) -> None:
    done = desk.run("check-github.sh", GITHUB_TOKEN=TOKEN, ANSWER=answer)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [line]


@pytest.mark.parametrize("scopes", ["repo", "admin:repo_hook, public_repo", "public_repo, admin:repo_hook"])
def test_accepts_scopes_that_suffice(scopes: str, desk: Desk) -> None:
    """The scope repo includes the webhooks, as GitHub documents it."""
    assert desk.run("check-github.sh", GITHUB_TOKEN=TOKEN, ANSWER=f"200 {scopes}").returncode == 0


@pytest.mark.parametrize(("hooks", "code"), [("200", 0), ("403", 1), ("404", 1)])
def test_fine_grained_token_must_manage_webhooks(hooks: str, code: int, desk: Desk) -> None:
    done = desk.run("check-github.sh", GITHUB_TOKEN="github_pat_" + "a" * 40, ANSWER="200 none", HOOKS=hooks)
    assert done.returncode == code
    assert done.stderr.startswith(
        "GITHUB_TOKEN: it may not manage the webhooks of learner/aws_pipeline; " if code else ""
    )
    assert [call for call in desk.calls() if call[-1].endswith("/repos/learner/aws_pipeline/hooks")]


def test_webhooks_must_be_manageable(desk: Desk) -> None:
    body = '{"permissions": {"admin": false}}'
    done = desk.run("check-github.sh", GITHUB_TOKEN=TOKEN, ANSWER=GOOD, BODY=body)
    assert done.returncode == 1
    assert done.stderr.startswith("GITHUB_TOKEN: its owner may not manage the webhooks of learner/aws_pipeline")


RENAMED = {"HEADERS": "Location: https://api.github.com/repositories/70", "BODY": '{"full_name": "learner/new-name"}'}


@pytest.mark.parametrize(
    ("environment", "line"),
    [
        ({"ANSWER": "301 none", **RENAMED},
         ("GITHUB_REPO: learner/aws_pipeline was renamed or moved to learner/new-name; set GITHUB_USER and GITHUB_REPO to the new name, "
         "and origin with git remote set-url")),
        ({"ANSWER": "301 none", "HEADERS": "Location: https://api.github.com.example/repositories/7"},
         "GITHUB_REPO: learner/aws_pipeline was renamed or moved; set GITHUB_USER and GITHUB_REPO to the new name, and origin with git remote set-url"),
        ({"ANSWER": "301 none", **RENAMED, "BODY": "{}"},
         "GITHUB_REPO: learner/aws_pipeline was renamed or moved; set GITHUB_USER and GITHUB_REPO to the new name, and origin with git remote set-url"),
        ({"ANSWER": GOOD, "BRANCHES": "301", "HEADERS": "Location: https://api.github.com/repositories/7/branches/main"},
         "GITHUB_BRANCH: master was renamed to main; set GITHUB_BRANCH to that"),
        ({"ANSWER": GOOD, "BRANCHES": "404"}, "GITHUB_BRANCH: learner/aws_pipeline has no branch master; push it, or set GITHUB_BRANCH"),
        ({"ANSWER": "403 repo", "HEADERS": "X-GitHub-SSO: required; url=https://github.com/orgs/x/sso"},
         "GITHUB_TOKEN: the organisation requires single sign-on; authorise the token with Configure SSO at https://github.com/settings/tokens"),
        ({"ANSWER": "403 none", "HEADERS": "X-RateLimit-Remaining: 0"}, "GitHub: rate limit reached; wait an hour"),
        ({"ANSWER": "403 none", "BODY": '{"message": "You have exceeded a secondary rate limit"}'}, "GitHub: rate limit reached; wait an hour"),
        ({"ANSWER": "429 none"}, "GitHub: rate limit reached; wait an hour"),
        ({"ANSWER": "403 none", "BODY": '{"message": "the organization has an IP allow list enabled"}'},
         "GitHub: the organisation does not allow your IP address, nor perhaps that of AWS; ask its administrator"),
        ({"ANSWER": "403 none", "BODY": '{"message": "Resource not accessible by personal access token"}'},
         "GITHUB_TOKEN: it lacks a permission; give it Contents (read) and Webhooks (write)"),
        ({"ANSWER": "407 none"}, "GitHub: the proxy wants a user and a password: set them in HTTPS_PROXY"),
        ({"ANSWER": "451 none"}, "GITHUB_REPO: GitHub has blocked learner/aws_pipeline for legal reasons; use another repository"),
        *(
            ({"ANSWER": GOOD, "BODY": body},
             "GitHub: the answer is not GitHub's: check whether a proxy or a sign-in page of your network sent it")
            for body in ("<html>Sign in</html>", "[]")
        ),
    ],
)  # fmt: skip
def test_each_answer_of_github_has_its_cause_and_remedy(environment: dict[str, str], line: str, desk: Desk) -> None:
    done = desk.run("check-github.sh", GITHUB_TOKEN=TOKEN, **environment)
    assert (done.returncode, done.stderr.splitlines()) == (1, [line])


@pytest.mark.parametrize(
    ("code", "line"),
    [
        *((code, "GitHub: the proxy cannot be reached: check HTTPS_PROXY") for code in (5, 97)),
        *(
            (code, "GitHub: api.github.com cannot be reached: check the network, and HTTPS_PROXY if you use a proxy")
            for code in (7, 28)
        ),
        *(
            (code, ("GitHub: the certificate is not GitHub's: your network replaces it; set CURL_CA_BUNDLE to the "
                    "certificate of your company's proxy"))
            for code in (35, 51, 60, 77)
        ),
    ],
)  # fmt: skip
def test_each_failure_of_curl_has_its_cause_and_remedy(code: int, line: str, desk: Desk) -> None:
    """The codes are those of libcurl-errors(3)."""
    desk.answer("curl", "", stderr="curl: an error\n", code=code)
    done = desk.run("check-github.sh", GITHUB_TOKEN=TOKEN)
    assert (done.returncode, done.stderr.splitlines()) == (1, ["curl: an error", line])


def test_branch_is_quoted_in_the_address(desk: Desk) -> None:
    assert desk.run("check-github.sh", GITHUB_TOKEN=TOKEN, ANSWER=GOOD, GITHUB_BRANCH="fix/#12,50%").returncode == 0
    assert desk.calls()[-1][-1].endswith("/branches/fix%2F%2312%2C50%25")


def test_older_connection_is_read_from_its_own_service(desk: Desk) -> None:
    desk.answer("aws", "codestar-connections get-connection", stdout="AVAILABLE\n")
    done = desk.run(
        "check-github.sh", CONNECTION_ARN=ARN.replace("codeconnections", "codestar-connections"), ANSWER="200 none"
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("error", "start"),
    [
        ("An error occurred (ResourceNotFoundException) when calling GetConnection: no\n", "CONNECTION_ARN: the connection does not exist in"),
        ("An error occurred (ThrottlingException) when calling GetConnection: slow\n", "CONNECTION_ARN: the connection cannot be read: fix"),
    ],
)  # fmt: skip
def test_connection_that_cannot_be_read_may_still_exist(error: str, start: str, desk: Desk) -> None:
    desk.answer("aws", "get-connection", stderr=error, code=254)
    done = desk.run("check-github.sh", CONNECTION_ARN=ARN)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(start)


def test_network_failure_is_reported(desk: Desk) -> None:
    desk.answer("curl", "", stderr="curl: (6) Could not resolve host: api.github.com\n", code=6)
    done = desk.run("check-github.sh", GITHUB_TOKEN=TOKEN)
    assert done.returncode == 1
    assert (
        done.stderr.splitlines()[-1]
        == "GitHub: api.github.com cannot be reached: check the network, and HTTPS_PROXY if you use a proxy"
    )


def connected(desk: Desk, **environment: str) -> dict[str, str]:
    """Return the variables for a connection that is available."""
    desk.answer("aws", f"get-connection --connection-arn {ARN}", stdout="AVAILABLE\n")
    return {"CONNECTION_ARN": ARN} | environment


@pytest.mark.parametrize("answer", ["404 none", "403 none", "502 none"])
def test_repository_that_only_a_connection_may_see_is_not_known(answer: str, desk: Desk) -> None:
    """As one that does not exist: no call shows what a connection can read."""
    code, lines = preflight(desk, **connected(desk, ANSWER=answer))
    assert code == 0
    assert lines["GitHub"] == (
        "unknown GitHub      whether learner/aws_pipeline exists: GitHub does not show it to everyone, so it is private, "
        "misspelt or out of reach"
    )


def test_repository_is_not_known_without_a_network(desk: Desk) -> None:
    desk.answer("curl", "api.github.com", stderr="curl: (6) Could not resolve host: api.github.com\n", code=6)
    code, lines = preflight(desk, **connected(desk))
    assert (code, lines["GitHub"].split()[0]) == (0, "unknown")


def test_public_repository_is_checked_with_a_connection(desk: Desk) -> None:
    code, lines = preflight(desk, **connected(desk, ANSWER="200 none"))
    assert (code, lines["GitHub"]) == (0, "ok      GitHub      learner/aws_pipeline, branch master")
    assert [call[-1] for call in desk.calls() if call[0] == "curl" and call[-1].startswith("https")] == [
        "https://api.github.com/repos/learner/aws_pipeline",
        "https://api.github.com/repos/learner/aws_pipeline/branches/master",
    ]
    assert (desk.home / "curl.config").read_text() == ""


def test_repository_that_was_moved_is_named_with_a_connection(desk: Desk) -> None:
    done = desk.run("check-github.sh", **connected(desk, ANSWER="301 none", **RENAMED))
    assert done.returncode == 1
    assert done.stderr.startswith("GITHUB_REPO: learner/aws_pipeline was renamed or moved to learner/new-name; ")


def test_branch_of_a_public_repository_is_checked_with_a_connection(desk: Desk) -> None:
    branch = desk.home / "no-branch"
    branch.write_text(f'#!/bin/sh\nANSWER="404 none" exec {GITHUB} "$@"\n')
    branch.chmod(0o755)
    desk.answer("curl", "/branches/", real=str(branch))
    code, lines = preflight(desk, **connected(desk, ANSWER="200 none"))
    assert code == 1
    assert lines["GitHub"].startswith("FAILED  GitHub      GITHUB_BRANCH: learner/aws_pipeline has no branch master")


@pytest.mark.parametrize(("state", "code"), [("AVAILABLE", 0), ("PENDING", 1), ("ERROR", 1)])
def test_connection_must_be_available(state: str, code: int, desk: Desk) -> None:
    desk.answer("aws", f"get-connection --connection-arn {ARN}", stdout=f"{state}\n")
    done = desk.run("check-github.sh", CONNECTION_ARN=ARN)
    assert done.returncode == code
    assert done.stderr.startswith(
        "" if code == 0 else f"CONNECTION_ARN: the connection is {state}; complete it in the console: "
    )


def preflight(desk: Desk, **environment: str) -> tuple[int, dict[str, str]]:
    """Return the exit code, and each line by the name of its check."""
    done = desk.run("preflight.sh", **environment)
    lines = [line for line in done.stdout.splitlines() if not line.startswith("==>")]
    return done.returncode, {line[8:].split()[0]: line for line in lines}


def test_preflight_passes(desk: Desk) -> None:
    code, lines = preflight(desk, GITHUB_TOKEN=TOKEN, ANSWER=GOOD)
    assert code == 0, lines
    assert [line.split()[0] for line in lines.values()] == ["ok"] * 12 + ["cost"]
    assert (
        lines["account"]
        == "ok      account     111122223333 as arn:aws:iam::111122223333:user/learner, region us-east-2"
    )
    assert lines["GitHub"] == "ok      GitHub      learner/aws_pipeline, branch master"


def test_preflight_passes_without_a_token(desk: Desk) -> None:
    code, lines = preflight(desk)
    assert code == 0
    assert lines["GitHub"].startswith("not yet GitHub      neither GITHUB_TOKEN nor CONNECTION_ARN is set")


@pytest.mark.parametrize(
    ("tool", "pattern", "stdout", "what", "line"),
    [
        ("aws", "--version", "aws-cli/1.18.0 Python/3.8", "aws", "1.18.0: install version 2 as described in the README under \"What you need\""),
        ("aws", "--version", "aws-cli/2.22.35 Python/3.12", "aws", "2.22.35: install version 2 as described in the README under \"What you need\""),
        ("aws", "get-caller-identity", "arn:aws:iam::111122223333:root\n", "account",
         "111122223333 as its root user: work as an IAM user, as described in step 2 of the README"),
        ("eksctl", "version", "0.180.0", "eksctl", "0.180.0: install 0.231 or later as described in the README under \"What you need\""),
        ("kubectl", "version", '{"gitVersion": "v1.34.9-eks"}', "kubectl",
         "1.34.9-eks, cluster 1.36: install it within one minor version of the cluster's, as described in the README under \"What you need\""),
        ("aws", "describe-cluster-versions", "1.37\tSTANDARD_SUPPORT\n1.36\tEXTENDED_SUPPORT\n", "Kubernetes",
         "1.36, offered: 1.36 1.37 : set KUBERNETES_VERSION to one in standard support"),
        ("aws", "describe-instance-type-offerings", "1\n", "node", "t3.medium in 1 zones: set NODE_TYPE to a type that the region offers in at least two zones, or change AWS_REGION"),
        ("aws", "get-service-quota", "1.0\n", "vCPU",
         "1 vCPUs allowed, 4 needed: request an increase in the console: Service Quotas, EC2, Running On-Demand Standard instances"),
    ],
)  # fmt: skip
def test_each_failure_has_its_remedy(tool: str, pattern: str, stdout: str, what: str, line: str, desk: Desk) -> None:
    desk.answer(tool, pattern, stdout=stdout)
    code, lines = preflight(desk, GITHUB_TOKEN=TOKEN, ANSWER=GOOD)
    assert code == 1
    assert lines[what].startswith("FAILED  ")
    assert lines[what].endswith(line)
    assert [name for name, text in lines.items() if text.startswith("FAILED")] == [what]


FREE = ("aws", "get-account-plan-state", "FREE\n")


@pytest.mark.parametrize("script", ["preflight.sh", "setup-cluster.sh"])
def test_free_plan_refuses_a_type_that_is_not_eligible(script: str, desk: Desk) -> None:
    desk.answer(*FREE)
    done = desk.run(script, GITHUB_TOKEN=TOKEN, ANSWER=GOOD)
    assert done.returncode == 1
    assert (
        "FAILED  plan        FREE, which starts only m7i-flex.large t3.micro t3.small: set NODE_TYPE to one of these with "
        "2 GiB or more, such as t3.small, or upgrade the plan in the Billing console"
    ) in done.stdout.splitlines()
    assert [call for call in desk.calls() if call[0] == "eksctl" and call[1] != "version"] == []


def test_free_plan_starts_an_eligible_type(desk: Desk) -> None:
    desk.answer(*FREE)
    code, lines = preflight(desk, GITHUB_TOKEN=TOKEN, ANSWER=GOOD, NODE_TYPE="t3.small")
    assert (code, lines["plan"]) == (0, "ok      plan        FREE, which starts only m7i-flex.large t3.micro t3.small")


@pytest.mark.parametrize(
    "error",
    ["aws: error: argument operation: Invalid choice, valid choices are:\n", "\nAn error occurred (AccessDeniedException): no\n"],
)  # fmt: skip
def test_unknown_plan_is_a_note(error: str, desk: Desk) -> None:
    desk.answer(*FREE[:2], stderr=error, code=252)
    code, lines = preflight(desk, GITHUB_TOKEN=TOKEN, ANSWER=GOOD)
    assert code == 0
    assert lines["plan"].startswith(
        "unknown plan        of the account; the free plan starts only types that are eligible"
    )


def test_plan_that_cannot_be_read_for_another_reason_shows_it(desk: Desk) -> None:
    desk.answer(*FREE[:2], stderr="\nAn error occurred (ThrottlingException): slow\n", code=254)
    code, lines = preflight(desk, GITHUB_TOKEN=TOKEN, ANSWER=GOOD)
    assert code == 1
    assert lines["plan"] == (
        "FAILED  plan        An error occurred (ThrottlingException): slow: AWS limits how often your account may ask: "
        "wait some minutes, then try again"
    )


def test_account_from_before_the_plans_has_none(desk: Desk) -> None:
    desk.answer(*FREE[:2], stderr="\nAn error occurred (ResourceNotFoundException): no\n", code=254)
    assert preflight(desk, GITHUB_TOKEN=TOKEN, ANSWER=GOOD)[1]["plan"] == "ok      plan        none"


@pytest.mark.parametrize("version", ["1.37.0", "1.46.3", "2.23.0", "2.38.5"])
def test_accepts_both_major_versions_of_the_aws_cli(version: str, desk: Desk) -> None:
    desk.answer("aws", "--version", stdout=f"aws-cli/{version} Python/3.13.7 Linux/6.8.0\n")
    assert preflight(desk)[1]["aws"] == f"ok      aws         {version}"


@pytest.mark.parametrize("minor", [35, 36, 37])
def test_accepts_kubectl_within_one_minor_version(minor: int, desk: Desk) -> None:
    desk.answer("kubectl", "version", stdout=f'{{"clientVersion": {{"gitVersion": "v1.{minor}.0"}}}}')
    assert preflight(desk)[1]["kubectl"].startswith("ok ")


def test_denied_query_shows_the_aws_error(desk: Desk) -> None:
    desk.answer(
        "aws", "get-service-quota", stderr="\nAn error occurred (AccessDeniedException): not authorized\n", code=254
    )
    code, lines = preflight(desk)
    assert code == 1
    assert lines["vCPU"].startswith(
        "FAILED  vCPU quota  An error occurred (AccessDeniedException): not authorized: your IAM user lacks this right: attach"
    )


def test_preflight_changes_nothing(desk: Desk) -> None:
    preflight(desk, GITHUB_TOKEN=TOKEN, ANSWER=GOOD)
    words = [" ".join(call[1:]) for call in desk.calls() if call[0] != "curl"]
    assert all("get-" in line or "describe-" in line or "version" in line for line in words)
