"""How long simulated batches take: drawn, sped up, and shifted halfway, so that nobody can go by what was once true.

Belongs here: durations and the settings that a test may change. Does not belong here: what happens meanwhile (shelf.py).
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, fields
from typing import Any, Final

from router.sim.refusal import Refusal

DAY_S: Final = 86_400.0
_Z90: Final = 1.2816


@dataclass(slots=True)
class Waits:
    """Seconds from a batch's creation to its end: log-normal, times ``shift`` once ``shift_after`` batches were drawn.

    The defaults differ from what is published (median 7 minutes, nine in ten within an hour) on purpose.
    """

    speed: float = 60.0
    """How much faster than real time batches live; windows and expiry included."""
    median_s: float = 600.0
    p90_s: float = 2_700.0
    shift_after: int = 1_000_000_000
    shift: float = 1.0
    window_share: float = 0.3
    """Part of a completion window after which half of its responses are there."""
    enqueued_tokens: int = 2_000_000_000
    """Most prompt tokens that may wait for one model; a batch beyond it fails at validation."""
    max_lines: int = 50_000
    max_bytes: int = 200_000_000
    drawn: int = 0

    def draw(self, rng: random.Random) -> float:
        """One batch's whole time, in seconds of its own clock."""
        self.drawn += 1
        sigma = math.log(max(1.0, self.p90_s / self.median_s)) / _Z90
        seconds = self.median_s * math.exp(rng.gauss(0.0, sigma))
        return seconds * self.shift if self.drawn > self.shift_after else seconds

    def draw_in_window(self, rng: random.Random, tier: str) -> float:
        """One background response's whole time: in a window a part of it, and now and then more than all of it."""
        if tier == "realtime":
            return 20.0
        whole = 3_600.0 * int(tier.removeprefix("window-").removesuffix("h"))
        return whole * self.window_share * math.exp(rng.gauss(0.0, 0.6))

    def change(self, raw: Any) -> None:
        """Take new settings.

        Raises:
            Refusal: 400, naming the field and what it may be.
        """
        known = {entry.name for entry in fields(self)}
        if not isinstance(raw, dict) or not set(raw) <= known:
            raise Refusal(400, f"Batch settings are an object with any of {', '.join(sorted(known))}.")
        for name, value in raw.items():
            if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
                raise Refusal(400, f"{name} must be a number of at least 0.", param=name, code="invalid_type")
            setattr(self, name, type(getattr(self, name))(value))
