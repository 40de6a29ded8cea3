"""A connection between requests, and when it is told to end."""

import asyncio

import pytest
from fakes import FakeResponse
from store import until
from wired import EVENTS, SECRET, Wired, answer, asked, ends, says

from router.adapters.http import connection as http_connection
from router.adapters.http.server import HttpServer


class Caller:
    def __init__(self, handlers, reader, writer):
        self.handlers = handlers
        self.reader = reader
        self.writer = writer

    @property
    def connection(self):
        (connection,) = self.handlers.connections
        return connection

    async def status(self):
        """Of the next answer, whose body is read."""
        async with asyncio.timeout(10):
            head = (await self.reader.readuntil(b"\r\n\r\n")).lower()
            length = head.partition(b"content-length: ")[2].partition(b"\r\n")[0]
            await self.reader.readexactly(int(length))
        return int(head.split()[1])


@pytest.fixture
async def call():
    """Gives a function from a wired pipeline to a caller on a connection to its server."""
    opened = []

    async def connect(wired):
        handlers = HttpServer(wired.pipeline, {}, max_body=100_000).protocol_factory()
        listening = await asyncio.get_running_loop().create_server(handlers, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*listening.sockets[0].getsockname())
        opened.append((handlers, listening, writer))
        await until(lambda: handlers.connections)
        return Caller(handlers, reader, writer)

    yield connect
    for handlers, listening, writer in opened:
        writer.close()
        listening.close()
        await handlers.shutdown(0.1)


def post(body, *extra, length=None, path="/v1/chat/completions", secret=SECRET):
    lines = [f"POST {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {secret}", *extra]
    lines.append(f"Content-Length: {len(body) if length is None else length}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def answers(count):
    return Wired(*[FakeResponse([answer()]) for _ in range(count)])


async def test_requests_that_come_together_are_answered_in_turn(call):
    caller = await call(answers(3))
    caller.writer.write(post(asked()) + post(asked()) + post(b"{") + post(asked()))
    assert [await caller.status() for _ in range(4)] == [200, 200, 400, 200]


async def test_after_something_unusual_the_connection_still_serves_prompts(call):
    caller = await call(answers(2))
    caller.writer.write(post(asked()) + post(b"", path="/v1/nothing") + post(asked()))
    assert [await caller.status() for _ in range(3)] == [200, 404, 200]


async def test_too_much_that_comes_early_waits_in_the_socket(call):
    shut = asyncio.Event()
    caller = await call(Wired(FakeResponse([shut, answer()]), *[FakeResponse([answer()]) for _ in range(3)]))
    large = asked(user="x" * 40_000)
    caller.writer.write(post(asked()) + post(large) * 3)
    await until(lambda: caller.connection._buffer_paused)
    shut.set()
    assert [await caller.status() for _ in range(4)] == [200] * 4
    assert not caller.connection._buffer_paused


async def test_the_rest_of_a_body_that_is_refused_early_is_read_and_left(call):
    caller = await call(answers(1))
    caller.writer.write(post(asked(), length=len(asked()) + 5, secret="wrong"))
    assert await caller.status() == 401
    caller.writer.write(b"xxxxx" + post(asked()))
    assert await caller.status() == 200


async def test_a_rest_that_does_not_come_ends_the_connection(call, monkeypatch):
    monkeypatch.setattr(http_connection, "LINGER_S", 0.1)
    caller = await call(answers(0))
    caller.writer.write(post(b"{", length=50, secret="wrong"))
    assert await caller.status() == 401
    async with asyncio.timeout(10):
        assert await caller.reader.read() == b""


async def test_a_caller_that_leaves_within_its_body_is_forgotten(call):
    wired = answers(0)
    caller = await call(wired)
    caller.writer.write(post(asked(), length=1_000))
    await until(lambda: caller.connection._request_in_progress)
    caller.writer.close()
    await until(lambda: not caller.handlers.connections)
    assert wired.ledger.rows == []


async def test_told_to_close_a_connection_is_closed_once_it_has_answered(call):
    shut = asyncio.Event()
    caller = await call(Wired(FakeResponse([shut, answer()])))
    caller.writer.write(post(asked()))
    await until(lambda: caller.connection._request_in_progress)
    caller.handlers.pre_shutdown()
    shut.set()
    assert await caller.status() == 200
    async with asyncio.timeout(10):
        assert await caller.reader.read() == b""


async def test_a_connection_under_way_is_not_taken_for_silent(call, monkeypatch):
    shut = asyncio.Event()
    caller = await call(Wired(FakeResponse([shut, answer()])))
    caller.connection._keepalive_timeout = 0.05
    caller.writer.write(post(asked()))
    await until(lambda: caller.connection._request_in_progress)
    caller.connection._process_keepalive()
    await asyncio.sleep(0.2)
    shut.set()
    assert await caller.status() == 200
    async with asyncio.timeout(10):
        assert await caller.reader.read() == b"", "silent since its answer"


async def test_a_stream_that_does_not_end_in_time_is_called_off_when_the_server_stops(call):
    wired = Wired(FakeResponse([says("Hello"), asyncio.Event(), ends()], headers=EVENTS))
    caller = await call(wired)
    caller.writer.write(post(asked(stream=True)))
    async with asyncio.timeout(10):
        await caller.reader.readuntil(b"Hello")
        await caller.handlers.shutdown(0.05)
        await wired.pipeline.close(0.05)
        assert not (await caller.reader.read()).endswith(b"0\r\n\r\n")
    assert wired.row.outcome == "client_left"
