"""When a second attempt sets out, and for how many requests."""

import msgspec
import pytest
from options import option

from router.core.forwarding.hedging import BURST, Hedge, Shares, delay_ms
from router.core.statistics.stats import Summary

TTFT = Summary(n=9, mean=1, quantiles=(100_000, 200_000, 300_000, 400_000, 500_000))
TPOT = Summary(n=9, mean=1, quantiles=(1_000, 2_000, 3_000, 4_000, 5_000))
TOTAL = Summary(n=9, mean=1, quantiles=(1_000_000, 2_000_000, 3_000_000, 4_000_000, 5_000_000))
SLOW = msgspec.structs.replace(option(), ttft=TTFT, tpot=TPOT)
SEEN = msgspec.structs.replace(SLOW, total=TOTAL)
P95 = Hedge(percentile=95)


@pytest.mark.parametrize(
    ("hedge", "candidate", "stream", "ms"),
    [
        (Hedge(after_ms=800), SLOW, False, 800),
        (P95, SEEN, True, 400),
        (P95, SEEN, False, 4_000),
        (P95, SLOW, False, 400 + 50 * 4),
        (Hedge(percentile=50), SEEN, True, 100),
        (P95, msgspec.structs.replace(SLOW, ttft=Summary(1, 1, (1,) * 5)), True, 1),
    ],
    ids=["a fixed time", "a first token", "a whole answer", "nobody has seen one", "the median", "never at once"],
)
def test_a_second_sets_out_once_the_first_takes_longer_than_it_usually_does(hedge, candidate, stream, ms):
    assert delay_ms(hedge, candidate, stream=stream, output_tokens=50) == ms


def test_a_share_of_requests_may_have_a_second_attempt_and_the_first_slow_one_does():
    shares, tenth = Shares(), Hedge(after_ms=1)
    taken = 0
    for _ in range(100):
        shares.asked(tenth)
        taken += shares.taken(tenth)
    assert taken == 11


def test_what_quiet_hours_have_saved_is_bounded():
    shares, tenth = Shares(), Hedge(after_ms=1)
    for _ in range(10_000):
        shares.asked(tenth)
    assert sum(shares.taken(tenth) for _ in range(100)) == BURST


def test_two_rules_have_two_shares():
    shares = Shares()
    assert shares.taken(Hedge(after_ms=1))
    assert not shares.taken(Hedge(after_ms=1))
    assert shares.taken(Hedge(after_ms=2))
