import msgspec

from router.core.budgets.budget import FOREVER_MS, NO_TERMS, Budget, Budgets, lasting
from router.core.budgets.limit_words import limit_body, limit_headers, limit_refusal, limit_state, what, whose
from router.core.budgets.limits import Limit, corrections, counted, is_limit, limit_id
from router.core.values import Hold, Row

REQUESTS = Limit("lr-abc", "acme", (("team", "search"),), "requests", 100)
TOKENS = Limit("lt-abc", "acme", (), "tokens", 5_000, "hour")
AT_ONCE = Limit("lc-abc", "acme", (("model", "acme/large"),), "concurrency", 8)
EVERY = (REQUESTS, TOKENS, AT_ONCE)


def hold(*limits, tokens=70, **changes):
    terms = msgspec.structs.replace(NO_TERMS, limits=limits, **changes)
    return Hold("r1/1", "acme", 1, 2, terms=terms, tokens=tokens)


def row(limits, prompt=10, completion=5, outcome="ok"):
    blank = {name: "" if kind == "str" else 0 for name, kind in Row.__annotations__.items()}
    return Row(
        **blank
        | {
            "tags": (),
            "budgets": (),
            "limits": limits,
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "outcome": outcome,
        }
    )


def test_a_limit_is_named_by_what_it_counts():
    one = limit_id("acme", [("team", "a"), ("app", "b")], "tokens", "minute")
    assert one == limit_id("acme", [("app", "b"), ("team", "a")], "tokens", "minute")
    assert one.startswith("lt-")
    assert len({one, limit_id("acme", [], "tokens", "hour"), limit_id("acme", [], "requests", "hour")}) == 3
    assert limit_id("acme", [], "concurrency", "hour") == limit_id("acme", [], "concurrency", "day")
    assert is_limit(one)
    assert not is_limit("abcdefghij:29000")


def test_a_rates_counter_has_buckets_and_that_of_attempts_has_none():
    assert [limit.name for limit in EVERY] == ["lr-abc~", "lt-abc~", "lc-abc:0"]
    assert [limit.bucket_ms for limit in EVERY] == [1_000, 60_000, 1_000]


def test_a_row_says_what_it_added_to_rates():
    assert counted(hold(*EVERY), 120_000) == ("lr-abc~120", "lt-abc~2:70")
    assert counted(hold(*EVERY, counted=frozenset(["lr-abc"])), 0) == ("lt-abc~0:70",)
    assert counted(hold(), 0) == counted(None, 0) == ()


def test_tokens_are_corrected_to_what_was_metered_and_requests_stay():
    limits = ("lr-abc~120", "lt-abc~2:70")
    assert list(corrections(row(limits))) == [("lt-abc~2", -55)]
    assert list(corrections(row(limits, 0, 0, "released"))) == [("lr-abc~120", -1), ("lt-abc~2", -70)]


def test_limits_are_found_as_budgets_are():
    budgets = Budgets([Budget("b", "acme", (("team", "search"),), 5, "total")], {"UTC": None}, EVERY)
    dims = ("search", "", "k", "", "acme/large", "acme", ())
    found = budgets.terms(dims, 0)
    assert [limit.id for limit in found.limits] == ["lc-abc", "lr-abc", "lt-abc"]
    assert [place.name for place in found.places] == [*found.names, "lc-abc:0", "lr-abc~", "lt-abc~"]
    assert [limit.id for limit in budgets.terms(("ads", *dims[1:]), 0).limits] == ["lc-abc", "lt-abc"]
    assert found.names == ("b:0",), "no cost is charged to a limit"


def test_of_an_attempt_that_runs_only_its_place_is_held_again():
    terms = msgspec.structs.replace(NO_TERMS, limits=EVERY)
    assert [limit.kind for limit in lasting(terms, 0).limits] == ["concurrency"]
    assert [limit.kind for limit in lasting(terms, FOREVER_MS).limits] == ["concurrency"]


def test_a_limit_says_what_it_is():
    assert [what(limit) for limit in EVERY] == ["100 requests per minute", "5000 tokens per hour", "8 at a time"]
    assert [whose(limit) for limit in EVERY] == ["team=search", "tenant=acme", "model=acme/large"]
    assert limit_body(TOKENS) == {"scope": {}, "kind": "tokens", "limit": 5_000, "per": "hour"}
    assert limit_body(AT_ONCE) == {"scope": {"model": "acme/large"}, "kind": "concurrency", "limit": 8}
    assert limit_state(AT_ONCE, 9)["remaining"] == 0
    assert limit_state(AT_ONCE, 9)["per"] is None


def test_a_refusal_names_the_limit_its_figures_and_when_to_come_back():
    error = limit_refusal(REQUESTS, 100, 1, 2_500)
    assert (error.code, error.status, error.retry_after_s, error.retryable) == ("rate_limited", 429, 2.5, True)
    assert error.message == (
        "The limit of team=search, 100 requests per minute, is reached: 100 in the last minute, and this request needs 1 more."
    )
    assert error.details["limit"]["current"] == 100
    assert ("x-ratelimit-remaining-requests", "0") in error.headers
    assert "8 now" in limit_refusal(AT_ONCE, 8, 1, 0).message


def test_a_request_that_never_fits_is_not_to_be_tried_again():
    error = limit_refusal(TOKENS, 0, 5_001, 0)
    assert (error.retry_after_s, error.retryable) == (None, False)
    assert "is less than the 5001 tokens of this request" in error.message


def test_the_tightest_limit_of_each_kind_stands_in_the_headers():
    wide = msgspec.structs.replace(REQUESTS, id="lr-xyz", limit=1_000)
    assert limit_headers([(wide, 1), (REQUESTS, 1), (TOKENS, 4_000), (AT_ONCE, 8)]) == [
        ("x-ratelimit-limit-requests", "100"),
        ("x-ratelimit-remaining-requests", "99"),
        ("x-ratelimit-reset-requests", "60s"),
        ("x-ratelimit-limit-tokens", "5000"),
        ("x-ratelimit-remaining-tokens", "1000"),
        ("x-ratelimit-reset-tokens", "3600s"),
    ]
    assert limit_headers([(REQUESTS, 1), (wide, 1)]) == limit_headers([(REQUESTS, 1)])
    assert limit_headers([(REQUESTS, 0)])[-1] == ("x-ratelimit-reset-requests", "0s")
