from catalogs import a_model, a_price, a_score
from options import facts, option, plan, price
from tiers import SMALL, SOLD, a_snapshot, an_open_policy, rules

from router.core.deciding.decide import Hint, decide
from router.core.deciding.flips import savings
from router.core.deciding.hints import cheaper
from router.core.deciding.snapshot import Wish
from router.core.values import Needs

LARGE = a_model("acme/large", prices=[a_price(tiers={**SOLD, "window-6h": {"factor": "0.45"}})])


def hinted(snapshot, **asked):
    found = snapshot.route(facts(**asked), Wish()).plan.hint
    return found and (found.words, found.option.name)


def told(hint, **asked):
    return cheaper(decide(plan(option(), hint=hint), facts(**asked), None), facts(**asked))


def test_a_tier_that_the_caller_may_order_is_hinted_at():
    assert hinted(a_snapshot(LARGE)) == ("service_tier flex", "acme/large@acme/flex")
    assert hinted(a_snapshot(LARGE, rules=rules("realtime", "flex"))) is None


def test_a_tier_for_what_may_wait_is_hinted_at_where_the_policy_has_it():
    assert hinted(a_snapshot(LARGE, rules=rules("realtime", "batch"))) == (
        "x-costrouter-deadline 24h",
        "acme/large@acme/batch",
    )
    assert hinted(a_snapshot(LARGE, rules=rules("realtime", "flex", "window"))) == (
        "x-costrouter-deadline 6h",
        "acme/large@acme/window-6h",
    )


def test_a_rule_for_embeddings_speaks_for_embeddings_only():
    batch = {"name": "batch", "when": {"endpoint": "embeddings"}, "tiers": ["batch"]}
    assert hinted(a_snapshot(LARGE, rules=[batch, *rules("realtime")]))[0] == "service_tier flex"


def test_what_is_not_cheaper_than_every_candidate_is_no_hint():
    assert hinted(a_snapshot(LARGE, SMALL)) is None
    assert hinted(a_snapshot(SMALL)) is None


def test_quality_is_not_given_up_for_a_hint():
    good = a_model("acme/good", quality={"chat": a_score("0.900")})
    assert hinted(a_snapshot(LARGE, good, rules=rules("realtime", quality="0.80"))) is None


def test_a_model_that_was_named_is_hinted_at_alone():
    made = a_snapshot(LARGE, a_model("acme/other", prices=[a_price(tiers={"flex": {"factor": "0.1"}})]))
    assert hinted(made, asked_model="acme/large") == ("service_tier flex", "acme/large@acme/flex")
    assert hinted(made) == ("service_tier flex", "acme/other@acme/flex")


def test_efforts_that_may_be_chosen_are_candidates_and_no_hint():
    assert hinted(a_snapshot(LARGE, **an_open_policy()))[0] == "service_tier flex"


# -- what it saves on one request

FLEX = Hint("service_tier flex", option(tier="flex", price=price(input=50, output=200)))


def test_what_it_saves_is_told_in_dollars_and_per_cent():
    # 1,003 tokens in and 200 out at half the price
    assert told(FLEX) == "service_tier flex: acme/large flex $0.000000091 (-50 %)"
    assert told(None) == ""


def test_what_hardly_saves_anything_is_not_told():
    assert told(Hint("w", option(tier="flex", price=price(input=96, output=400)))) == ""
    free = plan(option(price=price(input=0, output=0)), hint=FLEX)
    assert cheaper(decide(free, facts(), None), facts()) == ""


def test_what_cannot_serve_the_request_is_not_told():
    small = Hint("w", option(tier="flex", context_window=1_100, price=price(input=1)))
    assert told(small) == ""
    unable = Hint("w", option(tier="flex", capabilities=int(Needs.CHAT), price=price(input=1)))
    assert told(unable, needs=int(Needs.CHAT | Needs.TOOLS)) == ""


def test_an_explanation_has_it_too():
    made = plan(option(), hint=FLEX)
    (saving,) = savings(made, facts(), decide(made, facts(), None))
    assert (saving.text, saving.option) == ("service_tier flex", FLEX.option)
