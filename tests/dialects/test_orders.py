import pytest

from router.core.errors import RouterError
from router.dialects.orders import MAX_TAGS, NONE, Orders, due_ms, read_orders


def ordered(metadata=None, **headers):
    return read_orders(
        {f"x-costrouter-{name.replace('_', '-')}": value for name, value in headers.items()}, metadata or {}
    )


def refused(**headers):
    with pytest.raises(RouterError) as caught:
        ordered(**headers)
    assert (caught.value.code, caught.value.status) == ("invalid_request", 400)
    return caught.value.param, caught.value.message


def test_no_orders_are_the_usual_case():
    assert ordered() is NONE
    assert read_orders({"authorization": "Bearer x"}, {}) is NONE
    assert read_orders({"x-costrouter-policy": ""}, {"unit": ""}) is NONE
    assert Orders() == NONE


def test_a_misspelt_order_is_refused_with_the_near_miss():
    assert refused(polcy="night") == (
        "x-costrouter-polcy",
        "x-costrouter-polcy is not a header of the router's; did you mean x-costrouter-policy?",
    )
    param, message = refused(unheard_of="1")
    assert param == "x-costrouter-unheard-of"
    assert "there are x-costrouter-policy, x-costrouter-max-cost-usd" in message
    with pytest.raises(RouterError, match="did you mean x-costrouter-quality"):
        ordered({"qualty": "0.5"})


@pytest.mark.parametrize("name", ["X-Costrouter-Policy", "x-CostRouter-policy"])
def test_headers_have_no_case(name):
    assert read_orders({name: "night"}, {}) == Orders(policy="night")


def test_explain_is_taken_but_checked():
    assert ordered(explain="True") == Orders(explain=True)
    assert "true or false" in refused(explain="yes")[1]


def test_every_order_has_a_header():
    found = ordered(
        policy="support-chat",
        max_cost_usd="0.02",
        quality="95%",
        tags="tier=gold, app=faq",
        unit="ticket",
        task="code",
    )
    assert found == Orders(
        policy="support-chat",
        max_cost_pico=20_000_000_000,
        quality_milli=950,
        tags=("app=faq", "tier=gold"),
        unit="ticket",
        task="code",
    )


def test_metadata_says_the_same_and_a_header_wins():
    metadata = {"policy": "night", "quality": "0.5"}
    assert ordered(metadata) == Orders(policy="night", quality_milli=500)
    assert ordered(metadata, policy="day") == Orders(policy="day", quality_milli=500)
    assert ordered(metadata, policy="") == Orders(policy="night", quality_milli=500)


NOON_MS = 1_795_435_200_000  # 2026-11-23T12:00:00Z


@pytest.mark.parametrize(
    ("deadline", "after_ms"),
    [
        ("4h", 4 * 3_600_000),
        ("90s", 90_000),
        ("2026-11-23T18:00:00Z", 6 * 3_600_000),
        ("2026-11-23t18:00:00.25+05:30", 1_800_250),
    ],
)
def test_a_deadline_is_a_duration_from_now_or_a_time(deadline, after_ms):
    assert ordered(deadline=deadline, unit="ticket") == Orders(unit="ticket", deadline=deadline)
    assert due_ms(deadline, NOON_MS) - NOON_MS == after_ms


def test_a_tag_that_is_sent_twice_counts_once():
    assert ordered(tags="a=1,b=2,a=1").tags == ("a=1", "b=2")


def test_tags_may_have_names_of_things():
    assert ordered(tags="team=Search & Ads".replace("& ", "")).tags == ("team=Search Ads",)
    assert ordered(tags="url=http://a/b@c").tags == ("url=http://a/b@c",)


@pytest.mark.parametrize(
    ("name", "value", "right"),
    [
        ("policy", "two words", "letters, digits"),
        ("policy", "x" * 65, "letters, digits"),
        ("max_cost_usd", "cheap", "such as 0.02"),
        ("max_cost_usd", "1E+999999", "such as 0.02"),
        ("max_cost_usd", "-1", "non-negative"),
        ("quality", "high", "80% or 0.80"),
        ("quality", "1.5", "above 1"),
        ("tags", "faq", "name=value"),
        ("tags", "a=1,", "name=value"),
        ("tags", "a=<script>", "name=value"),
        ("tags", "=1", "name=value"),
        ("tags", ",".join(f"t{n}=1" for n in range(MAX_TAGS + 1)), f"up to {MAX_TAGS} tags"),
        ("unit", "a b", "letters, digits"),
        ("task", "a\nb", "letters, digits"),
        ("unit", "é", "letters, digits"),
        ("deadline", "tomorrow", "such as 4h"),
        ("deadline", "2026-11-23T18:00:00", "or a time such as"),
        ("deadline", "2026-02-30T18:00:00Z", "or a time such as"),
        ("deadline", "2026-11-23", "such as 4h"),
    ],
)
def test_a_wrong_order_names_the_header_and_what_would_be_right(name, value, right):
    param, message = refused(**{name: value})
    assert param == f"x-costrouter-{name.replace('_', '-')}"
    assert message.startswith(param)
    assert right in message


def test_claims_are_read_from_headers_and_metadata_in_order():
    given = {"X-Costrouter-User": "ann@example.com", "x-costrouter-app": "faq"}
    assert read_orders(given, {"team": "search"}).claims == (
        ("app", "faq"),
        ("team", "search"),
        ("user", "ann@example.com"),
    )
    assert read_orders({}, {}).claims == ()


def test_a_claim_that_is_no_name_is_refused():
    assert "small letters" in refused(team="Search!")[1]
    assert "printable" in refused(user="a\nb")[1]


def test_where_an_answer_is_to_be_reported_is_no_matter_of_routing():
    assert ordered(webhook="https://example.com/done") is NONE
    assert ordered(webhook="https://example.com/done", task="code") == Orders(task="code")
