"""What a snapshot knows of prompts of a size, and of an application's task."""

from catalogs import NOW, a_catalog, a_model, a_price, the_policy
from options import facts

from router.core.deciding.decide import decide
from router.core.deciding.snapshot import World, compile_snapshot
from router.core.names import Names
from router.core.policy.governing import Wish
from router.core.statistics.stats import Summary
from router.core.values import Identity

LARGE = a_model("acme/large", prices=[a_price(input="3.00", output="15.00")])
SMALL = a_model("acme/small", prices=[a_price(input="0.10", output="0.40")])


def a_snapshot(*, seen=None, **policy):
    catalog = a_catalog(LARGE, SMALL)
    policies = {"default": the_policy(catalog, policy="default", **policy).policy}
    return compile_snapshot(
        "w1-7", World(catalog, policies, Names(catalog), frozenset({"acme"})), NOW, (seen or {}).get
    )


def by(app):
    return Wish(who=Identity(tenant="acme", key="k", app=app))


def requiring(**limits):
    return {"rules": [{"name": "everyday", "require": limits}]}


def of(n, value):
    return Summary(n=n, mean=value, quantiles=(value,) * 5)


def series(name, model="small"):
    return (name, f"acme/{model}", "acme", "realtime")


def test_a_model_that_is_slow_with_long_prompts_serves_short_ones():
    seen = {series(name): of(500, value) for name, value in (("ttft", 300_000), ("tpot", 10), ("ttft/3", 3_000_000))}
    snapshot = a_snapshot(**requiring(ttft="p95 <= 1s"), seen=seen)

    def model(tokens):
        asked = facts(tokens)
        return decide(snapshot.route(asked, Wish()).plan, asked, None).option.model

    assert model(1_000) == "acme/small"
    assert model(10_000) == "acme/large"
    assert snapshot.route(facts(10_000), Wish()).plan.faults["acme/small@acme"]["ttft"].found == 3_000


def test_a_size_of_which_nothing_is_known_has_the_plan_of_all():
    snapshot = a_snapshot()
    assert snapshot.route(facts(10), Wish()).plan is snapshot.route(facts(10_000), Wish()).plan


def test_whole_answers_are_judged_by_how_long_they_took():
    seen = {series("total"): of(500, 7_000_000)}
    snapshot = a_snapshot(**requiring(total="p95 <= 6s"), seen=seen)
    assert snapshot.route(facts(), Wish()).plan.faults["acme/small@acme"]["total"].found == 7_000


def test_an_applications_answers_change_what_is_cheapest_for_it():
    # By the token `small` is cheaper; for this application it talks a hundred times as long.
    seen = {series("output//chatty/chat"): of(10**6, 100_000), series("output//chatty/chat", "large"): of(10**6, 10)}
    snapshot = a_snapshot(seen=seen, reference="acme/large")
    asked = facts(10)
    usual, chatty = (snapshot.route(asked, by(app)) for app in ("faq", "chatty"))
    assert decide(usual.plan, asked, None).option.model == "acme/small"
    assert decide(chatty.plan, asked, None).option.model == "acme/large"
    assert (usual.baseline.output_mean, chatty.baseline.output_mean) == (250, 10)
    assert snapshot.route(asked, by("chatty")) is chatty
    assert snapshot.route(facts(10, task="code"), by("chatty")).baseline.output_mean == 250


def test_what_would_have_been_chosen_is_judged_by_the_same_lengths():
    seen = {series("output//faq/chat"): of(10**6, 40)}
    snapshot = a_snapshot(seen=seen, mode="observe")
    route = snapshot.route(facts(asked_model="small"), by("faq"))
    assert {option.output_mean for option in route.plan.candidates} == {40}
    assert 40 in {option.output_mean for option in route.instead.candidates}


def test_a_snapshot_knows_whether_it_matters_what_a_request_is_for():
    assert not a_snapshot().by_task
    assert a_snapshot(**requiring(quality="0.5")).by_task
    assert a_snapshot(rules=[{"name": "c", "when": {"task": "code"}}, {"name": "any"}]).by_task


def test_what_is_shut_stays_shut_for_every_size_and_application():
    seen = {series("ttft/1"): of(99, 5), series("ttft"): of(99, 5), series("tpot"): of(99, 5)}
    seen |= {series("output//faq/chat"): of(10**6, 40)}
    snapshot = a_snapshot(seen=seen).shutting("w1-8", {("acme", "acme/small"): "it fails"})
    asked = facts(1_000)
    plan = snapshot.route(asked, by("faq")).plan
    assert plan.shut == {"acme/small@acme": "it fails"}
    assert decide(plan, asked, None).option.model == "acme/large"


def test_a_request_of_nobody_or_of_no_application_has_the_usual_lengths():
    seen = {series("output//faq/chat"): of(10**6, 40)}
    snapshot = a_snapshot(seen=seen)
    for wish in (Wish(), by("")):
        assert {option.output_mean for option in snapshot.route(facts(), wish).plan.candidates} == {250}


def test_a_rule_that_another_count_may_change_is_said_of_each_request():
    rules = [{"name": "big", "when": {"input_tokens": ">= 2000"}}, {"name": "any"}]
    snapshot = a_snapshot(seen={series("output//faq/chat"): of(10**6, 40)}, rules=rules)
    sure, unsure = facts(1_500), facts(1_500, slack=600)
    assert not snapshot.route(sure, by("faq")).doubtful
    assert snapshot.route(unsure, by("faq")).doubtful
    assert not snapshot.route(sure, by("faq")).doubtful
