"""The ports that every attempt uses, in one value. Part of the pipeline's layer."""

from __future__ import annotations

import msgspec

from router.ports import BudgetBook, Clock, Decisions, Ledger, Listener, TextCounter, Ways


class Desk(msgspec.Struct, frozen=True):
    """The ports that every attempt uses."""

    ledger: Ledger
    counter: TextCounter
    clock: Clock
    listeners: tuple[Listener, ...]
    budgets: BudgetBook
    ways: Ways
    decisions: Decisions | None = None
    """Where decisions are kept; nowhere without it."""
