"""The long-running programs of the rehearsal, and how supervisord is told of them.

A part of the rehearsal that runs for long has a function that returns its ``Program``. ``machine.start`` takes those that
run from the start; others are declared when they are needed (``machine.declare``).
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rehearsal.settings import settings

#: Inside the machine, /run is its own; short, because a socket's path may have 107 characters and no more.
SOCKET = Path("/run/supervisor.sock")


@dataclass(frozen=True)
class Program:
    """One supervised program.

    ``environment`` is added to the machine's small one. ``netns`` names a network namespace of the machine
    (``node-1``, ``node-2``, ``engine``); None is the host's. ``stop_wait`` is how many seconds ``stop_signal`` is given
    before SIGKILL. A program that ends by itself is started again.
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
        """Standard output and error of the program."""
        return settings.run / "log" / f"{self.name}.log"

    def render(self) -> str:
        """Return this program's section of supervisord's configuration.

        Raises:
            ValueError: the configuration file's format cannot carry one of the values.
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
                # One that ends within a second is started again after ever longer pauses.
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


def render_daemon() -> str:
    """Return the configuration of supervisord itself; each program has a file of its own under ``supervisor.d``."""
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
    """Escape ``text`` for supervisord's INI dialect, which cuts comments off inside values and expands ``%``."""
    bad = ["\n", "\r", " ;", " #"] + (['"', "\\"] if quoted else [])
    for part in bad:
        if part in text:
            raise ValueError(f"supervisord's configuration cannot carry {part!r} in {text!r}")
    return text.replace("%", "%%")
