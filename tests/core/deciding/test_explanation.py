import datetime as dt
import json

import msgspec
from catalogs import NOW, a_model, a_policy, a_price, a_score, compiled
from hypothesis import given
from options import facts, option, random_facts, random_plans, tokens

from router.core.catalog.catalog import Catalog
from router.core.deciding.choices import Prefix
from router.core.deciding.decide import decide
from router.core.deciding.explanation import explanation
from router.core.deciding.snapshot import Wish, World, compile_snapshot
from router.core.names import Names
from router.core.policy.compile import compile_policy
from router.core.policy.schema import PolicySchema
from router.core.schema import validate
from router.core.statistics.stats import Summary

BIG = a_price(above_input_tokens=2_000, input="2.00", output="8.00", source="another page")
LARGE = a_model("acme/large", prices=[a_price(), BIG])
SMALL = a_model("acme/small", quality={"chat": a_score("0.400")}, prices=[a_price(input="0.50", output="2.00")])
RULE = {"name": "everyday", "require": {"quality": "0.50", "ttft": "p95 <= 2s", "max_cost_usd": "0.01"}}


def a_world(*models, **policy):
    file = compiled(*(models or (LARGE, SMALL)))
    catalog = Catalog([file.provider], file.models)
    document = a_policy(policy="default", **{"rules": [RULE], "reference": "acme/large", **policy})
    made = compile_policy(validate(PolicySchema, document), catalog, NOW).policy
    return World(catalog, {"default": made}, Names(catalog), frozenset({"acme"}))


def told(*models, asked=None, seen=None, catalog=None, **policy):
    world = a_world(*models, **policy)
    asked = asked or facts()
    route = compile_snapshot("w1-7", world, NOW, (seen or {}).get).route(asked, Wish())
    found = decide(route.plan, asked, route.baseline)
    return explanation(
        route.plan, asked, route.baseline, found, catalog or world.catalog, snapshot="w1-7", at=NOW
    )  # fmt: skip


def of(name, found):
    return next(candidate for candidate in found["candidates"] if candidate["model"] == name)


def test_it_says_what_was_asked_by_which_rule_and_what_was_chosen():
    found = told()
    assert (found["policy"].partition("@")[0], found["rule"], found["snapshot"]) == ("default", "everyday", "w1-7")
    assert (found["at"], found["task"], found["asked_model"]) == ("2026-11-23T12:00:00.000Z", "chat", "auto")
    assert found["limits"] == {
        "quality": "0.500",
        "confidence": 0.9,
        "ttft": {"percentile": 95, "ms": 2000},
        "max_cost_usd": "0.010000000",
    }
    assert found["chosen"]["model"] == "acme/large"
    # 1,003 tokens at $1, 250 of an answer at $4 a million
    assert found["chosen"]["estimated_cost_usd"] == "0.002003000"
    assert found["baseline"] == {
        "model": "acme/large", "estimated_cost_usd": "0.002003000", "saves_usd": "0.000000000", "saves_percent": 0.0,
    }  # fmt: skip
    json.dumps(found)


def test_every_figure_of_a_candidate_says_what_it_rests_on():
    large = of("acme/large", told())
    # .700 less 1.282 deviations of .020
    assert large["quality"] == {
        "lower_bound": "0.674", "estimate": "0.700", "sd": "0.020", "n": None, "source": "a page", "date": "2026-11-22",
    }  # fmt: skip
    assert (large["latency"], large["latency_source"]) == ("prior", "a page, 2026-11-22")
    assert (large["price"]["source"], large["price"]["checked"]) == ("a page", "2026-11-22")
    assert large["price"]["input_usd_per_million"] == "1.000000000"
    assert of("acme/large", told(asked=facts(3_000)))["price"]["source"] == "another page"


def test_observed_latency_says_how_often_it_was_observed():
    summary = Summary(n=812, mean=1, quantiles=(500_500,) * 5)
    seen = {(metric, "acme/large", "acme", "realtime"): summary for metric in ("ttft", "tpot")}
    large = of("acme/large", told(seen=seen))
    assert (large["latency"], large["ttft_p50_ms"], large["ttft_p95_ms"]) == ("live, n=812", 501, 500)
    assert large["latency_source"] == "live, n=812"


def test_an_estimate_has_an_interval():
    found = of("acme/large", told(asked=facts(1_000, 100)))
    low, high = found["estimated_cost_usd_likely"]
    # 903 tokens and half the answer; 1,103 and a p90 answer of 700
    assert (low, high) == ("0.001403000", "0.003903000")
    capped = of("acme/large", told(asked=facts(1_000, 100, max_output=50)))
    assert capped["estimated_cost_usd_likely"] == ["0.001003000", "0.001303000"]


def test_what_is_rejected_says_why_and_what_would_admit_it():
    small = of("acme/small", told())
    assert (small["feasible"], small["reasons"]) == (False, ["quality .374 below .500"])
    assert (small["change"], small["percent"]) == ("quality .500 → .374", -50.0)
    assert told()["could_be_cheaper"] == [
        {
            "if": "quality .500 → .374",
            "then": {"model": "acme/small", "provider": "acme", "tier": "realtime", "effort": None},
            "estimated_cost_usd": "0.001001500",
            "percent": -50.0,
        }
    ]
    assert {flip["if"] for flip in told()["would_flip"]} >= {
        "its ttft p95 passes 2000 ms (now 900 ms)",
        "its quality bound falls below .500 (now .674)",
    }


def test_a_catalog_that_has_moved_on_is_not_cited():
    moved = a_world(a_model("acme/large", quality={"chat": a_score("0.800")})).catalog
    found = told(catalog=moved)
    assert of("acme/large", found)["quality"] == {"lower_bound": "0.674", "source": "no longer in the catalog"}
    small = of("acme/small", found)
    assert small["latency_source"] == "prior"
    assert "source" not in small["price"]
    unscored = told(a_model(quality={}), rules=[{"name": "everyday"}], reference=None)
    assert unscored["candidates"][0]["quality"] is None
    assert unscored["limits"]["quality"] is None


def test_a_free_baseline_saves_nothing():
    free = a_model("acme/large", prices=[a_price(input="0", output="0")])
    assert told(free)["baseline"]["saves_percent"] == 0.0


def test_where_nothing_is_feasible_there_is_nothing_to_flip():
    found = told(asked=facts(10**6))
    assert (found["chosen"], found["baseline"], found["would_flip"], found["could_be_cheaper"]) == (None, None, [], [])
    assert found["prompt_tokens"] == 10**6
    assert all(candidate["reasons"] for candidate in found["candidates"])


@given(random_plans(), random_facts())
def test_it_can_be_told_of_any_decision(made, asked):
    made = msgspec.structs.replace(made, bounds={made.candidates[0].name: 700})
    baseline = option("acme/asked")
    found = explanation(
        made, asked, baseline, decide(made, asked, baseline), Catalog([], []), snapshot="w", at=dt.datetime.now(dt.UTC)
    )
    chosen = [candidate["name"] for candidate in found["candidates"] if candidate["chosen"]]
    assert len(chosen) == (found["chosen"] is not None)
    assert json.loads(json.dumps(found)) == found


def test_tokens_that_are_only_likely_say_so():
    found = told(asked=msgspec.structs.replace(facts(), tokens=tokens(1_000, 100)))
    assert (found["prompt_tokens_exact"], found["prompt_tokens_likely"]) == (False, [900, 1_100])


def test_what_is_warm_is_told_by_provider():
    cached = a_price(cached_input="0.10")
    cache = {"kept": "by itself", "min_tokens": 1024, "ttl": "5m", "source": "a page", "checked": NOW.date()}
    file = compiled(a_model("acme/large", prices=[cached]), prompt_cache=cache)
    document = a_policy(policy="default", candidates={"include": ["*"]})
    catalog = Catalog([file.provider], file.models)
    made = compile_policy(validate(PolicySchema, document), catalog, NOW).policy
    world = World(catalog, {"default": made}, Names(catalog), frozenset({"acme"}))
    asked = facts(2_310, prefix=Prefix(2_310, warm={"acme/large@acme": 779_221}))
    route = compile_snapshot("w1-7", world, NOW, {}.get).route(asked, Wish())
    found = explanation(route.plan, asked, None, decide(route.plan, asked, None), catalog, snapshot="w1-7", at=NOW)
    assert found["warm"] == [{"model": "acme/large", "provider": "acme", "tokens": 1_802}]
    assert found["chosen"]["warm_tokens"] == 1_802
    assert told()["warm"] == []
