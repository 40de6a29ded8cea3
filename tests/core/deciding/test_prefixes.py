import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from options import facts, option, plan, price, rates

from router.core.deciding.choices import Cache, Prefix
from router.core.deciding.decide import decide, expected_cost
from router.core.deciding.prefixes import PPM, added_cost, breakpoints, pays, warm_tokens, written_ppm

BY_ITSELF = Cache(asked=False, least=1_024, hit_ppm=PPM)
ON_REQUEST = Cache(asked=True, least=1_024, hit_ppm=PPM)
UNLESS_TOLD = Cache(asked=False, least=1_024, hit_ppm=PPM, chosen=True)
RATES = rates()  # fresh 100, cached 10, written 125


def at(cache, name="acme/large", **changes):
    return option(name, cache=cache, message_overhead=0, output_mean=0, **changes)


def known(tokens=2_000, **changes):
    return Prefix(tokens, **changes)


def warm(share=800_000, name="acme/large", tokens=2_000, **changes):
    return Prefix(tokens, warm={f"{name}@acme": share}, **changes)


def test_what_is_warm_is_read_at_its_own_price_and_the_rest_is_written():
    found = added_cost(at(BY_ITSELF), warm(), 2_000, RATES)
    assert found == 1_600 * (10 - 100) + 400 * (125 - 100)


def test_a_cache_that_hits_half_the_time_saves_half():
    often = msgspec.structs.replace(BY_ITSELF, hit_ppm=500_000)
    free = rates(cache_write=100)
    assert added_cost(at(often), warm(), 2_000, free) == 800 * (10 - 100)


@pytest.mark.parametrize("cache", [BY_ITSELF, None])
def test_too_little_is_not_kept(cache):
    assert added_cost(at(cache), warm(PPM, tokens=1_023), 1_023, RATES) == 0
    assert warm_tokens(at(cache), warm(PPM, tokens=1_023), 1_023) == 0


def test_warm_tokens_are_those_of_this_entry():
    assert warm_tokens(at(BY_ITSELF), warm(), 2_100) == 1_680
    assert warm_tokens(at(BY_ITSELF), warm(name="acme/other"), 2_100) == 0


def test_on_request_nothing_is_written_unless_somebody_asks():
    assert written_ppm(at(ON_REQUEST), known(), RATES) == 0
    assert written_ppm(at(ON_REQUEST), known(marked=True), RATES) == PPM
    assert written_ppm(at(ON_REQUEST), known(again_ppm=PPM), RATES) == PPM
    assert written_ppm(at(ON_REQUEST), known(head_ppm=300_000, head_again_ppm=PPM), RATES) == 300_000
    assert written_ppm(at(BY_ITSELF), known(), RATES) == PPM
    assert written_ppm(at(None), known(marked=True), RATES) == 0


def test_breakpoints_are_set_as_far_as_they_pay_and_never_beside_the_callers():
    sure = known(again_ppm=PPM, head_again_ppm=PPM)
    assert breakpoints(at(ON_REQUEST), sure, RATES) == "all"
    assert breakpoints(at(ON_REQUEST), msgspec.structs.replace(sure, again_ppm=0), RATES) == "head"
    assert breakpoints(at(ON_REQUEST), known(), RATES) == ""
    assert breakpoints(at(ON_REQUEST), msgspec.structs.replace(sure, marked=True), RATES) == ""
    assert breakpoints(at(BY_ITSELF), sure, RATES) == ""
    assert breakpoints(at(None), sure, RATES) == ""


def test_a_provider_that_keeps_by_itself_is_told_what_does_not_pay():
    one, sure = at(UNLESS_TOLD), known(again_ppm=PPM, head_ppm=300_000, head_again_ppm=PPM)
    assert (breakpoints(one, known(), RATES), written_ppm(one, known(), RATES)) == ("none", 0)
    assert (breakpoints(one, sure, RATES), written_ppm(one, sure, RATES)) == ("all", PPM)
    head = msgspec.structs.replace(sure, again_ppm=0)
    assert (breakpoints(one, head, RATES), written_ppm(one, head, RATES)) == ("head", 300_000)
    for left in (known(left=True), known(marked=True), warm(name="acme/large"), known(tokens=1_000)):
        assert (breakpoints(one, left, RATES), written_ppm(one, left, RATES)) == ("", PPM)
    assert breakpoints(one, known(), rates(cache_write=100)) == "", "writing costs nothing"


def test_who_keeps_for_half_an_hour_goes_by_who_comes_again_in_that_time():
    late = known(late_ppm=PPM, head_late_ppm=PPM)
    for kind, otherwise in ((ON_REQUEST, ""), (UNLESS_TOLD, "none")):
        long = msgspec.structs.replace(kind, late=True)
        assert (breakpoints(at(kind), late, RATES), breakpoints(at(long), late, RATES)) == (otherwise, "all")
        assert breakpoints(at(long), msgspec.structs.replace(late, late_ppm=0), RATES) == "head"
        assert breakpoints(at(long), known(again_ppm=PPM, head_again_ppm=PPM), RATES) == otherwise


def test_break_even_is_where_the_facts_say():
    # (w - 1) / (1 - r) with w = 1.25 and r = 0.1: more than 27.8 % of what is written must be read again.
    assert not pays(277_777, RATES)
    assert pays(277_778, RATES)
    # An hour's cache, w = 2: one use more than writing it is not enough, two are.
    hour = rates(cache_write=200)
    assert not pays(PPM, hour)


def test_a_session_stays_where_it_is_warm_until_leaving_saves_more():
    # Staying reads 8,000 of 10,000 tokens at 10; the other model's fresh price must be below what that comes to.
    stays = at(BY_ITSELF, "acme/warm", price=price(cache_write=100))
    asked = facts(10_000, messages=0, prefix=warm(name="acme/warm", tokens=10_000))
    paid = expected_cost(stays, asked, 10_000)
    assert paid == 8_000 * 10 + 2_000 * 100
    for fresh, chosen in ((29, "acme/warm"), (28, "acme/warm"), (27, "acme/cold")):
        leaves = at(BY_ITSELF, "acme/cold", price=price(input=fresh, cache_write=fresh, cached_input=1))
        assert decide(plan(stays, leaves), asked, None).option.model == chosen
        cold = facts(10_000, messages=0, prefix=known(10_000))
        assert decide(plan(stays, leaves), cold, None).option.model == "acme/cold"


def test_the_decision_says_what_is_warm_and_what_is_asked_for():
    one = at(msgspec.structs.replace(ON_REQUEST, keyed=True))
    found = decide(plan(one), facts(2_000, messages=0, prefix=warm(again_ppm=PPM, key="cr-1")), None)
    assert (found.warm_tokens, found.keeps, found.cache_key) == (1_600, "all", "cr-1")
    plain = decide(plan(at(None)), facts(2_000, prefix=warm(again_ppm=PPM, key="cr-1")), None)
    assert (plain.warm_tokens, plain.keeps, plain.cache_key) == (0, "", "")
    short = decide(plan(at(BY_ITSELF)), facts(2_000, prefix=warm(key="cr-1")), None)
    assert short.cache_key == ""


def test_a_policy_may_keep_us_from_asking():
    one = at(msgspec.structs.replace(ON_REQUEST, keyed=True))
    found = decide(plan(one, caches=False), facts(2_000, prefix=warm(again_ppm=PPM, key="cr-1")), None)
    assert (found.keeps, found.cache_key) == ("", "")
    assert found.warm_tokens > 0


@given(st.integers(0, PPM), st.integers(0, PPM), st.integers(1_024, 100_000), st.booleans())
def test_a_prompt_never_costs_less_than_reading_all_of_it_nor_more_than_writing_it(share, again, tokens, asked):
    one = at(ON_REQUEST if asked else BY_ITSELF)
    added = added_cost(one, warm(share, again_ppm=again, tokens=tokens), tokens, RATES)
    assert tokens * 10 <= tokens * 100 + added <= tokens * 125


@given(st.integers(0, PPM), st.integers(0, PPM))
def test_more_that_is_warm_never_costs_more(one, other):
    less, more = sorted((one, other))
    costs = [added_cost(at(BY_ITSELF), warm(share, tokens=5_000), 5_000, RATES) for share in (less, more)]
    assert costs[1] <= costs[0]
