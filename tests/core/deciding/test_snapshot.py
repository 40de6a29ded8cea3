import datetime as dt

import msgspec
import pytest
from catalogs import NOW, a_model, a_policy, a_price, a_provider, a_score, compiled
from hypothesis import given, settings
from hypothesis import strategies as st
from options import facts

from router.core.catalog.catalog import Catalog
from router.core.catalog.compile import compile_catalog
from router.core.catalog.schema import CatalogSchema
from router.core.deciding.decide import decide
from router.core.deciding.explain import refusal
from router.core.deciding.snapshot import Wish, World, compile_snapshot
from router.core.deciding.variants import ENOUGH, PRIOR_WEIGHT
from router.core.errors import RouterError
from router.core.names import Names
from router.core.policy.binding import Binds
from router.core.policy.compile import compile_policy
from router.core.policy.schema import PolicySchema
from router.core.schema import validate
from router.core.statistics.stats import Summary
from router.core.values import Identity, Needs

EMBEDDINGS = {"endpoint": "embeddings", "needs": int(Needs.EMBEDDINGS), "max_output": 0}


def a_latency(p50=400, p95=900, tpot="7.5"):
    about = {"source": "a page", "date": dt.date(2026, 11, 22)}
    return {"ttft_p50_ms": p50, "ttft_p95_ms": p95, "tpot_ms": tpot, **about}


LARGE = a_model(
    "acme/large", quality={"chat": a_score("0.900", "0.010")}, prices=[a_price(input="3.00", output="15.00")]
)
SMALL = a_model(
    "acme/small", quality={"chat": a_score("0.700", "0.010")}, prices=[a_price(input="0.10", output="0.40")]
)
SLOW = a_model("acme/slow", latency=a_latency(900, 2_000), prices=[a_price(input="0.05", output="0.20")])
EMBED, EMBED_TOO = (
    a_model(f"acme/{name}", capabilities=["embeddings"], tags=["chat"], quality={}, max_output=0,
            output={"mean": 0, "p90": 0}, prices=[a_price(input=cost, output="0")])
    for name, cost in (("embed", "0.02"), ("embed-too", "0.01"))
)  # fmt: skip


def a_world(*models, offered=("acme",), elsewhere=(), spoken="openai", **policies):
    """The catalog of acme, of beta where models are ``elsewhere``, and policies by name (``default`` if none)."""
    files = [compiled(*(models or (LARGE, SMALL)))]
    if elsewhere:
        other = a_provider(*elsewhere, provider="beta", name="Beta", key_env="BETA_API_KEY", dialect=spoken)
        files.append(compile_catalog(validate(CatalogSchema, other)))
    catalog = Catalog([file.provider for file in files], [model for file in files for model in file.models])
    made = {}
    for name, changes in (policies or {"default": {}}).items():
        document = a_policy(policy=name, **{"candidates": {"include": ["tag:chat"]}, **changes})
        made[name] = compile_policy(validate(PolicySchema, document), catalog, NOW).policy
    return World(catalog=catalog, policies=made, names=Names(catalog), offered=frozenset(offered))


def a_snapshot(*models, now=NOW, seen=None, **world):
    return compile_snapshot("w1-7", a_world(*models, **world), now, (seen or {}).get)


def entries(options):
    return [option.entry for option in options]


def levels(plan):
    return {level.relaxed: entries(level.options) for level in plan.levels}


def refused(snapshot, asked, wish=None):
    with pytest.raises(RouterError) as caught:
        snapshot.route(asked, wish or Wish())
    return caught.value


def requiring(**limits):
    return {"rules": [{"name": "everyday", "require": limits}]}


# -- which policy, which rule


def test_auto_leaves_the_choice_to_the_default_policy():
    route = a_snapshot().route(facts(), Wish())
    assert route.plan.policy.startswith("default@")
    assert route.plan.rule == "everyday"
    assert (route.baseline, route.instead) == (None, None)
    assert decide(route.plan, facts(), None).option.model == "acme/small"


def test_a_policys_name_in_place_of_a_model_chooses_by_it():
    snapshot = a_snapshot(default={}, best={"candidates": {"include": ["acme/large"]}, "reference": "acme/large"})
    route = snapshot.route(facts(asked_model="best"), Wish())
    assert route.plan.policy.startswith("best@")
    assert entries(route.plan.candidates) == ["acme/large@acme"]
    assert route.baseline.model == "acme/large"


def test_an_ordered_policy_wins_over_one_that_is_named_as_the_model():
    snapshot = a_snapshot(default={}, best={}, other={})
    assert snapshot.route(facts(asked_model="best"), Wish(policy="other")).plan.policy.startswith("other@")
    assert snapshot.route(facts(), Wish(policy="best")).plan.policy.startswith("best@")


def test_an_unknown_policy_is_refused_with_its_near_miss():
    error = refused(a_snapshot(default={}, support={}), facts(), Wish(policy="suport"))
    assert (error.code, error.status) == ("unknown_policy", 404)
    assert "'suport'; did you mean support?" in error.message
    assert refused(a_snapshot(), facts(), Wish(policy="zzz")).message == "There is no policy 'zzz'."


def test_the_first_rule_that_matches_governs():
    rules = [{"name": "faq", "when": {"tags": "app=faq"}}, {"name": "code", "when": {"task": "code"}}, {"name": "rest"}]
    snapshot = a_snapshot(default={"rules": rules})
    assert snapshot.route(facts(), Wish(tags=("app=faq",))).plan.rule == "faq"
    assert snapshot.route(facts(task="code"), Wish()).plan.rule == "code"
    assert snapshot.route(facts(), Wish()).plan.rule == "rest"


def test_a_request_that_no_rule_is_for_is_refused():
    snapshot = a_snapshot(default={"rules": [{"name": "code", "when": {"task": "code"}}]})
    error = refused(snapshot, facts())
    assert error.code == "no_feasible_model"
    assert error.message.startswith("No rule of the policy default@")


def test_an_unknown_task_is_refused_with_those_that_are_known():
    error = refused(a_snapshot(), facts(task="cooking"))
    assert error.code == "invalid_request"
    assert "'cooking' is none of chat, extraction" in error.message


# -- which model


def test_a_bare_name_is_substituted_when_live():
    route = a_snapshot().route(facts(asked_model="large"), Wish())
    assert entries(route.plan.candidates) == ["acme/large@acme", "acme/small@acme"]
    assert route.baseline.model == "acme/large"
    assert route.instead is None


DEAR = a_model("acme/dear", quality={"chat": a_score("0.950", "0.010")}, prices=[a_price(input="30", output="90")])


def test_a_bare_name_serves_itself_where_what_the_policy_admits_is_dearer():
    snapshot = a_snapshot(SMALL, DEAR, default=requiring(quality=">= 0.9"))
    route = snapshot.route(facts(asked_model="small"), Wish())
    found = decide(route.plan, facts(), route.baseline)
    assert (found.option.model, found.relaxed) == ("acme/small", "the model asked for")
    assert decide(snapshot.route(facts(), Wish()).plan, facts(), None).option.model == "acme/dear"


def test_an_ordered_quality_counts_more_than_the_bare_name_beside_it():
    snapshot = a_snapshot(SMALL, DEAR)
    route = snapshot.route(facts(asked_model="small"), Wish(quality_milli=900))
    assert decide(route.plan, facts(), route.baseline).option.model == "acme/dear"


def test_a_bare_name_outside_the_policy_caps_nothing():
    snapshot = a_snapshot(SMALL, DEAR, default={"candidates": {"include": ["acme/dear"]}})
    route = snapshot.route(facts(asked_model="small"), Wish())
    assert decide(route.plan, facts(), route.baseline).option.model == "acme/dear"


def test_plans_are_compiled_once_whatever_is_ordered():
    snapshot = a_snapshot()
    for asked, wish in (
        ("auto", Wish()),
        ("auto", Wish(quality_milli=700)),
        ("large", Wish()),
        ("large", Wish(quality_milli=700)),
        ("acme/large", Wish()),
    ):
        first, again = (snapshot.route(facts(asked_model=asked), wish).plan for _ in range(2))
        assert first is again
    assert snapshot.route(facts(), Wish(quality_milli=1000)).plan is not snapshot.route(facts(), Wish()).plan


def test_a_dated_bare_name_is_substituted_too():
    assert a_snapshot().route(facts(asked_model="large-2026-11-01"), Wish()).baseline.model == "acme/large"


def test_the_reference_is_the_baseline_where_the_policy_says_so():
    snapshot = a_snapshot(default={"baseline": "reference", "reference": "acme/small"})
    assert snapshot.route(facts(asked_model="large"), Wish()).baseline.model == "acme/small"


def test_a_bare_name_is_called_as_it_stands_when_observing():
    route = a_snapshot(default={"mode": "observe"}).route(facts(asked_model="large"), Wish())
    assert entries(route.plan.candidates) == ["acme/large@acme"]
    assert decide(route.instead, facts(), None).option.model == "acme/small"
    assert route.baseline.model == "acme/large"


def test_the_policy_chooses_for_auto_even_when_observing():
    route = a_snapshot(default={"mode": "observe"}).route(facts(), Wish())
    assert (len(route.plan.candidates), route.instead) == (2, None)


@pytest.mark.parametrize("mode", ["live", "observe"])
@pytest.mark.parametrize("name", ["acme/large", "acme/large@acme"])
def test_a_canonical_name_is_never_substituted(mode, name):
    route = a_snapshot(default={"mode": mode}).route(facts(asked_model=name), Wish())
    assert levels(route.plan) == {"": ["acme/large@acme"]}
    assert (route.plan.faults, route.instead) == ({}, None)


def test_limits_of_the_policy_do_not_keep_an_explicit_model_away():
    snapshot = a_snapshot(default=requiring(quality=">= 0.88", max_cost_usd="0.01"))
    plan = snapshot.route(facts(asked_model="acme/small"), Wish()).plan
    assert decide(plan, facts(), None).option.model == "acme/small"
    assert plan.max_cost_pico == 10**10


def test_a_canonical_name_goes_to_any_provider_of_it_the_quicker_first():
    quick = a_model("acme/large", latency=a_latency(100, 200))
    snapshot = a_snapshot(elsewhere=[quick], offered=("acme", "beta"))
    plan = snapshot.route(facts(asked_model="acme/large"), Wish()).plan
    assert entries(plan.candidates) == ["acme/large@beta", "acme/large@acme"]
    assert entries(plan.levels[0].options) == entries(plan.candidates)
    pinned = snapshot.route(facts(asked_model="acme/large@beta"), Wish()).plan
    assert entries(pinned.candidates) == ["acme/large@beta"]


@pytest.mark.parametrize("mode", ["live", "observe"])
def test_an_embedding_model_is_never_substituted(mode):
    snapshot = a_snapshot(EMBED, EMBED_TOO, default={"mode": mode})
    route = snapshot.route(facts(asked_model="embed", **EMBEDDINGS), Wish())
    assert levels(route.plan) == {"": ["acme/embed@acme"]}
    assert route.instead is None


def test_auto_chooses_among_embedding_models():
    route = a_snapshot(EMBED, EMBED_TOO, SMALL).route(facts(**EMBEDDINGS), Wish())
    assert decide(route.plan, facts(**EMBEDDINGS), None).option.model == "acme/embed-too"


@pytest.mark.parametrize(
    ("asked", "hint"),
    [
        ("acme/lagre", "; did you mean acme/large or"),
        ("aut", "; did you mean auto or"),
        ("defualt", "; did you mean default?"),
        ("qqqq", "'qqqq' is not known here."),
    ],
)
def test_an_unknown_model_is_refused_with_its_near_miss(asked, hint):
    error = refused(a_snapshot(), facts(asked_model=asked))
    assert (error.code, error.status, error.param) == ("unknown_model", 404, "model")
    assert hint in error.message


def test_a_very_long_name_is_not_repeated_whole():
    assert len(refused(a_snapshot(), facts(asked_model="x" * 1_000_000)).message) < 300


def test_a_model_outside_the_policy_is_not_allowed():
    snapshot = a_snapshot(default={"candidates": {"include": ["acme/small"]}})
    error = refused(snapshot, facts(asked_model="acme/large"))
    assert (error.code, error.status, error.param) == ("model_not_allowed", 403, "model")
    assert "does not allow 'acme/large'" in error.message
    assert snapshot.route(facts(asked_model="large"), Wish()).plan.candidates


def test_a_retired_model_says_since_when():
    gone = a_model("acme/gone", retired=dt.date(2026, 11, 1))
    error = refused(a_snapshot(gone, SMALL), facts(asked_model="acme/gone"))
    assert (error.code, error.param) == ("unknown_model", "model")
    assert "acme/gone@acme was retired on 2026-11-01" in error.message


def test_a_model_without_a_price_says_so_even_if_it_will_retire_one_day():
    ended = a_price(valid_to=dt.date(2026, 6, 1))
    free = a_model("acme/unpriced", prices=[ended], retired=dt.date(2027, 1, 1))
    error = refused(a_snapshot(free, SMALL), facts(asked_model="acme/unpriced"))
    assert "acme/unpriced@acme has no known price" in error.message


def test_a_provider_without_a_key_says_which_variable_to_set():
    snapshot = a_snapshot(elsewhere=[a_model("beta/tiny")])
    error = refused(snapshot, facts(asked_model="beta/tiny"))
    assert "Beta has no key here (set BETA_API_KEY)" in error.message
    assert snapshot.route(facts(asked_model="tiny"), Wish()).baseline.model == "beta/tiny"


def test_a_provider_whose_dialect_is_not_spoken_is_refused_and_counts_for_nothing():
    cheap = a_model("beta/tiny", prices=[a_price(input="0.01", output="0.01")])
    copy = a_model("acme/small", prices=[a_price(input="0.01", output="0.01")])
    snapshot = a_snapshot(elsewhere=[cheap, copy], spoken="other", offered=("acme", "beta"))
    error = refused(snapshot, facts(asked_model="beta/tiny"))
    assert (error.code, error.status) == ("unknown_model", 404)
    assert "beta/tiny@beta is priced only: 'other' is a dialect not spoken here yet" in error.message
    assert snapshot.route(facts(asked_model="small"), Wish()).baseline.entry == "acme/small@acme"
    assert entries(snapshot.route(facts(), Wish()).plan.candidates) == ["acme/large@acme", "acme/small@acme"]


def test_what_is_retired_or_not_offered_is_no_candidate():
    gone = a_model("acme/gone", retired=dt.date(2026, 11, 1))
    snapshot = a_snapshot(gone, SMALL, elsewhere=[a_model("beta/tiny")])
    assert entries(snapshot.route(facts(), Wish()).plan.candidates) == ["acme/small@acme"]
    assert entries(snapshot.offered) == ["acme/small@acme"]
    tiny, gone = snapshot.world.catalog.by_id("beta/tiny")[0], snapshot.world.catalog.by_id("acme/gone")[0]
    assert snapshot.option(tiny).entry == "beta/tiny@beta"
    assert snapshot.option(gone) is None


def test_a_retired_name_that_is_substituted_measures_savings_by_the_reference():
    gone = a_model("acme/gone", retired=dt.date(2026, 11, 1))
    snapshot = a_snapshot(gone, LARGE, SMALL, default={"reference": "acme/large"})
    assert snapshot.route(facts(asked_model="gone"), Wish()).baseline.model == "acme/large"


# -- what a policy requires


def test_a_floor_admits_those_whose_lower_bound_reaches_it():
    snapshot = a_snapshot(default=requiring(quality=">= 0.8", confidence="90%"))
    plan = snapshot.route(facts(), Wish()).plan
    assert levels(plan) == {"": ["acme/large@acme"]}
    fault = plan.faults["acme/small@acme"]["quality"]
    assert (fault.found, fault.wanted) == (687, 800)


def test_a_caller_can_raise_the_floor_and_not_lower_it():
    snapshot = a_snapshot(default=requiring(quality=">= 0.8", confidence="50%"))
    assert levels(snapshot.route(facts(), Wish(quality_milli=100)).plan) == {"": ["acme/large@acme"]}
    assert levels(snapshot.route(facts(), Wish(quality_milli=950)).plan) == {}
    assert levels(a_snapshot().route(facts(), Wish(quality_milli=800)).plan) == {"": ["acme/large@acme"]}


def test_a_relative_floor_goes_by_the_references_score():
    changes = {**requiring(quality=">= 95% of reference", confidence="50%"), "reference": "acme/large"}
    plan = a_snapshot(default=changes).route(facts(), Wish()).plan
    assert plan.faults["acme/small@acme"]["quality"].wanted == 855


def test_a_relative_floor_goes_by_the_best_of_the_references_entries():
    """A provider whose copy nobody scored must not make the floor vanish."""
    changes = {**requiring(quality=">= 95% of reference", confidence="50%"), "reference": "acme/large"}
    unscored = {**LARGE, "quality": {}}
    snapshot = a_snapshot(unscored, SMALL, elsewhere=[LARGE], default=changes)
    assert snapshot.route(facts(), Wish()).plan.faults["acme/small@acme"]["quality"].wanted == 855


@pytest.mark.parametrize(("without", "candidates"), [("exclude", []), ("allow", ["acme/blank@acme"])])
def test_quality_that_nobody_measured(without, candidates):
    blank = a_model("acme/blank", quality={})
    changes = {**requiring(quality=">= 0.5"), "without_data": {"quality": without}}
    plan = a_snapshot(blank, default=changes).route(facts(), Wish()).plan
    assert levels(plan).get("", []) == candidates
    assert all(fault.found is None for faults in plan.faults.values() for fault in faults.values())


def test_quality_that_nobody_measured_may_bring_in_the_reference():
    blank = a_model("acme/blank", quality={})
    changes = {
        **requiring(quality=">= 0.8"),
        "without_data": {"quality": "use reference"},
        "reference": "acme/small",
        "when_nothing_fits": ["relax quality"],
    }
    everyone = {"acme/blank@acme", "acme/small@acme"}
    plan = a_snapshot(blank, SMALL, default=changes).route(facts(), Wish()).plan
    assert list(levels(plan)) == ["no quality data: reference", "relax quality"]
    assert levels(plan)["no quality data: reference"] == ["acme/small@acme"]
    assert set(levels(plan)["relax quality"]) == everyone
    measured = a_snapshot(LARGE, SMALL, default=changes).route(facts(), Wish()).plan
    assert list(levels(measured)) == ["", "relax quality"]
    no_floor = a_snapshot(blank, SMALL, default={**changes, **requiring()}).route(facts(), Wish()).plan
    assert set(levels(no_floor)[""]) == everyone
    assert "no quality data: reference" not in levels(no_floor)


def test_without_a_floor_quality_does_not_matter():
    assert levels(a_snapshot(a_model("acme/blank", quality={})).route(facts(), Wish()).plan) == {
        "": ["acme/blank@acme"]
    }


@pytest.mark.parametrize(
    ("limit", "faults"),
    [
        ({"ttft": "p95 <= 900ms"}, {}),
        ({"ttft": "p95 <= 899ms"}, {"ttft": (900, 899)}),
        ({"ttft": "p50 <= 400ms"}, {}),
        ({"tpot": "p99 <= 8ms"}, {}),
        ({"tpot": "p50 <= 7ms"}, {"tpot": (8, 7)}),
        ({"total": "p50 <= 2275ms"}, {}),
        ({"total": "p50 <= 2274ms"}, {"total": (2275, 2274)}),
    ],
)
def test_latency_by_the_catalogs_prior(limit, faults):
    plan = a_snapshot(a_model(), default=requiring(**limit)).route(facts(), Wish()).plan
    found = {fault.limit: (fault.found, fault.wanted) for fault in plan.faults.get("acme/large@acme", {}).values()}
    assert found == faults


@pytest.mark.parametrize(("without", "found"), [("allow", "feasible"), ("exclude", None), ("use prior", 900)])
def test_latency_that_nobody_observed(without, found):
    changes = {**requiring(ttft="p95 <= 500ms"), "without_data": {"latency": without}}
    plan = a_snapshot(a_model(), default=changes).route(facts(), Wish()).plan
    faults = plan.faults.get("acme/large@acme", {})
    assert (faults["ttft"].found if faults else "feasible") == found


# -- what may give way


def relaxing(*steps, **more):
    limits = requiring(quality=">= 0.8", confidence="50%", ttft="p95 <= 1000ms")
    return {**limits, "when_nothing_fits": list(steps), **more}


def test_limits_are_given_up_one_after_the_other():
    snapshot = a_snapshot(LARGE, SMALL, SLOW, default=relaxing("relax quality", "relax ttft"))
    assert levels(snapshot.route(facts(), Wish()).plan) == {
        "": ["acme/large@acme"],
        "relax quality": ["acme/large@acme", "acme/small@acme"],
        "relax ttft": ["acme/large@acme", "acme/small@acme", "acme/slow@acme"],
    }


def test_the_reference_steps_in_at_last():
    snapshot = a_snapshot(SMALL, LARGE, default=relaxing("use reference", reference="acme/small"))
    assert levels(snapshot.route(facts(), Wish()).plan) == {
        "": ["acme/large@acme"],
        "use reference": ["acme/small@acme"],
    }


def test_a_reference_that_cannot_be_called_does_not_step_in():
    snapshot = a_snapshot(LARGE, elsewhere=[SMALL], default=relaxing("use reference", reference="acme/small"))
    plan = snapshot.route(facts(), Wish()).plan
    assert levels(plan) == {"": ["acme/large@acme"]}
    assert plan.reference.entry == "acme/small@beta"


def test_nothing_is_relaxed_after_refuse():
    snapshot = a_snapshot(LARGE, SMALL, default=relaxing("refuse"))
    assert list(levels(snapshot.route(facts(), Wish()).plan)) == [""]


def test_a_plan_is_compiled_once():
    snapshot = a_snapshot()
    assert snapshot.route(facts(), Wish()).plan is snapshot.route(facts(7), Wish()).plan


@settings(max_examples=40)
@given(st.integers(0, 900), st.integers(0, 900), st.integers(300, 2500), st.integers(300, 2500))
def test_stricter_limits_never_cost_less(one_floor, other_floor, one_ms, other_ms):
    """Raising the floor or lowering the limit on latency leaves the choice as it is, or makes it dearer, or none."""

    def cost(floor, ms):
        changes = requiring(quality=f">= {floor / 1000}", confidence="50%", ttft=f"p95 <= {ms}ms")
        found = decide(a_snapshot(LARGE, SMALL, SLOW, default=changes).route(facts(), Wish()).plan, facts(), None)
        return float("inf") if found is None else found.expected_pico

    strict = cost(max(one_floor, other_floor), min(one_ms, other_ms))
    assert strict >= cost(min(one_floor, other_floor), max(one_ms, other_ms))


@settings(max_examples=20)
@given(st.permutations([LARGE, SMALL, SLOW, EMBED]))
def test_the_order_of_the_files_does_not_matter(models):
    wish = Wish(quality_milli=650)
    plan = a_snapshot(*models, default=relaxing("relax quality")).route(facts(), wish).plan
    usual = a_snapshot(LARGE, SMALL, SLOW, EMBED, default=relaxing("relax quality")).route(facts(), wish).plan
    assert plan == usual


# -- figures


def seen(n, ttft=100_000, tpot=5_000, output=None):
    where = ("acme/large", "acme", "realtime")
    values = {"ttft": ttft, "tpot": tpot, "output": output}
    return {
        (metric, *where): Summary(n=n, mean=value, quantiles=(value,) * 5)
        for metric, value in values.items()
        if value is not None
    }


def large(**given):
    return a_snapshot(seen=given.pop("seen", None), **given).route(facts(), Wish()).plan.candidates[0]


def test_priors_stand_in_until_enough_was_observed():
    early, late = large(seen=seen(ENOUGH - 1)), large(seen=seen(ENOUGH))
    assert (early.live, early.ttft.at(50), early.tpot.at(95)) == (False, 400_000, 7_500)
    assert (late.live, late.ttft.at(95), late.tpot.at(50)) == (True, 100_000, 5_000)


def test_observed_latency_is_what_limits_are_held_against():
    for without in ("allow", "exclude", "use prior"):
        changes = {**requiring(ttft="p95 <= 500ms"), "without_data": {"latency": without}}
        slow = a_snapshot(default=changes, seen=seen(ENOUGH, ttft=500_001)).route(facts(), Wish()).plan
        assert slow.faults["acme/large@acme"]["ttft"].found == 501
        quick = a_snapshot(default=changes, seen=seen(ENOUGH, ttft=500_000)).route(facts(), Wish()).plan
        assert "acme/large@acme" not in quick.faults


def test_one_series_alone_is_not_enough():
    only_ttft = {series: summary for series, summary in seen(99).items() if series[0] == "ttft"}
    assert not large(seen=only_ttft).live


def test_the_prior_of_ttft_is_log_normal_through_its_quantiles():
    ttft = large().ttft
    assert (ttft.at(50), ttft.at(95)) == (400_000, 900_000)
    assert 400_000 < ttft.at(75) < ttft.at(90) < 900_000 < ttft.at(99)


def test_answer_lengths_blend_into_the_prior():
    assert (large().output_mean, large().output_p90) == (250, 700)
    assert large(seen=seen(PRIOR_WEIGHT, output=350)).output_mean == 300
    assert large(seen=seen(100 * PRIOR_WEIGHT, output=0)).output_mean == 2


def test_prices_are_those_of_the_instant():
    rising = a_model("acme/large", prices=[a_price(), a_price(valid_from=dt.date(2027, 1, 1), input="2.00")])

    def paid(now):
        return a_snapshot(rising, now=now).route(facts(), Wish()).plan.candidates[0].price.bands[0].rates.input

    assert (paid(NOW), paid(dt.datetime(2027, 1, 1, tzinfo=dt.UTC))) == (1_000_000, 2_000_000)


def test_a_snapshot_has_its_name():
    assert a_snapshot().id == "w1-7"


def test_a_pinned_plan_is_compiled_once():
    snapshot = a_snapshot(LARGE)
    first, again = (snapshot.route(facts(asked_model="acme/large"), Wish()).plan for _ in range(2))
    assert first is again


THINKER = a_model(
    "acme/thinker", tags=["chat", "reasoning"], quality={"chat": a_score("0.900", "0.010")},
    output={"mean": 600, "p90": 900}, prices=[a_price(input="0.01", output="0.01")],
)  # fmt: skip


def test_a_model_that_thinks_gets_no_request_whose_limit_it_would_use_up():
    snapshot = a_snapshot(THINKER, LARGE)

    def chosen(limit, asked="auto"):
        route = snapshot.route(facts(asked_model=asked, max_output=limit), Wish())
        return decide(route.plan, facts(asked_model=asked, max_output=limit), route.baseline).option.model

    assert chosen(None) == chosen(600) == "acme/thinker"
    assert chosen(599) == "acme/large"
    assert chosen(10, asked="acme/thinker") == chosen(10, asked="thinker") == "acme/thinker"


def test_a_refusal_says_which_limit_a_thinking_model_needs():
    plan = a_snapshot(THINKER).route(facts(max_output=10), Wish()).plan
    assert refusal(plan, facts(max_output=10)).message.startswith("max_tokens 10 → 600 would admit acme/thinker")


def test_a_floor_that_the_caller_ordered_is_not_given_up():
    policy = relaxing("relax quality", "use reference", "refuse", reference="acme/large")
    snapshot = a_snapshot(SMALL, LARGE, default=policy)
    assert snapshot.route(facts(), Wish(quality_milli=950)).plan.levels == ()
    assert levels(snapshot.route(facts(), Wish(quality_milli=850)).plan)["use reference"] == ["acme/large@acme"]


def test_a_name_that_cannot_serve_the_endpoint_is_refused():
    error = refused(a_snapshot(LARGE, EMBED), facts(asked_model="embed"))
    assert (error.code, error.param) == ("invalid_request", "model")
    assert "does not serve chat" in error.message


def test_savings_on_embeddings_are_not_measured_by_a_chat_model():
    policy = relaxing("refuse", reference="acme/large")
    assert a_snapshot(LARGE, EMBED, default=policy).route(facts(**EMBEDDINGS), Wish()).baseline is None


# -- modes, probes, regions


def test_a_canary_goes_live_for_its_share_of_sessions_and_watches_the_others():
    snapshot = a_snapshot(default={"mode": "canary 30%"})
    routes = [snapshot.route(facts(asked_model="large"), Wish(draw=f"s{n}")) for n in range(500)]
    live = [route for route in routes if route.instead is None]
    assert 100 < len(live) < 200
    watched = next(route for route in routes if route.instead is not None)
    assert decide(watched.plan, facts(), watched.baseline).option.model == "acme/large"
    assert decide(live[0].plan, facts(), live[0].baseline).option.model == "acme/small"
    assert decide(watched.instead, facts(), watched.baseline).option.model == "acme/small"


def test_a_canary_treats_a_session_alike():
    snapshot = a_snapshot(default={"mode": "canary 50%"})
    found = {snapshot.route(facts(asked_model="large"), Wish(draw="s7")).plan is not None for _ in range(3)}
    assert found == {True}
    first, again = (
        a_snapshot(default={"mode": "canary 50%"}).route(facts(asked_model="large"), Wish(draw="s7")) for _ in "12"
    )
    assert (first.instead is None) is (again.instead is None)


def test_a_share_of_requests_probes_candidates_without_latency_data():
    policy = {"without_data": {"latency": "probe 20%"}, **requiring(ttft="p95 <= 1s"), "when_nothing_fits": ["refuse"]}
    snapshot = a_snapshot(SMALL, default=policy)
    found = [bool(snapshot.route(facts(), Wish(draw=f"r{n}")).plan.levels) for n in range(500)]
    assert 60 < sum(found) < 140
    asked = snapshot.route(facts(asked_model="small"), Wish(draw="r1")).plan
    assert asked.asked is not None


def test_a_share_of_requests_probes_candidates_without_a_score():
    blank = a_model("acme/blank", quality={})
    policy = {"without_data": {"quality": "probe 20%"}, **requiring(quality="0.60")}
    snapshot = a_snapshot(blank, default=policy)
    found = [bool(snapshot.route(facts(), Wish(draw=f"r{n}")).plan.levels) for n in range(500)]
    assert 60 < sum(found) < 140


def test_whom_a_policy_is_bound_to_goes_by_it():
    world = a_world(default={}, support={"bind": {"team": "support"}, "candidates": {"include": ["acme/large"]}})
    world = msgspec.structs.replace(world, binds=Binds(world.policies.values()))
    snapshot = compile_snapshot("w1-7", world, NOW, {}.get)
    wish = Wish(who=Identity(tenant="acme", key="k", team="support"))
    assert snapshot.route(facts(), wish).plan.policy.startswith("support@")
    assert snapshot.route(facts(), Wish(who=Identity(tenant="acme", key="k"))).plan.policy.startswith("default@")


def test_a_region_has_its_price():
    model = a_model(prices=[a_price(input="1.00", regions={"eu": "1.1"})])
    catalog = Catalog([(file := compiled(model, region="eu")).provider], file.models)
    policy = compile_policy(validate(PolicySchema, a_policy(policy="default")), catalog, NOW).policy
    world = World(catalog=catalog, policies={"default": policy}, names=Names(catalog), offered=frozenset({"acme"}))
    (option,) = compile_snapshot("w1-7", world, NOW, {}.get).offered
    assert option.price.bands[0].rates.input == 1_100_000
    assert option.price.version.endswith("/eu")


def test_a_used_up_budgets_model_that_cannot_be_called_is_none():
    plan = (
        a_snapshot(default={"budget_exhausted": {"new_requests": "use acme/small"}}, offered=())
        .route(facts(), Wish())
        .plan
    )
    assert plan.exhausted is None


def test_callers_who_bring_a_key_of_a_providers_see_its_models_and_no_others():
    snapshot = a_snapshot(elsewhere=[a_model("beta/tiny")])
    brought = snapshot.brought("beta")
    assert brought is snapshot.brought("beta")
    assert entries(brought.route(facts(), Wish()).plan.candidates) == ["beta/tiny@beta"]
    assert entries(brought.offered) == ["beta/tiny@beta"]
    error = refused(brought, facts(asked_model="acme/small"))
    assert "acme/small@acme is not opened by a key of beta's" in error.message


def test_what_is_shut_to_our_keys_is_not_shut_to_those_that_callers_bring():
    snapshot = a_snapshot().shutting("w1-2", {("acme", ""): "has no credit"})
    assert snapshot.route(facts(), Wish()).plan.levels == ()
    assert snapshot.brought("acme").route(facts(), Wish()).plan.levels
