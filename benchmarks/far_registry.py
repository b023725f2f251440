"""What is at the other end of a cold builder's link: a registry, and a proxy to the world.

The registry follows the OCI distribution specification as far as Docker uses it, over TLS with a certificate of its own,
and accepts any password. The proxy tunnels CONNECT.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import socket
import subprocess
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hypercorn.asyncio import serve
from hypercorn.config import Config
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from rehearsal.waiting import until

HERE = "10.99.0.1"
PORT, PROXY_PORT = 5443, 5480
ADDRESS = f"{HERE}:{PORT}"
PROXY = f"http://{HERE}:{PROXY_PORT}"
#: Seconds.
ROUND_TRIP = 0.02
METHODS = ["GET", "HEAD", "PUT", "POST", "PATCH"]


class Registry:
    """Keeps blobs by digest, and manifests by digest and by repository and tag, in a directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.types: dict[str, str] = {}
        directory.mkdir()

    async def serve(self, request: Request) -> Response:
        """Answer one request, a round trip later."""
        await asyncio.sleep(ROUND_TRIP)
        repository, _, rest = request.url.path.removeprefix("/v2/").partition("/")
        kind, _, reference = rest.partition("/")
        if not rest:
            return Response(headers={"Docker-Distribution-Api-Version": "registry/2.0"})
        if reference.startswith("uploads"):
            return await self._upload(request, repository, reference)
        name = reference if reference.startswith("sha256:") else f"{repository}:{reference}"
        if request.method == "PUT":
            body = await request.body()
            digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
            for each in (digest, name):
                (self.directory / each).write_bytes(body)
                self.types[each] = request.headers["content-type"]
            return Response(status_code=201, headers={"Docker-Content-Digest": digest})
        path = self.directory / name
        if not path.exists():
            code = "MANIFEST_UNKNOWN" if kind == "manifests" else "BLOB_UNKNOWN"
            return JSONResponse({"errors": [{"code": code}]}, 404)
        digest = f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}" if kind == "manifests" else reference
        media = self.types.get(name, "application/octet-stream")
        return FileResponse(path, headers={"Docker-Content-Digest": digest}, media_type=media)

    async def _upload(self, request: Request, repository: str, reference: str) -> Response:
        upload = reference.partition("/")[2] or str(uuid.uuid4())
        part = self.directory / f"upload-{upload}"
        with part.open("ab") as file:
            async for chunk in request.stream():
                file.write(chunk)
            size = file.tell()
        digest = request.query_params.get("digest")
        if digest:
            part.rename(self.directory / digest)
            return Response(status_code=201, headers={"Docker-Content-Digest": digest})
        headers = {"Location": f"/v2/{repository}/blobs/uploads/{upload}", "Range": f"0-{max(size - 1, 0)}"}
        return Response(status_code=202, headers=headers)


async def _tunnel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    host, _, port = (await reader.readuntil(b"\r\n\r\n")).split()[1].decode().rpartition(":")
    with contextlib.suppress(OSError):
        far, to_far = await asyncio.open_connection(host, int(port))
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await asyncio.gather(_carry(reader, to_far), _carry(far, writer))


async def _carry(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await source.read(65536):
            target.write(data)
            await target.drain()
        target.close()


@contextlib.contextmanager
def serving(work: Path) -> Iterator[None]:
    """Serve registry and proxy during the block; the registry's certificate is ``certificate.pem`` below ``work``."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", f"/CN={HERE}", "-addext", f"subjectAltName=IP:{HERE}", "-keyout", work / "key.pem", "-out", work / "certificate.pem"],
        check=True, capture_output=True, timeout=30,
    )  # fmt: skip
    registry = Registry(work / "registry")
    app: Any = Starlette(routes=[Route("/v2/{rest:path}", registry.serve, methods=METHODS)])
    config = Config()
    config.bind, config.alpn_protocols, config.keep_alive_timeout = [ADDRESS], ["http/1.1"], 75
    config.certfile, config.keyfile = str(work / "certificate.pem"), str(work / "key.pem")
    loop = asyncio.new_event_loop()
    stopped = asyncio.Event()

    async def both() -> None:
        async with await asyncio.start_server(_tunnel, HERE, PROXY_PORT):
            await serve(app, config, shutdown_trigger=stopped.wait)

    thread = threading.Thread(target=loop.run_until_complete, args=(both(),), daemon=True)
    thread.start()
    until(lambda: not socket.socket().connect_ex((HERE, PORT)), 10, "the registry")
    try:
        yield
    finally:
        loop.call_soon_threadsafe(stopped.set)
        thread.join(10)
