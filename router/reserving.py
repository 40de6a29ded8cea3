"""Setting money aside for an attempt, as often as it takes: a period that ends just now, a smaller answer.

Belongs here: asking the ledger and translating its refusals. Part of the pipeline's layer. Does not belong here: what
is held (attempt.py), and what follows when nothing is to be had (forward.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from router.core.budgets.limit_words import limit_refusal
from router.core.budgets.words import budget_refusal
from router.core.errors import RouterError
from router.exchange import to_send
from router.ports import BudgetExceeded, LimitReached, PeriodOver, StoreUnavailable

if TYPE_CHECKING:
    from router.attempt import Attempt
    from router.desk import Desk
    from router.ports import Timeouts, UpstreamRequest

HOLD_GRACE_MS: Final = 1_000
"""A reservation that reaches the store later than this after it was asked for is refused there."""
RESERVATIONS: Final = 5
"""Most calls for one reservation: a budget period may end just now, or a smaller answer be asked for."""


async def reserve(attempt: Attempt, desk: Desk, timeouts: Timeouts, *, clamps: bool) -> UpstreamRequest:
    """Set the money aside; what is to be sent is put together while the store is at it.

    Raises:
        RouterError: nothing is held.
    """
    over_ms = 0
    for _ in range(RESERVATIONS):
        try:
            reservation = attempt.reserve(HOLD_GRACE_MS, over_ms)
        except StoreUnavailable:
            raise store_unavailable() from None
        try:
            sending = to_send(attempt, timeouts)
            attempt.at_ms = await reservation
        except StoreUnavailable:
            raise store_unavailable() from None
        except PeriodOver as over:
            over_ms = over.now_ms
        except LimitReached as no:
            raise limit_refusal(no.limit, no.current, no.amount, no.wait_ms) from None
        except BudgetExceeded as no:
            hard = no.term.budget.mode == "hard"
            if not (clamps and hard and attempt.clamped is None and attempt.clamp()):
                raise budget_refusal(
                    no.term, no.spent_nano, no.held_nano, no.amount_nano, desk.ledger.store_ms()
                ) from None
        except BaseException:
            attempt.call_off(reservation)
            raise
        else:
            return sending
    raise store_unavailable()


def store_unavailable() -> RouterError:
    """The refusal while the ledger does not answer."""
    return RouterError(
        "store_unavailable", "The ledger does not answer, so nothing was sent; try again.", retry_after_s=1
    )
