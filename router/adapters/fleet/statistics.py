"""What workers tell each other through the store, once a tick: observed statistics and totals for /metrics.

Belongs here: the exchange, its keys and what happens to a dead worker's figures. Does not belong here: what is
measured (learning.py, metrics.py) and how it is used (core/).

    cr:{@}:stats              stream of deltas, a few minutes long: how workers follow each other
    cr:{@}:stats:<minute>     worker → what it saw in that minute: how a new worker catches up
    cr:{@}:totals             worker → store's time in ms, ":", totals since its start; "base" holds the dead
    cr:{@}:totals:<worker>    what was buried of a worker, kept in case it only slept
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import msgspec

from router.adapters.store.resp import Script
from router.core.statistics.busy import BUSY, Load, told
from router.core.statistics.series import life_of, wholes
from router.core.statistics.stats import KEPT_SLICES, SLICE_MS, Delta, History, Series, Summary

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable

    from router.adapters.fleet.warmth import SharedWarmth
    from router.adapters.store.connection import StoreConnection

STREAM: Final = "cr:{@}:stats"
TOTALS: Final = "cr:{@}:totals"
BASE: Final = b"base"
FOLLOWED_MS: Final = 180_000
"""How far back the stream reaches; a worker that was away longer catches up from the minutes."""
DEAD_MS: Final = 30_000
"""A worker silent for this long, by the store's clock, is dead: its totals move to the base."""
GRAVE_MS: Final = 7 * 24 * 3_600_000
"""A worker that slept longer than this is counted twice."""

MOST_SERIES: Final = 20_000
"""Series that are kept at most, some 2 KB each."""

STEP_MILLI: Final = 20
"""A machine's load is told anew once it has moved so far, in thousandths."""

Totals = dict[str, int]
"""Metric and labels, joined, to a whole number."""


class _Entry(msgspec.Struct, array_like=True):
    worker: str
    at_ms: int
    deltas: list[tuple[Series, Delta]]


_pack: Final = msgspec.msgpack.Encoder().encode
_entry: Final = msgspec.msgpack.Decoder(_Entry).decode
_totals: Final = msgspec.msgpack.Decoder(Totals).decode


class Observations:
    """Statistics of the whole fleet, as this worker knows them. `add` is for the hot path."""

    def __init__(self) -> None:
        self._fresh: dict[Series, Delta] = {}
        self._untold: dict[Series, Delta] = {}
        self._minute: dict[Series, Delta] = {}
        self._minute_start = 0
        self._histories: dict[Series, History] = {}
        self._summaries: dict[Series, Summary] = {}
        self._stale: set[Series] = set()
        self._loads: dict[Series, Load] = {}
        """Of machines: there are as many as the catalog has."""
        self.version = 0
        """Grows whenever a summary may have changed."""

    def add(self, series: Series, value: int) -> None:
        """Count one observation (unit of the series)."""
        delta = self._fresh.get(series)
        if delta is None:
            delta = self._fresh[series] = Delta(counts={})
        delta.add(value)

    def summary(self, series: Series) -> Summary | None:
        """The fleet's figures as of the last `refresh`."""
        return self._summaries.get(series)

    @property
    def loads(self) -> dict[str, int]:
        """How busy each machine of one's own is, in thousandths, as of the last `refresh`."""
        return {series[1]: self._summaries[series].mean for series in self._loads if series in self._summaries}

    def take(self, now_ms: int) -> tuple[list[tuple[Series, Delta]], list[tuple[Series, Delta]], int]:
        """(what was not told yet, all of this minute, the minute's start), folded into this worker's own histories.

        What is taken comes again until `told` says that it has arrived.
        """
        start = now_ms - now_ms % SLICE_MS
        if start != self._minute_start:
            self._minute, self._minute_start = {}, start
            _merge(self._minute, self._untold)
            # Summaries age even where nothing new is seen.
            self._stale.update(self._histories)
            self.version += 1
        fresh, self._fresh = self._fresh, {}
        _merge(self._minute, fresh)
        _merge(self._untold, fresh)
        self.fold(now_ms, fresh.items())
        return list(self._untold.items()), list(self._minute.items()), start

    def told(self) -> None:
        """What was taken last has arrived."""
        self._untold = {}

    def fold(self, at_ms: int, deltas: Iterable[tuple[Series, Delta]]) -> None:
        """Take in observations made around ``at_ms``, by this worker or another."""
        for finest, delta in deltas:
            if finest[0] == BUSY:
                self._loads.setdefault(finest, Load()).add(at_ms, delta.total)
                continue
            for series in wholes(finest):
                self._fold(at_ms, series, delta)
            self.version += 1

    def _fold(self, at_ms: int, series: Series, delta: Delta) -> None:
        history = self._histories.get(series)
        if history is None:
            if len(self._histories) >= MOST_SERIES and series[0].count("/") > 1:
                return  # what applications do is forgone first; how models do is not
            history = self._histories[series] = History(life_of(series))
        history.fold(at_ms, delta)
        self._stale.add(series)

    def refresh(self, now_ms: int) -> None:
        """Recompute the summaries that changed."""
        stale, self._stale = self._stale, set()
        for series in stale:
            found = self._histories[series].summary(now_ms)
            if found is None:
                self._summaries.pop(series, None)
                del self._histories[series]
            else:
                self._summaries[series] = found
        for series, load in self._loads.items():
            milli, before = load.milli(now_ms), self._summaries.get(series)
            if before is None or abs(before.mean - milli) >= STEP_MILLI or (before.mean and not milli):
                self._summaries[series] = told(milli)
                self.version += 1


class Fleet:
    """One worker's side of the exchange.

    Args:
        connection: to the store.
        worker: this worker's name, unique to its life.
        observations: what it learns.
        warmth: what it tells and hears beside them; None for nothing.
    """

    def __init__(
        self,
        connection: StoreConnection,
        worker: str,
        observations: Observations,
        warmth: SharedWarmth | None = None,
    ) -> None:
        self._connection = connection
        self._warmth = warmth
        self._worker = worker
        self._observations = observations
        self._last = b"0"
        self._tell = Script("tell_totals")
        self._replace = Script("replace_totals")
        self._lives = 1
        self._buried: Totals = {}

    async def catch_up(self, now_ms: int) -> None:
        """Learn what the fleet saw before this worker began. Raises `StoreUnavailable`."""
        newest = await self._connection.call("XREVRANGE", STREAM, "+", "-", "COUNT", 1)
        self._last = newest[0][0] if newest else b"0"
        start = now_ms - now_ms % SLICE_MS
        for age in range(KEPT_SLICES):
            at_ms = start - age * SLICE_MS
            told = await self._connection.call("HVALS", f"{STREAM}:{at_ms}")
            for packed in told:
                self._observations.fold(at_ms, _entry(packed).deltas)
        self._observations.refresh(now_ms)

    async def exchange(self, now_ms: int, totals: Totals) -> None:
        """Tell what is new, hear what others saw.

        Raises:
            StoreUnavailable: nothing observed is lost by it; after a lost answer, others may hear something twice.
        """
        try:
            await self._speak(now_ms, totals)
            await self._listen()
            if self._warmth is not None:
                await self._warmth.exchange(now_ms)
        finally:
            # With or without the store, what this worker saw itself counts from now on.
            self._observations.refresh(now_ms)

    async def totals(self) -> Totals:
        """The whole fleet's totals, the dead included. Raises `StoreUnavailable`."""
        call = self._connection.call
        clock, told = await asyncio.gather(call("TIME"), call("HGETALL", TOTALS))
        now_ms = int(clock[0]) * 1000 + int(clock[1]) // 1000
        summed: Totals = {}
        pairs = dict(zip(told[::2], told[1::2], strict=True))
        for worker, stamped in pairs.items():
            at_ms, entry = _read(stamped)
            _add(summed, entry)
            if worker != BASE and at_ms < now_ms - DEAD_MS:
                await self._bury(worker, stamped, pairs.get(BASE))
        return summed

    async def _speak(self, now_ms: int, totals: Totals) -> None:
        call = self._connection.call
        fresh, minute, start = self._observations.take(now_ms)
        waits: list[Awaitable[Any]] = []
        if fresh:
            slot = f"{STREAM}:{start}"
            oldest = str(now_ms - FOLLOWED_MS)
            waits = [
                call("XADD", STREAM, "MINID", "~", oldest, "*", "d", _pack(_Entry(self._worker, now_ms, fresh))),
                call("HSET", slot, self._worker, _pack(_Entry(self._worker, start, minute))),
                call("PEXPIRE", slot, (KEPT_SLICES + 1) * SLICE_MS),
            ]
        await asyncio.gather(self._tell_totals(totals), *waits)
        self._observations.told()

    async def _listen(self) -> None:
        heard = await self._connection.call("XREAD", "COUNT", 1000, "STREAMS", STREAM, self._last)
        for identifier, fields in heard[0][1] if heard else ():
            self._last = identifier
            entry = _entry(fields[1])
            if entry.worker != self._worker:
                self._observations.fold(entry.at_ms, entry.deltas)

    async def _tell_totals(self, totals: Totals) -> None:
        name = f"{self._worker}.{self._lives}"
        lived = {total: value - self._buried.get(total, 0) for total, value in totals.items()}
        buried = await self._connection.script(self._tell, [TOTALS, f"{TOTALS}:{name}"], [name, _pack(lived)])
        if buried is not None:
            # Taken for dead while it slept: that life is counted in the base, so another one begins at zero.
            _add(self._buried, _read(buried)[1])
            self._lives += 1
            await self._tell_totals(totals)

    async def _bury(self, worker: bytes, stamped: bytes, base: bytes | None) -> None:
        merged = _read(base)[1] if base else {}
        _add(merged, _read(stamped)[1])
        await self._connection.script(
            self._replace,
            [TOTALS, f"{TOTALS}:{worker.decode()}"],
            [worker, stamped, BASE, base or b"", b"0:" + _pack(merged), GRAVE_MS],
        )


def _read(stamped: bytes) -> tuple[int, Totals]:
    at_ms, _, packed = stamped.partition(b":")
    return int(at_ms), _totals(packed)


def _add(into: Totals, more: Totals) -> None:
    for name, value in more.items():
        into[name] = into.get(name, 0) + value


def _merge(into: dict[Series, Delta], more: dict[Series, Delta]) -> None:
    for series, delta in more.items():
        into.setdefault(series, Delta(counts={})).merge(delta)
