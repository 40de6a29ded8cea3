"""How hard a model is to think: efforts in words and budgets in tokens, put into each other.

Belongs here: the two tables. A budget becomes the effort whose own budget it reaches; an effort becomes its budget. The
steps are ours: no provider says how many tokens its efforts stand for.
"""

from __future__ import annotations

from typing import Final, get_args

from router.dialects.neutral import Effort

BUDGETS: Final[dict[Effort, int]] = {
    "minimal": 1024,
    "low": 1024,
    "medium": 4096,
    "high": 16_384,
    "xhigh": 32_768,
    "max": 32_768,
}
LEAST_BUDGET: Final = 1024
"""Anthropic refuses smaller ones."""
_EFFORTS: Final = get_args(Effort)
_STEPS: Final[tuple[tuple[int, Effort], ...]] = ((16_384, "high"), (4096, "medium"))


def effort_of(budget: int) -> Effort:
    """The effort that comes nearest to a budget: low, medium or high, which every model that takes an effort knows."""
    return next((effort for least, effort in _STEPS if budget >= least), "low")


def an_effort(given: object) -> Effort | None:
    """A known effort, or None."""
    return next((effort for effort in _EFFORTS if effort and effort == given), None)
