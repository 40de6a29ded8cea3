"""What a policy says of its cache of answers (policy/schema.py, policy/compile.py)."""

from __future__ import annotations

import pytest
from catalogs import the_policy

from router.core.policy.policy import CacheRule
from router.core.schema import SchemaError


def test_no_policy_keeps_answers_unless_it_says_so():
    assert the_policy().policy.cache is None
    assert the_policy(cache={"ttl": "1h"}).policy.cache == CacheRule(3_600_000)
    told = the_policy(cache={"ttl": "1s", "share": "user", "sampled": True}).policy
    assert told.cache == CacheRule(1_000, "user", sampled=True)
    assert told.version != the_policy().policy.version


@pytest.mark.parametrize(
    ("cache", "said"),
    [
        ({"ttl": "999ms"}, "must lie between 1s and 30d"),
        ({"ttl": "31d"}, "must lie between 1s and 30d"),
        ({"ttl": 3600}, "is not a duration"),
        ({}, "the key 'ttl' is missing"),
        ({"ttl": "1h", "share": "tenat"}, "did you mean tenant"),
        ({"ttl": "1h", "scope": "tenant"}, "unknown key 'scope'"),
    ],
)
def test_a_cache_that_means_nothing_is_refused(cache, said):
    with pytest.raises(SchemaError, match=said):
        the_policy(cache=cache)
