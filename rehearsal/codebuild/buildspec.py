"""Parses a buildspec and rejects what CodeBuild rejects.

Follows https://docs.aws.amazon.com/codebuild/latest/userguide/build-spec-ref.html. As in CodeBuild, an error is
a YAML_FILE_ERROR of the DOWNLOAD_SOURCE phase.

Differs from AWS: keys that the reference does not list are rejected at every level (AWS does not document which ones
CodeBuild ignores); ``batch``, ``reports``, ``on-failure: RETRY`` and version 0.1 are rejected because the rehearsal
does not implement them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

PHASES = ("install", "pre_build", "build", "post_build")
SHELLS = ("bash", "/bin/sh", "sh")
#: Runtimes of the standard images: https://docs.aws.amazon.com/codebuild/latest/userguide/available-runtimes.html
RUNTIMES = ("android", "docker", "dotnet", "golang", "java", "nodejs", "php", "python", "ruby")

_TOP = ("version", "run-as", "env", "proxy", "phases", "artifacts", "cache")
_UNSUPPORTED = ("batch", "reports")
_ENV = ("shell", "variables", "parameter-store", "secrets-manager", "exported-variables", "git-credential-helper")
_PHASE = ("run-as", "on-failure", "commands", "finally", "runtime-versions")
_ARTIFACT = ("files", "name", "discard-paths", "base-directory", "exclude-paths", "enable-symlinks", "s3-prefix")
_CACHE = ("paths", "key", "fallback-keys", "action")


class BuildspecError(ValueError):
    """CodeBuild would reject the buildspec; the message is what its log says."""


@dataclass(frozen=True)
class Phase:
    """The commands of one phase; ``on_failure`` is ABORT, CONTINUE or empty."""

    commands: tuple[str, ...] = ()
    finally_commands: tuple[str, ...] = ()
    on_failure: str = ""
    run_as: str = ""


@dataclass(frozen=True)
class Artifact:
    """The files that make up one output artifact."""

    files: tuple[str, ...]
    base_directory: str = ""
    discard_paths: bool = False
    exclude_paths: tuple[str, ...] = ()


@dataclass(frozen=True)
class Buildspec:
    """A valid buildspec."""

    phases: Mapping[str, Phase]
    shell: str = "/bin/sh"
    variables: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    exported: tuple[str, ...] = ()
    artifact: Artifact | None = None
    secondary_artifacts: Mapping[str, Artifact] = field(default_factory=dict)
    cache_paths: tuple[str, ...] = ()


def parse(text: str) -> Buildspec:
    """Parse a buildspec.

    Raises:
        BuildspecError: it is not YAML or not a valid buildspec.
    """
    try:
        # BaseLoader keeps scalars as text: 0.2 is a version, not a number, and yes is a word.
        document = yaml.load(text, yaml.BaseLoader)  # noqa: S506 - creates only strings, lists and mappings
        node = yaml.compose(text, yaml.BaseLoader)
    except yaml.MarkedYAMLError as error:
        line = f" at line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise BuildspecError(f"{error.problem or error.context}{line}") from error
    except yaml.YAMLError as error:
        raise BuildspecError(str(error)) from error
    top = _mapping(document, "the buildspec", (*_TOP, *_UNSUPPORTED))
    for key in _UNSUPPORTED:
        if key in top:
            raise BuildspecError(f"{key} is not supported by the rehearsal")
    if top.get("version") != "0.2":
        raise BuildspecError(f"version {top.get('version', 'is missing')}: the rehearsal runs version 0.2")
    return _Parser(top, node).parse()


class _Parser:
    """Turns a YAML document into a Buildspec; keeps the YAML nodes to report line numbers."""

    def __init__(self, top: Mapping[str, Any], node: yaml.Node | None) -> None:
        self.top = top
        self.node = node

    def parse(self) -> Buildspec:
        env = _mapping(self.top.get("env") or {}, "env", _ENV)
        artifacts = _mapping(self.top.get("artifacts") or {}, "artifacts", (*_ARTIFACT, "secondary-artifacts"))
        secondary = _mapping(artifacts.get("secondary-artifacts") or {}, "artifacts/secondary-artifacts")
        cache = _mapping(self.top.get("cache") or {}, "cache", _CACHE)
        shell = _word(env.get("shell", "/bin/sh"), "env/shell")
        if shell not in SHELLS:
            raise BuildspecError(f"env/shell: {shell} is not one of bash, /bin/sh")
        return Buildspec(
            phases=self._phases(),
            shell=shell,
            variables=_variables(env, "variables"),
            parameters=_variables(env, "parameter-store"),
            secrets=_variables(env, "secrets-manager"),
            exported=self._list(env, "exported-variables", ("env", "exported-variables")),
            artifact=self._artifact(artifacts, ("artifacts",)) if artifacts.get("files") else None,
            secondary_artifacts={
                name: self._artifact(_mapping(one, f"artifacts/secondary-artifacts/{name}", _ARTIFACT), ("artifacts",))
                for name, one in secondary.items()
            },
            cache_paths=self._list(cache, "paths", ("cache", "paths")),
        )

    def _phases(self) -> dict[str, Phase]:
        phases = _mapping(self.top.get("phases"), "phases")
        for name in phases:
            if name not in PHASES:
                raise BuildspecError(f"Invalid buildspec phase name: {name}. Expecting: {','.join(sorted(PHASES))}")
        if not phases:
            raise BuildspecError("phases: at least one phase is required")
        return {name: self._phase(name, phases[name]) for name in PHASES if name in phases}

    def _phase(self, name: str, document: object) -> Phase:
        phase = _mapping(document, f"phases/{name}", _PHASE)
        on_failure = _word(phase.get("on-failure", ""), f"phases/{name}/on-failure")
        if on_failure.startswith("RETRY"):
            raise BuildspecError(f"phases/{name}/on-failure: {on_failure} is not supported by the rehearsal")
        if on_failure not in ("", "ABORT", "CONTINUE"):
            raise BuildspecError(f"phases/{name}/on-failure: {on_failure} is not one of ABORT, CONTINUE")
        if "runtime-versions" in phase:
            self._check_runtimes(name, phase["runtime-versions"])
        commands = self._list(phase, "commands", ("phases", name, "commands"))
        if not commands and name != "install":
            raise BuildspecError(f"phases/{name}/commands: at least one command is required")
        return Phase(
            commands=commands,
            finally_commands=self._list(phase, "finally", ("phases", name, "finally")),
            on_failure=on_failure,
            run_as=_word(phase.get("run-as", self.top.get("run-as", "")), f"phases/{name}/run-as"),
        )

    @staticmethod
    def _check_runtimes(name: str, document: object) -> None:
        if name != "install":
            raise BuildspecError(f"phases/{name}/runtime-versions: only the install phase has runtime-versions")
        runtimes = _mapping(document, "phases/install/runtime-versions")
        if not runtimes:
            raise BuildspecError("phases/install/runtime-versions: at least one runtime is required")
        for runtime in runtimes:
            if runtime not in RUNTIMES:
                raise BuildspecError(f"Unknown runtime named '{runtime}'. Runtimes are {', '.join(RUNTIMES)}")

    def _artifact(self, document: Mapping[str, Any], at: tuple[str, ...]) -> Artifact:
        return Artifact(
            files=self._list(document, "files", (*at, "files")),
            base_directory=_word(document.get("base-directory", ""), "artifacts/base-directory"),
            discard_paths=_word(document.get("discard-paths", "no"), "artifacts/discard-paths") in ("yes", "true"),
            exclude_paths=self._list(document, "exclude-paths", (*at, "exclude-paths")),
        )

    def _list(self, document: Mapping[str, Any], key: str, at: tuple[str, ...]) -> tuple[str, ...]:
        """Return the strings under ``key``. A mapping among them is usually an unquoted command with a colon."""
        items = document.get(key) or []
        if not isinstance(items, list):
            raise BuildspecError(f"{'/'.join(at)}: a list is required")
        for number, item in enumerate(items):
            if not isinstance(item, str):
                found = "subkeys" if isinstance(item, dict) else "a list"
                title = key.capitalize()
                line = self._line(at, number)
                raise BuildspecError(f"Expected {title}[{number}] to be of string type: found {found} instead{line}")
        return tuple(items)

    def _line(self, at: Iterable[str], number: int) -> str:
        node = self.node
        for key in at:
            children = node.value if isinstance(node, yaml.MappingNode) else []
            node = next((value for name, value in children if name.value == key), None)
        if not isinstance(node, yaml.SequenceNode):
            return ""
        return f" at line {node.value[number].start_mark.line + 1}; quote a command that contains a colon"


def _mapping(document: object, where: str, keys: Iterable[str] = ()) -> dict[str, Any]:
    if not isinstance(document, dict):
        raise BuildspecError(f"{where}: a mapping is required")
    allowed = tuple(keys)
    for key in document:
        if not isinstance(key, str) or (allowed and key not in allowed):
            raise BuildspecError(f"{where}: unknown key {key}. Expecting: {', '.join(allowed)}")
    return document


def _word(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise BuildspecError(f"{where}: a single value is required")
    return value


def _variables(env: Mapping[str, Any], key: str) -> dict[str, str]:
    variables = _mapping(env.get(key) or {}, f"env/{key}")
    for name, value in variables.items():
        _word(value, f"env/{key}/{name}")
        if name.startswith("CODEBUILD_"):
            raise BuildspecError(f"env/{key}/{name}: names that start with CODEBUILD_ are reserved")
    return variables
