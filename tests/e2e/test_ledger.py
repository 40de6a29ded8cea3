"""The ledger against the simulator's own bill, to the nano-dollar."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict

HI = "Tell me about plans number {}, the weather and the tools."
TOOL = {
    "type": "function",
    "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}
MODELS = (
    "openai/gpt-4o-mini",
    "openai/gpt-5-nano",
    "deepseek/deepseek-flash",
    "mistral/mistral-small-4",
    "openai/gpt-oss-20b@groq",
    "anthropic/claude-haiku-4.5",
    "qwen/qwen3-8b",
)
REQUESTS = 300


async def ask(sdk, number, draw):
    """One of the many ways to ask."""
    if number % 10 == 0:
        inputs = [f"text {number} {part}" for part in range(draw.randint(1, 8))]
        await sdk.embeddings.create(model="openai/text-embedding-3-small", input=inputs, dimensions=16)
        return
    # Every fourth prompt is long enough to be cached, and comes more than once.
    words = "word " * 1500 if number % 4 == 0 else ""
    asked = {"messages": [{"role": "user", "content": words + HI.format(number % 40)}], "max_completion_tokens": 60}
    kind = draw.choice(("plain", "stream", "usage", "tools", "choices", "auto"))
    asked["model"] = "auto" if kind == "auto" else draw.choice(MODELS)
    if kind == "tools":
        asked |= {"tools": [TOOL], "model": "openai/gpt-4o-mini"}
    elif kind == "choices":
        asked |= {"n": 3, "model": "openai/gpt-4o-mini"}
    elif kind in ("stream", "usage"):
        options = {"stream_options": {"include_usage": True}} if kind == "usage" else {}
        async for _ in await sdk.chat.completions.create(**asked, **options, stream=True):
            pass
        return
    await sdk.chat.completions.create(**asked)


def totals(entries):
    found = defaultdict(lambda: [0, 0, 0, 0, 0])
    for place, *figures in entries:
        found[place] = [have + more for have, more in zip(found[place], figures, strict=True)]
    return dict(found)


async def test_three_hundred_mixed_requests_are_the_simulators_bill_to_the_nano_dollar(node, tenant, sdk):
    draw = random.Random(7)
    gate = asyncio.Semaphore(32)

    async def one(number):
        async with gate:
            await ask(sdk, number, draw)

    await asyncio.gather(*(one(number) for number in range(REQUESTS)))
    rows = await tenant.rows(REQUESTS)
    lines = node.bill()
    assert {(row.outcome, row.certainty) for row in rows} == {("ok", "metered")}
    booked = totals(
        ((r.model, r.provider), 1, r.prompt_tokens, r.cached_tokens, r.completion_tokens, r.cost_nano) for r in rows
    )
    billed = totals(((e["id"], e["provider"]), 1, e["prompt"], e["cached"], e["completion"], e["nano"]) for e in lines)
    assert booked == billed
    assert sum(figures[2] for figures in booked.values()) > 0
    found = node.spend(tenant=tenant.name, group_by="model,provider")
    assert {(e["model"], e["provider"]): e["cost_nano"] for e in found["data"]} == {
        place: figures[4] for place, figures in billed.items()
    }
    assert found["total"]["requests"] == REQUESTS


async def test_each_attempt_has_a_name_of_its_own_and_a_time_of_the_store(node, tenant, sdk):
    asked = {"model": "openai/gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}]}
    await asyncio.gather(*(sdk.chat.completions.create(**asked) for _ in range(50)))
    rows = await tenant.rows(50)
    assert len({row.attempt for row in rows}) == 50
    lines = node.bill()
    assert all(abs(row.at_ms / 1000 - lines[0]["at"]) < 30 for row in rows)
