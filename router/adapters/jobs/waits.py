"""What the fleet has seen of how long work takes that waits, by provider and tier.

Belongs here: telling an outcome, and reading all of them now and then. Does not belong here: what follows from them
(core/jobs/deadlines.py).

    cr:{@}:waits           hash   "provider|tier|slice|cell" → outcomes
    cr:{@}:waits:given_up  hash   the same of what was called off before its end
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from router.core.jobs.deadlines import KEPT_SLICES, SLICE_MS, Waits, cell, prior_of, waits

if TYPE_CHECKING:
    from router.adapters.store.connection import StoreConnection

KEY: Final = "cr:{@}:waits"
GIVEN_UP: Final = "cr:{@}:waits:given_up"
_Seen = dict[tuple[str, str], list[tuple[int, int, int]]]


class JobWaits:
    """One worker's view.

    Args:
        connection: to the store.
        pace: how much faster than real time the providers' clocks run; 1 for real ones.
    """

    def __init__(self, connection: StoreConnection, pace: float) -> None:
        self._connection = connection
        self.pace = pace
        self._slice_ms = max(1, round(SLICE_MS / pace))
        self._seen: _Seen = {}
        self._given_up: _Seen = {}
        self._known: dict[tuple[str, str], Waits] = {}
        self._ended: dict[tuple[str, str], Waits] = {}

    async def tell(self, provider: str, tier: str, took_ms: int, now_ms: int, *, over: bool = True) -> None:
        """Something ended after so long, or was called off before it did (not ``over``). Raises `StoreUnavailable`."""
        field = f"{provider}|{tier}|{now_ms // self._slice_ms}|{cell(took_ms)}"
        await self._connection.call("HINCRBY", KEY if over else GIVEN_UP, field, 1)

    async def refresh(self, now_ms: int) -> None:
        """Read what all have told; forget what is too old. Raises `StoreUnavailable`."""
        now = now_ms // self._slice_ms
        seen, given_up = await self._read(KEY, now), await self._read(GIVEN_UP, now)
        self._seen, self._given_up, self._known, self._ended = seen, given_up, {}, {}

    async def _read(self, key: str, now: int) -> _Seen:
        flat = await self._connection.call("HGETALL", key)
        seen: _Seen = {}
        old = []
        for field, count in zip(flat[::2], flat[1::2], strict=True):
            provider, tier, at, index = field.decode().split("|")
            age = now - int(at)
            if age > KEPT_SLICES:
                old.append(field)
            else:
                seen.setdefault((provider, tier), []).append((max(age, 0), int(index), int(count)))
        if old:
            await self._connection.call("HDEL", key, *old)
        return seen

    def of(self, provider: str, tier: str) -> Waits:
        """How long a provider's tier takes, as far as is known: what is begun is chosen by it."""
        key = (provider, tier)
        found = self._known.get(key)
        if found is None:
            seen, given_up = self._seen.get(key, ()), self._given_up.get(key, ())
            found = self._known[key] = waits(prior_of(tier), seen, given_up, pace=self.pace)
        return found

    def of_ended(self, provider: str, tier: str) -> Waits:
        """The same of what came to its end alone: what is given up is decided by it. To count in what was given up would have
        everything given up earlier that costs nothing to wait for (benchmarks/deadline.py: 0.3 to 0.6 % dearer).
        """
        key = (provider, tier)
        found = self._ended.get(key)
        if found is None:
            found = self._ended[key] = waits(prior_of(tier), self._seen.get(key, ()), pace=self.pace)
        return found
