"""What workers tell each other through the store, once a tick: observed statistics and totals for /metrics.

Belongs here: the exchange, its keys and what happens to a dead worker's figures. Does not belong here: what is
measured (learning.py, metrics.py) and how it is used (core/).

    cr:{@}:stats              stream of deltas, a few minutes long: how workers follow each other
    cr:{@}:stats:<minute>     worker → what it saw in that minute: how a new worker catches up
    cr:{@}:totals             worker → totals since its start and the time they were told; "base" holds the dead
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from router.adapters.resp import Script
from router.core.stats import KEPT_SLICES, SLICE_MS, Delta, History, Series, Summary

if TYPE_CHECKING:
    from router.adapters.resp import RespConnection

STREAM: Final = "cr:{@}:stats"
TOTALS: Final = "cr:{@}:totals"
BASE: Final = b"base"
FOLLOWED_MS: Final = 180_000
"""How far back the stream reaches; a worker that was away longer catches up from the minutes."""
DEAD_MS: Final = 30_000
"""A worker silent for this long is dead: its totals move to the base."""

Totals = dict[str, int]
"""Metric and labels, joined, to a whole number."""


class _Entry(msgspec.Struct, array_like=True):
    worker: str
    at_ms: int
    deltas: list[tuple[Series, Delta]]


class _Told(msgspec.Struct, array_like=True):
    at_ms: int
    totals: Totals


_pack: Final = msgspec.msgpack.Encoder().encode
_entry: Final = msgspec.msgpack.Decoder(_Entry).decode
_told: Final = msgspec.msgpack.Decoder(_Told).decode


class Observations:
    """Statistics of the whole fleet, as this worker knows them. `add` is for the hot path."""

    def __init__(self) -> None:
        self._fresh: dict[Series, Delta] = {}
        self._minute: dict[Series, Delta] = {}
        self._minute_start = 0
        self._histories: dict[Series, History] = {}
        self._summaries: dict[Series, Summary] = {}
        self.version = 0
        """Grows whenever a summary may have changed."""

    def add(self, series: Series, value: int) -> None:
        """Count one observation (unit of the series)."""
        delta = self._fresh.get(series)
        if delta is None:
            delta = self._fresh[series] = Delta(counts={})
        delta.add(value)

    def summary(self, series: Series) -> Summary | None:
        """The fleet's figures as of the last `settle`."""
        return self._summaries.get(series)

    def take(self, now_ms: int) -> tuple[list[tuple[Series, Delta]], list[tuple[Series, Delta]], int]:
        """(what is new, all of this minute, the minute's start), folded into this worker's own histories."""
        start = now_ms - now_ms % SLICE_MS
        if start != self._minute_start:
            self._minute, self._minute_start = {}, start
            # Summaries age even where nothing new is seen.
            self._summaries.clear()
            self.version += 1
        fresh, self._fresh = self._fresh, {}
        for series, delta in fresh.items():
            self._minute.setdefault(series, Delta(counts={})).merge(delta)
        self.fold(now_ms, fresh.items())
        return list(fresh.items()), list(self._minute.items()), start

    def fold(self, at_ms: int, deltas: Any) -> None:
        """Take in observations made around ``at_ms``, by this worker or another."""
        for series, delta in deltas:
            self._histories.setdefault(series, History()).fold(at_ms, delta)
            self._summaries.pop(series, None)
            self.version += 1

    def refresh(self, now_ms: int) -> None:
        """Recompute the summaries that changed."""
        for series, history in self._histories.items():
            if series not in self._summaries:
                found = history.summary(now_ms)
                if found is not None:
                    self._summaries[series] = found


class Fleet:
    """One worker's side of the exchange.

    Args:
        connection: to the store.
        worker: this worker's name, unique to its life.
        observations: what it learns.
    """

    def __init__(self, connection: RespConnection, worker: str, observations: Observations) -> None:
        self._connection = connection
        self._worker = worker
        self._observations = observations
        self._last = b"0"
        self._replace = Script("replace_totals")

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
        """Tell what is new, hear what others saw. Raises `StoreUnavailable`; nothing told is lost by it."""
        call = self._connection.call
        fresh, minute, start = self._observations.take(now_ms)
        waits = [call("HSET", TOTALS, self._worker, _pack(_Told(now_ms, totals)))]
        if fresh:
            slot = f"{STREAM}:{start}"
            oldest = str(now_ms - FOLLOWED_MS)
            waits += [
                call("XADD", STREAM, "MINID", "~", oldest, "*", "d", _pack(_Entry(self._worker, now_ms, fresh))),
                call("HSET", slot, self._worker, _pack(_Entry(self._worker, start, minute))),
                call("PEXPIRE", slot, (KEPT_SLICES + 1) * SLICE_MS),
            ]
        for wait in waits:
            await wait
        heard = await call("XREAD", "COUNT", 1000, "STREAMS", STREAM, self._last)
        for identifier, fields in heard[0][1] if heard else ():
            self._last = identifier
            entry = _entry(fields[1])
            if entry.worker != self._worker:
                self._observations.fold(entry.at_ms, entry.deltas)
        self._observations.refresh(now_ms)

    async def totals(self, now_ms: int) -> Totals:
        """The whole fleet's totals, the dead included. Raises `StoreUnavailable`."""
        told = await self._connection.call("HGETALL", TOTALS)
        summed: Totals = {}
        pairs = dict(zip(told[::2], told[1::2], strict=True))
        for worker, packed in pairs.items():
            entry = _told(packed)
            _add(summed, entry.totals)
            if worker != BASE and entry.at_ms < now_ms - DEAD_MS:
                await self._bury(worker, packed, pairs.get(BASE))
        return summed

    async def _bury(self, worker: bytes, packed: bytes, base: bytes | None) -> None:
        merged = dict(_told(base).totals) if base else {}
        _add(merged, _told(packed).totals)
        await self._connection.script(
            self._replace, [TOTALS], [worker, packed, BASE, base or b"", _pack(_Told(0, merged))]
        )


def _add(into: Totals, more: Totals) -> None:
    for name, value in more.items():
        into[name] = into.get(name, 0) + value
