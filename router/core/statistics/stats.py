"""Live statistics: histograms with logarithmic buckets, decayed by age, mergeable across workers.

Belongs here: counting values and reading quantiles. Does not belong here: what is measured, when a slice
begins (time is an argument) and how deltas travel between workers.

A value is a whole number in whatever unit the series has (microseconds, tokens). Buckets are powers of two cut in
16, so a quantile is off by at most 1/16 of its value (half that, as the middle of the bucket is reported).
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
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


def above_ppm(summary: Summary, value: int) -> int:
    """About how many of a million observations lie above a value: straight lines between the quantiles, a quarter of the last
    ones above twice the highest.
    """
    low, share = 0, 0
    for percentile, quantile in zip(PERCENTILES, summary.quantiles, strict=True):
        if value < quantile:
            part = (value - low) * (percentile - share) * 10_000 // max(quantile - low, 1)
            return 1_000_000 - share * 10_000 - part
        low, share = quantile, percentile
    return max(10_000 - 7_500 * (value - low) // max(low, 1), 2_500)


class Watch(msgspec.Struct, frozen=True):
    """One kind of shift: what a value tells for it, by the part of the usual distribution in which it lies."""

    above: bool
    """Whether a value that is as high as a quantile lies below it: then a series that never varies raises no alarm."""
    gains: tuple[float, ...]
    """Log-likelihood of each part: below the median, to the 75th, the 90th, the 95th percentile, and above."""


USUAL_PARTS: Final = (0.5, 0.25, 0.15, 0.05, 0.05)
_EDGES: Final = (0.0, 0.674, 1.282, 1.645)
"""The four percentiles in standard deviations from the median, of a normal distribution of logarithms."""


def _moved(by: float, *, above: bool) -> Watch:
    """That all values have moved by so many standard deviations."""
    below = [0.5 * (1 + math.erf((edge - by) / math.sqrt(2))) for edge in _EDGES]
    parts = [high - low for low, high in zip([0.0, *below], [*below, 1.0], strict=True)]
    return Watch(above, tuple(math.log(now / usual) for now, usual in zip(parts, USUAL_PARTS, strict=True)))


def _tail(share: float) -> Watch:
    """That so many values, of all kinds, lie above the 95th percentile."""
    rest, high = math.log((1 - share) / 0.95), math.log(share / 0.05)
    return Watch(above=True, gains=(rest, rest, rest, rest, high))


WATCHES: Final = (_moved(1.0, above=True), _tail(0.4), _moved(-1.0, above=False))
ALARM: Final = 9.0
"""Log-likelihood from which a shift is believed. While nothing shifts, 2 of 300,000 values raised it in a trial; a false
alarm only makes a series forget."""
SUSPECTED: Final = ALARM / 3
"""From here on what was usual is kept as it was."""
ENOUGH_BEFORE: Final = 20
"""Values from which quantiles are something to shift from."""


class Shift:
    """Tells when a series is no longer what it was: CUSUM tests of whether values lie in other parts of its distribution than
    usual (Page, 1954). A median that grows by half shows within some 20 to 35 values, one that doubles within 15.
    """

    __slots__ = ("_reference", "_scores", "_since")

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._reference: tuple[int, ...] = ()
        self._scores = [0.0] * len(WATCHES)
        self._since = [Delta(counts={}) for _ in WATCHES]

    def before(self, summary: Summary) -> None:
        """What the series is like now. Not heeded while a shift is suspected."""
        if summary.n >= ENOUGH_BEFORE and max(self._scores) < SUSPECTED:
            self._reference = tuple(map(bucket, summary.quantiles[: len(_EDGES)]))

    def see(self, delta: Delta) -> Delta | None:
        """Look at new values. Where a shift is believed now: all since it was first suspected, these included."""
        if not self._reference:
            return None
        edges, counts = self._reference, delta.counts.items()
        for number, watch in enumerate(WATCHES):
            part, gains = bisect_left if watch.above else bisect_right, watch.gains
            score = self._scores[number] + sum(count * gains[part(edges, index)] for index, count in counts)
            self._scores[number] = max(0.0, score)
            if score <= 0:
                self._since[number] = Delta(counts={})
                continue
            self._since[number].merge(delta)
            if score >= ALARM:
                since = self._since[number]
                self._reset()
                return since
        return None


class Life(msgspec.Struct, frozen=True):
    """How a series ages."""

    slice_ms: int = SLICE_MS
    """How exactly the age of an observation is known."""
    half_life_ms: int = HALF_LIFE_MS
    watched: bool = False
    """Whether a sudden shift makes what was before it count no more, and silence that nothing is known: who was left for
    being slow must be tried again one day."""

    @property
    def kept_ms(self) -> int:
        """For how long a series that is not added to is remembered."""
        return KEPT_SLICES * self.slice_ms


USUAL: Final = Life()
SILENT_MS: Final = 60_000
SILENT_GAPS: Final = 10
"""A watched series is silent after so long, and after so many of its usual gaps between two values."""
_FAR: Final = 256
"""Half-lives from which weights are scaled down, long before they leave a float's range."""


class History:
    """One series over time. What is new weighs more by a factor that doubles with each half-life, so nothing need be
    touched for growing old (Cormode et al., "Forward decay", 2009).
    """

    __slots__ = ("_counts", "_landmark", "_life", "_shift", "_total", "_weights")

    def __init__(self, life: Life = USUAL) -> None:
        self._life = life
        self._begin()

    def _begin(self) -> None:
        self._counts: dict[int, int] = {}
        self._weights: dict[int, float] = {}
        self._total = 0.0
        self._landmark = 0
        self._shift = Shift() if self._life.watched else None

    def fold(self, at_ms: int, delta: Delta) -> None:
        """Take in a delta observed around ``at_ms`` (ms since the epoch)."""
        if self._shift is not None and (since := self._shift.see(delta)) is not None:
            self._weights, self._counts, self._total = {}, {}, 0.0
            delta = since
        if self.silent(at_ms):
            self._begin()
        start = at_ms - at_ms % self._life.slice_ms
        counts = self._counts
        if start not in counts:
            oldest = max([start, *counts]) - self._life.kept_ms
            if start <= oldest:
                return
            counts[start] = 0
            for old in [slice_ for slice_ in counts if slice_ <= oldest]:
                del counts[old]
        counts[start] += sum(delta.counts.values())
        weight = self._weight(start)
        weights = self._weights
        for index, count in delta.counts.items():
            weights[index] = weights.get(index, 0.0) + count * weight
        self._total += delta.total * weight

    def silent(self, now_ms: int) -> bool:
        """Whether it has ended for so long that what was observed says nothing of now."""
        if not self._life.watched or not self._counts:
            return False
        first, last = min(self._counts), max(self._counts) + self._life.slice_ms
        gap = (last - first) // sum(self._counts.values())
        return now_ms - last > max(SILENT_MS, SILENT_GAPS * gap)

    def summary(self, now_ms: int) -> Summary | None:
        """Decayed mean and quantiles as of ``now_ms``; None while nothing recent was observed."""
        if self.silent(now_ms):
            return None
        n = sum(count for start, count in self._counts.items() if now_ms - start <= self._life.kept_ms)
        if n == 0:
            return None
        mass = sum(self._weights.values())
        found = Summary(n=n, mean=round(self._total / mass), quantiles=_quantiles(self._weights, mass))
        if self._shift is not None:
            self._shift.before(found)
        return found

    def _weight(self, start: int) -> float:
        half_lives = (start - self._landmark) / self._life.half_life_ms
        if half_lives > _FAR:
            scale = 2.0**-half_lives if self._weights and half_lives < 2 * _FAR else 0.0
            self._weights = {index: kept * scale for index, kept in self._weights.items() if scale}
            self._total *= scale
            self._landmark = start
            return 1.0
        return float(2.0**half_lives)


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
