import pytest

from router.core.forwarding.retry_after import duration_ms, retry_after_ms

NOW_MS = 1_795_449_600_000  # 2026-11-23 16:00:00 UTC


@pytest.mark.parametrize(
    ("headers", "ms"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7_000),
        ({"retry-after": " 1.5 "}, 1_500),
        ({"retry-after": "0"}, 0),
        ({"retry-after": "0.0001"}, 1),
        ({"retry-after": "Mon, 23 Nov 2026 16:00:30 GMT"}, 30_000),
        ({"retry-after": "Mon, 23 Nov 2026 15:00:00 GMT"}, 0),
        ({"retry-after": "Wed, 25 Nov 2026 16:00:00 GMT"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "86401"}, None),
        ({"retry-after-ms": "250", "retry-after": "1"}, 250),
        ({"x-ms-retry-after-ms": "1200"}, 1_200),
        ({"retry-after-ms": "?", "retry-after": "2"}, 2_000),
    ],
)
def test_a_response_says_when_to_come_back_in_any_of_its_headers(headers, ms):
    assert retry_after_ms(headers, NOW_MS) == ms


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("6m0s", 360_000),
        ("1h2m3.5s", 3_723_500),
        ("30ms", 30),
        ("12.4ms", 13),
        ("1s", 1_000),
        ("2", 2_000),
        ("0s", 0),
        ("", None),
        ("never", None),
        ("5 parsecs", None),
    ],
)
def test_a_reset_time_is_a_duration_in_any_of_its_units(text, ms):
    assert duration_ms(text) == ms
