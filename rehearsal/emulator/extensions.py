"""What the rehearsal can add to the AWS emulator, described without the emulator's own names.

A module that adds something has one function, which ``rehearsal/aws.py`` calls before the emulator starts::

    def register(extensions: Extensions) -> None:
        # a whole JSON service that the emulator lacks; X-Amz-Target begins with CodePipeline_20150709
        extensions.add_service("codepipeline", "CodePipeline_20150709", handle, resource=pipeline_arn)
        # one action of a service that the emulator has
        extensions.override("codebuild", "StartBuild", start_build)
        # code that runs before, after or in place of every call to a service, whatever its protocol
        extensions.around("eks", amend)
        # the ARN that IAM checks, where the emulator checks "*"
        extensions.resource("codebuild", project_arn)
        # a CloudFormation type: new, wrapped around the emulator's handler, or with changed properties
        extensions.add_resource("AWS::CodePipeline::Webhook", ResourceHandler(create, update, delete))
        extensions.wrap_resource("AWS::S3::Bucket", keep_unless_empty)
        extensions.amend_resource("AWS::Lambda::Function", refuse_hidden_import)
        # a check before CloudFormation creates, updates or deletes a resource, whatever its type
        extensions.before_resource(check)
        # a question to IAM, before the emulator answers it
        extensions.amend_question(as_aws_asks)
        # every question to IAM and its answer
        extensions.on_decision(keep)

A handler is ``handle(action, request, caller) -> answer``: the action's name (``StartBuild``), the request's JSON, the
caller, and the answer's JSON as botocore's service model spells it. Times are epoch seconds. A handler raises
ServiceError to refuse. IAM has allowed the call before the handler runs.

Handlers of calls and of resources each run in their own thread, so they may block, and may call AWS over HTTP with the
clients of ``client.root``. A resource handler refuses by raising any exception; its text becomes the resource's
status reason.

``ministack.py`` writes what is collected here into the emulator's tables.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

Json = dict[str, Any]
Response = tuple[int, dict[str, str], bytes]
"""Status, headers and body."""
Proceed = Callable[[], Response]
"""Calls what would have answered without the extension."""


class ServiceError(Exception):
    """An AWS error answer: the code and message that a client sees, and the HTTP status."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status

    def response(self) -> Response:
        """Return the error as the JSON protocols write it."""
        body = json.dumps({"__type": self.code, "message": self.message}).encode()
        return self.status, {"Content-Type": "application/x-amz-json-1.1", "x-amzn-errortype": self.code}, body


@dataclass(frozen=True)
class Caller:
    """The signer of a request: the ARN that GetCallerIdentity would return, its account, and the request's region."""

    arn: str
    account: str
    region: str


@dataclass(frozen=True)
class Call:
    """One request to an AWS service, in any protocol."""

    service: str
    action: str
    method: str
    path: str
    query: dict[str, str]
    body: bytes
    caller: Caller

    @cached_property
    def json(self) -> Json:
        """The body as JSON; empty if the body is not a JSON object."""
        return parse_json(self.body)

    @cached_property
    def form(self) -> dict[str, str]:
        """Parameters of the query protocol, from the URL and the body."""
        return self.query | dict(parse_qsl(self.body.decode(errors="replace")))


@dataclass(frozen=True)
class Question:
    """What IAM's evaluator is asked: whether a principal may do an action on a resource.

    ``principal`` is the caller's ARN; for a role, that of its session. ``context`` holds the condition keys that the
    service sets, in lower case.
    """

    principal: str
    action: str
    resource: str
    context: Json = field(default_factory=dict)


@dataclass(frozen=True)
class ResourceHandler:
    """What CloudFormation does for one resource type.

    ``create(logical_id, properties, stack_name)`` and ``update(physical_id, old, new, stack_name)``, with old and new
    properties, return the physical id, which is the value of Ref, and the attributes of Fn::GetAtt. A new physical id
    from update means a replacement: CloudFormation deletes the old resource afterwards.
    ``delete(physical_id, properties)`` succeeds if the resource is gone.
    """

    create: Callable[[str, Json, str], tuple[str, Json]]
    update: Callable[[str, Json, Json, str], tuple[str, Json]]
    delete: Callable[[str, Json], None]


Handler = Callable[[str, Json, Caller], Json]
Around = Callable[[Call, Proceed], Response]
ResourceOf = Callable[[str, Json, str], str | None]
"""``resource(action, request, prefix) -> arn``: prefix is ``arn:aws:<service>:<region>:<account>:``; None keeps the
emulator's own choice."""
Amend = Callable[[Json], Json]
"""``amend(properties) -> properties``; an exception refuses them."""
Wrap = Callable[[ResourceHandler], ResourceHandler]
"""``wrap(handler) -> handler``: returns a handler that adds to the emulator's."""
BeforeResource = Callable[[str, str, str, Json, str], None]
"""``before(operation, type_name, logical_id, properties, stack_name)``: operation is create, update or delete; an
exception refuses. It runs as the caller of the stack's operation."""
AmendQuestion = Callable[[Question], Question]
"""``amend(question) -> question``: may change the action and the resource."""
OnDecision = Callable[[Question, bool], None]
"""``listener(question, allowed)``."""


def parse_json(body: bytes) -> Json:
    """Return the JSON object in a body; empty if there is none."""
    try:
        value = json.loads(body or b"{}")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def json_response(answer: Json, status: int = 200) -> Response:
    """Return an answer as the JSON protocols write it."""
    return status, {"Content-Type": "application/x-amz-json-1.1"}, json.dumps(answer, default=str).encode()


@dataclass
class Extensions:
    """Collects what the modules add."""

    services: dict[str, tuple[str, str]] = field(default_factory=dict)
    wrappers: dict[str, list[Around]] = field(default_factory=dict)
    resources: dict[str, ResourceOf] = field(default_factory=dict)
    types: dict[str, ResourceHandler] = field(default_factory=dict)
    wraps: dict[str, Wrap] = field(default_factory=dict)
    amendments: dict[str, Amend] = field(default_factory=dict)
    checks: list[BeforeResource] = field(default_factory=list)
    questions: list[AmendQuestion] = field(default_factory=list)
    listeners: list[OnDecision] = field(default_factory=list)
    function_modules: list[Path] = field(default_factory=list)

    def add_service(
        self,
        name: str,
        target_prefix: str,
        handler: Handler,
        *,
        namespace: str | None = None,
        resource: ResourceOf | None = None,
    ) -> None:
        """Add a JSON service. ``name`` is its signing name, ``namespace`` its IAM prefix where that differs."""
        self.services[name] = (target_prefix, namespace or name)
        self.around(name, lambda call, _: json_response(handler(call.action, call.json, call.caller)))
        if resource:
            self.resource(name, resource)

    def override(self, service: str, action: str, handler: Handler) -> None:
        """Answer one action of an existing JSON service in place of the emulator."""

        def answer(call: Call, proceed: Proceed) -> Response:
            if call.action != action:
                return proceed()
            return json_response(handler(action, call.json, call.caller))

        self.around(service, answer)

    def around(self, service: str, wrapper: Around) -> None:
        """Pass every call to a service to ``wrapper``; the wrapper that was added last runs first."""
        self.wrappers.setdefault(service, []).append(wrapper)

    def resource(self, service: str, resource_of: ResourceOf) -> None:
        """Set the ARN that IAM checks for a service's calls."""
        self.resources[service] = resource_of

    def add_resource(self, type_name: str, handler: ResourceHandler) -> None:
        """Provision a CloudFormation resource type with ``handler``."""
        self.types[type_name] = handler

    def wrap_resource(self, type_name: str, wrap: Wrap) -> None:
        """Provision a CloudFormation resource type with the handler that ``wrap`` makes of the emulator's."""
        self.wraps[type_name] = wrap

    def amend_resource(self, type_name: str, amend: Amend) -> None:
        """Pass a type's properties through ``amend``, which may change or refuse them, on create and update."""
        self.amendments[type_name] = amend

    def before_resource(self, check: BeforeResource) -> None:
        """Call ``check``, which may refuse, before CloudFormation touches any resource."""
        self.checks.append(check)

    def amend_question(self, amend: AmendQuestion) -> None:
        """Pass every question to IAM through ``amend``."""
        self.questions.append(amend)

    def on_decision(self, listener: OnDecision) -> None:
        """Call ``listener`` with every question to IAM and its answer."""
        self.listeners.append(listener)

    def add_function_modules(self, directory: Path) -> None:
        """Let Lambda functions import the Python modules of a directory."""
        self.function_modules.append(directory)
