import msgspec
from hypothesis import given
from hypothesis import strategies as st
from options import facts, option, price, random_facts, random_options, rates, tokens

from router.core.holds import likely_output, output_limit, worst_case
from router.core.pricing import cost_pico
from router.core.values import Band, Usage


def test_the_worst_is_the_prompts_upper_end_and_the_whole_output_limit():
    one = option(message_overhead=0, max_output=8_000)
    assert worst_case(one, facts(1000, text_bytes=4_000)) == 1000 * 125 + 8_000 * 400
    assert worst_case(one, facts(1000, text_bytes=4_000, max_output=10)) == 1000 * 125 + 10 * 400
    assert worst_case(one, facts(1000, text_bytes=4_000, max_output=10**6, choices=3)) == 1000 * 125 + 24_000 * 400
    assert worst_case(one, facts(tokens=tokens(1000, 50), text_bytes=4_000), 1) == 1100 * 125 + 400


def test_a_prompt_that_only_points_somewhere_may_fill_the_window():
    one = option(context_window=50_000)
    assert worst_case(one, facts(10, max_output=1)) == 50_000 * 125 + 400
    assert worst_case(one, facts(10, max_output=1, inputs=2)) == 100_000 * 125 + 400


def test_the_dearest_band_that_can_be_reached_counts():
    dear = price(Band(1_000, rates(input=900, cache_write=1, output=400)))
    one = option(price=dear, message_overhead=0)
    assert worst_case(one, facts(1_001, text_bytes=9_000, max_output=0)) == 1_001 * 900
    assert worst_case(one, facts(1_000, text_bytes=9_000, max_output=0)) == 1_000 * 125


def test_limits_are_the_smaller_ones():
    one = option(max_output=100, output_p90=500)
    assert (output_limit(one, facts()), output_limit(one, facts(max_output=7))) == (100, 7)
    assert (likely_output(one, facts()), likely_output(one, facts(max_output=7))) == (100, 7)
    assert likely_output(option(output_p90=50, output_mean=60), facts()) == 60
    assert likely_output(option(output_p90=0, output_mean=0), facts(max_output=0)) == 0


@given(random_options(1), random_facts(), st.data())
def test_nothing_within_the_limits_costs_more_than_the_worst(one, asked, data):
    prompt_high = asked.tokens.high * one.ratio_ppm // 1_000_000
    asked = msgspec.structs.replace(asked, images=(), text_bytes=10**6)
    worst = worst_case(one, asked)
    completion = data.draw(st.integers(0, asked.choices * output_limit(one, asked)))
    prompt = data.draw(st.integers(0, max(min(prompt_high, one.context_window), 0)))
    cached = data.draw(st.integers(0, prompt))
    written = data.draw(st.integers(0, prompt - cached))
    if all(band.rates.cached_input <= max(band.rates.input, band.rates.cache_write) for band in one.price.bands):
        assert cost_pico(one.price, Usage(prompt, completion, cached, written)) <= worst
