"""How long work takes that may wait, and which way to have it done by a deadline for the least expected dollars.

Belongs here: distributions of completion times (a prior, moved by outcomes), the chance to be on time, and the choice
among tiers under one deadline. Does not belong here: performing it (adapters/broker/broker.py), the states of what was sent
(jobs.py), and tiers that are answered at once (deciding/variants.py).

    expected(way) = own cost + P(not done when it must be given up) · (cost of the way out + what the loser bills)

Where a way out (real time) remains, a late batch costs money, not the deadline: so a batch is worth its risk as long
as its expected cost is the least, and P(on time) counts the way out too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from router.core.jobs.tiers import hours_of, kind_of

PPM: Final = 1_000_000
_EDGES_MS: Final = tuple(round(250 * 2 ** (step / 2)) for step in range(42))
"""Upper ends of the buckets: a quarter of a second to four days, in steps of the root of two."""
_FIRST_MS: Final = 177
_CELLS: Final = len(_EDGES_MS) + 1
PRIOR_WEIGHT: Final = 6
"""How many outcomes the prior is worth."""
SLICE_MS: Final = 600_000
"""Outcomes are counted in slices of ten minutes."""
HALF_LIFE: Final = 12
"""Slices after which an outcome counts half: two hours."""
KEPT_SLICES: Final = 144
LOSER_PPM: Final = 100_000
"""Share of what is given up that is billed all the same: it ended while it was being cancelled."""


class Prior(msgspec.Struct, frozen=True):
    """What is believed of a tier before anything was seen, in milliseconds."""

    median_ms: int
    p90_ms: int
    bound_ms: int
    """When the provider gives up."""


_HOUR_MS: Final = 3_600_000
PRIORS: Final[Mapping[str, Prior]] = {
    "flex": Prior(60_000, 10 * 60_000, 15 * 60_000),
    "batch": Prior(7 * 60_000, _HOUR_MS, 24 * _HOUR_MS),
}
"""By tier. Batch: 230,000 batches seen by OpenRouter had a median of 7 minutes and 90 % under an hour; providers give up
after 24 hours. Flex: Google's 1 to 15 minutes."""
_WINDOW_MEDIAN_MS: Final = 600_000
_WINDOW_P90_MS: Final = 2_400_000
_WINDOW_BOUND: Final = 2


def prior_of(tier: str) -> Prior:
    """What is believed of a tier at first.

    A completion window is a target, which nobody has published figures of. Own estimate: of each of its hours a sixth passes
    until half of the answers are there, two thirds until nine in ten are; after twice its length none comes any more.
    """
    if kind_of(tier) != "window":
        return PRIORS[tier]
    hours = hours_of(tier)
    return Prior(_WINDOW_MEDIAN_MS * hours, _WINDOW_P90_MS * hours, _WINDOW_BOUND * _HOUR_MS * hours)


class Waits(msgspec.Struct, frozen=True):
    """How long a tier takes: weights of logarithmic buckets, in millionths of an outcome."""

    weights: tuple[int, ...]
    bound_ms: int

    def done_ppm(self, within_ms: int) -> int:
        """The chance that work ends within so long, in millionths."""
        if within_ms >= self.bound_ms:
            return PPM
        total = sum(self.weights)
        return round(self._mass(within_ms) * PPM / total) if total and within_ms > 0 else 0

    def done_by_ppm(self, waited_ms: int, left_ms: int) -> int:
        """The chance that work which has taken so long already ends within what is left, in millionths."""
        if waited_ms + left_ms >= self.bound_ms:
            return PPM
        total = sum(self.weights)
        before = self._mass(waited_ms) if waited_ms > 0 else 0.0
        if total - before < 1:
            return 0  # it has taken longer than anything that was ever seen
        return max(0, round((self._mass(waited_ms + left_ms) - before) * PPM / (total - before))) if left_ms > 0 else 0

    def at_ppm(self, share_ppm: int) -> int:
        """The time within which that share of work ends, in milliseconds, rounded up to a bucket's end."""
        wanted, seen = sum(self.weights) * share_ppm, 0
        for edge, weight in zip(_EDGES_MS, self.weights, strict=False):
            seen += weight
            if seen * PPM >= wanted:
                return min(edge, self.bound_ms)
        return self.bound_ms

    def _mass(self, within_ms: int) -> float:
        mass, low = 0.0, _FIRST_MS
        for edge, weight in zip(_EDGES_MS, self.weights, strict=False):
            if within_ms >= edge:
                mass += weight
            else:
                if within_ms > low:
                    mass += weight * math.log(within_ms / low) / math.log(edge / low)
                break
            low = edge
        return mass


def cell(took_ms: int) -> int:
    """The bucket of an outcome."""
    return next((index for index, edge in enumerate(_EDGES_MS) if took_ms <= edge), _CELLS - 1)


def waits(
    prior: Prior,
    outcomes: Iterable[tuple[int, int, int]] = (),
    given_up: Iterable[tuple[int, int, int]] = (),
    *,
    pace: float = 1.0,
) -> Waits:
    """A prior, moved by outcomes.

    What was given up before it ended would have taken longer than that, nobody knows how much: it counts in all buckets above, as
    what is known lies there (Efron's redistribution to the right). Left out, a tier that has become slow would look as fast as ever
    to who never waits for its slow answers.

    Args:
        prior: of the tier.
        outcomes: (age in slices, bucket, count); those older than `KEPT_SLICES` count no more.
        given_up: the same of what was called off, by how long it had taken until then.
        pace: how much faster than real time this provider's clock runs (simulated ones); 1 for real ones. Outcomes are
            in real time.
    """
    weights = [PRIOR_WEIGHT * part for part in _prior_weights(prior, pace)]
    for age, index, count in outcomes:
        if 0 <= age <= KEPT_SLICES and 0 <= index < _CELLS:
            weights[index] += _faded(count, age)
    for age, index, count in sorted(given_up, key=lambda seen: seen[1]):
        if 0 <= age <= KEPT_SLICES and 0 <= index < _CELLS:
            above, mass = sum(weights[index + 1 :]), _faded(count, age)
            if above:
                weights[index + 1 :] = [weight + mass * weight // above for weight in weights[index + 1 :]]
            else:
                weights[-1] += mass
    return Waits(tuple(weights), bound_ms=max(1, round(prior.bound_ms / pace)))


def _faded(count: int, age: int) -> int:
    return round(count * PPM * math.exp2(-age / HALF_LIFE))


def _prior_weights(prior: Prior, pace: float) -> list[int]:
    # Log-normal through the median and the ninetieth percentile, which lie 1.2816 standard deviations apart.
    sigma = math.log(prior.p90_ms / prior.median_ms) / 1.2816

    def below(edge: float) -> float:
        return 0.5 * (1 + math.erf(math.log(edge * pace / prior.median_ms) / sigma / math.sqrt(2)))

    shares = [below(edge) for edge in _EDGES_MS]
    found = [round((high - low) * PPM) for low, high in zip([0.0, *shares[:-1]], shares, strict=True)]
    return [*found, max(0, PPM - sum(found))]


class Bid(msgspec.Struct, frozen=True):
    """One way to have the work done, with the figures that it is chosen by. Costs in pico-dollars."""

    index: int
    """The caller's own number for it."""
    own_pico: int
    """What it costs when all goes well."""
    waits: Waits | None = None
    """How long it takes; None for what is answered at once."""
    wait_ms: int = 0
    """How long until it can begin (off-peak hours)."""
    lasts: bool = True
    """Whether it will be there whenever it is needed, so that it can be the way out of others; an idle machine may be busy then."""


class Chosen(msgspec.Struct, frozen=True):
    """The bid that was taken."""

    index: int
    own_pico: int
    expected_pico: int
    on_time_ppm: int
    promised_ms: int
    """Within how long it is expected to be done, nine times in ten; from now, within the deadline."""
    early: bool
    """Whether it is expected to be ready without its way out."""


class Reserve(msgspec.Struct, frozen=True):
    """Time kept before a deadline for the way out, in milliseconds."""

    run_ms: int
    """For an answer in real time, retries included."""
    cancel_ms: int
    """For a provider to confirm that it has stopped, so that what is done need not be done again."""

    @property
    def both_ms(self) -> int:
        """Before the deadline, what waits is cancelled so long."""
        return self.run_ms + self.cancel_ms


def reserve_for(left_ms: int, run_ms: int, pace: float = 1.0) -> Reserve:
    """The reserve of a deadline.

    Args:
        left_ms: until the deadline.
        run_ms: what an answer in real time takes at its slowest (a high quantile).
        pace: of the provider's clock, see `waits`.
    """
    run = min(max(2 * run_ms, 1_000), max(left_ms // 2, 1))
    cancel = min(round(600_000 / pace), left_ms // 10)
    return Reserve(run_ms=run, cancel_ms=cancel)


def choose(bids: Iterable[Bid], left_ms: int, reserve: Reserve, on_time_ppm: int) -> Chosen | None:
    """The bid with the least expected cost among those that are on time with the policy's probability; None without one.

    Args:
        bids: every way that the policy admits.
        left_ms: until the deadline.
        reserve: time kept for the way out.
        on_time_ppm: the least chance to be on time, in millionths.
    """
    fit = [one for one in judged(bids, left_ms, reserve) if one is not None and one.on_time_ppm >= on_time_ppm]
    return min(fit, key=lambda chosen: (chosen.expected_pico, chosen.promised_ms), default=None)


def judged(bids: Iterable[Bid], left_ms: int, reserve: Reserve) -> list[Chosen | None]:
    """Each bid as it would be if it were taken; None for one that cannot even begin in time. Arguments as of `choose`."""
    ways = list(bids)
    out = min((bid.own_pico for bid in ways if bid.waits is None and not bid.wait_ms and bid.lasts), default=None)
    return [_judged(bid, left_ms, reserve, out) for bid in ways]


def _judged(bid: Bid, left_ms: int, reserve: Reserve, out_pico: int | None) -> Chosen | None:
    if bid.waits is None:
        within = bid.wait_ms + reserve.run_ms
        if within > left_ms:
            return None
        return Chosen(bid.index, bid.own_pico, bid.own_pico, PPM, within, early=True)
    # With a way out the bid is given up in time for it; without one it may use all there is.
    until = left_ms - bid.wait_ms - (reserve.both_ms if out_pico is not None else 0)
    done = bid.waits.done_ppm(until)
    promised = bid.wait_ms + min(bid.waits.at_ppm(900_000), left_ms)
    if out_pico is None:
        return Chosen(bid.index, bid.own_pico, bid.own_pico, done, promised, early=True)
    late = PPM - done
    lost = bid.own_pico * LOSER_PPM // PPM
    expected = (done * bid.own_pico + late * (out_pico + lost)) // PPM
    safe = until > 0 and reserve.run_ms < left_ms
    return Chosen(bid.index, bid.own_pico, expected, PPM if safe else done, promised, early=done >= PPM // 2)


def give_up(distribution: Waits, waited_ms: int, left_ms: int, reserve: Reserve) -> bool:
    """Whether what waits must be given up now for its way out.

    Args:
        distribution: of its provider and tier, as it is known now.
        waited_ms: since it was sent.
        left_ms: until the deadline.
        reserve: time kept for the way out.
    """
    if left_ms <= reserve.both_ms:
        return True
    # Hopeless early: there is no use in waiting for what will not come.
    return distribution.done_by_ppm(waited_ms, left_ms - reserve.both_ms) < HOPELESS_PPM


ON_TIME_PPM: Final = 995_000
"""The least chance to be on time where the policy states none."""
HOPELESS_PPM: Final = 20_000
"""A chance below this is not waited for."""
