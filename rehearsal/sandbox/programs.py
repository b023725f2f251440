"""The long-running programs of the rehearsal, their logs, and supervisord's configuration for them.

Each part of the rehearsal that keeps running has a function that returns its ``Program``. ``lifecycle.start`` takes
those that run from the start; the others are declared when they are needed (``supervisor.declare``).
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rehearsal.settings import settings

#: In the sandbox's own /run. The path is short because a socket's path can have at most 107 characters.
SOCKET = Path("/run/supervisor.sock")


@dataclass(frozen=True)
class Program:
    """One supervised program.

    ``environment`` is added to the sandbox's small one. ``netns`` names a network namespace of the sandbox
    (``node-1``, ``node-2``, ``engine``); None is the host's. ``stop_wait`` is the number of seconds between
    ``stop_signal`` and SIGKILL. A program that exits is restarted.
    """

    name: str
    command: Sequence[str | Path]
    environment: Mapping[str, str] = field(default_factory=dict)
    netns: str | None = None
    autostart: bool = False
    stop_wait: int = 3
    stop_signal: str = "TERM"

    @property
    def log(self) -> Path:
        """File with the program's standard output and error."""
        return log_file(self.name)

    def render(self) -> str:
        """Return this program's section of supervisord's configuration.

        Raises:
            ValueError: the configuration file's format cannot express one of the values.
        """
        enter = ["nsenter", f"--net=/run/netns/{self.netns}"] if self.netns else []
        command = shlex.join([*enter, *map(str, self.command)])
        environment = ",".join(f'{key}="{_value(value, quoted=True)}"' for key, value in self.environment.items())
        return "\n".join(
            [
                f"[program:{self.name}]",
                f"command={_value(command)}",
                f"environment={environment}",
                f"directory={_value(str(settings.root))}",
                f"autostart={str(self.autostart).lower()}",
                "autorestart=true",
                # A program that exits within a second is restarted after ever longer pauses.
                "startsecs=1",
                "startretries=1000000",
                f"stopsignal={self.stop_signal}",
                f"stopwaitsecs={self.stop_wait}",
                "killasgroup=true",
                "stopasgroup=true",
                "redirect_stderr=true",
                f"stdout_logfile={_value(str(self.log))}",
                "stdout_logfile_maxbytes=0",
                "",
            ]
        )


def log_file(name: str) -> Path:
    """Return the path of a program's log."""
    return settings.run / "log" / f"{name}.log"


def last_words(name: str) -> str:
    """Return the end of a program's log as a sentence for an error message."""
    log = log_file(name)
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
    return "Its log ends: " + " / ".join(lines[-3:]) if lines else "Its log is empty."


def render_daemon() -> str:
    """Return the configuration of supervisord itself; each program has its own file under ``supervisor.d``."""
    lines = [
        "[supervisord]",
        "nodaemon=true",
        "user=root",
        f"logfile={_value(str(settings.run / 'log' / 'supervisord.log'))}",
        "logfile_maxbytes=0",
        "pidfile=/run/supervisord.pid",
        f"childlogdir={_value(str(settings.run / 'log'))}",
        "[unix_http_server]",
        f"file={SOCKET}",
        "chmod=0600",
        "[rpcinterface:supervisor]",
        "supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface",
        "[include]",
        f"files={_value(str(settings.run / 'supervisor.d'))}/*.conf",
        "",
    ]
    return "\n".join(lines)


def _value(text: str, *, quoted: bool = False) -> str:
    """Escape ``text`` for supervisord's INI dialect, which strips comments inside values and expands ``%``."""
    bad = ["\n", "\r", " ;", " #"] + (['"', "\\"] if quoted else [])
    for part in bad:
        if part in text:
            raise ValueError(f"supervisord's configuration cannot express {part!r} in {text!r}")
    return text.replace("%", "%%")
