"""The cache over fakes: what it does where the store is not there, and with answers that nobody vouches for."""

from __future__ import annotations

import pytest
from fakes import FakeResponse
from test_once import Answers
from wired import EVENTS, Wired, answer, ends, says, snapshot

from router.caching import Caching


class Cached(Wired):
    """A pipeline whose policy keeps answers for an hour."""

    def __init__(self, *script, **cache):
        super().__init__(*script, world=snapshot(cache={"ttl": "1h", **cache}))
        self.answers = Answers()
        self.pipeline.caching = Caching(self.answers, self.pipeline._desk)

    async def ask(self, **fields):
        reply = await self.serve(**fields)
        body = reply.body
        while reply.stream is not None and (part := await reply.stream.next_part()):
            body += part
        await self.pipeline.caching.close()
        reply.after()
        return dict(reply.headers).get("x-costrouter-cache"), body


async def test_the_second_is_a_hit_and_listeners_hear_of_both():
    case = Cached(FakeResponse([answer()]))
    assert await case.ask() == ("miss", answer())
    assert await case.ask() == ("hit", answer())
    assert [row.tier for row in case.ledger.rows] == ["realtime", "cache"]
    assert len(case.listener.rows) == 2


async def test_without_the_store_every_request_is_answered_anew():
    case = Cached(*(FakeResponse([answer()]) for _ in range(3)))
    case.answers.down = {"put"}
    assert (await case.ask())[0] == "miss"
    case.answers.down = set()
    assert (await case.ask())[0] == "miss"
    case.answers.down = {"find"}
    assert (await case.ask())[0] == "miss"


async def test_what_another_version_kept_is_answered_anew():
    case = Cached(FakeResponse([answer()]), FakeResponse([answer()]))
    await case.ask()
    case.answers.kept = dict.fromkeys(case.answers.kept, b"of another version")
    assert (await case.ask())[0] == "miss"


@pytest.mark.parametrize("body", [answer(None), answer({"prompt_tokens": 9 * 10**9, "completion_tokens": 2})])
async def test_an_answer_that_we_had_to_count_is_kept_as_well(body):
    case = Cached(FakeResponse([body]))
    await case.ask()
    assert (await case.ask())[0] == "hit"
    assert [row.certainty for row in case.ledger.rows] == ["counted", "metered"]


async def test_a_stream_whose_caller_leaves_is_not_kept():
    case = Cached(FakeResponse([says("Hel"), says("lo."), ends()], headers=EVENTS))
    reply = await case.serve(stream=True)
    await reply.stream.abandon()
    assert case.answers.kept == {}


async def test_a_policy_without_a_cache_says_nothing_of_it():
    case = Wired(FakeResponse([answer()]))
    case.pipeline.caching = Caching(Answers(), case.pipeline._desk)
    assert "x-costrouter-cache" not in dict((await case.serve()).headers)
