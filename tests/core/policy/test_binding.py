import pytest
from catalogs import the_policy

from router.core.policy.binding import MOST_KNOWN, Binds, clashes, overlap, takes, who
from router.core.policy.policy import Bind
from router.core.values import Identity

FAQ = Identity(tenant="acme", key="k1", team="support", app="faq")


@pytest.mark.parametrize(
    ("bind", "holds"),
    [
        (Bind(team=("support",)), True),
        (Bind(team=("sales", "support")), True),
        (Bind(team=("sales",)), False),
        (Bind(team=("support",), app=("faq",)), True),
        (Bind(team=("support",), app=("desk",)), False),
        (Bind(tenant=("acme",)), True),
        (Bind(key=("k2",)), False),
        (Bind(user=("ann",)), True),
        (Bind(user=("bob",)), False),
    ],
)
def test_whom_a_bind_names(bind, holds):
    assert takes(bind, who(FAQ, "ann")) is holds


@pytest.mark.parametrize(
    ("first", "second", "both"),
    [
        (Bind(team=("a",)), Bind(team=("b",)), False),
        (Bind(team=("a", "b")), Bind(team=("b", "c")), True),
        (Bind(team=("a",)), Bind(app=("faq",)), True),
        (Bind(team=("a",)), Bind(team=("a",), app=("faq",)), True),
        (Bind(team=("a",), app=("desk",)), Bind(team=("a",), app=("faq",)), False),
        (Bind(team=("a",)), Bind(team=("a",), named=True), False),
    ],
)
def test_binds_that_overlap(first, second, both):
    assert overlap(first, second) is both
    assert overlap(second, first) is both


def bound(name, **bind):
    return the_policy(policy=name, bind=bind).policy


def test_one_policy_governs_a_request_whatever_the_order():
    policies = [bound("support", team="support"), bound("sales", team="sales"), the_policy(policy="free").policy]
    for order in (policies, policies[::-1]):
        binds = Binds(order)
        assert binds.governing(FAQ, "") == "support"
        assert binds.governing(Identity(tenant="acme", key="k2"), "") is None
        assert binds.governing(FAQ, "") == "support"


def test_without_binds_nothing_is_looked_up():
    assert Binds([the_policy().policy]).governing(FAQ, "ann") is None


def test_a_policy_that_must_be_named_governs_nobody_unasked():
    assert Binds([bound("smart", team="support", named=True)]).governing(FAQ, "") is None


def test_users_are_told_apart_where_a_bind_names_one():
    binds = Binds([bound("vip", user=["ann"])])
    assert binds.governing(FAQ, "ann") == "vip"
    assert binds.governing(FAQ, "bob") is None


def test_what_is_kept_is_bounded():
    binds = Binds([bound("vip", user=["ann"])])
    for number in range(MOST_KNOWN + 2):
        binds.governing(FAQ, f"user-{number}")
    assert len(binds._known) <= MOST_KNOWN
    assert binds.governing(FAQ, "ann") == "vip"


def test_every_clash_is_found_once():
    policies = [bound("a", team="x"), bound("b", team=["x", "y"]), bound("c", team="z"), bound("d", app="faq"),
                bound("e", team="z", app="desk"), bound("f", team="z", app="till")]  # fmt: skip
    found = {(clash.first, clash.second) for clash in clashes(policies)}
    assert found == {("a", "b"), ("a", "d"), ("b", "d"), ("c", "d"), ("c", "e"), ("c", "f")}
