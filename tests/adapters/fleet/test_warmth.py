"""Workers tell each other which beginnings of prompts were answered where."""

import msgspec
from store import now_ms

from router.adapters.fleet.statistics import Fleet, Observations
from router.adapters.fleet.warmth import FOLLOWED_MS, STREAM, SharedWarmth
from router.core.statistics.warmth import PPM, Warmth, chain

SAID = chain(b"k" * 32, ("You help. " * 100, "Hello?"), 0)
ENTRY = "acme/large@acme"


class Worker:
    def __init__(self, connection, name):
        self.memory = Warmth()
        self.fleet = Fleet(connection, name, Observations(), SharedWarmth(connection, name, self.memory))

    def answers(self):
        _, asked = self.memory.asks(SAID, 500, ("acme", "faq"), now_ms(), session=False, marked=False)
        self.memory.answered(asked, ENTRY, now_ms(), 300_000)

    def warm(self):
        return self.memory.asks(SAID, 500, ("acme", "faq"), now_ms(), session=False, marked=False)[0].warm

    async def ticks(self):
        await self.fleet.exchange(now_ms(), {})


async def test_what_one_worker_answered_is_warm_for_the_others_and_for_a_new_one(connection):
    one, two = Worker(connection, "w1"), Worker(connection, "w2")
    one.answers()
    await one.ticks()
    assert two.warm() == {}
    await two.ticks()
    assert two.warm() == {ENTRY: PPM}
    await one.ticks()
    assert await connection.call("XLEN", STREAM) == 1, "nothing new, nothing told"
    new = Worker(connection, "w3")
    await new.ticks()
    assert new.warm() == {ENTRY: PPM}


async def test_what_a_worker_of_another_version_says_is_passed_over(connection):
    one, two = Worker(connection, "w1"), Worker(connection, "w2")
    await connection.call("XADD", STREAM, "*", "d", msgspec.msgpack.encode(["w9", [["entry", 1, "?"]]]))
    one.answers()
    await one.ticks()
    await two.ticks()
    assert two.warm() == {ENTRY: PPM}


async def test_the_stream_is_a_minute_long(connection):
    one = Worker(connection, "w1")
    long_ago = now_ms() - FOLLOWED_MS - 1_000
    # Whole nodes of the stream go, so there must be more than one.
    for number in range(250):
        await connection.call("XADD", STREAM, f"{long_ago}-{number}", "d", b"x")
    one.answers()
    await one.ticks()
    assert await connection.call("XLEN", STREAM) < 250
