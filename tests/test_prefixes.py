import datetime as dt

import pytest
from catalogs import a_model, a_price
from fakes import FakeClock
from store import make_row
from wired import SECRET, Wired, asked, snapshot

from router.core.statistics.warmth import PPM
from router.prefixes import LEAST, MOST_UNDER_WAY, Prefixes

CACHE = {
    "kept": "by itself",
    "min_tokens": 1024,
    "ttl": "5m",
    "hit_rate": "1",
    "source": "test",
    "checked": dt.date(2026, 11, 25),
}
ON_REQUEST = {**CACHE, "kept": "on request"}
LONG = [{"role": "system", "content": "Answer briefly. " * 600}, {"role": "user", "content": "Who are you?"}]
GOES_ON = [*LONG, {"role": "assistant", "content": "A model."}, {"role": "user", "content": "Which?"}]
PRICE = a_price(cached_input="0.10")


class Desk(Wired):
    """A pipeline that knows what providers keep."""

    def __init__(self, *script, cache=CACHE, **changes):
        world = snapshot(a_model(prices=[PRICE], **changes), provider={"prompt_cache": cache})
        super().__init__(*script, world=world)
        self.prefixes = self.pipeline.prefixes = Prefixes("secret", self.clock)

    async def considers(self, messages, **headers):
        body = asked(messages=messages)
        who = await self.keys.identify(SECRET)
        return await self.pipeline.consider("chat", who, headers, body, request_id="r9")

    async def answered(self, messages, number, **row):
        """A request, and the row that comes of it."""
        who = await self.keys.identify(SECRET)
        seen = await self.pipeline.consider("chat", who, {}, asked(messages=messages), request_id=f"r{number}")
        option = seen.decision.option
        facts = {"outcome": "ok", "model": option.model, "provider": option.provider, "prompt_tokens": 2_400}
        self.prefixes.on_row(make_row(attempt=f"r{number}/1", **{**facts, **row}), None)
        return seen


async def test_the_next_turn_of_a_conversation_knows_what_is_warm():
    desk = Desk()
    first = await desk.answered(LONG, 1)
    assert first.facts.prefix.warm == {}
    assert first.decision.warm_tokens == 0
    again = await desk.considers(GOES_ON)
    (share,) = again.facts.prefix.warm.values()
    assert share > 0.99 * PPM
    assert again.decision.warm_tokens > 0.98 * again.decision.prompt_tokens
    assert again.decision.expected_pico < first.decision.expected_pico


async def test_what_is_cold_again_is_known_to_be():
    desk = Desk()
    await desk.answered(LONG, 1)
    desk.clock.advance(300)
    assert (await desk.considers(GOES_ON)).facts.prefix.warm == {}


@pytest.mark.parametrize("row", [{"outcome": "upstream_error"}, {"tier": "cache"}, {"prompt_tokens": 900}])
async def test_an_answer_that_leaves_nothing_behind(row):
    desk = Desk()
    await desk.answered(LONG, 1, **row)
    assert (await desk.considers(GOES_ON)).facts.prefix.warm == {}


async def test_on_request_only_what_the_meters_say_is_kept():
    desk = Desk(cache=ON_REQUEST)
    await desk.answered(LONG, 1)
    assert (await desk.considers(GOES_ON)).facts.prefix.warm == {}
    await desk.answered(LONG, 2, cache_write_tokens=2_390, cache_write_1h_tokens=2_390)
    desk.clock.advance(3_599)
    assert (await desk.considers(GOES_ON)).facts.prefix.warm != {}
    desk.clock.advance(1)
    assert (await desk.considers(GOES_ON)).facts.prefix.warm == {}


@pytest.mark.parametrize(("written", "warm"), [(0, False), (2_390, True)])
async def test_who_was_told_to_keep_nothing_has_nothing(written, warm):
    desk = Desk(cache={**CACHE, "kept": "unless told"})
    await desk.answered(LONG, 1, cache_write_tokens=written)
    assert bool((await desk.considers(GOES_ON)).facts.prefix.warm) is warm


@pytest.mark.parametrize(
    "more",
    [
        {"prompt_cache_options": {"mode": "implicit"}},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "Answer briefly. " * 600, "prompt_cache_breakpoint": {"mode": "explicit"}}]}]},
    ],
)  # fmt: skip  # one body a line
async def test_a_caller_who_says_what_is_kept_is_heard(more):
    desk = Desk(cache={**CACHE, "kept": "unless told"})
    who = await desk.keys.identify(SECRET)
    seen = await desk.pipeline.consider("chat", who, {}, asked(**{"messages": LONG, **more}), request_id="r1")
    assert seen.facts.prefix.marked


async def test_an_attempt_that_failed_is_followed_by_one_that_did_not():
    desk = Desk()
    await desk.answered(LONG, 1, outcome="upstream_error")
    desk.prefixes.on_row(
        make_row(attempt="r1/2", outcome="ok", model="acme/large", provider="acme", prompt_tokens=2_400), None
    )
    assert len((await desk.considers(GOES_ON)).facts.prefix.warm) == 1


async def test_short_prompts_are_not_looked_at():
    desk = Desk()
    seen = await desk.considers([{"role": "user", "content": "say two words"}])
    assert seen.facts.prefix is None
    seen = await desk.considers([{"role": "user", "content": "word " * 600}])
    assert seen.facts.tokens.expected > LEAST
    assert seen.facts.prefix is None  # the only model keeps nothing under 1,024


async def test_where_nobody_keeps_anything_nothing_is_looked_at():
    desk = Desk(cache=None)
    assert (await desk.considers(LONG)).facts.prefix is None
    await desk.answered(LONG, 1)


async def test_another_tenant_s_prompt_is_nobody_else_s():
    desk = Desk()
    await desk.answered(LONG, 1)
    facts = (await desk.considers(GOES_ON)).facts
    one, other = (Prefixes(secret, FakeClock())._key(tenant) for secret, tenant in (("secret", "a"), ("secret", "b")))
    assert one != other
    assert one != Prefixes("other", FakeClock())._key("a")
    assert facts.prefix.key.startswith("cr-")


async def test_pictures_are_not_hashed():
    picture = {"type": "image_url", "image_url": {"url": "https://x.example/a.png"}}
    desk = Desk(capabilities=["chat", "vision"])
    messages = [*LONG, {"role": "user", "content": [picture]}]
    assert (await desk.considers(messages)).facts.prefix is None


async def test_what_is_under_way_and_tenants_are_bounded():
    desk = Desk()
    for number in range(MOST_UNDER_WAY):
        desk.prefixes._under_way[f"x{number}"] = None
    await desk.considers(LONG)
    assert len(desk.prefixes._under_way) == MOST_UNDER_WAY
    assert "x0" not in desk.prefixes._under_way
    for number in range(MOST_UNDER_WAY + 1):
        desk.prefixes._key(f"tenant{number}")
    assert len(desk.prefixes._keys) < 3
    desk.prefixes.on_refusal("chat", "no_feasible_model", None)
    assert len(desk.prefixes.memory) == 0
