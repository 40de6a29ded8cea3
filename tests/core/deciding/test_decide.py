import math
from fractions import Fraction

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from options import (
    FAULT,
    KNOWN,
    facts,
    missing,
    option,
    plan,
    price,
    random_facts,
    random_options,
    random_plans,
    rates,
    tokens,
)

from router.core.deciding.decide import (
    cheapest,
    decide,
    expected_cost,
    expected_output,
    highest_cost,
    hold,
    level,
    prompt_tokens,
)
from router.core.deciding.prefixes import added_cost
from router.core.images import Flat, Image
from router.core.values import Band, Needs

CHAT, TOOLS, VISION = int(Needs.CHAT), int(Needs.TOOLS), int(Needs.VISION)


def prompt_of(one, asked, count):
    """The prompt as the issue words it, without the code under test."""
    own = math.ceil(Fraction(count * one.ratio_ppm, 1_000_000))
    images = len(asked.images) * (1600 if one.image is None else one.image.tokens)
    return own + asked.fixed_tokens + asked.messages * one.message_overhead + images


def cost_of(one, asked, count):
    prompt = prompt_of(one, asked, count)
    paid = [band.rates for band in one.price.bands if band.above == 0 or prompt > band.above][-1]
    output = one.output_mean if asked.max_output is None else min(one.output_mean, asked.max_output)
    cost = paid.request + prompt * paid.input + asked.choices * output * paid.output
    if asked.prefix is not None:
        cost += added_cost(one, asked.prefix, prompt, paid)
    return cost * one.tries_ppm // 1_000_000


def feasible(one, asked, count, caps):
    answer = 1 if asked.max_output is None else asked.max_output
    return (
        asked.needs & one.capabilities == asked.needs
        and prompt_of(one, asked, count) + answer <= one.context_window
        and (asked.max_output is None or asked.max_output <= one.max_output)
        and all(cap is None or cost_of(one, asked, count) <= cap for cap in caps)
    )


def choice(made, asked, count):
    """(option, its cost) by trying everything, or None."""
    caps = (made.max_cost_pico, asked.max_cost_pico)
    for used in made.levels:
        open_to = [one for one in used.options if feasible(one, asked, count, caps)]
        if open_to:
            best = min(open_to, key=lambda one: cost_of(one, asked, count))
            return best, cost_of(best, asked, count)
    return None


# -- the choice


def test_the_cheapest_is_chosen():
    dear, cheap = option("acme/dear", price=price(output=4_000)), option("acme/cheap")
    found = decide(plan(dear, cheap), facts(), None)
    assert found.option is cheap
    assert (found.policy, found.rule, found.relaxed) == ("support@1234abcd", "everyday", "")
    assert found.expected_pico == (1000 + 3) * 100 + 200 * 400
    assert found.runner_up_pico == (1000 + 3) * 100 + 200 * 4_000


def test_at_equal_cost_the_preferred_one_is_chosen():
    first, second = option("acme/first"), option("acme/second")
    assert decide(plan(first, second), facts(), None).option is first
    assert decide(plan(second, first), facts(), None).option is second


def test_without_a_second_option_there_is_no_runner_up():
    assert decide(plan(option()), facts(), None).runner_up_pico == 0


def test_a_free_model_is_chosen_and_the_runner_up_is_the_next_one():
    free = [option(f"self/free{n}", price=price(input=0, output=0)) for n in range(2)]
    paid = option("acme/paid")
    found = decide(plan(paid, *free, option("acme/other", price=price(request=9))), facts(), None)
    assert found.option is free[0]
    assert (found.expected_pico, found.runner_up_pico) == (0, 0)


@pytest.mark.parametrize(
    ("lacking", "asked"),
    [
        ({"capabilities": CHAT}, {"needs": CHAT | TOOLS}),
        ({"context_window": 1_003}, {}),
        ({"context_window": 1_102}, {"max_output": 100}),
        ({"max_output": 99}, {"max_output": 100}),
        ({"price": price(request=10**9)}, {"max_cost_pico": 10**9}),
    ],
)
def test_what_cannot_serve_is_left_out(lacking, asked):
    assert decide(plan(option(**lacking)), facts(**asked), None) is None
    assert decide(plan(option()), facts(**asked), None) is not None


def test_the_window_may_be_filled_to_the_last_token():
    assert decide(plan(option(context_window=1_103)), facts(max_output=100), None) is not None
    assert decide(plan(option(context_window=1_004)), facts(), None) is not None


def test_the_window_holds_for_the_largest_input_alone():
    asked = facts(10_000, max_output=0, messages=0, inputs=20, largest=tokens(500))
    assert decide(plan(option(context_window=500)), asked, None).prompt_tokens == 10_000
    assert decide(plan(option(context_window=499)), asked, None) is None
    assert decide(plan(option(context_window=999, ratio_ppm=2_000_000)), asked, None) is None


def test_the_smaller_cap_counts():
    cost = expected_cost(option(), facts(), 1000)
    for caps in ((cost, cost - 1), (cost - 1, cost), (cost - 1, None), (None, cost - 1)):
        assert decide(plan(option(), max_cost_pico=caps[0]), facts(max_cost_pico=caps[1]), None) is None
    for caps in ((cost, cost), (None, cost), (cost, None)):
        assert decide(plan(option(), max_cost_pico=caps[0]), facts(max_cost_pico=caps[1]), None) is not None


def test_a_relaxed_level_is_used_only_when_the_first_has_nothing():
    slow = option("acme/slow", price=price(input=1))
    small = option("acme/small", context_window=500)
    made = plan(small, then=(("relax ttft", (small, slow)),), faulty=missing(slow, FAULT))
    assert decide(made, facts(100), None).option is small
    found = decide(made, facts(1000), None)
    assert (found.option, found.relaxed) == (slow, "relax ttft")


def test_savings_are_measured_against_the_baseline():
    dear = option("acme/dear", price=price(input=1_000))
    found = decide(plan(option()), facts(), dear)
    assert (found.baseline, found.baseline_pico) == (dear, expected_cost(dear, facts(), 1000))
    alone = decide(plan(option()), facts(), None)
    assert (alone.baseline, alone.baseline_pico) == (None, alone.expected_pico)


def test_past_a_band_every_token_pays_more():
    banded = option(price=price(Band(1_003, rates(input=200, output=800))))
    assert expected_cost(banded, facts(1000), 1000) == 1_003 * 100 + 200 * 400
    assert expected_cost(banded, facts(1001), 1001) == 1_004 * 200 + 200 * 800


def test_images_cost_what_the_option_says():
    asked = facts(images=(Image(64, 64), Image(64, 64)))
    assert prompt_tokens(option(image=Flat(tokens=258)), asked, 1000) == 1_003 + 2 * 258
    assert decide(plan(option(image=Flat(tokens=258))), asked, None).prompt_tokens == 1_003 + 2 * 258


def test_each_choice_has_its_own_output():
    assert expected_output(option(), facts(max_output=50)) == 50
    assert expected_output(option(), facts(max_output=5_000)) == 200
    assert expected_cost(option(), facts(choices=3), 0) == 3 * 100 + 3 * 200 * 400


@given(random_plans(), random_facts())
def test_the_choice_is_the_one_found_by_trying_everything(made, asked):
    found, wanted = decide(made, asked, None), choice(made, asked, asked.tokens.expected)
    assert (found and (found.option, found.expected_pico)) == wanted


@given(st.data(), random_facts())
def test_choice_and_runner_up_are_those_of_trying_everything_though_most_are_not_looked_at(data, asked):
    """Prices of one family, as catalogs have them, and twins among them."""
    base = data.draw(random_options(0))
    steps = data.draw(st.lists(st.integers(1, 12), min_size=8, max_size=8))
    options = [
        msgspec.structs.replace(
            base, entry=f"acme/m{number}@acme", price=price(input=10 * step, output=40 * step), ratio_ppm=900_000
        )
        for number, step in enumerate(steps)
    ]
    count, caps = asked.tokens.expected, (None, asked.max_cost_pico)
    costs = [cost_of(one, asked, count) for one in options if feasible(one, asked, count, caps)]
    found = decide(plan(*options), asked, None)
    assert (found and (found.option, found.expected_pico)) == choice(plan(*options), asked, count)
    assert (found.runner_up_pico if found else 0) == (sorted(costs)[1] if len(costs) > 1 else 0)


def test_what_must_be_dearer_than_the_second_is_not_looked_at():
    def read(rows):
        yield from rows[:3]
        raise AssertionError("looked at")

    usual = [option(f"acme/m{number}", price=price(input=100 * 2**number)) for number in range(9)]
    rows = level("", usual).figures
    assert cheapest(read(rows), facts(), 1_000, None)[0] is usual[0]
    with pytest.raises(AssertionError, match="looked at"):
        cheapest(read(rows), facts(prefix=KNOWN[0]), 1_000, None)


@given(st.lists(st.integers(0, 4), unique=True, min_size=5, max_size=5), st.data())
def test_the_order_of_options_decides_between_equals_only(order, data):
    options = [data.draw(random_options(index)) for index in range(5)]
    asked = data.draw(random_facts())
    found = decide(plan(*options), asked, None)
    other = decide(plan(*(options[index] for index in order)), asked, None)
    assert (found and found.expected_pico) == (other and other.expected_pico)
    assert (found and found.runner_up_pico) == (other and other.runner_up_pico)
    if found and found.option is not other.option:
        assert expected_cost(found.option, asked, asked.tokens.expected) == other.expected_pico


@given(st.data())
def test_fewer_options_never_cost_less(data):
    options = [data.draw(random_options(index)) for index in range(4)]
    asked = data.draw(random_facts())
    found = decide(plan(*options), asked, None)
    fewer = decide(plan(*options[1:]), asked, None)
    assert fewer is None or found.expected_pico <= fewer.expected_pico


# -- a model that was asked for by its bare name


def asking(one, *others):
    """A plan in which ``one`` was asked for and ``others`` are what the policy admits."""
    own = level("the model asked for", (one,))
    made = plan(*others, candidates=(*others, one))
    return msgspec.structs.replace(made, levels=(*made.levels, own), asked=own)


def test_what_takes_the_place_of_a_model_never_costs_more():
    dear, asked, cheap = (
        option("acme/dear", price=price(output=900)),
        option("acme/asked"),
        option(price=price(input=9)),
    )
    found = decide(asking(asked, dear, cheap), facts(), asked)
    assert (found.option, found.relaxed, found.runner_up_pico) == (cheap, "", 0)
    found = decide(asking(asked, dear), facts(), asked)
    assert (found.option, found.relaxed, found.expected_pico) == (asked, "the model asked for", found.baseline_pico)
    assert decide(asking(asked), facts(), asked).option is asked


def test_a_model_that_cannot_serve_caps_nothing():
    dear = option("acme/dear", price=price(output=900))
    for without in ({"context_window": 100}, {"capabilities": 0}, {"price": price(request=10**9)}):
        made = asking(option("acme/asked", **without), dear)
        assert decide(made, facts(max_cost_pico=10**9), None).option is dear


def test_the_model_asked_for_keeps_within_the_caps():
    assert decide(asking(option()), facts(max_cost_pico=1), None) is None


@given(random_plans(), random_options(9), random_facts())
def test_a_bare_name_means_at_most_this(made, one, asked):
    made = asking(one, *made.levels[0].options) if made.levels else asking(one)
    found, cap = decide(made, asked, None), highest_cost(made, asked, asked.tokens.expected)
    if feasible(one, asked, asked.tokens.expected, (made.max_cost_pico, asked.max_cost_pico)):
        assert found.expected_pico <= cap == cost_of(one, asked, asked.tokens.expected)
    else:
        assert cap == asked.max_cost_pico


@given(random_plans(), random_options(9), random_facts(), st.integers(0, 500))
def test_certain_takes_the_model_asked_for_into_account(made, one, asked, offset):
    made = asking(one, *made.levels[0].options) if made.levels else asking(one)
    found = decide(made, asked, None)
    assume(found is not None and found.certain)
    low, high = asked.tokens.likely_low, asked.tokens.likely_high
    count = low + offset % (high - low + 1)
    other = decide(made, msgspec.structs.replace(asked, tokens=tokens(count)), None)
    if other.option is not found.option:
        token = max(band.rates.input for option in (other.option, found.option) for band in option.price.bands)
        assert cost_of(found.option, asked, count) - other.expected_pico <= 2 * token


# -- certain


def test_a_largest_input_that_may_or_may_not_fit_makes_it_uncertain():
    def certain(window, largest):
        asked = facts(10_000, 100, max_output=0, messages=0, inputs=20, largest=largest)
        found = decide(plan(option(context_window=window), option("acme/b", context_window=9_000)), asked, None)
        return found.certain

    assert certain(510, tokens(500, 10))
    assert not certain(509, tokens(500, 10))
    assert certain(489, tokens(500, 10))
    assert not certain(490, tokens(500, 10))


def test_an_exact_count_is_certain():
    assert decide(plan(option()), facts(), None).certain


def test_a_choice_that_another_count_would_change_is_not_certain():
    flat_fee = option("acme/fee", price=price(input=0, output=0, request=100_000))
    by_token = option("acme/token", price=price(output=0))
    assert decide(plan(flat_fee, by_token), facts(900, 50), None).certain
    assert not decide(plan(flat_fee, by_token), facts(990, 50), None).certain


def test_a_level_that_a_shorter_prompt_would_have_reached_makes_it_uncertain():
    tight, fallback = option("acme/tight", context_window=1_000), option("acme/fallback")
    made = plan(tight, then=(("use reference", (fallback,)),))
    found = decide(made, facts(1_000, 10), None)
    assert found.option is fallback
    assert not found.certain
    assert decide(made, facts(1_200, 10), None).certain


def test_a_band_between_the_ends_makes_it_uncertain():
    """Cheaper at both ends, but dearer where its band has begun and the other's has not."""
    double = rates(input=200, output=800)
    other = option("acme/other", price=price(Band(2_000, double)))
    cheap = price(Band(2_000, rates(input=160, output=640)), input=80, output=320)
    first = option("acme/first", ratio_ppm=1_100_000, price=cheap)
    asked = facts(1_800, 210)
    figures = level("", (first, other)).figures
    assert [cheapest(figures, asked, count, None)[0] for count in (1_590, 1_800, 1_900, 2_010)] == [
        first,
        first,
        other,
        first,
    ]
    assert not decide(plan(first, other), asked, None).certain
    assert decide(plan(first, other), facts(1_700, 50), None).certain


@given(random_plans(), random_facts(), st.integers(0, 500))
def test_certain_means_no_count_in_the_likely_range_would_change_it(made, asked, offset):
    found = decide(made, asked, None)
    assume(found is not None and found.certain)
    low, high = asked.tokens.likely_low, asked.tokens.likely_high
    count = low + offset % (high - low + 1)
    best, cost = choice(made, asked, count)
    if best is not found.option:
        # Rounding up to whole tokens can turn a near tie: never by more than two tokens' price.
        assert feasible(found.option, asked, count, (made.max_cost_pico, asked.max_cost_pico))
        token = max(band.rates.input for one in (best, found.option) for band in one.price.bands)
        assert cost_of(found.option, asked, count) - cost <= 2 * token


# -- what is set aside, and what is believed


def test_the_hold_is_the_likely_upper_end_with_cache_writes():
    asked = facts(1_000, 100)
    assert hold(option(), asked) == (1_100 + 3) * 125 + 500 * 400
    assert hold(option(), msgspec.structs.replace(asked, max_output=10, choices=2)) == (1_100 + 3) * 125 + 20 * 400


def test_the_dearest_band_in_reach_is_held_even_when_a_later_one_is_cheaper():
    odd = option(price=price(Band(500, rates(input=1, output=1, cache_write=1))))
    assert hold(odd, facts(1_000)) == 1_003 * 125 + 500 * 400
    far = option(price=price(Band(5_000, rates(input=9_000))))
    assert hold(far, facts(1_000)) == 1_003 * 125 + 500 * 400


@given(random_options(0), random_facts(), st.integers(0, 400))
def test_the_hold_covers_what_one_try_is_expected_to_cost(one, asked, offset):
    one = msgspec.structs.replace(one, tries_ppm=1_000_000)
    low, high = asked.tokens.likely_low, asked.tokens.likely_high
    count = min(low + offset, high)
    assert hold(one, asked) >= cost_of(one, asked, count)


def test_a_token_range_is_exact_when_its_ends_meet():
    assert tokens(7).exact
    assert not tokens(7, 1).exact


@given(random_plans(), random_facts(), st.integers(0, 4), st.integers(1_000_000, 3_000_000))
def test_a_dearer_option_never_makes_the_answer_cheaper(made, asked, index, tries):
    """Monotone in prices: of the same level, what is chosen costs the same or more once an option costs more."""

    def dearer(found):
        return msgspec.structs.replace(found, tries_ppm=found.tries_ppm * tries // 1_000_000)

    victim = made.candidates[index % len(made.candidates)]
    levels = tuple(
        level(one.relaxed, [dearer(o) if o.entry == victim.entry else o for o in one.options]) for one in made.levels
    )
    before, after = decide(made, asked, None), decide(msgspec.structs.replace(made, levels=levels), asked, None)
    if before and after and before.relaxed == after.relaxed:
        assert after.expected_pico >= before.expected_pico
    assert after is None or before is not None
