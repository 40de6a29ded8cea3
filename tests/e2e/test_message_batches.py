"""Anthropic's Message Batches: simulated, used for callers of either dialect, and taken in as its SDK knows them."""

from __future__ import annotations

import contextlib
import time

import anthropic
import pytest
from google import genai
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


def test_the_simulator_s_batches_are_those_that_google_s_sdk_knows(batching_node):
    client = genai.Client(
        api_key="k", http_options={"base_url": f"{batching_node.sim_url}/google", "api_version": "v1"}
    )
    requests = [{"contents": [{"role": "user", "parts": [{"text": f"Question {n}"}]}]} for n in range(3)]
    with client:
        batch = client.batches.create(model="gemini-2.5-flash-lite", src=requests, config={"display_name": "ours"})
        end = time.monotonic() + 30
        while batch.state.name != "JOB_STATE_SUCCEEDED":
            assert time.monotonic() < end
            batch = client.batches.get(name=batch.name)
        assert batch.display_name == "ours"
        assert all(found.response.text for found in batch.dest.inlined_responses)
        assert batch.name in [found.name for found in client.batches.list()]
        client.batches.delete(name=batch.name)
        with pytest.raises(genai.errors.ClientError):
            client.batches.get(name=batch.name)


@pytest.mark.parametrize("kind", [None, "create_lost", "content_cut"])
async def test_google_s_batches_are_spoken_for_callers_of_either_dialect(tenant, web, kind):
    simulate(tenant.node, *([{"kind": kind, "provider": "google"}] if kind else []))
    async with tenant.sdk(timeout=60) as sdk:
        raw = await sdk.chat.completions.with_raw_response.create(
            model="google/gemini-2.5-flash-lite", messages=SAYS, extra_headers={"x-costrouter-deadline": "30s"}
        )
    assert raw.parse().choices[0].message.content
    assert raw.headers["x-costrouter-tier"] == "batch"
    row = await tenant.row()
    assert (row.tier, row.provider, row.certainty) == ("batch", "google", "metered")
    assert [line["nano"] for line in tenant.node.bill()] == [row.cost_nano]
    report = tenant.node.http.get(f"{tenant.node.sim_url}/_sim/batches").json()
    assert len(report["batches"]) == 1, "a creation was repeated"


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


@pytest.fixture
async def sdk(tenant):
    """The official SDK, pointed at the router."""
    client = anthropic.AsyncAnthropic(base_url=tenant.node.url, api_key=tenant.key, max_retries=0, timeout=60)
    async with client:
        yield client


def asked(name, model="auto", **fields):
    return {"custom_id": name, "params": params(model=model) | fields}


async def over(sdk, batch):
    found = [batch]

    async def ended():
        found[0] = await sdk.messages.batches.retrieve(batch.id)
        return found[0].processing_status == "ended"

    await until(ended, 30)
    return found[0]


async def submitted(sdk, *requests, **headers):
    return await sdk.messages.batches.create(
        requests=requests, extra_headers={"x-costrouter-deadline": "60s"} | headers | VERSION
    )


async def test_requests_are_routed_one_by_one_and_come_back_as_one(tenant, sdk):
    models = ("auto", MODEL, "openai/gpt-4.1-mini", "default")
    requests = [asked(f"q{number}", models[number % 4], max_tokens=2_000) for number in range(20)]
    requests += [asked("unknown", "openai/gpt-9-imaginary"), asked("zero", max_tokens=0), asked("flows", stream=True)]
    batch = await submitted(sdk, *requests)
    assert batch.id.startswith("msgbatch_")
    assert (batch.processing_status, batch.request_counts.processing, batch.results_url) == ("in_progress", 23, None)
    batch = await over(sdk, batch)
    counts = batch.request_counts
    assert (counts.succeeded, counts.errored, counts.processing) == (20, 3, 0)
    told = {row.custom_id: row.result async for row in await sdk.messages.batches.results(batch.id)}
    assert told.keys() == {request["custom_id"] for request in requests}
    assert all(told[f"q{number}"].message.content[0].text for number in range(20))
    assert told["unknown"].error.error.type == "not_found_error"
    assert "max_tokens" in told["zero"].error.error.message
    assert "stream" in told["flows"].error.error.message
    booked = await tenant.rows(20)
    assert sum(row.cost_nano for row in booked) == sum(found["nano"] for found in tenant.node.bill())
    assert {(row.provider, row.tier) for row in booked} >= {("anthropic", "batch"), ("openai", "batch")}


async def test_batches_are_listed_cancelled_and_deleted(tenant, sdk):
    simulate(tenant.node, {"kind": "never", "times": None})
    batches = [await submitted(sdk, asked(f"q{number}", MODEL)) for number in range(3)]
    ids = [batch.id for batch in reversed(batches)]
    assert [found.id async for found in sdk.messages.batches.list(limit=2)] == ids
    newer = await sdk.messages.batches.list(limit=1, before_id=ids[2])
    assert ([found.id for found in newer.data], newer.has_more) == ([ids[1]], True)
    with pytest.raises(anthropic.BadRequestError, match="in progress"):
        await sdk.messages.batches.delete(ids[0])
    with pytest.raises(anthropic.AnthropicError, match="results_url"):
        await sdk.messages.batches.results(ids[0])
    assert (await sdk.messages.batches.cancel(ids[0])).processing_status in ("canceling", "ended")
    batch = await over(sdk, batches[2])
    assert (batch.request_counts.canceled, batch.cancel_initiated_at is None) == (1, False)
    (row,) = [row async for row in await sdk.messages.batches.results(batch.id)]
    assert row.result.type == "canceled"
    assert (await sdk.messages.batches.delete(batch.id)).type == "message_batch_deleted"
    other = tenant.node.new_key(tenant=tenant.name)
    async with anthropic.AsyncAnthropic(base_url=tenant.node.url, api_key=other, max_retries=0) as stranger:
        assert [found async for found in stranger.messages.batches.list()] == []
        with pytest.raises(anthropic.NotFoundError):
            await stranger.messages.batches.retrieve(ids[1])
    with pytest.raises(anthropic.NotFoundError):
        await sdk.messages.batches.retrieve(batch.id)
    for left in ids[1:]:
        with contextlib.suppress(anthropic.BadRequestError):  # it may have expired at its provider, and gone on, by now
            await sdk.messages.batches.cancel(left)


async def test_a_limit_of_its_own_stops_what_is_not_begun(sdk):
    batch = await submitted(
        sdk, *(asked(f"q{number}", MODEL) for number in range(6)), **{"x-costrouter-budget-usd": "0.0005"}
    )
    counts = (await over(sdk, batch)).request_counts
    assert counts.succeeded
    assert counts.errored
    assert counts.succeeded + counts.errored == 6


@pytest.mark.parametrize(
    ("requests", "headers", "words"),
    [
        ([], {}, "at least one"),
        ([asked("a b")], {}, "custom_id"),
        ([asked("a"), asked("a")], {}, "has been used before"),
        ([asked("a")], {"x-costrouter-deadline": "90d"}, "30 days"),
        ([asked("a")], {"x-costrouter-budget-usd": "much"}, "x-costrouter-budget-usd"),
    ],
)
async def test_a_batch_that_cannot_be_is_refused_in_anthropic_s_words(sdk, requests, headers, words):
    with pytest.raises(anthropic.BadRequestError, match=words) as refused:
        await submitted(sdk, *requests, **headers)
    assert refused.value.body["error"]["type"] == "invalid_request_error"
