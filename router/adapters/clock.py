"""Time as this machine has it.

Belongs here: the `router.ports.Clock` of a worker. Does not belong here: the store's time, by which money goes.
"""

from __future__ import annotations

import time


class SystemClock:
    """The machine's time."""

    def now_ms(self) -> int:
        """Milliseconds since the epoch."""
        return time.time_ns() // 1_000_000

    monotonic = staticmethod(time.monotonic)
    """Seconds; differences only."""
