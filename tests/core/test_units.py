import pytest

from router.core.units import LatencyLimit, latency_limit, milli, milliseconds


@pytest.mark.parametrize(
    ("text", "ms"),
    [("800ms", 800), ("1.5s", 1500), ("2 m", 120_000), ("4h", 14_400_000), ("1d", 86_400_000), ("0.001s", 1)],
)
def test_durations(text, ms):
    assert milliseconds(text) == ms


@pytest.mark.parametrize("text", ["800", "ms", "-1s", "0ms", "0.5ms", "1 week", "1e3ms", "\u0661s"])
def test_what_is_no_duration(text):
    with pytest.raises(ValueError, match="ms"):
        milliseconds(text)


@pytest.mark.parametrize(
    ("text", "thousandths"), [("95%", 950), ("99.5 %", 995), ("0.8", 800), ("1", 1000), ("100%", 1000), ("0", 0)]
)
def test_shares(text, thousandths):
    assert milli(text) == thousandths


@pytest.mark.parametrize(
    ("text", "why"),
    [("high", "80% or 0.80"), ("80", "above 1"), ("101%", "above 1"), ("0.0001", "finer"), ("99.95%", "finer")],
)
def test_what_is_no_share(text, why):
    with pytest.raises(ValueError, match=why):
        milli(text)


def test_a_limit_on_a_quantile():
    assert latency_limit("p95 <= 800ms") == LatencyLimit(percentile=95, ms=800)
    assert latency_limit("p99<1.5s") == LatencyLimit(percentile=99, ms=1500)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("800ms", "p95 <= 800ms"),
        ("p95 >= 800ms", "p95 <= 800ms"),
        ("p97 <= 1s", "p50, p75, p90"),
        ("p95 <= 9", "unit|ms"),
    ],
)
def test_what_is_no_limit(text, why):
    with pytest.raises(ValueError, match=why):
        latency_limit(text)
