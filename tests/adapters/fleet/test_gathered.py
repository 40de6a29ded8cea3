"""Rows are told in handfuls, refusals at once."""

from fakes import FakeListener
from store import make_row

from router.adapters.fleet.gathered import MOST, Gathered


def test_rows_are_told_once_a_handful_has_come():
    first, second = FakeListener(), FakeListener()
    gathered = Gathered((first, second))
    rows = [make_row(f"r{number}/1") for number in range(MOST)]
    for row in rows[:-1]:
        gathered.on_row(row, None)
    assert first.rows == []
    gathered.on_row(rows[-1], None)
    assert first.rows == second.rows == [(row, None) for row in rows]


def test_what_is_left_is_told_when_asked_for_and_once():
    listener = FakeListener()
    gathered = Gathered((listener,))
    row = make_row("r1/1")
    gathered.on_row(row, "upstream_error")
    gathered.flush()
    gathered.flush()
    assert listener.rows == [(row, "upstream_error")]


def test_a_refusal_is_told_at_once():
    listener = FakeListener()
    Gathered((listener,)).on_refusal("chat", "budget_exceeded", None)
    assert listener.refusals == [("chat", "budget_exceeded", None)]
