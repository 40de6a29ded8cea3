"""What every upstream client guarantees, held against servers that misbehave over real sockets.

Belongs here: behaviour seen through the port. Does not belong here: the raw client's inner workings (test_upstream).
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import zlib

import pytest
from scripted_server import answers, answers_once, make_certificate, serve, until

from router.adapters.upstream.behind_proxy import AiohttpUpstream
from router.adapters.upstream.client import RawUpstream
from router.ports import Origin, Timeouts, UpstreamFailure, UpstreamRequest

OK = b"HTTP/1.1 200 OK\r\n"
HELLO = OK + b"content-length: 5\r\n\r\nhello"
SHORT = 0.12
LIMIT = 2**20


def raw(**options):
    return RawUpstream(**options)


def over_aiohttp(**options):
    return AiohttpUpstream(None, **options)


BOTH = [pytest.param(raw, id="raw"), pytest.param(over_aiohttp, id="aiohttp")]
STRICT = BOTH[:1]
"""Where aiohttp cannot promise the same: it parses responses leniently."""

both = pytest.mark.parametrize("make", BOTH)
strict = pytest.mark.parametrize("make", STRICT)


@pytest.fixture
async def upstream(make):
    client = make()
    yield client
    await client.close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    return make_certificate(tmp_path_factory.mktemp("tls"), names="DNS:elsewhere.example")


def post(origin, body=b"{}", *, method="POST", path="/v1/chat", headers=(), **bounds):
    timeouts = {"connect": 5.0, "first_byte": 5.0, "between_chunks": 5.0, "total": 20.0} | bounds
    return UpstreamRequest(origin, method, path, headers, body, Timeouts(**timeouts))


async def fetch(upstream, request):
    response = await upstream.send(request)
    body = await response.read(LIMIT)
    response.close()
    return response, body


async def drain(response):
    pieces = []
    while piece := await response.chunk():
        pieces.append(piece)
    return b"".join(pieces)


async def silent(peer):
    await peer.request()
    await peer.gone()


# The request.


@both
async def test_the_request_goes_out_as_given(upstream):
    async with serve(answers(HELLO)) as server:
        origin = Origin("http", "127.0.0.1", server.origin.port, "/base")
        await fetch(upstream, post(origin, b'{"a":1}', headers=((b"authorization", b"Bearer k"), (b"x-a", b"1"))))
    head, body = server.requests[0].split(b"\r\n\r\n")
    start, *lines = head.split(b"\r\n")
    assert start == b"POST /base/v1/chat HTTP/1.1"
    assert body == b'{"a":1}'
    sent = sorted(line.lower() for line in lines)
    assert sent == sorted(
        [
            b"host: 127.0.0.1:%d" % origin.port,
            b"authorization: bearer k",
            b"x-a: 1",
            b"accept-encoding: identity",
            b"content-length: 7",
        ]
    )


@both
async def test_a_get_has_no_body_and_an_empty_post_says_so(upstream):
    async with serve(answers(HELLO)) as server:
        await fetch(upstream, post(server.origin, b"", method="GET"))
        await fetch(upstream, post(server.origin, b""))
    get, empty = (request.lower() for request in server.requests)
    assert b"content-length" not in get
    assert b"content-length: 0\r\n" in empty


@both
async def test_the_callers_own_accept_encoding_wins(upstream):
    async with serve(answers(HELLO)) as server:
        await fetch(upstream, post(server.origin, headers=((b"accept-encoding", b"gzip"),)))
    assert server.requests[0].lower().count(b"accept-encoding") == 1
    assert b"identity" not in server.requests[0]


@both
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("headers", ((b"x", b"1\r\nx-evil: 1"),)),
        ("headers", ((b"x", b"a\nb"),)),
        ("headers", ((b"x", b"a\rb"),)),
        ("headers", ((b"x\r\ny", b"a"),)),
        ("headers", ((b"x", b"\0"),)),
        ("headers", ((b"content-length", b"3"),)),
        ("headers", ((b"transfer-encoding", b"chunked"),)),
        ("headers", ((b"host", b"other"),)),
        ("path", "/a b"),
        ("path", "/a\r\nx: y"),
        ("path", "/ä"),
        ("path", "a"),
        ("method", "GET /x HTTP/1.1\r\nx: "),
        ("method", ""),
    ],
)
async def test_parts_that_would_break_the_framing_are_refused_unsent(upstream, field, value):
    async with serve(silent) as server:
        with pytest.raises(UpstreamFailure) as caught:
            await upstream.send(post(server.origin, **{field: value}))
    assert (caught.value.fault, caught.value.sent, server.requests) == ("protocol", False, [])
    assert "evil" not in caught.value.message


@both
async def test_a_body_of_megabytes_arrives_whole(upstream):
    body = bytes(range(256)) * 4096 * 5

    async def slow_reader(peer):
        await asyncio.sleep(0.05)
        await peer.request()
        await peer.send(HELLO)

    async with serve(slow_reader) as server:
        await fetch(upstream, post(server.origin, body))
    assert server.requests[0].endswith(b"\r\n\r\n" + body)


# The response.


@both
@pytest.mark.parametrize(
    ("pieces", "body"),
    [
        ((HELLO,), b"hello"),
        ((OK + b"content-length: 0\r\n\r\n",), b""),
        ((OK + b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n", b"1;x=y\r\n!\r\n0\r\n\r\n"), b"hello!"),
        ((OK + b"Transfer-Encoding: Chunked\r\n\r\n2\r\nhi\r\n0\r\nx-trailer: t\r\n\r\n",), b"hi"),
        ((OK + b"connection: close\r\n\r\nhel", b"lo"), b"hello"),
        ((OK + b"\r\n", b"hello"), b"hello"),
        ((b"HTTP/1.0 200 OK\r\n\r\nhello",), b"hello"),
        ((b"HTTP/1.1 100 Continue\r\n\r\n" + HELLO,), b"hello"),
        ((b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n", HELLO), b"hello"),
        ((b"HTTP/1.1 204 No Content\r\n\r\n",), b""),
        ((b"HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n",), b""),
        ((b"HTTP/1.1 503 \r\ncontent-length: 4\r\n\r\nbusy",), b"busy"),
    ],
)
async def test_every_framing_gives_its_body(upstream, pieces, body):
    async with serve(answers_once(*pieces, gap=0.01)) as server:
        response, whole = await fetch(upstream, post(server.origin))
        await until(lambda: server.hung_up == 1)
        await asyncio.sleep(0.02)
        chunked = await upstream.send(post(server.origin))
        assert await drain(chunked) == whole == body
        assert await chunked.chunk() == b""
        assert "link" not in response.headers


@both
async def test_the_status_is_the_final_one(upstream):
    async with serve(
        answers(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 429 Slow\r\nretry-after: 3\r\ncontent-length: 0\r\n\r\n")
    ) as server:
        response, _ = await fetch(upstream, post(server.origin))
    assert (response.status, response.headers["retry-after"]) == (429, "3")


@both
async def test_header_names_are_lower_case_and_repeats_joined(upstream):
    async with serve(
        answers(
            OK
            + b"X-A: 1\r\nx-a:  2 \r\nX-B:\r\nX-\xc3: \r\n".replace(b"X-\xc3: \r\n", b"")
            + b"Content-Length: 0\r\n\r\n"
        )
    ) as server:
        response, _ = await fetch(upstream, post(server.origin))
    assert response.headers == {"x-a": "1, 2", "x-b": "", "content-length": "0"}


@both
async def test_a_head_request_has_no_body_whatever_its_length_says(upstream):
    async with serve(answers(OK + b"content-length: 9999999\r\n\r\n")) as server:
        response = await upstream.send(post(server.origin, b"", method="HEAD"))
        assert await response.read(10) == b""
        assert response.headers["content-length"] == "9999999"
        _, body = await fetch(upstream, post(server.origin, b"", method="HEAD"))
        assert body == b""


@both
async def test_a_response_byte_by_byte_is_the_same(upstream):
    message = OK + b"transfer-encoding: chunked\r\nx-a: b\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    async with serve(answers(*(message[i : i + 1] for i in range(len(message))), gap=0.0005)) as server:
        response, body = await fetch(upstream, post(server.origin))
    assert (response.headers["x-a"], body) == ("b", b"hello")


@both
async def test_chunks_are_there_as_they_arrive(upstream):
    go_on = asyncio.Event()

    async def script(peer):
        await peer.request()
        await peer.send(OK + b"transfer-encoding: chunked\r\n\r\n3\r\none\r\n")
        await go_on.wait()
        await peer.send(b"3\r\ntwo\r\n0\r\n\r\n")

    async with serve(script) as server:
        response = await upstream.send(post(server.origin))
        assert await response.chunk() == b"one"
        go_on.set()
        assert await drain(response) == b"two"


@both
@pytest.mark.parametrize("coding", ["gzip", "x-gzip", "deflate", "raw deflate"])
async def test_compressed_bodies_are_decoded(upstream, coding):
    plain = b"some text " * 100_000
    if coding == "raw deflate":
        packer = zlib.compressobj(wbits=-15)
        packed = packer.compress(plain) + packer.flush()
    else:
        packed = zlib.compress(plain) if coding == "deflate" else gzip.compress(plain[:7]) + gzip.compress(plain[7:])
    head = OK + b"content-encoding: %b\r\ncontent-length: %d\r\n\r\n" % (coding.split()[-1].encode(), len(packed))
    async with serve(answers(head + packed[:100], packed[100:], gap=0.01)) as server:
        response, body = await fetch(upstream, post(server.origin))
        assert body == plain
        assert await drain(await upstream.send(post(server.origin))) == plain
    assert "content-encoding" not in response.headers
    assert "content-length" not in response.headers


@both
async def test_a_coding_nobody_knows_is_passed_on_with_its_header(upstream):
    async with serve(answers(OK + b"content-encoding: br\r\ncontent-length: 3\r\n\r\nxyz")) as server:
        response, body = await fetch(upstream, post(server.origin))
    assert (response.headers["content-encoding"], body) == ("br", b"xyz")


# Limits.


@both
@pytest.mark.parametrize(
    "message",
    [
        OK + b"content-length: 11\r\n\r\nhello hello",
        OK + b"content-length: 4000000000\r\n\r\nhello",
        OK + b"transfer-encoding: chunked\r\n\r\nb\r\nhello hello\r\n0\r\n\r\n",
        OK + b"content-encoding: gzip\r\nconnection: close\r\n\r\n" + gzip.compress(b"\0" * 10_000_000),
    ],
)
async def test_a_body_over_the_limit_is_too_large_and_ends_its_connection(upstream, message):
    async def script(peer):
        await peer.request()
        await peer.send(message)
        await peer.gone()

    async with serve(script) as server:
        response = await upstream.send(post(server.origin))
        with pytest.raises(UpstreamFailure) as caught:
            await response.read(10)
        response.close()
        assert (caught.value.fault, caught.value.sent) == ("too_large", True)
        assert "10 bytes" in caught.value.message


@both
async def test_a_body_of_exactly_the_limit_is_read(upstream):
    async with serve(answers(HELLO)) as server:
        assert await (await upstream.send(post(server.origin))).read(5) == b"hello"


@both
async def test_a_bomb_comes_in_bounded_chunks(upstream):
    packed = gzip.compress(b"\0" * 20_000_000)
    head = OK + b"content-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(packed)
    async with serve(answers(head + packed)) as server:
        response = await upstream.send(post(server.origin))
        sizes = []
        while piece := await response.chunk():
            sizes.append(len(piece))
    assert sum(sizes) == 20_000_000
    assert max(sizes) <= 128 * 1024


@both
@pytest.mark.parametrize(
    "head",
    [
        OK + b"x: " + b"a" * 70_000 + b"\r\n",
        OK + b"".join(b"x-%d: 1\r\n" % n for n in range(140)),
    ],
    ids=["bytes", "lines"],
)
async def test_a_head_over_its_bounds_is_refused(upstream, head):
    async with serve(answers(head + b"content-length: 0\r\n\r\n")) as server:
        with pytest.raises(UpstreamFailure) as caught:
            await upstream.send(post(server.origin))
    assert (caught.value.fault, caught.value.sent) == ("protocol", True)


@strict
@pytest.mark.parametrize(
    "endless",
    [b"x" * 8192, b"x: y\r\n" * 1024, b"\r\n" + b"HTTP/1.1 103 Hint\r\n\r\n" * 400],
    ids=["one line", "lines", "interim responses"],
)
async def test_an_endless_head_is_cut_off(upstream, endless):
    async def script(peer):
        await peer.request()
        await peer.send(b"HTTP/1.1 103 Hint\r\na: ")
        with contextlib.suppress(ConnectionError):
            while True:
                await peer.send(endless)

    async with serve(script) as server:
        with pytest.raises(UpstreamFailure) as caught:
            await upstream.send(post(server.origin))
        await until(lambda: server.hung_up == 1)
    assert caught.value.fault == "protocol"


@both
async def test_a_reader_that_rests_holds_the_sender_up(upstream):
    sent = 0
    total = 40 * 2**20

    async def script(peer):
        nonlocal sent
        await peer.request()
        await peer.send(OK + b"content-length: %d\r\n\r\n" % total)
        while sent < total:
            await peer.send(b"x" * 2**18)
            sent += 2**18

    async with serve(script) as server:
        response = await upstream.send(post(server.origin))
        before = -1
        while before != sent:
            before = sent
            await asyncio.sleep(0.15)
        assert sent < total / 2
        assert len(await response.chunk()) < 2**20
        assert len(await drain(response)) > total / 2
        await until(lambda: sent == total)


# What breaks.


@both
@pytest.mark.parametrize(
    "head",
    [
        b"content-length: 5\r\ncontent-length: 6",
        b"content-length: 5\r\ntransfer-encoding: chunked",
        b"transfer-encoding: chunked\r\ncontent-length: 5",
        b"content-length: -5",
        b"content-length: +5",
        b"content-length: 99999999999999999999999",
        b"content-length: 5, 6",
        b"x: a\0b",
    ],
)
async def test_conflicting_or_impossible_heads_are_refused(upstream, head):
    async with serve(answers(OK + head + b"\r\n\r\nhello")) as server:
        with pytest.raises(UpstreamFailure) as caught:
            await fetch(upstream, post(server.origin))
    assert (caught.value.fault, caught.value.sent) == ("protocol", True)
    assert f"127.0.0.1:{server.origin.port}" in caught.value.message


@strict
@pytest.mark.parametrize(
    "message",
    [
        OK + b"x: a\r\n b\r\ncontent-length: 0\r\n\r\n",
        OK + b"x: a\r\n\tb\r\ncontent-length: 0\r\n\r\n",
        OK + b"x : a\r\ncontent-length: 0\r\n\r\n",
        OK + b"content-length: 5\r\ncontent-length: 5\r\n\r\nhello",
        OK + b"transfer-encoding: gzip\r\n\r\nhello",
        OK + b"transfer-encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
        OK + b"x: a\rb\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\ncontent-length: 0\n\n",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
        b"HTTP/1.1 099 What\r\n\r\n",
        b"SSH-2.0-server\r\n",
    ],
)
async def test_what_other_parsers_let_through_is_refused(upstream, message):
    async with serve(answers(message)) as server:
        with pytest.raises(UpstreamFailure) as caught:
            await upstream.send(post(server.origin))
        assert (caught.value.fault, caught.value.sent) == ("protocol", True)
        await until(lambda: server.hung_up == 1)


@both
@pytest.mark.parametrize(
    "junk", [b"zz\r\nhello\r\n0\r\n\r\n", b"fffffffffffffffffff\r\nhello", b"5\r\nhelloXX0\r\n\r\n"]
)
async def test_broken_chunks_are_a_protocol_failure(upstream, junk):
    async with serve(answers(OK + b"transfer-encoding: chunked\r\n\r\n", junk, gap=0.02)) as server:
        response = await upstream.send(post(server.origin))
        with pytest.raises(UpstreamFailure) as caught:
            await response.read(LIMIT)
    assert (caught.value.fault, caught.value.sent) == ("protocol", True)


@both
@pytest.mark.parametrize("coding", [b"gzip", b"deflate"])
@pytest.mark.parametrize("how", ["junk", "cut"])
async def test_a_broken_coding_is_a_protocol_failure(upstream, coding, how):
    packed = gzip.compress(b"secret" * 99) if coding == b"gzip" else zlib.compress(b"secret" * 99)
    body = packed[:-4] if how == "cut" else b"\xff\x78secret"
    head = OK + b"content-encoding: %b\r\ncontent-length: %d\r\n\r\n" % (coding, len(body))
    async with serve(answers(head + body)) as server:
        response = await upstream.send(post(server.origin))
        with pytest.raises(UpstreamFailure) as caught:
            await response.read(LIMIT)
    assert (caught.value.fault, caught.value.sent) == ("protocol", True)
    assert "secret" not in caught.value.message


@both
@pytest.mark.parametrize("end", ["close", "reset"])
@pytest.mark.parametrize("method", ["POST"])
@pytest.mark.parametrize("before", [b"", b"HTTP/1.1 20", OK + b"content-le"])
async def test_a_connection_lost_before_the_head_is_a_reset(upstream, end, method, before):
    async def script(peer):
        await peer.request()
        await peer.send(before)
        if end == "reset":
            peer.reset()

    async with serve(script) as server:
        with pytest.raises(UpstreamFailure) as caught:
            await upstream.send(post(server.origin, method=method))
        assert len(server.requests) == 1
    assert (caught.value.fault, caught.value.sent) == ("reset", True)


@both
@pytest.mark.parametrize(
    "framing", [b"content-length: 50\r\n\r\nhello", b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n"]
)
@pytest.mark.parametrize("end", ["close", "reset"])
async def test_a_body_that_ends_early_is_a_reset_after_what_came(upstream, framing, end):
    cut = asyncio.Event()

    async def script(peer):
        await peer.request()
        await peer.send(OK + framing)
        await cut.wait()
        if end == "reset":
            peer.reset()

    async with serve(script) as server:
        response = await upstream.send(post(server.origin))
        assert await response.chunk() == b"hello"
        cut.set()
        for _ in range(2):
            with pytest.raises(UpstreamFailure) as caught:
                await response.chunk()
            assert (caught.value.fault, caught.value.sent) == ("reset", True)
        response = await upstream.send(post(server.origin))
        with pytest.raises(UpstreamFailure) as caught:
            await response.read(LIMIT)
        assert caught.value.fault == "reset"


@both
async def test_a_reset_ends_a_body_without_length_as_a_failure(upstream):
    cut = asyncio.Event()

    async def script(peer):
        await peer.request()
        await peer.send(OK + b"connection: close\r\n\r\nhello")
        await cut.wait()
        peer.reset()

    async with serve(script) as server:
        response = await upstream.send(post(server.origin))
        assert await response.chunk() == b"hello"
        cut.set()
        with pytest.raises(UpstreamFailure) as caught:
            await response.chunk()
    assert caught.value.fault == "reset"


@both
async def test_nobody_listening_is_a_failure_to_connect(upstream):
    async with serve(silent) as server:
        origin = server.origin
    with pytest.raises(UpstreamFailure) as caught:
        await upstream.send(post(origin))
    assert (caught.value.fault, caught.value.sent) == ("connect", False)
    assert str(origin.port) in caught.value.message


@both
async def test_a_name_that_does_not_resolve_is_a_failure_to_connect(upstream):
    with pytest.raises(UpstreamFailure) as caught:
        await upstream.send(post(Origin("http", "no-such-host.invalid", 80)))
    assert (caught.value.fault, caught.value.sent) == ("connect", False)
    assert "no-such-host.invalid" in caught.value.message


# Timeouts.


def assert_timeout(failure, *, sent, names):
    assert (failure.fault, failure.sent) == ("timeout", sent)
    assert names in failure.message
    assert "127.0.0.1" in failure.message or "localhost" in failure.message


@both
async def test_no_head_in_time(upstream):
    async with serve(silent) as server:
        with pytest.raises(UpstreamFailure) as caught:
            await upstream.send(post(server.origin, first_byte=SHORT))
        await until(lambda: server.hung_up == 1)
    assert_timeout(caught.value, sent=True, names=f"head within {SHORT} s")


@both
async def test_half_a_head_is_no_head(upstream):
    async def script(peer):
        await peer.request()
        await peer.send(
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n", b"a", b"b", b"c", b"d", b"e", gap=SHORT / 2
        )
        await peer.gone()

    async with serve(script) as server:
        with pytest.raises(UpstreamFailure) as caught:
            await upstream.send(post(server.origin, first_byte=SHORT))
    assert_timeout(caught.value, sent=True, names="head within")


@both
async def test_a_pause_in_the_middle(upstream):
    async def script(peer):
        await peer.request()
        await peer.send(OK + b"content-length: 50\r\n\r\nhello")
        await peer.gone()

    async with serve(script) as server:
        response = await upstream.send(post(server.origin, between_chunks=SHORT))
        assert await response.chunk() == b"hello"
        with pytest.raises(UpstreamFailure) as caught:
            await response.chunk()
        await until(lambda: server.hung_up == 1)
    assert_timeout(caught.value, sent=True, names=f"nothing for {SHORT} s")


@both
async def test_many_short_pauses_are_fine(upstream):
    pieces = [OK + b"content-length: 5\r\n\r\n", b"h", b"e", b"l", b"l", b"o"]
    async with serve(answers(*pieces, gap=0.06)) as server:
        _, body = await fetch(upstream, post(server.origin, between_chunks=0.2))
    assert body == b"hello"


@both
@pytest.mark.parametrize("head", [b"", OK + b"content-length: 9999\r\n\r\n"], ids=["before the head", "in the body"])
async def test_the_total_bounds_it_all(upstream, head):
    async def script(peer):
        await peer.request()
        await peer.send(head)
        while head:
            await peer.send(b"x")
            await asyncio.sleep(0.02)
        await peer.gone()

    async with serve(script) as server:
        with pytest.raises(UpstreamFailure) as caught:
            await fetch(upstream, post(server.origin, total=0.2))
    assert_timeout(caught.value, sent=True, names="0.2 s in total")


@both
async def test_a_handshake_that_hangs_counts_as_connecting(upstream):
    async with serve(silent) as server:
        origin = Origin("https", "127.0.0.1", server.origin.port)
        with pytest.raises(UpstreamFailure) as caught:
            await upstream.send(post(origin, connect=SHORT))
        await until(lambda: server.hung_up == 1)
    assert_timeout(caught.value, sent=False, names=f"connection to 127.0.0.1:{origin.port} within {SHORT} s")


@both
async def test_waiting_for_a_place_counts_as_connecting(make):
    client = make(max_connections_per_origin=1)
    async with serve(silent) as server:
        first = asyncio.ensure_future(client.send(post(server.origin)))
        await until(lambda: len(server.requests) == 1)
        with pytest.raises(UpstreamFailure) as caught:
            await client.send(post(server.origin, connect=SHORT))
        assert_timeout(caught.value, sent=False, names="no connection")
        await client.close()
        with pytest.raises(UpstreamFailure):
            await first


# Connections.


@both
async def test_connections_are_used_again(upstream):
    async with serve(answers(HELLO)) as server:
        for _ in range(5):
            await fetch(upstream, post(server.origin))
        await drain(await upstream.send(post(server.origin)))
        await fetch(upstream, post(server.origin))
    assert (server.accepted, len(server.requests)) == (1, 7)


@both
@pytest.mark.parametrize(
    "message",
    [OK + b"connection: close\r\ncontent-length: 5\r\n\r\nhello", b"HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nhello"],
)
async def test_connections_that_say_close_are_not_used_again(upstream, message):
    async with serve(answers(message)) as server:
        for _ in range(3):
            await fetch(upstream, post(server.origin))
        assert server.accepted == 3
        await until(lambda: server.hung_up == 3)


@both
async def test_a_kept_connection_the_peer_closed_is_noticed(upstream):
    async with serve(answers_once(HELLO)) as server:
        for number in range(1, 4):
            _, body = await fetch(upstream, post(server.origin))
            assert body == b"hello"
            await until(lambda number=number: server.hung_up == number)
            await asyncio.sleep(0.02)
    assert (server.accepted, len(server.requests)) == (3, 3)


@both
async def test_a_post_is_never_written_twice(upstream):
    async def script(peer):
        await peer.request()
        await peer.send(HELLO)
        await peer.request()
        peer.reset()

    async with serve(script) as server:
        await fetch(upstream, post(server.origin))
        with pytest.raises(UpstreamFailure) as caught:
            await upstream.send(post(server.origin))
    assert (caught.value.fault, caught.value.sent) == ("reset", True)
    assert (server.accepted, len(server.requests)) == (1, 2)


@both
async def test_bytes_after_the_response_spoil_the_connection(upstream):
    async with serve(answers(HELLO + HELLO)) as server:
        for _ in range(3):
            _, body = await fetch(upstream, post(server.origin))
            assert body == b"hello"
        assert server.accepted == 3


@both
async def test_closing_early_drops_the_connection(upstream):
    async def script(peer):
        await peer.request()
        await peer.send(OK + b"content-length: 50\r\n\r\nhello")
        await peer.gone()

    async with serve(script) as server:
        response = await upstream.send(post(server.origin))
        response.close()
        response.close()
        await until(lambda: server.hung_up == 1)
        with pytest.raises(UpstreamFailure) as caught:
            await response.chunk()
        assert caught.value.fault == "reset"


@both
async def test_idle_connections_are_closed_in_time(make):
    client = make(keepalive_s=0.2)
    async with serve(answers(HELLO)) as server:
        await fetch(client, post(server.origin))
        assert server.hung_up == 0
        await until(lambda: server.hung_up == 1)
        await client.close()


@both
async def test_no_more_connections_than_allowed_and_everyone_gets_a_turn(make):
    client = make(max_connections_per_origin=3)
    async with serve(answers(OK + b"content-length: 5\r\n\r\n", b"hello", gap=0.005)) as server:
        results = await asyncio.gather(*(fetch(client, post(server.origin)) for _ in range(30)))
        assert {body for _, body in results} == {b"hello"}
        assert server.accepted <= 3
        await client.close()


@both
async def test_a_failure_frees_its_place(make):
    client = make(max_connections_per_origin=1)
    async with serve(answers_once(OK + b"content-length: 50\r\n\r\nhello")) as server:
        results = await asyncio.gather(*(fetch(client, post(server.origin)) for _ in range(5)), return_exceptions=True)
        assert [result.fault for result in results] == ["reset"] * 5
        await client.close()


@both
@pytest.mark.parametrize("when", ["connecting", "waiting for a place", "waiting for the head", "reading"])
async def test_cancelling_leaks_nothing(make, when):
    client = make(max_connections_per_origin=1)
    talk = False

    async def script(peer):
        await peer.request()
        if talk:
            await peer.send(HELLO)
        elif when == "reading":
            await peer.send(OK + b"content-length: 50\r\n\r\nhello")
        await peer.gone()

    async with serve(script) as server:
        tasks = [asyncio.ensure_future(fetch(client, post(server.origin)))]
        if when != "connecting":
            await until(lambda: len(server.requests) == 1)
            await asyncio.sleep(0.02)
        if when == "waiting for a place":
            tasks.append(asyncio.ensure_future(fetch(client, post(server.origin))))
        await asyncio.sleep(0)
        for task in reversed(tasks):
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()
        talk = True
        await until(lambda: server.hung_up == server.accepted, within=2.0)
        _, body = await fetch(client, post(server.origin))
        assert body == b"hello"
        await client.close()


@both
async def test_an_early_refusal_is_delivered_and_the_connection_dropped(upstream):
    async def script(peer):
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.send(b"HTTP/1.1 413 Too Large\r\ncontent-length: 5\r\n\r\nlarge")
        await peer.gone()

    async with serve(script) as server:
        for number in (1, 2):
            response, body = await fetch(upstream, post(server.origin, b"x" * 30_000_000))
            assert (response.status, body) == (413, b"large")
            assert server.accepted == number
            await until(lambda number=number: server.hung_up == number)


@both
async def test_a_closed_client_sends_nothing(upstream):
    async with serve(answers(HELLO)) as server:
        await fetch(upstream, post(server.origin))
        await upstream.close()
        await until(lambda: server.hung_up == 1)
        with pytest.raises(UpstreamFailure) as caught:
            await upstream.send(post(server.origin))
    assert (caught.value.fault, caught.value.sent) == ("connect", False)


# TLS.


@both
async def test_https_with_a_trusted_certificate(make, certificate):
    server_side, client_side = certificate
    client = make(ssl_context=client_side)
    body = b"x" * 3_000_000
    async with serve(answers(HELLO), tls=server_side) as server:
        for _ in range(3):
            _, answer = await fetch(client, post(server.origin, body))
            assert answer == b"hello"
        assert server.accepted == 1
        assert all(request.endswith(b"\r\n\r\n" + body) for request in server.requests)
        await client.close()


@both
async def test_an_unknown_certificate_is_refused(upstream, certificate):
    server_side, _ = certificate
    async with serve(answers(HELLO), tls=server_side) as server:
        with pytest.raises(UpstreamFailure) as caught:
            await upstream.send(post(server.origin))
        assert server.requests == []
    assert (caught.value.fault, caught.value.sent) == ("tls", False)
    assert "not trusted" in caught.value.message


@both
async def test_a_certificate_of_another_name_is_refused(make, elsewhere):
    server_side, client_side = elsewhere
    client = make(ssl_context=client_side)
    async with serve(answers(HELLO), tls=server_side) as server:
        with pytest.raises(UpstreamFailure) as caught:
            await client.send(post(server.origin))
        assert server.requests == []
        await client.close()
    assert (caught.value.fault, caught.value.sent) == ("tls", False)


@both
async def test_plain_text_where_tls_is_expected_is_a_tls_failure(upstream):
    async def script(peer):
        await peer.reader.read(1)
        await peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with serve(script) as server:
        with pytest.raises(UpstreamFailure) as caught:
            await upstream.send(post(Origin("https", "localhost", server.origin.port)))
    assert (caught.value.fault, caught.value.sent) == ("tls", False)
