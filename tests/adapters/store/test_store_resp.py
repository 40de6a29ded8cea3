from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import ssl
import subprocess
import time

import pytest
import uvloop
from store import ONE_HOLD, connect, frozen, kill, until

from router.adapters.store.resp import RespConnection, Script, StoreRefused
from router.adapters.store.url import StoreAddress, parse_store_url
from router.ports import StoreUnavailable


@contextlib.asynccontextmanager
async def serving(handle, *, path=None, tls=None):
    """A listener whose connections are over when the block is; gives its server."""
    handlers = set()

    async def serve(reader, writer):
        handlers.add(asyncio.current_task())
        with contextlib.suppress(OSError):
            await handle(reader, writer)
            writer.close()
            await writer.wait_closed()

    if path:
        server = await asyncio.start_unix_server(serve, path)
    else:
        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    try:
        yield server
    except BaseException:
        # A loop with a server that listens never closes: a test that fails must not hang as well.
        for handler in handlers:
            handler.cancel()
        raise
    finally:
        server.close()
    await server.wait_closed()
    await asyncio.gather(*handlers)


class Scripted:
    """Records each read and answers every command with the given reply, to see and to bend the wire."""

    def __init__(self, reply):
        self.reply = reply
        self.reads = []
        self.connections = 0

    async def __call__(self, reader, writer):
        self.connections += 1
        while data := await reader.read(65536):
            if b"DBSIZE" in data:
                writer.write(b":0\r\n")
            else:
                self.reads.append(data)
                writer.write(self.reply * data.count(b"*"))


async def test_replies_reach_their_callers(connection):
    replies = await asyncio.gather(*[connection.call("ECHO", f"{n}") for n in range(1000)])
    assert replies == [b"%d" % n for n in range(1000)]


async def test_replies_are_bytes_numbers_none_and_lists(connection):
    await connection.call("SET", "a", b"\x00\xff")
    assert await connection.call("GET", "a") == b"\x00\xff"
    assert await connection.call("GET", "b") is None
    assert await connection.call("INCRBY", "n", 2**62) == 2**62
    assert await connection.call("MGET", "a", "b") == [b"\x00\xff", None]
    assert await connection.call("KEYS", "none") == []


async def test_it_runs_the_same_on_uvloop(store_socket):
    async def talk():
        connection = await connect(store_socket)
        replies = await asyncio.gather(*[connection.call("ECHO", f"{n}") for n in range(1000)])
        await connection.close()
        return replies

    assert await asyncio.to_thread(uvloop.run, talk()) == [b"%d" % n for n in range(1000)]


async def test_the_calls_of_one_turn_leave_in_one_write(tmp_path):
    listener = Scripted(b"+OK\r\n")
    async with serving(listener, path=tmp_path / "s"):
        connection = await connect(tmp_path / "s")
        calls = [connection.call("A"), connection.call("B")]
        assert await asyncio.gather(*calls) == [b"OK"] * 2
        assert [data.count(b"*") for data in listener.reads] == [2]
        await connection.close()


async def test_a_callers_cancelling_does_not_shift_the_replies(connection):
    calls = [connection.call("ECHO", f"{n}") for n in range(3)]
    calls[1].cancel()
    assert [await calls[0], await calls[2]] == [b"0", b"2"]


async def test_an_unknown_script_is_sent_in_full_and_known_from_then_on(connection):
    script = Script("reserve")
    await connection.call("SCRIPT", "FLUSH")
    for _ in range(2):
        assert len(await connection.script(script, ("h",), ONE_HOLD)) == 1
        assert await connection.call("SCRIPT", "EXISTS", script.sha) == [1]


async def test_the_stores_own_error_is_passed_on_and_the_connection_lives(connection):
    await connection.call("SET", "a", "text")
    with pytest.raises(StoreRefused, match="ERR value is not an integer") as refusal:
        await connection.call("INCR", "a")
    assert refusal.value.word == "ERR"
    assert await connection.call("PING") == b"PONG"


async def test_a_frozen_store_fails_calls_in_time_then_at_once_and_is_found_again(own_store):
    connection = await connect(own_store.start(), timeout_s=0.25)
    with frozen(own_store):
        began = time.monotonic()
        results = await asyncio.gather(*[connection.call("PING") for _ in range(3)], return_exceptions=True)
        assert [str(result) for result in results] == ["the store did not answer in 250 ms"] * 3
        assert 0.25 <= time.monotonic() - began < 2
        began = time.monotonic()
        with pytest.raises(StoreUnavailable, match=r"no connection to the store at .*did not answer in 250 ms"):
            await connection.call("PING")
        assert time.monotonic() - began < 0.1
    await until(lambda: connection.up)
    assert await connection.call("PING") == b"PONG"
    await connection.close()


async def test_our_own_slowness_is_not_held_against_the_store(store_socket):
    async def held_up():
        connection = await connect(store_socket, timeout_s=0.15)
        ours, theirs = socket.socketpair()
        # In a reader's callback: uvloop runs due timers right after it, before it looks at other sockets.
        asyncio.get_running_loop().add_reader(ours, lambda: (ours.recv(1), time.sleep(0.3)))
        theirs.send(b"x")
        reply = connection.call("PING")
        try:
            return await reply
        finally:
            asyncio.get_running_loop().remove_reader(ours)
            ours.close()
            theirs.close()
            await connection.close()

    assert await asyncio.to_thread(uvloop.run, held_up()) == b"PONG"


async def test_a_killed_store_fails_calls_and_is_found_again(own_store):
    connection = await connect(own_store.start())
    connects = []
    connection.on_connect.append(lambda: connects.append(1))
    with frozen(own_store):
        call = connection.call("PING")
        await asyncio.sleep(0)
        kill(own_store)
        with pytest.raises(StoreUnavailable, match="connection lost"):
            await call
        own_store.start()
    await until(lambda: connects)
    assert await connection.call("PING") == b"PONG"
    await connection.close()


async def test_a_store_that_was_never_there_is_named_and_found_when_it_comes(tmp_path, own_store):
    connection = RespConnection(StoreAddress(path=str(tmp_path / "store" / "store.sock")), timeout_s=5)
    own_store.stop()
    with pytest.raises(StoreUnavailable, match=r"no connection to the store at .*store\.sock in 0\.1 s"):
        await connection.start(0.1)
    own_store.start()
    await connection.start()
    assert await connection.call("PING") == b"PONG"
    await connection.close()


async def test_a_closed_connection_fails_what_is_under_way_and_refuses_the_rest(tmp_path):
    async with serving(Scripted(b""), path=tmp_path / "s"):
        connection = await connect(tmp_path / "s")
        call = connection.call("PING")
        await connection.close()
        with pytest.raises(StoreUnavailable, match="closed by us"):
            await call
        with pytest.raises(StoreUnavailable, match="closed by us"):
            connection.call("PING")


@pytest.mark.parametrize("turns", range(6))
async def test_closing_ends_even_where_a_connect_fails_at_the_same_moment(turns):
    async def fail():
        await gate
        raise OSError("refused")

    gate = asyncio.get_running_loop().create_future()
    connection = RespConnection(StoreAddress(path="/none"))
    connection._open = fail
    with pytest.raises(StoreUnavailable):
        await connection.start(0)
    gate.set_result(None)
    for _ in range(turns):
        await asyncio.sleep(0)
    closing = asyncio.create_task(connection.close())
    assert await asyncio.wait([closing], timeout=2) == ({closing}, set())


@pytest.mark.parametrize("reply", [b"nonsense\r\n", b"+OK\r\n+OK\r\n"], ids=["no RESP", "a reply nobody asked for"])
async def test_a_broken_protocol_ends_the_connection(tmp_path, reply):
    listener = Scripted(reply)
    async with serving(listener, path=tmp_path / "s"):
        connection = await connect(tmp_path / "s")
        call = connection.call("PING")
        await asyncio.wait([call])
        await until(lambda: listener.connections == 2 and connection.up)
        await connection.close()
        if reply.startswith(b"nonsense"):
            assert "broke the protocol" in str(call.exception())
        else:
            assert call.result() == b"OK"


async def test_a_demoted_store_is_left_for_the_one_that_took_over(own_store):
    connection = await connect(own_store.start())
    connects = []
    connection.on_connect.append(lambda: connects.append(1))
    await connection.call("REPLICAOF", "127.0.0.1", 1)
    with pytest.raises(StoreRefused, match="READONLY"):
        await connection.call("SET", "a", 1)
    await until(lambda: connects)
    await connection.close()


async def test_user_password_and_database_come_from_the_url(own_store):
    path = own_store.start()
    admin = await connect(path)
    await admin.call("ACL", "SETUSER", "meter", "on", ">p@ss", "allkeys", "allcommands")
    await admin.call("CONFIG", "SET", "requirepass", "word")
    for login in ("meter:p%40ss", ":word"):
        connection = RespConnection(parse_store_url(f"unix://{login}@{path}?db=3"), timeout_s=5)
        await connection.start()
        await connection.call("SET", login, 1)
        await connection.close()
    await admin.call("SELECT", 3)
    assert sorted(await admin.call("KEYS", "*")) == [b":word", b"meter:p%40ss"]
    wrong = RespConnection(parse_store_url(f"unix://meter:guess@{path}"))
    with pytest.raises(StoreUnavailable, match="WRONGPASS") as refusal:
        await wrong.start(1)
    assert "guess" not in str(refusal.value)
    await wrong.close()
    await admin.close()


@pytest.fixture
def certificate(tmp_path):
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.fail("openssl is not installed; it makes the certificate: apt-get install openssl")
    command = f"{openssl} req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    files = ["-keyout", tmp_path / "key.pem", "-out", tmp_path / "cert.pem"]
    subprocess.run(
        [*command.split(), "-addext", "subjectAltName=DNS:localhost", *files], check=True, capture_output=True
    )
    return tmp_path / "cert.pem", tmp_path / "key.pem"


def relay_to(path):
    """Passes bytes between a client and the unix socket, both ways."""

    async def relay(reader, writer):
        up_reader, up_writer = await asyncio.open_unix_connection(path)

        async def copy(source, sink):
            with contextlib.suppress(OSError):
                while data := await source.read(65536):
                    sink.write(data)
                    await sink.drain()
            sink.close()

        await asyncio.gather(copy(reader, up_writer), copy(up_reader, writer))

    return relay


@pytest.mark.parametrize("scheme", ["redis", "rediss"])
async def test_it_speaks_tcp_and_tls(store_socket, certificate, scheme):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate)
    trust = f"?ssl_ca_certs={certificate[0]}" if scheme == "rediss" else ""
    async with serving(relay_to(store_socket), tls=context if trust else None) as server:
        port = server.sockets[0].getsockname()[1]
        connection = RespConnection(parse_store_url(f"{scheme}://localhost:{port}{trust}"), timeout_s=5)
        await connection.start()
        assert await connection.call("PING") == b"PONG"
        await connection.close()


async def test_a_certificate_nobody_vouches_for_is_refused(store_socket, certificate):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate)
    async with serving(relay_to(store_socket), tls=context) as server:
        port = server.sockets[0].getsockname()[1]
        connection = RespConnection(parse_store_url(f"rediss://localhost:{port}"))
        with pytest.raises(StoreUnavailable, match="certificate verify failed"):
            await connection.start(1)
        await connection.close()
