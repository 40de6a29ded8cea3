"""Later truth about an attempt that has been booked: a row of its own, by the difference.

Belongs here: the arithmetic of corrections. Does not belong here: who finds out, and when.
"""

from __future__ import annotations

from typing import Final

import msgspec

from router.core.meters import less
from router.core.values import Row

AMOUNTS: Final = (
    "prompt_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "cache_write_1h_tokens",
    "completion_tokens",
    "reasoning_tokens",
    "cost_pico",
    "cost_nano",
    "estimated_nano",
    "baseline_nano",
    "runner_up_nano",
    "warm_tokens",
    "cache_saved_nano",
    "would_save_nano",
)
"""What of a row adds up, beside units: a correction holds the signed difference of each."""


def correction(truth: Row, booked: Row, number: int = 1) -> Row:
    """The row that makes the sum of both rows the truth. It says how the truth was come by; its time is the booked row's.

    Args:
        truth: the row that should have been booked; of a ``released`` one every amount is zero.
        booked: the row that was.
        number: of this correction of the attempt, from 1.
    """
    differences = {name: getattr(truth, name) - getattr(booked, name) for name in AMOUNTS}
    return msgspec.structs.replace(
        truth,
        attempt=f"{booked.attempt}!{number}",
        at_ms=booked.at_ms,
        correction_of=booked.attempt,
        budgets=booked.budgets or truth.budgets,
        limits=(),
        units=less(truth.units, booked.units),
        **differences,
    )


def nothing_of(booked: Row) -> Row:
    """The truth of an attempt that was booked and never sent: its row, without cost and meters."""
    return msgspec.structs.replace(
        booked, outcome="released", status=0, certainty="metered", units=(), **dict.fromkeys(AMOUNTS, 0)
    )
