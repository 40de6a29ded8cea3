"""The raw upstream client's own promises: pooling, timers, flow control, and that packet borders do not matter.

Belongs here: what the port does not show. Does not belong here: what every client guarantees (test_upstream_contract).
"""

from __future__ import annotations

import asyncio
import gc
import gzip
import socket
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted_server import answers, serve, until

from router.adapters.upstream.client import RawUpstream
from router.adapters.upstream.connection import GATHER_S, PAUSE_ABOVE, SLICE, Connection
from router.adapters.upstream.decoding import STEP, Decoder
from router.adapters.upstream.request import HeadWriter
from router.ports import Origin, Timeouts, UpstreamFailure, UpstreamRequest

OK = b"HTTP/1.1 200 OK\r\n"
HELLO = OK + b"content-length: 5\r\n\r\nhello"
LIMIT = 2**20
SHORT = 0.12


@pytest.fixture
async def upstream():
    client = RawUpstream()
    yield client
    await client.close()


def post(origin, body=b"{}", *, method="POST", path="/v1/chat", headers=(), **bounds):
    timeouts = {"connect": 5.0, "first_byte": 5.0, "between_chunks": 5.0, "total": 20.0} | bounds
    return UpstreamRequest(origin, method, path, headers, body, Timeouts(**timeouts))


async def fetch(upstream, request):
    response = await upstream.send(request)
    return await response.read(LIMIT)


async def drained(response, chunks):
    while chunk := await response.chunk():
        chunks.append(chunk)


def pool_of(upstream):
    (pool,) = upstream._pools.values()
    return pool


# Packet borders.

PACKED = zlib.compress(b"hello " * 50)
MESSAGES = [
    HELLO,
    OK + b"transfer-encoding: chunked\r\nx-a: 1\r\nX-A: 2\r\n\r\n5;e=1\r\nhello\r\n6\r\n world\r\n0\r\nx-t: 1\r\n\r\n",
    b"HTTP/1.1 103 Hint\r\nlink: </a>\r\n\r\nHTTP/1.1 429 Slow\r\nretry-after: 1\r\ncontent-length: 4\r\n\r\nbusy",
    OK + b"content-encoding: deflate\r\ncontent-length: %d\r\n\r\n" % len(PACKED) + PACKED,
    b"HTTP/1.1 204 No Content\r\nserver: s\r\n\r\n",
    OK + b"content-length: 5\r\ncontent-length: 6\r\n\r\nhello",
    OK + b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n",
    OK + b"x: a\r\n folded\r\n\r\n",
    HELLO + b"surplus",
]


class Wire(asyncio.Transport):
    """Takes what is written; the bytes received are the test's to choose."""

    closing = False

    def write(self, data):
        pass

    def abort(self):
        self.closing = True

    def is_closing(self):
        return self.closing

    def get_write_buffer_size(self):
        return 0


class Keeper:
    """Stands in the pool's place."""

    label = "upstream:80"
    keepalive_s = 60.0

    def __init__(self):
        self.kept = []

    def released(self, connection):
        self.kept.append(connection)

    def lost(self, connection):
        pass


async def receive(pieces):
    keeper = Keeper()
    connection = Connection(asyncio.get_running_loop(), keeper)
    connection.connection_made(Wire())
    response = connection.start(b"", b"", Timeouts(), 0.0, bodiless=False)
    for piece in pieces:
        connection.data_received(piece)
    connection.connection_lost(None)
    try:
        await response.arrival()
        return response.status, response.headers, await response.read(LIMIT), bool(keeper.kept)
    except UpstreamFailure as failure:
        return failure.fault, response.status and failure.message


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_any_split_of_the_bytes_gives_the_same_response(data):
    message = data.draw(st.sampled_from(MESSAGES))
    cuts = sorted(data.draw(st.sets(st.integers(1, len(message) - 1), max_size=12)))
    pieces = [message[a:b] for a, b in zip([0, *cuts], [*cuts, len(message)], strict=True)]
    whole, split = asyncio.run(receive([message])), asyncio.run(receive(pieces))
    if message.endswith(b"surplus"):
        # Surplus bytes of a later packet meet a connection that is idle already; it is dropped then.
        whole, split = whole[:3], split[:3]
    assert split == whole


async def test_the_messages_of_the_split_test_mean_what_they_should():
    results = [await receive([message]) for message in MESSAGES]
    assert [result[0] for result in results] == [200, 200, 429, 200, 204, *["protocol"] * 3, 200]
    assert [result[2] for result in results[:5]] == [b"hello", b"hello world", b"busy", b"hello " * 50, b""]
    assert [result[3] for result in results[:5]] == [True] * 5
    assert results[8][3] is False


# The pool.


async def test_the_connection_used_last_is_used_first(upstream):
    async with serve(answers(HELLO)) as server:
        await asyncio.gather(*(fetch(upstream, post(server.origin)) for _ in range(3)))
        pool = pool_of(upstream)
        last = pool.idle[-1]
        for _ in range(3):
            await fetch(upstream, post(server.origin))
            assert pool.idle[-1] is last
        assert server.accepted == 3


async def test_origins_share_connections_across_base_paths_but_not_ports(upstream):
    async with serve(answers(HELLO)) as one, serve(answers(HELLO)) as two:
        for base in ("", "/a", "/b"):
            for server in (one, two):
                await fetch(upstream, post(Origin("http", "127.0.0.1", server.origin.port, base)))
        assert (one.accepted, two.accepted) == (1, 1)
        assert [request.split()[1] for request in one.requests] == [b"/v1/chat", b"/a/v1/chat", b"/b/v1/chat"]


async def test_no_more_idle_connections_than_wanted():
    client = RawUpstream(max_idle=2)
    async with serve(answers(HELLO)) as server:
        await asyncio.gather(*(fetch(client, post(server.origin)) for _ in range(6)))
        await until(lambda: server.hung_up == server.accepted - 2)
        assert len(pool_of(client).idle) == 2
        await client.close()


async def test_waiters_are_served_in_order():
    client = RawUpstream(max_connections_per_origin=1)
    order = []

    async def numbered(number):
        await fetch(client, post(server.origin, b"%d" % number))
        order.append(number)

    async with serve(answers(HELLO)) as server:
        await asyncio.gather(*(numbered(number) for number in range(8)))
        assert order == list(range(8))
        assert server.accepted == 1
        await client.close()


async def test_a_waiter_gets_the_place_of_a_connection_that_died():
    client = RawUpstream(max_connections_per_origin=1)
    go = asyncio.Event()

    async def script(peer):
        await peer.request()
        if server.accepted == 1:
            await go.wait()
            peer.reset()
        else:
            await peer.send(HELLO)

    async with serve(script) as server:
        first = asyncio.ensure_future(fetch(client, post(server.origin)))
        await until(lambda: len(server.requests) == 1)
        second = asyncio.ensure_future(fetch(client, post(server.origin)))
        await asyncio.sleep(0.01)
        go.set()
        assert await second == b"hello"
        with pytest.raises(UpstreamFailure):
            await first
        await client.close()


async def test_a_waiter_cancelled_at_the_moment_of_the_handover_passes_it_on():
    client = RawUpstream(max_connections_per_origin=1)
    async with serve(answers(HELLO)) as server:
        await fetch(client, post(server.origin))
        pool = pool_of(client)
        held = pool.take_idle()
        waiting = [asyncio.ensure_future(fetch(client, post(server.origin))) for _ in range(2)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        pool.released(held)
        waiting[0].cancel()
        assert await waiting[1] == b"hello"
        assert waiting[0].cancelled()
        assert server.accepted == 1
        assert len(pool.connections) == len(pool.idle) == 1
        await client.close()


async def test_a_handed_over_connection_that_dies_before_use_is_replaced():
    client = RawUpstream(max_connections_per_origin=1)
    async with serve(answers(HELLO)) as server:
        await fetch(client, post(server.origin))
        pool = pool_of(client)
        held = pool.take_idle()
        waiting = asyncio.ensure_future(fetch(client, post(server.origin)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        pool.released(held)
        held.drop()
        assert await waiting == b"hello"
        assert (server.accepted, len(pool.connections)) == (2, 1)
        await client.close()


async def test_closing_turns_waiters_and_running_exchanges_away():
    client = RawUpstream(max_connections_per_origin=1)
    async with serve(lambda peer: peer.gone()) as server:
        running = [asyncio.ensure_future(fetch(client, post(server.origin))) for _ in range(2)]
        await until(lambda: server.accepted == 1)
        await asyncio.sleep(0.02)
        await client.close()
        assert pool_of(client).connections == set()
        results = await asyncio.gather(*running, return_exceptions=True)
        assert [(result.fault, result.sent) for result in results] == [("reset", True), ("connect", False)]
        await until(lambda: server.hung_up == 1)


async def test_closing_while_connecting_leaves_nothing_open():
    client = RawUpstream()
    async with serve(answers(HELLO)) as server:
        running = asyncio.ensure_future(fetch(client, post(server.origin)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await client.close()
        with pytest.raises(UpstreamFailure) as caught:
            await running
        assert caught.value.sent is False
        await asyncio.sleep(0.02)
        assert server.hung_up == server.accepted


async def test_bytes_for_an_idle_connection_drop_it(upstream):
    async def script(peer):
        await peer.request()
        await peer.send(HELLO, b"HTTP/1.1 408 Idle\r\ncontent-length: 0\r\n\r\n", gap=0.02)
        await peer.gone()

    async with serve(script) as server:
        for number in (1, 2):
            assert await fetch(upstream, post(server.origin)) == b"hello"
            await until(lambda number=number: server.hung_up == number)
        assert server.accepted == 2


@pytest.mark.parametrize(("promise", "reused"), [(b"timeout=5, max=9", True), (b"timeout=1", False), (b"max=3", True)])
async def test_a_promised_idle_time_is_kept_to(upstream, promise, reused):
    message = OK + b"keep-alive: %b\r\ncontent-length: 5\r\n\r\nhello" % promise
    async with serve(answers(message)) as server:
        await fetch(upstream, post(server.origin))
        await fetch(upstream, post(server.origin))
        assert server.accepted == (1 if reused else 2)


async def test_connections_send_small_packets_at_once(upstream):
    async with serve(answers(HELLO)) as server:
        await fetch(upstream, post(server.origin))
        sock = pool_of(upstream).idle[0]._transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def test_many_requests_share_one_timer(upstream):
    async with serve(answers(HELLO)) as server:
        await fetch(upstream, post(server.origin, first_byte=100, total=500))
        timer = pool_of(upstream).idle[0]._timer
        for _ in range(20):
            await fetch(upstream, post(server.origin, first_byte=100, total=500))
        assert pool_of(upstream).idle[0]._timer is timer


async def test_a_timer_armed_for_an_earlier_request_does_not_end_a_later_one(upstream):
    async def script(peer):
        await peer.request()
        await peer.send(HELLO)
        await peer.request()
        await asyncio.sleep(2 * SHORT)
        await peer.send(HELLO)

    async with serve(script) as server:
        await fetch(upstream, post(server.origin, first_byte=SHORT))
        assert await fetch(upstream, post(server.origin, first_byte=5)) == b"hello"


async def test_the_total_of_a_request_does_not_bound_the_idle_time_after_it(upstream):
    async with serve(answers(HELLO)) as server:
        await fetch(upstream, post(server.origin, total=SHORT))
        await asyncio.sleep(2 * SHORT)
        await fetch(upstream, post(server.origin))
        assert server.accepted == 1


async def test_unbounded_timeouts_need_no_timer(upstream):
    forever = float("inf")
    async with serve(answers(HELLO)) as server:
        request = post(server.origin, first_byte=forever, between_chunks=forever, total=forever)
        assert await fetch(upstream, request) == b"hello"


async def test_no_connection_is_left_for_the_garbage_collector():
    gc.collect()
    gc.disable()
    try:
        client = RawUpstream()
        async with serve(answers(HELLO)) as server:
            await asyncio.gather(*(fetch(client, post(server.origin)) for _ in range(4)))
            await client.close()
        await asyncio.sleep(0.01)
        assert [thing for thing in gc.get_objects() if type(thing) is Connection] == []
    finally:
        gc.enable()


# Flow.


async def test_a_body_nobody_reads_does_not_fill_the_transport(upstream):
    go = asyncio.Event()

    async def script(peer):
        await go.wait()
        await peer.request()
        await peer.send(HELLO)

    body = b"x" * 16_000_000
    async with serve(script) as server:
        running = asyncio.ensure_future(fetch(upstream, post(server.origin, body)))
        await until(lambda: server.accepted == 1)
        await asyncio.sleep(0.1)
        (connection,) = pool_of(upstream).connections
        assert connection._unsent.nbytes > len(body) / 2
        assert connection._transport.get_write_buffer_size() <= 2 * SLICE
        go.set()
        assert await running == b"hello"
        assert server.requests[0].endswith(body)


async def test_an_early_answer_while_the_body_still_goes_out_ends_the_connection(upstream):
    async def script(peer):
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.send(HELLO)
        await peer.gone()

    async with serve(script) as server:
        assert await fetch(upstream, post(server.origin, b"x" * 30_000_000)) == b"hello"
        await until(lambda: server.hung_up == 1)
        assert pool_of(upstream).connections == set()


async def test_a_refusal_stops_the_rest_of_the_request(upstream):
    body = b"x" * 30_000_000
    taken = 0

    async def script(peer):
        nonlocal taken
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.send(b"HTTP/1.1 413 Too Large\r\ncontent-length: 5\r\n\r\n")
        while True:
            try:
                async with asyncio.timeout(0.1):
                    taken += len(await peer.reader.read(2**20))
            except TimeoutError:
                break
        await peer.send(b"large")
        await peer.gone()

    async with serve(script) as server:
        assert await fetch(upstream, post(server.origin, body)) == b"large"
        assert taken < len(body)
        await until(lambda: server.hung_up == 1)


async def test_a_response_closed_unread_is_not_an_empty_one(upstream):
    async with serve(answers(HELLO)) as server:
        response = await upstream.send(post(server.origin))
        response.close()
        for read in (response.read(LIMIT), response.chunk()):
            with pytest.raises(UpstreamFailure):
                await read
        await fetch(upstream, post(server.origin))
        assert server.accepted == 1


@pytest.mark.parametrize("size", [0, 1, STEP - 1, STEP, STEP + 1, STEP + 258, 3 * STEP, 3 * STEP + 7])
@pytest.mark.parametrize("at_once", [1, 2**20])
def test_decoding_ends_with_the_last_byte_whatever_the_steps(size, at_once):
    packed = gzip.compress(b"\0" * size)
    decoder = Decoder(gzip=True)
    decoded = 0
    for start in range(0, len(packed), at_once):
        decoder.push(packed[start : start + at_once])
        while decoder.pending:
            step = len(decoder.step())
            assert step <= STEP
            decoded += step
    assert decoded == size
    assert decoder.finished


def test_decoding_gives_what_zlib_holds_back_after_its_last_input():
    for size in range(STEP, STEP + 300):
        packer = zlib.compressobj(wbits=-15)
        decoder = Decoder(gzip=False)
        decoder.push(packer.compress(b"\0" * size) + packer.flush())
        decoded = 0
        while decoder.pending:
            decoded += len(decoder.step())
        assert (decoded, decoder.finished) == (size, True)


async def test_an_upstream_is_not_blamed_for_a_resting_reader(upstream):
    size = 8 * PAUSE_ABOVE

    async with serve(answers(OK + b"content-length: %d\r\n\r\n" % size, b"x" * size)) as server:
        response = await upstream.send(post(server.origin, between_chunks=SHORT))
        await until(lambda: response.buffered > PAUSE_ABOVE)
        await asyncio.sleep(2 * SHORT)
        received = 0
        while piece := await response.chunk():
            received += len(piece)
        assert received == size
        assert len(pool_of(upstream).idle) == 1


async def test_pieces_that_come_fast_are_read_together_once_asked_for(upstream):
    async def stream(connection):
        await connection.send(OK + b"transfer-encoding: chunked\r\n\r\n")
        for number in range(60):
            await connection.send(b"2\r\n%02d\r\n" % number)
            await asyncio.sleep(GATHER_S / 10)
        await connection.send(b"0\r\n\r\n")

    async with serve(stream) as server:
        response = await upstream.send(post(server.origin))
        first = await response.chunk()
        response.gather()
        chunks = [first]
        while chunk := await response.chunk():
            chunks.append(chunk)
    assert b"".join(chunks) == b"".join(b"%02d" % number for number in range(60))
    assert len(chunks) < 40


async def test_a_stream_that_rests_may_break_be_dropped_or_end(upstream):
    async def stream(connection):
        await connection.send(OK + b"transfer-encoding: chunked\r\n\r\n")
        for _ in range(3):
            await connection.send(b"2\r\nab\r\n")
            await asyncio.sleep(GATHER_S / 5)

    async with serve(stream) as server:
        response = await upstream.send(post(server.origin))
        response.gather()
        said: list[bytes] = []
        with pytest.raises(UpstreamFailure) as broken:
            await drained(response, said)
        assert (b"".join(said), broken.value.fault) == (b"ababab", "reset")
        left = await upstream.send(post(server.origin))
        left.gather()
        assert await left.chunk() == b"ab"
        assert await left.chunk() == b"ab"
        left.close()
        await asyncio.sleep(2 * GATHER_S)
        assert not pool_of(upstream).idle


async def test_a_cancelled_chunk_loses_nothing(upstream):
    go = asyncio.Event()

    async def script(peer):
        await peer.request()
        await peer.send(OK + b"content-length: 10\r\n\r\n")
        await go.wait()
        await peer.send(b"helloworld")

    async with serve(script) as server:
        response = await upstream.send(post(server.origin))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await response.chunk()
        go.set()
        assert await response.read(LIMIT) == b"helloworld"


# Heads.


def test_a_head_is_remembered_only_for_the_same_request_line_and_headers():
    origin = Origin("http", "h", 80)
    writer = HeadWriter(origin)
    one = writer.head(post(origin, b"1", headers=((b"a", b"1"),)))
    assert writer.head(post(origin, b"22", headers=((b"a", b"1"),))) == one.replace(b"length: 1", b"length: 2")
    assert b"a: 2\r\n" in writer.head(post(origin, b"1", headers=((b"a", b"2"),)))
    assert writer.head(post(origin, b"1", path="/x", headers=((b"a", b"2"),))).startswith(b"POST /x HTTP/1.1\r\n")
    assert writer.head(post(origin, b"", method="GET", headers=((b"a", b"2"),))).startswith(b"GET /v1/chat ")


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        (Origin("http", "h", 80), b"h"),
        (Origin("https", "h", 443), b"h"),
        (Origin("https", "h", 80), b"h:80"),
        (Origin("http", "::1", 8080), b"[::1]:8080"),
    ],
)
def test_the_host_header_names_the_port_only_where_needed(origin, host):
    assert b"\r\nhost: %b\r\n" % host in HeadWriter(origin).head(post(origin))
