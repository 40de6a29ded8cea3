import pytest
from store import make_row

from router.core.statistics.series import EDGES, MILLION, SIZES, life_of, lived_of, seen, size_of, wholes

WHERE = ("deepseek/deepseek-flash", "deepseek", "realtime")


def told(**changes):
    return dict(seen(make_row(**{"app": "faq", "task": "chat", "prompt_tokens": 600, "max_output": 0, **changes})))


def test_sizes_grow_by_fours():
    assert [size_of(tokens) for tokens in (0, 511, 512, 2_047, 40_000)] == [0, 0, 1, 1, SIZES - 1]
    assert len(EDGES) == SIZES - 1


def test_a_stream_tells_of_its_speed_and_length():
    found = told(ttft_ms=400, total_ms=2_400, completion_tokens=101, cost_pico=5)
    assert found == {
        ("ttft/1", *WHERE): 400_000,
        lived_of("default", "cheap"): 400_000,
        ("wasted", *WHERE): 0,
        ("output/1/faq/chat", *WHERE): 101,
        ("tpot/1", *WHERE): 20_000,
    }


def test_a_whole_answer_tells_how_long_all_of_it_took():
    found = told(ttft_ms=0, total_ms=900, completion_tokens=10)
    assert found["total/1", *WHERE] == 900_000
    assert not any(series[0].startswith("t") and not series[0].startswith("total") for series in found)


def test_an_answer_of_one_token_has_no_pace():
    assert ("tpot/1", *WHERE) not in told(ttft_ms=400, total_ms=400, completion_tokens=1)
    assert ("total/1", *WHERE) not in told(ttft_ms=0, completion_tokens=0)


def test_answers_are_told_by_choice_and_an_answer_that_its_limit_cut_short_as_one():
    assert told(completion_tokens=300, choices=3)["output/1/faq/chat", *WHERE] == 100
    assert told(completion_tokens=90, max_output=100)["cut/1/faq/chat", *WHERE] == 90
    assert told(completion_tokens=89, max_output=100)["output/1/faq/chat", *WHERE] == 89


@pytest.mark.parametrize("outcome", ["upstream_error", "upstream_interrupted"])
def test_a_try_that_was_paid_and_came_to_nothing_is_wasted(outcome):
    assert told(outcome=outcome, cost_pico=5, ttft_ms=0) == {("wasted", *WHERE): MILLION}
    assert told(outcome=outcome, cost_pico=0, ttft_ms=0) == {}


def test_what_was_counted_by_us_says_nothing_of_lengths():
    found = told(certainty="counted", cost_pico=0, ttft_ms=7)
    assert found == {("ttft/1", *WHERE): 7_000, lived_of("default", "cheap"): 7_000}


def test_efforts_have_series_of_their_own():
    found = told(effort="low", ttft_ms=7)
    assert ("ttft/1", *WHERE[:2], "realtime+low") in found


def test_what_a_value_counts_in():
    assert wholes(("ttft/1", *WHERE)) == (("ttft/1", *WHERE), ("ttft", *WHERE))
    assert wholes(("wasted", *WHERE)) == (("wasted", *WHERE),)
    assert wholes(("output", *WHERE)) == (("output", *WHERE),)
    own = (("output/1/faq/chat", *WHERE), ("output//faq/chat", *WHERE))
    assert wholes(("output/1/faq/chat", *WHERE)) == (*own, ("output", *WHERE))
    # How long the model would have talked is not known, but this is what the application gets.
    assert wholes(("cut/1/faq/chat", *WHERE)) == own


def test_speed_ages_in_minutes_and_length_in_hours():
    assert life_of(("ttft/1", *WHERE)).watched
    assert life_of(("output/1/faq/chat", *WHERE)).half_life_ms > 10 * life_of(("ttft", *WHERE)).half_life_ms
    assert not life_of(("output", *WHERE)).watched


def test_an_answer_that_was_kept_teaches_nothing():
    assert told(tier="cache", ttft_ms=7, cost_pico=5) == {}


def test_how_much_of_a_warm_prefix_was_read_is_told():
    assert told(warm_tokens=1_000, cached_tokens=750)["cached", *WHERE] == 750_000
    assert told(warm_tokens=1_000, cached_tokens=0)["cached", *WHERE] == 0
    assert told(warm_tokens=1_000, cached_tokens=2_000)["cached", *WHERE] == MILLION
    assert ("cached", *WHERE) not in told(cached_tokens=750)
    assert ("cached", *WHERE) not in told(warm_tokens=1_000, certainty="counted")
