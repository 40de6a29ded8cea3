from catalogs import NOW, a_catalog, a_model, a_price, the_policy
from options import facts

from router.core.deciding import views
from router.core.deciding.snapshot import World, compile_snapshot
from router.core.names import Names
from router.core.policy.governing import Wish
from router.core.values import Needs, TokenRange

ORDERED = int(Needs.CHAT | Needs.REASONING_EFFORT)


def a_snapshot(**policy):
    small = a_model("acme/small", prices=[a_price(input="0.10", output="0.40")])
    catalog = a_catalog(small, a_model("acme/large", prices=[a_price(input="3.00", output="15.00")]))
    policies = {"default": the_policy(catalog, policy="default", **policy).policy}
    return compile_snapshot("w1-7", World(catalog, policies, Names(catalog), frozenset({"acme"})), NOW, {}.get)


def test_requests_of_the_same_words_share_their_route():
    snapshot = a_snapshot()
    found = snapshot.route(facts(10), Wish(tags=("app=faq",), draw="one"))
    assert (
        snapshot.route(facts(12, needs=int(Needs.CHAT | Needs.SAMPLING)), Wish(tags=("app=faq",), draw="two")) is found
    )


def test_other_words_have_routes_of_their_own():
    snapshot = a_snapshot(candidates={"include": ["*"], "effort": ["low"]})
    asked = [
        snapshot.route(facts(10), Wish()),
        snapshot.route(facts(10), Wish(quality_milli=1)),
        snapshot.route(facts(10, asked_model="acme/large"), Wish()),
        snapshot.route(facts(10, asked_model="large"), Wish()),
        snapshot.route(facts(10, task="code"), Wish()),
        snapshot.route(facts(10, tier="realtime"), Wish()),
        snapshot.route(facts(10, needs=ORDERED), Wish()),
    ]
    assert len(set(map(id, asked))) == len(asked)


def test_where_size_or_need_decides_between_rules_nothing_is_shared():
    rules = [{"name": "short", "when": {"input_tokens": "< 100"}}, {"name": "long"}]
    snapshot = a_snapshot(rules=rules)
    assert [snapshot.route(facts(count), Wish()).plan.rule for count in (90, 110, 90)] == ["short", "long", "short"]
    doubtful = facts(0, tokens=TokenRange(1, 90, 95, 110, 200))
    assert [snapshot.route(asked, Wish()).doubtful for asked in (facts(95), doubtful, facts(95))] == [
        False,
        True,
        False,
    ]


def test_callers_who_make_words_up_do_not_fill_the_memory(monkeypatch):
    monkeypatch.setattr(views, "MOST_KNOWN", 2)
    snapshot = a_snapshot()
    first = snapshot.route(facts(10), Wish(tags=("app=0",)))
    for number in range(1, 4):
        snapshot.route(facts(10), Wish(tags=(f"app={number}",)))
    assert snapshot.route(facts(10), Wish(tags=("app=3",))) is snapshot.route(facts(10), Wish(tags=("app=3",)))
    assert snapshot.route(facts(10), Wish(tags=("app=0",))) is not first
