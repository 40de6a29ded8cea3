"""What the fleet has seen of how long work takes that waits, by provider and tier.

Belongs here: telling an outcome, and reading all of them now and then. Does not belong here: what follows from them
(core/jobs/deadlines.py).

    cr:{@}:waits   hash   "provider|tier|slice|cell" → outcomes
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from router.core.jobs.deadlines import KEPT_SLICES, SLICE_MS, Waits, cell, prior_of, waits

if TYPE_CHECKING:
    from router.adapters.store.connection import StoreConnection

KEY: Final = "cr:{@}:waits"


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
        self._seen: dict[tuple[str, str], list[tuple[int, int, int]]] = {}
        self._known: dict[tuple[str, str], Waits] = {}

    async def tell(self, provider: str, tier: str, took_ms: int, now_ms: int) -> None:
        """Something ended after so long. Raises `StoreUnavailable`."""
        field = f"{provider}|{tier}|{now_ms // self._slice_ms}|{cell(took_ms)}"
        await self._connection.call("HINCRBY", KEY, field, 1)

    async def refresh(self, now_ms: int) -> None:
        """Read what all have told; forget what is too old. Raises `StoreUnavailable`."""
        flat = await self._connection.call("HGETALL", KEY)
        now = now_ms // self._slice_ms
        seen: dict[tuple[str, str], list[tuple[int, int, int]]] = {}
        old = []
        for field, count in zip(flat[::2], flat[1::2], strict=True):
            provider, tier, at, index = field.decode().split("|")
            age = now - int(at)
            if age > KEPT_SLICES:
                old.append(field)
            else:
                seen.setdefault((provider, tier), []).append((max(age, 0), int(index), int(count)))
        if old:
            await self._connection.call("HDEL", KEY, *old)
        self._seen, self._known = seen, {}

    def of(self, provider: str, tier: str) -> Waits:
        """How long a provider's tier takes, as far as is known."""
        key = (provider, tier)
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = waits(prior_of(tier), self._seen.get(key, ()), pace=self.pace)
        return found
