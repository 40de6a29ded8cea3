import pytest
from catalogs import the_policy

from router.core.forwarding.forwarding import Forwarding, Queueing, completed
from router.core.schema import SchemaError

SETTINGS = Forwarding(attempts=4, within_ms=20_000)


def bounds(**said):
    return the_policy(**said).policy.forwarding


def test_a_policy_that_says_nothing_leaves_it_to_the_settings():
    assert bounds() is None


def test_what_a_policy_says_wins_and_the_rest_is_the_settings():
    found = bounds(timeouts={"first_byte": "2s", "total": "1m"})
    assert (found.first_byte_ms, found.total_ms, found.connect_ms) == (2_000, 60_000, None)
    whole = completed(found, SETTINGS)
    assert (whole.attempts, whole.within_ms, whole.first_byte_ms) == (4, 20_000, 2_000)
    stated = completed(bounds(retry={"attempts": 2, "within": "5s", "same": 0, "backoff": "1s"}), SETTINGS)
    assert (stated.attempts, stated.within_ms, stated.same, stated.backoff_ms) == (2, 5_000, 0, 1_000)


def test_a_queue_has_a_wait_a_depth_and_a_tag_that_orders_it():
    assert bounds(queue={"wait": "5s"}).queue == Queueing(5_000, 100, "")
    assert bounds(queue={"wait": "5s", "depth": 7, "priority": "tag/tier"}).queue == Queueing(5_000, 7, "tier")


@pytest.mark.parametrize(
    "said",
    [
        {"retry": {"attempts": 0}},
        {"retry": {"attempts": 11}},
        {"timeouts": {"connect": "5"}},
        {"queue": {"depth": 5}},
        {"queue": {"wait": "5s", "priority": "tier"}},
        {"queue": {"wait": "5s", "depht": 5}},
    ],
)
def test_what_cannot_be_meant_is_refused(said):
    with pytest.raises(SchemaError):
        bounds(**said)


def test_two_policies_that_differ_in_it_have_different_versions():
    assert the_policy(queue={"wait": "5s"}).policy.version != the_policy().policy.version
