"""The official anthropic SDK against a whole node: Messages, plain and streamed, to providers of both dialects."""

from __future__ import annotations

import base64
import struct
import zlib

import anthropic
import httpx2
import openai
import pytest
from store import until

from router.core.money import usd

CLAUDE = "anthropic/claude-haiku-4.5"
NEW_CLAUDE = "anthropic/claude-sonnet-5.5"
GPT = "openai/gpt-4o-mini"
MISTRAL = "mistral/mistral-small-4"
EVERYWHERE = pytest.mark.parametrize("model", [CLAUDE, GPT, MISTRAL])
HI = [{"role": "user", "content": "Tell me about plans."}]
ASKS = [{"role": "user", "content": "What are the weather and the time in Paris?"}]
TOOLS = [
    {
        "name": name,
        "description": f"Tells the {name.partition('_')[2]}.",
        "input_schema": {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]},
    }
    for name in ("get_weather", "get_time")
]


def picture():
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 64, 64, 8, 2, 0, 0, 0)
    body = zlib.compress((b"\0" + b"\xff\0\0" * 64) * 64)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    return base64.b64encode(png).decode()


@pytest.fixture
async def claude(tenant):
    async with anthropic.AsyncAnthropic(base_url=tenant.node.url, api_key=tenant.key, max_retries=0) as client:
        yield client


@EVERYWHERE
async def test_a_message_and_its_row(node, tenant, claude, model):
    raw = await claude.messages.with_raw_response.create(model=model, max_tokens=300, messages=HI, system="Be brief.")
    message, row = await raw.parse(), await tenant.row()
    (line,) = node.bill()
    assert message.type == "message"
    assert message.content[0].text
    assert message.stop_reason == "end_turn"
    assert message.usage.input_tokens == row.prompt_tokens == line["prompt"]
    assert message.usage.output_tokens == row.completion_tokens == line["completion"]
    assert (row.cost_nano, row.certainty, row.endpoint, row.model) == (line["nano"], "metered", "chat", model)
    assert raw.headers["x-costrouter-cost-usd"] == usd(row.cost_nano)
    assert raw.headers["request-id"] == message._request_id == raw.headers["x-request-id"]


@EVERYWHERE
async def test_a_stream_says_the_same_as_the_plain_message(node, tenant, claude, model):
    asked = {"model": model, "max_tokens": 300, "messages": HI}
    plain = await claude.messages.create(**asked)
    async with claude.messages.stream(**asked) as stream:
        said = [text async for text in stream.text_stream]
        whole = await stream.get_final_message()
    rows = await tenant.rows(2)
    assert "".join(said) == plain.content[0].text == whole.content[0].text
    assert (whole.stop_reason, whole.usage.output_tokens) == (plain.stop_reason, plain.usage.output_tokens)
    assert whole.usage.input_tokens == plain.usage.input_tokens
    assert [row.cost_nano for row in rows] == [line["nano"] for line in node.bill()]


@EVERYWHERE
async def test_tools_are_called_in_parallel_and_their_results_go_back(node, tenant, claude, model):
    asked = {"model": model, "max_tokens": 1000, "tools": TOOLS}
    plain = await claude.messages.create(messages=ASKS, **asked)
    async with claude.messages.stream(messages=ASKS, **asked) as stream:
        streamed = await stream.get_final_message()
    calls = [block for block in plain.content if block.type == "tool_use"]
    assert [call.name for call in calls] == ["get_weather", "get_time"]
    assert [(call.name, call.input) for call in streamed.content] == [(call.name, call.input) for call in calls]
    assert plain.stop_reason == streamed.stop_reason == "tool_use"
    results = [
        {"type": "tool_result", "tool_use_id": calls[0].id, "content": "18 degrees"},
        {"type": "tool_result", "tool_use_id": calls[1].id, "content": "no clock", "is_error": True},
    ]
    again = [*ASKS, {"role": "assistant", "content": plain.content}, {"role": "user", "content": results}]
    answer = await claude.messages.create(messages=again, **asked)
    assert answer.content[0].text
    assert [row.cost_nano for row in await tenant.rows(3)] == [line["nano"] for line in node.bill()]


@pytest.mark.parametrize("model", [CLAUDE, GPT])
async def test_an_image_is_seen(node, tenant, claude, model):
    source = {"type": "base64", "media_type": "image/png", "data": picture()}
    content = [{"type": "image", "source": source}, {"type": "text", "text": "What is this?"}]
    answer = await claude.messages.create(model=model, max_tokens=100, messages=[{"role": "user", "content": content}])
    assert answer.content[0].text
    assert (await tenant.row()).cost_nano == node.bill()[0]["nano"]


async def test_thinking_is_shown_signed_and_taken_back(tenant, claude):
    thinking = {"type": "enabled", "budget_tokens": 1024}
    asked = {"model": CLAUDE, "max_tokens": 3000, "thinking": thinking, "tools": TOOLS}
    first = await claude.messages.create(messages=ASKS, **asked)
    async with claude.messages.stream(messages=ASKS, **asked) as stream:
        streamed = await stream.get_final_message()
    assert first.content[0].type == "thinking"
    assert first.content[0].signature == streamed.content[0].signature
    calls = [block for block in first.content if block.type == "tool_use"]
    results = [{"type": "tool_result", "tool_use_id": call.id, "content": "fine"} for call in calls]
    again = [*ASKS, {"role": "assistant", "content": first.content}, {"role": "user", "content": results}]
    assert (await claude.messages.create(messages=again, **asked)).content
    # What a provider has signed, no other is asked to believe.
    with pytest.raises(anthropic.UnprocessableEntityError, match="thinking that its provider signed"):
        await claude.messages.create(messages=again, **(asked | {"model": GPT, "thinking": {"type": "disabled"}}))
    await tenant.rows(3)


async def test_thoughts_of_others_come_unsigned_and_do_no_harm_where_they_go_next(tenant, claude):
    asked = {"max_tokens": 3000, "thinking": {"type": "adaptive"}}
    first = await claude.messages.create(model="deepseek/deepseek-flash@deepseek", messages=HI, **asked)
    assert [block.type for block in first.content] == ["thinking", "text"]
    again = [*HI, {"role": "assistant", "content": first.content}, {"role": "user", "content": "And then?"}]
    for model in (NEW_CLAUDE, GPT):
        assert (await claude.messages.create(model=model, messages=again, **asked)).content[-1].text
    await tenant.rows(3)


async def test_structured_output_is_asked_for_in_the_providers_way(claude):
    schema = {
        "type": "object",
        "properties": {"n": {"type": "integer"}},
        "required": ["n"],
        "additionalProperties": False,
    }
    config = {"format": {"type": "json_schema", "schema": schema}}
    for model in (CLAUDE, GPT):
        answer = await claude.messages.create(model=model, max_tokens=200, messages=HI, output_config=config)
        assert '"n"' in answer.content[0].text


@pytest.mark.parametrize("ttl", ["5m", "1h"])
async def test_what_is_cached_is_billed_as_such(node, tenant, claude, ttl):
    text = f"For {ttl}, all work and no play makes a dull day. " * 300
    system = [{"type": "text", "text": text, "cache_control": {"type": "ephemeral", "ttl": ttl}}]
    asked = {"model": CLAUDE, "max_tokens": 50, "system": system, "messages": HI}
    first, second = await claude.messages.create(**asked), await claude.messages.create(**asked)
    assert first.usage.cache_creation_input_tokens == second.usage.cache_read_input_tokens > 1024
    rows = await tenant.rows(2)
    assert [row.cost_nano for row in rows] == [line["nano"] for line in node.bill()]
    assert rows[0].cache_write_tokens == rows[1].cached_tokens


@pytest.mark.parametrize("stream", [False, True])
async def test_errors_come_in_anthropics_shape(claude, stream):
    with pytest.raises(anthropic.NotFoundError, match="claude-haiku") as unknown:
        await claude.messages.create(model="claude-haiku-45", max_tokens=9, messages=HI, stream=stream)
    assert unknown.value.body["error"]["type"] == "not_found_error"
    with pytest.raises(anthropic.BadRequestError, match="max_tokens") as wrong:
        await claude.messages.create(model=CLAUDE, max_tokens=0, messages=HI, stream=stream)
    assert wrong.value.body == {
        "type": "error",
        "error": {
            "type": "invalid_request_error",
            "message": wrong.value.body["error"]["message"],
            "code": "invalid_request",
            "param": "max_tokens",
        },
    }


async def test_an_error_within_a_stream_is_raised(node, tenant, claude):
    for model in (CLAUDE, GPT):
        node.faults({"kind": "error_event", "times": 1, "after_chunks": 6})
        with pytest.raises(anthropic.APIStatusError):
            async with claude.messages.stream(model=model, max_tokens=300, messages=HI) as stream:
                await stream.get_final_message()
    rows = await tenant.rows(2)
    assert [row.outcome for row in rows] == ["upstream_error"] * 2


async def test_a_wrong_key_is_refused_in_anthropics_words(tenant):
    async with anthropic.AsyncAnthropic(base_url=tenant.node.url, api_key="sk-none", max_retries=0) as client:
        with pytest.raises(anthropic.AuthenticationError, match="not known here"):
            await client.messages.create(model=CLAUDE, max_tokens=9, messages=HI)


@pytest.mark.parametrize("version", ["2023-06-01", "2026-10-21"])
@pytest.mark.parametrize("scheme", ["x-api-key", "authorization"])
async def test_both_ways_to_send_a_key_and_both_versions_work(tenant, web, version, scheme):
    secret = tenant.key if scheme == "x-api-key" else f"Bearer {tenant.key}"
    body = {"model": CLAUDE, "max_tokens": 50, "messages": HI}
    headers = {scheme: secret, "anthropic-version": version}
    async with web.post(f"{tenant.node.url}/v1/messages", json=body, headers=headers) as response:
        assert response.status == 200
        assert (await response.json())["type"] == "message"


async def test_a_base_url_that_ends_in_v1_gets_told_how_to_mend_it(tenant):
    async with anthropic.AsyncAnthropic(base_url=f"{tenant.node.url}/v1", api_key=tenant.key, max_retries=0) as client:
        with pytest.raises(anthropic.NotFoundError, match="leave it out of the base URL"):
            await client.messages.create(model=CLAUDE, max_tokens=9, messages=HI)


async def test_tokens_are_counted_without_a_call(node, claude):
    counted = await claude.messages.count_tokens(model=CLAUDE, messages=ASKS, tools=TOOLS, system="Be brief.")
    assert not node.bill()
    answer = await claude.messages.create(model=CLAUDE, max_tokens=50, messages=ASKS, tools=TOOLS, system="Be brief.")
    assert abs(counted.input_tokens - answer.usage.input_tokens) <= answer.usage.input_tokens // 3


async def test_chat_completions_reach_claude_by_its_own_api(node, tenant, sdk):
    asked = {"model": CLAUDE, "messages": [{"role": "user", "content": "What are the weather and the time?"}]}
    tools = [
        {"type": "function", "function": {"name": tool["name"], "parameters": tool["input_schema"]}} for tool in TOOLS
    ]
    plain = await sdk.chat.completions.create(tools=tools, **asked)
    async with sdk.chat.completions.stream(tools=tools, stream_options={"include_usage": True}, **asked) as stream:
        streamed = await stream.get_final_completion()
    calls = [choice.message.tool_calls for choice in (plain.choices[0], streamed.choices[0])]
    assert [[c.function.name for c in found] for found in calls] == [["get_weather", "get_time"]] * 2
    assert plain.choices[0].finish_reason == streamed.choices[0].finish_reason == "tool_calls"
    rows = await tenant.rows(2)
    assert streamed.usage.prompt_tokens == plain.usage.prompt_tokens == rows[0].prompt_tokens
    assert streamed.usage.model_extra["cost_usd"] == usd(rows[1].cost_nano)
    assert [row.cost_nano for row in rows] == [line["nano"] for line in node.bill()]


async def test_what_claude_cannot_be_told_is_refused_with_the_reason(sdk):
    for more, words in (({"seed": 7}, "seed"), ({"temperature": 1.5}, "a temperature above 1"), ({"n": 2}, "n")):
        with pytest.raises(openai.UnprocessableEntityError, match=f"no place for {words}|multiple_choices"):
            await sdk.chat.completions.create(model=CLAUDE, messages=HI, **more)


async def test_a_conversation_that_goes_on_is_kept_without_being_asked(node, tenant, claude):
    about = "Answer from this page. " + "Plans cost money, and every plan has a name and a price. " * 200
    said = [{"role": "user", "content": "Which plans are there?"}]
    for question in ("What do they cost?", "Which is the cheapest?", ""):
        answer = await claude.messages.create(model=NEW_CLAUDE, max_tokens=200, messages=said, system=about)
        said += [{"role": "assistant", "content": answer.content[0].text}, {"role": "user", "content": question}]
    first, second, third = rows = await tenant.rows(3)
    # Nobody knew of the first that it would go on; the second says so, and pays for being kept; the third is read.
    assert (first.cached_tokens, first.cache_write_tokens, first.warm_tokens) == (0, 0, 0)
    assert second.cache_write_tokens > 0.9 * second.prompt_tokens
    assert second.cache_saved_nano < 0
    assert third.cached_tokens > 0.8 * third.prompt_tokens
    assert third.warm_tokens > 0.8 * third.prompt_tokens
    assert third.cache_saved_nano > -second.cache_saved_nano
    assert abs(third.estimated_nano - third.cost_nano) < abs(
        third.estimated_nano - third.cost_nano - third.cache_saved_nano
    )
    assert [row.cost_nano for row in rows] == [line["nano"] for line in node.bill()]
    marked = [{"type": "text", "text": about, "cache_control": {"type": "ephemeral"}}]
    await claude.messages.create(model=NEW_CLAUDE, max_tokens=200, messages=said[:1], system=marked)
    *_, own = await tenant.rows(4)
    assert 0 < own.cached_tokens + own.cache_write_tokens < own.prompt_tokens


async def test_a_conversation_finds_what_is_warm_at_whichever_worker_it_comes_to(node, tenant, claude):
    page = f"Answer from this page of {tenant.name}. " + "Every plan has a name and a price. " * 300
    said = [{"role": "user", "content": "Which plans are there?"}]
    marked = [{"type": "text", "text": page, "cache_control": {"type": "ephemeral"}}]
    await claude.messages.create(model=NEW_CLAUDE, max_tokens=20, messages=said, system=marked)
    asked = {"model": NEW_CLAUDE, "messages": [{"role": "system", "content": page}, *said]}

    def everywhere():
        # A connection each: they come to both workers. An estimate leaves nothing behind.
        told = [httpx2.post(f"{node.url}/costrouter/v1/estimate", json=asked, headers=tenant.headers).json() for _ in range(16)]  # fmt: skip
        return all(estimate["warm"] for estimate in told)

    await until(everywhere)
    assert await tenant.row(), "estimates leave none"
