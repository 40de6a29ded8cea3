import msgspec
from hypothesis import assume, given
from hypothesis import strategies as st
from options import facts, option, price, random_facts, random_options, rates, tokens

from router.core.booking.believable import LIMIT_SLACK, UNSEEN_TOKENS, believable
from router.core.budgets.holds import grown_cost, likely_output, output_limit, worst_case
from router.core.images import Flat, Image
from router.core.pricing import cost_pico
from router.core.values import Band, Needs, Usage


def test_the_worst_is_the_longest_prompt_that_is_believed_and_the_whole_output_limit():
    one = option(message_overhead=0, max_output=8_000)
    prompt = (4_000 + UNSEEN_TOKENS) * 125
    assert worst_case(one, facts(1000, text_bytes=4_000)) == prompt + 8_000 * 400
    assert worst_case(one, facts(1000, text_bytes=4_000, max_output=10)) == prompt + (10 + LIMIT_SLACK) * 400
    assert worst_case(one, facts(1000, text_bytes=4_000, max_output=10**6, choices=3)) == prompt + 24_000 * 400
    assert worst_case(one, facts(1000, text_bytes=10**6, max_output=0)) == 100_000 * 125 + LIMIT_SLACK * 400


def test_a_pictures_bytes_are_not_its_tokens():
    one = option(message_overhead=0, image=Flat(tokens=765))
    pictured = facts(50, text_bytes=10**6, max_output=0, images=(Image(300, 300),))
    assert worst_case(one, pictured) == (50 + 765 + UNSEEN_TOKENS) * 125 + LIMIT_SLACK * 400


def test_rejected_predictions_are_billed_beyond_the_callers_limit():
    asked = facts(1000, text_bytes=0, max_output=10, needs=int(Needs.CHAT | Needs.PREDICTION))
    assert worst_case(option(message_overhead=0), asked) == UNSEEN_TOKENS * 125 + 8_000 * 400


def test_what_has_grown_is_held_by_our_count_up_to_the_worst():
    one = option(message_overhead=0)
    assert grown_cost(one, facts(tokens=tokens(1000, 50), text_bytes=4_000), 1) == 1100 * 125 + 400
    asked = facts(1000, text_bytes=4_000, max_output=10)
    assert grown_cost(one, asked, 10**6) == worst_case(one, asked)
    assert grown_cost(one, facts(10), 1) == 100_000 * 125 + 400


def test_a_prompt_that_only_points_somewhere_may_fill_the_window():
    one = option(context_window=50_000)
    assert worst_case(one, facts(10, max_output=1)) == 50_000 * 125 + 9 * 400
    assert worst_case(one, facts(10, max_output=1, inputs=2)) == 100_000 * 125 + 9 * 400


def test_the_dearest_band_that_can_be_reached_counts():
    dear = price(Band(1_000, rates(input=900, cache_write=1, output=400)))
    one = option(price=dear, message_overhead=0)
    assert worst_case(one, facts(1, text_bytes=1, max_output=0)) == (1 + UNSEEN_TOKENS) * 900 + LIMIT_SLACK * 400
    far = option(price=price(Band(5_000, rates(input=900, cache_write=1, output=400))), message_overhead=0)
    assert worst_case(far, facts(1, text_bytes=9, max_output=0)) == (9 + UNSEEN_TOKENS) * 125 + LIMIT_SLACK * 400


def test_all_of_a_prompt_may_be_written_for_an_hour():
    one = option(price=price(cache_write=125), message_overhead=0)
    first = msgspec.structs.replace(one.price.bands[0], cache_write_1h=200)
    kept = msgspec.structs.replace(one, price=msgspec.structs.replace(one.price, bands=(first,)))
    asked = facts(1000, text_bytes=4_000, max_output=0)
    assert worst_case(kept, asked) - worst_case(one, asked) == (4_000 + UNSEEN_TOKENS) * 75
    written = Usage(4_000, 0, cache_write_tokens=4_000, cache_write_1h_tokens=4_000)
    assert cost_pico(kept.price, written) <= worst_case(kept, asked)


def test_limits_are_the_smaller_ones():
    one = option(max_output=100, output_p90=500)
    assert (output_limit(one, facts()), output_limit(one, facts(max_output=7))) == (100, 7)
    assert (likely_output(one, facts()), likely_output(one, facts(max_output=7))) == (100, 7)
    assert likely_output(option(output_p90=50, output_mean=60), facts()) == 60
    assert likely_output(option(output_p90=0, output_mean=0), facts(max_output=0)) == 0


@given(random_options(1), random_facts(), st.data())
def test_nothing_within_the_limits_costs_more_than_the_worst(one, asked, data):
    asked = msgspec.structs.replace(asked, images=(), text_bytes=data.draw(st.integers(0, 10**6)))
    worst = worst_case(one, asked)
    completion = data.draw(st.integers(0, asked.choices * min(output_limit(one, asked) + LIMIT_SLACK, one.max_output)))
    prompt = data.draw(st.integers(0, one.context_window * asked.inputs))
    assume(believable(Usage(prompt, 0), one, asked))
    cached = data.draw(st.integers(0, prompt))
    written = data.draw(st.integers(0, prompt - cached))
    if all(band.rates.cached_input <= max(band.rates.input, band.rates.cache_write) for band in one.price.bands):
        assert cost_pico(one.price, Usage(prompt, completion, cached, written)) <= worst


def test_where_a_lesser_tier_has_no_room_the_usual_one_may_be_billed():
    usual = price()
    flex = option(tier="flex", price=price(input=50, output=200, cache_write=60), prices={"realtime": usual})
    assert worst_case(flex, facts(10)) == worst_case(option(prices={"realtime": usual}), facts(10))
