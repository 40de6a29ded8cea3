"""`costrouter top`: two looks at /metrics, and what happened in between."""

from __future__ import annotations

import asyncio

import pytest
from store import make_row

from router.adapters.fleet.metrics import GAUGES, MOST_STATES, Metrics, render, ways_told
from router.cli.output import console
from router.cli.top import TTFT, Between, read_sample, view
from router.core.forwarding.breaker import State


def between(*rows, seconds=10.0, **gauges):
    metrics = Metrics()
    metrics.on_row(make_row("r0/1", model="acme/a", provider="acme", ttft_ms=100, total_ms=200), None)
    before = read_sample(render(metrics.totals, {}).decode(), 0.0)
    for row in rows:
        metrics.on_row(row, None)
    return Between(before, read_sample(render(metrics.totals, dict.fromkeys(GAUGES, 0) | gauges).decode(), seconds))


def row(number, **facts):
    usual = {"model": "acme/a", "provider": "acme", "ttft_ms": 100, "total_ms": 1100, "completion_tokens": 101}
    return make_row(f"r{number}/1", **usual | facts)


def text_of(found):
    shown = console()
    with shown.capture() as captured:
        shown.print(view(found))
    return captured.get()


def test_only_what_happened_in_between_counts():
    found = between(*(row(number) for number in range(1, 21)))
    assert found.total("costrouter_attempts_total") == 20
    assert found.groups() == [("acme/a", "acme")]
    assert "2.0" in text_of(found)


def test_quantiles_lie_within_their_bucket():
    rows = [row(number, ttft_ms=150) for number in range(1, 10)] + [row(10, ttft_ms=1000)]
    found = between(*rows)
    assert 0.1 < found.quantile(TTFT, 0.5) <= 0.2
    assert 0.8 < found.quantile(TTFT, 0.95) <= 1.2
    assert found.quantile(TTFT, 0.5, gen_ai_response_model="other/b") is None


def test_a_quantile_beyond_the_last_bound_is_that_bound():
    assert between(row(1, ttft_ms=500_000, total_ms=600_000)).quantile(TTFT, 0.5) == 80


def test_failures_refusals_and_what_is_amiss_are_told():
    found = between(
        row(1),
        row(2, outcome="upstream_error"),
        costrouter_degraded=1,
        costrouter_rows_waiting=7,
        costrouter_ways_shut=2,
    )
    text = text_of(found)
    assert "50.0%" in text
    assert "degraded: /readyz says why" in text
    assert "breakers keep 2 ways to a model shut" in text
    assert "7 rows wait for the store" in text


def test_each_way_that_a_breaker_has_opened_is_told_and_only_so_many():
    states = {
        ("openai", "openai/gpt-4o", "OPENAI_API_KEY"): State("open"),
        ("groq", "", "GROQ_API_KEY"): State("half_open"),
    }
    text = text_of(between(row(1), **ways_told([1, 2], states)))
    assert "breakers keep 2 ways to a model shut" in text
    assert "breaker: openai/gpt-4o at openai is open for OPENAI_API_KEY" in text
    assert "breaker: every model at groq is half open for GROQ_API_KEY" in text
    many = {("acme", f"m{number}", ""): State("open") for number in range(20)}
    assert "and 12 more" in text_of(between(**ways_told(many, many)))
    assert len(ways_told((), {("acme", f"m{number}", ""): State("open") for number in range(9_999)})) == MOST_STATES + 1


def test_nothing_at_all_is_shown_as_that():
    assert "0.0" in text_of(between())


async def test_the_command_shows_the_fleet(node, sdk):
    looking = asyncio.create_task(asyncio.to_thread(node.run, "top", "--once", "--every", "3"))
    asked = {"model": "openai/gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}]}
    while not looking.done():
        await sdk.chat.completions.create(**asked)
    told = await looking
    assert told.returncode == 0, told.stderr
    assert "openai/gpt-4o-mini" in told.stdout
    assert "goodput" in told.stdout


@pytest.mark.parametrize("every", ["0", "61"])
def test_a_pace_that_is_none_is_refused(node, every):
    assert node.run("top", "--once", "--every", every).returncode == 2
