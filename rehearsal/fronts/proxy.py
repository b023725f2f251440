"""The HTTPS proxy that tunnels real host names to the rehearsal: CONNECT only (RFC 9110, section 9.3.6).

Names that the TLS front answers for are tunnelled to it. Any other name of AWS is refused, so that nothing here can
reach real AWS by mistake. Everything else is tunnelled to the internet, through the user's own HTTPS_PROXY if there is
one. The proxy listens on loopback, and on the region's address. Pods could reach it there too, so on that address it
serves only the Docker Engine.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import socket
import sys
from collections.abc import Awaitable
from typing import TypeVar
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from rehearsal.fronts.certificates import HOSTS
from rehearsal.sandbox.programs import Program
from rehearsal.settings import settings

HEAD_LIMIT = 16 * 1024
PATIENCE = 30.0

#: Linux: lets a socket bind to an address that no interface has yet.
IP_FREEBIND = 15

PROXY_VARIABLES = ("HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy")

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Result = TypeVar("Result")


class Refused(Exception):
    """The tunnel is refused; ``str`` is the status line's code and reason."""


def is_aws(host: str) -> bool:
    """Whether a host name is an API endpoint of AWS."""
    return host.lower().rstrip(".").endswith((".amazonaws.com", ".amazonaws.com.cn", ".api.aws"))


def check_source(listening: str, source: str) -> None:
    """Check that a client may use the address that it connected to.

    Raises:
        Refused: the client is not the Docker Engine, and the address is not loopback.
    """
    if listening != "127.0.0.1" and source != settings.engine_ip:
        raise Refused("403 Not for this address")


def parse_target(request_line: str) -> tuple[str, int]:
    """Return host and port of ``CONNECT host:port HTTP/1.1``.

    Raises:
        Refused: it is another method, or the target is not an authority.
    """
    words = request_line.split()
    if len(words) != 3 or words[0] != "CONNECT":
        raise Refused("405 CONNECT only")
    host, colon, port = words[1].rpartition(":")
    if not (host and colon and port.isdigit() and 0 < int(port) < 65536):
        raise Refused("400 Bad authority")
    return host.strip("[]").lower().rstrip("."), int(port)


async def connect(host: str, port: int) -> Streams:
    """Connect to the tunnel's target.

    Raises:
        Refused: the target is real AWS, or cannot be reached.
    """
    if host in HOSTS and port == 443:
        return await _open("127.0.0.1", settings.ports.front)
    if host in HOSTS or is_aws(host):
        raise Refused("403 The rehearsal does not reach real AWS")
    upstream = getproxies().get("https")
    if upstream and upstream != settings.proxy_url and not proxy_bypass(f"{host}:{port}"):
        return await _through(upstream, host, port)
    return await _open(host, port)


async def serve_client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Serve one CONNECT, and carry bytes both ways until either side ends."""
    try:
        check_source(writer.get_extra_info("sockname")[0], writer.get_extra_info("peername")[0])
        head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE)).decode("latin-1")
        other = await connect(*parse_target(head.split("\r\n", 1)[0]))
    except Refused as refused:
        writer.write(f"HTTP/1.1 {refused}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
        await _closed(writer)
        return
    except (OSError, EOFError, asyncio.LimitOverrunError, TimeoutError):
        await _closed(writer)
        return
    writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
    await asyncio.gather(_carry(reader, other[1]), _carry(other[0], writer))
    await asyncio.gather(_closed(writer), _closed(other[1]))


async def _open(host: str, port: int) -> Streams:
    return await _bounded(asyncio.open_connection(host, port))


async def _through(upstream: str, host: str, port: int) -> Streams:
    """Open the tunnel through the user's own proxy."""
    parts = urlsplit(upstream if "//" in upstream else f"http://{upstream}")
    encrypted = parts.scheme == "https"
    reader, writer = await _bounded(
        asyncio.open_connection(parts.hostname, parts.port or (443 if encrypted else 80), ssl=encrypted or None)
    )
    lines = [f"CONNECT {host}:{port} HTTP/1.1", f"Host: {host}:{port}"]
    if parts.username:
        login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        lines.append(f"Proxy-Authorization: Basic {base64.b64encode(login.encode()).decode()}")
    writer.write("\r\n".join([*lines, "", ""]).encode())
    answer = (await _bounded(reader.readuntil(b"\r\n\r\n"))).split(b"\r\n", 1)[0].decode("latin-1")
    if answer.split()[1:2] != ["200"]:
        await _closed(writer)
        raise Refused("502 The proxy of this machine refused: " + answer)
    return reader, writer


async def _bounded(work: Awaitable[Result]) -> Result:
    try:
        return await asyncio.wait_for(work, PATIENCE)
    except (OSError, EOFError, asyncio.LimitOverrunError, TimeoutError) as error:
        raise Refused(f"502 {type(error).__name__}") from error


async def _carry(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(64 * 1024):
            target.write(data)
            await target.drain()
        target.write_eof()
    except OSError:
        target.close()


async def _closed(writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        writer.close()
        await writer.wait_closed()


def listener(address: str, port: int) -> socket.socket:
    """Return a listening socket on an address that may come up later than this process."""
    opened = socket.socket()
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    opened.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)
    opened.bind((address, port))
    opened.listen(128)
    opened.setblocking(False)
    return opened


async def serve() -> None:
    """Serve on both addresses until the process is ended."""
    async with contextlib.AsyncExitStack() as stack:
        for address in ("127.0.0.1", settings.region_ip):
            opened = listener(address, settings.ports.proxy)
            server = await asyncio.start_server(serve_client, sock=opened, limit=HEAD_LIMIT)
            await stack.enter_async_context(server)
        await asyncio.Future()


def program() -> Program:
    """Return the proxy as a program of the sandbox, with the variables that name the user's own proxy."""
    own = {name: os.environ[name] for name in PROXY_VARIABLES if os.environ.get(name)}
    return Program("proxy", [sys.executable, "-m", "rehearsal.fronts.proxy"], own)


if __name__ == "__main__":
    asyncio.run(serve())
