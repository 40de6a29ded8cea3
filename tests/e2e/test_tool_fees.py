"""Fees for tools that providers run: asked for by the official SDKs, expected in the estimate, held, metered, booked."""

from __future__ import annotations

import anthropic
import openai
import pytest

SEARCH = {"type": "web_search"}
FILES = {"type": "file_search", "vector_store_ids": ["vs_1"]}
CODE = {"type": "code_interpreter", "container": {"type": "auto"}}
ANTHROPICS = {"type": "web_search_20250305", "name": "web_search"}


async def billed(node, tenant):
    """The one row; it cost what the one line of the bill says."""
    row, (line,) = await tenant.row(), node.bill()
    assert (row.cost_nano, row.certainty) == (line["nano"], "metered")
    return row


@pytest.mark.parametrize("stream", [False, True])
async def test_calls_of_openais_tools_are_paid_one_by_one(node, sdk, tenant, stream):
    answer = await sdk.responses.create(
        model="gpt-4.1-mini", input="What is new?", tools=[SEARCH, FILES, CODE], stream=stream, max_output_tokens=16
    )
    if stream:
        answer = [event async for event in answer][-1].response
    kinds = [item.type for item in answer.output]
    row = await billed(node, tenant)
    assert dict(row.units) == {
        "tool.code_interpreter": 1,
        "tool.file_search": kinds.count("file_search_call"),
        "tool.web_search": kinds.count("web_search_call") // 2,
    }
    assert kinds.count("web_search_call") > 0
    spent = node.http.get(f"{node.url}/costrouter/v1/spend", headers=tenant.headers).json()
    assert spent["total"]["tool_calls"] == sum(dict(row.units).values())


@pytest.mark.parametrize("stream", [False, True])
async def test_searches_of_anthropics_are_paid_one_by_one(node, tenant, stream):
    async with anthropic.AsyncAnthropic(api_key=tenant.key, base_url=node.url, max_retries=0) as sdk:
        answer = await sdk.messages.create(
            model="claude-haiku-4.5", max_tokens=20, tools=[ANTHROPICS], stream=stream,
            messages=[{"role": "user", "content": "What is new?"}],
        )  # fmt: skip
        if stream:
            events = [event async for event in answer]
            usage = next(event.usage for event in events if event.type == "message_delta")
        else:
            usage = answer.usage
    row = await billed(node, tenant)
    assert row.units == (("tool.web_search", usage.server_tool_use.web_search_requests),)


async def test_what_may_be_called_is_in_the_estimate_and_the_hold(node, tenant):
    body = {"model": "gpt-4.1-mini", "input": [{"role": "user", "content": "What is new?"}], "max_tool_calls": 3}
    found = []
    for tools in ([], [SEARCH]):
        answer = node.http.post(
            f"{node.url}/costrouter/v1/estimate", json=body | {"tools": tools}, headers=tenant.headers
        )
        found.append(answer.json()["chosen"])
    plain, searching = found
    assert (plain["units"], searching["units"]) == ({}, {"tool.web_search": 1})
    assert float(searching["estimated_cost_usd"]) - float(plain["estimated_cost_usd"]) == pytest.approx(0.01, rel=0.01)
    assert float(searching["worst_case_usd"]) > float(plain["worst_case_usd"]) + 0.03


async def test_a_tool_without_a_price_is_refused_before_the_call(node, sdk):
    with pytest.raises(openai.UnprocessableEntityError, match=r"has no price for tool\.web_search"):
        await sdk.responses.create(model="deepseek/deepseek-flash", input="What is new?", tools=[SEARCH])
    with pytest.raises(openai.BadRequestError, match="fee that is not known here"):
        await sdk.responses.create(
            model="gpt-4.1-mini", input="What is new?",
            tools=[CODE | {"container": {"type": "auto", "memory_limit": "64g"}}],
        )  # fmt: skip
    assert node.bill() == []
