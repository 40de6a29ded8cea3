"""A pipeline whose every port is a fake: what a request leaves behind, without a socket or a store.

Belongs here: putting the fakes together, and calling. Does not belong here: the fakes themselves (fakes.py).
"""

from __future__ import annotations

import asyncio
import json

import msgspec
from catalogs import NOW, a_model, a_policy, compiled
from fakes import FakeBook, FakeClock, FakeCounter, FakeKeys, FakeLedger, FakeListener, FakeUpstream, FakeWays

from router.core.catalog.catalog import Catalog
from router.core.deciding.snapshot import World, compile_snapshot
from router.core.forwarding.forwarding import Forwarding
from router.core.names import Names
from router.core.policy.compile import compile_policy
from router.core.policy.schema import PolicySchema
from router.core.schema import validate
from router.core.values import Identity
from router.desk import Desk
from router.exchange import Exchange
from router.forward import Forwarder
from router.pipeline import Call, Pipeline
from router.ports import Origin, ProviderLink, Timeouts

SECRET = "cr-secret"
WHO = Identity(tenant="acme-inc", key="k1", team="search")
EVENTS = {"content-type": "text/event-stream"}
METERS = {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}
TIMEOUTS = Timeouts(connect=1, first_byte=2, between_chunks=3, total=40)


def snapshot(*models, provider=None, **changes):
    file = compiled(*(models or [a_model()]), **(provider or {}))
    catalog = Catalog([file.provider], file.models)
    document = a_policy(policy="default", **{"candidates": {"include": ["*"]}, **changes})
    policy = compile_policy(validate(PolicySchema, document), catalog, NOW).policy
    world = World(catalog=catalog, policies={"default": policy}, names=Names(catalog), offered=frozenset({"acme"}))
    return compile_snapshot("w1-1", world, NOW, {}.get)


class Wired:
    """``script`` is what the upstream answers, in turn; ``world`` the snapshot that decides. One attempt unless told."""

    def __init__(self, *script, bills=True, world=None, providers=("acme",), **bounds):
        self.clock = FakeClock()
        self.ledger = FakeLedger(self.clock)
        self.counter = FakeCounter()
        self.listener = FakeListener()
        self.book = FakeBook()
        self.upstream = FakeUpstream(*script)
        self.keys = FakeKeys({SECRET: WHO})
        link = ProviderLink(
            name="acme",
            origin=Origin("https", "api.acme.example", 443, "/v1"),
            headers=((b"authorization", b"Bearer sk-ours"),),
            bills_after_disconnect=bills,
            timeouts=TIMEOUTS,
        )
        self.ways = FakeWays({name: msgspec.structs.replace(link, name=name) for name in providers})
        desk = Desk(self.ledger, self.counter, self.clock, (self.listener,), self.book, self.ways)
        self.pauses = []
        self.forwarder = Forwarder(
            desk,
            Exchange(self.upstream, self.clock, self.ways),
            bounds=Forwarding(**{"attempts": 1, **bounds}),
            draw=lambda: 0.5,
            pause=self.pause,
        )
        self.pipeline = Pipeline(keys=self.keys, desk=desk, forwarder=self.forwarder, snapshot=world or snapshot())

    async def pause(self, seconds):
        self.pauses.append(seconds)
        self.clock.advance(seconds)
        await asyncio.sleep(0)

    async def serve(self, body=None, *, headers=None, gone=lambda: False, request_id="r1", **fields):
        async def read():
            return asked(**fields) if body is None else body

        headers = {"authorization": f"Bearer {SECRET}"} if headers is None else headers
        return await self.pipeline.serve(Call(api="chat", headers=headers, read=read, request_id=request_id, gone=gone))

    async def stream(self, **fields):
        """The first part of a streamed answer, and the stream."""
        reply = await self.serve(stream=True, **fields)
        return reply.body, reply.stream

    async def whole_stream(self, **fields):
        """Everything that a caller gets."""
        text, stream = await self.stream(**fields)
        while part := await stream.next_part():
            text += part
        return text

    @property
    def row(self):
        (row,) = self.ledger.rows
        return row


def asked(**fields):
    return json.dumps({"model": "auto", "messages": [{"role": "user", "content": "say two words"}], **fields}).encode()


def event(document):
    return b"data: " + (document if isinstance(document, bytes) else json.dumps(document).encode()) + b"\n\n"


def says(text, **more):
    """One event of a stream."""
    return event({"choices": [{"index": 0, "delta": {"content": text}}], **more})


def ends(**meters):
    """The last events of a whole stream, with usage."""
    finish = event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    return finish + event({"choices": [], "usage": METERS | meters}) + event(b"[DONE]")


def answer(usage=METERS, **more):
    """A plain answer."""
    choice = {"index": 0, "message": {"role": "assistant", "content": "Hello there."}, "finish_reason": "stop"}
    return json.dumps({"object": "chat.completion", "choices": [choice], "usage": usage, **more}).encode()
