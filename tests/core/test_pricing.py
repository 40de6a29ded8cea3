import datetime as dt
from decimal import Decimal
from functools import cache

import pytest
from catalogs import a_price, the_model
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from router.adapters.policies.files import load_policies, packaged_policies_dir
from router.core.money import PICO_PER_USD, parse_usd
from router.core.pricing import cost_per_meaningful_response, cost_pico, price_at, rates_for
from router.core.values import Band, Price, Rates, Usage
from router.sim import bill
from router.sim import catalog as sim_catalog

PEAK = {"hours": ["01:00-04:00", "06:00-10:00"], "days": ["mon", "tue", "wed", "thu", "fri"]}


def at(text):
    return dt.datetime.fromisoformat(text)


@cache
def shipped():
    return load_policies(packaged_policies_dir()).catalog


def entry(name):
    return next(model for model in shipped().models if model.name == name)


def dollars(name, instant, **usage):
    price = price_at(entry(name), at(instant))
    assert price is not None
    return Decimal(cost_pico(price, Usage(**usage))) / PICO_PER_USD


# Each row was worked out by hand from the published rule that is named with it.
GOLDEN = [
    # plain: 1,000 · $0.40/M + 500 · $1.60/M
    ("openai/gpt-4.1-mini@openai", "2026-11-23T12:00Z", {"prompt_tokens": 1000, "completion_tokens": 500}, "0.0012"),
    # cached tokens are part of the prompt: 200 · 0.40 + 800 · 0.10 + 500 · 1.60
    (
        "openai/gpt-4.1-mini@openai",
        "2026-11-23T12:00Z",
        {"prompt_tokens": 1000, "cached_tokens": 800, "completion_tokens": 500},
        "0.00096",
    ),
    # GPT-5.6 and later bill cache writes at 1.25: 500 · 0.10 + 500 · 0.01 + 1,000 · 0.125 + 100 · 0.50
    (
        "openai/gpt-6-luna@openai",
        "2026-11-23T12:00Z",
        {"prompt_tokens": 2000, "cached_tokens": 500, "cache_write_tokens": 1000, "completion_tokens": 100},
        "0.00023",
    ),
    # reasoning is inside the completion and costs nothing more: 1,000 · 0.25 + 800 · 2.00
    (
        "openai/gpt-5-mini@openai",
        "2026-11-23T12:00Z",
        {"prompt_tokens": 1000, "completion_tokens": 800, "reasoning_tokens": 700},
        "0.00185",
    ),
    # the cliff of GPT-5.4 is past 272,000: input twice, output one and a half times, for all tokens
    ("openai/gpt-5.4@openai", "2026-11-23T12:00Z", {"prompt_tokens": 272_000, "completion_tokens": 1000}, "0.695"),
    ("openai/gpt-5.4@openai", "2026-11-23T12:00Z", {"prompt_tokens": 272_001, "completion_tokens": 1000}, "1.382505"),
    # that of Claude Haiku 5.5 is past 100,000, fivefold
    ("anthropic/claude-haiku-5.5@anthropic", "2026-11-23T12:00Z", {"prompt_tokens": 100_000}, "0.01"),
    ("anthropic/claude-haiku-5.5@anthropic", "2026-11-23T12:00Z", {"prompt_tokens": 100_001}, "0.0500005"),
    # DeepSeek: peak 01:00-04:00 and 06:00-10:00 UTC on weekdays, half-open; 2026-11-23 is a Monday
    ("deepseek/deepseek-flash@deepseek", "2026-11-23T00:59:59Z", {"prompt_tokens": 10_000}, "0.0015"),
    ("deepseek/deepseek-flash@deepseek", "2026-11-23T01:00:00Z", {"prompt_tokens": 10_000}, "0.003"),
    ("deepseek/deepseek-flash@deepseek", "2026-11-23T03:59:59Z", {"prompt_tokens": 10_000}, "0.003"),
    ("deepseek/deepseek-flash@deepseek", "2026-11-23T04:00:00Z", {"prompt_tokens": 10_000}, "0.0015"),
    (
        "deepseek/deepseek-flash@deepseek",
        "2026-11-23T06:00:00Z",
        {"completion_tokens": 500, "prompt_tokens": 0},
        "0.0006",
    ),
    (
        "deepseek/deepseek-flash@deepseek",
        "2026-11-23T10:00:00Z",
        {"completion_tokens": 500, "prompt_tokens": 0},
        "0.0003",
    ),
    ("deepseek/deepseek-flash@deepseek", "2026-11-21T02:00:00Z", {"prompt_tokens": 10_000}, "0.0015"),
    # the same instant, written in Beijing time
    ("deepseek/deepseek-flash@deepseek", "2026-11-23T09:00:00+08:00", {"prompt_tokens": 10_000}, "0.003"),
    # Together serves the same weights at one price all day
    ("deepseek/deepseek-flash@together", "2026-11-23T04:00:00Z", {"prompt_tokens": 10_000}, "0.003"),
    # cached reads of Claude Sonnet 5.5 fell from 0.20 to 0.10 on 2026-10-07
    (
        "anthropic/claude-sonnet-5.5@anthropic",
        "2026-10-06T23:59:59Z",
        {"prompt_tokens": 100_000, "cached_tokens": 100_000},
        "0.02",
    ),
    (
        "anthropic/claude-sonnet-5.5@anthropic",
        "2026-10-07T00:00:00Z",
        {"prompt_tokens": 100_000, "cached_tokens": 100_000},
        "0.01",
    ),
    # Gemini 3.8 Flash doubles on 2027-01-01
    ("google/gemini-3.8-flash@google", "2026-12-31T23:59:59Z", {"prompt_tokens": 10_000}, "0.0075"),
    ("google/gemini-3.8-flash@google", "2027-01-01T00:00:00Z", {"prompt_tokens": 10_000}, "0.015"),
    # the cheapest of the literature: Llama 3.2 3B at Together, $0.06 both ways
    ("meta/llama-3.2-3b@together", "2026-11-23T12:00Z", {"prompt_tokens": 1000, "completion_tokens": 500}, "0.00009"),
    # an embedding has no output
    ("openai/text-embedding-3-small@openai", "2026-11-23T12:00Z", {"prompt_tokens": 8000}, "0.00016"),
]


@pytest.mark.parametrize(("name", "instant", "usage", "expected"), GOLDEN)
def test_golden_prices(name, instant, usage, expected):
    assert dollars(name, instant, **usage) == Decimal(expected)


def test_a_fee_per_request_is_added_once():
    price = price_at(the_model(prices=[a_price(request="0.005")]), at("2026-06-01T00:00Z"))
    assert cost_pico(price, Usage(prompt_tokens=1)) == parse_usd("0.005001")
    assert cost_pico(price, Usage(prompt_tokens=1000, completion_tokens=10)) == parse_usd("0.00604")


def test_what_used_no_token_pays_no_fee_either():
    price = price_at(the_model(prices=[a_price(request="0.005")]), at("2026-06-01T00:00Z"))
    assert cost_pico(price, Usage(0)) == 0
    assert cost_pico(price, Usage(0, completion_tokens=1)) == parse_usd("0.005004")


def test_before_its_first_row_a_model_has_no_price():
    model = the_model()
    assert price_at(model, at("2025-12-31T23:59:59Z")) is None
    assert price_at(model, at("2026-01-01T00:00:00Z")) is not None


def test_after_its_last_row_a_model_has_no_price():
    model = the_model(prices=[a_price(valid_to=dt.date(2026, 6, 1))])
    assert price_at(model, at("2026-05-31T23:59:59Z")) is not None
    assert price_at(model, at("2026-06-01T00:00:00Z")) is None


def test_a_band_alone_is_no_price():
    assert price_at(the_model(prices=[a_price(above_input_tokens=1000)]), at("2026-06-01T00:00Z")) is None


def test_a_price_of_zero_is_a_price():
    price = price_at(the_model(prices=[a_price(input="0", output="0")]), at("2026-06-01T00:00Z"))
    assert cost_pico(price, Usage(prompt_tokens=10**6, completion_tokens=10**6)) == 0


def test_the_latest_of_plain_rows_holds_whatever_their_order():
    rows = [
        a_price(valid_from=dt.date(2026, 3, 1), input="3"),
        a_price(input="1"),
        a_price(valid_from=dt.date(2026, 2, 1), input="2"),
    ]
    model = the_model(prices=rows)
    assert [price_at(model, at(f"2026-0{month}-15T00:00Z")).bands[0].rates.input for month in (1, 2, 3)] == [
        1_000_000,
        2_000_000,
        3_000_000,
    ]


def test_hours_may_be_stated_at_a_fixed_offset():
    rows = [a_price(), a_price(input="9", when={"hours": ["09:00-12:00"], "timezone": "+08:00"})]
    model = the_model(prices=rows)
    assert [price_at(model, at(f"2026-06-01T0{hour}:00Z")).bands[0].rates.input for hour in (0, 1, 3, 4)] == [
        1_000_000,
        9_000_000,
        9_000_000,
        1_000_000,
    ]


def test_weekdays_follow_the_local_day():
    rows = [a_price(), a_price(input="9", when={"days": ["sat"], "timezone": "-05:00"})]
    model = the_model(prices=rows)
    # Saturday 2026-11-21 begins at 05:00 UTC at five hours west.
    inputs = [
        price_at(model, at(text)).bands[0].rates.input
        for text in ("2026-11-21T04:59Z", "2026-11-21T05:00Z", "2026-11-22T04:59Z", "2026-11-22T05:00Z")
    ]
    assert inputs == [1_000_000, 9_000_000, 9_000_000, 1_000_000]


def test_a_version_names_entry_day_and_contents():
    one = price_at(entry("openai/gpt-4.1-mini@openai"), at("2026-11-23T12:00Z"))
    assert one.version.startswith("openai/gpt-4.1-mini@openai:2025-04-14#")
    assert len(one.version.partition("#")[2]) == 4


def test_a_version_changes_with_the_rates_and_not_with_the_source():
    plain, same, dearer = (
        price_at(the_model(prices=[a_price(**change)]), at("2026-06-01T00:00Z")).version
        for change in ({}, {"source": "another page"}, {"input": "1.01"})
    )
    assert plain == same != dearer


def test_peak_and_off_peak_have_versions_of_their_own():
    flash = entry("deepseek/deepseek-flash@deepseek")
    assert price_at(flash, at("2026-11-23T02:00Z")).version != price_at(flash, at("2026-11-23T05:00Z")).version


def test_bands_are_chosen_by_the_whole_prompt():
    price = price_at(entry("openai/gpt-5.4@openai"), at("2026-11-23T12:00Z"))
    assert rates_for(price, 272_000) is price.bands[0].rates
    assert rates_for(price, 272_001) is price.bands[1].rates
    assert [band.above for band in price.bands] == [0, 272_000]


INSTANTS = st.datetimes(dt.datetime(2025, 1, 1), dt.datetime(2027, 6, 1), timezones=st.just(dt.UTC))  # noqa: DTZ001 - made aware by timezones
TOKENS = st.integers(0, 2_000_000)
METERS = st.tuples(TOKENS, TOKENS, TOKENS, TOKENS)
"""Fresh, cached, written, completion."""


@given(st.data(), INSTANTS, METERS)
@settings(max_examples=300, deadline=None)
def test_the_simulated_providers_bill_the_same(data, now, meters):
    fresh, cached, written, completion = meters
    providers = simulated()
    model = data.draw(st.sampled_from(shipped().models))
    twin = providers[model.provider].models[model.upstream]
    usage = Usage(
        prompt_tokens=fresh + cached + written,
        cached_tokens=cached,
        cache_write_tokens=written,
        completion_tokens=completion,
    )
    call = bill.Call(
        provider=model.provider,
        model=twin,
        request_id="r",
        at=now.timestamp(),
        meters=bill.Meters(usage.prompt_tokens, cached, written, completion),
        complete=True,
    )
    price = price_at(model, dt.datetime.fromtimestamp(call.at, dt.UTC))
    if price is None:
        with pytest.raises(LookupError):
            bill.price(call)
    else:
        assert bill.price(call) * PICO_PER_USD == cost_pico(price, usage)


@cache
def simulated():
    return sim_catalog.load(packaged_policies_dir() / "catalog")


RATES = st.builds(Rates, *[st.integers(0, 10**8)] * 5)


@st.composite
def prices(draw):
    low = draw(RATES)
    more = draw(st.builds(Rates, *[st.integers(0, 10**8)] * 5))
    high = Rates(*(getattr(low, name) + getattr(more, name) for name in Rates.__struct_fields__))
    return Price("v", (Band(0, low), Band(draw(st.integers(1, 10**6)), high)))


@given(prices(), METERS, st.integers(0, 1000))
def test_more_tokens_never_cost_less(price, meters, more):
    fresh, cached, written, completion = meters

    def cost(fresh, completion):
        prompt = fresh + cached + written
        return cost_pico(price, Usage(prompt, completion, cached, written))

    assert cost(fresh, completion) <= cost(fresh + more, completion)
    assert cost(fresh, completion) <= cost(fresh, completion + more)


@given(RATES, METERS, METERS)
def test_within_a_band_costs_add_up(rates, one, other):
    price = Price("v", (Band(0, rates),))

    def cost(fresh, cached, written, completion):
        return cost_pico(price, Usage(fresh + cached + written, completion, cached, written))

    assume(any(one) and any(other))
    together = tuple(a + b for a, b in zip(one, other, strict=True))
    assert cost(*one) + cost(*other) == cost(*together) + rates.request


@given(RATES, *[st.integers(-(10**9), 10**9)] * 4)
def test_lying_usage_never_makes_a_negative_cost(rates, prompt, completion, cached, written):
    price = Price("v", (Band(0, rates),))
    cost = cost_pico(price, Usage(prompt, completion, cached, written))
    dearest = max(rates.input, rates.cached_input, rates.cache_write)
    assert 0 <= cost <= rates.request + max(prompt, 0) * dearest + max(completion, 0) * rates.output


def test_more_cached_than_prompt_counts_as_all_cached():
    price = Price("v", (Band(0, Rates(input=10, output=0, cached_input=1, cache_write=12)),))
    assert cost_pico(price, Usage(prompt_tokens=100, cached_tokens=500, cache_write_tokens=500)) == 100


def test_cost_per_meaningful_response_golden_case():
    cost = cost_per_meaningful_response(
        Decimal(150), Decimal("1.2"), Decimal("0.00015"), Decimal(150), Decimal("0.000002")
    )
    assert cost == Decimal("0.0273")


def test_cost_per_meaningful_response_without_side_calls():
    assert cost_per_meaningful_response(Decimal(100), Decimal(1), Decimal("0.0001")) == Decimal("0.01")


def test_tokens_written_for_an_hour_pay_the_rate_of_an_hour_and_others_that_of_minutes():
    rates = Rates(input=100, output=400, cached_input=10, cache_write=125)
    price = Price("v", (Band(0, rates, 200), Band(1000, rates, 300)))
    assert cost_pico(price, Usage(500, 1, cache_write_tokens=400, cache_write_1h_tokens=150)) == (
        100 * 100 + 250 * 125 + 150 * 200 + 400
    )
    assert cost_pico(price, Usage(2000, cache_write_tokens=10, cache_write_1h_tokens=10)) == 1990 * 100 + 10 * 300
    plain = Price("v", (Band(0, rates),))
    assert cost_pico(plain, Usage(10, cache_write_tokens=10, cache_write_1h_tokens=10)) == 10 * 125
