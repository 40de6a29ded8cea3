import pytest
from catalogs import NOW, a_catalog, a_policy

from router.core.policy.compile import compile_policy
from router.core.policy.guardrails import Parent
from router.core.policy.policy import Floor
from router.core.policy.schema import PolicySchema
from router.core.schema import SchemaError, validate
from router.core.units import LatencyLimit


def a_file(**changes):
    return validate(PolicySchema, {key: value for key, value in a_policy(**changes).items() if value is not None})


def base(name="base", **changes):
    """Guardrails, as `extends` finds them: line 7 of their own file."""
    file = a_file(**{"policy": name, "rules": None, "candidates": None, **changes})
    return Parent(file, lambda path: f"{name}.yaml:{len(path)}7")


def child(*parents, catalog=None, **changes):
    file = a_file(**{"extends": "base", "candidates": None, **changes})
    return compile_policy(file, catalog or a_catalog(), NOW, parents=parents).policy


def problem(*parents, **changes):
    with pytest.raises(SchemaError) as raised:
        child(*parents, **changes)
    (only,) = raised.value.problems
    return only


CHAT = {"include": ["tag:chat"]}


def test_what_a_policy_does_not_say_it_takes_over():
    found = child(
        base(
            candidates={"include": ["tag:chat"], "effort": ["none", "low"]},
            mode="observe",
            reference="acme/large",
            baseline="reference",
            clamp=True,
            when_nothing_fits=["relax ttft", "refuse"],
            without_data={"quality": "use reference"},
            budget_exhausted={"new_requests": "use acme/small", "running_streams": "stop"},
        )
    )
    assert (found.mode, found.reference, found.baseline, found.clamp) == ("observe", "acme/large", "reference", True)
    assert (found.include, found.efforts) == (("tag:chat",), ("none", "low"))
    assert found.when_nothing_fits == ("relax ttft", "refuse")
    assert (found.without_quality, found.without_latency) == ("use reference", "use prior")
    assert (found.exhausted, found.stops_streams) == ("acme/small", True)


def test_rules_are_not_taken_over():
    parent = base(candidates=CHAT, rules=[{"name": "theirs"}])
    assert [rule.name for rule in child(parent).rules] == ["everyday"]


def test_limits_hold_for_every_rule_unless_a_rule_is_tighter():
    limits = {"quality": "0.50", "confidence": "80%", "ttft": "p95 <= 2s", "max_cost_usd": "0.02"}
    rules = [{"name": "quick", "when": {"task": "chat"}, "require": {"ttft": "p99 <= 1s"}}, {"name": "rest"}]
    quick, rest = child(base(candidates=CHAT, require=limits), rules=rules).rules
    assert quick.ttft == LatencyLimit(99, 1000)
    assert rest.ttft == LatencyLimit(95, 2000)
    assert quick.floors == rest.floors == (Floor(500, relative=False),)
    assert child(base(candidates=CHAT, require=limits), **requiring(tpot="p95 <= 40ms")).rules[0].tpot.ms == 40
    assert (rest.confidence_milli, rest.max_cost_pico) == (800, 20_000_000_000)


def test_an_absolute_floor_and_a_share_of_the_reference_both_hold():
    parent = base(candidates=CHAT, reference="acme/large", require={"quality": "0.60"})
    (rule,) = child(parent, rules=[{"name": "r", "require": {"quality": "90% of reference"}}]).rules
    assert rule.floors == (Floor(900, relative=True), Floor(600, relative=False))


def test_a_candidate_must_be_in_all_that_is_included():
    catalog = a_catalog()
    found = child(base(candidates={"include": ["weights:open"]}), candidates=CHAT)
    assert [model.id for model in found.candidates(catalog)] == ["acme/small"]
    found = child(base(candidates={"include": ["*"], "exclude": ["weights:open"]}), candidates=CHAT)
    assert [model.id for model in found.candidates(catalog)] == ["acme/large"]


def test_guardrails_reach_through_a_policy_in_between():
    top = base("top", candidates={"include": ["*"], "exclude": ["acme/small"]}, require={"ttft": "p95 <= 2s"})
    middle = base("middle", extends="top", require={"ttft": "p95 <= 1s"})
    found = child(middle, top, candidates=CHAT)
    assert [model.id for model in found.candidates(a_catalog())] == ["acme/large"]
    assert found.rules[0].ttft == LatencyLimit(95, 1000)
    breach = problem(middle, top, candidates={"include": ["acme/small"]})
    assert breach.message == "top.yaml:27 excludes 'acme/small', and what extends it may only tighten it"


LIMIT = {"candidates": CHAT, "reference": "acme/large"}


def requiring(**limits):
    return {"rules": [{"name": "everyday", "require": limits}]}


@pytest.mark.parametrize(
    ("above", "below", "path", "shown"),
    [
        ({"require": {"quality": "0.60"}}, requiring(quality="0.55"), ("rules", 0, "require", "quality"), ">= 60%"),
        (
            {"require": {"quality": "90% of reference"}},
            requiring(quality="85% of reference"),
            ("rules", 0, "require", "quality"),
            ">= 90% of reference",
        ),
        ({"require": {"confidence": "90%"}}, requiring(confidence="80%"), ("rules", 0, "require", "confidence"), "90%"),
        ({"require": {"on_time": "99.5%"}}, requiring(on_time="99%"), ("rules", 0, "require", "on_time"), "99.5%"),
        (
            {"require": {"ttft": "p95 <= 800ms"}},
            requiring(ttft="p95 <= 900ms"),
            ("rules", 0, "require", "ttft"),
            "p95 <= 800ms",
        ),
        (
            {"require": {"tpot": "p95 <= 40ms"}},
            requiring(tpot="p90 <= 30ms"),
            ("rules", 0, "require", "tpot"),
            "p95 <= 40ms",
        ),
        (
            {"require": {"total": "p95 <= 9s"}},
            {"require": {"total": "p95 <= 10s"}},
            ("require", "total"),
            "p95 <= 9000ms",
        ),
        (
            {"require": {"max_cost_usd": "0.02"}},
            requiring(max_cost_usd="0.03"),
            ("rules", 0, "require", "max_cost_usd"),
            "$0.020000000",
        ),
        ({"tiers": ["realtime"]}, {"rules": [{"name": "r", "tiers": ["batch"]}]}, ("rules", 0, "tiers"), "realtime"),
        ({"tiers": ["realtime"]}, {"tiers": ["realtime", "flex"]}, ("tiers",), "realtime"),
        (
            {"candidates": {"include": ["tag:chat"], "effort": ["none", "low"]}},
            {"candidates": {"include": ["tag:chat"], "effort": ["high"]}},
            ("candidates", "effort"),
            "none, low",
        ),
        (
            {"when_nothing_fits": ["relax ttft", "refuse"]},
            {"when_nothing_fits": ["relax quality"]},
            ("when_nothing_fits",),
            "relax ttft, refuse",
        ),
        (
            {"without_data": {"quality": "probe 2%"}},
            {"without_data": {"quality": "probe 3%"}},
            ("without_data", "quality"),
            "probe 2%",
        ),
        (
            {"without_data": {"latency": "exclude"}},
            {"without_data": {"latency": "use prior"}},
            ("without_data", "latency"),
            "exclude",
        ),
        (
            {"budget_exhausted": {"new_requests": "refuse"}},
            {"budget_exhausted": {"new_requests": "use acme/small"}},
            ("budget_exhausted", "new_requests"),
            "refuse",
        ),
        (
            {"budget_exhausted": {"running_streams": "stop"}},
            {"budget_exhausted": {"running_streams": "finish"}},
            ("budget_exhausted", "running_streams"),
            "stop",
        ),
    ],
)
def test_what_is_looser_is_refused_with_both_places(above, below, path, shown):
    found = problem(base(**{**LIMIT, **above}), **below)
    assert found.path == path
    place = (
        "base.yaml:17"
        if len(next(iter(above.values()))) and path[-1] in ("tiers", "when_nothing_fits")
        else "base.yaml:27"
    )
    assert found.message == f"{path[-1]}: looser than {place} allows, which says {shown}"


@pytest.mark.parametrize(
    ("above", "below"),
    [
        ({"require": {"quality": "0.60"}}, requiring(quality="0.62")),
        ({"require": {"ttft": "p95 <= 800ms"}}, requiring(ttft="p99 <= 800ms")),
        ({"require": {"max_cost_usd": "0.02"}}, requiring(max_cost_usd="0.02")),
        ({"tiers": ["realtime", "flex"]}, {"rules": [{"name": "r", "tiers": ["flex"]}]}),
        ({"when_nothing_fits": ["relax ttft"]}, {"when_nothing_fits": ["refuse"]}),
        ({"without_data": {"latency": "use prior"}}, {"without_data": {"latency": "probe 2%"}}),
        ({"budget_exhausted": {"new_requests": "use acme/large"}}, {"budget_exhausted": {"new_requests": "refuse"}}),
        (
            {"budget_exhausted": {"new_requests": "use acme/large"}},
            {"budget_exhausted": {"new_requests": "use acme/small"}},
        ),
        ({"budget_exhausted": {"running_streams": "finish"}}, {"budget_exhausted": {"running_streams": "stop"}}),
    ],
)
def test_what_is_as_tight_or_tighter_is_taken(above, below):
    assert child(base(**{**LIMIT, **above}), **below).serves


def test_models_that_the_guardrails_leave_out_are_refused():
    outside = problem(
        base(candidates={"include": ["weights:closed"]}), candidates={"include": ["tag:chat", "acme/small"]}
    )
    assert outside.path == ("candidates", "include", 1)
    assert outside.message == "base.yaml:27 does not include 'acme/small', and what extends it may only tighten it"
    shut = problem(
        base(candidates={"include": ["*"], "exclude": ["weights:open"]}),
        budget_exhausted={"new_requests": "use acme/small"},
    )
    assert (shut.path, shut.message[:35]) == (
        ("budget_exhausted", "new_requests"),
        "base.yaml:27 excludes 'acme/small',",
    )


def test_a_reference_that_serves_must_be_a_candidate_of_the_guardrails():
    parent = base(candidates={"include": ["weights:open"]})
    assert child(parent, reference="acme/large").reference == "acme/large"
    found = problem(parent, reference="acme/large", when_nothing_fits=["use reference"])
    assert (found.path, "does not include 'acme/large'" in found.message) == (("reference",), True)
    handed_down = base(candidates={"include": ["weights:open"]}, reference="acme/large")
    assert problem(handed_down, when_nothing_fits=["use reference"]).path == ("when_nothing_fits",)


def test_another_reference_would_be_another_floor():
    parent = base(candidates=CHAT, reference="acme/large", require={"quality": "90% of reference"})
    found = problem(parent, reference="acme/small")
    assert found.path == ("reference",)
    assert found.message == (
        "base.yaml:27 asks for a share of the reference's quality, which base.yaml:17 says is acme/large"
    )
    assert child(parent, reference="acme/large").serves
    absolute = base(candidates=CHAT, reference="acme/large", require={"quality": "0.60"})
    assert child(absolute, reference="acme/small").serves


def test_a_rule_is_not_looser_than_its_own_file():
    with pytest.raises(SchemaError) as raised:
        child(candidates=CHAT, extends=None, require={"ttft": "p95 <= 1s"}, tiers=["realtime"],
              rules=[{"name": "slow", "tiers": ["batch"], "require": {"ttft": "p95 <= 2s"}}])  # fmt: skip
    assert [found.message for found in raised.value.problems] == [
        "ttft: looser than this file allows, which says p95 <= 1000ms",
        "tiers: looser than this file allows, which says realtime",
    ]


def test_what_a_file_requires_holds_for_its_own_rules():
    (rule,) = child(candidates=CHAT, extends=None, require={"quality": "0.60", "tpot": "p95 <= 40ms"}).rules
    assert (rule.floors, rule.tpot) == ((Floor(600, relative=False),), LatencyLimit(95, 40))


def test_guardrails_alone_serve_nobody():
    assert not child(rules=None, extends=None, candidates=CHAT).serves
    assert not child(rules=None, extends=None).serves


def test_who_may_not_ask_for_caches_cannot_allow_it_below():
    assert not child(base(candidates=CHAT, prompt_cache="off")).prompt_cache
    assert not child(base(candidates=CHAT), prompt_cache="off").prompt_cache
    assert problem(base(candidates=CHAT, prompt_cache="off"), prompt_cache="auto").message.startswith("prompt_cache:")


def test_a_task_is_taken_over_and_may_be_another():
    assert child(base(candidates=CHAT, task="code")).task == "code"
    assert child(base(candidates=CHAT, task="code"), task="maths").task == "maths"


def test_a_connection_may_be_held_for_less_below_and_not_for_longer():
    assert child(base(candidates=CHAT, hold="5m")).hold_ms == 300_000
    assert child(base(candidates=CHAT, hold="5m"), hold="30s").hold_ms == 30_000
    assert child(base(candidates=CHAT)).hold_ms is None
    assert problem(base(candidates=CHAT, hold="5m"), hold="1h").message.startswith("hold:")
