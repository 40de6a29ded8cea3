"""The aiohttp client behind an HTTP proxy, which is what it is for.

Belongs here: forwarding and tunnelling. Does not belong here: what every client guarantees (test_upstream_contract).
"""

from __future__ import annotations

import asyncio

import pytest
from scripted_server import answers, make_certificate, serve

from router.adapters.upstream.behind_proxy import AiohttpUpstream
from router.ports import Origin, Timeouts, UpstreamFailure, UpstreamRequest

HELLO = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"


def post(origin):
    return UpstreamRequest(origin, "POST", "/v1/chat", ((b"authorization", b"Bearer k"),), b"{}", Timeouts(connect=5))


def url_of(server):
    return f"http://127.0.0.1:{server.origin.port}"


async def through(proxy, origin, *, trust=None):
    client = AiohttpUpstream(url_of(proxy), trust)
    try:
        response = await client.send(post(origin))
        return response.status, await response.read(1000)
    finally:
        await client.close()


async def tunnel(peer):
    """Answers CONNECT and joins the two sides."""
    connect = await peer.request()
    host, port = connect.split()[1].rsplit(b":", 1)
    reader, writer = await asyncio.open_connection(host.decode(), int(port))
    await peer.send(b"HTTP/1.1 200 Established\r\n\r\n")

    async def pump(source, sink):
        try:
            while data := await source.read(65536):
                sink.write(data)
                await sink.drain()
        except ConnectionError:
            pass  # one side is gone: so is the tunnel
        finally:
            sink.close()

    await asyncio.gather(pump(peer.reader, writer), pump(reader, peer.writer))


async def test_plain_requests_go_to_the_proxy_with_the_whole_address():
    async with serve(answers(HELLO)) as proxy:
        assert await through(proxy, Origin("http", "upstream.invalid", 8000, "/b")) == (200, b"hello")
    assert proxy.requests[0].startswith(b"POST http://upstream.invalid:8000/b/v1/chat HTTP/1.1\r\n")


async def test_tls_goes_through_a_tunnel_and_the_proxy_sees_no_key(tmp_path):
    server_side, client_side = make_certificate(tmp_path)
    async with serve(answers(HELLO), tls=server_side) as server, serve(tunnel) as proxy:
        assert await through(proxy, server.origin, trust=client_side) == (200, b"hello")
        assert len(server.requests) == 1
    assert proxy.requests[0].startswith(b"CONNECT localhost:%d " % server.origin.port)
    assert b"Bearer" not in proxy.requests[0]


async def test_a_proxy_that_refuses_the_tunnel_is_a_failure_to_connect():
    async with serve(answers(b"HTTP/1.1 407 Who\r\ncontent-length: 0\r\n\r\n")) as proxy:
        with pytest.raises(UpstreamFailure) as caught:
            await through(proxy, Origin("https", "upstream.invalid", 443))
    assert (caught.value.fault, caught.value.sent) == ("connect", False)
    assert "407" in caught.value.message


async def test_a_proxy_that_is_not_there_is_a_failure_to_connect():
    async with serve(answers(HELLO)) as proxy:
        pass
    with pytest.raises(UpstreamFailure) as caught:
        await through(proxy, Origin("http", "upstream.invalid", 80))
    assert (caught.value.fault, caught.value.sent) == ("connect", False)
