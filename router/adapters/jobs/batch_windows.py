"""OpenAI's completion windows, called: a response begun in the background, looked at, ended, fetched, removed.

Belongs here: one exchange after the other. Does not belong here: the wire format (dialects/batch_windows.py) and what
follows (broker/broker.py).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Final

from router.adapters.jobs.batch_calls import BatchCalls, BatchTrouble, ByPath
from router.dialects.batch_windows import PATH, creation, read_response, read_result

if TYPE_CHECKING:
    from router.core.jobs.jobs import Parcel
    from router.dialects.batch_files import Remote, Result
    from router.ports import ProviderLink, Upstream

_NOT_BEGUN: Final = frozenset({429, 503})
"""Statuses that say that nothing was begun: it is turned away at the door."""


class Windows(ByPath):
    """Implements `BatchApi` over background responses: a parcel is one of them."""

    dialect = "responses"
    endpoints = frozenset({"chat"})
    named = True
    found_again = False
    most_lines = 1

    def __init__(self, link: ProviderLink, upstream: Upstream) -> None:
        super().__init__(BatchCalls(link, upstream), PATH, read_response)

    def packed(self, lines: Sequence[tuple[str, bytes]], endpoint: str) -> bytes:  # noqa: ARG002 - the contract's shape
        """As `BatchApi`."""
        return lines[0][1]

    async def create(self, parcel: Parcel, hours: int, data: bytes) -> Remote:  # noqa: ARG002 - as above
        """As `BatchApi`. The window is the tier's."""
        try:
            return self._read(await self._calls.call("POST", PATH, creation(data, parcel.tier)))
        except BatchTrouble as trouble:
            if trouble.status in _NOT_BEGUN:
                raise BatchTrouble("full", trouble.words, trouble.status) from None
            raise

    async def look(self, parcel: Parcel, taken: frozenset[str]) -> Remote | None:  # noqa: ARG002 - as above
        """As `BatchApi`: responses are not listed."""
        raise BatchTrouble("lost", f"{self._calls.link.name} does not tell which responses were begun")

    async def results(self, parcel: Parcel) -> AsyncIterator[Result]:
        """As `BatchApi`."""
        for response in parcel.outputs:
            found = read_result(await self._calls.call("GET", f"{PATH}/{response}"))
            if found is not None:
                yield found
