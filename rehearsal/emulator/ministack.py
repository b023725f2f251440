"""The boundary to MiniStack: the only module that knows its names, most of which are private.

MiniStack has no plug-in hook, so ``serve`` writes what Extensions has collected into its tables before it starts. The
other functions give the rehearsal what MiniStack's API does not offer; they work in the process of ``serve``, whose
memory holds roles and sessions. ``policy_allows`` and ``trust_policy_allows`` need no running MiniStack.

Any release of MiniStack may change any name used here, so ``serve`` accepts exactly VERSION. To move to another:

1. Change VERSION and the pin in the project's dependencies.
2. Compare each module that ``_module`` imports here in both versions: names, signatures, and when they are called.
3. Look for new listeners that BIND_HOST does not cover, and turn them off in ``_environment``; and for credentials that
   are the same in every run, and take their rights in ``_close_doors``.
4. Look in the release notes for what ``rehearsal/emulator`` adds; delete what MiniStack now does itself.
5. Run tests/rehearsal/test_emulator.py, tests/privileges, tests/stack and a whole rehearsal.
"""

# ruff: noqa: SLF001 - private names are what this module is for

from __future__ import annotations

import dataclasses
import functools
import json
import math
import os
import re
import secrets
import sys
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from importlib import import_module, metadata
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

from rehearsal import doors, secret
from rehearsal.emulator import function_process
from rehearsal.emulator.extensions import (
    Amend,
    AmendQuestion,
    Around,
    BeforeResource,
    Call,
    Caller,
    Extensions,
    Json,
    OnDecision,
    Question,
    ResourceHandler,
    ResourceOf,
    Response,
    ServiceError,
    parse_json,
)
from rehearsal.emulator.gate import Gate, Rules
from rehearsal.emulator.signatures import Refused, Request
from rehearsal.settings import VARIABLES, inherited, settings

VERSION = "1.5.33"

#: Answers 200, without a signature, once MiniStack serves.
HEALTH_PATH = "/_ministack/health"
#: Where a custom resource's function puts its response; the rest of the path is a random token.
RESPONSE_PATH = "/_ministack/cfn-response/"
#: The names by which clients and the fronts call MiniStack.
NAMES = doors.LOOPBACK | {settings.sts_host, settings.registry}

#: Variables that MiniStack and its Lambda functions inherit; a function on AWS would see none of the others.
KEPT = ("HOME", "LANG", "LC_ALL", "PATH", "TMPDIR", "TZ", *VARIABLES)


@dataclasses.dataclass(frozen=True)
class Session:
    """Keys of a role's session; ``expires`` is in epoch seconds."""

    access_key: str
    secret_key: str
    token: str
    expires: float


# --- serving


def check_version() -> None:
    """Exit unless MiniStack has the version whose private names are used here."""
    found = metadata.version("ministack")
    if found != VERSION:
        raise SystemExit(f"ministack {found} is installed, but the rehearsal extends exactly {VERSION}")


def serve(extensions: Extensions) -> None:
    """Serve AWS with these extensions on loopback until the process is ended.

    Replaces the process's environment.
    """
    check_version()
    settings.run.mkdir(parents=True, exist_ok=True)
    wanted = _environment(extensions)
    os.environ.clear()
    os.environ.update(wanted)  # before MiniStack is imported, because it reads them on import
    _install(extensions)
    _close_doors()
    _drop_rights(extensions)
    sys.argv = ["ministack"]
    _module("app").main()


def _environment(extensions: Extensions) -> dict[str, str]:
    """Return the settings that MiniStack reads, and the few variables that are kept of this process's environment."""
    kept = inherited(KEPT)
    return kept | {
        "AUTH": "true",
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(settings.ports.aws),
        "MINISTACK_ACCOUNT_ID": settings.account,
        "MINISTACK_HOST": "127.0.0.1",
        "MINISTACK_REGION": settings.region,
        # Listeners that BIND_HOST does not cover.
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        # Saved state would hold NoEcho parameters in clear text.
        "PERSIST_STATE": "0",
        # Clusters and functions must not run as containers of the host's Docker.
        "DOCKER_HOST": "unix:///nonexistent",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "NO_PROXY": "*",
        # For the interpreters of Lambda functions, which inherit this environment.
        "PYTHONPATH": os.pathsep.join(map(str, extensions.function_modules)),
    }


def _module(name: str) -> Any:
    """Import a module of MiniStack when it is first needed, since MiniStack reads its settings on import."""
    return import_module(f"ministack.{name}")


# --- the doors


def _close_doors() -> None:
    """Put the gate in front of MiniStack, and take the rights from the credentials that are the same in every run.

    MiniStack takes the keys ``test`` and every account's id for root's without a signature, and a function's keys are
    hashes of its ARN.
    """
    app, evaluator, functions = _module("app"), _module("core.iam_evaluator"), _module("core.lambda_runtime")
    own, own_secret = secret.root_keys()
    # Without a key means MiniStack itself: the gate lets no such request in.
    evaluator.is_root_access_key = lambda key: key in ("", own)
    _module("services.sts").is_root_access_key = evaluator.is_root_access_key
    functions.execution_credentials = _function_keys
    _module("services.lambda_svc").execution_credentials = _function_keys
    secret_of = functools.partial(_secret_of, {own: own_secret})
    rules = Rules(_needs_no_signature, app._is_ecr_registry_path, secret_of, _refused)
    app.app = doors.Doors(Gate(app.app, rules), NAMES)


def _drop_rights(extensions: Extensions) -> None:
    """Start Lambda functions as a user without rights, if this process has the rights to do that."""
    if function_process.is_possible():
        needed = (Path(sys.prefix), Path(sys.base_prefix), *extensions.function_modules)
        for name in ("core.lambda_runtime", "services.lambda_svc"):
            _module(name).subprocess = function_process.Unprivileged(needed)


def _needs_no_signature(method: str, path: str) -> bool:
    return (method, path) == ("GET", HEALTH_PATH) or (method == "PUT" and path.startswith(RESPONSE_PATH))


def _secret_of(of_root: Mapping[str, str], key: str, token: str) -> str:
    """Return the secret of a valid access key of the account's root, a user or a role's session.

    Raises:
        Refused: there is no such key, it has expired, or the session token is not the one that belongs to it.
    """
    if key in of_root:
        return of_root[key]
    found = _evaluator().resolve_credential(key, settings.account, token)
    if isinstance(found, _evaluator().CredentialResolutionError):
        raise Refused(found.code, found.message)
    return str(found.secret_access_key)


def _refused(request: Request, error: Refused) -> Response:
    """Return an error as the service writes it that a request is for."""
    app, path, headers = _module("app"), unquote(request.path), dict(request.headers)
    query = app._routing_params(request.method, path, headers, request.body, parse_qs(request.query))
    service = _module("core.router").detect_service(request.method, path, headers, query)
    denied = _evaluator().AuthError(error.code, str(error))
    response: Response = app._credential_failure(service, "", str(uuid.uuid4()), denied, headers)
    return response


def _function_keys(config: Json) -> dict[str, str]:
    """Return the variables of a function's environment with keys of its role, which are valid as long as the run."""
    session = mint_session(config["Role"], config["FunctionName"], "lambda.amazonaws.com", math.inf)
    return {
        "AWS_ACCESS_KEY_ID": session.access_key,
        "AWS_SECRET_ACCESS_KEY": session.secret_key,
        "AWS_SESSION_TOKEN": session.token,
    }


# --- IAM


def role(arn: str) -> Json | None:
    """Return a role as the IAM API describes it, or None if there is no such role."""
    account = (arn.split(":") + [""] * 5)[4]
    # GetRole over HTTP would come back to this process.
    found: Json | None = _module("services.iam")._roles.get_scoped(account, None, _name(arn))
    return found


def mint_session(role_arn: str, session_name: str, service: str, seconds: float) -> Session:
    """Give an AWS service a session of a role, as valid as one that AssumeRole returns; no policy is evaluated."""
    session = Session(
        access_key="ASIA" + "".join(secrets.choice("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") for _ in range(16)),
        secret_key=secrets.token_urlsafe(30),
        token=secrets.token_urlsafe(96),
        expires=time.time() + seconds,
    )
    role_id = (role(role_arn) or {}).get("RoleId", "")
    _module("services.sts").register_session(
        session.access_key,
        {
            "Arn": f"arn:aws:sts::{settings.account}:assumed-role/{_name(role_arn)}/{session_name}",
            "UserId": f"{role_id}:{session_name}",
            "SecretAccessKey": session.secret_key,
            "SessionToken": session.token,
            "Expiration": session.expires,
            "AccountId": settings.account,
            "PrincipalType": "AssumedRole",
            "SourceAccessKeyId": "",
            "SourcePrincipalArn": service,
            "SessionTags": [],
            "SessionPolicies": None,
        },
    )
    return session


def trust_policy_allows(document: str | Json, role_arn: str, service: str, context: Json) -> bool:
    """Whether a trust policy lets an AWS service assume a role; statements for other principals do not count.

    ``context`` holds the condition keys of the call, in lower case.
    """
    policy: Any = json.loads(document) if isinstance(document, str) else document
    statements = policy.get("Statement", []) if isinstance(policy, dict) else []
    statements = [statements] if isinstance(statements, dict) else statements
    # A trust policy has no Resource; the evaluator insists on one.
    whole = {"Statement": [{**statement, "Resource": "*"} for statement in statements]}
    asked = _context(
        Question(service, "sts:AssumeRole", role_arn, context), "Service", settings.account, settings.region
    )
    return bool(_evaluator().evaluate_resource_policy(whole, asked, service=service).decision == "Allow")


def policy_allows(document: str, question: Question) -> bool:
    """Whether an identity-based policy, given as JSON, allows what is asked."""
    parts = question.resource.split(":", 5)
    region, account = (parts[3], parts[4]) if len(parts) > 1 else ("", "")
    kind = "User" if ":user/" in question.principal else "AssumedRole"
    account = account or question.principal.split(":")[4]
    asked = _context(question, kind, account, region, secure_transport=True)
    return bool(_evaluator().evaluate(asked, [_parsed(document)]).decision == "Allow")


def require(action: str, resource: str, context: Json) -> None:
    """Refuse unless the policies of the current request's caller allow an action that is done in the caller's name.

    Raises:
        ServiceError: they do not.
    """
    evaluator, asking = _evaluator(), caller()
    kind, _, name = asking.arn.rpartition(":")[2].partition("/")
    if kind == "root":
        return
    policies = (
        evaluator._gather_user_policies(name, asking.account)
        if kind == "user"
        else evaluator._gather_role_policies(name.partition("/")[0], asking.account)
    )
    question = Question(asking.arn, action, resource, context)
    asked = _context(question, "User" if kind == "user" else "AssumedRole", asking.account, asking.region)
    if evaluator.evaluate(asked, policies).decision != "Allow":
        raise ServiceError(
            "AccessDenied",
            f"User: {asking.arn} is not authorized to perform: {action} on resource: {resource} "
            f"because no identity-based policy allows the {action} action",
            403,
        )


def _evaluator() -> Any:
    return _module("core.iam_evaluator")


def _context(question: Question, kind: str, account: str, region: str, **more: bool) -> Any:
    """Return a question in the evaluator's form."""
    return _evaluator().EvalContext(
        principal_arn=question.principal,
        principal_type=kind,
        principal_account=account,
        action=question.action,
        resource_arn=question.resource,
        region=region,
        service_context=question.context,
        **more,
    )


@functools.cache
def _parsed(document: str) -> Any:
    return _evaluator().parse_policy_document(document)


def caller() -> Caller:
    """Return the caller of the request, or of the stack's operation, that this thread serves."""
    responses = _module("core.responses")
    return Caller(_evaluator().caller_arn(), responses.get_account_id(), responses.get_region())


def _name(role_arn: str) -> str:
    return role_arn.rpartition("/")[2]


# --- EventBridge


def put_event(entry: Json) -> None:
    """Put one entry of PutEvents on its bus, also one whose source begins with ``aws.``, which PutEvents refuses."""
    _module("services.eventbridge")._put_events({"Entries": [entry]}, allow_aws_source=True)


# --- extensions


def _install(extensions: Extensions) -> None:
    """Write everything into MiniStack's tables."""
    _install_services(extensions)
    _install_types(extensions)
    _check_resources(extensions.checks)
    _resolve_principal_arn()
    _decide(extensions.questions, extensions.listeners)
    # A policy may require TLS by aws:SecureTransport; here, loopback takes the place of AWS's TLS.
    app = _module("app")
    pin = app.pin_request_origin
    app.pin_request_origin = lambda address, _: pin(address, True)


def _install_services(extensions: Extensions) -> None:
    app = _module("app")
    actions = _module("core.iam_actions")
    patterns = _module("core.router").SERVICE_PATTERNS
    for name, (target_prefix, namespace) in extensions.services.items():
        patterns[name] = {"target_prefixes": [target_prefix + "."], "host_patterns": [rf"{re.escape(name)}\."]}
        actions.SERVICE_TO_IAM_NAMESPACE[name] = namespace
        app.SERVICE_HANDLERS[name] = _unknown_action
    for name, wrappers in extensions.wrappers.items():
        for wrapper in wrappers:
            app.SERVICE_HANDLERS[name] = _wrapped(name, app.SERVICE_HANDLERS[name], wrapper)
    actions.extract_resource_arn = _resource_arn(actions.extract_resource_arn, extensions.resources)


async def _unknown_action(*_: Any) -> Response:
    return ServiceError("UnknownOperationException", "the rehearsal does not have this action").response()


def _wrapped(
    service: str, original: Callable[..., Awaitable[Response]], wrapper: Around
) -> Callable[..., Awaitable[Response]]:
    """Return a handler for MiniStack's table that calls ``wrapper`` in a thread of its own."""
    app = _module("app")
    actions = _module("core.iam_actions")
    concurrency = _module("core.concurrency")

    async def handle(method: str, path: str, headers: dict[str, str], body: bytes, query: dict[str, Any]) -> Response:
        name = actions.extract_iam_action(service, method, path, headers, body, query) or ""
        call = Call(service, name.rpartition(":")[2], method, path, _flat(query), body, caller())

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
    """Return MiniStack's choice of the ARN to check, with the extensions asked first."""
    actions = _module("core.iam_actions")

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
        added = resources.get(service)
        name = (actions.extract_iam_action(service, method, path, headers, body, query) or "") if added else ""
        prefix = f"arn:aws:{service}:{region}:{account}:"
        found = added(name.rpartition(":")[2], parse_json(body) | _flat(query), prefix) if added else None
        return found or original(service, method, path, headers, body, query, region, account)

    return resource_arn


def _flat(query: dict[str, Any]) -> dict[str, str]:
    return {name: value[0] if isinstance(value, list) else value for name, value in query.items()}


def _install_types(extensions: Extensions) -> None:
    stacks = _module("services.cloudformation.stacks")
    table = _module("services.cloudformation.provisioners")._RESOURCE_HANDLERS
    handlers = dict(extensions.types)
    for type_name, wrap in extensions.wraps.items():
        own = table[type_name]
        handlers[type_name] = wrap(ResourceHandler(own["create"], own["update"], own["delete"]))
    for type_name, handler in handlers.items():
        table[type_name] = {"create": handler.create, "update": handler.update, "delete": handler.delete}
    for type_name, amend in extensions.amendments.items():
        table[type_name] = table[type_name] | _amended(table[type_name], amend)
    blocking = stacks._runs_on_worker_thread
    stacks._runs_on_worker_thread = lambda type_name: type_name in handlers or blocking(type_name)


def _amended(own: Json, amend: Amend) -> Json:
    """Return the functions of MiniStack's table for one type, with ``amend`` before them."""

    def create(logical_id: str, properties: Json, *rest: Any) -> Any:
        return own["create"](logical_id, amend(properties), *rest)

    def update(physical_id: str, old: Json, new: Json, *rest: Any) -> Any:
        return own["update"](physical_id, amend(old), amend(new), *rest)

    return {"create": create, "update": update}


def _check_resources(checks: list[BeforeResource]) -> None:
    """Run the checks before each operation on a resource, in the context of the stack's caller."""
    stacks = _module("services.cloudformation.stacks")
    create, update, delete = stacks._provision_resource, stacks._update_resource, stacks._delete_resource

    def check_all(*what: Any) -> None:
        for check in checks:
            check(*what)

    def provision(type_name: str, logical_id: str, properties: Json, stack: str) -> Any:
        check_all("create", type_name, logical_id, properties, stack)
        return create(type_name, logical_id, properties, stack)

    def change(type_name: str, physical_id: str, old: Json, new: Json, *stack: Any) -> Any:
        if old != new:
            check_all("update", type_name, stack[1], new, stack[0])
        return update(type_name, physical_id, old, new, *stack)

    def remove(type_name: str, physical_id: str, properties: Json, *stack: Any) -> None:
        check_all("delete", type_name, stack[1], properties, stack[0])
        delete(type_name, physical_id, properties, *stack)

    stacks._provision_resource, stacks._update_resource, stacks._delete_resource = provision, change, remove


def _resolve_principal_arn() -> None:
    """Let ``aws:PrincipalArn`` be the role's ARN for a role's session; MiniStack uses the session's ARN.

    AWS: IAM user guide, "AWS global condition context keys", aws:PrincipalArn.
    """
    evaluator = _evaluator()
    roles = _module("services.iam")._roles
    original = evaluator._resolve_condition_key

    def resolve(key: str, context: Any) -> Any:
        value = original(key, context)
        if key.lower() != "aws:principalarn" or ":assumed-role/" not in str(value):
            return value
        found = roles.get(evaluator._role_name_from_assumed_arn(value))
        return found["Arn"] if found else value

    evaluator._resolve_condition_key = resolve


def _decide(amendments: list[AmendQuestion], listeners: list[OnDecision]) -> None:
    """Amend every question to MiniStack's evaluator, and call the listeners with its decision."""
    evaluator = _evaluator()
    original = evaluator.evaluate

    def evaluate(context: Any, *policies: Any) -> Any:
        question = Question(context.principal_arn, context.action, context.resource_arn, context.service_context)
        for amend in amendments:
            question = amend(question)
        result = original(
            dataclasses.replace(context, resource_arn=question.resource, action=question.action), *policies
        )
        for listener in listeners:
            listener(question, result.decision == "Allow")
        return result

    evaluator.evaluate = evaluate
