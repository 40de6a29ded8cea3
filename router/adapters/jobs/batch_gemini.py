"""Google's batches, called: begun, found, looked at, ended, results read, removed.

Belongs here: one exchange after the other. Does not belong here: the wire format (dialects/batch_gemini.py) and what
follows (broker/broker.py).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Final

from router.adapters.jobs.batch_calls import PAGES, BatchCalls, BatchTrouble
from router.dialects.batch_files import Remote, Result
from router.dialects.batch_gemini import creation, packed, read_batch, read_batches, read_results

if TYPE_CHECKING:
    from router.core.jobs.jobs import Parcel
    from router.ports import ProviderLink, Upstream

_PATH: Final = "/batches"
MOST_RESULTS: Final = 64 << 20
"""Bytes of an answer that holds results: they come in one piece."""


class GeminiBatches:
    """Implements `BatchApi` for the Gemini API."""

    dialect = "gemini"
    endpoints = frozenset({"chat"})
    files = False
    named = True
    found_again = True
    most_lines = 200

    def __init__(self, link: ProviderLink, upstream: Upstream) -> None:
        self._calls = BatchCalls(link, upstream)
        self._name = link.name

    def packed(self, lines: Sequence[tuple[str, bytes]], endpoint: str) -> bytes:  # noqa: ARG002 - the contract's shape
        """As `BatchApi`."""
        return packed(lines)

    async def upload(self, name: str, data: bytes) -> str:  # noqa: ARG002 - as above
        """As `BatchApi`: there are no files."""
        return ""

    async def create(self, parcel: Parcel, hours: int, data: bytes) -> Remote:  # noqa: ARG002 - as above
        """As `BatchApi`. The window is always the provider's."""
        path = f"/models/{parcel.model}:batchGenerateContent"
        return self._read(await self._calls.call("POST", path, creation(parcel.id, data)))

    async def look(self, parcel: Parcel, taken: frozenset[str]) -> Remote | None:  # noqa: ARG002 - as above
        """As `BatchApi`."""
        token = ""
        for _ in range(PAGES):
            query = f"?pageSize=100{'&pageToken=' + token if token else ''}"
            answer = await self._calls.call("GET", _PATH + query, most=MOST_RESULTS)
            found, token = read_batches(answer)
            for remote in found:
                if remote.parcel == parcel.id:
                    return remote
            if not token:
                return None
        return None

    async def poll(self, remote: str) -> Remote:
        """As `BatchApi`."""
        return self._read(await self._calls.call("GET", f"{_PATH}/{remote}", most=MOST_RESULTS))

    async def cancel(self, remote: str) -> Remote:
        """As `BatchApi`; the answer says nothing."""
        await self._calls.call("POST", f"{_PATH}/{remote}:cancel", b"{}")
        return Remote(remote, "stopped", "")

    async def results(self, parcel: Parcel) -> AsyncIterator[Result]:
        """As `BatchApi`."""
        for batch in parcel.outputs:
            answer = await self._calls.call("GET", f"{_PATH}/{batch}", most=MOST_RESULTS)
            try:
                for found in read_results(answer):
                    yield found
            except ValueError as error:
                raise BatchTrouble("unknown", f"{self._name}: {error}") from None

    async def delete(self, parcel: Parcel) -> None:
        """As `BatchApi`."""
        if parcel.remote:
            await self._calls.remove(f"{_PATH}/{parcel.remote}")

    def _read(self, body: bytes) -> Remote:
        return self._calls.known(read_batch(body))
