"""Requests that name several models: in what order they serve, and which of them are passed over."""

import pytest
from catalogs import NOW, a_model, a_price, compiled, the_policy
from options import facts

from router.core.catalog.catalog import Catalog
from router.core.deciding.decide import decide
from router.core.deciding.snapshot import World, compile_snapshot
from router.core.errors import RouterError
from router.core.forwarding.forwarding import without
from router.core.names import Names
from router.core.policy.governing import Wish

LARGE = a_model("acme/large", prices=[a_price(input="3.00", output="15.00")])
SMALL = a_model("acme/small", prices=[a_price(input="0.10", output="0.40")])
ELSEWHERE = a_model("acme/large", prices=[a_price(input="2.00", output="9.00")]), a_model("beta/tiny")


def snapshot(*, offered=("acme", "beta"), include=("*",), **policy):
    made = compiled(LARGE, SMALL), compiled(*ELSEWHERE, provider="beta", name="Beta", key_env="BETA_KEY")
    catalog = Catalog([file.provider for file in made], [model for file in made for model in file.models])
    policies = {
        "default": the_policy(catalog, policy="default", candidates={"include": list(include)}, **policy).policy
    }
    return compile_snapshot("w1-7", World(catalog, policies, Names(catalog), frozenset(offered)), NOW, {}.get)


def refused(snapshot, asked):
    with pytest.raises(RouterError) as caught:
        snapshot.route(asked, Wish())
    return caught.value


def asks(*models, model=None, **more):
    return facts(asked_model=model or models[0], models=models, **more)


def order(route, asked):
    """Who serves, then who does after each has failed."""
    found, plan = [], route.plan
    while (decision := decide(plan, asked, route.baseline)) is not None:
        found.append(decision.option.entry)
        plan = without(route.plan, set(found))
    return found


def test_the_first_that_can_serve_does_and_the_others_follow_in_the_callers_order():
    asked = asks("acme/large", "acme/small", "beta/tiny")
    route = snapshot().route(asked, Wish())
    assert order(route, asked) == ["acme/large@beta", "acme/large@acme", "acme/small@acme", "beta/tiny@beta"]
    assert [level.relaxed for level in route.plan.levels] == ["", "acme/large", "acme/large, acme/small"]
    assert route.baseline.model == "acme/large"


def test_a_bare_name_in_a_list_is_not_substituted():
    asked = asks("large", "tiny")
    assert order(snapshot().route(asked, Wish()), asked) == ["acme/large@beta", "acme/large@acme", "beta/tiny@beta"]


@pytest.mark.parametrize(
    ("policy", "model"), [({"fallbacks": "cheapest"}, None), ({}, "auto")], ids=["by policy", "by the caller"]
)
def test_the_cheapest_of_them_serves_where_the_policy_or_the_caller_says_so(policy, model):
    asked = asks("acme/large", "acme/small", model=model)
    route = snapshot(**policy).route(asked, Wish())
    assert order(route, asked) == ["acme/small@acme", "acme/large@beta", "acme/large@acme"]


def test_auto_in_the_list_is_the_policys_choice_at_that_place():
    asked = asks("acme/large", "auto")
    route = snapshot().route(asked, Wish())
    assert order(route, asked)[2] == "acme/small@acme"


def test_what_cannot_be_called_or_is_not_allowed_is_passed_over_while_another_is_left():
    for world in (snapshot(offered=["acme"]), snapshot(include=["acme/small"])):
        asked = asks("beta/tiny", "acme/small")
        assert order(world.route(asked, Wish()), asked) == ["acme/small@acme"]


def test_where_none_is_left_the_first_ones_reason_is_told():
    error = refused(snapshot(include=["acme/small"]), asks("beta/tiny", "acme/large"))
    assert (error.code, error.param) == ("model_not_allowed", "model")
    assert "beta/tiny" in error.message


def test_a_name_that_nobody_knows_is_refused_with_the_near_miss():
    error = refused(snapshot(), asks("acme/small", "acme/lage"))
    assert error.code == "unknown_model"
    assert "did you mean acme/large" in error.message


def test_a_policy_is_no_model_of_a_list():
    error = refused(snapshot(), asks("acme/small", "default"))
    assert (error.code, error.param) == ("invalid_request", "models")


def test_an_order_that_no_model_may_have_is_refused():
    assert refused(snapshot(), asks("acme/small", tier="priority")).param == "service_tier"


def test_what_may_not_be_called_now_is_left_out_and_explained():
    shut = snapshot().shutting("w1-2", {("acme", "acme/small"): "its circuit breaker is open"})
    asked = asks("acme/small", "beta/tiny")
    route = shut.route(asked, Wish())
    assert order(route, asked) == ["beta/tiny@beta"]
    assert route.plan.shut["acme/small@acme"] == "its circuit breaker is open"
    assert [option.entry for option in route.plan.whole.candidates] == ["acme/small@acme", "beta/tiny@beta"]
    assert order(shut.route(asks("beta/tiny"), Wish()), asked) == ["beta/tiny@beta"]


@pytest.mark.parametrize("suffix", ["nitro", "free", "online"])
def test_what_a_suffix_asks_for_is_had_in_another_way_and_said_so(suffix):
    error = refused(snapshot(), facts(asked_model=f"acme/large:{suffix}"))
    assert error.code == "unknown_model"
    assert f"write the model without `:{suffix}`" in error.message
    assert "did you mean" in refused(snapshot(), facts(asked_model=f"acme/lage:{suffix}")).message
