"""The ports' shipped fakes: in memory, same promises. The contract suites run over these and the real ones.

Belongs here: one fake for each contract of router/ports.py. Does not belong here: a stand-in for a library.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from router.ports import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from router.core.values import Hold, Identity, Row


class FakeClock:
    """Stands still until told to advance."""

    def __init__(self, now_ms: int = 1_800_000_000_000) -> None:
        self._now_ms = now_ms
        self._monotonic = 1_000.0

    def now_ms(self) -> int:
        return self._now_ms

    def monotonic(self) -> float:
        return self._monotonic

    def advance(self, seconds: float) -> None:
        self._now_ms += round(seconds * 1000)
        self._monotonic += seconds


class FakeLedger:
    """Books at once. ``available = False`` makes it a store that is down: rows are kept until it is back."""

    def __init__(self, clock: FakeClock) -> None:
        self.available = True
        self.holds: dict[str, Hold] = {}
        self._clock = clock
        self._rows: list[Row] = []
        self._queued: list[Row] = []

    @property
    def rows(self) -> list[Row]:
        """What is in the store."""
        self._book()
        return self._rows

    async def reserve(self, hold: Hold) -> int:
        now_ms = self._clock.now_ms()
        if not self.available:
            raise StoreUnavailable("the fake store is down")
        if hold.not_after_ms < now_ms:
            raise StoreUnavailable(f"the reservation of {hold.attempt} reached the store too late")
        self._book()
        self.holds[hold.attempt] = hold
        return now_ms

    def settle(self, row: Row) -> None:
        self._queued.append(row)
        self._book()

    async def flush(self) -> None:
        if self._queued and not self.available:
            raise StoreUnavailable(f"{len(self._queued)} rows still wait for the fake store")
        self._book()

    def _book(self) -> None:
        if not self.available:
            return
        queued, self._queued = self._queued, []
        for row in queued:
            self.holds.pop(row.attempt, None)
            if row.outcome != "released":
                self._rows.append(row)


class FakeKeys:
    """Knows the secrets that it was given."""

    def __init__(self, known: Mapping[str, Identity]) -> None:
        self.known = dict(known)
        self.available = True

    async def identify(self, secret: str) -> Identity | None:
        if not self.available:
            raise StoreUnavailable("the fake store is down")
        return self.known.get(secret)
