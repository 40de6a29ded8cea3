"""The official openai SDK's Responses against a whole node, to providers of every dialect."""

from __future__ import annotations

import asyncio

import anthropic
import openai
import pytest
from node import Tenant
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import BaseModel, TypeAdapter

from router.core.money import usd

CLAUDE = "anthropic/claude-haiku-4.5"
GPT = "openai/gpt-4o-mini"
MISTRAL = "mistral/mistral-small-4"
UNBATCHED = "qwen/qwen3.8-27b"  # and without dear hours, whose end would be waited for
EVERYWHERE = pytest.mark.parametrize("model", [CLAUDE, GPT, MISTRAL])
HI = "Tell me about plans."
TOOLS = [
    {
        "type": "function",
        "name": name,
        "strict": False,
        "description": f"Tells the {name.partition('_')[2]}.",
        "parameters": {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]},
    }
    for name in ("get_weather", "get_time")
]
ASKS = [{"role": "user", "content": "What are the weather and the time in Paris?"}]
EVENTS = TypeAdapter(ResponseStreamEvent)


class Plan(BaseModel):
    title: str
    steps: list[str]


def strictly(found):
    """What the SDK's type of it says, checked, which the SDK itself does not."""
    type(found).model_validate(found.model_dump(by_alias=True, warnings=False), strict=False)
    return found


@EVERYWHERE
async def test_a_response_and_its_row(node, tenant, sdk, model):
    raw = await sdk.responses.with_raw_response.create(
        model=model, input=HI, instructions="Be brief.", max_output_tokens=300, store=False, metadata={"a": "b"}
    )
    found, row = strictly(raw.parse()), await tenant.row()
    (line,) = node.bill()
    assert found.output_text
    assert found.id.startswith("resp_")
    assert (found.status, found.instructions, found.metadata) == ("completed", "Be brief.", {"a": "b"})
    assert found.usage.input_tokens == row.prompt_tokens == line["prompt"]
    assert found.usage.output_tokens == row.completion_tokens == line["completion"]
    assert (row.cost_nano, row.certainty, row.endpoint, row.model) == (line["nano"], "metered", "chat", model)
    assert raw.headers["x-costrouter-cost-usd"] == usd(row.cost_nano)


@EVERYWHERE
async def test_a_stream_says_the_same_as_the_plain_response(node, tenant, sdk, model):
    asked = {"model": model, "input": HI, "max_output_tokens": 300, "store": False}
    plain = await sdk.responses.create(**asked)
    async with sdk.responses.stream(**asked) as stream:
        events = [event async for event in stream]
        whole = strictly(await stream.get_final_response())
    rows = await tenant.rows(2)
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert [event.type for event in events[:4]] == [
        "response.created", "response.in_progress", "response.output_item.added", "response.content_part.added",
    ]  # fmt: skip
    assert [event.type for event in events[-4:]] == [
        "response.output_text.done", "response.content_part.done", "response.output_item.done", "response.completed",
    ]  # fmt: skip
    said = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert said == whole.output_text == plain.output_text
    assert whole.usage.output_tokens == plain.usage.output_tokens
    assert whole.usage.cost_usd == usd(rows[-1].cost_nano)
    assert [row.cost_nano for row in rows] == [line["nano"] for line in node.bill()]


@EVERYWHERE
async def test_every_event_is_what_the_types_say(sdk, model):
    asked = {"model": model, "input": ASKS, "tools": TOOLS, "store": False}
    events = [event async for event in await sdk.responses.create(**asked, stream=True)]
    for event in events:
        EVENTS.validate_python(event.model_dump(by_alias=True, warnings=False))
    assert (events[0].type, events[-1].type) == ("response.created", "response.completed")


@EVERYWHERE
async def test_tools_are_called_in_parallel_and_their_results_go_back(node, tenant, sdk, model):
    asked = {"model": model, "tools": TOOLS, "max_output_tokens": 1000, "store": False}
    plain = await sdk.responses.create(input=ASKS, **asked)
    async with sdk.responses.stream(input=ASKS, **asked) as stream:
        streamed = await stream.get_final_response()
    calls = [item for item in plain.output if item.type == "function_call"]
    assert [call.name for call in calls] == ["get_weather", "get_time"]
    again = [(item.name, item.arguments) for item in streamed.output if item.type == "function_call"]
    assert again == [(call.name, call.arguments) for call in calls]
    results = [{"type": "function_call_output", "call_id": call.call_id, "output": "fine"} for call in calls]
    answer = await sdk.responses.create(input=[*ASKS, *plain.output, *results], **asked)
    assert answer.output_text
    assert [row.cost_nano for row in await tenant.rows(3)] == [line["nano"] for line in node.bill()]


@EVERYWHERE
async def test_an_answer_has_the_form_that_was_asked_for(sdk, model):
    found = await sdk.responses.parse(model=model, input="Plan my day.", text_format=Plan, store=False)
    assert isinstance(found.output_parsed, Plan)


@EVERYWHERE
async def test_an_answer_that_met_its_limit_is_incomplete(sdk, model):
    found = strictly(await sdk.responses.create(model=model, input=HI, max_output_tokens=16, store=False))
    assert (found.status, found.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    async with sdk.responses.stream(model=model, input=HI, max_output_tokens=16, store=False) as stream:
        events = [event async for event in stream]
    assert events[-1].type == "response.incomplete"


async def test_what_no_target_can_be_told_is_refused_with_the_reason(sdk):
    with pytest.raises(openai.UnprocessableEntityError, match="its API has no place for truncation"):
        await sdk.responses.create(model=CLAUDE, input=HI, truncation="auto")
    with pytest.raises(openai.BadRequestError, match="a fee that is not known"):
        await sdk.responses.create(model=GPT, input=HI, tools=[{"type": "code_interpreter", "container": "c"}])


async def test_a_response_is_checked_as_strictly_as_this(sdk):
    with pytest.raises(ValueError, match="output"):
        Response.model_validate({"id": "r"})


async def test_chats_and_messages_reach_who_has_nothing_but_responses(node, tenant, sdk):
    anything = {"x-costrouter-policy": "anything"}
    asked = {"model": "perplexity/sonar", "max_tokens": 300, "extra_headers": anything}
    chat = await sdk.chat.completions.create(messages=[{"role": "user", "content": HI}], **asked)
    stream = await sdk.chat.completions.create(messages=[{"role": "user", "content": HI}], stream=True, **asked)
    said = "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices])
    assert said == chat.choices[0].message.content
    async with anthropic.AsyncAnthropic(base_url=node.url, api_key=tenant.key, max_retries=0) as claude:
        message = await claude.messages.create(messages=[{"role": "user", "content": HI}], **asked)
        assert message.content[0].text == said
        with pytest.raises(anthropic.UnprocessableEntityError, match="no place for stop_sequences"):
            await claude.messages.create(messages=[{"role": "user", "content": HI}], stop_sequences=["x"], **asked)
    assert [row.cost_nano for row in await tenant.rows(3)] == [line["nano"] for line in node.bill()]


async def test_a_model_that_has_nothing_but_responses_takes_chats(node, tenant, sdk):
    chat = await sdk.chat.completions.create(
        model="openai/gpt-5.2",
        messages=[{"role": "user", "content": HI}],
        extra_headers={"x-costrouter-policy": "anything"},
    )
    row = await tenant.row()
    assert chat.choices[0].message.content
    assert chat.usage.completion_tokens == row.completion_tokens
    assert (row.model, row.cost_nano) == ("openai/gpt-5.2", node.bill()[0]["nano"])


async def test_tokens_are_counted_without_a_call(node, tenant, sdk):
    counted = await sdk.responses.input_tokens.count(model=GPT, input=HI, instructions="Be brief.")
    kept = await sdk.responses.create(model=GPT, input=HI, instructions="Be brief.")
    assert counted.input_tokens == kept.usage.input_tokens
    with pytest.raises(openai.BadRequestError, match="cannot be counted here"):
        await sdk.responses.input_tokens.count(model=GPT, input=HI, previous_response_id=kept.id)
    assert len(node.bill()) == 1


@pytest.mark.parametrize(
    ("body", "model"),
    [
        ({"model": GPT, "input": HI}, GPT),
        ({"model": "auto", "input": [{"role": "user", "content": HI}]}, ""),
        ({"model": "auto", "input": HI, "instructions": "Be brief."}, ""),
        ({"model": "openai/text-embedding-3-small", "input": HI}, "openai/text-embedding-3-small"),
    ],
)
async def test_an_estimate_tells_responses_from_embeddings(node, tenant, web, body, model):
    async with web.post(f"{node.url}/costrouter/v1/estimate", json=body, headers=tenant.headers) as answer:
        found = await answer.json()
    assert found["chosen"]["model"] == model or (not model and "embedding" not in found["chosen"]["model"]), found


# -- what is kept


@EVERYWHERE
async def test_an_answer_is_gone_on_from_wherever_it_was_made(node, tenant, sdk, model):
    first = await sdk.responses.create(model=model, input=HI)
    second = await sdk.responses.create(model=model, input="And then?", previous_response_id=first.id)
    assert (first.store, second.previous_response_id) == (True, first.id)
    rows = await tenant.rows(2)
    assert rows[1].prompt_tokens > rows[0].prompt_tokens + rows[0].completion_tokens
    assert [row.cost_nano for row in rows] == [line["nano"] for line in node.bill()]
    third = await sdk.responses.create(model="auto", input="And then?", previous_response_id=second.id)
    assert third.output_text


@EVERYWHERE
async def test_a_streamed_answer_is_gone_on_from(sdk, model):
    async with sdk.responses.stream(model=model, input=HI) as stream:
        first = await stream.get_final_response()
    async with sdk.responses.stream(model=model, input="And?", previous_response_id=first.id) as stream:
        second = await stream.get_final_response()
    assert second.previous_response_id == first.id
    assert second.usage.input_tokens > first.usage.input_tokens + first.usage.output_tokens


async def test_whoever_goes_on_stays_at_the_provider_that_keeps_it(tenant, sdk):
    first = await sdk.responses.create(model="openai/gpt-5.4", input=HI)
    await sdk.responses.create(model="auto", input="And then?", previous_response_id=first.id)
    assert [row.model for row in await tenant.rows(2)] == ["openai/gpt-5.4"] * 2
    with pytest.raises(openai.UnprocessableEntityError) as refused:
        await sdk.responses.create(model=CLAUDE, input="And then?", previous_response_id=first.id)
    assert refused.value.code == "no_feasible_model"


@EVERYWHERE
async def test_what_is_kept_is_shown_and_taken_away(sdk, model):
    made = await sdk.responses.create(model=model, input=HI)
    found = strictly(await sdk.responses.retrieve(made.id))
    assert (found.id, found.output_text) == (made.id, made.output_text)
    items = [item async for item in sdk.responses.input_items.list(made.id)]
    assert [item.role for item in items] == ["user"]
    with pytest.raises(openai.BadRequestError):
        await sdk.responses.cancel(made.id)
    with pytest.raises(openai.BadRequestError, match="background"):
        await sdk.responses.retrieve(made.id, stream=True)
    await sdk.responses.delete(made.id)
    with pytest.raises(openai.NotFoundError, match="There is no response"):
        await sdk.responses.retrieve(made.id)
    with pytest.raises(openai.NotFoundError, match="There is no response"):
        await sdk.responses.create(model=model, input="And?", previous_response_id=made.id)


@EVERYWHERE
async def test_nothing_is_kept_of_what_is_not_to_be_stored_nor_for_another_tenant(node, sdk, model):
    made = await sdk.responses.create(model=model, input=HI, store=False)
    assert made.store is False
    with pytest.raises(openai.NotFoundError, match="There is no response"):
        await sdk.responses.retrieve(made.id)
    kept = await sdk.responses.create(model=model, input=HI)
    async with node.store() as store, Tenant(node, store).sdk() as stranger:
        with pytest.raises(openai.NotFoundError, match="There is no response"):
            await stranger.responses.create(model=model, input="And?", previous_response_id=kept.id)
        with pytest.raises(openai.NotFoundError):
            await stranger.responses.retrieve(kept.id)


# -- in the background


async def arrived(sdk, found):
    """A background response, once it is there."""
    async with asyncio.timeout(20):
        while found.status in ("queued", "in_progress"):
            await asyncio.sleep(0.1)
            found = strictly(await sdk.responses.retrieve(found.id))
    return found


@pytest.mark.parametrize("model", [GPT, MISTRAL, pytest.param(CLAUDE, marks=pytest.mark.soak)])
async def test_a_background_response_is_queued_retrieved_and_gone_on_from(node, tenant, sdk, model):
    begun = strictly(await sdk.responses.create(model=model, input=HI, background=True))
    assert (begun.status, begun.background, begun.output) == ("queued", True, [])
    found = await arrived(sdk, begun)
    assert (found.status, found.id, found.background) == ("completed", begun.id, True)
    assert found.output_text
    items = [item async for item in sdk.responses.input_items.list(found.id)]
    assert items[0].content[0].text == HI
    more = await sdk.responses.create(model=model, input="And then?", previous_response_id=found.id)
    assert more.usage.input_tokens > found.usage.input_tokens
    rows = await tenant.rows(2)
    assert [row.cost_nano for row in rows] == [line["nano"] for line in node.bill()]
    await sdk.responses.delete(found.id)
    with pytest.raises(openai.NotFoundError):
        await sdk.responses.retrieve(found.id)


@pytest.mark.soak
@pytest.mark.parametrize("model", [GPT, CLAUDE])
async def test_a_background_stream_waits_and_can_be_taken_up_again(sdk, model):
    stream = await sdk.responses.create(model=model, input=ASKS, tools=TOOLS, background=True, stream=True)
    events = [event async for event in stream]
    for event in events:
        EVENTS.validate_python(event.model_dump(by_alias=True, warnings=False))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert [event.type for event in events[:3]] == ["response.created", "response.queued", "response.in_progress"]
    assert events[-1].type == "response.completed"
    response_id = events[0].response.id
    rest = [event async for event in await sdk.responses.retrieve(response_id, stream=True, starting_after=2)]
    assert [event.type for event in rest] == [event.type for event in events[3:]]
    async with sdk.responses.stream(response_id=response_id) as again:
        assert (await again.get_final_response()).id == response_id


async def test_a_background_response_is_called_off(node, tenant, sdk):
    node.faults({"kind": "slow_first_byte", "delay_ms": 3_000, "times": 1})
    begun = await sdk.responses.create(model=GPT, input=HI, background=True)
    found = strictly(await sdk.responses.cancel(begun.id))
    assert found.status == "cancelled"
    assert (await sdk.responses.retrieve(begun.id)).id == begun.id


async def test_a_background_response_that_fails_says_so(node, sdk):
    node.faults({"kind": "status", "status": 400, "times": 9})
    found = await arrived(sdk, await sdk.responses.create(model=UNBATCHED, input=HI, background=True))
    assert (found.status, found.error.code) == ("failed", "server_error")
    events = [event async for event in await sdk.responses.retrieve(found.id, stream=True)]
    assert events[-1].type == "response.failed"
    with pytest.raises(openai.NotFoundError):
        await sdk.responses.create(model=GPT, input="And?", previous_response_id=found.id)


@pytest.mark.soak
async def test_a_window_is_a_deadline_and_what_cannot_be_is_refused(sdk):
    begun = await sdk.responses.create(
        model=MISTRAL, input=HI, background=True, background_options={"completion_window": "2h"}
    )
    assert (await arrived(sdk, begun)).status == "completed"
    with pytest.raises(openai.BadRequestError, match="store"):
        await sdk.responses.create(model=GPT, input=HI, background=True, store=False)
    with pytest.raises(openai.BadRequestError, match="completion_window"):
        await sdk.responses.create(model=GPT, input=HI, background=True, background_options={"completion_window": "3h"})
    with pytest.raises(openai.NotFoundError):
        await sdk.responses.retrieve("resp_job_0123")
