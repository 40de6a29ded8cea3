"""Who is next, and how long anybody waits: lines of requests that a limit has no room for."""

import asyncio

import pytest
from fakes import FakeClock, FakeResponse
from store import until
from wired import Wired, answer, snapshot

from router.core.budgets.budget import Budgets
from router.core.budgets.limit_words import limit_refusal
from router.core.budgets.limits import Limit
from router.core.errors import RouterError
from router.core.forwarding.forwarding import Queueing
from router.queueing import Lines, priority_of

AT_ONCE = Limit("lc-abc", "acme-inc", (), "concurrency", 1)
REQUESTS = Limit("lr-abc", "acme-inc", (), "requests", 5)
USUAL = Queueing(5_000)
FULL = limit_refusal(AT_ONCE, 1, 1, 10)


class Place:
    """Room for one at a time."""

    def __init__(self):
        self.clock = FakeClock()
        self.lines = Lines(self.clock, self.pause)
        self.room = False
        self.admitted = []

    async def pause(self, seconds):
        self.clock.advance(seconds)
        await asyncio.sleep(0)

    async def wait(self, name, *, bounds=USUAL, key="k", tags=(), gone=lambda: False, refused=FULL):
        async def attempt():
            if not self.room:
                raise limit_refusal(AT_ONCE, 1, 1, 10)
            self.admitted.append(name)

        await self.lines.wait(refused, bounds, key=key, tags=tags, gone=gone, attempt=attempt)

    async def line(self, *waits):
        tasks = []
        for wait in waits:
            tasks.append(asyncio.ensure_future(wait))
            await asyncio.sleep(0)
        self.room = True
        await asyncio.gather(*tasks)
        return self.admitted


async def test_who_came_first_is_served_first():
    place = Place()
    assert await place.line(*(place.wait(name, key=name) for name in "abc")) == ["a", "b", "c"]
    assert place.lines.waiting == 0
    assert "lc-abc" not in place.lines


async def test_a_priority_goes_before_and_keys_take_turns():
    place, bounds = Place(), Queueing(5_000, priority="tier")
    found = await place.line(
        place.wait("low", bounds=bounds, key="z", tags=("tier=low",)),
        place.wait("a1", bounds=bounds, key="a"),
        place.wait("a2", bounds=bounds, key="a"),
        place.wait("b1", bounds=bounds, key="b"),
        place.wait("high", bounds=bounds, key="a", tags=("tier=high",)),
    )
    assert found[0] == "high"
    assert found[-1] == "low"
    assert found.index("b1") < found.index("a2")


async def test_a_line_is_bounded():
    place = Place()
    waiting = asyncio.ensure_future(place.wait("a", bounds=Queueing(5_000, depth=1)))
    await asyncio.sleep(0)
    with pytest.raises(RouterError, match="1 requests wait for it already") as caught:
        await place.wait("b", bounds=Queueing(5_000, depth=1))
    assert (caught.value.code, caught.value.details["limit"]["id"]) == ("rate_limited", "lc-abc")
    place.room = True
    await waiting


async def test_a_wait_that_would_be_too_long_is_not_begun():
    place = Place()
    with pytest.raises(RouterError, match="the wait would be longer"):
        await place.wait("a", refused=limit_refusal(REQUESTS, 5, 1, 5_001))
    assert place.lines.waiting == 0


async def test_a_wait_ends_after_its_time():
    place = Place()
    with pytest.raises(RouterError) as caught:
        await place.wait("a", bounds=Queueing(300))
    assert caught.value.code == "rate_limited"
    assert place.lines.waiting == 0


async def test_who_hangs_up_leaves_the_line():
    place = Place()
    with pytest.raises(RouterError):
        await place.wait("a", gone=lambda: True)
    assert place.lines.waiting == 0


async def test_who_is_not_first_leaves_too():
    place = Place()
    first = asyncio.ensure_future(place.wait("a", bounds=Queueing(60_000_000)))
    await asyncio.sleep(0)
    leaves = False
    second = asyncio.ensure_future(place.wait("b", gone=lambda: leaves))
    await asyncio.sleep(0)
    leaves = True
    with pytest.raises(RouterError):
        await second
    place.room = True
    await first
    assert place.admitted == ["a"]


async def test_another_refusal_is_not_waited_for():
    place = Place()
    with pytest.raises(RouterError, match="no credit"):
        await place.wait("a", refused=RouterError("budget_exceeded", "no credit"))
    never = limit_refusal(REQUESTS, 0, 6, 0)
    with pytest.raises(RouterError, match="is less than"):
        await place.wait("a", refused=never)


async def test_a_refusal_of_another_kind_meanwhile_ends_the_wait():
    place = Place()

    async def attempt():
        raise RouterError("budget_exceeded", "no credit")

    with pytest.raises(RouterError, match="no credit"):
        await place.lines.wait(FULL, Queueing(5_000), key="k", tags=(), gone=lambda: False, attempt=attempt)
    assert place.lines.waiting == 0


@pytest.mark.parametrize(
    ("tags", "place"),
    [((), 1), (("tier=high",), 0), (("tier=low",), 2), (("tier=7",), 7), (("tier=?",), 1), (("env=low",), 1)],
)
def test_a_tag_gives_a_place_in_the_line(tags, place):
    assert priority_of(Queueing(1, priority="tier"), tags) == place


# -- in the pipeline


async def test_a_request_waits_for_its_turn_where_its_policy_says_so():
    hanging = asyncio.Event()
    wire = Wired(
        FakeResponse([hanging, answer()]),
        FakeResponse([answer()]),
        FakeResponse([answer()]),
        world=snapshot(queue={"wait": "30d", "depth": 2}),
    )
    wire.book._by_tenant["acme-inc"] = Budgets([], {}, [AT_ONCE])
    first = asyncio.ensure_future(wire.serve(request_id="r1"))
    await until(lambda: wire.upstream.sent)
    others = [asyncio.ensure_future(wire.serve(request_id=f"r{number}")) for number in (2, 3)]
    await until(lambda: wire.pipeline.queued == 2)
    with pytest.raises(RouterError, match="wait for it already"):
        await wire.serve(request_id="r4")
    hanging.set()
    await asyncio.gather(first, *others)
    assert [row.attempt for row in wire.ledger.rows] == ["r1/1", "r2/1", "r3/1"]
    assert wire.pipeline.queued == 0


async def test_without_a_queue_the_refusal_is_instant():
    hanging = asyncio.Event()
    wire = Wired(FakeResponse([hanging, answer()]))
    wire.book._by_tenant["acme-inc"] = Budgets([], {}, [AT_ONCE])
    first = asyncio.ensure_future(wire.serve(request_id="r1"))
    await until(lambda: wire.upstream.sent)
    with pytest.raises(RouterError) as caught:
        await wire.serve(request_id="r2")
    assert caught.value.code == "rate_limited"
    assert wire.listener.refusals == [("chat", "rate_limited", wire.keys.known["cr-secret"])]
    hanging.set()
    await first
