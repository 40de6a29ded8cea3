"""CPU of one upstream exchange: our raw client against aiohttp's, and the bare socket as the floor.

Belongs here: the side-by-side figure for the upstream client alone. Does not belong here: the proxy as a whole.
Run: ``python benchmarks/upstream_client.py [requests] [rounds]``. A raw uvloop server answers in a process of its own;
with two cores or more, client and server are pinned to different ones. Rounds alternate, so that noise of the machine
meets every client alike; the table gives medians and the best round.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import uvloop

sys.path.insert(0, str(Path(__file__).parent.parent))

from router.adapters.upstream.behind_proxy import AiohttpUpstream
from router.adapters.upstream.client import RawUpstream
from router.ports import Origin, Timeouts, UpstreamRequest

CONNECTIONS = 64
LIMIT = 2**20
HEADERS = (
    (b"authorization", b"Bearer " + b"k" * 48),
    (b"content-type", b"application/json"),
    (b"accept", b"application/json"),
    (b"user-agent", b"costrouter"),
)
REQUEST_BODY = b'{"model":"m","messages":[{"role":"user","content":"' + b"x" * 960 + b'"}]}'
RESPONSE_BODY = b'{"choices":[{"message":{"role":"assistant","content":"' + b"y" * 600 + b'"}}]}'
RESPONSE = (
    b"HTTP/1.1 200 OK\r\ndate: Thu, 01 Jan 2026 00:00:00 GMT\r\ncontent-type: application/json\r\nserver: bench\r\n"
    b"x-request-id: req_0123456789\r\nx-ratelimit-remaining-requests: 4999\r\nx-ratelimit-remaining-tokens: 99999\r\n"
    b"content-length: %d\r\n\r\n" % len(RESPONSE_BODY)
) + RESPONSE_BODY


class Answerer(asyncio.Protocol):
    """Answers as soon as head and body are here; knows no more HTTP than that."""

    def connection_made(self, transport):
        """Keep the way to answer."""
        self.transport = transport
        self.missing = 0

    def data_received(self, data):
        """Count down to the end of the request."""
        if not self.missing:
            head, _, _ = data.partition(b"\r\n\r\n")
            length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
            self.missing = len(head) + 4 + int(length)
        self.missing -= len(data)
        if self.missing <= 0:
            self.missing = 0
            self.transport.write(RESPONSE)


class Floor(asyncio.Protocol):
    """The least that any client must do: write, wait, be given bytes. Parses nothing."""

    waiter = None

    def connection_made(self, transport):
        """Keep the way to ask."""
        self.transport = transport

    def data_received(self, data):
        """Take the answer for whole: it comes in one packet."""
        self.waiter.set_result(len(data))


async def answer():
    server = await asyncio.get_running_loop().create_server(Answerer, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


async def through(upstream, request, count):
    for _ in range(count):
        response = await upstream.send(request)
        body = await response.read(LIMIT)
        response.close()
        if response.status != 200 or len(body) != len(RESPONSE_BODY):
            raise SystemExit("the answer was not the one the server sends")


async def floor(port, count):
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_connection(Floor, "127.0.0.1", port)
    message = b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: %d\r\n\r\n" % len(REQUEST_BODY) + REQUEST_BODY
    for _ in range(count):
        protocol.waiter = loop.create_future()
        transport.write(message)
        await protocol.waiter
    transport.close()


async def measure(run, count, lanes):
    cpu, wall = time.process_time(), time.perf_counter()
    await asyncio.gather(*(run(count // lanes) for _ in range(lanes)))
    done = count // lanes * lanes
    return (time.process_time() - cpu) / done * 1e6, done / (time.perf_counter() - wall)


async def compare(port, count, rounds):
    request = UpstreamRequest(
        Origin("http", "127.0.0.1", port), "POST", "/v1/chat/completions", HEADERS, REQUEST_BODY, Timeouts()
    )
    ours, theirs = RawUpstream(), AiohttpUpstream(None)
    clients = {
        "socket alone": lambda n: floor(port, n),
        "raw client": lambda n: through(ours, request, n),
        "aiohttp client": lambda n: through(theirs, request, n),
    }
    figures = {name: [] for name in clients}
    for run in clients.values():
        await measure(run, CONNECTIONS * 10, CONNECTIONS)
    for _ in range(rounds):
        for name, run in clients.items():
            figures[name].append(await measure(run, count, CONNECTIONS))
    await ours.close()
    await theirs.close()
    return figures


def report(figures):
    medians = {name: statistics.median(cpu for cpu, _ in rounds) for name, rounds in figures.items()}
    print(f"{'':16}{'CPU µs/request':>16}{'best':>8}{'requests/s':>12}{'x raw':>8}")
    for name, rounds in figures.items():
        best = min(cpu for cpu, _ in rounds)
        rate = statistics.median(rate for _, rate in rounds)
        ratio = medians[name] / medians["raw client"]
        print(f"{name:16}{medians[name]:16.1f}{best:8.1f}{rate:12,.0f}{ratio:8.2f}")


def main():
    if sys.argv[1:] == ["answer"]:
        uvloop.run(answer())
        return
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 7
    cores = sorted(os.sched_getaffinity(0))
    server = subprocess.Popen([sys.executable, __file__, "answer"], stdout=subprocess.PIPE)
    try:
        port = int(server.stdout.readline())
        if len(cores) > 1:
            os.sched_setaffinity(server.pid, {cores[1]})
            os.sched_setaffinity(0, {cores[0]})
        report(uvloop.run(compare(port, count, rounds)))
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()
