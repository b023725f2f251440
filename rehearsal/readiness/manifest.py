"""What deployment.yml says about the app's container, in the terms of ``docker run``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

#: Kubernetes' defaults (https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/).
GRACE, PERIOD, FAILURES = 30, 10, 3

_UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}


@dataclass(frozen=True)
class Manifest:
    """The Deployment's pods and the name of the Service. Times are in seconds, sizes in bytes."""

    deployment: str
    service: str
    pod: Mapping[str, Any]

    @property
    def container(self) -> Mapping[str, Any]:
        """The container that gets the pipeline's image."""
        found: Mapping[str, Any] = next(one for one in self.pod["containers"] if one["image"] == "CONTAINER_IMAGE")
        return found

    @property
    def port(self) -> int:
        """The port on which the app must listen."""
        return int(self.container["ports"][0]["containerPort"])

    @property
    def paths(self) -> list[str]:
        """The paths of the probes, readiness first."""
        kinds = ("readinessProbe", "livenessProbe", "startupProbe")
        probes = [
            self.container[kind]["httpGet"]["path"] for kind in kinds if "httpGet" in self.container.get(kind, {})
        ]
        return list(dict.fromkeys(probes))

    @property
    def headers(self) -> dict[str, str]:
        """The headers that the readiness probe sends, such as Host."""
        probe = self.container.get("readinessProbe", {}).get("httpGet", {})
        return {header["name"]: header["value"] for header in probe.get("httpHeaders", [])}

    @property
    def start_allowed(self) -> float:
        """How long the app may take to start."""
        probe = self.container.get("startupProbe") or self.container.get("livenessProbe") or {}
        return float(probe.get("periodSeconds", PERIOD) * probe.get("failureThreshold", FAILURES))

    @property
    def stop_allowed(self) -> float:
        """How long the app may take to stop after SIGTERM: the grace period without the pause before it."""
        pause = self.container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        return float(self.pod.get("terminationGracePeriodSeconds", GRACE) - pause)

    @property
    def memory(self) -> int:
        """The limit of its memory, or 0 for none."""
        return size(self.container.get("resources", {}).get("limits", {}).get("memory", "0"))

    def docker_options(self) -> list[str]:
        """Return the options of ``docker run`` for a container as Kubernetes would start it."""
        context = {**self.pod.get("securityContext", {}), **self.container.get("securityContext", {})}
        options = ["--security-opt=no-new-privileges"] * (context.get("allowPrivilegeEscalation") is False)
        options += ["--read-only"] * bool(context.get("readOnlyRootFilesystem"))
        options += [f"--cap-drop={name}" for name in context.get("capabilities", {}).get("drop", [])]
        if "runAsUser" in context:
            options.append(f"--user={context['runAsUser']}:{context.get('runAsGroup', 0)}")
        if self.memory:
            options += [f"--memory={self.memory}", f"--memory-swap={self.memory}"]
        options += [f"--env={one['name']}={one['value']}" for one in self.container.get("env", []) if "value" in one]
        empty = {volume["name"] for volume in self.pod.get("volumes", []) if "emptyDir" in volume}
        mounts = [mount["mountPath"] for mount in self.container.get("volumeMounts", []) if mount["name"] in empty]
        return options + [f"--tmpfs={path}:mode=1777" for path in mounts]


def read_manifest(path: Path) -> Manifest:
    """Read deployment.yml.

    Raises:
        ValueError: it has no Deployment with the pipeline's image, no port or no Service; the message has the remedy.
    """
    try:
        objects = [one for one in yaml.safe_load_all(path.read_text(encoding="utf-8")) if isinstance(one, dict)]
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    named = {one.get("kind"): one for one in reversed(objects)}
    try:
        manifest = Manifest(
            named["Deployment"]["metadata"]["name"],
            named["Service"]["metadata"]["name"],
            named["Deployment"]["spec"]["template"]["spec"],
        )
        int(manifest.port)
    except (KeyError, TypeError, IndexError, StopIteration) as error:
        raise ValueError(
            f'{path} needs a Deployment with "image: CONTAINER_IMAGE" and a containerPort, and a Service: '
            f"start from the tutorial's"
        ) from error
    return manifest


def size(quantity: object) -> int:
    """Return a quantity such as 128Mi in bytes."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([kMG]?i?)", str(quantity))
    if not found:
        raise ValueError(f"{quantity!r} is no size such as 128Mi")
    return int(float(found[1]) * _UNITS[found[2]])
