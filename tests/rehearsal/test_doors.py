"""Who gets into AWS on this machine: no one without a signature or token of this run, and no web page of another origin.

tests/rehearsal/test_listeners.py tries every listener of a whole rehearsal, and a browser on a hostile page.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import botocore.auth
import httpx
import pytest
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from rehearsal.codepipeline import connections
from rehearsal.console.screenshot import CHROMIUM
from rehearsal.doors import refusal
from rehearsal.emulator import function_process, ministack
from rehearsal.secret import bearer, root_keys
from tests.support.fixtures import Figure
from tests.support.hostile_page import NAME, hostile_page
from tests.support.loopback import Loopback, started
from tests.support.names import ACCOUNT, REGION

pytestmark = pytest.mark.services

Json = dict[str, Any]
Signer = Callable[["Doors"], dict[str, str] | None]
STACK = "planted"
#: What a page of another origin sends with a form.
FORM = {"Action": "CreateStack", "Version": "2010-05-15", "StackName": STACK, "TemplateBody": json.dumps({"Resources": {
    "Topic": {"Type": "AWS::SNS::Topic"}}})}  # fmt: skip
ENCODED = "application/x-www-form-urlencoded"
EVIL = "http://evil.example"
INTERNAL = ministack.HEALTH_PATH.rpartition("/")[0]


class Doors:
    """AWS on loopback, and plain HTTP requests to it."""

    def __init__(self, loopback: Loopback) -> None:
        self.loopback = loopback
        # A connection on which a body was refused cannot be used again.
        self.http = httpx.Client(trust_env=False, timeout=30, limits=httpx.Limits(max_keepalive_connections=0))

    def url(self, path: str = "/", offset: int = 0) -> str:
        """Return the address of a path on a port, by its number in rehearsal.settings.Ports."""
        return f"http://127.0.0.1:{self.loopback.port + offset}{path}"

    def form(self, keys: tuple[str, str, str] | None = None, **headers: str) -> httpx.Response:
        """Send FORM, signed with an access key id, a secret and a session's token if they are given."""
        body = urlencode(FORM).encode()
        sent = {"content-type": ENCODED, "host": f"127.0.0.1:{self.loopback.port}"} | headers
        if keys:
            sent = signed("POST", self.url(), body, sent, keys)
        return self.http.post(self.url(), content=body, headers=sent)

    def accounts(self) -> Json:
        """Return what there is that a request without rights could have changed."""
        loopback = self.loopback
        return {
            "stacks": self.stacks(),
            "connections": loopback.client("codeconnections").list_connections()["Connections"],
            "repositories": loopback.client("ecr").describe_repositories()["repositories"],
            "buckets": [bucket["Name"] for bucket in loopback.client("s3").list_buckets()["Buckets"]],
        }

    def stacks(self) -> list[str]:
        """Return the names of all stacks that there ever were."""
        found = self.loopback.client("cloudformation").list_stacks()["StackSummaries"]
        return [stack["StackName"] for stack in found]


def signed(method: str, url: str, body: bytes, headers: dict[str, str], keys: tuple[str, str, str]) -> dict[str, str]:
    """Return the headers of a request with a signature."""
    request = AWSRequest(method, url, headers=headers, data=body)
    credentials = Credentials(keys[0], keys[1], keys[2] or None)
    botocore.auth.SigV4Auth(credentials, "cloudformation", REGION).add_auth(request)
    return dict(request.headers.items())


@pytest.fixture(scope="module")
def doors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    with started(tmp_path_factory.mktemp("cache")) as loopback:
        yield Doors(loopback)


# --- signatures


def session(doors: Doors) -> Json:
    """Keys of a session of a role with every right."""
    iam = doors.loopback.client("iam")
    trust = {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, "Action": "sts:AssumeRole"}
    document = {"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    try:
        iam.create_role(RoleName="all", AssumeRolePolicyDocument=json.dumps({"Statement": [trust]}))
        iam.put_role_policy(RoleName="all", PolicyName="all", PolicyDocument=json.dumps(document))
    except iam.exceptions.EntityAlreadyExistsException:
        pass
    arn = f"arn:aws:iam::{ACCOUNT}:role/all"
    return dict(doors.loopback.client("sts").assume_role(RoleArn=arn, RoleSessionName="test")["Credentials"])


def deleted(doors: Doors) -> tuple[str, str, str]:
    iam = doors.loopback.client("iam")
    iam.create_user(UserName="gone")
    iam.attach_user_policy(UserName="gone", PolicyArn="arn:aws:iam::aws:policy/AdministratorAccess")
    key = iam.create_access_key(UserName="gone")["AccessKey"]
    iam.delete_access_key(UserName="gone", AccessKeyId=key["AccessKeyId"])
    return key["AccessKeyId"], key["SecretAccessKey"], ""


REFUSED: dict[str, Callable[[Doors], tuple[str, str, str] | None]] = {
    "no signature": lambda _: None,
    "the account's id": lambda _: (ACCOUNT, "test", ""),
    "another account's id": lambda _: ("000000000000", "test", ""),
    "the key test": lambda _: ("test", "test", ""),
    "an invented key": lambda _: ("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", ""),
    "root's key with another secret": lambda doors: (root_keys(doors.loopback.run)[0], "test", ""),
    "a deleted key": deleted,
    "a session without its token": lambda doors: (*list(session(doors).values())[:2], ""),
    "a session with another's token": lambda doors: (*list(session(doors).values())[:2], session(doors)["SessionToken"]),
}  # fmt: skip


@pytest.mark.parametrize("who", REFUSED)
def test_nothing_happens_without_valid_keys(doors: Doors, who: str) -> None:
    answer = doors.form(REFUSED[who](doors))
    assert answer.status_code == 403, answer.text
    assert STACK not in doors.stacks()


def test_signature_of_well_known_keys_is_not_even_needed_to_fail(doors: Doors) -> None:
    """Any signature used to do for them."""
    claim = f"AWS4-HMAC-SHA256 Credential={ACCOUNT}/20261126/{REGION}/cloudformation/aws4_request, SignedHeaders=host, "
    answer = doors.form(Authorization=claim + "Signature=" + "0" * 64)
    assert answer.status_code in (400, 403)
    assert STACK not in doors.stacks()


def test_keys_of_the_run_are_let_in(doors: Doors) -> None:
    """The control of the tests above."""
    keys = session(doors)
    body = urlencode({"Action": "ListStacks", "Version": "2010-05-15"}).encode()
    for each in ((*root_keys(doors.loopback.run), ""), tuple(list(keys.values())[:3])):
        headers = {"content-type": ENCODED, "host": f"127.0.0.1:{doors.loopback.port}"}
        sent = signed("POST", doors.url(), body, headers, each)
        assert doors.http.post(doors.url(), content=body, headers=sent).status_code == 200


def test_keys_of_another_run_have_no_rights(doors: Doors, tmp_path: Any) -> None:
    key, secret_key = root_keys(tmp_path)
    with pytest.raises(ClientError) as caught:
        doors.loopback.client("iam", {"AccessKeyId": key, "SecretAccessKey": secret_key}).list_users()
    assert caught.value.response["Error"]["Code"] == "InvalidClientTokenId"


def test_keys_of_a_function_do_not_follow_from_its_name(doors: Doors) -> None:
    """MiniStack's own are hashes of the ARNs of function and role."""
    iam, functions = doors.loopback.client("iam"), doors.loopback.client("lambda")
    session(doors)
    role = iam.get_role(RoleName="all")["Role"]["Arn"]
    code = "import os\ndef handler(event, context):\n    return {name: os.environ[name] for name in event}"
    made = functions.create_function(
        FunctionName="shown", Role=role, Runtime="python3.13", Handler="index.handler", Code={"ZipFile": zipped(code)}
    )
    names = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"]
    shown = json.loads(functions.invoke(FunctionName="shown", Payload=json.dumps(names))["Payload"].read())
    digest = hashlib.sha256(f"{made['FunctionArn']}:{role}".encode()).hexdigest()
    guessed = {hashlib.sha256(f"{kind}:{digest}".encode()).hexdigest() for kind in ("secret", "token")}
    assert not guessed & set(shown.values())
    keys = dict(zip(("AccessKeyId", "SecretAccessKey", "SessionToken"), shown.values(), strict=True))
    assert doors.loopback.client("sts", keys).get_caller_identity()["Arn"].endswith(":assumed-role/all/shown")


#: Tries what root could do; a function has none of the rights for it.
PRYING = """
import glob, os, stat, subprocess, boto3
def tried(what):
    try:
        return what()
    except OSError as error:
        return type(error).__name__
def handler(event, context):
    return {
        "user": [os.getuid(), os.getgid(), os.getgroups()],
        "secret": tried(lambda: len(open(event["secret"], "rb").read())),
        "sockets": [path for path in glob.glob("/run/**", recursive=True) if stat.S_ISSOCK(os.stat(path).st_mode)],
        "environment": tried(lambda: open(f"/proc/{os.getppid()}/environ").read()),
        "kill": tried(lambda: os.kill(os.getppid(), 0)),
        "write": tried(lambda: open("planted.py", "w")),
        "password file": tried(lambda: open("/etc/passwd", "a")),
        "mount": subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode != 0,
        "temporary": tried(lambda: open("/tmp/mine", "w").write("x")),
        "caller": boto3.client("sts").get_caller_identity()["Arn"],
    }
"""


@pytest.mark.skipif(not function_process.is_possible(), reason="functions have the rights of this user")
def test_function_has_no_rights_on_this_machine(doors: Doors) -> None:
    session(doors)
    functions, role = doors.loopback.client("lambda"), f"arn:aws:iam::{ACCOUNT}:role/all"
    functions.create_function(
        FunctionName="prying",
        Role=role,
        Runtime="python3.13",
        Handler="index.handler",
        Timeout=30,
        Code={"ZipFile": zipped(PRYING)},
    )
    secret = str(doors.loopback.run / "secret")
    got = json.loads(functions.invoke(FunctionName="prying", Payload=json.dumps({"secret": secret}))["Payload"].read())
    assert got == {
        "user": [function_process.USER, function_process.USER, []],
        "secret": "FileNotFoundError",
        "sockets": [],
        "environment": "PermissionError",
        "kill": "PermissionError",
        "write": "PermissionError",
        "password file": "PermissionError",
        "mount": True,
        "temporary": 1,
        "caller": f"arn:aws:sts::{ACCOUNT}:assumed-role/all/prying",
    }


def zipped(code: str) -> bytes:
    """A function's package."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        file.writestr("index.py", code)
    return packed.getvalue()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *(("GET", f"{INTERNAL}/{name}") for name in ("ready", "ses/messages", "sqs/messages", "config")),
        ("POST", f"{INTERNAL}/reset"),
        ("POST", f"{INTERNAL}/config"),
        ("POST", f"{INTERNAL}/health"),
        ("GET", "/"),
        ("GET", "/bucket"),
        ("PUT", "/bucket"),
        ("GET", "/health"),
        ("GET", "/restapis/x/test/_user_request_/"),
        ("GET", "/v2/apis"),
        ("PUT", "/v2/repository/manifests/latest"),
        ("PUT", "/v2/repository/manifests/cache"),
        ("POST", "/v2/repository/blobs/uploads/"),
        ("GET", "/v2/_catalog"),
        ("GET", "/v2/"),
        ("OPTIONS", "/"),
        ("TRACE", "/"),
        ("CONNECT", "/"),
    ],
)
def test_no_path_is_open(doors: Doors, method: str, path: str) -> None:
    answer = doors.http.request(method, doors.url(path))
    assert answer.status_code in (400, 401, 403), answer.text
    assert not [name for name in answer.headers if name.startswith("access-control")]


# --- pages of other origins, and names that resolve to this machine

CALLERS = {
    "another origin": {"Origin": EVIL},
    "a sandboxed page": {"Origin": "null"},
    "another port of this machine": {"Origin": "http://127.0.0.1:8080"},
    "a name that resolves to this machine": {"Host": "evil.example"},
    "the same with the port": {"Host": "evil.example:24560", "Origin": "http://evil.example:24560"},
    "a name that begins like this machine's": {"Host": "127.0.0.1.evil.example"},
    "no name": {"Host": ""},
}
#: A request that has an effect, by the port that it is for.
EFFECTS = {
    "aws": (0, "POST", "/", ENCODED),
    "registry": (0, "PUT", "/v2/repository/manifests/cache", "application/json"),
    "preflight": (0, "OPTIONS", "/", ""),
    "health": (0, "GET", ministack.HEALTH_PATH, ""),
    "handshake": (4, "POST", "/connections/handshake?arn=x", ENCODED),
    "webhook": (4, "POST", "/trigger?t=x", "text/plain"),
    "push": (4, "POST", "/connections/push", "text/plain"),
    "credentials": (4, "GET", "/v2/credentials/x", ""),
    "endpoints' preflight": (4, "OPTIONS", "/connections/handshake", ""),
}


@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize("effect", EFFECTS)
def test_foreign_pages_and_names_are_refused(doors: Doors, effect: str, caller: str) -> None:
    offset, method, path, kind = EFFECTS[effect]
    headers = {"Content-Type": kind} | CALLERS[caller]
    answer = doors.http.request(method, doors.url(path, offset), content=urlencode(FORM), headers=headers)
    # A server may refuse a request without a Host on its own (RFC 9112, section 3.2).
    assert answer.status_code == 403 or (caller == "no name" and answer.status_code == 400), answer.text
    assert not [name for name in answer.headers if name.startswith("access-control")]
    assert STACK not in doors.stacks()


@pytest.mark.parametrize("caller", CALLERS)
def test_even_a_valid_signature_does_not_let_them_in(doors: Doors, caller: str) -> None:
    headers = {name.lower(): value for name, value in CALLERS[caller].items()}
    answer = doors.form((*root_keys(doors.loopback.run), ""), **headers)
    assert answer.status_code in (400, 403)
    assert STACK not in doors.stacks()


@pytest.mark.parametrize(
    ("host", "origin", "let_in"),
    [
        ("localhost:24563", None, True),
        ("127.0.0.1", "http://127.0.0.1", True),
        ("LocalHost:24563", "http://localhost:24563", True),
        ("localhost:24563", "https://localhost:24563", False),
        ("localhost:24563", "http://localhost", False),
        ("localhost", "http://localhost.", False),
        ("localhost.evil.example", None, False),
        ("[::1]", None, False),
    ],
)
def test_origin_is_the_listeners_own_or_none(host: str, origin: str | None, let_in: bool) -> None:
    headers = [("Host", host), *([("Origin", origin)] if origin else [])]
    assert (refusal(headers, {"127.0.0.1", "localhost"}) == "") == let_in


def test_two_hosts_are_refused() -> None:
    assert refusal([("Host", "localhost"), ("host", "localhost")], {"localhost"})


# --- what has a token in place of a signature


def test_registry_behind_the_front_takes_only_the_fronts_password(doors: Doors) -> None:
    ecr = doors.loopback.client("ecr", session(doors))
    token = ecr.get_authorization_token()["authorizationData"][0]["authorizationToken"]
    path = doors.url("/v2/repository/manifests/cache")
    for authorization in (f"Basic {token}", "Basic QVdTOng=", ""):
        answer = doors.http.put(path, content=b"{}", headers={"Authorization": authorization})
        assert answer.status_code == 401


def test_handshake_needs_the_runs_token(doors: Doors, tmp_path: Any) -> None:
    client = doors.loopback.client("codeconnections")
    arn = client.create_connection(ConnectionName="doors", ProviderType="GitHub")["ConnectionArn"]
    for token in ("", "Bearer x", bearer(connections.HANDSHAKE, tmp_path)):
        url = doors.url(f"/connections/handshake?arn={arn}", 4)
        assert doors.http.post(url, headers={"Authorization": token}).status_code == 403
    assert client.get_connection(ConnectionArn=arn)["Connection"]["ConnectionStatus"] == "PENDING"
    doors.loopback.python(f"from rehearsal.codepipeline import connections; connections.complete('{arn}')")
    assert client.get_connection(ConnectionArn=arn)["Connection"]["ConnectionStatus"] == "AVAILABLE"


def test_secret_of_the_run_is_its_owners(doors: Doors) -> None:
    assert (doors.loopback.run / "secret").stat().st_mode & 0o777 == 0o600


# --- a browser


@pytest.mark.skipif(not Path(CHROMIUM).exists(), reason="needs Debian's chromium and chromium-driver")
def test_hostile_page_in_a_browser_has_no_effect(doors: Doors, figure: Figure) -> None:
    client = doors.loopback.client("codeconnections")
    arn = client.create_connection(ConnectionName="browser", ProviderType="GitHub")["ConnectionArn"]
    names = ("127.0.0.1", "localhost", NAME)
    paths = [(0, "/"), (0, "/v2/r/manifests/cache"), (4, f"/connections/handshake?arn={arn}"), (4, "/trigger?t=x")]
    targets = [f"http://{name}:{doors.loopback.port + offset}{path}" for name in names for offset, path in paths]
    before = doors.accounts()
    with hostile_page() as page:
        page.attack(targets, FORM)
        assert page.rebind(doors.loopback.port) == [403] * 4
        assert page.rebind(doors.loopback.port + 4) == [403] * 4
    assert page.read == []
    assert doors.accounts() == before
    figure(
        "a hostile page in a browser gets nothing from AWS", f"{len(page.read)} answers read of ~{page.sent} requests"
    )
