"""The server over real sockets, in front of a pipeline of fakes."""

import asyncio
import gzip
import json

import pytest
from fakes import FakeResponse
from store import until
from wired import EVENTS, SECRET, Wired, answer, asked, ends, says

from router.adapters.http import connection as http_connection
from router.adapters.http import server as http_server
from router.adapters.http.server import HttpServer


class Client:
    def __init__(self, port):
        self._port = port

    async def ask(self, *texts):
        """The two ends of a connection on which these have been sent."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        for text in texts:
            writer.write(text)
            await writer.drain()
            await asyncio.sleep(0.02)
        return reader, writer

    async def talk(self, *texts, until=b""):
        """What comes back, up to these bytes or to the end."""
        reader, writer = await self.ask(*texts)
        try:
            async with asyncio.timeout(10):
                return await (reader.readuntil(until) if until else reader.read())
        finally:
            writer.close()


@pytest.fixture(params=[http_server.DIRECT_BYTES, 0], ids=["direct", "aiohttp"])
async def served(request):
    """Gives a function from a wired pipeline to a client of its server: the shorter way of prompts, and aiohttp's."""
    servers = []

    async def serve(wired):
        handlers = HttpServer(wired.pipeline, {}, max_body=100_000, direct_bytes=request.param).protocol_factory()
        listening = await asyncio.get_running_loop().create_server(handlers, "127.0.0.1", 0)
        servers.append((handlers, listening))
        return Client(listening.sockets[0].getsockname()[1])

    yield serve
    for handlers, listening in servers:
        listening.close()
        await handlers.shutdown(0.1)


def post(body, *extra, length=None):
    lines = ["POST /v1/chat/completions HTTP/1.1", "Host: x", "Connection: close", f"Authorization: Bearer {SECRET}"]
    length = len(body) if length is None else length
    return (
        "\r\n".join([*lines, *extra, f"Content-Length: {length}" if length >= 0 else "", ""]).encode() + b"\r\n" + body
    )


def error_of(text):
    return json.loads(text.partition(b"\r\n\r\n")[2])["error"]


async def test_an_answer_comes_whole_and_is_booked(served):
    wired = Wired(FakeResponse([answer()]))
    text = await (await served(wired)).talk(post(asked()))
    assert text.startswith(b"HTTP/1.1 200 OK\r\n")
    assert text.endswith(answer())
    assert wired.row.outcome == "ok"


@pytest.mark.parametrize("flaw", [ZeroDivisionError(), asyncio.CancelledError()])
async def test_a_flaw_of_ours_in_mid_stream_cuts_the_answer_off_and_leaves_a_row(served, flaw):
    response = FakeResponse([says("Hello"), flaw, ends()], headers=EVENTS)
    wired = Wired(response)
    text = await (await served(wired)).talk(post(asked(stream=True)))
    await wired.pipeline.close(1)
    assert text.count(b"HTTP/1.1 ") == 1
    assert not text.endswith(b"0\r\n\r\n")
    assert wired.row.outcome == "client_left"
    assert response.closed
    assert wired.ledger.holds == {}


async def test_a_stream_waits_for_a_reader_that_is_slow(served):
    """Nobody reads: what the system does not take stays with the provider, not in our memory."""
    response = FakeResponse([*[says("x" * 65_536) for _ in range(300)], ends()], headers=EVENTS)
    wired = Wired(response)
    client = await served(wired)
    _, writer = await client.ask(post(asked(stream=True)))
    left = response.left
    while not 0 < left == response.left < 300:
        left = response.left
        await asyncio.sleep(0.1)
    assert left > 100
    writer.close()
    await until(lambda: wired.ledger.rows)
    assert wired.row.outcome == "client_left"


async def test_a_body_that_is_not_the_gzip_it_claims_to_be_is_400(served):
    wired = Wired()
    broken = gzip.compress(asked())[:-9] + b"123456789"
    text = await (await served(wired)).talk(post(broken, "Content-Encoding: gzip"))
    assert text.startswith(b"HTTP/1.1 400 ")
    assert error_of(text)["code"] == "invalid_request"
    assert wired.listener.refusals[0][1] == "invalid_request"


async def test_a_gzipped_body_is_read(served):
    wired = Wired(FakeResponse([answer()]))
    text = await (await served(wired)).talk(post(gzip.compress(asked()), "Content-Encoding: gzip"))
    assert text.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    "text",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 40_000 + b"\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    ],
)
async def test_what_is_not_http_gets_our_error_and_no_traceback(served, text, caplog):
    got = await (await served(Wired())).talk(text)
    head = got.partition(b"\r\n\r\n")[0].lower()
    assert head.partition(b"\r\n")[0].endswith(b" 400 bad request")
    assert b"server: costrouter" in head
    assert b"aiohttp" not in head
    assert b"x-request-id: req_" in head
    assert error_of(got)["code"] == "invalid_request"
    assert caplog.records == []


@pytest.mark.parametrize("text", [b"", b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n"], ids=["silent", "half"])
async def test_a_connection_without_a_whole_head_is_closed_in_time(served, monkeypatch, text):
    monkeypatch.setattr(http_server, "KEEPALIVE_S", 0.2)
    assert await (await served(Wired())).talk(text) == b""


async def test_a_body_that_stops_arriving_is_408(served, monkeypatch):
    monkeypatch.setattr(http_connection, "BODY_IDLE_S", 0.2)
    text = await (await served(Wired())).talk(post(b"{", length=100), until=b"}}")
    assert text.startswith(b"HTTP/1.1 408 ")
    assert error_of(text)["code"] == "request_timeout"


@pytest.mark.parametrize("direct_bytes", [http_server.DIRECT_BYTES, 0], ids=["direct", "aiohttp"])
async def test_a_body_on_its_way_still_arrives_when_the_server_stops(direct_bytes):
    wired = Wired(FakeResponse([answer()]))
    handlers = HttpServer(wired.pipeline, {}, max_body=100_000, direct_bytes=direct_bytes).protocol_factory()
    listening = await asyncio.get_running_loop().create_server(handlers, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*listening.sockets[0].getsockname())
    head, _, body = post(asked()).partition(b"\r\n\r\n")
    writer.write(head + b"\r\n\r\n" + body[:5])
    await until(lambda: any(connection._request_in_progress for connection in handlers.connections))
    listening.close()
    handlers.pre_shutdown()
    writer.write(body[5:])
    async with asyncio.timeout(5):
        assert (await reader.read()).startswith(b"HTTP/1.1 200 OK")
    writer.close()
    await handlers.shutdown(0.1)
