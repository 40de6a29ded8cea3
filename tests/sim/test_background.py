"""Responses in the background and in completion windows, by the official SDK: states, refusals, and the bill."""

from __future__ import annotations

import openai
import pytest

HI = "Tell me about plans."


@pytest.fixture
async def slow(start, clock):
    """A simulator whose clock is turned by hand."""
    return await start(now=clock, batch_speed=1.0)


async def begun(client, window=None, **fields):
    options = {} if window is None else {"background_options": {"completion_window": window}}
    return await client.responses.create(model="gpt-small", input=HI, background=True, **options, **fields)


async def test_a_window_is_kept_waiting_and_billed_at_its_price(slow, clock):
    client = slow.openai()
    made = await begun(client, "8h")
    assert (made.status, made.background, made.output) == ("queued", True, [])
    seen = [made.status]
    while seen[-1] not in ("completed", "failed") and len(seen) < 9:
        clock.pass_by(600)
        status = (await client.responses.retrieve(made.id)).status
        seen += [status] if status != seen[-1] else []
    assert seen == ["queued", "in_progress", "completed"]
    found = await client.responses.retrieve(made.id)
    assert found.output_text
    (billed,) = await slow.bill()
    assert (billed["tier"], billed["completion"]) == ("window-8h", found.usage.output_tokens)
    await client.responses.delete(made.id)
    with pytest.raises(openai.NotFoundError):
        await client.responses.retrieve(made.id)
    assert len(await slow.bill()) == 1, "the bill remembers"


async def test_without_a_window_it_is_made_soon_at_the_usual_price(slow, clock):
    client = slow.openai()
    made = await begun(client)
    clock.pass_by(30)
    assert (await client.responses.retrieve(made.id)).status == "completed"
    assert [line["tier"] for line in await slow.bill()] == ["realtime"]
    assert (await client.responses.cancel(made.id)).status == "completed", "it stays as it is"


async def test_one_that_is_called_off_costs_nothing(slow, clock):
    client = slow.openai()
    made = await begun(client, "2h")
    assert (await client.responses.cancel(made.id)).status == "cancelled"
    clock.pass_by(99_999)
    assert (await client.responses.cancel(made.id)).status == "cancelled"
    assert await slow.bill() == []
    assert [batch async for batch in client.batches.list()] == [], "it is no batch"


async def test_a_window_is_refused_where_it_is_not_sold_or_with_what_it_does_not_go(slow):
    client = slow.openai()
    for fields, message in (
        ({"window": "4h"}, "Supported values are: 'soonest', '2h'"),
        ({"window": "8h", "service_tier": "priority"}, "Standard processing"),
        ({"window": "8h", "stream": True}, "stream: false"),
    ):
        with pytest.raises(openai.BadRequestError, match=message):
            await begun(client, **fields)
    with pytest.raises(openai.BadRequestError, match="does not support"):
        await client.responses.create(
            model="gpt-deep", input=HI, background=True, background_options={"completion_window": "8h"}
        )
