"""A second opinion on the shipped prices: genai-prices, for the 60 models that are asked for most.

Nobody publishes usage figures that could be read offline, so the list is a judgement: the current families of each large
provider, and the open models with several hosts.
"""

import datetime as dt
from decimal import Decimal
from functools import cache

import msgspec
import pytest
from genai_prices.data import providers

from router.adapters.policies.files import load_policies, packaged_policies_dir
from router.core.pricing import rows_at

NOON = dt.datetime(2026, 11, 23, 12, tzinfo=dt.UTC)
MOMENTS = {
    "today": NOON,
    "weekday peak": dt.datetime(2026, 11, 24, 2, tzinfo=dt.UTC),
    "weekend": dt.datetime(2026, 11, 28, 2, tzinfo=dt.UTC),
    "next year": dt.datetime(2027, 1, 4, 12, tzinfo=dt.UTC),
}
MOST_USED = """
openai: gpt-4o gpt-4o-mini gpt-4.1 gpt-4.1-mini gpt-5 gpt-5-mini gpt-5-nano gpt-5.1 gpt-5.2 gpt-5.4 gpt-5.4-mini
        gpt-5.4-nano gpt-5.5 gpt-5.6-luna gpt-5.6-terra gpt-5.6-sol gpt-6-luna gpt-6-sol gpt-6-astra gpt-6.1-sol
        gpt-6.1-terra o3 text-embedding-3-small text-embedding-3-large text-embedding-ada-002
anthropic: claude-haiku-4-5 claude-haiku-5-5 claude-sonnet-4-5 claude-sonnet-4-6 claude-sonnet-5 claude-sonnet-5-5
        claude-opus-4-5 claude-opus-4-6 claude-opus-4-7 claude-opus-4-8 claude-opus-5 claude-opus-5-5 claude-fable-5-1
google: gemini-2.5-flash gemini-2.5-flash-lite gemini-2.5-pro gemini-3-flash-preview gemini-3.1-pro-preview
        gemini-3.1-flash-lite gemini-3.5-flash gemini-3.5-flash-lite gemini-3.6-flash gemini-3.7-flash gemini-3.8-flash
        gemini-4-argon
google-openai: gemini-embedding-001
deepseek: deepseek-flash deepseek-v4-pro
mistral: mistral-small-2603 mistral-medium-2604 mistral-large-2512 mistral-large-4-0 codestral-2508 ministral-8b-2512
xai: grok-4.3 grok-4.5 grok-4.6 grok-4.7
groq: openai/gpt-oss-120b openai/gpt-oss-20b qwen/qwen3.8-27b
together: moonshotai/Kimi-K3 zai-org/GLM-5.3 zai-org/GLM-5.3-Flash Qwen/Qwen3.8-Flash deepseek-ai/DeepSeek-V4.1-Flash
        deepseek-ai/DeepSeek-V4-Pro-0813
cerebras: gpt-oss-120b
"""
THEIR_NAMES = {"xai": "x-ai", "google-openai": "google"}
METERS = {
    "input": "input_mtok",
    "cached_input": "cache_read_mtok",
    "cache_write": "cache_write_mtok",
    "cache_write_1h": "cache_write_1h_mtok",
    "output": "output_mtok",
}
WEEKENDS = "genai-prices has no weekdays; DeepSeek charges off-peak prices all weekend since 2026-08-23"
EXPLAINED = {
    ("deepseek", "deepseek-flash", "weekend"): WEEKENDS,
    ("deepseek", "deepseek-v4-pro", "weekend"): WEEKENDS,
}


@cache
def ours():
    return {
        (model.provider, model.upstream): model for model in load_policies(packaged_policies_dir(), NOON).catalog.models
    }


@cache
def theirs(provider):
    (found,) = (one for one in providers if one.id == THEIR_NAMES.get(provider, provider))
    return found


def most_used():
    for line in MOST_USED.strip().replace("\n        ", " ").splitlines():
        provider, _, names = line.partition(": ")
        yield from ((provider, name) for name in names.split())


def their_rate(prices, meter, above):
    """Dollars per million tokens for a prompt just above a size; None where they state nothing."""
    stated = getattr(prices, METERS[meter])
    if stated is None or isinstance(stated, Decimal | int):
        return stated
    reached = [tier.price for tier in stated.tiers if above and tier.start <= above + 1]
    return reached[-1] if reached else stated.base


def disagreements(provider, upstream, instant):
    model = ours()[provider, upstream]
    their_model = next(one for one in theirs(provider).models if one.is_match(upstream))
    prices = their_model.get_prices(instant)
    for row in rows_at(model, instant):
        own = {**{name: getattr(row.rates, name) for name in METERS if name != "cache_write_1h"}}
        own["cache_write_1h"] = row.cache_write_1h
        for meter, rate in own.items():
            other = their_rate(prices, meter, row.above)
            if other is not None and Decimal(rate) / 10**6 != Decimal(str(other)):
                yield f"{meter} above {row.above}: ours {Decimal(rate) / 10**6}, theirs {other}"


@pytest.mark.parametrize(("provider", "upstream"), list(most_used()))
def test_a_price_agrees_with_genai_prices_or_says_why_not(provider, upstream):
    for moment, instant in MOMENTS.items():
        found = list(disagreements(provider, upstream, instant))
        assert bool(found) == ((provider, upstream, moment) in EXPLAINED), (moment, found)


def test_the_comparison_can_fail():
    own = ours()["openai", "gpt-4o"]
    cheap = msgspec.structs.replace(own.prices[0].rates, output=1)
    wrong = msgspec.structs.replace(own, prices=(msgspec.structs.replace(own.prices[0], rates=cheap),))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ours(), ("openai", "gpt-4o"), wrong)
        assert list(disagreements("openai", "gpt-4o", NOON)) == ["output above 0: ours 0.000001, theirs 10"]


def test_at_least_sixty_models_are_compared():
    assert len(set(most_used())) >= 60
    assert {(provider, upstream) for provider, upstream, _ in EXPLAINED} <= set(most_used())
