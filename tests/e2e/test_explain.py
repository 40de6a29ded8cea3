"""Why a request went where it went, asked of a running node."""

from __future__ import annotations

import openai
import pytest
from node import bearer
from store import until

HI = [{"role": "user", "content": "Tell me about plans."}]


def asked(tenant, request_id, secret=None):
    url = f"{tenant.node.url}/costrouter/v1/decisions/{request_id}"
    return tenant.node.http.get(url, headers=bearer(secret or tenant.key))


async def explained(tenant, request_id, secret=None):
    """By any worker, once the one that decided has written it down."""
    await until(lambda: asked(tenant, request_id, secret).status_code == 200)
    return asked(tenant, request_id, secret).json()


async def test_a_decision_is_explained_by_its_requests_id(sdk, tenant):
    raw = await sdk.chat.completions.with_raw_response.create(model="gpt-4o", messages=HI)
    request_id = raw.headers["x-costrouter-request-id"]
    told = await explained(tenant, request_id)
    row = await tenant.row()
    chosen = told["chosen"]
    assert (told["id"], told["snapshot"], told["policy"]) == (request_id, row.snapshot, row.policy)
    assert (chosen["model"], chosen["provider"], chosen["tier"]) == (row.model, row.provider, row.tier)
    assert chosen["estimated_cost_usd"] == raw.headers["x-costrouter-estimated-cost-usd"]
    assert told["baseline"]["model"] == "openai/gpt-4o"
    assert sum(candidate["chosen"] for candidate in told["candidates"]) == 1
    assert "Tell me" not in str(told)


async def test_a_refusal_is_explained_too(sdk, tenant):
    with pytest.raises(openai.UnprocessableEntityError) as caught:
        await sdk.chat.completions.create(model="narrow", messages=HI)
    told = await explained(tenant, caught.value.response.headers["x-costrouter-request-id"])
    assert told["chosen"] is None
    assert told["refusal"] == caught.value.body["message"]


async def test_nobody_else_sees_a_decision(sdk, tenant):
    raw = await sdk.chat.completions.with_raw_response.create(model="auto", messages=HI)
    request_id = raw.headers["x-costrouter-request-id"]
    await explained(tenant, request_id)
    other = tenant.node.http.post(
        f"{tenant.node.url}/costrouter/v1/keys",
        headers=bearer(tenant.node.admin_key),
        json={"name": "o", "tenant": "x"},
    ).json()["key"]
    answer = asked(tenant, request_id, other)
    told = answer.json()
    assert (answer.status_code, told["error"]["code"]) == (404, "not_found")
    assert "COSTROUTER_DECISIONS_MB" in told["error"]["message"]
    assert (await explained(tenant, request_id, tenant.node.admin_key))["tenant"] == tenant.name
