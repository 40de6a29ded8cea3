"""Which way a request goes that may wait: bids made of what the policy admits, put to the choice."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from catalogs import NOW, a_model, a_price
from fakes import FakeClock
from tiers import a_snapshot, rules
from wired import SECRET, WHO, Wired, asked

from router.adapters.broker.planner import Planner
from router.core.catalog.self_hosted import SLACK_MILLI
from router.core.jobs.deadlines import prior_of, waits
from router.core.statistics.busy import told
from router.core.statistics.stats import Summary

HOUR = 3_600_000
TIERS = {"batch": {"factor": "0.5"}, "window-2h": {"factor": "0.7"}, "window-8h": {"factor": "0.6"}}
SOLD = a_model(prices=[a_price(tiers=TIERS)])
MACHINE = {"gpu_usd_per_hour": "2.50", "load": "0.40", "prefill_tok_s": 20000, "decode_tok_s": 2500, "watts": 700,
           "usd_per_kwh": "0.17", "watts_source": "a meter", "source": "a page", "checked": NOW.date()}  # fmt: skip
OWN = {name: value for name, value in a_model(self_hosted=MACHINE, pool="gpu-1").items() if name != "prices"}


class Known:
    """Nothing has been seen yet."""

    pace = 1.0

    def of(self, _provider, tier):
        return waits(prior_of(tier))


def an_api(dialect="openai", endpoints=("chat",)):
    return SimpleNamespace(dialect=dialect, endpoints=frozenset(endpoints))


BOTH = {("acme", "batch"): an_api(), ("acme", "window"): an_api("responses")}


async def planned(*models, apis=BOTH, tiers=("realtime", "batch", "window"), left_ms=24 * HOUR, avoid="", seen=None):
    """The plan of a request, and its planner, snapshot and bids."""
    clock = FakeClock()
    world = a_snapshot(*models, seen=seen, rules=rules(*tiers))
    pipeline = Wired(world=world).pipeline
    planner = Planner(SimpleNamespace(clock=clock), None, {}, apis, Known())
    found = await pipeline.consider("chat", WHO, {"authorization": SECRET}, asked(), deadline_ms=left_ms)
    found = planner.wholly(found)
    plan = planner.plan(found, left_ms, avoid)
    return SimpleNamespace(
        plan=plan, planner=planner, world=world, bids=[o.tier for o, _ in planner.offers(found, left_ms)]
    )


async def test_every_tier_that_the_rule_lists_bids_and_the_least_expected_cost_wins():
    found = await planned(SOLD)
    assert found.plan.option.tier == "batch"
    assert found.bids == ["batch", "window-8h", "window-2h", "realtime"]
    assert (await planned(SOLD, tiers=("realtime", "window"))).plan.option.tier == "window-8h"
    assert (await planned(SOLD, tiers=("realtime",))).bids == ["realtime"]


async def test_a_window_that_would_come_late_is_passed_over_for_one_that_comes():
    found = await planned(SOLD, tiers=("realtime", "window"), left_ms=3 * HOUR)
    assert found.plan.option.tier == "window-2h"
    assert (await planned(SOLD, tiers=("realtime", "window"), left_ms=60_000)).plan.at_once


async def test_who_has_failed_once_later_is_answered_in_real_time():
    assert (await planned(SOLD, avoid="window-8h")).bids != ["realtime"], "an estimate forgets nothing"
    assert (await planned(SOLD, avoid="window-8h")).plan.at_once


@pytest.mark.parametrize(
    "apis",
    [
        {},
        {("acme", "batch"): an_api(endpoints=("embeddings",))},
        {("other", "batch"): an_api()},
    ],
)
async def test_what_is_not_spoken_does_not_bid(apis):
    assert (await planned(SOLD, apis=apis)).bids == ["realtime"]


async def test_a_machine_that_has_room_bids_at_what_one_more_token_costs_and_books_its_average():
    found = await planned(OWN, tiers=("realtime",))
    assert found.bids == ["idle", "realtime"]
    plan = found.plan
    assert (plan.idle, plan.at_once, plan.batched) == (True, False, False)
    assert plan.chosen.expected_pico < plan.instant_pico / 10
    assert plan.cost_pico == plan.instant_pico
    assert found.planner.has_room(found.world, "acme/large@acme")
    assert not found.planner.has_room(found.world, "acme/unknown@acme")


@pytest.mark.parametrize(("milli", "bids"), [(SLACK_MILLI - 1, ["idle", "realtime"]), (SLACK_MILLI, ["realtime"])])
async def test_a_busy_machine_does_not_bid(milli, bids):
    found = await planned(OWN, tiers=("realtime",), seen={("busy", "gpu-1", "", ""): told(milli)})
    assert found.bids == bids
    assert found.planner.has_room(found.world, "acme/large@acme") is ("idle" in bids)


@pytest.mark.parametrize(("p95_ms", "bids"), [(1_800, ["idle", "realtime"]), (1_900, ["realtime"])])
async def test_nor_does_one_whose_first_tokens_come_late(p95_ms, bids):
    where = ("acme/large", "acme", "realtime")
    micro = (500_000, 600_000, 700_000, p95_ms * 1000, 2_500_000)
    seen = {("ttft", *where): Summary(99, 600_000, micro), ("tpot", *where): Summary(99, 7_500, (7_500,) * 5)}
    found = await planned(OWN, tiers=("realtime",), seen=seen)
    assert found.bids == bids
    assert found.planner.has_room(found.world, "acme/large@acme") is ("idle" in bids)
