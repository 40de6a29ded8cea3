from store import make_row

from router.core.booking.ending import ended_row
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
