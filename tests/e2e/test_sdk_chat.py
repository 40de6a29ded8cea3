"""The official SDK against a whole node: chat, plain and streamed."""

from __future__ import annotations

import json

import openai
import pytest
from node import run
from pydantic import BaseModel

from router.core.money import usd

HI = [{"role": "user", "content": "Tell me about plans."}]
ASKS = [{"role": "user", "content": "What are the weather and the time in Paris?"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
TIME = {
    "type": "function",
    "function": {
        "name": "get_time",
        "parameters": {"type": "object", "properties": {"zone": {"type": "string"}}, "required": ["zone"]},
    },
}


class Plan(BaseModel):
    title: str
    steps: list[str]


def test_the_banners_curl_line_works_as_it_is_pasted(node):
    line = node.banner.partition("\n  curl ")[2]
    told = run("sh", "-c", f"curl -sS {line}")
    head, _, body = told.stdout.replace("\r\n", "\n").partition("\n\n")
    assert head.startswith("HTTP/1.1 200"), told
    assert json.loads(body)["choices"][0]["message"]["content"]
    assert "x-costrouter-cost-usd: 0.0" in head.lower()


def test_the_sync_client_needs_only_the_two_variables_of_the_banner(node, monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", node.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", node.key)
    with openai.OpenAI(max_retries=0) as client:
        answer = client.chat.completions.create(model="auto", messages=HI)
        parts = [
            c.choices[0].delta.content or ""
            for c in client.chat.completions.create(model="auto", messages=HI, stream=True)
        ]
    assert answer.choices[0].message.content
    assert "".join(parts) == answer.choices[0].message.content


async def test_a_plain_answer_and_its_row(node, tenant, sdk):
    raw = await sdk.chat.completions.with_raw_response.create(model="auto", messages=HI, user="u-7")
    answer = raw.parse()
    row = await tenant.row()
    (line,) = node.bill()
    assert answer.usage.prompt_tokens == row.prompt_tokens == line["prompt"]
    assert answer.usage.completion_tokens <= row.completion_tokens == line["completion"]
    assert (row.cost_nano, row.model, row.provider) == (line["nano"], line["id"], line["provider"])
    assert (row.outcome, row.certainty, row.status, row.user, row.requested_model) == (
        "ok",
        "metered",
        200,
        "u-7",
        "auto",
    )


async def test_the_headers_tell_what_was_decided_and_what_it_cost(tenant, sdk):
    raw = await sdk.chat.completions.with_raw_response.create(model="gpt-4o", messages=HI)
    row = await tenant.row()
    headers = raw.headers
    assert headers["x-costrouter-request-id"] == headers["x-request-id"] == row.attempt.partition("/")[0]
    assert headers["x-costrouter-model"] == row.model
    assert headers["x-costrouter-provider"] == row.provider
    assert headers["x-costrouter-tier"] == row.tier == "realtime"
    assert headers["x-costrouter-policy"] == row.policy
    assert headers["x-costrouter-policy"].startswith("default@")
    assert headers["x-costrouter-rule"] == row.rule == "everyday"
    assert headers["x-costrouter-attempts"] == "1"
    assert headers["x-costrouter-estimated-cost-usd"] == usd(row.estimated_nano)
    assert headers["x-costrouter-cost-usd"] == usd(row.cost_nano)
    assert headers["x-costrouter-baseline-cost-usd"] == usd(row.baseline_nano)
    assert row.model != "openai/gpt-4o"
    assert row.baseline_nano > row.cost_nano


async def test_a_stream_hides_the_usage_nobody_asked_for(node, tenant, sdk):
    stream = await sdk.chat.completions.create(model="auto", messages=HI, stream=True)
    chunks = [chunk async for chunk in stream]
    row = await tenant.row()
    assert all(chunk.choices for chunk in chunks)
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert not any(chunk.usage for chunk in chunks)
    assert (row.certainty, row.cost_nano) == ("metered", node.bill()[0]["nano"])
    assert row.ttft_ms <= row.total_ms


async def test_a_stream_brings_the_usage_that_was_asked_for_with_its_cost(tenant, sdk):
    stream = await sdk.chat.completions.create(
        model="auto", messages=HI, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    row = await tenant.row()
    assert chunks[-1].choices == []
    assert chunks[-1].usage.prompt_tokens == row.prompt_tokens
    assert chunks[-1].usage.model_extra["cost_usd"] == usd(row.cost_nano)


async def test_a_stream_ends_with_its_cost_before_done(tenant, web):
    body = {"model": "auto", "messages": HI, "stream": True}
    async with web.post(f"{tenant.node.base_url}/chat/completions", json=body, headers=tenant.headers) as response:
        text = await response.text()
    row = await tenant.row()
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["x-costrouter-estimated-cost-usd"] == usd(row.estimated_nano)
    assert text.endswith(f": x-costrouter-cost-usd={usd(row.cost_nano)}\n\ndata: [DONE]\n\n")


@pytest.mark.parametrize("model", ["auto", "openai/gpt-4o-mini", "mistral/mistral-small-4"])
async def test_a_stream_says_the_same_as_the_plain_answer(sdk, model):
    plain = await sdk.chat.completions.create(model=model, messages=HI)
    stream = await sdk.chat.completions.create(model=model, messages=HI, stream=True)
    said = [chunk.choices[0].delta.content or "" async for chunk in stream]
    assert "".join(said) == plain.choices[0].message.content


async def test_one_tool_is_called(sdk, tenant):
    answer = await sdk.chat.completions.create(model="auto", messages=ASKS, tools=[WEATHER])
    (call,) = answer.choices[0].message.tool_calls
    assert (answer.choices[0].finish_reason, call.function.name) == ("tool_calls", "get_weather")
    assert "city" in json.loads(call.function.arguments)
    again = [*ASKS, answer.choices[0].message, {"role": "tool", "tool_call_id": call.id, "content": "18 degrees"}]
    assert (await sdk.chat.completions.create(model="auto", messages=again, tools=[WEATHER])).choices[0].message.content
    await tenant.rows(2)


async def test_parallel_tools_plain_and_streamed_are_the_same(sdk):
    asked = {"model": "openai/gpt-4o-mini", "messages": ASKS, "tools": [WEATHER, TIME], "parallel_tool_calls": True}
    plain = await sdk.chat.completions.create(**asked)
    async with sdk.chat.completions.stream(**asked) as stream:
        streamed = await stream.get_final_completion()
    for answer in (plain, streamed):
        calls = answer.choices[0].message.tool_calls
        assert [call.function.name for call in calls] == ["get_weather", "get_time"]
        assert all(isinstance(json.loads(call.function.arguments), dict) for call in calls)


async def test_structured_output_is_parsed(sdk, tenant):
    answer = await sdk.chat.completions.parse(model="auto", messages=HI, response_format=Plan)
    assert isinstance(answer.choices[0].message.parsed, Plan)
    assert (await tenant.row()).outcome == "ok"


async def test_a_json_object_is_one(sdk):
    answer = await sdk.chat.completions.create(
        model="auto", messages=[{"role": "user", "content": "Answer in JSON."}], response_format={"type": "json_object"}
    )
    assert isinstance(json.loads(answer.choices[0].message.content), dict)


async def test_several_choices_are_all_paid_for(node, sdk, tenant):
    answer = await sdk.chat.completions.create(model="auto", messages=HI, n=3)
    row = await tenant.row()
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert (row.choices, row.cost_nano) == (3, node.bill()[0]["nano"])


async def test_log_probabilities_come_from_a_model_that_has_them(sdk):
    answer = await sdk.chat.completions.create(model="auto", messages=HI, logprobs=True, top_logprobs=2)
    assert len(answer.choices[0].logprobs.content[0].top_logprobs) == 2


async def test_an_image_goes_to_a_model_that_sees(node, sdk, tenant):
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo=", "detail": "low"}}
    asked = [{"role": "user", "content": [{"type": "text", "text": "What is this?"}, picture]}]
    answer = await sdk.chat.completions.create(model="auto", messages=asked)
    assert answer.choices[0].message.content
    assert (await tenant.row()).cost_nano == node.bill()[0]["nano"]


async def test_openai_is_told_to_keep_only_what_is_expected_to_be_read(node, tenant, sdk):
    about = f"Answer {tenant.name} from this page. " + "Plans cost money, and every plan has a name and a price. " * 200
    said = [{"role": "system", "content": about}, {"role": "user", "content": "Which plans are there?"}]
    for question in ("What do they cost?", "Which is the cheapest?", ""):
        answer = await sdk.chat.completions.create(model="openai/gpt-6-luna", max_completion_tokens=200, messages=said)
        said += [
            {"role": "assistant", "content": answer.choices[0].message.content},
            {"role": "user", "content": question},
        ]
    first, second, third = rows = await tenant.rows(3)
    # By itself OpenAI would have kept the first as well, for a quarter more. It goes on: then it pays.
    assert (first.cached_tokens, first.cache_write_tokens) == (0, 0)
    assert second.cache_write_tokens > 0.9 * second.prompt_tokens
    assert third.cached_tokens > 0.8 * third.prompt_tokens
    assert third.warm_tokens > 0.8 * third.prompt_tokens
    assert [row.cost_nano for row in rows] == [line["nano"] for line in node.bill()]
    own = {"prompt_cache_options": {"mode": "implicit"}}
    await sdk.chat.completions.create(
        model="openai/gpt-6-luna",
        max_completion_tokens=200,
        messages=[{"role": "user", "content": about}],
        extra_body=own,
    )
    *_, callers = await tenant.rows(4)
    assert callers.cache_write_tokens > 0.9 * callers.prompt_tokens, "a caller's own wish is left alone"
