import pytest
from options import facts, flat, option, plan

from router.core.deciding.decide import decide, expected_cost
from router.core.statistics.latency import MOST_TRIES, at_size, sized, tries_ppm
from router.core.statistics.stats import Summary

WHERE = ("acme/large", "acme", "realtime")
LIVE = option(live=True)


def of(n, value):
    return Summary(n=n, mean=value, quantiles=(value,) * 5)


def known(**series):
    return {(name.replace("_", "/"), *WHERE): summary for name, summary in series.items()}.get


def test_a_size_has_figures_of_its_own_once_enough_was_seen():
    found = at_size(LIVE, 2, known(ttft_2=of(20, 900), tpot_2=of(20, 7), total_2=of(20, 5_000)))
    assert (found.ttft.mean, found.tpot.mean, found.total.mean, found.live) == (900, 7, 5_000, True)
    few = at_size(LIVE, 2, known(ttft_2=of(19, 900), tpot_2=of(20, 7), total_2=of(19, 5_000)))
    assert few is LIVE
    pace = at_size(LIVE, 2, known(ttft_2=of(20, 900), tpot_2=of(19, 7)))
    assert (pace.ttft.mean, pace.tpot) == (900, LIVE.tpot)
    assert at_size(LIVE, 1, known(ttft_2=of(20, 900))) is LIVE


def test_where_nothing_was_seen_at_all_no_size_is_asked_for():
    def never(_):
        raise AssertionError

    quiet = option()
    assert at_size(quiet, 2, never) is quiet


def test_all_options_in_one_size_or_none():
    options, further = {"a": LIVE}, {"a": (option(tier="flex", live=True),)}
    assert sized(options, further, 2, known()) is None
    here, ways = sized(options, further, 2, known(ttft_2=of(20, 900)))
    assert (here["a"].ttft.mean, ways["a"][0]) == (900, further["a"][0])


@pytest.mark.parametrize(
    ("wasted", "tries"),
    [
        (None, 1_000_000),
        (of(10_000, 0), 1_000_000),
        (of(10**9, 500_000), 1_999_999),
        (of(1, 1_000_000), 1_050_000),
        (of(10**9, 1_000_000), MOST_TRIES),
    ],
)
def test_tries_that_an_answer_takes(wasted, tries):
    assert tries_ppm(wasted) == pytest.approx(tries, rel=1e-4)


def test_what_is_wasted_makes_an_option_dearer():
    good, flaky = option("acme/good"), option("acme/flaky", tries_ppm=1_200_000)
    assert decide(plan(flaky, good), facts(), None).option is good
    assert expected_cost(flaky, facts(), 1_000) == expected_cost(good, facts(), 1_000) * 12 // 10
    alone = decide(plan(flaky), facts(), None)
    assert alone.expected_pico == expected_cost(flaky, facts(), 1_000)
    assert flat(1).n == 0
