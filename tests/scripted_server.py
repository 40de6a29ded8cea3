"""A server that plays a script over real sockets: reads requests, sends given bytes, pauses, breaks off.

Belongs here: what a test needs to misbehave like an upstream. Does not belong here: any knowledge of providers.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
import subprocess
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from router.ports import Origin

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path


class Peer:
    """The server's end of one connection."""

    def __init__(self, server: ScriptedServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.server = server
        self.reader = reader
        self.writer = writer

    async def request(self) -> bytes:
        """One request, head and body (by content-length), also kept in the server's `requests`."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        size = 0
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                size = int(line[15:])
        request = head + await self.reader.readexactly(size)
        self.server.requests.append(request)
        return request

    async def send(self, *pieces: bytes, gap: float = 0.0) -> None:
        """The pieces, each in a packet of its own where ``gap`` seconds lie between them."""
        for number, piece in enumerate(pieces):
            if number and gap:
                await asyncio.sleep(gap)
            self.writer.write(piece)
            await self.writer.drain()

    async def gone(self) -> None:
        """Return once the client has hung up."""
        try:
            while await self.reader.read(65536):
                pass
        except ConnectionError:
            pass

    def half_close(self) -> None:
        """Say that nothing more comes, but go on reading."""
        self.writer.write_eof()

    def reset(self) -> None:
        """End with RST instead of FIN."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


class ScriptedServer:
    """Listens on a loopback port of its own; every connection runs the script once, from its start."""

    def __init__(self, script: Callable[[Peer], Awaitable[None]], *, scheme: str = "http") -> None:
        self.requests: list[bytes] = []
        self.accepted = 0
        self.hung_up = 0
        """Connections whose script is over."""
        self.errors: list[BaseException] = []
        self.origin = Origin("http", "127.0.0.1", 0)
        self._script = script
        self._scheme = scheme
        self._tasks: set[asyncio.Task[None]] = set()

    async def play(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        task = asyncio.current_task()
        self._tasks.add(task)
        try:
            await self._script(Peer(self, reader, writer))
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # the client hung up, as clients may, or the test is over
        except Exception as error:  # noqa: BLE001 - a broken script must fail its test, not vanish in a task
            self.errors.append(error)
        finally:
            self._tasks.discard(task)
            self.hung_up += 1
            writer.close()

    async def stop(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def serve(
    script: Callable[[Peer], Awaitable[None]], *, tls: ssl.SSLContext | None = None
) -> AsyncIterator[ScriptedServer]:
    """Run the script's server; a script that raised fails the test at the end."""
    scripted = ScriptedServer(script)
    server = await asyncio.start_server(scripted.play, "127.0.0.1", 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    scripted.origin = Origin("http", "127.0.0.1", port) if tls is None else Origin("https", "localhost", port)
    try:
        yield scripted
    finally:
        server.close()
        await scripted.stop()
        await server.wait_closed()
    if scripted.errors:
        raise scripted.errors[0]


def answers(*pieces: bytes, gap: float = 0.0) -> Callable[[Peer], Awaitable[None]]:
    """A script that answers each request of a connection with the same pieces."""

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(*pieces, gap=gap)

    return script


def answers_once(*pieces: bytes, gap: float = 0.0) -> Callable[[Peer], Awaitable[None]]:
    """A script that answers one request and closes."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(*pieces, gap=gap)

    return script


async def until(condition: Callable[[], bool], *, within: float = 5.0) -> None:
    """Return once the condition holds; fail the test when it does not."""
    async with asyncio.timeout(within):
        while not condition():  # noqa: ASYNC110 - conditions are counters of plain objects, which announce nothing
            await asyncio.sleep(0.002)


def make_certificate(
    folder: Path, *, names: str = "DNS:localhost,IP:127.0.0.1"
) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Contexts for a server with a new certificate, and for a client that trusts it."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "2", "-subj", "/CN=scripted", "-addext", f"subjectAltName={names}"]
    command += ["-keyout", str(key), "-out", str(certificate)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except FileNotFoundError:
        raise RuntimeError("the tests of TLS make a certificate with the openssl command, which is missing") from None
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate, key)
    return server, ssl.create_default_context(cafile=str(certificate))
