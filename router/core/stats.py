"""Live statistics: histograms with logarithmic buckets, decayed by age, mergeable across workers.

Belongs here: counting values and reading quantiles. Does not belong here: what is measured, when a slice
begins (time is an argument) and how deltas travel between workers.

A value is a whole number in whatever unit the series has (microseconds, tokens). Buckets are powers of two cut in
16, so a quantile is off by at most 1/16 of its value (half that, as the middle of the bucket is reported).
"""

from __future__ import annotations

from typing import Final

import msgspec

SLICE_MS: Final = 60_000
"""Width of a time slice."""
KEPT_SLICES: Final = 30
"""Slices that are remembered; older ones weigh under 2 % and are dropped."""
HALF_LIFE_MS: Final = 300_000
"""Age at which an observation counts half."""

Series = tuple[str, str, str, str]
"""(metric, model, provider, tier)."""


def bucket(value: int) -> int:
    """The bucket of a whole number ≥ 0; negative values count as 0."""
    if value < 32:
        return max(value, 0)
    shift = value.bit_length() - 5
    return (shift << 4) + (value >> shift)


def middle(index: int) -> int:
    """A value in the middle of a bucket."""
    if index < 32:
        return index
    shift = (index >> 4) - 1
    low = (index - (shift << 4)) << shift
    return low + (1 << shift >> 1)


class Delta(msgspec.Struct, array_like=True):
    """What one series gained since the last exchange: a sparse histogram and the exact sum."""

    counts: dict[int, int] = {}
    total: int = 0

    def add(self, value: int) -> None:
        """Count one value (unit of the series); negative ones as 0."""
        index = bucket(value)
        counts = self.counts
        counts[index] = counts.get(index, 0) + 1
        self.total += max(value, 0)

    def merge(self, other: Delta) -> None:
        """Add another delta to this one."""
        counts = self.counts
        for index, count in other.counts.items():
            counts[index] = counts.get(index, 0) + count
        self.total += other.total


class Summary(msgspec.Struct, frozen=True):
    """A series at one instant. ``n`` is the number of observations; the rest is weighted by age."""

    n: int
    mean: int
    quantiles: tuple[int, ...]
    """At the percentiles of `PERCENTILES`."""

    def at(self, percentile: int) -> int:
        """The value at a percentile of `PERCENTILES`.

        Raises:
            ValueError: another percentile.
        """
        return self.quantiles[PERCENTILES.index(percentile)]


PERCENTILES: Final = (50, 75, 90, 95, 99)


class History:
    """One series over time: a histogram a slice."""

    __slots__ = ("_slices",)

    def __init__(self) -> None:
        self._slices: dict[int, Delta] = {}

    def fold(self, at_ms: int, delta: Delta) -> None:
        """Take in a delta observed around ``at_ms`` (ms since the epoch)."""
        start = at_ms - at_ms % SLICE_MS
        kept = self._slices.get(start)
        if kept is None:
            self._slices[start] = kept = Delta(counts={})
            for old in [s for s in self._slices if s <= start - KEPT_SLICES * SLICE_MS]:
                del self._slices[old]
        kept.merge(delta)

    def summary(self, now_ms: int) -> Summary | None:
        """Decayed mean and quantiles as of ``now_ms``; None while nothing recent was observed."""
        weights: dict[int, float] = {}
        n = 0
        total = mass = 0.0
        for start, delta in self._slices.items():
            age = now_ms - start
            if age > KEPT_SLICES * SLICE_MS:
                continue
            weight = 0.5 ** (max(age, 0) / HALF_LIFE_MS)
            for index, count in delta.counts.items():
                weights[index] = weights.get(index, 0.0) + count * weight
                n += count
                mass += count * weight
            total += delta.total * weight
        if n == 0:
            return None
        return Summary(n=n, mean=round(total / mass), quantiles=_quantiles(weights, mass))


def _quantiles(weights: dict[int, float], mass: float) -> tuple[int, ...]:
    ordered = sorted(weights.items())
    last = len(ordered) - 1
    position, seen = 0, ordered[0][1]
    found: list[int] = []
    for percentile in PERCENTILES:
        # Sums of floats may end a hair short of the mass, so the last bucket closes whatever is left.
        while seen < percentile / 100 * mass and position < last:
            position += 1
            seen += ordered[position][1]
        found.append(middle(ordered[position][0]))
    return tuple(found)
