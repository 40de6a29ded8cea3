"""Batch APIs over files of lines, called: files up, batches begun, found, looked at, ended, results down.

Belongs here: one exchange after the other, for OpenAI, Groq, Together and Mistral. Does not belong here: wire formats
(dialects/batch_files.py) and what follows (broker/broker.py).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Final

from router.adapters.jobs.batch_calls import PAGES, BatchApi, BatchCalls, BatchTrouble
from router.adapters.jobs.batch_gemini import GeminiBatches
from router.adapters.jobs.batch_messages import MessagesBatches
from router.adapters.jobs.batch_windows import Windows
from router.core.jobs.tiers import BATCH, WINDOW
from router.dialects.batch_files import (
    FLAVOURS,
    Flavour,
    Remote,
    Result,
    creation,
    input_line,
    read_batch,
    read_batches,
    read_id,
    read_result,
    upload_form,
)
from router.dialects.batch_windows import PROVIDERS

if TYPE_CHECKING:
    from router.core.jobs.jobs import Parcel
    from router.ports import ProviderLink, Upstream


class FileBatches:
    """Implements `BatchApi` over files of lines."""

    dialect = "openai"
    files = True
    named = True
    found_again = True
    most_lines = 1_000

    def __init__(self, link: ProviderLink, upstream: Upstream, flavour: Flavour) -> None:
        self._calls = BatchCalls(link, upstream)
        self._name = link.name
        self._flavour = flavour
        self.endpoints = flavour.endpoints

    def packed(self, lines: Sequence[tuple[str, bytes]], endpoint: str) -> bytes:
        """As `BatchApi`."""
        return b"".join(input_line(self._flavour, name, endpoint, body) for name, body in lines)

    async def upload(self, name: str, data: bytes) -> str:
        """As `BatchApi`."""
        kind, body = upload_form(self._flavour, f"{name}.jsonl", data)
        found = read_id(await self._calls.call("POST", self._flavour.upload, body, kind))
        if not found:
            raise BatchTrouble("unknown", f"{self._name} answered an upload without an id")
        return found

    async def create(self, parcel: Parcel, hours: int, data: bytes) -> Remote:  # noqa: ARG002 - the contract's shape
        """As `BatchApi`."""
        body = creation(
            self._flavour,
            file=parcel.file,
            endpoint=parcel.endpoint,
            hours=hours,
            parcel=parcel.id,
            model=parcel.model,
        )
        return self._read(await self._calls.call("POST", self._flavour.batches, body))

    async def look(self, parcel: Parcel, taken: frozenset[str]) -> Remote | None:  # noqa: ARG002 - as above
        """As `BatchApi`."""
        after = ""
        for _ in range(PAGES):
            query = f"?limit=100{'&after=' + after if after else ''}"
            found = read_batches(self._flavour, await self._calls.call("GET", self._flavour.batches + query))
            for remote in found:
                if remote.parcel == parcel.id or (parcel.file and remote.file == parcel.file):
                    return remote
            if len(found) < 100 or found[-1].id == after:
                return None
            after = found[-1].id
        return None

    async def poll(self, remote: str) -> Remote:
        """As `BatchApi`."""
        return self._read(await self._calls.call("GET", f"{self._flavour.batches}/{remote}"))

    async def cancel(self, remote: str) -> Remote:
        """As `BatchApi`."""
        return self._read(await self._calls.call("POST", f"{self._flavour.batches}/{remote}/cancel", b"{}"))

    async def results(self, parcel: Parcel) -> AsyncIterator[Result]:
        """As `BatchApi`."""
        for file in parcel.outputs:
            async for line in self._calls.lines(f"/files/{file}/content"):
                found = read_result(line)
                if found is not None:
                    yield found

    async def delete(self, parcel: Parcel) -> None:
        """As `BatchApi`."""
        for file in filter(None, (parcel.file, *parcel.outputs)):
            await self._calls.remove(f"/files/{file}")

    def _read(self, body: bytes) -> Remote:
        return self._calls.known(read_batch(self._flavour, body))


LATER: Final = frozenset(
    {(name, BATCH) for name in (*FLAVOURS, "anthropic", "google")} | {(name, WINDOW) for name in PROVIDERS}
)
"""Which providers are spoken to here in what kinds of tiers that are answered later."""


def batch_apis(links: dict[str, ProviderLink], upstream: Upstream) -> dict[tuple[str, str], BatchApi]:
    """What answers later, by provider and kind of tier, of the providers that can be called."""
    found: dict[tuple[str, str], BatchApi] = {
        (name, BATCH): FileBatches(link, upstream, FLAVOURS[name]) for name, link in links.items() if name in FLAVOURS
    }
    if "anthropic" in links:
        found["anthropic", BATCH] = MessagesBatches(links["anthropic"], upstream)
    if "google" in links:
        found["google", BATCH] = GeminiBatches(links["google"], upstream)
    found |= {(name, WINDOW): Windows(link, upstream) for name, link in links.items() if name in PROVIDERS}
    return found
