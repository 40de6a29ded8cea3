import datetime as dt

import msgspec
import pytest
from catalogs import NOW, a_model, a_price, compiled
from options import facts
from tiers import EFFORTS, LARGE, SMALL, SOLD, a_snapshot, an_open_policy, rules

from router.core.catalog.catalog import Catalog
from router.core.deciding.decide import decide
from router.core.deciding.explain import refusal
from router.core.deciding.snapshot import Wish
from router.core.deciding.variants import ENOUGH, PRIOR_WEIGHT, may_order, tariff, with_effort
from router.core.errors import RouterError
from router.core.statistics.stats import Summary
from router.core.values import Needs


def names(snapshot, **asked):
    plan = snapshot.route(facts(**asked), Wish()).plan
    return [option.name for option in plan.candidates]


def chosen(snapshot, **asked):
    request = facts(**asked)
    route = snapshot.route(request, Wish())
    return decide(route.plan, request, route.baseline).option


def refused(snapshot, **asked):
    with pytest.raises(RouterError) as caught:
        snapshot.route(facts(**asked), Wish())
    return caught.value


def test_only_what_the_rule_names_is_a_candidate():
    assert names(a_snapshot()) == ["acme/large@acme", "acme/small@acme"]
    assert set(names(a_snapshot(rules=rules("flex", "realtime")))) == {
        "acme/large@acme", "acme/large@acme/flex", "acme/small@acme",
    }  # fmt: skip  # one line of names
    assert names(a_snapshot(rules=rules("priority"))) == ["acme/large@acme/priority"]


def test_tiers_that_are_answered_later_are_no_candidates_of_a_request_that_waits():
    assert names(a_snapshot(rules=rules("batch", "window", "realtime"))) == ["acme/large@acme", "acme/small@acme"]


def test_the_cheapest_tier_wins_at_its_own_price_and_in_the_providers_word():
    made = a_snapshot(LARGE, rules=rules("realtime", "flex", "priority"))
    option = chosen(made)
    assert (option.name, option.tier_word, option.price.version[-5:]) == ("acme/large@acme/flex", "cheap", "/flex")
    assert option.price.bands[0].rates.input * 2 == option.prices["realtime"].bands[0].rates.input
    assert set(option.prices) == {"batch", "flex", "realtime", "priority"}


def test_a_tier_is_awaited_longer_until_it_was_observed():
    limits = {"rules": rules("realtime", "flex", ttft="p95 <= 2s")}
    assert chosen(a_snapshot(LARGE, **limits)).tier == "realtime"
    summary = Summary(n=ENOUGH, mean=1, quantiles=(1_000_000,) * 5)
    seen = {(metric, "acme/large", "acme", "flex"): summary for metric in ("ttft", "tpot")}
    assert chosen(a_snapshot(LARGE, seen=seen, **limits)).tier == "flex"


def test_what_a_provider_has_no_word_for_cannot_be_asked_for():
    assert names(a_snapshot(LARGE, rules=rules("realtime", "flex"), provider={"service_tiers": {}})) == [
        "acme/large@acme"
    ]


def test_a_region_has_its_factor():
    there = a_model(prices=[a_price(regions={"eu": "1.1"}, tiers=SOLD)])
    option = chosen(a_snapshot(there, provider={"region": "eu"}, rules=rules("flex")))
    assert (option.price.version[-8:], option.price.bands[0].rates.input) == ("/eu/flex", 550_000)


# -- what a caller orders


@pytest.mark.parametrize(
    ("order", "allowed", "may"),
    [
        ("flex", ("realtime",), True), ("realtime", ("realtime",), True), ("priority", ("realtime",), False),
        ("realtime", ("flex",), False), ("flex", ("batch",), False), ("priority", ("batch", "priority"), True),
    ],
)  # fmt: skip  # a line a tier
def test_a_caller_may_ask_for_no_more_service_than_the_best_that_is_allowed(order, allowed, may):
    assert may_order(order, allowed) is may


def test_an_ordered_tier_is_the_only_one_and_its_baseline_too():
    made = a_snapshot(rules=rules("realtime"), reference="acme/large")
    assert names(made, tier="flex") == ["acme/large@acme/flex"]
    assert chosen(made, tier="flex", asked_model="acme/large").tier == "flex"
    assert made.route(facts(tier="flex", asked_model="large"), Wish()).baseline.tier == "flex"
    assert made.route(facts(asked_model="large"), Wish()).baseline.tier == "realtime"


def test_more_service_than_allowed_is_refused_by_name():
    error = refused(a_snapshot(), tier="priority")
    assert (error.code, error.param) == ("model_not_allowed", "service_tier")
    assert error.message.startswith("service_tier: the policy default@")
    assert error.message.endswith("rule everyday, allows realtime, not priority.")


def test_a_model_that_is_not_sold_in_a_tier_says_so():
    error = refused(a_snapshot(), tier="flex", asked_model="acme/small")
    assert (error.code, error.param) == ("unknown_model", "service_tier")
    assert error.message == "'acme/small' cannot be served: it is not sold as flex here."
    made, asked = a_snapshot(SMALL), facts(tier="flex")
    assert refusal(made.route(asked, Wish()).plan, asked).message.endswith(
        "has no candidate that can be called here with service_tier flex."
    )


def test_a_reference_steps_in_only_in_the_tier_that_is_ordered():
    made = a_snapshot(
        reference="acme/small", when_nothing_fits=["use reference"], rules=rules("realtime", ttft="p95 <= 1ms")
    )
    assert [level.relaxed for level in made.route(facts(), Wish()).plan.levels] == ["use reference"]
    assert made.route(facts(tier="flex"), Wish()).plan.levels == ()


# -- effort


def test_efforts_of_the_policy_are_candidates_beside_the_models_own():
    assert set(names(a_snapshot(**an_open_policy()))) == {
        "acme/large@acme", "acme/large@acme+low", "acme/large@acme+none", "acme/small@acme",
    }  # fmt: skip  # one line of names
    both = names(a_snapshot(LARGE, rules=rules("flex"), **an_open_policy()))
    assert both == ["acme/large@acme/flex", "acme/large@acme/flex+low", "acme/large@acme/flex+none"]


def test_an_effort_that_the_caller_sets_is_left_alone():
    able = a_model("acme/large", efforts=EFFORTS, capabilities=["chat", "reasoning_effort"])
    asked = {"needs": int(Needs.CHAT | Needs.REASONING_EFFORT)}
    assert names(a_snapshot(able, **an_open_policy()), **asked) == ["acme/large@acme"]


def test_less_effort_is_shorter_and_worth_less():
    made = a_snapshot(LARGE, **an_open_policy())
    assert (chosen(made).effort, chosen(made).output_mean, chosen(made).headroom) == ("none", 25, 0)
    # .700 x .90 = .630, less 1.282 x (.020 + .010)
    for floor, effort in (("0.591", "low"), ("0.592", "")):
        made = a_snapshot(LARGE, **an_open_policy(rules=rules("realtime", quality=floor)))
        assert chosen(made).effort == effort
    assert made.route(facts(), Wish()).plan.faults["acme/large@acme+low"]["quality"].found == 591


def test_a_score_without_data_on_the_effort_is_the_models_own():
    (model,) = compiled(LARGE).models
    score = model.quality["chat"]
    assert with_effort(score, model.efforts.get("high")) is score
    assert with_effort(None, model.efforts["low"]) is None
    assert with_effort(score, model.efforts["low"]).source == "a page; with another effort: a page"


def test_an_efforts_lengths_are_learned():
    length = Summary(n=PRIOR_WEIGHT, mean=75, quantiles=(0, 0, 650, 0, 0))
    made = a_snapshot(LARGE, seen={("output", "acme/large", "acme", "realtime+low"): length}, **an_open_policy())
    (low,) = (o for o in made.route(facts(), Wish()).plan.candidates if o.effort == "low")
    assert (low.output_mean, low.output_p90) == (100, 500)


def test_a_named_model_takes_other_ways_only_within_the_rules_limits():
    made = a_snapshot(rules=rules("realtime", "flex", ttft="p95 <= 1ms"), **an_open_policy())
    assert names(made, asked_model="acme/large") == ["acme/large@acme"]
    made = a_snapshot(rules=rules("realtime", "flex"), **an_open_policy())
    assert chosen(made, asked_model="acme/large").name == "acme/large@acme/flex+none"
    made = a_snapshot(rules=rules("priority", ttft="p95 <= 1ms"))
    assert names(made, asked_model="acme/large") == ["acme/large@acme/priority"]


# -- prices from tick to tick


def test_prices_are_worked_out_once_a_minute():
    first = a_snapshot()
    again = a_snapshot(last=first, now=NOW + dt.timedelta(seconds=59))
    assert again.option(again.world.catalog.models[0]).prices is first.option(first.world.catalog.models[0]).prices
    later = a_snapshot(last=first, now=NOW + dt.timedelta(seconds=60))
    assert later.option(later.world.catalog.models[0]).prices is not first.option(first.world.catalog.models[0]).prices


def test_a_tariff_leaves_out_what_cannot_be_called():
    gone = a_model("acme/gone", retired=dt.date(2026, 11, 23))
    dear = a_model("acme/dear", prices=[a_price(valid_from=dt.date(2027, 1, 1))])
    file = compiled(LARGE, gone, dear)
    assert list(tariff(Catalog([file.provider], file.models), NOW)) == ["acme/large@acme"]
    silent = msgspec.structs.replace(file.provider, dialect="other")
    assert tariff(Catalog([silent], file.models), NOW) == {}
