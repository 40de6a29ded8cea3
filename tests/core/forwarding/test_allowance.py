import pytest

from router.core.forwarding.allowance import allowance, speaks_of_limits

NOW = 1_795_449_600_000  # 2026-11-23 16:00:00 UTC
OPENAI = {
    "x-ratelimit-remaining-requests": "3",
    "x-ratelimit-reset-requests": "6m0s",
    "x-ratelimit-remaining-tokens": "500",
    "x-ratelimit-reset-tokens": "1.5s",
}
ANTHROPIC = {
    "anthropic-ratelimit-requests-remaining": "0",
    "anthropic-ratelimit-requests-reset": "2026-11-23T16:00:30Z",
    "anthropic-ratelimit-tokens-remaining": "9000",
    "anthropic-ratelimit-tokens-reset": "2026-11-23T16:00:10Z",
    "anthropic-ratelimit-input-tokens-remaining": "70",
    "anthropic-ratelimit-input-tokens-reset": "2026-11-23T16:00:20Z",
}


def test_openais_headers_say_what_is_left_and_until_when():
    found = allowance(OPENAI, NOW)
    assert (found.requests, found.requests_until_ms - NOW) == (3, 360_000)
    assert (found.tokens, found.tokens_until_ms - NOW) == (500, 1_500)
    assert found.until_ms == NOW + 360_000


def test_anthropics_tightest_limit_counts():
    found = allowance(ANTHROPIC, NOW)
    assert (found.requests, found.requests_until_ms - NOW) == (0, 30_000)
    assert (found.tokens, found.tokens_until_ms - NOW) == (70, 20_000)
    roomy = allowance(ANTHROPIC | {"anthropic-ratelimit-input-tokens-remaining": "9001"}, NOW)
    assert (roomy.tokens, roomy.tokens_until_ms - NOW) == (9_000, 10_000)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-ratelimit-remaining-requests": "3"},
        {"x-ratelimit-remaining-requests": "-1", "x-ratelimit-reset-requests": "1s"},
        {"x-ratelimit-remaining-requests": "9" * 16, "x-ratelimit-reset-requests": "1s"},
        {"anthropic-ratelimit-requests-remaining": "0", "anthropic-ratelimit-requests-reset": "later"},
        {"anthropic-ratelimit-requests-remaining": "0", "anthropic-ratelimit-requests-reset": "2026-11-23T16:00:30"},
    ],
)
def test_what_cannot_be_read_says_nothing(headers):
    assert allowance(headers, NOW) is None


def test_a_reset_that_is_far_away_or_past_is_kept_within_bounds():
    far = allowance({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "23h"}, NOW)
    assert far.requests_until_ms == NOW + 3_600_000
    past = {
        "anthropic-ratelimit-requests-remaining": "0",
        "anthropic-ratelimit-requests-reset": "2026-11-23T15:00:00Z",
    }
    assert allowance(past, NOW).requests_until_ms == NOW


def test_a_request_fits_while_both_are_left_or_their_time_is_over():
    found = allowance(OPENAI, NOW)
    assert found.fits(500, NOW)
    assert not found.fits(501, NOW)
    assert found.fits(501, NOW + 1_500)
    for _ in range(3):
        assert found.fits(100, NOW)
        found.sent(100)
    assert not found.fits(100, NOW)
    assert found.fits(100, NOW + 360_000)


def test_only_answers_that_speak_of_limits_are_looked_at():
    assert speaks_of_limits(OPENAI)
    assert speaks_of_limits(ANTHROPIC)
    assert not speaks_of_limits({"content-type": "application/json"})
