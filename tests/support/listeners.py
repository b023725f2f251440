"""The sockets on which the processes of a rehearsal listen, in all of its network namespaces, and what they answer."""

from __future__ import annotations

import ipaddress
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from rehearsal.sandbox import identity

#: The states of listening TCP and of receiving UDP sockets (kernel: include/net/tcp_states.h).
LISTENING = {"tcp": "0A", "tcp6": "0A", "udp": "07", "udp6": "07"}
#: The flag of a listening Unix socket in /proc/net/unix (proc(5)).
ACCEPTS = "00010000"
HOST = "this machine"
#: A user without any rights on files of others.
NOBODY = 65534
#: Ends with the status after the headers, so that one output has both.
CURL = (
    "curl",
    "--silent",
    "--insecure",
    "--noproxy",
    "*",
    "--max-time",
    "10",
    "--dump-header",
    "-",
    "--output",
    "/dev/null",
)


@dataclass(frozen=True, order=True)
class Listener:
    """A listening socket. ``place`` is its network namespace; for ``unix``, ``address`` is its path and ``port`` is 0."""

    place: str
    program: str
    protocol: str
    address: str
    port: int
    pid: int = field(compare=False)


def listeners() -> set[Listener]:
    """Return those of all processes of the running rehearsal."""
    first = psutil.Process(identity.living().pid)
    places = _places(first.pid)
    found: set[Listener] = set()
    for process in (first, *first.children(recursive=True)):
        try:
            sockets, name = _sockets(process.pid), process.name()
            place = places.get(Path(f"/proc/{process.pid}/ns/net").stat().st_ino, "a pod")
            for protocol, address, port, inode in (*_inet(process.pid), *_unix(process.pid)):
                if inode in sockets:
                    found.add(Listener(place, name, protocol, address, port, process.pid))
        except (OSError, psutil.NoSuchProcess):
            continue  # it has ended
    return found


def _places(first: int) -> dict[int, str]:
    """Return the names of the network namespaces by inode."""
    own = {Path("/proc/self/ns/net").stat().st_ino: HOST}
    named = (path for path in Path(f"/proc/{first}/root/run/netns").iterdir() if not path.name.startswith("cni-"))
    return own | {path.stat().st_ino: path.name for path in named}


def _sockets(pid: int) -> set[str]:
    links = (str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir())
    return {link[len("socket:[") : -1] for link in links if link.startswith("socket:[")}


def _inet(pid: int) -> Iterator[tuple[str, str, int, str]]:
    for protocol, state in LISTENING.items():
        for line in Path(f"/proc/{pid}/net/{protocol}").read_text(encoding="ascii").splitlines()[1:]:
            words = line.split()
            if words[3] == state:
                address, port = words[1].split(":")
                yield protocol[:3], _address(address), int(port, 16), words[9]


def _unix(pid: int) -> Iterator[tuple[str, str, int, str]]:
    for line in Path(f"/proc/{pid}/net/unix").read_text(encoding="utf-8").splitlines()[1:]:
        words = line.split()
        if words[3] == ACCEPTS:
            yield "unix", words[7] if len(words) > 7 else "", 0, words[6]


def _address(text: str) -> str:
    """Return an address of /proc/net/tcp, in which each 32-bit word is in the machine's order."""
    raw = b"".join(socket.ntohl(int(text[at : at + 8], 16)).to_bytes(4, "big") for at in range(0, len(text), 8))
    return "*" if not any(raw) else str(ipaddress.ip_address(raw))


# --- what they answer


@dataclass(frozen=True)
class Caller:
    """A request: curl's arguments, and the user who sends it."""

    arguments: tuple[str, ...] = ()
    user: int = 0


EVIL = "http://evil.example"
CALLERS = {
    "anonymous": Caller(),
    "foreign Host": Caller(("--header", "Host: evil.example")),
    "foreign Origin": Caller(("--header", f"Origin: {EVIL}", "--data", "x=y")),
    "preflight": Caller(
        ("--header", f"Origin: {EVIL}", "--header", "Access-Control-Request-Method: POST", "--request", "OPTIONS")
    ),
    "another user": Caller(user=NOBODY),
}


def answer(listener: Listener, scheme: str, path: str, host: str, caller: Caller) -> str:
    """Return the status that a caller in the listener's network gets for a path; or how the connection failed."""
    address = "127.0.0.1" if listener.address == "*" else listener.address
    url = f"{scheme}://{address}:{listener.port}{path}"
    named = () if any("Host:" in word for word in caller.arguments) else ("--header", f"Host: {host}") if host else ()
    enter = ["nsenter", f"--target={listener.pid}", "--net"]
    return _ask([*enter, *_as(caller.user), *CURL, *named, *caller.arguments, url])


def answer_of_socket(path: str) -> str:
    """Return what another user of this machine gets from a Unix socket."""
    kind = "--abstract-unix-socket" if path.startswith("@") else "--unix-socket"
    return _ask([*_as(NOBODY), *CURL, kind, path.removeprefix("@"), "http://localhost/"])


def _as(user: int) -> list[str]:
    return ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"] if user else []


FAILURES = {7: "refused", 28: "no answer", 35: "TLS refused", 52: "closed", 55: "TLS refused", 56: "TLS refused"}


def _ask(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    head = done.stdout.lower()
    if not head:
        return FAILURES.get(done.returncode, f"curl {done.returncode}")
    status = head.split()[1]
    return f"{status} for all origins" if "\naccess-control-allow-" in head else status
