"""Providers' batch APIs, called: files up, batches begun, found, looked at, ended, results down.

Belongs here: one exchange after the other, and what its failure means. Does not belong here: wire formats
(dialects/batch_files.py) and what follows (broker/broker.py).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Final

import msgspec

from router.dialects.batch_files import (
    FLAVOURS,
    PARCEL,
    Flavour,
    Remote,
    Result,
    creation,
    read_batch,
    read_batches,
    read_id,
    read_result,
    refused_event,
    upload_form,
)
from router.ports import ProviderLink, Timeouts, Upstream, UpstreamFailure, UpstreamRequest

if TYPE_CHECKING:
    from router.core.jobs.jobs import Event

MOST_ANSWER: Final = 8 * 1024 * 1024
PAGES: Final = 5
"""How many pages of a list are looked through for a batch of ours."""
MOST_LINE: Final = 64 * 1024 * 1024
_TIMEOUTS: Final = Timeouts(connect=5.0, first_byte=120.0, between_chunks=60.0, total=900.0)


class BatchTrouble(Exception):  # noqa: N818 - the provider's; what it means is its event
    """A call that was not answered as hoped.

    Args:
        event: what it means for the parcel.
        words: for people; names no key.
        status: of the answer; 0 where none came.
    """

    def __init__(self, event: Event, words: str, status: int = 0) -> None:
        super().__init__(words)
        self.event: Event = event
        self.words = words
        self.status = status


class BatchApi:
    """One provider's, over files of lines."""

    def __init__(self, link: ProviderLink, upstream: Upstream, flavour: Flavour) -> None:
        self.link = link
        self.flavour = flavour
        self._upstream = upstream

    async def upload(self, name: str, data: bytes) -> str:
        """The provider's id of an input file. Raises `BatchTrouble`."""
        kind, body = upload_form(self.flavour, f"{name}.jsonl", data)
        found = read_id(await self._call("POST", self.flavour.upload, body, kind))
        if not found:
            raise BatchTrouble("unknown", f"{self.link.name} answered an upload without an id")
        return found

    async def create(self, *, file: str, endpoint: str, hours: int, parcel: str, model: str) -> Remote:
        """Begin a batch. Raises `BatchTrouble`: ``unknown`` where it may have begun all the same."""
        body = creation(self.flavour, file=file, endpoint=endpoint, hours=hours, parcel=parcel, model=model)
        return self._read(await self._call("POST", self.flavour.batches, body))

    async def look(self, parcel: str, file: str) -> Remote | None:
        """The batch that was begun for a parcel, if there is one. Raises `BatchTrouble`."""
        after = ""
        for _ in range(PAGES):
            query = f"?limit=100{'&after=' + after if after else ''}"
            found = read_batches(self.flavour, await self._call("GET", self.flavour.batches + query))
            for remote in found:
                if remote.parcel == parcel or (file and remote.file == file):
                    return remote
            if len(found) < 100 or found[-1].id == after:
                return None
            after = found[-1].id
        return None

    async def poll(self, remote: str) -> Remote:
        """How it is. Raises `BatchTrouble`: ``lost`` where the provider does not know it."""
        return self._read(await self._call("GET", f"{self.flavour.batches}/{remote}"))

    async def cancel(self, remote: str) -> Remote:
        """Ask it to stop. Raises `BatchTrouble`."""
        return self._read(await self._call("POST", f"{self.flavour.batches}/{remote}/cancel", b"{}"))

    async def results(self, outputs: tuple[str, ...]) -> AsyncIterator[Result]:
        """Every line of the results that can be read, in the provider's order. Raises `BatchTrouble`."""
        for file in outputs:
            async for line in self._lines(f"/files/{file}/content"):
                found = read_result(line)
                if found is not None:
                    yield found

    async def delete(self, files: tuple[str, ...]) -> None:
        """Remove files. Raises `BatchTrouble`; what is gone already is gone."""
        for file in files:
            try:
                await self._call("DELETE", f"/files/{file}")
            except BatchTrouble as trouble:
                if trouble.event not in ("lost", "refused"):
                    raise

    def _read(self, body: bytes) -> Remote:
        found = read_batch(self.flavour, body)
        if found is None:
            raise BatchTrouble("unknown", f"{self.link.name} answered with something that is no batch")
        return found

    async def _call(self, method: str, path: str, body: bytes = b"", kind: bytes = b"application/json") -> bytes:
        try:
            response = await self._upstream.send(self._request(method, path, body, kind))
        except UpstreamFailure as failure:
            raise BatchTrouble("unknown", failure.message) from None
        try:
            answer = await response.read(MOST_ANSWER)
        except UpstreamFailure as failure:
            raise BatchTrouble("unknown", failure.message) from None
        finally:
            response.close()
        if response.status != 200:
            event = refused_event(response.status, answer)
            raise BatchTrouble(
                event, f"{self.link.name} answered {response.status} to {method} {path.partition('?')[0]}"
            )
        return answer

    async def _lines(self, path: str) -> AsyncIterator[bytes]:
        try:
            response = await self._upstream.send(self._request("GET", path, b"", b"application/json"))
            try:
                if response.status != 200:
                    raise BatchTrouble("unknown", f"{self.link.name} answered {response.status} for a result")
                buffer = b""
                while chunk := await response.chunk():
                    *whole, buffer = (buffer + chunk).split(b"\n")
                    for line in whole:
                        if line:
                            yield line
                    if len(buffer) > MOST_LINE:
                        raise BatchTrouble("unknown", f"{self.link.name} sent a result line of over {MOST_LINE} bytes")
                if buffer.strip():
                    yield buffer
            finally:
                response.close()
        except UpstreamFailure as failure:
            raise BatchTrouble("unknown", failure.message) from None

    def _request(self, method: str, path: str, body: bytes, kind: bytes) -> UpstreamRequest:
        headers = tuple((name, value) for name, value in self.link.headers if name != b"content-type")
        if body:
            headers = (*headers, (b"content-type", kind))
        timeouts = msgspec.structs.replace(_TIMEOUTS, connect=self.link.timeouts.connect)
        return UpstreamRequest(self.link.origin, method, path, headers, body, timeouts)


def batch_apis(links: dict[str, ProviderLink], upstream: Upstream) -> dict[str, BatchApi]:
    """The batch APIs of the providers that can be called and have one."""
    return {name: BatchApi(link, upstream, FLAVOURS[name]) for name, link in links.items() if name in FLAVOURS}


__all__ = ["PARCEL", "BatchApi", "BatchTrouble", "Remote", "Result", "batch_apis"]
