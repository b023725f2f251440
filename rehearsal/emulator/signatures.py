"""Verifies that a request is signed with the secret of the key that it names: AWS Signature Version 4.

Follows "AWS Signature Version 4 for API requests" of the IAM user guide, for signatures in the header Authorization and
in the query (presigned URLs). botocore, which signs the requests of the AWS CLI and boto3, computes what the signature
should be.

Differs from AWS: the older Version 2, Version 4A and bodies signed in chunks are refused; of the regions that an account has
to enable, only that of the rehearsal is.
"""

from __future__ import annotations

import hmac
import re
import time
from calendar import timegm
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from urllib.parse import parse_qsl

from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from rehearsal.settings import settings

ALGORITHM = "AWS4-HMAC-SHA256"
#: Seconds between a client's clock and this one; no service allows more.
SKEW = 15 * 60
#: The longest that a presigned URL of S3 is valid, in seconds.
LONGEST = 7 * 24 * 3600
#: What a client of S3 may sign in place of the body's hash.
UNSIGNED = ("UNSIGNED-PAYLOAD", "STREAMING-UNSIGNED-PAYLOAD-TRAILER")
#: Regions that an account has to enable first, and where no key is known until then (Account Management reference guide,
#: "Enable or disable AWS Regions").
OPT_IN = {
    "af-south-1", "ap-east-1", "ap-east-2", "ap-south-2", "ap-southeast-3", "ap-southeast-4", "ap-southeast-5",
    "ap-southeast-6", "ap-southeast-7", "ca-west-1", "eu-central-2", "eu-south-1", "eu-south-2", "il-central-1",
    "me-central-1", "me-south-1", "mx-central-1",
}  # fmt: skip

_CREDENTIAL = r"(?P<key>\w+)/(?P<day>\d{8})/(?P<region>[a-z0-9-]+)/(?P<service>[a-z0-9-]+)/aws4_request"
_NAMES, _SIGNATURE = r"(?P<names>[a-z0-9;-]+)", r"(?P<signature>[0-9a-f]{64})"
_HEADER = re.compile(rf"{ALGORITHM} Credential={_CREDENTIAL}, ?SignedHeaders={_NAMES}, ?Signature={_SIGNATURE}")
_QUERY = re.compile(f"{_CREDENTIAL} {_NAMES} {_SIGNATURE}")
#: Parameters of a presigned URL, and those that name a signer in any version of the signature.
_PARAMETERS = {
    f"x-amz-{name}".lower(): f"X-Amz-{name}"
    for name in ("Algorithm", "Credential", "Date", "Expires", "Security-Token", "Signature", "SignedHeaders")
}
_SIGNER = {"x-amz-algorithm", "x-amz-credential", "x-amz-signature", "awsaccesskeyid"}

MISMATCH = (
    "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key "
    "and signing method. Consult the service documentation for details."
)

SecretOf = Callable[[str, str], str]
"""``secret_of(access key id, session token) -> secret access key``; raises Refused."""


class Refused(Exception):
    """The request is not authentic; ``code`` is AWS's error code."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Request:
    """A request as it arrived: path and query are still encoded, and header names are lower case."""

    method: str
    path: str
    query: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def all(self, name: str) -> list[str]:
        """Return the values of a header."""
        return [value for other, value in self.headers if other == name]


@dataclass(frozen=True)
class Signature:
    """What a request says about its signature; ``lifetime`` is in seconds after ``moment``, an ISO 8601 basic time."""

    key: str
    region: str
    service: str
    moment: str
    lifetime: int
    names: tuple[str, ...]
    token: str
    signature: str
    presigned: bool


def verify(request: Request, secret_of: SecretOf, now: float | None = None) -> None:
    """Check that a request is authentic and current.

    Raises:
        Refused: it is not.
    """
    said = read(request)
    _check_time(said, time.time() if now is None else now)
    if said.region in OPT_IN and said.region != settings.region:
        raise Refused("InvalidClientTokenId", "The security token included in the request is invalid.")
    # Read first, so that an unknown key is reported as one.
    secret = secret_of(said.key, said.token)
    if not hmac.compare_digest(expected(request, said, secret), said.signature):
        raise Refused("SignatureDoesNotMatch", MISMATCH)


def read(request: Request) -> Signature:
    """Return what a request says about its signature, of which it has exactly one.

    Raises:
        Refused: it has none, or one that does not conform.
    """
    values = dict(_unique(parse_qsl(request.query, keep_blank_values=True)))
    in_query = bool(_SIGNER & {name.lower() for name in values})
    authorization = request.all("authorization")
    if not authorization and not in_query:
        raise Refused("MissingAuthenticationToken", "Request is missing Authentication Token")
    if authorization and not in_query and len(authorization) == 1:
        said = _of_header(request, authorization[0])
    elif not authorization and values.get("X-Amz-Algorithm") == ALGORITHM:
        said = _of_query(values)
    else:
        raise Refused("IncompleteSignature", f"The request must have exactly one signature, by {ALGORITHM}.")
    unsigned = {name for name, _ in request.headers if name.startswith("x-amz-") or name == "host"} - {*said.names}
    if unsigned:
        raise Refused("SignatureDoesNotMatch", f"There were headers which were not signed: {', '.join(unsigned)}")
    return said


def expected(request: Request, said: Signature, secret: str) -> str:
    """Return the signature that a client with this secret makes."""
    kind = S3SigV4Auth if said.service == "s3" else SigV4Auth
    auth = kind(Credentials(said.key, secret), said.service, said.region)
    pairs = [pair for pair in parse_qsl(request.query, keep_blank_values=True) if pair[0] != "X-Amz-Signature"]
    # botocore takes pairs too, in which a name may occur more than once.
    signing = AWSRequest(request.method, f"http://host{request.path}", params=pairs)  # type: ignore[arg-type]
    signing.context["timestamp"] = said.moment
    for name, value in request.headers:
        if name in said.names:
            signing.headers.add_header(name, value)
    canonical = auth.canonical_request(signing).rpartition("\n")[0] + "\n" + _payload(request, said)
    return str(auth.signature(auth.string_to_sign(signing, canonical), signing))


def _payload(request: Request, said: Signature) -> str:
    """Return the last line of the canonical request: the body's hash, or what S3 lets clients sign in its place.

    Raises:
        Refused: the hash that the client has signed is not the body's.
    """
    actual, (claimed, *_) = sha256(request.body).hexdigest(), (*request.all("x-amz-content-sha256"), "")
    if said.service == "s3" and claimed in UNSIGNED:
        return claimed
    if said.service == "s3" and said.presigned:
        return UNSIGNED[0]
    if claimed not in ("", actual):
        raise Refused("SignatureDoesNotMatch", "The provided 'x-amz-content-sha256' header does not match the body.")
    return actual


def _of_header(request: Request, authorization: str) -> Signature:
    found, dates = _HEADER.fullmatch(authorization), request.all("x-amz-date")
    if not found or len(dates) != 1:
        raise Refused("IncompleteSignature", "Authorization header and X-Amz-Date must conform to Signature Version 4.")
    token = "".join(request.all("x-amz-security-token"))
    return _made(found, dates[0], SKEW, token, presigned=False)


def _of_query(values: Mapping[str, str]) -> Signature:
    parts = (values.get(f"X-Amz-{name}", "") for name in ("Credential", "SignedHeaders", "Signature"))
    found, lifetime = _QUERY.fullmatch(" ".join(parts)), values.get("X-Amz-Expires", "")
    if not found or (found["service"] == "s3" and not (lifetime.isdecimal() and int(lifetime) <= LONGEST)):
        raise Refused("IncompleteSignature", "AWS query-string parameters must conform to Signature Version 4.")
    # Only S3 heeds X-Amz-Expires; a token for EKS has 60 and is valid for 15 minutes.
    seconds = int(lifetime) if found["service"] == "s3" else SKEW
    token = values.get("X-Amz-Security-Token", "")
    return _made(found, values.get("X-Amz-Date", ""), seconds, token, presigned=True)


def _made(found: re.Match[str], moment: str, lifetime: int, token: str, *, presigned: bool) -> Signature:
    if not re.fullmatch(rf"{found['day']}T\d{{6}}Z", moment):
        raise Refused("SignatureDoesNotMatch", "Date in Credential scope does not match that of X-Amz-Date.")
    names = tuple(found["names"].split(";"))
    return Signature(
        found["key"], found["region"], found["service"], moment, lifetime, names, token, found["signature"], presigned
    )


def _check_time(said: Signature, now: float) -> None:
    try:
        signed = timegm(time.strptime(said.moment, "%Y%m%dT%H%M%SZ"))
    except ValueError:
        raise Refused("IncompleteSignature", f"X-Amz-Date is not a time: {said.moment}") from None
    if signed - SKEW <= now <= signed + said.lifetime:
        return
    if said.service == "s3":
        raise Refused(
            "RequestTimeTooSkewed", "The difference between the request time and the current time is too large."
        )
    early, minutes = signed > now, SKEW // 60
    bound = _moment(now + SKEW if early else now - SKEW)
    what = "not yet current: {} is still later than" if early else "expired: {} is now earlier than"
    raise Refused(
        "SignatureDoesNotMatch",
        f"Signature {what.format(said.moment)} {bound} ({_moment(now)} {'+' if early else '-'} {minutes} min.)",
    )


def _moment(seconds: float) -> str:
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(seconds))


def _unique(pairs: list[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Yield the parameters of a query; those of a signature may occur once, in their usual spelling."""
    seen = set()
    for name, value in pairs:
        if name.lower() in _PARAMETERS and (name in seen or name != _PARAMETERS[name.lower()]):
            raise Refused("IncompleteSignature", f"The parameter {name} must be in the query once.")
        seen.add(name)
        yield name, value
