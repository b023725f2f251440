"""AWS in the rehearsal: what the emulator's extensions, the proxy and the TLS front add to MiniStack or restrict."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import httpx
import psutil
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, WaiterError

from rehearsal import waiting
from rehearsal.emulator import ministack, registry_password
from rehearsal.fronts import proxy, registry
from rehearsal.sandbox.authorities import BUNDLE_VARIABLES, machine_bundle
from rehearsal.secret import root_keys
from rehearsal.settings import Ports, Settings
from tests.support.loopback import reserved_ports
from tests.support.paths import ROOT

pytestmark = pytest.mark.services

PROGRAMS = {"aws": "rehearsal.aws", "proxy": "rehearsal.fronts.proxy", "front": "rehearsal.fronts.tls_front"}
PORT_COUNT = 13
LEAKED = "LEAKED_INTO_LAMBDA"

Json = dict[str, Any]


@dataclass
class Aws:
    """A running MiniStack with a proxy and a TLS front, on its own ports and in its own directory."""

    settings: Settings
    processes: list[subprocess.Popen[bytes]]
    session: boto3.Session

    def client(self, service: str, keys: Json | None = None, url: str | None = None) -> Any:
        """A client as root, or with the keys of a user or role; through the proxy if ``url`` has a real host name."""
        keys = keys or dict(zip(("AccessKeyId", "SecretAccessKey"), root_keys(self.settings.run), strict=True))
        proxies = {"https": self.settings.proxy_url} if url else {}
        return self.session.client(
            service,
            endpoint_url=url or self.settings.aws_url,
            aws_access_key_id=keys["AccessKeyId"],
            aws_secret_access_key=keys["SecretAccessKey"],
            aws_session_token=keys.get("SessionToken"),
            config=Config(proxies=proxies, retries={"total_max_attempts": 1}),
            verify=str(self.settings.ca),
        )

    def https(self, host: str) -> httpx.Client:
        """A client for one real host name, through the proxy."""
        context = ssl.create_default_context(cafile=str(self.settings.ca))
        return httpx.Client(
            base_url=f"https://{host}", proxy=self.settings.proxy_url, verify=context, trust_env=False, timeout=20
        )

    def role(self, name: str, *statements: Json) -> Json:
        """Create a role with these permissions and return the keys of a session of it."""
        iam, principal = self.client("iam"), f"arn:aws:iam::{self.settings.account}:root"
        trust = {"Effect": "Allow", "Principal": {"AWS": principal}, "Action": "sts:AssumeRole"}
        role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=policy(trust))["Role"]
        if statements:
            iam.put_role_policy(RoleName=name, PolicyName="rights", PolicyDocument=policy(*statements))
        session = self.client("sts").assume_role(RoleArn=role["Arn"], RoleSessionName="test")
        return dict(session["Credentials"])


def policy(*statements: Json) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def allow(action: str | list[str], resource: str = "*") -> Json:
    return {"Effect": "Allow", "Action": action, "Resource": resource}


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aws]:
    """AWS as the rehearsal starts it, without the supervisor."""
    with reserved_ports(PORT_COUNT) as base:
        yield from _started(tmp_path_factory.mktemp("cache"), base)


def _started(home: Path, base: int) -> Iterator[Aws]:
    settings = Settings(cache=home / "eks-rehearsal", ports=Ports(base))
    settings.run.mkdir(parents=True)
    env = os.environ | {"XDG_CACHE_HOME": str(home), "REHEARSAL_PORT": str(base), "TMPDIR": str(home), LEAKED: "1"}
    env.pop("HTTPS_PROXY", None)
    processes = []
    try:
        for name, module in PROGRAMS.items():
            command = [sys.executable, "-m", module]
            with (home / f"{name}.log").open("wb") as log:
                processes.append(subprocess.Popen(command, cwd=ROOT, env=env, stdout=log, stderr=log))
        started = subprocess.run(
            [sys.executable, "-c", "from rehearsal.emulator.client import wait_until_ready; wait_until_ready()"],
            cwd=ROOT, env=env, timeout=90, check=False,
        )  # fmt: skip
        assert started.returncode == 0
        yield Aws(settings, processes, boto3.Session(region_name=settings.region))
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5)
            process.kill()
            process.wait()


# --- the proxy


@pytest.mark.parametrize(
    "host", ["s3.us-east-2.amazonaws.com", "sts.amazonaws.com", "iam.amazonaws.com", "eks.us-east-2.api.aws"]
)
def test_proxy_refuses_other_aws_hosts(aws: Aws, host: str) -> None:
    with pytest.raises(httpx.ProxyError, match="403"):
        aws.https(host).get("/")


def test_proxy_refuses_other_ports_of_known_hosts(aws: Aws) -> None:
    with pytest.raises(httpx.ProxyError, match="403"):
        aws.https("github.com:22").get("/")


def test_proxy_refuses_plain_requests(aws: Aws) -> None:
    assert httpx.get(aws.settings.proxy_url, trust_env=False).status_code == 405


@pytest.mark.parametrize(
    ("listening", "source", "good"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("10.250.0.1", "10.250.0.20", True),
        ("10.250.0.1", "10.250.0.11", False),
        ("10.250.0.1", "10.250.65.5", False),
        ("10.250.0.1", "10.250.0.1", False),
    ],
)
def test_proxy_serves_only_the_docker_engine_of_the_cluster(listening: str, source: str, good: bool) -> None:
    with contextlib.nullcontext() if good else pytest.raises(proxy.Refused, match="403"):
        proxy.check_source(listening, source)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("CONNECT GitHub.com.:443 HTTP/1.1", ("github.com", 443)),
        ("CONNECT [::1]:8443 HTTP/1.1", ("::1", 8443)),
        ("GET http://x/ HTTP/1.1", "405"),
        ("CONNECT github.com HTTP/1.1", "400"),
        ("CONNECT github.com:99999 HTTP/1.1", "400"),
        ("CONNECT", "405"),
    ],
)
def test_proxy_parses_the_authority(line: str, expected: tuple[str, int] | str) -> None:
    if isinstance(expected, tuple):
        assert proxy.parse_target(line) == expected
        return
    with pytest.raises(proxy.Refused, match=expected):
        proxy.parse_target(line)


def test_proxy_tunnels_other_hosts(aws: Aws) -> None:
    with listening(lambda connection: connection.sendall(connection.recv(100).upper())) as port:
        assert tunnel(aws.settings.ports.proxy, f"127.0.0.1:{port}", b"hello") == b"HELLO"


def test_proxy_uses_the_machines_own_proxy(tmp_path: Path) -> None:
    heads: list[bytes] = []

    def upstream(connection: socket.socket) -> None:
        heads.append(connection.recv(1000))
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 3)

    with listening(upstream) as port, reserved_ports(PORT_COUNT) as base:
        env = os.environ | {
            "XDG_CACHE_HOME": str(tmp_path),
            "REHEARSAL_PORT": str(base),
            "HTTPS_PROXY": f"http://me:pass@127.0.0.1:{port}",
            "NO_PROXY": "",
        }
        process = subprocess.Popen([sys.executable, "-m", "rehearsal.fronts.proxy"], cwd=ROOT, env=env)
        try:
            assert tunnel(base + 1, "example.org:443", b"") == b"xxx"
        finally:
            process.kill()
            process.wait()
    assert heads[0].startswith(b"CONNECT example.org:443 HTTP/1.1\r\n")
    assert base64.b64encode(b"me:pass") in heads[0]


@contextlib.contextmanager
def listening(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server of one connection."""
    server = socket.create_server(("127.0.0.1", 0))

    def run() -> None:
        with contextlib.suppress(OSError):
            connection, _ = server.accept()
            with connection:
                serve(connection)

    threading.Thread(target=run, daemon=True).start()
    with contextlib.closing(server):
        yield server.getsockname()[1]


def tunnel(port: int, authority: str, send: bytes) -> bytes:
    """Send bytes through a tunnel and return what comes back until it ends."""

    def connect() -> socket.socket | None:
        with contextlib.suppress(OSError):
            return socket.create_connection(("127.0.0.1", port), timeout=10)
        return None

    connection = waiting.until(connect, 20, f"port {port}")
    assert connection
    with connection, connection.makefile("rb") as answer:
        connection.sendall(f"CONNECT {authority} HTTP/1.1\r\n\r\n".encode())
        assert answer.readline().split()[1] == b"200"
        assert answer.readline() == b"\r\n"
        connection.sendall(send)
        connection.shutdown(socket.SHUT_WR)
        return answer.read()


# --- certificates


def test_bundle_has_the_authorities_of_machine_and_rehearsal(aws: Aws) -> None:
    bundle = aws.settings.ca_bundle.read_bytes()
    assert bundle.startswith(machine_bundle().read_bytes().rstrip())
    assert bundle.endswith(aws.settings.ca.read_bytes())
    assert ssl.create_default_context(cafile=str(aws.settings.ca_bundle)).cert_store_stats()["x509_ca"] > 1


def test_machine_bundle_is_the_one_that_the_environment_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in BUNDLE_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    usual = machine_bundle()
    (tmp_path / "own.pem").write_text("own")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "own.pem"))
    assert machine_bundle() == tmp_path / "own.pem"
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "missing.pem"))
    assert machine_bundle() == usual


def test_keys_are_readable_by_their_owner_only(aws: Aws) -> None:
    for name in ("front.pem", "secret"):
        assert (aws.settings.run / name).stat().st_mode & 0o077 == 0


# --- who can reach AWS, and as whom


def test_aws_listens_on_loopback_only(aws: Aws) -> None:
    found = {
        connection.laddr.ip
        for process in aws.processes[:1]
        for connection in psutil.Process(process.pid).net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert found == {"127.0.0.1"}


def test_sts_answers_under_its_real_name(aws: Aws) -> None:
    keys = aws.role("sts-caller")
    real = aws.client("sts", keys, f"https://{aws.settings.sts_host}")
    assert real.get_caller_identity()["Arn"].endswith(":assumed-role/sts-caller/test")


def test_assume_role_under_the_real_name_needs_a_policy(aws: Aws) -> None:
    aws.role("target")
    target = f"arn:aws:iam::{aws.settings.account}:role/target"
    url = f"https://{aws.settings.sts_host}"
    allowed = aws.role("may-assume", allow("sts:AssumeRole", target))
    assert aws.client("sts", allowed, url).assume_role(RoleArn=target, RoleSessionName="test")["Credentials"]
    with pytest.raises(ClientError, match="sts:AssumeRole"):
        aws.client("sts", aws.role("may-not-assume"), url).assume_role(RoleArn=target, RoleSessionName="test")


@pytest.fixture(scope="module")
def learner(aws: Aws) -> Json:
    """Keys of the user that the rehearsal gives the learner."""
    env = os.environ | {
        "XDG_CACHE_HOME": str(aws.settings.cache.parent),
        "REHEARSAL_PORT": str(aws.settings.ports.base),
    }
    code = "import json; from rehearsal import learner; print(json.dumps(dict(learner.create_user()), default=str))"
    made = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, timeout=60, check=True)
    return dict(json.loads(made.stdout))


@pytest.mark.parametrize(
    ("service", "call", "arguments"),
    [
        ("iam", "create_user", {"UserName": "x"}),
        ("iam", "create_access_key", {"UserName": "learner"}),
        ("iam", "put_user_policy", {"UserName": "learner", "PolicyName": "x", "PolicyDocument": "{}"}),
        ("iam", "create_role", {"RoleName": "admin", "AssumeRolePolicyDocument": "{}"}),
        (
            "iam",
            "create_policy_version",
            {"PolicyArn": "arn:aws:iam::111122223333:policy/tutorial-scripts", "PolicyDocument": "{}"},
        ),
        ("eks", "list_access_entries", {"clusterName": "eksctl-demo"}),
        ("ecr", "get_authorization_token", {}),
        ("secretsmanager", "list_secrets", {}),
        ("lambda", "list_functions", {}),
    ],
)
def test_learner_is_not_an_administrator(aws: Aws, learner: Json, service: str, call: str, arguments: Json) -> None:
    with pytest.raises(ClientError) as caught:
        getattr(aws.client(service, learner), call)(**arguments)
    assert caught.value.response["Error"]["Code"] in ("AccessDenied", "AccessDeniedException")


def test_learner_may_list_clusters(aws: Aws, learner: Json) -> None:
    assert aws.client("sts", learner).get_caller_identity()["Arn"].endswith(":user/learner")
    assert aws.client("eks", learner).list_clusters()["clusters"] == []


@pytest.mark.parametrize("key", ["111122223333", "test", "", "AKIAIOSFODNN7EXAMPLE"])
def test_sts_under_its_real_name_refuses_keys_that_iam_did_not_issue(aws: Aws, key: str) -> None:
    real = aws.client("sts", {"AccessKeyId": key or "x", "SecretAccessKey": "test"}, f"https://{aws.settings.sts_host}")
    with pytest.raises(ClientError) as caught:
        real.get_caller_identity()
    assert caught.value.response["Error"]["Code"] == "InvalidClientTokenId"


def test_front_does_not_serve_unknown_paths(aws: Aws) -> None:
    assert aws.https(aws.settings.sts_host).get("/health").status_code == 404
    assert aws.https(aws.settings.registry).get(ministack.HEALTH_PATH).status_code == 404
    assert aws.https("dl.k8s.io").get("/release/v1.30.0/bin/linux/amd64/kubectl").status_code == 404


def test_learner_finds_their_address_as_the_load_balancer_sees_it(aws: Aws) -> None:
    assert aws.https("checkip.amazonaws.com").get("/").text == f"{aws.settings.region_ip}\n"


def test_release_serves_the_built_kubectl_with_its_checksum(aws: Aws) -> None:
    aws.settings.bin.mkdir(parents=True, exist_ok=True)
    (aws.settings.bin / "kubectl").write_bytes(b"program")
    architecture = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
    path = f"/release/v{aws.settings.kubernetes_version}/bin/linux/{architecture}/kubectl"
    with aws.https("dl.k8s.io") as releases:
        assert releases.get(path).content == b"program"
        assert releases.get(path + ".sha256").text == hashlib.sha256(b"program").hexdigest()
        assert releases.get("/release/stable-1.36.txt").text == f"v{aws.settings.kubernetes_version}"


# --- the registry

PUSH = [
    "ecr:BatchCheckLayerAvailability",
    "ecr:BatchGetImage",
    "ecr:CompleteLayerUpload",
    "ecr:InitiateLayerUpload",
    "ecr:PutImage",
    "ecr:UploadLayerPart",
]


@pytest.fixture(scope="module")
def repositories(aws: Aws) -> None:
    ecr = aws.client("ecr")
    ecr.create_repository(
        repositoryName="flask",
        imageTagMutability="IMMUTABLE_WITH_EXCLUSION",
        imageTagMutabilityExclusionFilters=[{"filterType": "WILDCARD", "filter": "cache"}],
    )
    ecr.create_repository(repositoryName="other")


def login(aws: Aws, keys: Json) -> httpx.Client:
    """A registry client with the password that ``get-login-password`` gives these keys."""
    token = aws.client("ecr", keys).get_authorization_token()["authorizationData"][0]["authorizationToken"]
    client = aws.https(aws.settings.registry)
    client.headers["Authorization"] = f"Basic {token}"
    return client


def push(client: httpx.Client, repository: str, tag: str, layer: bytes = b"layer") -> httpx.Response:
    """Push one layer and its manifest, as Docker does; return the first refusal, or the last answer."""
    digest = "sha256:" + hashlib.sha256(layer).hexdigest()
    steps: list[Callable[[], httpx.Response]] = [
        lambda: client.post(f"/v2/{repository}/blobs/uploads/"),
        lambda: client.patch(location, content=iter([layer])),
        lambda: client.put(location, params={"digest": digest}),
        lambda: client.head(f"/v2/{repository}/blobs/{digest}"),
        lambda: client.put(
            f"/v2/{repository}/manifests/{tag}",
            json={"schemaVersion": 2, "layers": [{"digest": digest, "size": len(layer)}]},
            headers={"Content-Type": "application/vnd.docker.distribution.manifest.v2+json"},
        ),
    ]
    location = ""
    for step in steps:
        answer = step()
        if answer.status_code >= 400:
            return answer
        location = answer.headers.get("location", location)
    return answer


@pytest.fixture(scope="module")
def builder(aws: Aws, repositories: None) -> Json:  # noqa: ARG001 - made before the role may name them
    resource = f"arn:aws:ecr:{aws.settings.region}:{aws.settings.account}:repository/flask"
    return aws.role("builder", allow("ecr:GetAuthorizationToken"), allow(PUSH, resource))


@pytest.mark.usefixtures("repositories")
def test_push_with_no_or_a_wrong_password_is_unauthorized(aws: Aws) -> None:
    client = aws.https(aws.settings.registry)
    refused = client.get("/v2/")
    assert (refused.status_code, refused.headers["WWW-Authenticate"].split()[0]) == (401, "Basic")
    assert push(client, "flask", "a").status_code == 401
    client.headers["Authorization"] = "Basic " + base64.b64encode(b"AWS:wrong.password").decode()
    assert client.get("/v2/").status_code == 401


def test_password_expires_after_twelve_hours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = Settings(cache=tmp_path)
    own.run.mkdir()
    monkeypatch.setattr(registry_password, "settings", own)

    def header(moment: float) -> str:
        return "Basic " + base64.b64encode(f"AWS:{registry_password.issue('me', moment)[0]}".encode()).decode()

    assert registry_password.caller(header(time.time() - 12 * 3600 + 60)) == "me"
    assert registry_password.caller(header(time.time() - 12 * 3600 - 60)) is None


@pytest.mark.parametrize("header", ["", "Basic", "Basic ?", "Bearer x", "Basic QVdT", "Basic QVdTOmEuYi5j"])
def test_malformed_login_is_refused(header: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = Settings(cache=tmp_path)
    own.run.mkdir()
    monkeypatch.setattr(registry_password, "settings", own)
    assert registry_password.caller(header) is None


def test_password_needs_get_authorization_token(aws: Aws) -> None:
    with pytest.raises(ClientError, match="ecr:GetAuthorizationToken"):
        login(aws, aws.role("nobody"))


@pytest.mark.usefixtures("repositories")
def test_password_alone_does_not_allow_a_push(aws: Aws) -> None:
    client = login(aws, aws.role("token-only", allow("ecr:GetAuthorizationToken")))
    assert client.get("/v2/").status_code == 200
    refused = push(client, "flask", "a")
    assert refused.status_code == 403
    assert "is not authorized to perform: ecr:InitiateLayerUpload" in refused.json()["errors"][0]["message"]


@pytest.mark.usefixtures("repositories")
@pytest.mark.parametrize("missing", PUSH)
def test_push_needs_each_of_its_permissions_except_reading(aws: Aws, missing: str) -> None:
    rights = [action for action in PUSH if action != missing]
    client = login(aws, aws.role(missing.replace(":", "-"), allow("ecr:GetAuthorizationToken"), allow(rights)))
    expected = 201 if missing == "ecr:BatchGetImage" else 403
    assert push(client, "flask", missing.partition(":")[2]).status_code == expected


def test_builder_may_push_to_its_own_repository_only(aws: Aws, builder: Json) -> None:
    client = login(aws, builder)
    assert push(client, "flask", "first").status_code == 201
    manifest = client.get("/v2/flask/manifests/first")
    assert manifest.status_code == 200
    assert int(client.head("/v2/flask/manifests/first").headers["Content-Length"]) == len(manifest.content)
    assert push(client, "other", "first").status_code == 403
    images = aws.client("ecr").describe_images(repositoryName="flask", imageIds=[{"imageTag": "first"}])
    assert len(images["imageDetails"]) == 1


@pytest.mark.usefixtures("repositories")
def test_user_may_push(aws: Aws) -> None:
    iam = aws.client("iam")
    iam.create_user(UserName="pusher")
    rights = policy(allow("ecr:GetAuthorizationToken"), allow(PUSH))
    iam.put_user_policy(UserName="pusher", PolicyName="rights", PolicyDocument=rights)
    keys = iam.create_access_key(UserName="pusher")["AccessKey"]
    assert push(login(aws, keys), "other", "by-user").status_code == 201


def test_tags_are_immutable_except_excluded_ones(aws: Aws, builder: Json) -> None:
    client = login(aws, builder)
    assert push(client, "flask", "commit", b"one").status_code == 201
    assert push(client, "flask", "commit", b"one").status_code == 201
    refused = push(client, "flask", "commit", b"two")
    assert (refused.status_code, refused.json()["errors"][0]["code"]) == (400, "TAG_INVALID")
    assert [push(client, "flask", "cache", layer).status_code for layer in (b"one", b"two")] == [201, 201]


@pytest.mark.parametrize(
    ("mode", "filters", "tag", "fixed"),
    [
        ("MUTABLE", [], "a", False),
        ("IMMUTABLE", [], "a", True),
        ("IMMUTABLE", ["a"], "a", True),
        ("IMMUTABLE_WITH_EXCLUSION", ["cache*"], "cache-1", False),
        ("IMMUTABLE_WITH_EXCLUSION", ["cache*"], "a", True),
        ("MUTABLE_WITH_EXCLUSION", ["v*"], "v1", True),
        ("MUTABLE_WITH_EXCLUSION", ["v*"], "a", False),
    ],
)
def test_mutability_follows_mode_and_filters(mode: str, filters: list[str], tag: str, fixed: bool) -> None:
    described = {
        "imageTagMutability": mode,
        "imageTagMutabilityExclusionFilters": [{"filterType": "WILDCARD", "filter": item} for item in filters],
    }
    assert registry.is_immutable(described, tag) is fixed


@pytest.mark.parametrize("method", ["PUT", "POST", "PATCH"])
def test_nodes_may_not_push(method: str) -> None:
    assert as_node(method, "/v2/flask/blobs/uploads/") == 403


def test_nodes_reach_nothing_but_the_registry() -> None:
    assert as_node("GET", "/?Action=GetCallerIdentity") == 404
    assert as_node("DELETE", "/v2/flask/manifests/a") == 405


def as_node(method: str, path: str) -> int:
    """The status that the nodes' registry answers with."""

    async def ask() -> int:
        transport = httpx.ASGITransport(registry.app(registry.pull))
        async with httpx.AsyncClient(transport=transport, base_url="http://10.250.0.1") as client:
            return (await client.request(method, path)).status_code

    return asyncio.run(ask())


# --- what the rehearsal adds to MiniStack


def test_refusal_of_an_added_service_is_an_aws_error(aws: Aws) -> None:
    quotas = aws.client("service-quotas")
    assert quotas.get_service_quota(ServiceCode="ec2", QuotaCode="L-1216C47A")["Quota"]["Value"] >= 4
    with pytest.raises(ClientError) as caught:
        quotas.get_service_quota(ServiceCode="ec2", QuotaCode="L-00000000")
    assert caught.value.response["Error"]["Code"] == "NoSuchResourceException"


def test_added_service_needs_permission(aws: Aws) -> None:
    keys = aws.role("no-quotas")
    with pytest.raises(ClientError, match="servicequotas:GetServiceQuota"):
        aws.client("service-quotas", keys).get_service_quota(ServiceCode="ec2", QuotaCode="L-1216C47A")


def test_action_without_resource_types_needs_a_star(aws: Aws) -> None:
    connections = f"arn:aws:codeconnections:{aws.settings.region}:{aws.settings.account}:*"
    named = aws.role("names-connections", allow("codeconnections:CreateConnection", connections))
    with pytest.raises(ClientError, match="not authorized to perform: codeconnections:CreateConnection"):
        aws.client("codeconnections", named).create_connection(ProviderType="GitHub", ConnectionName="named")
    anything = aws.role("names-a-star", allow("codeconnections:CreateConnection", "*"))
    assert aws.client("codeconnections", anything).create_connection(ProviderType="GitHub", ConnectionName="star")


def test_learner_may_create_a_connection(aws: Aws, learner: Json) -> None:
    made = aws.client("codeconnections", learner).create_connection(ProviderType="GitHub", ConnectionName="learner")
    assert aws.client("codeconnections", learner).get_connection(ConnectionArn=made["ConnectionArn"])


def test_all_repositories_are_listed_with_a_right_on_all_of_them(aws: Aws) -> None:
    prefix = f"arn:aws:ecr:{aws.settings.region}:{aws.settings.account}:repository/"
    everything = aws.role("all-repositories", allow("ecr:DescribeRepositories", f"{prefix}*"))
    assert "repositories" in aws.client("ecr", everything).describe_repositories()
    some = aws.role("some-repositories", allow("ecr:DescribeRepositories", f"{prefix}aws-*"))
    with pytest.raises(ClientError, match="not authorized to perform: ecr:DescribeRepositories"):
        aws.client("ecr", some).describe_repositories()


def test_instance_types_are_offered_by_zone(aws: Aws) -> None:
    found = aws.client("ec2").describe_instance_type_offerings(
        LocationType="availability-zone", Filters=[{"Name": "instance-type", "Values": ["t3.medium", "t9.huge"]}]
    )["InstanceTypeOfferings"]
    assert [item["Location"] for item in found] == ["us-east-2a", "us-east-2b", "us-east-2c"]


@pytest.mark.parametrize(("suffix", "good"), [(":*", True), ("", False)])
def test_log_streams_need_a_policy_that_ends_in_a_star(aws: Aws, suffix: str, good: bool) -> None:
    logs, group = aws.client("logs"), f"/test/{'star' if good else 'bare'}"
    logs.create_log_group(logGroupName=group)
    resource = f"arn:aws:logs:{aws.settings.region}:{aws.settings.account}:log-group:{group}{suffix}"
    keys = aws.role(group.strip("/").replace("/", "-"), allow("logs:CreateLogStream", resource))
    with contextlib.nullcontext() if good else pytest.raises(ClientError, match="logs:CreateLogStream"):
        aws.client("logs", keys).create_log_stream(logGroupName=group, logStreamName="s")


@pytest.mark.parametrize("good", [True, False], ids=["this parameter", "another"])
def test_parameters_are_checked_by_their_arns(good: bool, aws: Aws) -> None:
    """MiniStack checks ``*``, so a policy that names the parameter allowed nothing."""
    aws.client("ssm").put_parameter(Name=f"/arn/{good}", Value="x", Type="String")
    name = f"/arn/{good}" if good else "/arn/else"
    resource = f"arn:aws:ssm:{aws.settings.region}:{aws.settings.account}:parameter{name}"
    keys = aws.role(f"parameter-{good}", allow("ssm:GetParameters", resource))
    with contextlib.nullcontext() if good else pytest.raises(ClientError, match="ssm:GetParameters"):
        aws.client("ssm", keys).get_parameters(Names=[f"/arn/{good}"])


def test_principal_arn_of_a_session_is_its_role(aws: Aws) -> None:
    iam, account = aws.client("iam"), aws.settings.account
    only = {"ArnEquals": {"aws:PrincipalArn": f"arn:aws:iam::{account}:role/let-in"}}
    root = {"AWS": f"arn:aws:iam::{account}:root"}
    trust = policy({"Effect": "Allow", "Principal": root, "Action": "sts:AssumeRole", "Condition": only})
    arn = iam.create_role(RoleName="narrowed", AssumeRolePolicyDocument=trust)["Role"]["Arn"]
    let_in, left_out = (aws.role(name, allow("sts:AssumeRole", arn)) for name in ("let-in", "left-out"))
    assert aws.client("sts", let_in).assume_role(RoleArn=arn, RoleSessionName="test")["Credentials"]
    with pytest.raises(ClientError, match="AccessDenied"):
        aws.client("sts", left_out).assume_role(RoleArn=arn, RoleSessionName="test")


# --- stacks


def create_stack(aws: Aws, name: str, template: Json, keys: Json | None = None, **parameters: str) -> Json:
    """Create a stack, wait until that has ended, and describe it."""
    cloudformation = aws.client("cloudformation", keys)
    given = [{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()]
    body = json.dumps(template)
    cloudformation.create_stack(StackName=name, TemplateBody=body, Parameters=given, Capabilities=["CAPABILITY_IAM"])
    with contextlib.suppress(WaiterError):
        cloudformation.get_waiter("stack_create_complete").wait(
            StackName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 60}
        )
    return dict(cloudformation.describe_stacks(StackName=name)["Stacks"][0])


def reasons(aws: Aws, name: str) -> str:
    events = aws.client("cloudformation").describe_stack_events(StackName=name)["StackEvents"]
    return "\n".join(event.get("ResourceStatusReason", "") for event in events)


RULED: Json = {
    "Parameters": {
        "Token": {
            "Type": "String",
            "Default": "",
            "AllowedPattern": "[a-z]*",
            "ConstraintDescription": "small letters",
        },
        "Connection": {"Type": "String", "Default": ""},
    },
    "Rules": {
        "NotBoth": {
            "RuleCondition": {"Fn::Not": [{"Fn::Equals": [{"Ref": "Token"}, ""]}]},
            "Assertions": [{"Assert": {"Fn::Equals": [{"Ref": "Connection"}, ""]}, "AssertDescription": "not both"}],
        },
        "NotNeither": {
            "RuleCondition": {"Fn::Equals": [{"Ref": "Token"}, ""]},
            "Assertions": [
                {
                    "Assert": {"Fn::Not": [{"Fn::Equals": [{"Ref": "Connection"}, ""]}]},
                    "AssertDescription": "one of them",
                }
            ],
        },
    },
    "Resources": {"Topic": {"Type": "AWS::SNS::Topic"}},
}


@pytest.mark.parametrize(
    ("parameters", "message"),
    [({}, "one of them"), ({"Token": "a", "Connection": "b"}, "not both"), ({"Token": "A"}, "small letters")],
)
def test_rules_and_patterns_refuse_a_stack(aws: Aws, parameters: dict[str, str], message: str) -> None:
    with pytest.raises(ClientError, match=message):
        create_stack(aws, "ruled", RULED, **parameters)


def test_stack_does_not_delete_a_bucket_that_is_not_empty(aws: Aws) -> None:
    bucket: Json = {"Type": "AWS::S3::Bucket", "Properties": {"VersioningConfiguration": {"Status": "Enabled"}}}
    made = create_stack(aws, "bucket", {"Resources": {"B": bucket}, "Outputs": {"Name": {"Value": {"Ref": "B"}}}})
    name = made["Outputs"][0]["OutputValue"]
    s3, cloudformation = aws.client("s3"), aws.client("cloudformation")
    s3.put_object(Bucket=name, Key="k", Body=b"v")
    s3.delete_object(Bucket=name, Key="k")
    deleted = cloudformation.get_waiter("stack_delete_complete")
    cloudformation.delete_stack(StackName="bucket")
    with pytest.raises(WaiterError):
        deleted.wait(StackName="bucket", WaiterConfig={"Delay": 1, "MaxAttempts": 30})
    assert "BucketNotEmpty" in reasons(aws, "bucket")
    found = s3.list_object_versions(Bucket=name)
    for item in [*found["Versions"], *found["DeleteMarkers"]]:
        s3.delete_object(Bucket=name, Key=item["Key"], VersionId=item["VersionId"])
    cloudformation.delete_stack(StackName="bucket")
    deleted.wait(StackName="bucket", WaiterConfig={"Delay": 1, "MaxAttempts": 30})


@pytest.mark.usefixtures("repositories")
@pytest.mark.parametrize(
    ("attached", "status"),
    [("AmazonEKSClusterPolicy", "CREATE_COMPLETE"), ("AdministratorAccess", "ROLLBACK_COMPLETE")],
)
def test_learner_gives_roles_of_eksctls_stacks_only_eks_policies(
    aws: Aws, learner: Json, attached: str, status: str
) -> None:
    trust = {"Effect": "Allow", "Principal": {"Service": "eks.amazonaws.com"}, "Action": "sts:AssumeRole"}
    properties = {
        "AssumeRolePolicyDocument": {"Version": "2012-10-17", "Statement": [trust]},
        "ManagedPolicyArns": [f"arn:aws:iam::aws:policy/{attached}"],
    }
    role = {"Type": "AWS::IAM::Role", "Properties": properties}
    stack = create_stack(aws, f"eksctl-eksctl-demo-{attached}", {"Resources": {"ServiceRole": role}}, learner)
    assert stack["StackStatus"] == status


def test_stack_does_not_take_over_a_repository(aws: Aws) -> None:
    repository = {"Type": "AWS::ECR::Repository", "Properties": {"RepositoryName": "other"}}
    assert create_stack(aws, "taken", {"Resources": {"R": repository}})["StackStatus"] == "ROLLBACK_COMPLETE"
    assert "already exists" in reasons(aws, "taken")
    assert aws.client("ecr").describe_repositories(repositoryNames=["other"])


def test_deleting_a_repository_with_kms_needs_the_right_to_retire_grants(aws: Aws) -> None:
    ecr = aws.client("ecr")
    ecr.create_repository(repositoryName="kms", encryptionConfiguration={"encryptionType": "KMS"})
    ecr.create_repository(repositoryName="aes", encryptionConfiguration={"encryptionType": "AES256"})
    cleaner = aws.client("ecr", aws.role("cleaner", allow("ecr:DeleteRepository")))
    cleaner.delete_repository(repositoryName="aes")
    with pytest.raises(ClientError, match=r"not authorized to perform: kms:RetireGrant"):
        cleaner.delete_repository(repositoryName="kms")
    retirer = aws.client("ecr", aws.role("retirer", allow(["ecr:DeleteRepository", "kms:RetireGrant"])))
    retirer.delete_repository(repositoryName="kms")


def test_scan_of_an_image_is_what_the_file_says(aws: Aws) -> None:
    ecr = aws.client("ecr")
    manifest = json.dumps({"schemaVersion": 2, "config": {}, "layers": []})
    for name, scanned in (("scanned", True), ("unscanned", False)):
        ecr.create_repository(repositoryName=name, imageScanningConfiguration={"scanOnPush": scanned})
        ecr.put_image(repositoryName=name, imageManifest=manifest, imageTag="one")
    (image,) = ecr.describe_images(repositoryName="scanned")["imageDetails"]
    asked = {"repositoryName": "scanned", "imageId": {"imageDigest": image["imageDigest"]}}
    finding = {"name": "CVE-2026-0001", "severity": "HIGH", "attributes": [{"key": "package_name", "value": "zlib"}]}
    file = aws.settings.run / "scan.json"
    file.write_text(json.dumps({"findings": [finding]}))
    with pytest.raises(ecr.exceptions.ScanNotFoundException):
        ecr.describe_image_scan_findings(**asked)
    assert ecr.describe_image_scan_findings(**asked)["imageScanStatus"]["status"] == "IN_PROGRESS"
    done = ecr.describe_image_scan_findings(**asked)
    assert done["imageScanStatus"]["status"] == "COMPLETE"
    assert done["imageScanFindings"]["findings"] == [finding]
    assert done["imageScanFindings"]["findingSeverityCounts"] == {"HIGH": 1}
    file.write_text(json.dumps({"status": "UNSUPPORTED_IMAGE"}))
    assert ecr.describe_image_scan_findings(**asked)["imageScanStatus"]["status"] == "UNSUPPORTED_IMAGE"
    file.unlink()
    assert ecr.describe_image_scan_findings(**asked)["imageScanFindings"]["findings"] == []
    for _ in range(2):
        with pytest.raises(ecr.exceptions.ScanNotFoundException):
            ecr.describe_image_scan_findings(**asked | {"repositoryName": "unscanned"})
    with pytest.raises(ecr.exceptions.ImageNotFoundException):
        ecr.describe_image_scan_findings(repositoryName="scanned", imageId={"imageTag": "two"})
    prefix = f"arn:aws:ecr:{aws.settings.region}:{aws.settings.account}:repository/"
    action = "ecr:DescribeImageScanFindings"
    own = aws.client("ecr", aws.role("scan-reader", allow(action, f"{prefix}scanned")))
    assert own.describe_image_scan_findings(**asked)["imageScanStatus"]["status"] == "COMPLETE"
    with pytest.raises(ClientError, match=action):
        own.describe_image_scan_findings(**asked | {"repositoryName": "unscanned"})


def test_account_plan_and_the_types_that_it_starts(aws: Aws) -> None:
    plan = aws.client("freetier").get_account_plan_state
    assert plan()["accountPlanType"] == "PAID"
    file = aws.settings.run / "account-plan"
    file.write_text("FREE\n")
    assert plan()["accountPlanType"] == "FREE"
    file.unlink()
    with pytest.raises(ClientError, match="freetier:GetAccountPlanState"):
        aws.client("freetier", aws.role("no-plan")).get_account_plan_state()
    found = aws.client("ec2").describe_instance_types(Filters=[{"Name": "free-tier-eligible", "Values": ["true"]}])
    names = {each["InstanceType"] for each in found["InstanceTypes"]}
    assert {"t3.small", "m7i-flex.large"} <= names
    assert "t3.medium" not in names


def test_generated_secret_has_only_allowed_characters_and_survives_updates(aws: Aws) -> None:
    asked = {"PasswordLength": 64, "ExcludePunctuation": True}
    secret = {"Type": "AWS::SecretsManager::Secret", "Properties": {"GenerateSecretString": asked}}
    copy = {"Type": "String", "Value": {"Fn::Sub": "{{resolve:secretsmanager:${Secret}}}"}}
    template: Json = {
        "Resources": {"Secret": secret, "Copy": {"Type": "AWS::SSM::Parameter", "Properties": copy}},
        "Outputs": {"Secret": {"Value": {"Ref": "Secret"}}, "Copy": {"Value": {"Fn::GetAtt": ["Copy", "Value"]}}},
    }
    outputs = {item["OutputKey"]: item["OutputValue"] for item in create_stack(aws, "secret", template)["Outputs"]}
    secrets, cloudformation = aws.client("secretsmanager"), aws.client("cloudformation")
    value = secrets.get_secret_value(SecretId=outputs["Secret"])["SecretString"]
    assert value == outputs["Copy"]
    assert (len(value), value.isalnum()) == (64, True)
    secret["Properties"]["Description"] = "changed"  # type: ignore[index]
    cloudformation.update_stack(StackName="secret", TemplateBody=json.dumps(template))
    cloudformation.get_waiter("stack_update_complete").wait(StackName="secret", WaiterConfig={"Delay": 1})
    assert secrets.get_secret_value(SecretId=outputs["Secret"])["SecretString"] == value


def function_stack(code: str) -> Json:
    lambda_trust = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
    role = {"AssumeRolePolicyDocument": {"Version": "2012-10-17", "Statement": [lambda_trust]}}
    function = {
        "Handler": "index.handler", "Runtime": "python3.13", "Timeout": 30,
        "Role": {"Fn::GetAtt": ["Role", "Arn"]}, "Code": {"ZipFile": code},
    }  # fmt: skip
    custom = {"ServiceToken": {"Fn::GetAtt": ["Function", "Arn"]}, "ServiceTimeout": 40}
    return {
        "Resources": {
            "Role": {"Type": "AWS::IAM::Role", "Properties": role},
            "Function": {"Type": "AWS::Lambda::Function", "Properties": function},
            "Custom": {"Type": "Custom::Test", "Properties": custom},
        },
        "Outputs": {name: {"Value": {"Fn::GetAtt": ["Custom", name]}} for name in ("Arn", "Denied", "Environment")},
    }


FUNCTION = """
import os
import boto3
import cfnresponse

def handler(event, context):
    data = {"Arn": boto3.client("sts").get_caller_identity()["Arn"], "Environment": " ".join(os.environ), "Denied": "no"}
    try:
        boto3.client("iam").list_users()
    except Exception as error:
        data["Denied"] = str(error)
    cfnresponse.send(event, context, cfnresponse.SUCCESS, data, "fixed")
"""


def test_function_runs_as_its_role_without_the_emulators_environment(aws: Aws) -> None:
    made = create_stack(aws, "function", function_stack(FUNCTION))
    assert made["StackStatus"] == "CREATE_COMPLETE", reasons(aws, "function")
    outputs = {output["OutputKey"]: output["OutputValue"] for output in made["Outputs"]}
    assert ":assumed-role/function-Role-" in outputs["Arn"]
    assert "not authorized to perform: iam:ListUsers" in outputs["Denied"]
    names = outputs["Environment"].split()
    assert LEAKED not in names
    assert not [name for name in names if name.upper() in ("HTTPS_PROXY", "HTTP_PROXY", *BUNDLE_VARIABLES)]


def test_cfnresponse_needs_the_statement_that_aws_needs(aws: Aws) -> None:
    code = FUNCTION.replace("import boto3\nimport cfnresponse", "import boto3, cfnresponse")
    assert create_stack(aws, "hidden", function_stack(code))["StackStatus"] == "ROLLBACK_COMPLETE"
    assert "import cfnresponse" in reasons(aws, "hidden")


# --- EKS


def create_cluster(aws: Aws, name: str, mode: str) -> Json:
    iam = aws.client("iam")
    with contextlib.suppress(iam.exceptions.EntityAlreadyExistsException):
        iam.create_role(RoleName="eks-service", AssumeRolePolicyDocument=policy())
    made = aws.client("eks").create_cluster(
        name=name,
        roleArn=f"arn:aws:iam::{aws.settings.account}:role/eks-service",
        resourcesVpcConfig={"subnetIds": ["subnet-1", "subnet-2"]},
        accessConfig={"authenticationMode": mode},
        upgradePolicy={"supportType": "STANDARD"},
    )
    return dict(made["cluster"])


@pytest.fixture
def clusters(aws: Aws) -> Iterator[None]:
    """Delete the clusters of a test."""
    yield
    eks = aws.client("eks")
    for name in eks.list_clusters()["clusters"]:
        eks.delete_cluster(name=name)
    aws.settings.cluster_record.unlink(missing_ok=True)


@pytest.mark.usefixtures("clusters")
def test_cluster_is_active_once_kubernetes_runs(aws: Aws, tmp_path: Path) -> None:
    made = create_cluster(aws, "c1", "API_AND_CONFIG_MAP")
    assert (made["status"], made.get("endpoint")) == ("CREATING", None)
    (tmp_path / "ca.crt").write_bytes(b"authority")
    aws.settings.cluster_record.parent.mkdir(exist_ok=True)
    record = {"endpoint": "https://10.250.0.1:6443", "certificate_authority": str(tmp_path / "ca.crt")}
    aws.settings.cluster_record.write_text(json.dumps(record))
    shown = aws.client("eks").describe_cluster(name="c1")["cluster"]
    assert (shown["status"], shown["endpoint"]) == ("ACTIVE", "https://10.250.0.1:6443")
    assert base64.b64decode(shown["certificateAuthority"]["data"]) == b"authority"
    assert shown["accessConfig"]["authenticationMode"] == "API_AND_CONFIG_MAP"
    assert shown["upgradePolicy"] == {"supportType": "STANDARD"}


@pytest.mark.usefixtures("clusters")
def test_authentication_mode_changes_in_one_direction(aws: Aws) -> None:
    create_cluster(aws, "c2", "CONFIG_MAP")
    eks = aws.client("eks")

    def update(mode: str) -> str:
        update = eks.update_cluster_config(name="c2", accessConfig={"authenticationMode": mode})["update"]
        return str(eks.describe_update(name="c2", updateId=update["id"])["update"]["status"])

    def backends() -> str:
        text = aws.settings.authenticator_backends.read_text()
        return str(json.loads(text)["backendMode"])

    with pytest.raises(ClientError, match="must be set to one of"):
        aws.client("eks", aws.role("administrator", allow("eks:*"))).list_access_entries(clusterName="c2")
    assert update("API_AND_CONFIG_MAP") == "Successful"
    assert backends() == "DynamicFile EKSConfigMap"
    assert update("API") == "Successful"
    assert backends() == "DynamicFile"
    with pytest.raises(ClientError, match="Unsupported authentication mode update from API to CONFIG_MAP"):
        update("CONFIG_MAP")


@pytest.mark.usefixtures("clusters")
def test_access_entries_are_written_for_the_authenticator(aws: Aws) -> None:
    create_cluster(aws, "c3", "API")
    eks, principal = aws.client("eks"), f"arn:aws:iam::{aws.settings.account}:role/eks-service"

    def written() -> list[Json]:
        text = aws.settings.access_entries.read_text()
        return [role for role in json.loads(text)["mapRoles"] if role["rolearn"] == principal]

    entry = eks.create_access_entry(clusterName="c3", principalArn=principal, kubernetesGroups=["deployers"])[
        "accessEntry"
    ]
    username = f"arn:aws:sts::{aws.settings.account}:assumed-role/eks-service/{{{{SessionName}}}}"
    assert entry["username"] == username
    role = aws.client("iam").get_role(RoleName="eks-service")["Role"]["RoleId"]
    assert written() == [{"rolearn": principal, "userid": role, "username": username, "groups": ["deployers"]}]
    eks.associate_access_policy(
        clusterName="c3",
        principalArn=principal,
        policyArn="arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy",
        accessScope={"type": "cluster"},
    )
    assert written()[0]["groups"] == ["deployers", "system:masters"]
    with pytest.raises(ClientError, match="cannot start with system:"):
        eks.update_access_entry(clusterName="c3", principalArn=principal, kubernetesGroups=["system:masters"])
    eks.delete_access_entry(clusterName="c3", principalArn=principal)
    assert written() == []


@pytest.mark.usefixtures("clusters")
def test_access_entry_keeps_the_id_of_a_role_that_was_recreated(aws: Aws) -> None:
    create_cluster(aws, "c4", "API")
    eks, iam, principal = aws.client("eks"), aws.client("iam"), f"arn:aws:iam::{aws.settings.account}:role/passing"
    with pytest.raises(ClientError, match="invalid principal"):
        eks.create_access_entry(clusterName="c4", principalArn=principal)
    made = []
    for _ in range(2):
        made.append(iam.create_role(RoleName="passing", AssumeRolePolicyDocument=policy())["Role"]["RoleId"])
        with contextlib.suppress(eks.exceptions.ResourceInUseException):
            eks.create_access_entry(clusterName="c4", principalArn=principal)
        iam.delete_role(RoleName="passing")
    entries = json.loads(aws.settings.access_entries.read_text())["mapRoles"]
    assert [each["userid"] for each in entries if each["rolearn"] == principal] == made[:1]
    assert made[0] != made[1]


@pytest.mark.usefixtures("clusters")
def test_addon_with_pods_is_degraded_until_there_are_nodes(aws: Aws) -> None:
    create_cluster(aws, "c5", "API")
    eks = aws.client("eks")
    for name in ("coredns", "vpc-cni"):
        eks.create_addon(clusterName="c5", addonName=name)

    def states() -> list[str]:
        found = [eks.describe_addon(clusterName="c5", addonName=name)["addon"] for name in ("coredns", "vpc-cni")]
        return [each["status"] for each in found]

    assert states() == ["DEGRADED", "ACTIVE"]
    aws.settings.cluster_record.parent.mkdir(exist_ok=True)
    aws.settings.cluster_record.write_text(json.dumps({"nodes": 2}))
    assert states() == ["ACTIVE", "ACTIVE"]
    eks.update_addon(clusterName="c5", addonName="coredns", addonVersion="v1.0.1-eksbuild.1")
    assert eks.describe_addon(clusterName="c5", addonName="coredns")["addon"]["addonVersion"] == "v1.0.1-eksbuild.1"
    with pytest.raises(ClientError, match="Addon no-such specified is not supported"):
        eks.create_addon(clusterName="c5", addonName="no-such")
    eks.delete_cluster(name="c5")
    aws.settings.cluster_record.unlink()
    create_cluster(aws, "c5", "API")
    assert eks.list_addons(clusterName="c5")["addons"] == []


def test_default_version_is_the_one_that_was_built(aws: Aws) -> None:
    eks = aws.client("eks")
    found = eks.describe_cluster_versions(defaultOnly=True)["clusterVersions"]
    assert [item["clusterVersion"] for item in found] == [aws.settings.kubernetes_version.rpartition(".")[0]]
    assert len(eks.describe_cluster_versions()["clusterVersions"]) > 1
