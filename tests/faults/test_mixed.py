"""Requests of every API to every dialect of providers, while callers leave, connections break and attempts are tried again: the
ledger is the simulated providers' bill, per provider, model, tier and day.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import random
from collections import Counter, defaultdict

import aiohttp
import pytest
from books import budgeted, proven, worst_nano
from node import Node, Tenant, policies_copy

ANYTHING = """
version: 1
policy: anything
candidates: {include: ["*"]}
rules: [{name: any}]
when_nothing_fits: [refuse]
"""
MODELS = (
    "openai/gpt-4o-mini@openai",
    "openai/gpt-5-mini@openai",
    "anthropic/claude-haiku-4.5@anthropic",
    "google/gemini-3.1-flash-lite@google",
    "google/gemini-2.5-flash-lite@google",
    "google/gemini-3.8-flash@vertex",
    "anthropic/claude-haiku-5.5@bedrock",
    "anthropic/claude-haiku-4.5@vertex-anthropic",
    "openai/gpt-4o-mini@azure",
    "deepseek/deepseek-flash@deepseek",
    "mistral/mistral-small-4@mistral",
    "xai/grok-4.3@xai",
)
WEATHER = (
    ("reset", {"after_chunks": 0}),
    ("reset", {"after_chunks": 3}),
    ("truncate", {"after_chunks": 2}),
    ("error_event", {"after_chunks": 2}),
    ("status", {"status": 503}),
    ("rate_limit", {"retry_after": 0}),
    ("no_usage", {}),
    ("lying_usage", {}),
    ("garbage", {}),
)
RARELY = 0.012
"""How likely each kind of weather strikes a call."""
LONGEST = 120
PATHS = {"chat": "/v1/chat/completions", "messages": "/v1/messages", "responses": "/v1/responses"}
TOOL = {"type": "object", "properties": {"place": {"type": "string"}}}


def a_body(draw, api, model):
    """A request of an API."""
    text = "What is the weather in Paris? " * draw.choice((1, 2, LONGEST))
    body = {"model": model, "stream": draw.random() < 0.6}
    tools = draw.random() < 0.3
    if api == "chat":
        body |= {"messages": [{"role": "user", "content": text}], "max_completion_tokens": 60}
        if tools:
            body["tools"] = [{"type": "function", "function": {"name": "get_weather", "parameters": TOOL}}]
        if body["stream"] and draw.random() < 0.5:
            body["stream_options"] = {"include_usage": True}
        if model.endswith("@google") and draw.random() < 0.3:
            body["service_tier"] = "flex"
    elif api == "messages":
        body |= {"messages": [{"role": "user", "content": text}], "max_tokens": 60}
        if tools:
            body["tools"] = [{"name": "get_weather", "input_schema": TOOL}]
    else:
        body |= {"input": text, "max_output_tokens": 60, "store": False}
        if tools:
            body["tools"] = [{"type": "function", "name": "get_weather", "parameters": TOOL, "strict": False}]
    return body


async def a_request(session, node, tenant, draw):
    """One request, as impatient as chance has it. Gives its status, or None where the caller left."""
    api = draw.choice(tuple(PATHS))
    body = a_body(draw, api, draw.choice(MODELS))
    headers = tenant.headers | {"x-costrouter-policy": "anything", "anthropic-version": "2023-06-01"}
    patience = draw.choice((None, None, None, draw.uniform(0, 0.05), draw.randrange(1, 2_000)))
    with contextlib.suppress(TimeoutError, aiohttp.ClientError):
        async with (
            asyncio.timeout(patience if isinstance(patience, float) else 60),
            session.post(node.url + PATHS[api], json=body, headers=headers) as response,
        ):
            seen = 0
            async for chunk in response.content.iter_any():
                seen += len(chunk)
                if isinstance(patience, int) and seen > patience:
                    response.close()
                    return None
            return response.status
    return None


async def mixed(folder, count, seed, at_a_time=24):
    """So many requests; what came of them."""
    draw = random.Random(seed)
    policies = policies_copy(folder / "policies", lambda place: (place / "anything.yaml").write_text(ANYTHING))
    with Node(folder, workers=2, attempts=3, drain_s=5, policies=policies) as node:
        async with node.store() as store:
            tenant = Tenant(node, store)
            await budgeted(node, tenant)
            longest = "What is the weather in Paris? " * LONGEST
            tool = {"type": "function", "function": {"name": "get_weather", "parameters": TOOL}}
            bodies = [
                {"model": model, "messages": [{"role": "user", "content": longest}], "tools": [tool], "max_completion_tokens": 60}
                for model in MODELS
            ]  # fmt: skip  # one body a model
            tenant.headers["x-costrouter-policy"] = "anything"
            worst = {}
            for name, nano in worst_nano(node, tenant, bodies).items():
                model = name.partition("@")[0]
                worst[model] = max(worst.get(model, 0), nano)
            node.faults(*({"kind": kind, "probability": RARELY, **more} for kind, more in WEATHER))
            came = Counter()
            left = iter(range(count))

            async def caller():
                async with aiohttp.ClientSession() as session:
                    for _ in left:
                        came[await a_request(session, node, tenant, draw)] += 1

            async with asyncio.TaskGroup() as callers:
                for _ in range(at_a_time):
                    callers.create_task(caller())
            rows = await proven(node, tenant, worst=worst, bound_s=90)
            agrees(rows, node.bill())
            return came, rows


def agrees(rows, lines):
    """What is metered is the bill's, line by line, in each group; what else was billed is in no more rows than are not."""
    booked, unknown, billed = defaultdict(Counter), Counter(), defaultdict(Counter)
    for row in rows:
        group = (row.provider, row.model, row.tier, dt.datetime.fromtimestamp(row.at_ms / 1000, dt.UTC).date())
        if row.certainty == "metered" and row.cost_nano:
            booked[group][row.cost_nano] += 1
        elif row.certainty != "metered":
            unknown[group[:2]] += 1
    for line in lines:
        day = dt.datetime.fromtimestamp(line["at"], dt.UTC).date()
        billed[line["provider"], line["id"], line["tier"], day][line["nano"]] += 1
    for group, costs in booked.items():
        assert costs <= billed[group], (group, costs - billed[group])
    for group, costs in billed.items():
        unknown[group[:2]] -= (costs - booked[group]).total()
    assert all(count >= 0 for count in unknown.values()), f"billed, and in no row: {unknown}"
    return booked


async def test_a_few_mixed_requests_are_booked_as_they_are_billed(tmp_path):
    came, rows = await mixed(tmp_path, 150, seed=5)
    assert came.total() == 150
    assert came[200] > 75
    assert len({row.provider for row in rows}) > 5


@pytest.mark.soak
@pytest.mark.timeout(3600)
async def test_ten_thousand_mixed_requests_are_booked_as_they_are_billed(tmp_path):
    came, rows = await mixed(tmp_path, 10_000, seed=11)
    assert came.total() == 10_000
    assert came[None] > 500, "callers left"
    certain = Counter(row.certainty for row in rows)
    print(f"\n{came}, {len(rows)} attempts: {certain}")  # noqa: T201 - a soak's findings
    assert certain["metered"] > 0.8 * len(rows)
    assert len({(row.provider, row.tier) for row in rows}) > len({row.provider for row in rows}), "tiers were mixed"
