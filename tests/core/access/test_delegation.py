import pytest

from router.core.access.delegation import MOST, on_behalf, read_delegates
from router.core.errors import RouterError
from router.core.values import Identity


def who(*delegates):
    return Identity(tenant="acme", key="k1", team="search", app="faq", delegates=delegates)


def test_nothing_claimed_changes_nothing():
    assert on_behalf(who(), ()) == (who(), "")


def test_what_is_delegated_is_taken():
    identity, user = on_behalf(who("user", "team", "app"), (("app", "bot"), ("team", "ads"), ("user", "ann@x")))
    assert (identity.team, identity.app, user) == ("ads", "bot", "ann@x")
    assert (identity.tenant, identity.key) == ("acme", "k1")


def test_one_value_may_be_delegated_and_no_other():
    assert on_behalf(who("team=ads", "team=maps"), (("team", "ads"),))[0].team == "ads"
    with pytest.raises(RouterError, match=r"only team=ads, team=maps to x-costrouter-team: 'news'") as caught:
        on_behalf(who("team=ads", "team=maps"), (("team", "news"),))
    assert (caught.value.code, caught.value.param) == ("not_allowed", "x-costrouter-team")


def test_a_key_without_delegation_may_say_what_it_is_anyway_and_nothing_else():
    assert on_behalf(who(), (("app", "faq"), ("team", "search"))) == (who(), "")
    for claim in (("team", "ads"), ("app", "bot"), ("user", "ann")):
        with pytest.raises(RouterError, match=f"no {claim[0]} to x-costrouter-{claim[0]}"):
            on_behalf(who(), (claim,))


def test_delegations_are_read_in_order_and_once():
    assert read_delegates(["user", " team=search", "user"]) == ("team=search", "user")


@pytest.mark.parametrize("text", ["tenant", "team=Search!", "key=k1", "", "user=\n", "role=admin"])
def test_what_cannot_be_delegated_is_refused(text):
    with pytest.raises(ValueError, match="cannot be delegated; write user, team, app"):
        read_delegates([text])


def test_a_key_delegates_so_many_values_at_most():
    assert len(read_delegates([f"team=t{number}" for number in range(MOST)])) == MOST
    with pytest.raises(ValueError, match="at most 64"):
        read_delegates([f"team=t{number}" for number in range(MOST + 1)])
