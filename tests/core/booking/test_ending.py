from options import price
from store import make_row

from router.core.booking.ending import ended_row, savings
from router.core.values import Usage


def test_an_end_changes_what_was_not_known_and_nothing_else():
    sent = make_row("r1/1", certainty="estimated", outcome="upstream_interrupted", status=500, budgets=("b",))
    usage = Usage(10, 20, 3, 4, 5, cache_write_1h_tokens=2)
    row = ended_row(
        sent, usage, 1_001, outcome="ok", status=200, certainty="metered", baseline_nano=9, total_ms=70, ttft_ms=7
    )
    assert (row.outcome, row.status, row.certainty) == ("ok", 200, "metered")
    assert (row.prompt_tokens, row.completion_tokens) == (usage.prompt_tokens, usage.completion_tokens)
    assert (row.cached_tokens, row.cache_write_tokens) == (usage.cached_tokens, usage.cache_write_tokens)
    assert (row.cache_write_1h_tokens, row.reasoning_tokens) == (2, usage.reasoning_tokens)
    assert (row.cost_pico, row.cost_nano, row.baseline_nano) == (1_001, 2, 9)
    assert (row.ttft_ms, row.total_ms) == (7, 70)
    assert (row.attempt, row.budgets, row.model) == (sent.attempt, ("b",), sent.model)


PRICE = price()  # a token fresh 100, cached 10, written 125, of an answer 400


def test_what_a_cache_saved_is_what_fresh_tokens_would_have_cost_more():
    usage = Usage(1_000, 20, cached_tokens=600, cache_write_tokens=100)
    assert savings(PRICE, usage, 0, None) == ((600 * 90 - 100 * 25) // 1_000, 0)
    assert savings(PRICE, Usage(1_000, 20, cache_write_tokens=100), 0, None) == (-3, 0)
    assert savings(PRICE, Usage(1_000, 20), 0, None) == (0, 0)


def test_what_would_have_been_saved_goes_by_the_same_meters():
    usage = Usage(1_000, 100)
    cost = 1_000 * 100 + 100 * 400
    assert savings(PRICE, usage, cost // 1_000, price(input=40)) == (0, 60)
    assert savings(PRICE, usage, cost // 1_000, price(input=130)) == (0, -30)
    row = ended_row(make_row(), usage, cost, outcome="ok", status=200, certainty="metered", baseline_nano=0, total_ms=1,
                    saved=(5, 60))  # fmt: skip
    assert (row.cache_saved_nano, row.would_save_nano) == (5, 60)
