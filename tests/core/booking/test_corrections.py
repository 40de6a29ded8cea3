from __future__ import annotations

from store import make_row

from router.core.booking.corrections import AMOUNTS, correction, nothing_of


def test_both_rows_together_are_the_truth():
    truth = make_row("r1/1", cost_nano=700, prompt_tokens=7, at_ms=5, budgets=("b",))
    booked = make_row("r1/1", cost_nano=1_000, prompt_tokens=0, at_ms=3, certainty="estimated", budgets=())
    made = correction(truth, booked)
    assert (made.attempt, made.correction_of, made.at_ms) == ("r1/1!1", "r1/1", 3)
    assert (made.cost_nano, made.prompt_tokens) == (-300, 7)
    assert (made.certainty, made.budgets) == ("metered", ("b",))
    for name in AMOUNTS:
        assert getattr(made, name) + getattr(booked, name) == getattr(truth, name)


def test_the_budgets_are_those_that_the_booked_row_went_to():
    booked = make_row("r1/1", budgets=("a",))
    assert correction(make_row("r1/1", budgets=("b",)), booked, 2).budgets == ("a",)
    assert correction(make_row("r1/1"), booked, 2).attempt == "r1/1!2"


def test_what_was_never_sent_is_corrected_to_nothing():
    booked = make_row("r1/1", certainty="estimated", outcome="upstream_interrupted")
    truth = nothing_of(booked)
    assert (truth.outcome, truth.status, truth.certainty) == ("released", 0, "metered")
    made = correction(truth, booked)
    assert all(getattr(made, name) == -getattr(booked, name) for name in AMOUNTS)


def test_units_are_corrected_meter_by_meter():
    booked = make_row("r1/1", units=(("search", 2), ("tool.web_search", 1)))
    truth = make_row("r1/1", units=(("tool.file_search", 1), ("tool.web_search", 1)))
    made = correction(truth, booked)
    assert made.units == (("search", -2), ("tool.file_search", 1))
    assert correction(nothing_of(booked), booked).units == (("search", -2), ("tool.web_search", -1))
