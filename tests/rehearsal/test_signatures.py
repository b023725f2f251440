"""The emulator's check of signatures, with requests that boto3 has signed: as sent they pass, and changed they do not."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse

from rehearsal.emulator import signatures
from rehearsal.emulator.signatures import Refused, Request
from tests.support.fixtures import Figure
from tests.support.names import REGION

KEY, SECRET, TOKEN = "ASIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY", "a session's token+/="
ADDRESS = "http://127.0.0.1:24560"
HOUR = 3600


def client(service: str, **more: Any) -> Any:
    session = boto3.Session(KEY, SECRET, TOKEN, REGION)
    return session.client(service, endpoint_url=ADDRESS, **more)


def arrived(method: str, url: str, headers: Any = (), body: bytes = b"") -> Request:
    """A request as the emulator's server hands it over."""
    parts = urlsplit(url)
    named = {name.lower(): value if isinstance(value, str) else value.decode() for name, value in dict(headers).items()}
    named.setdefault("host", parts.netloc)
    return Request(method, parts.path or "/", parts.query, tuple(named.items()), body)


def sent(service: str, call: str, **arguments: Any) -> Request:
    """The request that boto3 sends for a call."""
    caught: list[AWSPreparedRequest] = []

    def catch(request: AWSPreparedRequest, **_: Any) -> AWSResponse:
        caught.append(request)
        raise ConnectionError

    calling = client(service)
    calling.meta.events.register("before-send", catch)
    with pytest.raises(ConnectionError):
        getattr(calling, call)(**arguments)
    body: Any = caught[0].body or b""
    body = body.encode() if isinstance(body, str) else body if isinstance(body, bytes) else body.read()
    return arrived(caught[0].method, caught[0].url, caught[0].headers, body)


def presigned(service: str, call: str, **arguments: Any) -> Request:
    """The request of a presigned URL."""
    return arrived("GET", client(service).generate_presigned_url(call, arguments, ExpiresIn=HOUR, HttpMethod="GET"))


REQUESTS: dict[str, Callable[[], Request]] = {
    "query protocol": lambda: sent("iam", "create_user", UserName="a b/+ü"),
    "json protocol": lambda: sent("codebuild", "start_build", projectName="p"),
    "rest, with an encoded path": lambda: sent("eks", "describe_cluster", name="a/b c"),
    "rest, with a query": lambda: sent("eks", "list_clusters", maxResults=7, nextToken="a b+c/d=="),
    "S3 upload": lambda: sent("s3", "put_object", Bucket="bucket", Key="a b/+ü//c", Body=b"content"),
    "S3 list": lambda: sent("s3", "list_objects_v2", Bucket="bucket", Prefix="a b+"),
    "presigned STS": lambda: presigned("sts", "get_caller_identity"),
    "presigned S3": lambda: presigned("s3", "get_object", Bucket="bucket", Key="a b/c"),
}


def secret_of(key: str, _token: str) -> str:
    if key != KEY:
        raise Refused("UnrecognizedClientException", key)
    return SECRET


def code(request: Request, now: float | None = None) -> str:
    """The code with which a request is refused, or an empty string."""
    try:
        signatures.verify(request, secret_of, now)
    except Refused as refused:
        return refused.code
    return ""


def changes(request: Request) -> Iterator[tuple[str, Request]]:
    """Every part of a request, changed."""
    yield "method", replace(request, method="DELETE")
    yield "path", replace(request, path=request.path + "x")
    yield "another parameter", replace(request, query=request.query + "&x=y")
    if "X-Amz-Algorithm" not in request.query or "sts" in request.query:
        yield "body", replace(request, body=request.body + b"x")
    for index, (name, value) in enumerate(request.headers):
        if name in (*signatures.read(request).names, "authorization"):
            others = (*request.headers[:index], *request.headers[index + 1 :])
            yield f"{name} changed", replace(request, headers=(*others, (name, value[:-1] + chr(ord(value[-1]) ^ 1))))
            yield f"{name} left out", replace(request, headers=others)
            yield f"{name} doubled", replace(request, headers=(*request.headers, (name, "x")))
    yield "an unsigned header", replace(request, headers=(*request.headers, ("x-amz-acl", "public-read")))
    pairs = request.query.split("&") if request.query else []
    for index, pair in enumerate(pairs):
        others = [*pairs[:index], *pairs[index + 1 :]]
        yield f"{pair} changed", replace(request, query="&".join([*others, pair[:-1] + chr(ord(pair[-1]) ^ 1)]))
        yield f"{pair} left out", replace(request, query="&".join(others))
        yield f"{pair} doubled", replace(request, query="&".join([*pairs, pair]))


def test_signed_request_passes_and_any_change_of_it_is_refused(figure: Figure) -> None:
    tried: dict[tuple[str, str], Request] = {}
    for name, make in REQUESTS.items():
        request = make()
        assert code(request) == "", name
        tried |= {(name, change): changed for change, changed in changes(request)}
    passed = [what for what, changed in tried.items() if not code(changed)]
    assert passed == []
    figure("a signed request that was changed in any part is refused", f"{len(tried) - len(passed)} of {len(tried)}")


@pytest.mark.parametrize("name", REQUESTS)
def test_request_is_valid_for_as_long_as_on_aws(name: str) -> None:
    request, now = REQUESTS[name](), time.time()
    after = HOUR if name == "presigned S3" else signatures.SKEW
    assert code(request, now + after - 5) == code(request, now - signatures.SKEW + 5) == ""
    refusal = "RequestTimeTooSkewed" if "S3" in name else "SignatureDoesNotMatch"
    assert code(request, now + after + 5) == code(request, now - signatures.SKEW - 5) == refusal


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (arrived("GET", f"{ADDRESS}/"), "MissingAuthenticationToken"),
        (arrived("GET", f"{ADDRESS}/", {"authorization": "Basic YTpi"}), "IncompleteSignature"),
        (arrived("GET", f"{ADDRESS}/", {"authorization": "AWS 111122223333:x"}), "IncompleteSignature"),
        (arrived("GET", f"{ADDRESS}/?AWSAccessKeyId=test&Signature=x&Expires=9999999999"), "IncompleteSignature"),
        (arrived("GET", f"{ADDRESS}/?X-Amz-Credential=test/20261126/us-east-2/s3/aws4_request"), "IncompleteSignature"),
    ],
)
def test_request_without_a_whole_signature_is_refused(request_: Request, expected: str) -> None:
    assert code(request_) == expected


def test_two_signatures_are_refused() -> None:
    """The emulator might take another of them for the caller's than the one that was checked."""
    request, other = REQUESTS["query protocol"](), REQUESTS["presigned STS"]()
    assert code(replace(request, query=other.query)) == "IncompleteSignature"
    authorization = request.all("authorization")[0].replace(KEY, "111122223333")
    assert code(replace(request, headers=(*request.headers, ("authorization", authorization)))) == "IncompleteSignature"
    nested = request.all("authorization")[0].replace(" Credential", " Credential=test/x, Credential")
    headers = tuple((name, nested if name == "authorization" else value) for name, value in request.headers)
    assert code(replace(request, headers=headers)) == "IncompleteSignature"


def test_presigned_url_of_s3_ends_within_a_week() -> None:
    request = REQUESTS["presigned S3"]()
    longer = replace(request, query=request.query.replace("Expires=3600", "Expires=604801"))
    assert code(longer) == "IncompleteSignature"


def test_check_takes_less_than_a_millisecond(figure: Figure) -> None:
    request, rounds = REQUESTS["query protocol"](), 200
    began = time.process_time()
    for _ in range(rounds):
        signatures.verify(request, secret_of)
    took = (time.process_time() - began) / rounds * 1000
    assert took < 1
    figure("the check of a signature is cheap", f"~{took:.2f} ms of processor time")
