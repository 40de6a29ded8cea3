"""Names, policies and orders, as a caller uses them."""

from __future__ import annotations

import openai
import pytest

HI = [{"role": "user", "content": "Tell me about plans."}]


async def headers_of(sdk, model, **options):
    raw = await sdk.chat.completions.with_raw_response.create(model=model, messages=HI, **options)
    return raw.headers


def ordered(**orders):
    return {f"x-costrouter-{name.replace('_', '-')}": value for name, value in orders.items()}


@pytest.mark.parametrize("name", ["openai/gpt-4o", "openai/gpt-4o@openai"])
async def test_a_canonical_id_is_served_by_that_model(sdk, name):
    headers = await headers_of(sdk, name)
    assert headers["x-costrouter-model"] == "openai/gpt-4o"
    assert headers["x-costrouter-cost-usd"] == headers["x-costrouter-baseline-cost-usd"]


@pytest.mark.parametrize("name", ["gpt-4o", "gpt-4o-2024-08-06"])
async def test_a_bare_name_may_be_substituted_and_is_the_baseline(sdk, tenant, name):
    headers = await headers_of(sdk, name)
    assert headers["x-costrouter-model"] != "openai/gpt-4o"
    assert float(headers["x-costrouter-baseline-cost-usd"]) > float(headers["x-costrouter-cost-usd"])
    assert (await tenant.row()).requested_model == name


async def test_observing_serves_the_asked_model_and_tells_what_could_be_had(sdk, tenant):
    headers = await headers_of(sdk, "gpt-4o", extra_headers=ordered(policy="watch"))
    assert headers["x-costrouter-model"] == "openai/gpt-4o"
    assert headers["x-costrouter-policy"].startswith("watch@")
    assert 0 < float(headers["x-costrouter-could-have-cost-usd"]) < float(headers["x-costrouter-estimated-cost-usd"])
    assert (await tenant.row()).model == "openai/gpt-4o"


async def test_a_policys_name_is_a_model(sdk):
    assert (await headers_of(sdk, "watch"))["x-costrouter-policy"].startswith("watch@")


async def test_a_dearer_quality_is_ordered(sdk):
    usual = await headers_of(sdk, "auto")
    better = await headers_of(sdk, "auto", extra_headers=ordered(quality="0.80"))
    assert float(better["x-costrouter-estimated-cost-usd"]) > float(usual["x-costrouter-estimated-cost-usd"])


async def test_a_cost_above_the_callers_limit_is_refused_with_the_limit_that_would_do(sdk, tenant):
    with pytest.raises(openai.UnprocessableEntityError) as caught:
        await headers_of(sdk, "openai/gpt-4o", extra_headers=ordered(max_cost_usd="0.000001"))
    assert caught.value.body["message"].startswith("max_cost_usd 0.000001")
    assert "would admit openai/gpt-4o" in caught.value.body["message"]
    await tenant.rows(0)


async def test_tags_are_booked(sdk, tenant):
    await headers_of(sdk, "auto", extra_headers=ordered(tags="env=prod,app=faq", unit="ticket"))
    row = await tenant.row()
    assert (row.tags, row.unit) == (("app=faq", "env=prod"), "ticket")


async def test_metadata_speaks_as_headers_do(sdk, tenant):
    asked = {"costrouter.policy": "watch", "costrouter.tags": "env=prod", "mine": "1"}
    headers = await headers_of(sdk, "auto", metadata=asked)
    assert headers["x-costrouter-policy"].startswith("watch@")
    assert (await tenant.row()).tags == ("env=prod",)


async def test_a_header_wins_over_metadata(sdk):
    headers = await headers_of(
        sdk, "auto", extra_headers=ordered(policy="default"), metadata={"costrouter.policy": "watch"}
    )
    assert headers["x-costrouter-policy"].startswith("default@")


@pytest.mark.parametrize(
    ("orders", "words"),
    [
        ({"max_cost_usd": "much"}, "x-costrouter-max-cost-usd"),
        ({"quality": "good"}, "x-costrouter-quality"),
        ({"tags": "prod"}, "name=value"),
        ({"deadline": "soon"}, "such as 4h"),
        ({"task": "cooking"}, "none of chat"),
    ],
)
async def test_an_order_that_cannot_be_read_is_refused_in_words(sdk, orders, words):
    with pytest.raises(openai.BadRequestError, match=words):
        await headers_of(sdk, "auto", extra_headers=ordered(**orders))


async def test_an_estimate_says_what_then_happens_and_costs_nothing(node, tenant, sdk, web):
    # With one token of output nothing that is learned meanwhile can change the figures.
    body = {"model": "gpt-4o", "messages": HI, "max_completion_tokens": 1}
    async with web.post(f"{node.url}/costrouter/v1/estimate", json=body, headers=tenant.headers) as response:
        told = await response.json()
    headers = await headers_of(sdk, "gpt-4o", max_completion_tokens=1)
    assert told["chosen"]["model"] == headers["x-costrouter-model"]
    assert told["chosen"]["estimated_cost_usd"] == headers["x-costrouter-estimated-cost-usd"]
    assert told["baseline"]["model"] == "openai/gpt-4o"
    (chosen,) = [candidate for candidate in told["candidates"] if candidate["chosen"]]
    assert chosen["reasons"] == []
    assert any(candidate["reasons"] for candidate in told["candidates"])
    assert len(node.bill()) == len(await tenant.rows(1)) == 1


async def test_spend_adds_up_what_was_booked_and_shows_a_key_only_its_own(node, tenant, sdk, web):
    await headers_of(sdk, "openai/gpt-4o")
    await headers_of(sdk, "openai/gpt-4o-mini")
    rows = await tenant.rows(2)
    found = node.spend(tenant=tenant.name, group_by="model")
    assert {entry["model"]: entry["cost_nano"] for entry in found["data"]} == {row.model: row.cost_nano for row in rows}
    assert found["total"]["cost_nano"] == sum(row.cost_nano for row in rows)
    other = node.new_key(tenant=tenant.name)
    url = f"{node.url}/costrouter/v1/spend"
    async with web.get(url, headers={"Authorization": f"Bearer {other}"}) as response:
        assert (await response.json())["data"] == []
    async with web.get(url, headers=tenant.headers) as response:
        assert (await response.json())["total"]["requests"] == 2
    async with web.get(url, params={"tenant": "someone"}, headers=tenant.headers) as response:
        assert response.status == 403
    async with web.get(url, params={"group_by": "colour"}, headers=tenant.headers) as response:
        assert response.status == 400
        assert "colour" in (await response.json())["error"]["message"]
