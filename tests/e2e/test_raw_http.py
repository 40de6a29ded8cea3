"""HTTP itself, byte by byte over a socket: what SDKs never send and others do."""

from __future__ import annotations

import asyncio
import json

import pytest

BODY = json.dumps(
    {"model": "openai/gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5}
).encode()


class Line:
    """One connection to a node."""

    def __init__(self, reader, writer):
        self.reader = reader
        self.writer = writer

    async def answer(self):
        """Status, headers and body of the next response."""
        async with asyncio.timeout(15):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
            status, *fields = head.rstrip().split("\r\n")
            headers = {name.lower(): value for name, _, value in (field.partition(": ") for field in fields)}
            return int(status.split()[1]), headers, await self.reader.readexactly(int(headers.get("content-length", 0)))


@pytest.fixture
async def line(node):
    reader, writer = await asyncio.open_connection("127.0.0.1", int(node.url.rpartition(":")[2]))
    yield Line(reader, writer)
    writer.close()


def request(tenant, body=BODY, *extra, length=None):
    lines = ["POST /v1/chat/completions HTTP/1.1", "Host: x", f"Authorization: Bearer {tenant.key}", *extra]
    lines += [f"Content-Length: {len(body) if length is None else length}", "", ""]
    return "\r\n".join(lines).encode() + body


async def test_two_requests_in_one_packet_are_answered_in_order(tenant, line):
    line.writer.write(request(tenant) + request(tenant, b"{}"))
    assert (await line.answer())[0] == 200
    assert (await line.answer())[0] == 400
    await tenant.rows(1)


async def test_a_body_in_single_bytes_is_read(tenant, line):
    for byte in request(tenant):
        line.writer.write(bytes([byte]))
        await line.writer.drain()
    assert (await line.answer())[0] == 200


async def test_an_unknown_key_is_refused_before_its_body_is_read(line):
    line.writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 50000000\r\n\r\n")
    assert (await line.answer())[0] == 401


async def test_a_client_that_waits_to_be_told_is_told_to_continue(tenant, line):
    text = request(tenant, b"", "Expect: 100-continue", length=len(BODY))
    line.writer.write(text)
    assert (await line.answer())[0] == 100
    line.writer.write(BODY)
    assert (await line.answer())[0] == 200


async def test_a_body_that_is_never_finished_costs_nothing(node, tenant, line):
    line.writer.write(request(tenant, length=len(BODY) + 10))
    await line.writer.drain()
    line.writer.close()
    await line.writer.wait_closed()
    await asyncio.sleep(0.2)
    await tenant.rows(0)
    assert node.bill() == []


@pytest.mark.parametrize(
    "text",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 40_000 + b"\r\n\r\n",
        b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
    ids=["nonsense", "long header", "long path", "two lengths", "length and chunks"],
)
async def test_broken_http_is_refused_and_the_connection_closed(node, line, text):
    line.writer.write(text)
    status, _, body = await line.answer()
    assert 400 <= status < 500
    assert b"Traceback" not in body
    assert await line.reader.read() == b""
    assert node.http.get(f"{node.url}/healthz").status_code == 200


async def test_a_connection_is_kept_for_the_next_request(tenant, line):
    for _ in range(3):
        line.writer.write(request(tenant))
        assert (await line.answer())[0] == 200
    await tenant.rows(3)


async def test_http_1_0_gets_its_stream_and_a_closed_connection(tenant, line):
    body = json.dumps(json.loads(BODY) | {"stream": True}).encode()
    line.writer.write(request(tenant, body).replace(b"HTTP/1.1", b"HTTP/1.0"))
    async with asyncio.timeout(15):
        text = await line.reader.read()
    assert text.startswith(b"HTTP/1.0 200")
    assert text.endswith(b"data: [DONE]\n\n")
    assert b"chunked" not in text.lower()
    await tenant.rows(1)
