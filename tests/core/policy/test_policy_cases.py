import json

import jsonschema
import msgspec
import pytest
from catalogs import NOW, a_catalog, a_model, a_price, a_score, the_policy

from router.core.deciding.snapshot import World
from router.core.names import Names
from router.core.policy.binding import Binds
from router.core.policy.cases import run_case
from router.core.policy.cases_schema import CaseSchema, CasesSchema, GivenSchema, json_schema
from router.core.schema import SchemaError, validate

AT = {"at": "2026-11-23T12:00:00Z"}
LARGE = a_model("acme/large", quality={"chat": a_score("0.900", "0.010")})
SMALL = a_model(
    "acme/small", quality={"chat": a_score("0.700", "0.010")}, prices=[a_price(input="0.10", output="0.40")]
)


def a_world(**changes):
    embed = a_model("acme/embed", capabilities=["embeddings"], tags=["vectors"], quality={}, max_output=0,
                    output={"mean": 0, "p90": 0})  # fmt: skip
    catalog = a_catalog(LARGE, SMALL, embed)
    policy = the_policy(catalog, policy="default", candidates={"include": ["*"]}, **changes).policy
    world = World(catalog=catalog, policies={"default": policy}, names=Names(catalog), offered=frozenset({"acme"}))
    return msgspec.structs.replace(world, binds=Binds([policy]))


def failures(expect, request=None, world=None, **given):
    case = validate(CaseSchema, {"name": "c", "request": request or {}, "expect": expect})
    return run_case(world or a_world(), validate(GivenSchema, {**AT, **given}), case).failures


SERVED = {
    "policy": "default",
    "rule": "everyday",
    "model": "acme/small",
    "tier": "realtime",
    "effort": "",
    "relaxed": "",
    "cost_usd": "<= 0.001",
}


def test_a_case_that_goes_as_expected():
    assert failures(SERVED) == ()
    assert failures({"model": "acme/small@acme", "cost_usd": ">= 0.0001"}) == ()


@pytest.mark.parametrize(
    ("expect", "said"),
    [
        ({"policy": "other"}, "policy: expected other, found default"),
        ({"rule": "rest"}, "rule: expected rest, found everyday"),
        ({"model": "acme/large"}, "model: expected acme/large, found acme/small@acme"),
        ({"tier": "flex"}, "tier: expected flex, found realtime"),
        ({"effort": "low"}, "effort: expected low, found none"),
        ({"relaxed": "relax ttft"}, "relaxed: expected relax ttft, found none"),
        ({"cost_usd": "<= 0.0001"}, "cost_usd: expected <= 0.000100000, found 0.000200300"),
        ({"cost_usd": ">= 0.1"}, "cost_usd: expected >= 0.100000000, found 0.000200300"),
        ({"refused": "no_feasible_model"}, "refused: expected no_feasible_model, found acme/small@acme"),
        ({"rejected": {"acme/large": "quality"}}, "rejected: acme/large would do"),
        ({"rejected": {"acme/huge": "quality"}}, "rejected: acme/huge is no candidate"),
    ],
)
def test_what_is_not_as_expected_is_told(expect, said):
    assert failures(expect) == (said,)


def test_reasons_are_compared_by_a_word():
    floor = a_world(rules=[{"name": "everyday", "require": {"quality": "0.85"}}])
    assert failures({"rejected": {"acme/small": "quality"}, "model": "acme/large"}, world=floor) == ()
    (said,) = failures({"rejected": {"acme/small@acme": "ttft"}}, world=floor)
    assert said == "rejected: acme/small@acme for quality .687 below .850, not for ttft"


def test_a_refusal_may_be_what_is_expected():
    narrow = {"max_cost_usd": "0.0000001"}
    assert failures({"refused": "no_feasible_model"}, narrow) == ()
    assert failures({}, narrow) == ("refused, no_feasible_model: no candidate can serve this",)
    assert failures({"refused": "unknown_policy"}, {"policy": "other"}) == ()
    assert failures({"refused": "not_allowed"}, {"policy": "x"}) == (
        "refused: expected not_allowed, found unknown_policy",
    )


def test_what_is_given_is_the_world_of_the_case():
    rules = [
        {"name": "full", "when": {"budget_used": ">= 80%"}},
        {"name": "late", "when": {"deadline": ">= 1h"}},
        {"name": "tools", "when": {"capability": "tools"}},
        {"name": "long", "when": {"input_tokens": "> 50k"}},
        {"name": "rest"},
    ]
    world = a_world(rules=rules)
    assert failures({"rule": "full"}, world=world, budget_used="85%") == ()
    assert failures({"rule": "late"}, {"deadline": "2h"}, world) == ()
    assert failures({"rule": "tools"}, {"capability": "tools"}, world) == ()
    assert failures({"rule": "long"}, {"input_tokens": "60k"}, world) == ()
    assert failures({"rule": "rest"}, {"max_output": 100}, world) == ()
    assert failures({"model": "acme/embed"}, {"endpoint": "embeddings", "model": "embed"}, world) == ()


def test_statistics_are_those_that_are_given():
    world = a_world(rules=[{"name": "everyday", "require": {"ttft": "p95 <= 1s"}}])
    slow = {"acme/small@acme": {"ttft": "1500ms", "tpot": "10ms", "n": 50, "output": 300}}
    assert failures({"model": "acme/large", "rejected": {"acme/small": "ttft"}}, world=world, stats=slow) == ()
    assert failures({"model": "acme/small"}, world=world, stats={"acme/small@acme": {"output": 10}}) == ()
    assert failures({}, stats={"acme/smal@acme": {}}) == ("there is no entry 'acme/smal@acme' to have stats of",)


def test_only_the_providers_given_can_be_called():
    assert failures({"refused": "no_feasible_model"}, providers=["beta"]) == ()
    assert failures({"model": "acme/small"}, providers="acme") == ()


def test_a_case_may_have_a_world_of_its_own():
    case = validate(CaseSchema, {"name": "c", "given": {**AT, "team": "a"}, "expect": {"policy": "default"}})
    world = a_world(bind={"team": "a"})
    assert run_case(world, validate(GivenSchema, AT), case).failures == ()
    assert run_case(world, validate(GivenSchema, AT), case).chosen == "acme/small@acme"


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ({"expect": {"cost_usd": "0.01"}}, "is not a bound; write one such as <= 0.0002"),
        ({"expect": {}, "request": {"capability": "tols"}}, "did you mean tools"),
        ({"expect": {"modle": "x"}}, "did you mean model"),
        ({"expect": {}, "request": {"deadline": "soon"}}, "not a duration"),
    ],
)
def test_what_no_case_can_say(case, said):
    with pytest.raises(SchemaError, match=said):
        validate(CaseSchema, {"name": "c", **case})


def test_editors_are_told_what_tests_may_say():
    check = jsonschema.Draft202012Validator(json.loads(json_schema()))
    document = {"given": AT, "cases": [{"name": "c", "request": {"input_tokens": "2k"}, "expect": SERVED}]}
    assert list(check.iter_errors(document)) == []
    assert validate(CasesSchema, document).given.at == NOW
    document["cases"][0]["expect"] = {"modle": "x"}
    assert [list(error.absolute_path) for error in check.iter_errors(document)] == [["cases", 0, "expect"]]


def test_a_warm_session_stays():
    cache = {"kept": "by itself", "min_tokens": 1024, "ttl": "5m", "source": "a page", "checked": NOW.date()}
    large = a_model("acme/large", prices=[a_price(input="0.15", output="0.40", cached_input="0.01")])
    catalog = a_catalog(large, SMALL, prompt_cache=cache)
    policy = the_policy(catalog, policy="default", candidates={"include": ["*"]}).policy
    world = World(catalog=catalog, policies={"default": policy}, names=Names(catalog), offered=frozenset({"acme"}))
    assert failures({"model": "acme/small"}, {"input_tokens": 2310}, world) == ()
    assert failures({"model": "acme/large"}, {"input_tokens": 2310, "warm": {"acme/large": 1800}}, world) == ()
    assert failures({"model": "acme/large"}, {"input_tokens": 2310, "warm": {"acme/large@acme": "9k"}}, world) == ()
    (said,) = failures({"model": "acme/small"}, {"warm": {"acme/larg": 1800}}, world)
    assert said == "there is no model 'acme/larg' to be warm"


def test_a_task_comes_from_the_request_or_else_from_the_policy():
    rules = [{"name": "code", "when": {"task": "code"}}, {"name": "rest"}]
    world = a_world(rules=rules, task="code")
    assert failures({"rule": "code"}, {}, world) == ()
    assert failures({"rule": "rest"}, {"task": "chat"}, world) == ()
    assert failures({"rule": "rest"}, {}, a_world(rules=rules)) == ()


def test_what_may_wait_is_batched_where_the_rule_and_the_provider_have_batches():
    catalog = a_catalog(LARGE, a_model("acme/small", prices=[a_price(input="0.10", output="0.40", tiers={"batch": {"factor": "0.5"}})]),
                        a_model("acme/short", prices=[a_price(tiers={"batch": {"factor": "0.001"}})], context_window=9_000))  # fmt: skip

    def told(request, later=(("acme", "batch"),), **changes):
        rules = [{"name": "all", "tiers": ["realtime", "batch"]}]
        document = {"rules": rules, "candidates": {"include": ["*"]}, **changes}
        policy = the_policy(catalog, policy="default", **document).policy
        world = World(catalog=catalog, policies={"default": policy}, names=Names(catalog), offered=frozenset({"acme"}),
                      later=frozenset(later))  # fmt: skip
        (said, *_) = failures({"tier": "window"}, {"input_tokens": 20_000, **request}, world)
        return said.rpartition("found ")[2]

    assert told({"async": True}) == "batch"
    assert told({"async": True, "deadline": "24h"}) == "batch"
    assert told({"async": True, "deadline": "5s"}) == "realtime"
    assert told({"deadline": "24h"}) == "realtime"
    assert told({"async": True}, later=()) == "realtime"
    assert told({"async": True}, later=[("acme", "window")]) == "realtime"
    assert told({"async": True}, rules=[{"name": "all"}]) == "realtime"
    assert told({"async": True, "model": "large"}, mode="observe") == "realtime"
    # Where it is certain to be batched, what it costs is what a batch costs; without a floor on being on time, too.
    assert (
        told({"async": True}, rules=[{"name": "all", "tiers": ["realtime", "batch"], "require": {"on_time": "50%"}}])
        == "batch"
    )


def test_a_window_is_chosen_where_nothing_cheaper_is_on_time_and_may_be_expected_by_either_name():
    tiers = {"batch": {"factor": "0.5"}, "window-2h": {"factor": "0.7"}, "window-8h": {"factor": "0.6"}}
    catalog = a_catalog(a_model("acme/sold", prices=[a_price(tiers=tiers)]))
    rules = [{"name": "all", "tiers": ["realtime", "window"]}]
    policy = the_policy(catalog, policy="default", rules=rules, candidates={"include": ["*"]}).policy
    world = World(catalog=catalog, policies={"default": policy}, names=Names(catalog), offered=frozenset({"acme"}),
                  later=frozenset({("acme", "window"), ("acme", "batch")}))  # fmt: skip
    day = {"input_tokens": 20_000, "async": True, "deadline": "24h"}
    assert failures({"tier": "window"}, day, world) == ()
    assert failures({"tier": "window-8h"}, day, world) == ()
    assert failures({"tier": "window-2h"}, day | {"deadline": "3h"}, world) == ()
    (said,) = failures({"tier": "batch"}, day, world)
    assert said == "tier: expected batch, found window-8h"


def test_models_of_a_busy_pool_are_slow():
    machine = {"gpu_usd_per_hour": "2.50", "load": "0.40", "prefill_tok_s": 20000, "decode_tok_s": 2500, "source": "a page",
               "checked": NOW.date()}  # fmt: skip
    own = [
        a_model(name, self_hosted=machine, pool=pool)
        for name, pool in (("acme/a", "gpu"), ("acme/b", "gpu"), ("acme/c", "other"))
    ]
    catalog = a_catalog(*own)
    policy = the_policy(
        catalog,
        policy="default",
        candidates={"include": ["*"]},
        rules=[{"name": "all", "require": {"ttft": "p95 <= 2s"}}],
    ).policy
    world = World(catalog=catalog, policies={"default": policy}, names=Names(catalog), offered=frozenset({"acme"}))
    slow = {"rejected": {"acme/a": "ttft", "acme/b": "ttft"}, "model": "acme/c"}
    assert failures(slow, {}, world, gpu_load={"acme/a": "90%"}) == ()
    assert failures(slow, {}, world, gpu_load={"acme/b@acme": "90%"}) == ()
    assert failures({"model": "acme/a"}, {}, world, gpu_load={"acme/a": "40%"}) == ()
    (said, *_) = failures({}, {}, world, gpu_load={"acme/d": "90%"})
    assert said.startswith("'acme/d' is no model on a machine of one's own")
