"""Having more set aside for a stream that grows past what is held for it, in budgets that hold what is likely.

Belongs here: when to count what has come, how much to ask for, and what a refusal means. Part of the pipeline's layer.
Does not belong here: passing the stream on (streaming.py), and hard budgets, which hold the worst case from the start.

Counting costs, so it is done rarely: first when the bytes that came could be as many tokens as are held, then when the
bytes a token so far say so. Reasoning that a provider does not show is not seen before its meters come.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from router.core.budgets.holds import grown_cost, likely_output, output_limit
from router.core.budgets.words import budget_refusal
from router.core.deciding.decide import PPM
from router.core.money import nano_ceil
from router.ports import BudgetExceeded, NotHeld, PeriodOver, StoreUnavailable

if TYPE_CHECKING:
    from router.attempt import Attempt
    from router.core.errors import RouterError

GRACE_MS: Final = 1_000
FIRST_BYTES: Final = 4
"""Bytes of a stream that a token takes at least, or nearly so; most providers frame each with a hundred and more."""
NEARLY: Final = 8
"""More is asked for once all but an eighth of what is held has come."""
AT_ONCE_BYTES: Final = 64 * 1024
"""Up to here a stream is read on the loop: some 400 events, a few milliseconds."""
_NEVER: Final = 2**62


class Growth:
    """Watches one stream.

    Args:
        attempt: what the stream answers; its money is set aside.
    """

    __slots__ = ("_attempt", "_held", "look_at")

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt
        facts, hold = attempt.facts, attempt.hold
        self._held = facts.choices * likely_output(attempt.decision.option, facts)
        """Tokens of answers that money is held for."""
        self.look_at = _NEVER
        """Bytes from which `look` is worth its while."""
        if hold is not None and hold.terms.statistical and self._held < self._most():
            self.look_at = self._held * FIRST_BYTES

    def _most(self) -> int:
        """Tokens that all answers together can have."""
        return self._attempt.facts.choices * output_limit(self._attempt.decision.option, self._attempt.facts)

    async def look(self, kept: Sequence[bytes]) -> RouterError | None:
        """Count what has come, and have more set aside if need be.

        Args:
            kept: the stream so far.

        Returns:
            The refusal of a budget whose running streams are to stop; None to go on.
        """
        attempt, option = self._attempt, self._attempt.decision.option
        stream = b"".join(kept)
        # Long ones are read in a thread: they would hold up every other request.
        long = len(stream) > AT_ONCE_BYTES
        said_so_far = attempt.way.outbound.said_so_far
        said = await asyncio.to_thread(said_so_far, stream) if long else said_so_far(stream)
        tokens = await attempt.count([said]) * option.ratio_ppm // PPM
        if tokens < self._held - self._held // NEARLY:
            reached = len(stream) * self._held // max(tokens, 1)
            self.look_at = min(max(reached - reached // NEARLY, len(stream) + FIRST_BYTES), 8 * len(stream))
            return None
        choices = attempt.facts.choices
        target = min(2 * max(tokens, self._held), self._most())
        try:
            await attempt.grow(nano_ceil(grown_cost(option, attempt.facts, -(-target // choices))), GRACE_MS)
        except BudgetExceeded as no:
            self.look_at = _NEVER
            if no.term.budget.running == "finish" and not attempt.stops:
                return None
            return budget_refusal(no.term, no.spent_nano, no.held_nano, no.amount_nano, attempt.store_ms())
        except (StoreUnavailable, NotHeld, PeriodOver):
            # It was admitted; what it spends beyond its hold is counted when it is settled.
            self.look_at = 2 * len(stream)
            return None
        self._held = target
        self.look_at = _NEVER if target >= self._most() else len(stream) + len(stream) // 2
        return None
