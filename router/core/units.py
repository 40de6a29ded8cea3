"""Human units to integers: durations, shares, and limits such as ``p95 <= 800ms``.

Belongs here: reading a value that a person wrote. Dollars are read by `router.core.money.parse_usd`. Does not
belong here: which field takes which unit (the schemas say so).
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

import msgspec

from router.core.statistics.stats import PERCENTILES

_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)", re.ASCII)
_MS: Final = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_SHARE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(%?)", re.ASCII)
_LIMIT: Final = re.compile(r"p(\d+)\s*<=?\s*(\S.*)", re.ASCII)


class LatencyLimit(msgspec.Struct, frozen=True):
    """At least ``percentile`` per cent of requests within ``ms`` milliseconds."""

    percentile: int
    ms: int


def milliseconds(text: str) -> int:
    """A duration (``800ms``, ``1.5s``, ``2m``, ``4h``, ``1d``) in whole milliseconds, at least 1.

    Raises:
        ValueError: no unit, an unknown unit, or finer than a millisecond.
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a duration; write a number and ms, s, m, h or d, such as 800ms or 1.5s")
    value = Decimal(match[1]) * _MS[match[2]]
    if value != value.to_integral_value() or value < 1:
        raise ValueError(f"{text!r} must be a whole number of milliseconds, at least 1ms")
    return int(value)


def milli(text: str) -> int:
    """A share between 0 and 1 (``0.8``, ``80%``) in thousandths, 0 to 1000.

    Raises:
        ValueError: not a share, above 100 %, or finer than a tenth of a per cent.
    """
    match = _SHARE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a share; write 80% or 0.80")
    value = Decimal(match[1]) * (10 if match[2] else 1000)
    if value > 1000:
        raise ValueError(f"{text!r} is above 1; a share lies between 0 and 1, or 0% and 100%")
    if value != value.to_integral_value():
        raise ValueError(f"{text!r} is finer than a thousandth")
    return int(value)


def latency_limit(text: str) -> LatencyLimit:
    """A limit on a quantile (``p95 <= 800ms``). The percentiles are those that statistics keep.

    Raises:
        ValueError: another form, a percentile that is not kept, or a bad duration.
    """
    match = _LIMIT.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a limit; write a percentile and a duration, such as p95 <= 800ms")
    percentile = int(match[1])
    if percentile not in PERCENTILES:
        kept = ", ".join(f"p{kept}" for kept in PERCENTILES)
        raise ValueError(f"p{percentile} is not kept by the statistics; the percentiles are {kept}")
    return LatencyLimit(percentile, milliseconds(match[2]))
