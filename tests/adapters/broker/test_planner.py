"""Which way a request goes that may wait: bids made of what the policy admits, put to the choice."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from catalogs import NOW, a_model, a_price, compiled
from fakes import FakeClock
from tiers import a_snapshot, rules
from wired import SECRET, WHO, Wired, asked

from router.adapters.broker.planner import Planner, marginal_price
from router.core.catalog.self_hosted import SLACK_MILLI
from router.core.jobs.deadlines import prior_of, waits
from router.core.statistics.busy import told

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


def test_the_margin_is_energy_until_a_machine_fills():
    file = compiled(OWN)
    machine = file.models[0].self_hosted
    option = a_snapshot(OWN).option(file.models[0])
    idle = marginal_price(option, machine)
    assert idle.bands[0].rates.output == 13_223, "700 W at $0.17 a kWh over 2,500 tokens a second, in pico-dollars"
    assert idle.bands[0].rates.output < option.price.bands[0].rates.output
    assert idle.version.endswith("/idle")
