"""Work that may wait, at Anthropic: its Message Batches simulated, and used for callers of either dialect."""

from __future__ import annotations

import anthropic
import pytest
from node import Node, Tenant
from store import until

MODEL = "anthropic/claude-haiku-4.5"
SAYS = [{"role": "user", "content": "Sum up the meeting in one line."}]


@pytest.fixture(scope="module")
def batching_node(tmp_path_factory):
    with Node(tmp_path_factory.mktemp("batching"), workers=2, sim_batch_speed=3600) as node:
        yield node


@pytest.fixture
async def tenant(batching_node):
    batching_node.reset()
    assert batching_node.http.delete(f"{batching_node.sim_url}/_sim/batches").status_code == 204
    async with batching_node.store() as store:
        yield Tenant(batching_node, store)


def simulate(node, *faults, **settings):
    answer = node.http.post(f"{node.sim_url}/_sim/batches", json={"settings": settings, "faults": list(faults)})
    assert answer.status_code == 200, answer.text


def params(**fields):
    return {"model": "claude-haiku-4-5", "max_tokens": 50, "messages": SAYS} | fields


@pytest.fixture
async def sim(tenant):
    """The official SDK, pointed at the simulated provider."""
    client = anthropic.AsyncAnthropic(
        base_url=f"{tenant.node.sim_url}/anthropic", api_key="k", max_retries=0, default_headers=VERSION
    )
    async with client:
        yield client


VERSION = {"anthropic-version": "2023-06-01"}


async def test_the_simulator_s_batches_are_those_that_the_sdk_knows(tenant, sim):
    asked = [{"custom_id": f"q{n}", "params": params()} for n in range(3)]
    asked.append({"custom_id": "bad", "params": params(max_tokens=0)})
    batch = await sim.messages.batches.create(requests=asked)
    assert (batch.processing_status, batch.request_counts.processing, batch.results_url) == ("in_progress", 4, None)

    async def ended():
        return (await sim.messages.batches.retrieve(batch.id)).processing_status == "ended"

    await until(ended, 30)
    batch = await sim.messages.batches.retrieve(batch.id)
    assert (batch.request_counts.succeeded, batch.request_counts.errored) == (3, 1)
    told = {row.custom_id: row.result async for row in await sim.messages.batches.results(batch.id)}
    assert told["q1"].message.usage.service_tier == "batch"
    assert told["bad"].error.error.type == "invalid_request_error"
    assert [line["tier"] for line in tenant.node.bill()] == ["batch"] * 3
    other = await sim.messages.batches.create(requests=asked[:1])
    assert [found.id async for found in sim.messages.batches.list(limit=1)] == [other.id, batch.id]
    with pytest.raises(anthropic.BadRequestError, match="in progress"):
        await sim.messages.batches.delete((await sim.messages.batches.create(requests=asked[:1])).id)
    assert (await sim.messages.batches.delete(batch.id)).type == "message_batch_deleted"
    with pytest.raises(anthropic.NotFoundError):
        await sim.messages.batches.retrieve(batch.id)
    with pytest.raises(anthropic.BadRequestError, match="custom_id"):
        await sim.messages.batches.create(requests=[{"custom_id": "a b", "params": params()}])
    simulate(tenant.node, {"kind": "never"})
    late = await sim.messages.batches.create(requests=asked[:1])
    assert (await sim.messages.batches.cancel(late.id)).processing_status == "canceling"


async def test_a_held_message_is_answered_by_batch_at_half_the_price(tenant):
    client = anthropic.AsyncAnthropic(base_url=tenant.node.url, api_key=tenant.key, max_retries=0)
    async with client:
        raw = await client.messages.with_raw_response.create(
            **params(model=MODEL), extra_headers={"x-costrouter-deadline": "20s"} | VERSION
        )
    assert (await raw.parse()).content[0].text
    assert raw.headers["x-costrouter-tier"] == "batch"
    row = await tenant.row()
    assert (row.tier, row.outcome, row.certainty, row.provider) == ("batch", "ok", "metered", "anthropic")
    assert row.cost_nano == pytest.approx(row.baseline_nano / 2, abs=1)
    assert [line["nano"] for line in tenant.node.bill()] == [row.cost_nano]


async def test_who_asks_in_openai_s_dialect_gets_the_answer_in_it(tenant):
    async with tenant.sdk(timeout=60) as sdk:
        raw = await sdk.chat.completions.with_raw_response.create(
            model=MODEL,
            messages=[{"role": "system", "content": "Be brief."}, *SAYS],
            max_completion_tokens=40,
            extra_headers={"x-costrouter-deadline": "20s"},
        )
    answer = raw.parse()
    assert answer.choices[0].message.content
    assert answer.usage.completion_tokens > 0
    assert raw.headers["x-costrouter-tier"] == "batch"
    row = await tenant.row()
    assert (row.tier, row.provider) == ("batch", "anthropic")
    assert [line["nano"] for line in tenant.node.bill()] == [row.cost_nano]


async def test_a_batch_whose_creation_was_not_answered_is_found_among_others_as_large(tenant, sim, web):
    """It carries no id of ours: another one's may be taken for it, and is given back once its results are read."""
    headers = {**tenant.headers, "prefer": "respond-async", "x-costrouter-deadline": "60s"}
    body = {"model": MODEL, "messages": SAYS, "max_completion_tokens": 40}
    # Somebody else's, begun just before by the same key, with as many requests.
    await sim.messages.batches.create(requests=[{"custom_id": "theirs", "params": params()}])
    simulate(tenant.node, {"kind": "create_lost", "provider": "anthropic"})
    async with web.post(f"{tenant.node.base_url}/chat/completions", json=body, headers=headers) as told:
        assert told.status == 202, await told.text()
        place = told.headers["location"]
    found = {}

    async def ended():
        async with web.get(tenant.node.url + place, headers=tenant.headers) as told:
            found.update(await told.json())
        return found["ended_at"] is not None

    await until(ended, 30)
    assert (found["status"], found["result"]["tier"]) == ("completed", "batch")
    row = await tenant.row()
    report = tenant.node.http.get(f"{tenant.node.sim_url}/_sim/batches").json()
    assert len(report["batches"]) == 2, "a creation was repeated"
    assert row.cost_nano in [line["nano"] for line in tenant.node.bill()]
