"""The versions of what the README's commands use on this computer."""

from __future__ import annotations

import contextlib
import platform
import re
import subprocess

PROGRAMS = {
    "aws": ["aws", "--version"],
    "eksctl": ["eksctl", "version"],
    "kubectl": ["kubectl", "version", "--client"],
    "git": ["git", "--version"],
    "docker": ["docker", "--version"],
    "curl": ["curl", "--version"],
    "bash": ["bash", "--version"],
}


def versions() -> dict[str, str]:
    """Return the versions by the programs' names, and the operating system."""
    return {name: _version(command) for name, command in PROGRAMS.items()} | {
        "python": platform.python_version(),
        "system": _system(),
        "machine": platform.machine(),
    }


def _version(command: list[str]) -> str:
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=60, check=False)
        if found := re.search(r"\d+\.\d+(\.\d+)?", done.stdout + done.stderr):
            return found[0]
    return "unknown"


def _system() -> str:
    if platform.system() == "Darwin":
        return f"macOS {platform.mac_ver()[0]}"
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        return platform.system()
    return f"{release['NAME']} {release.get('VERSION_ID', '')}".strip()
