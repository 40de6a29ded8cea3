"""A deadline on an ordinary request: what the caller gets, what it costs, and what the providers billed."""

from __future__ import annotations

import asyncio

import openai
import pytest
from node import Node, Tenant, policies_copy
from store import until

SAYS = [{"role": "user", "content": "Sum up the meeting in one line."}]

BRIEF = """
version: 1
policy: brief
hold: 200ms
candidates: {include: [openai/gpt-4.1-mini]}
rules: [{name: any, tiers: [realtime, batch]}]
"""

PATIENT = """
version: 1
policy: patient
candidates: {include: [openai/gpt-5-mini]}
rules:
  - {name: can-wait, when: {deadline: ">= 10s"}, tiers: [realtime, flex, batch]}
  - {name: others}
"""

WAITING = """
version: 1
policy: waiting
candidates: {include: [openai/gpt-6.2-sol]}
rules: [{name: any, tiers: [realtime, window]}]
"""
EVERYTHING = """
version: 1
policy: everything
candidates: {include: [openai/gpt-6.2-sol]}
rules: [{name: any, tiers: [realtime, window, batch]}]
"""
OWN = """
version: 1
policy: own
candidates: {include: [self/support-8b-lora]}
rules: [{name: any}]
"""
WINDOWED = "openai/gpt-6.2-sol"

# A job may take its deadline of a minute.
pytestmark = pytest.mark.timeout(150)


@pytest.fixture(scope="module")
def batching_node(tmp_path_factory):
    """A node whose simulated batches run 3600 times as fast: an hour is a second."""
    folder = tmp_path_factory.mktemp("batching")

    def edit(place):
        (place / "brief.yaml").write_text(BRIEF)
        (place / "patient.yaml").write_text(PATIENT)
        (place / "waiting.yaml").write_text(WAITING)
        (place / "own.yaml").write_text(OWN)
        (place / "everything.yaml").write_text(EVERYTHING)

    policies = policies_copy(folder / "policies", edit)
    with Node(folder, workers=2, sim_batch_speed=3600, policies=policies) as node:
        simulate(node, window_share=0.05)
        yield node


@pytest.fixture
async def tenant(batching_node):
    batching_node.reset()
    assert batching_node.http.delete(f"{batching_node.sim_url}/_sim/batches").status_code == 204
    async with batching_node.store() as store:
        yield Tenant(batching_node, store)


def simulate(node, *faults, **settings):
    body = {"settings": settings, "faults": list(faults)}
    answer = node.http.post(f"{node.sim_url}/_sim/batches", json=body)
    assert answer.status_code == 200, answer.text


def asked(**fields):
    return {"model": "openai/gpt-4.1-mini", "messages": SAYS, **fields}


async def finished(web, tenant, place, bound_s=90):
    found = {}

    async def ended():
        async with web.get(tenant.node.url + place, headers=tenant.headers) as told:
            assert told.status == 200, await told.text()
            found.update(await told.json())
        return found["ended_at"] is not None

    await until(ended, bound_s)
    return found


async def test_a_held_request_is_answered_200_by_batch_at_half_the_price(tenant):
    async with tenant.sdk(timeout=60) as sdk:
        raw = await sdk.chat.completions.with_raw_response.create(
            **asked(), extra_headers={"x-costrouter-deadline": "20s"}
        )
    assert raw.parse().choices[0].message.content
    assert raw.headers["x-costrouter-tier"] == "batch"
    row = await tenant.row()
    assert (row.tier, row.outcome, row.certainty) == ("batch", "ok", "metered")
    assert row.attempt.endswith("/0/1")
    assert row.cost_nano == pytest.approx(row.baseline_nano / 2, abs=1)
    (billed,) = tenant.node.bill()
    assert (billed["tier"], billed["nano"]) == ("batch", row.cost_nano)


async def test_a_connection_is_held_no_longer_than_the_policy_says(tenant):
    headers = {"x-costrouter-deadline": "20s", "x-costrouter-policy": "brief"}
    async with tenant.sdk(timeout=60) as sdk:
        raw = await sdk.chat.completions.with_raw_response.create(**asked(), extra_headers=headers)
    assert raw.headers["x-costrouter-tier"] == "realtime", "no batch is back that soon"
    assert (await tenant.row()).tier == "realtime"


async def test_flex_bids_against_batch_and_costs_the_same_sooner(tenant):
    headers = {"x-costrouter-deadline": "20s", "x-costrouter-policy": "patient"}
    async with tenant.sdk(timeout=60) as sdk:
        body = asked(model="openai/gpt-5-mini")
        raw = await sdk.chat.completions.with_raw_response.create(**body, extra_headers=headers)
        assert raw.headers["x-costrouter-tier"] == "flex"
        headers.pop("x-costrouter-deadline")
        raw = await sdk.chat.completions.with_raw_response.create(**body, extra_headers=headers)
        assert raw.headers["x-costrouter-tier"] == "realtime"
    flex, instant = sorted(await tenant.rows(2), key=lambda row: row.at_ms)
    assert (flex.tier, instant.tier) == ("flex", "realtime")
    assert flex.cost_nano * 2 == pytest.approx(flex.baseline_nano, abs=2)


async def test_respond_async_is_promised_and_kept(tenant, web):
    headers = {**tenant.headers, "prefer": "respond-async", "x-costrouter-deadline": "30s"}
    async with web.post(f"{tenant.node.base_url}/chat/completions", json=asked(), headers=headers) as told:
        assert told.status == 202, await told.text()
        promise = await told.json()
        assert told.headers["location"] == f"/costrouter/v1/jobs/{promise['id']}"
        assert int(told.headers["retry-after"]) >= 1
    assert promise["tier"] == "batch"
    job = await finished(web, tenant, told.headers["location"])
    assert job["status"] == "completed"
    assert job["result"]["status_code"] == 200
    assert job["result"]["body"]["choices"][0]["message"]["content"]
    assert job["late_s"] is None
    row = await tenant.row()
    assert job["cost_usd"] == f"{row.cost_nano / 1e9:.9f}"


async def test_who_would_wait_a_little_is_answered_if_it_is_there_by_then(tenant, web):
    headers = {**tenant.headers, "prefer": "respond-async, wait=30", "x-costrouter-deadline": "20s"}
    async with web.post(f"{tenant.node.base_url}/chat/completions", json=asked(), headers=headers) as told:
        assert (told.status, told.headers["preference-applied"]) == (200, "respond-async, wait=30")
        assert (await told.json())["choices"]


async def test_a_short_deadline_is_answered_at_once(tenant):
    async with tenant.sdk() as sdk:
        raw = await sdk.chat.completions.with_raw_response.create(**asked(metadata={"costrouter.deadline": "100ms"}))
    assert raw.headers["x-costrouter-tier"] == "realtime"
    assert (await tenant.row()).tier == "realtime"


async def test_what_never_comes_back_goes_its_way_out_before_the_deadline(tenant, web):
    simulate(tenant.node, {"kind": "never"})
    headers = {**tenant.headers, "prefer": "respond-async", "x-costrouter-deadline": "6s"}
    async with web.post(f"{tenant.node.base_url}/chat/completions", json=asked(), headers=headers) as told:
        assert told.status == 202
    job = await finished(web, tenant, told.headers["location"])
    assert (job["status"], job["late_s"], job["result"]["tier"]) == ("completed", None, "realtime")
    rows = {row.attempt.split("/", 2)[2]: row for row in await tenant.rows(2)}
    assert rows["1"].cost_nano == 0
    assert rows["1"].tier == "batch"
    assert rows["2/1"].tier == "realtime"
    assert sum(row.cost_nano for row in rows.values()) == sum(line["nano"] for line in tenant.node.bill())


@pytest.mark.parametrize("kind", ["create_lost", "create_fails", "upload_lost", "get_fails", "content_cut"])
async def test_a_call_that_fails_once_is_made_good(tenant, web, kind):
    simulate(tenant.node, {"kind": kind})
    headers = {**tenant.headers, "prefer": "respond-async", "x-costrouter-deadline": "60s"}
    async with web.post(f"{tenant.node.base_url}/chat/completions", json=asked(), headers=headers) as told:
        assert told.status == 202
    job = await finished(web, tenant, told.headers["location"])
    assert job["status"] == "completed"
    row = await tenant.row()
    assert [line["nano"] for line in tenant.node.bill()] == [row.cost_nano]
    report = tenant.node.http.get(f"{tenant.node.sim_url}/_sim/batches").json()
    assert report["faults"][0]["hits"] == 1
    assert len(report["batches"]) == 1, "a creation was repeated"


async def test_a_job_is_cancelled_wherever_it_is(tenant, web):
    simulate(tenant.node, {"kind": "never"})
    headers = {**tenant.headers, "prefer": "respond-async", "x-costrouter-deadline": "60s"}
    async with web.post(f"{tenant.node.base_url}/chat/completions", json=asked(), headers=headers) as told:
        place = told.headers["location"]
    await until(lambda: _submitted(tenant), 20)
    async with web.post(f"{tenant.node.url}{place}/cancel", headers=tenant.headers) as told:
        assert (await told.json())["status"] == "cancelling"
    job = await finished(web, tenant, place)
    assert job["status"] == "cancelled"
    assert (await tenant.row()).cost_nano == 0
    async with web.delete(f"{tenant.node.url}{place}", headers=tenant.headers) as told:
        assert (await told.json())["deleted"]
    async with web.get(f"{tenant.node.url}{place}", headers=tenant.headers) as told:
        assert told.status == 404


async def _submitted(tenant):
    report = await asyncio.to_thread(tenant.node.http.get, f"{tenant.node.sim_url}/_sim/batches")
    return any(batch["state"] == "in_progress" for batch in report.json()["batches"])


async def test_without_a_deadline_the_answer_says_what_one_would_save(tenant, web):
    async with tenant.sdk() as sdk:
        raw = await sdk.chat.completions.with_raw_response.create(**asked())
    assert raw.headers["x-costrouter-could-be-cheaper"] == "24h deadline: openai/gpt-4.1-mini batch about -50%"
    headers = {**tenant.headers, "x-costrouter-deadline": "24h"}
    async with web.post(f"{tenant.node.url}/costrouter/v1/estimate", json=asked(), headers=headers) as told:
        assert (await told.json())["deferred"]["tier"] == "batch"


async def test_what_was_done_is_counted(tenant, web):
    async with web.get(f"{tenant.node.url}/metrics") as told:
        text = await told.text()
    assert 'costrouter_jobs_ended_total{when="on_time"}' in text
    assert 'costrouter_parcels_total{provider="openai",tier="batch"}' in text
    assert 'costrouter_escalations_total{provider="openai",tier="batch"}' in text
    assert 'costrouter_tier_saved_nanodollars_total{provider="openai",tier="batch"}' in text


async def test_errors_keep_their_status(tenant):
    async with tenant.sdk() as sdk:
        with pytest.raises(openai.BadRequestError, match="has passed"):
            await sdk.chat.completions.create(
                **asked(), extra_headers={"x-costrouter-deadline": "2020-01-01T00:00:00Z"}
            )
        with pytest.raises(openai.BadRequestError, match="stream"):
            await sdk.chat.completions.create(
                **asked(stream=True), extra_headers={"prefer": "respond-async", "x-costrouter-deadline": "4h"}
            )


async def test_jobs_are_listed_for_who_sent_them(tenant, web):
    headers = {**tenant.headers, "prefer": "respond-async", "x-costrouter-deadline": "60s"}
    ids = []
    for _ in range(3):
        async with web.post(f"{tenant.node.base_url}/chat/completions", json=asked(), headers=headers) as told:
            ids.append((await told.json())["id"])
    async with web.get(f"{tenant.node.url}/costrouter/v1/jobs?limit=2", headers=tenant.headers) as told:
        page = await told.json()
    assert page["has_more"]
    last = page["data"][-1]["id"]
    async with web.get(f"{tenant.node.url}/costrouter/v1/jobs?after={last}", headers=tenant.headers) as told:
        rest = await told.json()
    assert {job["id"] for job in (*page["data"], *rest["data"])} == set(ids)
    other = tenant.node.new_key(tenant=tenant.name)
    async with web.get(f"{tenant.node.url}/costrouter/v1/jobs", headers={"Authorization": f"Bearer {other}"}) as told:
        assert (await told.json())["data"] == []
    for job in ids:
        await finished(web, tenant, f"/costrouter/v1/jobs/{job}")
    assert len(await tenant.rows(3)) == 3


def at_the_provider(node):
    return node.http.get(f"{node.sim_url}/_sim/batches").json()["batches"]


async def test_a_held_chat_completion_is_made_in_the_longest_window_at_its_price(tenant):
    headers = {"x-costrouter-deadline": "60s", "x-costrouter-policy": "waiting"}
    async with tenant.sdk(timeout=90) as sdk:
        raw = await sdk.chat.completions.with_raw_response.create(model=WINDOWED, messages=SAYS, extra_headers=headers)
    assert raw.parse().choices[0].message.content
    assert raw.headers["x-costrouter-tier"] == "window-8h"
    row = await tenant.row()
    assert (row.tier, row.outcome, row.certainty) == ("window-8h", "ok", "metered")
    assert row.cost_nano == pytest.approx(row.baseline_nano * 0.6, abs=2)
    (billed,) = tenant.node.bill()
    assert (billed["tier"], billed["nano"]) == ("window-8h", row.cost_nano)


async def test_a_background_response_waits_in_the_window_that_its_caller_names(tenant):
    async with tenant.sdk() as sdk:
        made = await sdk.responses.create(
            model=WINDOWED,
            input=SAYS[0]["content"],
            background=True,
            background_options={"completion_window": "8h"},
            extra_headers={"x-costrouter-policy": "waiting", "x-costrouter-deadline": "60s"},
        )
        assert made.status == "queued"
        found = []

        async def over():
            found[:] = [await sdk.responses.retrieve(made.id)]
            return found[0].status not in ("queued", "in_progress")

        await until(over, 60)
    assert (found[0].status, found[0].id, found[0].background) == ("completed", made.id, True)
    assert found[0].output_text
    row = await tenant.row()
    assert (row.tier, row.certainty) == ("window-8h", "metered")
    assert [line["nano"] for line in tenant.node.bill()] == [row.cost_nano]

    async def removed():
        told = tenant.node.http.get(f"{tenant.node.sim_url}/_sim/batches").json()["batches"]
        return [one["hidden"] for one in told] == [True]

    await until(removed, 20)


async def test_a_window_bids_against_the_batch_and_the_estimate_shows_both(tenant, web):
    headers = {**tenant.headers, "x-costrouter-deadline": "8h", "x-costrouter-policy": "everything"}
    body = {"model": WINDOWED, "messages": SAYS}
    async with web.post(f"{tenant.node.url}/costrouter/v1/estimate", json=body, headers=headers) as told:
        deferred = (await told.json())["deferred"]
    assert deferred["tier"] == "batch"
    own = {bid["tier"]: float(bid["own_cost_usd"]) for bid in deferred["bids"]}
    at_once = own["realtime"]
    assert own == {
        "batch": pytest.approx(at_once * 0.5, abs=1e-9),
        "window-8h": pytest.approx(at_once * 0.6, abs=1e-9),
        "window-2h": pytest.approx(at_once * 0.7, abs=1e-9),
        "realtime": at_once,
    }
    expected = [float(bid["estimated_cost_usd"]) for bid in deferred["bids"]]
    assert expected == sorted(expected)


async def test_a_creation_whose_answer_was_lost_is_booked_and_not_repeated(tenant):
    simulate(tenant.node, {"kind": "create_lost"})
    headers = {"x-costrouter-deadline": "60s", "x-costrouter-policy": "waiting"}
    async with tenant.sdk(timeout=90) as sdk:
        raw = await sdk.responses.with_raw_response.create(
            model=WINDOWED, input=SAYS[0]["content"], extra_headers=headers
        )
    assert raw.headers["x-costrouter-tier"] == "realtime", "it goes on at once"
    rows = {row.attempt.split("/", 2)[2]: row for row in await tenant.rows(2)}
    assert (rows["1"].tier, rows["1"].certainty) == ("window-8h", "estimated")
    assert rows["1"].cost_nano > 0
    assert (rows["2/1"].tier, rows["2/1"].certainty) == ("realtime", "metered")
    assert len(at_the_provider(tenant.node)) == 1, "it was created twice"


async def test_what_turns_a_creation_away_is_waited_for(tenant):
    tenant.node.faults({"provider": "openai", "kind": "rate_limit", "times": 2})
    headers = {"x-costrouter-deadline": "60s", "x-costrouter-policy": "waiting"}
    async with tenant.sdk(timeout=90) as sdk:
        raw = await sdk.responses.with_raw_response.create(
            model=WINDOWED, input=SAYS[0]["content"], extra_headers=headers
        )
    assert raw.headers["x-costrouter-tier"] == "window-8h"
    row = await tenant.row()
    assert [line["nano"] for line in tenant.node.bill()] == [row.cost_nano]


async def test_what_never_comes_is_called_off_and_goes_its_way_out(tenant):
    simulate(tenant.node, {"kind": "never"}, {"kind": "get_fails"}, {"kind": "cancel_lost"})
    headers = {"x-costrouter-deadline": "5s", "x-costrouter-policy": "waiting"}
    async with tenant.sdk(timeout=90) as sdk:
        raw = await sdk.responses.with_raw_response.create(
            model=WINDOWED, input=SAYS[0]["content"], extra_headers=headers
        )
    assert raw.headers["x-costrouter-tier"] == "realtime"
    rows = {row.attempt.split("/", 2)[2]: row for row in await tenant.rows(2)}
    assert (rows["1"].tier.partition("-")[0], rows["1"].cost_nano) == ("window", 0)
    assert sum(row.cost_nano for row in rows.values()) == sum(line["nano"] for line in tenant.node.bill())
    assert [one["state"] for one in at_the_provider(tenant.node)] == ["cancelled"]


async def test_what_is_left_of_a_machine_of_ones_own_is_given_to_what_may_wait(tenant, web):
    """It bids with what one more token costs, and is booked at the average, which pays for its idle hours."""
    headers = {**tenant.headers, "x-costrouter-policy": "own", "x-costrouter-deadline": "30s"}
    body = {"model": "auto", "messages": SAYS}
    async with web.post(f"{tenant.node.url}/costrouter/v1/estimate", json=body, headers=headers) as told:
        bids = (await told.json())["deferred"]["bids"]
    idle, at_once = bids
    assert (idle["tier"], at_once["tier"]) == ("idle", "realtime")
    assert idle["gpu_percent"] < 70
    assert float(idle["own_cost_usd"]) < float(at_once["own_cost_usd"]) / 2
    async with web.post(
        f"{tenant.node.base_url}/chat/completions", json=body, headers={**headers, "prefer": "respond-async"}
    ) as told:
        promise = await told.json()
    assert (promise["tier"], promise["estimated_cost_usd"]) == ("idle", at_once["own_cost_usd"])
    job = await finished(web, tenant, told.headers["location"])
    assert job["result"]["provider"] == "vllm"
    row = await tenant.row()
    assert (row.model, row.tier) == ("self/support-8b-lora", "realtime")
    assert [line["nano"] for line in tenant.node.bill()] == [row.cost_nano]
