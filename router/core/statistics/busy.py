"""How busy machines of one's own are: the tokens that were served of late against what they serve at their goodput point.

Belongs here: what an attempt takes of a machine, and a load that fades. Does not belong here: what a token costs at a load
(`router.core.catalog.self_hosted`), and telling the fleet (`router.adapters.fleet.statistics`).

    load = Σ machine seconds of an attempt · e^(-age / τ) / τ,  machine seconds = fresh prompt / prefill speed + answer / decode speed

So a machine that is used to its goodput point comes to 1 within a minute, and to a third within 20 s of falling idle.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from router.core.statistics.stats import Series, Summary

if TYPE_CHECKING:
    from router.core.catalog.catalog import Model
    from router.core.catalog.self_hosted import SelfHosted

BUSY: Final = "busy"
"""The name of the series: microseconds of a machine."""
TAU_MS: Final = 20_000
_MILLION: Final = 1_000_000


def series_of(model: Model) -> Series:
    """The series of a model's machine: of its pool, which all models on the same accelerators share, or its own."""
    return (BUSY, model.pool or model.name, "", "")


def machine_us(machine: SelfHosted, prompt: int, cached: int, completion: int) -> int:
    """Microseconds that an attempt takes of a machine which serves many at a time.

    Args:
        machine: its speeds at the goodput point.
        prompt: tokens, cached ones among them.
        cached: tokens that need not be read anew.
        completion: tokens.
    """
    fresh = max(prompt - cached, 0)
    return math.ceil(_MILLION * (fresh / machine.prefill_tok_s + completion / machine.decode_tok_s))


class Load:
    """One machine's load."""

    __slots__ = ("_at_ms", "_us")

    def __init__(self) -> None:
        self._us = 0.0
        self._at_ms = 0

    def add(self, at_ms: int, us: int) -> None:
        """So much of it was used around then."""
        if at_ms > self._at_ms:
            self._us *= math.exp((self._at_ms - at_ms) / TAU_MS)
            self._at_ms = at_ms
            self._us += us
        else:
            self._us += us * math.exp((at_ms - self._at_ms) / TAU_MS)

    def milli(self, now_ms: int) -> int:
        """Its load in thousandths; above 1000 where more was asked of it than the goodput point has."""
        return round(self._us * math.exp(min(self._at_ms - now_ms, 0) / TAU_MS) / TAU_MS)


def told(milli: int) -> Summary:
    """A load in the form in which all figures of a tick come."""
    return Summary(n=1, mean=milli, quantiles=(milli,) * 5)
