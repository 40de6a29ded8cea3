import datetime as dt
import json

import jsonschema
import pytest
from catalogs import NOW, a_catalog, a_model, a_policy, a_price, a_score, the_model, the_policy

from router.adapters.policies.files import load_policies, packaged_policies_dir
from router.core.catalog.catalog import Score, selects
from router.core.forwarding.hedging import Hedge
from router.core.policy.conditions import Hours, Span
from router.core.policy.policy import Bind, Floor
from router.core.policy.schema import PolicySchema, json_schema
from router.core.schema import SchemaError, validate
from router.core.units import LatencyLimit
from router.core.values import Needs


def rule(**changes):
    return {"name": "everyday", **changes}


def first_rule(**require):
    return the_policy(reference="acme/large", rules=[rule(require=require)]).policy.rules[0]


def test_conditions_become_plain_figures():
    when = (
        the_policy(
            rules=[
                rule(
                    when={
                        "deadline": [">= 1h", "< 1d"],
                        "input_tokens": "> 100k",
                        "capability": ["tools", "vision"],
                        "budget_used": ">= 80%",
                        "time": {"hours": "22:00-06:00", "days": "mon-fri", "zone": "Europe/Berlin"},
                    }
                )
            ]
        )
        .policy.rules[0]
        .when
    )
    assert (when.deadline, when.patient) == (Span(3_600_000, 86_400_000), None)
    assert when.tokens == Span(100_001)
    assert when.needs == int(Needs.TOOLS | Needs.VISION)
    assert when.budget == Span(800)
    assert when.hours == (Hours("Europe/Berlin", 0b11111, 1320, 360),)


@pytest.mark.parametrize(("text", "patient"), [("none", False), ("any", True)])
def test_whether_there_is_a_deadline_at_all(text, patient):
    when = the_policy(rules=[rule(when={"deadline": text})]).policy.rules[0].when
    assert (when.deadline, when.patient) == (None, patient)


def test_several_parts_of_the_week():
    when = the_policy(rules=[rule(when={"time": [{"days": "sat"}, {"days": ["sun"]}]})]).policy.rules[0].when
    assert [hours.days for hours in when.hours] == [0b0100000, 0b1000000]


def test_whom_a_policy_is_bound_to():
    found = the_policy(bind={"team": "support", "app": ["faq", "desk"], "named": True}).policy.bind
    assert found == Bind(team=("support",), app=("faq", "desk"), named=True)
    assert the_policy().policy.bind is None


def test_modes():
    assert (the_policy(mode="canary 10%").policy.mode, the_policy(mode="canary 10%").policy.canary_milli) == (
        "canary",
        100,
    )
    assert (the_policy().policy.mode, the_policy().policy.canary_milli) == ("live", 0)


def test_a_policy_tells_whether_it_asks_for_budgets():
    assert not the_policy().policy.budgeted
    assert the_policy(rules=[rule(when={"budget_used": ">= 80%"})]).policy.budgeted


def test_a_floor_is_not_unreachable_where_something_else_serves_then():
    high = [rule(require={"quality": "0.99"})]
    assert the_policy(rules=high, when_nothing_fits=["relax quality"]).policy.rules
    assert the_policy(rules=high, when_nothing_fits=["use reference"], reference="acme/large").policy.rules
    assert the_policy(rules=high, without_data={"quality": "probe 1%"}).policy.rules
    assert the_policy(a_catalog(a_model(quality={})), rules=high).policy.rules


def test_a_relative_floor_is_judged_by_the_tasks_of_its_rule():
    code = {"chat": a_score("0.500", "0.010"), "code": a_score("0.900", "0.010")}
    catalog = a_catalog(a_model(quality=code), a_model("acme/small", quality={"code": a_score("0.850", "0.010")}))
    floor = {"quality": "90% of reference"}
    small = {"candidates": {"include": ["acme/small"]}, "reference": "acme/large"}
    assert the_policy(catalog, rules=[rule(when={"task": "code"}, require=floor)], **small).policy.rules
    lower = a_catalog(a_model(quality=code), a_model("acme/small", quality={"code": a_score("0.600", "0.010")}))
    with pytest.raises(SchemaError, match="no candidate reaches this"):
        the_policy(lower, rules=[rule(when={"task": "code"}, require=floor)], **small)


def problem(catalog=None, **changes):
    with pytest.raises(SchemaError) as raised:
        the_policy(catalog, **changes)
    (only,) = raised.value.problems
    return only


def test_requirements_become_plain_figures():
    found = first_rule(
        quality=">= 95% of reference",
        confidence="95%",
        ttft="p95 <= 800ms",
        tpot="p95 <= 40ms",
        total="p50 <= 1.5s",
        max_cost_usd="$0.02",
        on_time="99.5%",
    )
    assert found.floors == (Floor(milli=950, relative=True),)
    assert found.confidence_milli == 950
    assert found.ttft == LatencyLimit(95, 800)
    assert found.tpot == LatencyLimit(95, 40)
    assert found.total == LatencyLimit(50, 1500)
    assert found.max_cost_pico == 20_000_000_000
    assert found.on_time_milli == 995


@pytest.mark.parametrize("text", ["0.60", "60%", ">= 0.60", ">=60%", 0.6])
def test_ways_to_write_an_absolute_floor(text):
    assert first_rule(quality=text).floors == (Floor(milli=600, relative=False),)


def test_what_is_not_required_does_not_bind():
    found = the_policy().policy.rules[0]
    assert found.floors == ()
    assert found.ttft is found.tpot is found.total is found.max_cost_pico is found.on_time_milli is None
    assert found.floor_milli(None) == 0
    assert found.tiers == ("realtime",)


def a_milli_score(milli, sd):
    return Score(milli=milli, sd_milli=sd, source="s", date=dt.date(2026, 11, 22))


@pytest.mark.parametrize(
    ("confidence", "expected"),
    # 700 - z · 20, z = 0, 0.842, 1.282, 1.645, 2.326, rounded down
    [("50%", 700), ("80%", 683), ("90%", 674), ("95%", 667), ("99%", 653)],
)
def test_the_lower_bound_of_a_score(confidence, expected):
    assert first_rule(confidence=confidence).lower_milli(a_milli_score(700, 20)) == expected


def test_the_lower_bound_is_never_negative():
    assert first_rule(confidence="99%").lower_milli(a_milli_score(10, 50)) == 0


def test_an_absolute_floor_needs_no_reference():
    assert first_rule(quality="0.60").floor_milli(None) == 600


def test_a_relative_floor_is_a_share_of_the_references_estimate():
    found = first_rule(quality="95% of reference")
    assert found.floor_milli(a_milli_score(830, 20)) == 789  # 788.5, rounded up
    with pytest.raises(ValueError, match="no score"):
        found.floor_milli(None)


@pytest.mark.parametrize(
    ("pattern", "hit"),
    [
        ("acme/large", True),
        ("acme/*", True),
        ("*", True),
        ("acme/large@acme", True),
        ("*@acme", True),
        ("*@other", False),
        ("other/*", False),
        ("tag:chat", True),
        ("tag:small", False),
        ("provider:acme", True),
        ("provider:other", False),
        ("weights:closed", True),
        ("weights:open", False),
        ("quantization:int4", True),
        ("quantization:fp8", False),
        ("region:eu", True),
        ("region:us", False),
    ],
)
def test_what_a_pattern_selects(pattern, hit):
    assert selects(pattern, the_model(quantization="int4", region="eu")) is hit


def test_candidates_are_included_minus_excluded():
    policy = the_policy(candidates={"include": "tag:chat", "exclude": ["weights:open"]}).policy
    assert [model.id for model in policy.candidates(a_catalog())] == ["acme/large"]


def test_a_version_follows_the_meaning():
    plain = the_policy().policy.version
    assert plain == the_policy(mode="live").policy.version
    assert plain != the_policy(mode="observe").policy.version
    name, _, digest = plain.partition("@")
    assert name == "support"
    assert len(digest) == 8


def test_a_version_does_not_depend_on_how_a_unit_was_written():
    assert first_rule(ttft="p95 <= 1.5s") == first_rule(ttft="p95 <= 1500ms")


WRONG = [
    ({"polcy": "x"}, ("polcy",), "did you mean policy"),
    ({"mode": "shadow"}, ("mode",), "none of observe, canary 10%, live"),
    ({"rules": []}, ("rules",), "must be a rule"),
    ({"rules": [rule(require={"tpto": "p95 <= 1s"})]}, ("rules", 0, "require", "tpto"), "did you mean tpot"),
    ({"rules": [rule(require={"ttft": "800ms"})]}, ("rules", 0, "require", "ttft"), "such as p95 <= 800ms"),
    ({"rules": [rule(require={"ttft": True})]}, ("rules", 0, "require", "ttft"), "must be text"),
    (
        {"rules": [rule(require={"confidence": "93%"})]},
        ("rules", 0, "require", "confidence"),
        "50%, 80%, 90%, 95%, 99%",
    ),
    ({"rules": [rule(require={"quality": "good"})]}, ("rules", 0, "require", "quality"), "write 80% or 0.80"),
    ({"rules": [rule(require={"max_cost_usd": 0.02})]}, ("rules", 0, "require", "max_cost_usd"), "in quotes"),
    ({"rules": [rule(require={"max_cost_usd": "$-1"})]}, ("rules", 0, "require", "max_cost_usd"), "negative"),
    ({"rules": [rule(when={"task": "coding"})]}, ("rules", 0, "when", "task", 0), "is not one of chat"),
    ({"rules": [rule(when={"task": "math"})]}, ("rules", 0, "when", "task", 0), "did you mean maths"),
    ({"rules": [rule(tiers=["bach"])]}, ("rules", 0, "tiers", 0), "did you mean batch"),
    ({"when_nothing_fits": ["relax cost"]}, ("when_nothing_fits", 0), "not one of relax tpot"),
    (
        {"without_data": {"quality": "probe"}},
        ("without_data", "quality"),
        "none of exclude, use reference, allow, probe 2%",
    ),
    ({"candidates": {"include": []}}, (), "'candidates' is missing"),
    # across keys
    (
        {"candidates": {"include": ["acme/lrge"]}},
        ("candidates", "include", 0),
        "no model 'acme/lrge'; did you mean acme/large",
    ),
    ({"candidates": {"include": ["tag:chta"]}}, ("candidates", "include", 0), "no such tag; did you mean chat"),
    ({"candidates": {"include": ["provider:acne"]}}, ("candidates", "include", 0), "did you mean acme"),
    ({"candidates": {"include": ["weights:opn"]}}, ("candidates", "include", 0), "did you mean open"),
    (
        {"candidates": {"include": ["*"], "exclude": ["tags:chat"]}},
        ("candidates", "exclude", 0),
        "unknown selector 'tags'; did you mean tag",
    ),
    (
        {"candidates": {"include": ["vendor-lock:int4"]}},
        ("candidates", "include", 0),
        "the selectors are tag, provider, region, weights, quantization",
    ),
    ({"candidates": {"include": ["*"], "exclude": ["*"]}}, ("candidates",), "leave no model"),
    (
        {"rules": [rule(), rule(name="later")]},
        ("rules", 1),
        "'everyday', before it, matches every request; move 'later' up",
    ),
    ({"rules": [rule(when={"task": "code"}), rule()]}, ("rules", 1, "name"), "two rules are called 'everyday'"),
    ({"policy": "auto"}, ("policy",), "'auto' leaves the choice to the policy that is bound; call this one otherwise"),
    ({"reference": "acme/lage"}, ("reference",), "did you mean acme/large"),
    (
        {"rules": [rule(require={"quality": "95% of reference"})]},
        ("rules", 0, "require", "quality"),
        "needs a reference",
    ),
    ({"baseline": "reference"}, ("baseline",), "needs a reference"),
    ({"without_data": {"quality": "use reference"}}, ("without_data", "quality"), "needs a reference"),
    (
        {"when_nothing_fits": ["refuse", "use reference"], "reference": "acme/large"},
        ("when_nothing_fits", 0),
        "nothing after",
    ),
    (
        {"rules": [rule(require={"quality": "0.99"})]},
        ("rules", 0, "require", "quality"),
        "no candidate reaches this with 90% confidence, so rule 'everyday' can never choose one",
    ),
    ({"when_nothing_fits": ["use reference"]}, ("when_nothing_fits", 0), "needs a reference"),
    ({"rules": [rule(when={"deadline": [">= 2h", "< 1h"]})]}, ("rules", 0, "when", "deadline"), "no request can meet"),
    ({"rules": [rule(when={"deadline": "soon"})]}, ("rules", 0, "when", "deadline"), "not a comparison"),
    ({"rules": [rule(when={"deadline": 3})]}, ("rules", 0, "when", "deadline"), "must be text, or a list of texts"),
    ({"rules": [rule(when={"capability": "vison"})]}, ("rules", 0, "when", "capability", 0), "did you mean vision"),
    (
        {"rules": [rule(when={"time": {"zone": "Mars/Olympus"}})]},
        ("rules", 0, "when", "time", 0, "zone"),
        "is no time zone of this machine",
    ),
    (
        {"rules": [rule(name="a", when={"task": "code"}), rule(name="b", when={"task": ["code"], "tags": "x=1"})]},
        ("rules", 1),
        "'a', before it, takes all of its requests",
    ),
    (
        {
            "rules": [
                rule(name="a", when={"deadline": "none"}),
                rule(name="b", when={"deadline": "any"}),
                rule(name="c"),
            ]
        },
        ("rules", 2),
        "rule 'c' can never be reached: 'a', 'b' together take all of its requests",
    ),
    ({"bind": {}}, ("bind",), "this names nobody"),
    ({"bind": {"team": "a*"}}, ("bind", "team", 0), "should match pattern"),
    ({"bind": {"team": "a"}, "rules": None}, ("bind",), "the file has no `rules`"),
    ({"candidates": {"include": ["region:mars"]}}, ("candidates", "include", 0), "no such region"),
    ({"candidates": {"include": ["quantization:int5"]}}, ("candidates", "include", 0), "did you mean int8"),
    ({"candidates": None}, (), "the key 'candidates' is missing"),
    ({"when_nothing_fits": ["relax ttft", "relax ttft"]}, ("when_nothing_fits", 1), "twice"),
]


@pytest.mark.parametrize(("changes", "path", "message"), WRONG)
def test_what_is_refused_and_where(changes, path, message):
    found = problem(**changes)
    assert found.path == path
    assert message in found.message


def test_a_reference_without_a_score_cannot_be_measured_against():
    catalog = a_catalog(a_model(), a_model("acme/mute", quality={}))
    found = problem(catalog, reference="acme/mute", rules=[rule(require={"quality": "95% of reference"})])
    assert "no quality score" in found.message
    assert the_policy(catalog, reference="acme/mute").policy.reference == "acme/mute"


@pytest.mark.parametrize(
    "gone",
    [{"retired": dt.date(2026, 11, 1)}, {"prices": [a_price(valid_to=dt.date(2026, 11, 1))]}],
    ids=["retired", "unpriced"],
)
def test_a_model_that_is_gone_is_a_warning(gone):
    catalog = a_catalog(a_model(), a_model("acme/old", **gone))
    result = the_policy(catalog, candidates={"include": ["acme/large", "acme/old"]}, reference="acme/old")
    assert [warning.path for warning in result.warnings] == [("candidates", "include", 1), ("reference",)]
    assert "retired or has no price" in result.warnings[0].message


def test_a_pattern_that_matches_nothing_is_a_warning():
    result = the_policy(candidates={"include": ["tag:chat", "deepseek/*"]})
    assert [warning.message for warning in result.warnings] == ["'deepseek/*' matches no model of the catalog"]


def test_the_json_schema_is_current():
    told = "costrouter policy schema > policies/schema.json writes it anew"
    assert (packaged_policies_dir() / "schema.json").read_text() == json_schema(), told


def test_editors_are_told_what_policies_may_say():
    schema = json.loads(json_schema())
    check = jsonschema.Draft202012Validator(schema)
    assert list(check.iter_errors(a_policy(reference="acme/large", mode="canary 10%", bind={"team": "a"}))) == []
    for changes, path in (
        ({"polcy": "x"}, []),
        ({"mode": "shadow"}, ["mode"]),
        ({"rules": [rule(when={"deadline": "soon"})]}, ["rules", 0, "when", "deadline"]),
        ({"rules": [rule(require={"ttft": "800ms"})]}, ["rules", 0, "require", "ttft"]),
        ({"rules": [rule(when={"task": "coding"})]}, ["rules", 0, "when", "task"]),
    ):
        (error,) = check.iter_errors(a_policy(**changes))
        assert list(error.absolute_path) == path


def test_a_sound_policy_raises_no_doubt():
    assert the_policy(reference="acme/large").warnings == ()


def test_defaults_are_on_the_safe_side():
    policy = the_policy().policy
    assert (policy.without_quality, policy.without_latency, policy.when_nothing_fits) == (
        "exclude",
        "use prior",
        ("refuse",),
    )


def test_a_policy_is_a_mapping_with_a_version():
    with pytest.raises(SchemaError, match="the key 'version' is missing"):
        validate(PolicySchema, {key: value for key, value in a_policy().items() if key != "version"})


def test_the_shipped_default_leaves_a_choice_for_everyday_work():
    loaded = load_policies(packaged_policies_dir(), NOW)
    policy = loaded.policies["default"]
    rules = {rule.name: rule for rule in policy.rules}
    everyday = rules["everyday"]
    good = [
        model.id
        for model in policy.candidates(loaded.catalog)
        if (score := loaded.catalog.quality.score(model, "chat"))
        and everyday.lower_milli(score) >= everyday.floor_milli(None)
    ]
    assert "meta/llama-3.2-3b" not in good
    assert len(set(good)) >= 10
    assert rules["embeddings"].floors == ()


def test_an_unverified_score_clears_a_lower_floor_than_a_measured_one():
    everyday = first_rule(quality="0.60", confidence="90%")
    measured, placed = (the_model(quality={"chat": a_score("0.640", sd)}).quality["chat"] for sd in ("0.020", "0.050"))
    assert everyday.lower_milli(measured) >= 600 > everyday.lower_milli(placed)


# -- budgets


def test_what_becomes_of_requests_without_room_is_read():
    policy = the_policy(
        clamp=True, budget_exhausted={"new_requests": "use acme/small", "running_streams": "stop"}
    ).policy
    assert (policy.clamp, policy.exhausted, policy.stops_streams) == (True, "acme/small", True)
    policy = the_policy(budget_exhausted={"new_requests": "refuse"}).policy
    assert (policy.clamp, policy.exhausted, policy.stops_streams) == (False, None, False)


@pytest.mark.parametrize(
    ("words", "said"),
    [("use acme/smal", "did you mean"), ("acme/small", "must be `refuse`, or `use`"), ("use a b", "must be `refuse`")],
)
def test_a_model_for_used_up_budgets_that_means_nothing_is_refused(words, said):
    with pytest.raises(SchemaError, match=said):
        the_policy(budget_exhausted={"new_requests": words})


@pytest.mark.parametrize(
    ("stated", "hedge"),
    [
        ({"after": "p95"}, Hedge(percentile=95)),
        ({"after": "800ms", "most": "25%"}, Hedge(after_ms=800, share_milli=250)),
    ],
)
def test_a_second_attempt_sets_out_at_a_quantile_or_after_a_time(stated, hedge):
    assert the_policy(hedge=stated).policy.forwarding.hedge == hedge
    assert the_policy().policy.forwarding is None


def test_a_quantile_that_nobody_keeps_is_no_time_for_a_second_attempt():
    with pytest.raises(SchemaError, match="'p97' is not kept by the statistics; write one of p50, p75"):
        the_policy(hedge={"after": "p97"})


def test_one_attempt_leaves_no_room_for_a_second():
    with pytest.raises(SchemaError, match="leaves no room for a second attempt"):
        the_policy(hedge={"after": "p95"}, retry={"attempts": 1})
    assert the_policy(hedge={"after": "p95"}, retry={"attempts": 2}).warnings == ()
