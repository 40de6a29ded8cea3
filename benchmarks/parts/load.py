"""The load generator: raw uvloop and httptools, closed loop (n connections, each sends when it has its answer) or open
loop (so many requests a second, latency counted from the planned instant, so that a stall is not hidden).

Belongs here: sending, timing, percentiles. Does not belong here: which runs are made (request_path.py and others).

Run as a program: reads one JSON object a line from stdin (the fields of `Plan`); for each it writes a line `start`
when the window opens, `stop` when it closes and then one JSON object of figures when every answer is in.
"""

import asyncio
import gc
import json
import sys
from array import array
from contextlib import suppress
from dataclasses import dataclass
from time import perf_counter

import httptools
import uvloop
from bodies import maker

PATHS = {"messages": "/v1/messages"}
"""By kind of body, where it is not the other one."""
PATH = "/v1/chat/completions"
WHOLE = {"stream": b"[DONE]", "messages": b"message_stop"}
"""What the end of an answer has in it, where it is no plain one."""
DRAIN_S = 60.0
_CONTENT = {"messages": b'"text":"w'}
_CHAT_CONTENT = b'"content":"w'
_KEPT = 2048


@dataclass(frozen=True)
class Plan:
    """One run. ``seconds`` of window after ``warmup`` seconds, or a window of ``count`` answers; ``rate`` makes it an open loop."""

    port: int
    kind: str = "small"
    connections: int = 1
    warmup: float = 0.3
    seconds: float = 0.0
    count: int = 0
    rate: float = 0.0
    key: str = "bench"
    model: str = "auto"


class Client(asyncio.Protocol):
    """One connection with at most one request under way."""

    __slots__ = ("begin", "body", "busy", "first", "parser", "run", "transport")

    def __init__(self, run):
        self.run = run
        self.busy = False

    def connection_made(self, transport):
        """Called by the loop."""
        self.transport = transport
        self.parser = httptools.HttpResponseParser(self)

    def send(self, begin):
        """Send the next request; its latency counts from ``begin``."""
        self.begin, self.first, self.body, self.busy = begin, 0.0, b"", True
        self.transport.write(self.run.request())

    def data_received(self, data):
        """Called by the loop."""
        self.parser.feed_data(data)

    def on_body(self, body):
        """Called by the parser."""
        if not self.first and self.run.content in body:
            self.first = perf_counter()
        self.body = (self.body + body)[-_KEPT:] if self.body else body

    def on_message_complete(self):
        """Called by the parser."""
        self.busy = False
        status, whole = self.parser.get_status_code(), self.run.whole
        if status != 200 or whole not in self.body:
            self.run.fail(f"answered {status}: {self.body[:600].decode(errors='replace')}")
        elif not self.parser.should_keep_alive():
            self.run.fail("closed a connection that was to be kept")
        else:
            self.run.answered(self, perf_counter())

    def connection_lost(self, error):
        """Called by the loop."""
        if self.busy:
            self.run.fail(f"broke a connection under way: {error!r}")


class Run:
    """What one plan has come to so far."""

    def __init__(self, plan, body):
        self._plan = plan
        self._body = body
        self._head = (
            f"POST {PATHS.get(plan.kind, PATH)} HTTP/1.1\r\nhost: 127.0.0.1:{plan.port}\r\nauthorization: Bearer {plan.key}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body())}\r\n\r\n"
        ).encode()
        self.whole = WHOLE.get(plan.kind, b'"usage"')
        self.content = _CONTENT.get(plan.kind, _CHAT_CONTENT)
        self.latencies, self.firsts = array("d"), array("d")
        self.sent = self.done = 0
        self.open = self.closed = 0.0
        self.sending = True
        self.failure = ""
        self.idle = []
        self.over = asyncio.Event()

    def request(self):
        """The next request, head and body."""
        self.sent += 1
        return self._head + self._body()

    def fail(self, text):
        """End the run; the first reason counts."""
        self.failure = self.failure or text
        self.sending = False
        self.over.set()

    def answered(self, client, now):
        """Book an answer and go on."""
        self.done += 1
        if self.open and not self.closed:
            self.latencies.append((now - client.begin) * 1000)
            if client.first:
                self.firsts.append((client.first - client.begin) * 1000)
            if self._plan.count and len(self.latencies) >= self._plan.count:
                self.over.set()
        if self.sending and not self._plan.rate:
            client.send(now)
        else:
            self.idle.append(client)
            if not self.sending and self.sent == self.done:
                self.over.set()

    async def perform(self):
        """Connect, warm up, open and close the window, wait for what is under way."""
        self.idle = await asyncio.gather(*(self._connect() for _ in range(self._plan.connections)))
        everyone = list(self.idle)
        if self._plan.rate:
            pacing = asyncio.ensure_future(self._pace(everyone))
        else:
            self.idle = []
            for client in everyone:
                client.send(perf_counter())
        await self._wait(self._plan.warmup)
        print("start", flush=True)
        self.open = perf_counter()
        await self._wait(self._plan.seconds or None)
        self.closed = perf_counter()
        print("stop", flush=True)
        self.sending = False
        if self._plan.rate:
            await pacing
        self.over.clear()
        if not self.failure and self.sent != self.done:
            await self._wait(DRAIN_S)
            if self.sent != self.done:
                self.failure = (
                    self.failure or f"left {self.sent - self.done} requests without an answer for {DRAIN_S:.0f} s"
                )
        for client in everyone:
            client.busy = False
            client.transport.close()
        await asyncio.sleep(0.01)

    async def _wait(self, seconds):
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.over.wait()

    async def _connect(self):
        _, client = await asyncio.get_running_loop().create_connection(
            lambda: Client(self), "127.0.0.1", self._plan.port
        )
        return client

    async def _pace(self, everyone):
        gap, due = 1 / self._plan.rate, perf_counter()
        while self.sending:
            if self.idle:
                self.idle.pop().send(due)
            else:
                client = await self._connect()
                everyone.append(client)
                client.send(due)
            due += gap
            await asyncio.sleep(max(0.0, due - perf_counter()))

    def figures(self):
        """What the window showed; times in milliseconds. ``failure`` is empty when every answer was right."""
        seconds = self.closed - self.open
        return {
            "failure": self.failure,
            "sent": self.sent,
            "answered": len(self.latencies),
            "seconds": seconds,
            "per_second": len(self.latencies) / seconds if seconds else 0.0,
            "latency": _quantiles(self.latencies),
            "first": _quantiles(self.firsts),
        }


def _quantiles(values):
    ordered = sorted(values)
    last = len(ordered) - 1
    shares = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}
    return {name: ordered[round(share * last)] if ordered else 0.0 for name, share in shares.items()}


def main():
    makers = {}
    gc.disable()
    loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    for line in sys.stdin:
        plan = Plan(**json.loads(line))
        key = plan.kind, plan.model
        body = makers.get(key) or makers.setdefault(key, maker(*key))

        async def one(plan=plan, body=body):
            run = Run(plan, body)
            await run.perform()
            return run.figures()

        print(json.dumps(loop.run_until_complete(one())), flush=True)
        gc.collect()


if __name__ == "__main__":
    main()
