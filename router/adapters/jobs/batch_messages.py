"""Anthropic's Message Batches, called: begun, found, looked at, ended, results read, removed.

Belongs here: one exchange after the other. Does not belong here: the wire format (dialects/batch_messages.py) and what
follows (broker/broker.py).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Final

from router.adapters.jobs.batch_calls import PAGES, BatchCalls, ByPath
from router.dialects.batch_files import Remote, Result
from router.dialects.batch_messages import HEADERS, PATH, creation, read_batch, read_batches, read_result

if TYPE_CHECKING:
    from router.core.jobs.jobs import Parcel
    from router.ports import ProviderLink, Upstream

SKEW_MS: Final = 60_000
"""How far the provider's clock may be behind ours."""


class MessagesBatches(ByPath):
    """Implements `BatchApi` for Anthropic."""

    dialect = "anthropic"
    endpoints = frozenset({"chat"})
    named = False
    found_again = True
    most_lines = 1_000

    def __init__(self, link: ProviderLink, upstream: Upstream) -> None:
        super().__init__(BatchCalls(link, upstream, HEADERS), PATH, read_batch)

    def packed(self, lines: Sequence[tuple[str, bytes]], endpoint: str) -> bytes:  # noqa: ARG002 - the contract's shape
        """As `BatchApi`."""
        return creation(lines)

    async def create(self, parcel: Parcel, hours: int, data: bytes) -> Remote:  # noqa: ARG002 - as above
        """As `BatchApi`. The window is always a day."""
        return self._read(await self._calls.call("POST", PATH, data))

    async def look(self, parcel: Parcel, taken: frozenset[str]) -> Remote | None:
        """As `BatchApi`: the oldest that was begun since, has as many requests, and is nobody else's."""
        after, candidate = "", None
        for _ in range(PAGES):
            query = f"?limit=100{'&after_id=' + after if after else ''}"
            found, after = read_batches(await self._calls.call("GET", PATH + query))
            for remote in found:
                if remote.created_ms < parcel.sent_ms - SKEW_MS:
                    return candidate
                if remote.lines == parcel.lines and remote.id not in taken:
                    candidate = remote
            if not after:
                break
        return candidate

    async def results(self, parcel: Parcel) -> AsyncIterator[Result]:
        """As `BatchApi`."""
        for batch in parcel.outputs:
            async for line in self._calls.lines(f"{PATH}/{batch}/results"):
                found = read_result(line)
                if found is not None:
                    yield found
