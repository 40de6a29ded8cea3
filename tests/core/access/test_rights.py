import pytest

from router.core.access.rights import (
    ENDPOINTS,
    MAY,
    ROLES,
    TAKE_BROUGHT,
    may,
    may_make,
    refused,
    right_of,
    takes_brought,
)

SENDS, READS, STEERS = {"admin", "platform", "app"}, {"admin", "platform", "finance"}, {"admin", "platform"}
EVERYBODY = set(ROLES)


@pytest.mark.parametrize(
    ("right", "roles"),
    [
        ("public", EVERYBODY),
        ("prompt", SENDS),
        ("look", EVERYBODY),
        ("spend", EVERYBODY),
        ("read_money", READS),
        ("steer", STEERS),
        ("read_keys", READS),
        ("app_keys", STEERS),
        ("read_audit", READS),
        ("own", {"admin"}),
    ],
)
def test_who_has_a_right(right, roles):
    assert {role for role in ROLES if may(role, right)} == roles


def test_finance_reads_and_changes_nothing():
    assert {method for (method, _), right in ENDPOINTS.items() if "finance" in MAY[right] and right != "public"} <= {
        "GET",
        "POST",
    }
    changing = {"steer", "app_keys", "own", "prompt"}
    assert not [right for right in changing if may("finance", right)]


def test_every_right_of_an_endpoint_is_a_right():
    assert set(ENDPOINTS.values()) <= set(MAY)


def test_an_endpoint_that_nobody_has_thought_of_is_not_served():
    assert right_of("GET", "/healthz") == "public"
    with pytest.raises(LookupError, match=r"who may call PUT /x\?.*rights\.py"):
        right_of("PUT", "/x")


def test_a_refusal_names_the_roles_that_would_do():
    assert refused("finance", "steer") == "This needs a key with the role admin or platform; this key's is finance."


def test_the_platform_team_makes_keys_of_applications_only():
    assert may_make("platform", "app")
    assert not [role for role in ROLES if role != "app" and may_make("platform", role)]
    assert all(may_make("admin", role) for role in ROLES)


def test_a_providers_own_key_opens_lists_of_models_and_counting_beside_prompts():
    assert takes_brought("GET", "/v1/models")
    assert not takes_brought("GET", "/costrouter/v1/keys")
    assert all(ENDPOINTS[endpoint] in ("look", "prompt") for endpoint in TAKE_BROUGHT)
