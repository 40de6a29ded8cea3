"""A node as it is shipped: what one provider cannot do, another one does, and the books say so."""

from __future__ import annotations

import asyncio

import openai
import pytest
from node import Node, Tenant, policies_copy
from recorder import Recorder
from store import until

HI = [{"role": "user", "content": "hi"}]


HEDGED = """
version: 1
policy: hedged
candidates: {include: [tag:chat]}
rules: [{name: any}]
hedge: {after: 100ms, most: 100%}
"""


@pytest.fixture(scope="module")
def patient(tmp_path_factory):
    folder = tmp_path_factory.mktemp("forwarding")
    policies = policies_copy(folder / "policies", lambda copy: (copy / "hedged.yaml").write_text(HEDGED))
    with Node(folder, workers=2, attempts=3, policies=policies) as node:
        yield node


@pytest.fixture
async def caller(patient):
    patient.reset()
    async with patient.store() as store:
        yield Tenant(patient, store)


async def ask(tenant, **fields):
    async with tenant.sdk() as sdk:
        return await sdk.chat.completions.with_raw_response.create(**{"model": "auto", "messages": HI, **fields})


async def test_a_provider_without_capacity_is_left_for_the_next_cheapest(patient, caller):
    first = (await ask(caller)).headers
    patient.faults({"kind": "status", "status": 529, "provider": first["x-costrouter-provider"]})
    answer = await ask(caller)
    assert answer.parse().choices
    assert answer.headers["x-costrouter-attempts"] == "2"
    assert answer.headers["x-costrouter-provider"] != first["x-costrouter-provider"]
    rows = await caller.rows(3)
    one, two = sorted(
        (row for row in rows if row.attempt.startswith(answer.headers["x-request-id"])), key=lambda r: r.attempt
    )
    assert (one.attempt[-2:], one.status, one.cost_nano) == ("/1", 529, 0)
    assert (two.attempt[-2:], two.outcome) == ("/2", "ok")
    assert two.estimated_nano >= one.estimated_nano
    assert sorted(row.cost_nano for row in rows if row.cost_nano) == sorted(line["nano"] for line in patient.bill())


async def test_a_stream_that_is_reset_before_it_began_comes_from_elsewhere(patient, caller):
    patient.faults({"kind": "reset", "times": 1})
    async with caller.sdk() as sdk:
        stream = await sdk.chat.completions.create(model="auto", messages=HI, stream=True)
        assert "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices])
    assert [row.outcome for row in await caller.rows(2)].count("ok") == 1


async def test_of_several_models_the_next_serves_in_the_callers_order_and_no_provider_sees_the_list(patient, caller):
    wanted = ["anthropic/claude-sonnet-5.5", "openai/gpt-4o-mini:floor"]
    first = await ask(caller, model=wanted[0], extra_body={"models": wanted, "route": "fallback"})
    assert first.headers["x-costrouter-model"] == wanted[0]
    patient.faults({"kind": "status", "status": 529, "provider": first.headers["x-costrouter-provider"]})
    second = await ask(caller, model=wanted[0], extra_body={"models": wanted})
    assert second.headers["x-costrouter-model"] == "openai/gpt-4o-mini"
    assert second.headers["x-costrouter-attempts"] == "2"
    cheapest = await ask(caller, extra_body={"models": wanted})
    assert cheapest.headers["x-costrouter-model"] == "openai/gpt-4o-mini"


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
async def test_beside_a_slow_provider_the_next_one_answers_and_both_are_billed_and_booked(patient, caller, stream):
    first = (await ask(caller, model="hedged")).headers["x-costrouter-provider"]
    patient.faults({"kind": "slow_first_byte", "delay_ms": 2_000, "provider": first, "times": 1})
    if stream:
        async with caller.sdk() as sdk:
            chunks = await sdk.chat.completions.create(model="hedged", messages=HI, stream=True)
            assert "".join([chunk.choices[0].delta.content or "" async for chunk in chunks if chunk.choices])
    else:
        answer = await ask(caller, model="hedged")
        assert answer.headers["x-costrouter-provider"] != first
        assert (answer.headers["x-costrouter-hedged"], answer.headers["x-costrouter-attempts"]) == ("true", "2")
    rows = await caller.rows(3)
    assert sorted(row.outcome for row in rows) == ["ok", "ok", "outrun"]
    assert {row.certainty for row in rows} == {"metered"}
    assert sum(row.cost_nano for row in rows) == sum(line["nano"] for line in patient.bill())


async def test_when_nobody_answers_the_last_error_says_how_often_it_was_tried(patient, caller):
    patient.faults({"kind": "status", "status": 503})
    with pytest.raises(openai.InternalServerError) as caught:
        await ask(caller)
    headers = caught.value.response.headers
    assert (caught.value.code, headers["x-costrouter-attempts"], headers["x-should-retry"]) == (
        "upstream_unavailable",
        "3",
        "true",
    )
    assert {row.status for row in await caller.rows(3)} == {503}


async def test_an_sdk_that_tries_again_does_not_multiply_attempts(patient, caller):
    patient.faults({"kind": "status", "status": 503})
    async with caller.sdk(max_retries=2) as sdk:
        with pytest.raises(openai.InternalServerError):
            await sdk.chat.completions.create(model="auto", messages=HI)
    assert sum(patient.fault_hits()) == 3 + 2 + 2
    await caller.rows(7)


async def test_a_provider_that_keeps_failing_is_left_alone_by_every_worker_and_tried_again(tmp_path):
    with Node(tmp_path, workers=2, attempts=3, breaker=True) as node:
        async with node.store() as store:
            tenant = Tenant(node, store)
            first = (await ask(tenant)).headers["x-costrouter-provider"]
            node.faults({"kind": "status", "status": 503, "provider": first})
            for _ in range(16):
                await ask(tenant)
            assert sum(node.fault_hits()) < 16
            await until(lambda: ways_shut(node) > 0)
            told = node.http.get(f"{node.url}/metrics").text
            assert 'costrouter_breaker_state{key="simulated",model="' in told
            assert f'provider="{first}"}} 1.0' in told
            await asyncio.sleep(1)
            hits = sum(node.fault_hits())
            served = [(await ask(tenant)).headers for _ in range(8)]
            assert {headers["x-costrouter-attempts"] for headers in served} <= {"1", "2"}
            assert sum(node.fault_hits()) - hits <= 2, "no more than a probe or two"
            estimate = node.http.post(
                f"{node.url}/costrouter/v1/estimate", json={"model": "auto", "messages": HI}, headers=tenant.headers
            )
            assert "circuit breaker is" in estimate.text
            assert node.http.delete(f"{node.sim_url}/_sim/faults").status_code == 204
            await until(lambda: back_at(tenant, first), 30)


def ways_shut(node):
    text = node.http.get(f"{node.url}/metrics").text
    return next(float(line.split()[1]) for line in text.splitlines() if line.startswith("costrouter_ways_shut "))


async def back_at(tenant, provider):
    return (await ask(tenant)).headers["x-costrouter-provider"] == provider


CATALOG = """
version: 1
provider: rec
name: Rec
base_url: {url}/v1
key_env: REC_KEY
dialect: openai
bills_after_disconnect: true
models:
  - id: rec/model
    upstream: the-model
    context_window: 100000
    max_output: 8000
    capabilities: [chat]
    tags: [chat]
    weights: open
    latency: {{ttft_p50_ms: 100, ttft_p95_ms: 200, tpot_ms: 5, source: test, date: 2026-01-01}}
    output: {{mean: 50, p90: 100}}
    prices:
      - {{valid_from: 2026-01-01, input: "1.00", output: "2.00", source: test, checked: 2026-01-01}}
"""
POLICY = """
version: 1
policy: default
candidates: {include: ["*"]}
rules: [{name: any}]
when_nothing_fits: [refuse]
"""


async def test_a_providers_key_is_changed_while_the_node_runs(tmp_path):
    (tmp_path / "policies" / "catalog").mkdir(parents=True)
    (tmp_path / "policies" / "default.yaml").write_text(POLICY)
    keys = tmp_path / "keys"
    keys.write_text("REC_KEY=sk-old\n")
    with Recorder() as recorder:
        (tmp_path / "policies" / "catalog" / "rec.yaml").write_text(CATALOG.format(url=recorder.url))

        async def key_in_use():
            await ask(tenant, model="rec/model")
            return recorder.received[-1].headers["authorization"]

        with Node(tmp_path / "node", policies=tmp_path / "policies", provider_keys=keys) as node:
            async with node.store() as store:
                tenant = Tenant(node, store)
                assert await key_in_use() == "Bearer sk-old"
                keys.write_text("REC_KEY=sk-new\n")

                async def new_key():
                    return await key_in_use() == "Bearer sk-new"

                await until(new_key, 10)
                assert "sk-new" not in node.log
