import datetime as dt

import pytest
from catalogs import NOW, the_policy
from options import facts

from router.core.errors import RouterError
from router.core.policy.binding import Binds
from router.core.policy.governing import MOST_KNOWN, Governing, Wish, in_share, probing
from router.core.values import Identity, Needs

ZONES = {"UTC": dt.UTC}
ANN = Identity(tenant="acme", key="k1", team="support")
BOB = Identity(tenant="acme", key="k2", team="other")
ROOT = Identity(tenant="acme", key="k0", role="admin")


def governing(*policies, now=NOW):
    made = {policy.name: policy for policy in (the_policy(policy="default").policy, *policies)}
    return Governing(made, Binds(made.values()), ZONES, now)


def bound(name, **bind):
    return the_policy(policy=name, bind=bind).policy


SUPPORT = bound("support", team="support")


def named(found, who, policy=None, asked="auto"):
    return found.policy(asked, Wish(policy=policy, who=who)).name


def refused(found, who, policy):
    with pytest.raises(RouterError) as caught:
        named(found, who, policy)
    return caught.value


def test_the_bound_policy_governs_and_the_default_does_else():
    found = governing(SUPPORT)
    assert named(found, ANN) == "support"
    assert named(found, BOB) == "default"
    assert named(found, None) == "default"


def test_a_bound_request_does_not_leave_its_policy():
    error = refused(governing(SUPPORT), ANN, "default")
    assert (error.code, error.status) == ("not_allowed", 403)
    assert error.message == "The policy 'default' is not bound to this key, which 'support' governs."
    assert named(governing(SUPPORT), ANN, "support") == "support"


def test_a_bound_policy_is_not_for_others():
    error = refused(governing(SUPPORT), BOB, "support")
    assert error.message == "The policy 'support' is bound to others."


def test_whoever_is_not_bound_names_any_free_policy():
    found = governing(SUPPORT, the_policy(policy="smart").policy)
    assert named(found, BOB, "smart") == "smart"
    assert named(found, BOB, asked="smart") == "smart"


def test_a_team_may_have_policies_that_must_be_named():
    found = governing(SUPPORT, bound("smart", team="support", named=True))
    assert named(found, ANN) == "support"
    assert named(found, ANN, asked="smart") == "smart"
    assert refused(found, BOB, "smart").code == "not_allowed"


def test_an_administrator_names_any_policy():
    assert named(governing(SUPPORT), ROOT, "support") == "support"


def test_an_unknown_policy_is_refused_with_its_near_miss():
    error = refused(governing(SUPPORT), ANN, "suport")
    assert (error.code, error.status) == ("unknown_policy", 404)
    assert error.message == "There is no policy 'suport'; did you mean support?"


# -- rules


def rules(*given, **changes):
    return the_policy(rules=[{"name": name, "when": when} for name, when in given], **changes).policy


def first(policy, asked=None, tags=(), **more):
    rule, doubtful = governing(policy, **more).rule(policy, asked or facts(), tags)
    return rule.name, doubtful


def test_the_first_rule_that_matches_governs():
    policy = rules(("faq", {"tags": "app=faq"}), ("code", {"task": "code"}), ("rest", {}))
    assert first(policy, tags=("app=faq",)) == ("faq", False)
    assert first(policy, facts(task="code")) == ("code", False)
    assert first(policy) == ("rest", False)


def test_without_a_matching_rule_a_request_is_refused():
    with pytest.raises(RouterError, match="No rule of the policy support@"):
        first(rules(("code", {"task": "code"})))
    with pytest.raises(RouterError, match="No rule of the policy support@"):
        first(rules(("tools", {"capability": "tools"})))


def test_rules_on_figures_of_the_request():
    policy = rules(
        ("patient", {"deadline": ">= 1h"}),
        ("full", {"budget_used": ">= 80%"}),
        ("tools", {"capability": "tools"}),
        ("long", {"input_tokens": "> 1500"}),
        ("rest", {}),
    )
    assert first(policy, facts(deadline_ms=3_600_000)) == ("patient", False)
    assert first(policy, facts(deadline_ms=3_599_999, budget_milli=800)) == ("full", False)
    assert first(policy, facts(needs=int(Needs.CHAT | Needs.TOOLS))) == ("tools", False)
    assert first(policy, facts(1_501)) == ("long", False)
    assert first(policy, facts(1_500)) == ("rest", False)
    assert first(policy, facts(1_400, fixed_tokens=101)) == ("long", False)


def test_a_size_that_is_not_certain_makes_the_rule_doubtful():
    policy = rules(("long", {"input_tokens": "> 1500"}), ("rest", {}))
    assert first(policy, facts(1_400, slack=99)) == ("rest", False)
    assert first(policy, facts(1_400, slack=101)) == ("rest", True)
    assert first(policy, facts(1_600, slack=101)) == ("long", True)
    assert first(policy, facts(1_600, slack=99)) == ("long", False)


def test_a_doubt_about_an_earlier_rule_stays():
    policy = rules(("long", {"input_tokens": "> 1500"}), ("tools", {"capability": "tools"}), ("rest", {}))
    assert first(policy, facts(1_400, slack=101, needs=int(Needs.CHAT | Needs.TOOLS))) == ("tools", True)


def test_rules_of_other_hours_are_left_out():
    policy = rules(("night", {"time": {"hours": "22:00-06:00"}}), ("rest", {}))
    assert first(policy) == ("rest", False)
    assert first(policy, now=NOW.replace(hour=23)) == ("night", False)


def test_what_is_kept_of_words_is_bounded():
    policy = rules(("gpt", {"model": "gpt-*"}), ("rest", {}))
    found = governing(policy)
    for number in range(MOST_KNOWN + 2):
        assert found.rule(policy, facts(asked_model=f"m{number}"), ())[0].name == "rest"
    assert len(found._rules) <= MOST_KNOWN
    assert found.rule(policy, facts(asked_model="m1"), ())[0] is found.rule(policy, facts(asked_model="m1"), ())[0]
    assert found.rule(policy, facts(asked_model="gpt-4o"), ())[0].name == "gpt"


# -- shares


def test_a_share_is_that_many_of_a_thousand_and_always_the_same():
    hits = sum(in_share(100, f"session-{number}", "canary") for number in range(10_000))
    assert 900 < hits < 1_100
    assert in_share(1000, "x", "canary")
    assert not in_share(0, "x", "canary")
    assert {in_share(500, "session-7", "canary") for _ in range(5)} == {in_share(500, "session-7", "canary")}


def test_two_shares_are_drawn_apart():
    drawn = [(in_share(500, f"r{n}", "quality"), in_share(500, f"r{n}", "latency")) for n in range(200)]
    assert len(set(drawn)) == 4


def test_a_probe_treats_what_has_no_data_as_though_it_met_the_limits():
    policy = the_policy(without_data={"quality": "probe 100%", "latency": "probe 0.1%"}).policy
    found = probing(policy, "r1")
    assert (found.without_quality, found.without_latency) == ("allow", "exclude")
    assert found.version == policy.version
    policy = the_policy(without_data={"quality": "probe 0.1%", "latency": "probe 100%"}).policy
    found = probing(policy, "r1")
    assert (found.without_quality, found.without_latency) == ("exclude", "allow")
