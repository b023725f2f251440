"""Each kind of error of AWS, kubectl and the network is reported with its own cause and remedy, and no other.

The errors have the forms of the AWS CLI (botocore/exceptions.py, awscli), kubectl and Go's net and crypto/x509.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support.desk import IDENTITY, Desk
from tests.support.paths import FAKES, ROOT

CLOCK = "AWS rejects requests because your computer's clock is wrong: synchronise it, then try again"
DENIED = "a policy of your organisation or account forbids this, whatever else is allowed: ask its administrator, or set AWS_REGION if only this region is forbidden, then try again"
REGION = "the region us-east-2 is not enabled in your account: enable it in the console, under Account, AWS Regions, or set AWS_REGION to another, then try again"
EXPIRED = "your sign-in to AWS has expired: sign in again (aws sso login, aws login or aws configure), then try again"
CREDENTIALS = (
    "AWS does not accept your credentials: renew them (aws configure, aws login or aws sso login), then try again"
)
RIGHT = "your IAM user lacks this right: attach what scripts/learner-policy.sh prints, as in step 2 of the README, then try again"
THROTTLED = "AWS limits how often your account may ask: wait some minutes, then try again"
TLS = "the certificate is not from AWS: your network replaces it; set AWS_CA_BUNDLE to the certificate of your company's proxy, then try again"
PROXY = "the proxy refuses to connect: check HTTPS_PROXY, with user and password if it needs them, then try again"
PAGE = "the answer is not from AWS: check whether a proxy or a sign-in page of your network sent it, then try again"
QUOTA = "a quota of your account is used up: delete what you no longer need, or raise it in the console under Service Quotas, then try again"
FAULT = "AWS has a fault: see https://health.aws.amazon.com/health/status, then try again"
NETWORK = "AWS is unreachable or returns errors: check the network, and HTTPS_PROXY if you use a proxy, then try again"
STRANGER = "the cluster does not know you: sign in to AWS as the user who created it, or have that user give you an access entry, then try again"
FORBIDDEN = "the cluster knows you but does not allow this: have its administrator allow it, then try again"

CALLED = "when calling the DescribeClusterVersions operation: "
BY_SCP = "User: arn:aws:iam::1:user/x is not authorized to perform: eks:DescribeClusterVersions with an explicit deny in a service control policy"
ENDPOINT = "https://eks.us-east-2.amazonaws.com/"
ERRORS = [
    (f"An error occurred (InvalidSignatureException) {CALLED}Signature expired: 20261126T1 is now earlier than 20261126T2", CLOCK),
    (f"An error occurred (SignatureDoesNotMatch) {CALLED}Signature not yet current: 20261126T1", CLOCK),
    (f"An error occurred (RequestTimeTooSkewed) {CALLED}The difference is too large", CLOCK),
    (f"An error occurred (RequestExpired) {CALLED}Request has expired.", CLOCK),
    (f"An error occurred (AccessDeniedException) {CALLED}{BY_SCP}", DENIED),
    (f"An error occurred (AccessDenied) {CALLED}not authorized: with an explicit deny in a permissions boundary", DENIED),
    (f"An error occurred (UnauthorizedOperation) {CALLED}not authorized, with an explicit deny in a resource control policy", DENIED),
    (f"An error occurred (OptInRequired) {CALLED}You are not subscribed to this service", REGION),
    (f"An error occurred (RegionDisabledException) {CALLED}STS is not activated in this region for account", REGION),
    (f"An error occurred (ExpiredTokenException) {CALLED}The security token included in the request is expired", EXPIRED),
    (f"An error occurred (ExpiredToken) {CALLED}The provided token has expired.", EXPIRED),
    ("Error when retrieving token from sso: Token has expired and refresh failed", EXPIRED),
    ("The SSO session associated with this profile has expired or is otherwise invalid.", EXPIRED),
    ("Error loading SSO Token: Token for x does not exist", EXPIRED),
    ("Unable to locate credentials. You can configure credentials by running aws configure.", CREDENTIALS),
    ("Partial credentials found in env, missing: AWS_SECRET_ACCESS_KEY", CREDENTIALS),
    ("The config profile (work) could not be found", CREDENTIALS),
    (f"An error occurred (SignatureDoesNotMatch) {CALLED}The request signature we calculated does not match", CREDENTIALS),
    (f"An error occurred (AccessDeniedException) {CALLED}User: x is not authorized to perform: eks:DescribeClusterVersions", RIGHT),
    (f"An error occurred (UnauthorizedOperation) {CALLED}You are not authorized to perform this operation.", RIGHT),
    (f"An error occurred (ThrottlingException) {CALLED}Rate exceeded", THROTTLED),
    (f"An error occurred (TooManyRequestsException) {CALLED}slow", THROTTLED),
    (f"An error occurred (RequestLimitExceeded) {CALLED}Request limit exceeded.", THROTTLED),
    (f"SSL validation failed for {ENDPOINT} [SSL: CERTIFICATE_VERIFY_FAILED] self-signed certificate in certificate chain", TLS),
    ('Unable to connect to the server: tls: failed to verify certificate: x509: certificate signed by unknown authority', TLS),
    ('Failed to connect to proxy URL: "http://proxy:3128"', PROXY),
    ("OSError: Tunnel connection failed: 407 Proxy Authentication Required", PROXY),
    ("Unable to parse response (not well-formed (invalid token): line 1), invalid XML received. b'<html>'", PAGE),
    (f"An error occurred (LimitExceededException) {CALLED}Cannot exceed quota", QUOTA),
    (f"An error occurred (InternalFailure) {CALLED}The request processing has failed", FAULT),
    (f"An error occurred (503) {CALLED}Service Unavailable", FAULT),
    (f"An error occurred (ServiceUnavailableException) {CALLED}busy", FAULT),
    (f'Could not connect to the endpoint URL: "{ENDPOINT}"', NETWORK),
    (f'Connect timeout on endpoint URL: "{ENDPOINT}"', NETWORK),
    (f'Read timeout on endpoint URL: "{ENDPOINT}"', NETWORK),
    ("Connection was closed before we received a valid response from endpoint", NETWORK),
    ("Unable to connect to the server: dial tcp: lookup x.eks.amazonaws.com: no such host", NETWORK),
    ("Unable to connect to the server: net/http: TLS handshake timeout", NETWORK),
    ("Unable to connect to the server: dial tcp 192.0.2.1:443: i/o timeout", NETWORK),
    ("error: You must be logged in to the server (the server has asked for the client to provide credentials)", STRANGER),
    ('Error from server (Forbidden): nodes is forbidden: User "x" cannot list resource "nodes"', FORBIDDEN),
]  # fmt: skip

#: One for each part of a pattern that the errors above match by another part: of the AWS SDK for Go, which kubectl's
#: plug-ins use, of pyOpenSSL, and of services that say the same with another code.
OTHER_FORMS = [
    ("Unable to connect to the server: tls: failed to verify certificate: x509: certificate has expired or is not yet valid", CLOCK),
    ("api error RegionDisabledException: STS is not activated in this region for account:1", REGION),
    ("api error ExpiredToken: The provided token has expired.", EXPIRED),
    ("Error when retrieving token from sso: Unauthorized", EXPIRED),
    ("api error AccessDenied: User: x is not authorized to perform: eks:DescribeCluster", RIGHT),
    ("An error occurred (LimitExceededException) when calling the PutRecord operation: Rate exceeded for stream x", THROTTLED),
    ("[('SSL routines', 'tls_process_server_certificate', 'certificate verify failed')]", TLS),
    ("OSError: Tunnel connection failed: 407 authenticationrequired", PROXY),
    ("Error calling startBuild: Cannot have more than 1 builds in queue for the account", QUOTA),
    ("couldn't get current server API group list: the server has asked for the client to provide credentials", STRANGER),
    ("error: You must be logged in to the server (Unauthorized)", STRANGER),
    ("error: Unauthorized", STRANGER),
]  # fmt: skip


def advice(error: str) -> tuple[int, str]:
    """Return the exit code and the output of the function that gives advice."""
    code = 'AWS_REGION=us-east-2; source scripts/lib/errors.sh; advice "$1"'
    done = subprocess.run(["bash", "-c", code, "-", error], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


@pytest.mark.parametrize(("error", "advised"), OTHER_FORMS)
def test_error_has_the_same_advice_in_another_form(error: str, advised: str) -> None:
    assert advice(error) == (0, f"{advised}\n")


def test_error_of_no_known_kind_has_no_advice() -> None:
    assert advice("An error occurred (NewException) when calling x: y") == (1, "")


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = Desk(tmp_path / "desk")
    desk.answer_as_if_present()
    desk.answer("curl", "", real=str(FAKES / "github.sh"))
    desk.answer("aws", "freetier", stdout="PAID\n")
    return desk


@pytest.mark.parametrize(("error", "advised"), [each for each in ERRORS if each[1] not in (STRANGER, FORBIDDEN)])
def test_preflight_reports_the_errors_cause_rather_than_the_checks(error: str, advised: str, desk: Desk) -> None:
    desk.answer("aws", "describe-cluster-versions", stderr=f"\n{error}\n\n", code=254)
    lines = desk.run("preflight.sh").stdout.splitlines()
    (line,) = [each for each in lines if each.startswith("FAILED  Kubernetes")]
    assert line == f"FAILED  Kubernetes  {error}: {advised}"
    assert "KUBERNETES_VERSION" not in line


@pytest.mark.parametrize(("error", "advised"), ERRORS)
@pytest.mark.parametrize(
    ("script", "tool", "call"),
    [("leftovers.sh", "aws", "list-clusters"), ("authorize-role.sh", "kubectl", "get namespace")],
)
def test_script_reports_the_cause_after_the_errors_own_words(
    script: str, tool: str, call: str, error: str, advised: str, desk: Desk
) -> None:
    desk.answer(tool, call, stderr=f"{error}\n", code=1)
    done = desk.run(script)
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert lines[lines.index(error) + 1] == advised


@pytest.mark.parametrize("code", ["InvalidClientTokenId", "UnrecognizedClientException", "AuthFailure"])
@pytest.mark.parametrize(("elsewhere", "advised"), [(0, REGION), (254, CREDENTIALS)])
def test_region_that_is_not_enabled_is_distinguished_from_a_wrong_key(
    code: str, elsewhere: int, advised: str, desk: Desk
) -> None:
    """A region that must be enabled first answers as if the key did not exist."""
    desk.answer(
        *IDENTITY[:2],
        stderr=f"\nAn error occurred ({code}) when calling the GetCallerIdentity operation: invalid\n",
        code=254,
    )
    ask = "--cli-connect-timeout 10 --cli-read-timeout 30 --region us-east-1 sts get-caller-identity"
    desk.answer("aws", ask, stdout="{}", code=elsewhere)
    done = desk.run("create-role.sh")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == advised
    assert [call for call in desk.calls() if "create-role" in call] == []


@pytest.mark.parametrize(
    ("region", "asked"),
    [("us-east-1", []), ("cn-northwest-1", ["cn-north-1"]), ("cn-north-1", []), ("us-gov-east-1", ["us-gov-west-1"]),
     ("us-gov-west-1", []), ("eusc-de-east-1", [])],
)  # fmt: skip
def test_credentials_are_tried_in_a_region_that_the_partition_always_has(
    region: str, asked: list[str], desk: Desk
) -> None:
    """Where there is no other such region, the key is wrong."""
    error = "\nAn error occurred (InvalidClientTokenId) when calling the GetCallerIdentity operation: invalid\n"
    desk.answer(*IDENTITY[:2], stderr=error, code=254)
    done = desk.run("create-role.sh", AWS_REGION=region)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (1, CREDENTIALS)
    assert {call[call.index("--region") + 1] for call in desk.calls() if "--region" in call} == set(asked)


def test_unknown_error_is_shown_as_it_is(desk: Desk) -> None:
    desk.answer("aws", "list-clusters", stderr="An error occurred (NewException) when calling x: y\n", code=254)
    lines = desk.run("leftovers.sh").stderr.splitlines()
    assert lines[lines.index("An error occurred (NewException) when calling x: y") + 1].startswith(
        "cannot check for leftovers"
    )
