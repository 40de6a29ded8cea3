from store import make_row

from router.adapters.fleet.metrics import GAUGES, Metrics, TimeLimits, exposed, limits_in, render


def text_of(*rows):
    metrics = Metrics()
    for row in rows:
        metrics.on_row(row, None)
    return render(metrics.totals, {}).decode()


def attempts(text):
    lines = [line for line in text.splitlines() if line.startswith("costrouter_attempts_total{")]
    return {line.partition('outcome="')[2].partition('"')[0]: float(line.rpartition(" ")[2]) for line in lines}


def test_attempts_are_counted_by_how_they_ended():
    text = text_of(make_row("r1/1"), make_row("r2/1"), make_row("r3/1", outcome="client_left"))
    assert attempts(text) == {"ok": 2, "client_left": 1}


def test_a_released_attempt_is_counted_and_nothing_is_measured_of_it():
    text = text_of(make_row("r1/1", outcome="released"))
    assert attempts(text) == {"released": 1}
    assert "gen_ai_server_request_duration_seconds_count" not in text
    assert "costrouter_cost_nanodollars_total{" not in text


def value_of(text, name):
    return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(name + "{"))


def test_times_bear_opentelemetrys_names_and_are_in_seconds():
    text = text_of(make_row("r1/1", ttft_ms=400, total_ms=1400, completion_tokens=101))
    assert value_of(text, "gen_ai_server_time_to_first_token_seconds_sum") == 0.4
    assert value_of(text, "gen_ai_server_time_per_output_token_seconds_sum") == 0.01
    assert value_of(text, "gen_ai_server_request_duration_seconds_sum") == 1.4
    assert 'gen_ai_response_model="' in text
    assert 'gen_ai_provider_name="' in text


def test_what_was_not_streamed_has_no_first_token():
    text = text_of(make_row("r1/1", ttft_ms=0, total_ms=1400))
    assert "first_token_seconds_count{" not in text
    assert value_of(text, "gen_ai_server_request_duration_seconds_count") == 1


def good(limits, **row):
    metrics = Metrics(lambda policy, rule: limits)
    metrics.on_row(make_row("r1/1", **row), None)
    return value_of(render(metrics.totals, {}).decode(), "costrouter_good_total")


def test_good_is_what_was_answered_within_the_rules_times():
    fast = {"ttft_ms": 100, "total_ms": 1090, "completion_tokens": 100}
    assert good(TimeLimits(100, 10_000, 1090), **fast) == 1
    assert good(TimeLimits(99, 10_000, 1090), **fast) == 0
    assert good(TimeLimits(100, 9_999, 1090), **fast) == 0
    assert good(TimeLimits(100, 10_000, 1089), **fast) == 0
    assert good(TimeLimits(), **fast) == 1
    assert good(TimeLimits(), **fast, outcome="client_left") == 0


def test_limits_come_from_the_policys_version_and_rule():
    policy = compiled_policy("p95 <= 800ms")
    assert limits_in([policy], policy.version, "any") == TimeLimits(800, 0, 0)
    assert limits_in([policy], policy.version, "other") == TimeLimits()
    assert limits_in([policy], "p@0", "any") == TimeLimits()


def compiled_policy(ttft):
    from catalogs import NOW, a_catalog, a_model, a_policy

    from router.core.policy.compile import compile_policy
    from router.core.policy.schema import PolicySchema
    from router.core.schema import validate

    document = a_policy(rules=[{"name": "any", "require": {"ttft": ttft}}])
    return compile_policy(validate(PolicySchema, document), a_catalog(a_model()), NOW).policy


def test_what_is_said_to_be_exposed_is_exposed():
    metrics = Metrics()
    metrics.on_row(make_row("r1/1", ttft_ms=10, total_ms=20, completion_tokens=5), None)
    metrics.on_refusal("chat", "rate_limited", None)
    text = render(metrics.totals, dict.fromkeys(GAUGES, 0)).decode()
    names = {line.partition("{")[0].partition(" ")[0] for line in text.splitlines() if not line.startswith("#")}
    assert names <= set(exposed())
    assert not [name for name in names if not name.startswith(("costrouter_", "gen_ai_"))]
