"""What the rehearsal adds to MiniStack, and the only module that touches MiniStack's private names.

MiniStack has no plug-in hook, so its tables are extended before it starts. Every name used here may change with
any of its releases: the exact version is checked first, and a move to another one starts with reading this file.

A module that adds something has one function, which launcher.py calls before MiniStack starts::

    def register(extensions: Extensions) -> None:
        # a whole JSON service that MiniStack lacks; X-Amz-Target begins with CodePipeline_20150709
        extensions.add_service("codepipeline", "CodePipeline_20150709", handle, resource=pipeline_arn)
        # one action of a service that MiniStack has
        extensions.override("codebuild", "StartBuild", start_build)
        # something before, after or in place of every call to a service, whatever its protocol
        extensions.around("eks", amend)
        # the ARN that IAM asks about, where MiniStack says "*"
        extensions.resource("codebuild", project_arn)
        # a CloudFormation type, new or in place of MiniStack's, or only its properties
        extensions.add_resource("AWS::CodePipeline::Webhook", ResourceHandler(create, update, delete))
        extensions.amend_resource("AWS::Lambda::Function", refuse_hidden_import)
        # something before CloudFormation creates, updates or deletes a resource, whatever its type
        extensions.before_resource(check)
        # every question to IAM and its answer
        extensions.on_decision(keep)

A handler is ``handle(action, request, caller) -> answer``: the action's name (``StartBuild``), the request's JSON, who
calls, and the answer's JSON as botocore's service model spells it; times are epoch seconds. To refuse, it raises
ServiceError. IAM has been asked before the handler runs: a caller without the right never reaches it.

Handlers of calls and of resources each run in a thread of their own, so they may block, and may call AWS over HTTP
with ``settings.root_environment()``. A resource handler refuses by raising any exception; its text becomes the
resource's status reason.
"""

# ruff: noqa: SLF001 - private names are what this module is for

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module, metadata
from typing import Any
from urllib.parse import parse_qsl

MINISTACK_VERSION = "1.5.33"

Json = dict[str, Any]
Response = tuple[int, dict[str, str], bytes]
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
        """The error as the JSON protocols write it."""
        body = json.dumps({"__type": self.code, "message": self.message}).encode()
        return self.status, {"Content-Type": "application/x-amz-json-1.1", "x-amzn-errortype": self.code}, body


@dataclass(frozen=True)
class Caller:
    """Who signed the request: the ARN that GetCallerIdentity would give, its account, and the region asked."""

    arn: str
    account: str
    region: str


@dataclass(frozen=True)
class Call:
    """One request to an AWS service, of any protocol."""

    service: str
    action: str
    method: str
    path: str
    query: dict[str, str]
    body: bytes
    caller: Caller

    @cached_property
    def json(self) -> Json:
        """The body as JSON, or nothing where it is not JSON."""
        return _json(self.body)

    @cached_property
    def form(self) -> dict[str, str]:
        """Parameters of the query protocol, from the address and the body."""
        return self.query | dict(parse_qsl(self.body.decode(errors="replace")))


Handler = Callable[[str, Json, Caller], Json]
Around = Callable[[Call, Proceed], Response]
ResourceOf = Callable[[str, Json, str], str | None]
"""``resource(action, request, prefix) -> arn``: prefix is ``arn:aws:<service>:<region>:<account>:``; None leaves
MiniStack's answer."""
Amend = Callable[[Json], Json]
"""``amend(properties) -> properties``; an exception refuses them."""


BeforeResource = Callable[[str, str, str, Json, str], None]
"""``before(operation, type_name, logical_id, properties, stack_name)``: operation is create, update or delete; an
exception refuses. It runs as the caller who asked for the stack."""


@dataclass(frozen=True)
class ResourceHandler:
    """What CloudFormation does for one resource type.

    create(logical_id, properties, stack_name) and update(physical_id, old_properties, new_properties, stack_name)
    give the physical id, which is what Ref gives, and the attributes of Fn::GetAtt. A new physical id from update is a
    replacement: CloudFormation deletes the old one afterwards. delete(physical_id, properties) accepts what is gone.
    """

    create: Callable[[str, Json, str], tuple[str, Json]]
    update: Callable[[str, Json, Json, str], tuple[str, Json]]
    delete: Callable[[str, Json], None]


def json_response(answer: Json, status: int = 200) -> Response:
    """An answer of the JSON protocols."""
    return status, {"Content-Type": "application/x-amz-json-1.1"}, json.dumps(answer, default=str).encode()


@dataclass
class Extensions:
    """Collects what the modules add; ``install`` writes it into MiniStack's tables."""

    services: dict[str, tuple[str, str]] = field(default_factory=dict)
    wrappers: dict[str, list[Around]] = field(default_factory=dict)
    resources: dict[str, ResourceOf] = field(default_factory=dict)
    types: dict[str, ResourceHandler] = field(default_factory=dict)
    amendments: dict[str, Amend] = field(default_factory=dict)
    checks: list[BeforeResource] = field(default_factory=list)
    listeners: list[Callable[[Any, str], None]] = field(default_factory=list)

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
        """Answer one action of an existing JSON service in place of MiniStack."""

        def answer(call: Call, proceed: Proceed) -> Response:
            if call.action != action:
                return proceed()
            return json_response(handler(action, call.json, call.caller))

        self.around(service, answer)

    def around(self, service: str, wrapper: Around) -> None:
        """Let ``wrapper`` see every call to a service; the one added last is asked first."""
        self.wrappers.setdefault(service, []).append(wrapper)

    def resource(self, service: str, resource_of: ResourceOf) -> None:
        """Name the ARN that IAM checks for a service's calls."""
        self.resources[service] = resource_of

    def add_resource(self, type_name: str, handler: ResourceHandler) -> None:
        """Provision a CloudFormation resource type with ``handler``."""
        self.types[type_name] = handler

    def amend_resource(self, type_name: str, amend: Amend) -> None:
        """Let ``amend`` see, change or refuse the properties before MiniStack's own handler gets them."""
        self.amendments[type_name] = amend

    def before_resource(self, check: BeforeResource) -> None:
        """Let ``check`` see, or refuse, every resource before CloudFormation touches it."""
        self.checks.append(check)

    def on_decision(self, listener: Callable[[Any, str], None]) -> None:
        """Tell ``listener`` of every question to IAM, as its evaluator gets it, and the decision (Allow, ...)."""
        self.listeners.append(listener)

    @staticmethod
    def require(action: str, resource: str, context: Json) -> None:
        """Refuse unless the caller's policies allow an action that is done in the caller's name.

        Raises:
            ServiceError: they do not.
        """
        _require(action, resource, context)

    def original_resource(self, type_name: str) -> ResourceHandler:
        """MiniStack's own handler of a type, for a handler that adds to it."""
        own = _module("ministack.services.cloudformation.provisioners")._RESOURCE_HANDLERS[type_name]
        return ResourceHandler(own["create"], own["update"], own["delete"])

    def install(self) -> None:
        """Write everything into MiniStack's tables; once, before it serves."""
        app = _module("ministack.app")
        actions = _module("ministack.core.iam_actions")
        patterns = _module("ministack.core.router").SERVICE_PATTERNS
        for name, (target_prefix, namespace) in self.services.items():
            patterns[name] = {"target_prefixes": [target_prefix + "."], "host_patterns": [rf"{re.escape(name)}\."]}
            actions.SERVICE_TO_IAM_NAMESPACE[name] = namespace
            app.SERVICE_HANDLERS[name] = _unknown_action
        for name, wrappers in self.wrappers.items():
            for wrapper in wrappers:
                app.SERVICE_HANDLERS[name] = _wrapped(name, app.SERVICE_HANDLERS[name], wrapper)
        actions.extract_resource_arn = _resource_arn(actions.extract_resource_arn, self.resources)
        # Loopback stands for AWS's TLS, on which a policy may insist by aws:SecureTransport.
        pin = app.pin_request_origin
        app.pin_request_origin = lambda address, _: pin(address, True)
        _resolve_principal_arn()
        _tell_decisions(self.listeners)
        self._install_types()
        _check_resources(self.checks)

    def _install_types(self) -> None:
        stacks = _module("ministack.services.cloudformation.stacks")
        provisioners = _module("ministack.services.cloudformation.provisioners")
        for type_name, handler in self.types.items():
            ours = {"create": handler.create, "update": handler.update, "delete": handler.delete}
            provisioners._RESOURCE_HANDLERS[type_name] = ours
        for type_name, amend in self.amendments.items():
            own = provisioners._RESOURCE_HANDLERS[type_name]
            provisioners._RESOURCE_HANDLERS[type_name] = own | _amended(own, amend)
        blocking = stacks._runs_on_worker_thread
        stacks._runs_on_worker_thread = lambda type_name: type_name in self.types or blocking(type_name)


def check_version() -> None:
    """Refuse any MiniStack but the one whose private names are used here."""
    found = metadata.version("ministack")
    if found != MINISTACK_VERSION:
        raise SystemExit(f"ministack {found} is installed, but the rehearsal extends exactly {MINISTACK_VERSION}")


def _module(name: str) -> Any:
    """Import a module of MiniStack, whose names have no types."""
    return import_module(name)


def _resolve_principal_arn() -> None:
    """Let ``aws:PrincipalArn`` be the role's ARN for a role's session, where MiniStack has the session's.

    AWS: IAM user guide, "AWS global condition context keys", aws:PrincipalArn.
    """
    evaluator = _module("ministack.core.iam_evaluator")
    roles = _module("ministack.services.iam")._roles
    own = evaluator._resolve_condition_key

    def resolve(key: str, context: Any) -> Any:
        value = own(key, context)
        if key.lower() != "aws:principalarn" or ":assumed-role/" not in str(value):
            return value
        role = roles.get(evaluator._role_name_from_assumed_arn(value))
        return role["Arn"] if role else value

    evaluator._resolve_condition_key = resolve


def _tell_decisions(listeners: list[Callable[[Any, str], None]]) -> None:
    """Let listeners hear what MiniStack's evaluator decides."""
    evaluator = _module("ministack.core.iam_evaluator")
    own = evaluator.evaluate

    def evaluate(context: Any, *policies: Any) -> Any:
        result = own(context, *policies)
        for listener in listeners:
            listener(context, result.decision)
        return result

    evaluator.evaluate = evaluate


def _require(action: str, resource: str, context: Json) -> None:
    evaluator = _module("ministack.core.iam_evaluator")
    caller = _caller()
    kind, _, name = caller.arn.rpartition(":")[2].partition("/")
    if kind == "root":
        return
    policies = (
        evaluator._gather_user_policies(name, caller.account)
        if kind == "user"
        else evaluator._gather_role_policies(name.partition("/")[0], caller.account)
    )
    asked = evaluator.EvalContext(
        principal_arn=caller.arn,
        principal_type="User" if kind == "user" else "AssumedRole",
        principal_account=caller.account,
        action=action,
        resource_arn=resource,
        region=caller.region,
        service_context=context,
    )
    if evaluator.evaluate(asked, policies).decision != "Allow":
        raise ServiceError(
            "AccessDenied",
            f"User: {caller.arn} is not authorized to perform: {action} on resource: {resource} "
            f"because no identity-based policy allows the {action} action",
            403,
        )


def _check_resources(checks: list[BeforeResource]) -> None:
    """Put the checks before what stacks.py does with each resource, in the context of the stack's caller."""
    stacks = _module("ministack.services.cloudformation.stacks")
    create, update, delete = stacks._provision_resource, stacks._update_resource, stacks._delete_resource

    def ask(*what: Any) -> None:
        for check in checks:
            check(*what)

    def provision(type_name: str, logical_id: str, properties: Json, stack: str) -> Any:
        ask("create", type_name, logical_id, properties, stack)
        return create(type_name, logical_id, properties, stack)

    def change(type_name: str, physical_id: str, old: Json, new: Json, *stack: Any) -> Any:
        if old != new:
            ask("update", type_name, stack[1], new, stack[0])
        return update(type_name, physical_id, old, new, *stack)

    def remove(type_name: str, physical_id: str, properties: Json, *stack: Any) -> None:
        ask("delete", type_name, stack[1], properties, stack[0])
        delete(type_name, physical_id, properties, *stack)

    stacks._provision_resource, stacks._update_resource, stacks._delete_resource = provision, change, remove


def _json(body: bytes) -> Json:
    try:
        value = json.loads(body or b"{}")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


async def _unknown_action(*_: Any) -> Response:
    return ServiceError("UnknownOperationException", "the rehearsal does not have this action").response()


def _caller() -> Caller:
    evaluator = _module("ministack.core.iam_evaluator")
    responses = _module("ministack.core.responses")
    return Caller(evaluator.caller_arn(), responses.get_account_id(), responses.get_region())


def _amended(own: Json, amend: Amend) -> Json:
    """The functions of MiniStack's table for one type, with ``amend`` before them."""

    def create(logical_id: str, properties: Json, *rest: Any) -> Any:
        return own["create"](logical_id, amend(properties), *rest)

    def update(physical_id: str, old: Json, new: Json, *rest: Any) -> Any:
        return own["update"](physical_id, amend(old), amend(new), *rest)

    return {"create": create, "update": update}


def _flat(query: dict[str, Any]) -> dict[str, str]:
    return {name: value[0] if isinstance(value, list) else value for name, value in query.items()}


def _wrapped(
    service: str, original: Callable[..., Awaitable[Response]], wrapper: Around
) -> Callable[..., Awaitable[Response]]:
    """A handler for MiniStack's table that asks ``wrapper`` in a thread of its own."""
    app = _module("ministack.app")
    actions = _module("ministack.core.iam_actions")
    concurrency = _module("ministack.core.concurrency")

    async def handle(method: str, path: str, headers: dict[str, str], body: bytes, query: dict[str, Any]) -> Response:
        name = actions.extract_iam_action(service, method, path, headers, body, query) or ""
        call = Call(service, name.rpartition(":")[2], method, path, _flat(query), body, _caller())

        def proceed() -> Response:
            answer: Response = app.call_service_handler_sync(original, method, path, headers, body, query)
            return answer

        def run() -> Response:
            try:
                return wrapper(call, proceed)
            except ServiceError as error:
                return error.response()

        answer: Response = await concurrency.run_reentrant(run, thread_name=f"rehearsal-{service}")
        return answer

    return handle


def _resource_arn(original: Callable[..., str], resources: dict[str, ResourceOf]) -> Callable[..., str]:
    """MiniStack's choice of the ARN to check, with ours asked first."""
    actions = _module("ministack.core.iam_actions")

    def resource_arn(  # noqa: PLR0917 - as MiniStack calls it
        service: str,
        method: str,
        path: str,
        headers: dict[str, str],
        body: bytes,
        query: dict[str, Any],
        region: str,
        account: str,
    ) -> str:
        ours = resources.get(service)
        name = (actions.extract_iam_action(service, method, path, headers, body, query) or "") if ours else ""
        prefix = f"arn:aws:{service}:{region}:{account}:"
        found = ours(name.rpartition(":")[2], _json(body) | _flat(query), prefix) if ours else None
        return found or original(service, method, path, headers, body, query, region, account)

    return resource_arn
