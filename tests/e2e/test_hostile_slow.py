"""Callers that send in drops, and callers that send nothing: they hold up nobody. docs/security.md lists these tests."""

from __future__ import annotations

import asyncio

import pytest
from fakes import FakeResponse
from wired import SECRET, Wired, answer, asked

from router.adapters.http import connection as http_connection
from router.adapters.http import server as http_server
from router.adapters.http.server import HttpServer

BODY = asked()
HEAD = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {SECRET}\r\nContent-Length: %d\r\n\r\n"


@pytest.fixture
async def port(monkeypatch):
    """A server whose patience is a fraction of a second; it is the patience itself that is tried here."""
    monkeypatch.setattr(http_server, "KEEPALIVE_S", 0.4)
    for module in (http_connection, http_server):
        if hasattr(module, "BODY_IDLE_S"):
            monkeypatch.setattr(module, "BODY_IDLE_S", 0.4)
    wired = Wired(FakeResponse([answer()]))
    handlers = HttpServer(wired.pipeline, {}, max_body=100_000).protocol_factory()
    listening = await asyncio.get_running_loop().create_server(handlers, "127.0.0.1", 0)
    yield listening.sockets[0].getsockname()[1]
    listening.close()
    await handlers.shutdown(0.1)


async def dripped(port, text, pause=0.05):
    """What comes back to a caller who sends a byte now and then; b"" where the connection is closed without a word."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def drip():
        for byte in text:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(pause)

    dripping = asyncio.create_task(drip())
    try:
        async with asyncio.timeout(20):
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        dripping.cancel()
        await asyncio.gather(dripping, return_exceptions=True)
        writer.close()


async def test_a_head_that_comes_in_drops_is_cut_off(port):
    """However busily it drips: a head has so long in all."""
    endless = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n" + b"X-A: " + b"a" * 1000
    assert b" 200 " not in await dripped(port, endless)
    assert b" 200 " not in await dripped(port, b"G" * 1000)


async def test_a_connection_that_says_nothing_is_closed(port):
    assert await dripped(port, b"") == b""


@pytest.mark.soak
async def test_a_body_that_falls_silent_is_refused(port):
    for body in (BODY[:10], b""):
        given = await dripped(port, HEAD.encode() % len(BODY) + body, pause=0)
        assert b" 408 " in given.partition(b"\r\n")[0], given
        assert b"request_timeout" in given


async def test_many_slow_callers_hold_up_nobody(port):
    slow = [asyncio.create_task(dripped(port, HEAD.encode() % len(BODY) + BODY, pause=0.2)) for _ in range(50)]
    await asyncio.sleep(0.1)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(HEAD.encode() % len(BODY) + BODY)
    async with asyncio.timeout(10):
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    writer.close()
    for task in slow:
        task.cancel()
    await asyncio.gather(*slow, return_exceptions=True)
