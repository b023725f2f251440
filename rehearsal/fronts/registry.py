"""The registry under the account's real ECR name: MiniStack's registry behind ECR's authorization.

Follows the OCI distribution specification and "Private registry authentication in Amazon ECR". ``push`` is served over
TLS by the front: every request needs a password from GetAuthorizationToken, and IAM must allow the ECR action that the
request corresponds to. ``pull`` is plain HTTP on the region's address for the nodes' containerd, which may only read.

Differs from ECR: nodes need no password, since there is no node role, and are known by their addresses; session and
repository policies do not count; a blob of another repository is uploaded again, not mounted.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncIterator
from fnmatch import fnmatchcase
from typing import Any

import httpx
from anyio import to_thread
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from rehearsal import waiting
from rehearsal.emulator.client import root
from rehearsal.emulator.registry_password import caller, of_front
from rehearsal.settings import settings

#: ECR's action for each kind of request; Service Authorization Reference for Amazon ECR.
ACTIONS = {
    ("GET", "blobs"): "ecr:GetDownloadUrlForLayer",
    ("HEAD", "blobs"): "ecr:BatchCheckLayerAvailability",
    ("GET", "manifests"): "ecr:BatchGetImage",
    ("HEAD", "manifests"): "ecr:BatchGetImage",
    ("PUT", "manifests"): "ecr:PutImage",
    ("GET", "tags"): "ecr:ListImages",
    ("POST", "uploads"): "ecr:InitiateLayerUpload",
    ("GET", "uploads"): "ecr:UploadLayerPart",
    ("PATCH", "uploads"): "ecr:UploadLayerPart",
    ("PUT", "uploads"): "ecr:CompleteLayerUpload",
}
PATH = re.compile(
    r"/v2/(?P<repository>[a-z0-9._/-]+?)/(?:blobs/)?(?P<kind>uploads|blobs|manifests|tags)(?:/(?P<reference>.*))?"
)
METHODS = ["GET", "HEAD", "PUT", "POST", "PATCH"]

#: Headers that concern one connection only, and those that are set again for the next.
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "host", "authorization", "expect", "date", "server"}


class Denied(Exception):
    """An error of the distribution specification."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code

    def response(self) -> Response:
        """Return the error as the specification writes it."""
        headers = {"Docker-Distribution-Api-Version": "registry/2.0"}
        if self.status == 401:
            headers["WWW-Authenticate"] = f'Basic realm="https://{settings.registry}/",service="ecr.amazonaws.com"'
        body = {"errors": [{"code": self.code, "message": str(self)}]}
        return JSONResponse(body, self.status, headers=headers)


async def push(request: Request) -> Response:
    """Serve one request of a client that must authenticate."""
    try:
        arn = authenticate(request.headers.get("authorization", ""))
        if request.url.path.rstrip("/") == "/v2":
            return Response(headers={"Docker-Distribution-Api-Version": "registry/2.0"})
        found = await to_thread.run_sync(authorize, arn, request.method, request.url.path)
        if request.method == "PUT" and found["kind"] == "manifests":
            await to_thread.run_sync(refuse_overwriting, found["repository"], found["reference"], await request.body())
    except Denied as denied:
        return denied.response()
    return await relay(request)


async def pull(request: Request) -> Response:
    """Serve one request of a node, which may only read."""
    if request.client is None or request.client.host not in settings.node_ips:
        return Denied(403, "DENIED", "only nodes may pull here").response()
    if request.method not in ("GET", "HEAD"):
        return Denied(403, "DENIED", "nodes may only pull").response()
    return await relay(request)


def authenticate(authorization: str) -> str:
    """Return the ARN of the caller to whom the password was issued.

    Raises:
        Denied: the password is invalid or has expired.
    """
    arn = caller(authorization)
    if arn is None:
        raise Denied(401, "UNAUTHORIZED", "Not Authorized")
    return arn


def authorize(arn: str, method: str, path: str) -> dict[str, str]:
    """Check that IAM allows the action of a request, and return the parts of the request's path.

    Raises:
        Denied: IAM does not allow the action, or ECR has no such request.
    """
    found = PATH.fullmatch(path)
    action = ACTIONS.get((method, found["kind"])) if found else None
    if not found or not action:
        raise Denied(405, "UNSUPPORTED", "The operation is unsupported.")
    resource = f"arn:aws:ecr:{settings.region}:{settings.account}:repository/{found['repository']}"
    if not allowed(arn, action, resource):
        raise Denied(
            403,
            "DENIED",
            f"User: {arn} is not authorized to perform: {action} on resource: {resource} "
            f"because no identity-based policy allows the {action} action",
        )
    return found.groupdict()


def allowed(arn: str, action: str, resource: str) -> bool:
    """Whether the policies of a user, of an assumed role's role, or of root allow an action."""
    iam = root("iam")
    try:
        if arn.endswith(":root"):
            return True
        if ":assumed-role/" in arn:
            arn = iam.get_role(RoleName=arn.split("/")[1])["Role"]["Arn"]
        answer = iam.simulate_principal_policy(PolicySourceArn=arn, ActionNames=[action], ResourceArns=[resource])
    except iam.exceptions.NoSuchEntityException:
        return False
    return all(result["EvalDecision"] == "allowed" for result in answer["EvaluationResults"])


def refuse_overwriting(repository: str, reference: str, manifest: bytes) -> None:
    """Refuse to move an immutable tag to another image; pushing the same image again is allowed.

    Raises:
        Denied: the tag is immutable and names another image.
    """
    ecr = root("ecr")
    if reference.startswith("sha256:"):
        return
    try:
        described = ecr.describe_repositories(repositoryNames=[repository])["repositories"][0]
        if not is_immutable(described, reference):
            return
        images = ecr.describe_images(repositoryName=repository, imageIds=[{"imageTag": reference}])["imageDetails"]
    except (ecr.exceptions.RepositoryNotFoundException, ecr.exceptions.ImageNotFoundException):
        return
    digest = "sha256:" + hashlib.sha256(manifest).hexdigest()
    if any(image["imageDigest"] != digest for image in images):
        raise Denied(
            400,
            "TAG_INVALID",
            f"The image tag '{reference}' already exists in the '{repository}' repository and cannot be overwritten "
            "because the tag is immutable.",
        )


def is_immutable(repository: dict[str, Any], tag: str) -> bool:
    """Whether a tag of a described repository is immutable; see PutImageTagMutability for ``*_WITH_EXCLUSION``."""
    mode = repository["imageTagMutability"]
    filters = repository.get("imageTagMutabilityExclusionFilters", [])
    excluded = mode.endswith("_WITH_EXCLUSION") and any(fnmatchcase(tag, item["filter"]) for item in filters)
    return bool(mode.startswith("IMMUTABLE") != excluded)


async def relay(request: Request) -> Response:
    """Relay a request to MiniStack with the front's own password, and stream the answer to hold no layers in memory."""
    client: httpx.AsyncClient = request.app.state.client
    headers = {name: value for name, value in request.headers.items() if name not in HOP_BY_HOP}
    query = {} if request.url.path.endswith("/uploads/") else dict(request.query_params)
    asked = client.build_request(
        request.method,
        settings.aws_url + request.url.path,
        params=query,
        headers=headers | {"host": settings.registry, "authorization": of_front()},
        content=_body(request),
    )
    answer = await client.send(asked, stream=True)
    kept = {name: value for name, value in answer.headers.items() if name not in HOP_BY_HOP}
    return StreamingResponse(_content(answer), answer.status_code, headers=kept)


def app(endpoint: Any) -> Starlette:
    """Return the registry's routes, served by ``push`` or ``pull``."""
    paths = ("/v2", "/v2/{rest:path}")
    made = Starlette(routes=[Route(path, endpoint, methods=METHODS) for path in paths])
    made.state.client = httpx.AsyncClient(trust_env=False, timeout=waiting.bound(120))
    return made


async def _body(request: Request) -> AsyncIterator[bytes]:
    async for part in request.stream():
        yield part


async def _content(answer: httpx.Response) -> AsyncIterator[bytes]:
    try:
        async for part in answer.aiter_raw():
            yield part
    finally:
        await answer.aclose()
