"""What every provider's batch API has in common: the contract that brokers go by, and one exchange after the other.

Belongs here: calls, and what their failure means. Does not belong here: any one API (batch_api.py, batch_messages.py), and
what follows (broker/broker.py).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from router.dialects.batch_files import Remote, Result, refused_event
from router.ports import ProviderLink, Timeouts, Upstream, UpstreamFailure, UpstreamRequest

if TYPE_CHECKING:
    from router.core.jobs.jobs import Event, Parcel

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


class BatchApi(Protocol):
    """A provider's batch API, as brokers use it. Methods raise `BatchTrouble`."""

    dialect: str
    """In which requests lie in it, and answers come."""
    endpoints: frozenset[str]
    """What kinds of requests it takes."""
    files: bool
    """Whether requests are uploaded before a batch is created; otherwise they go with the creation."""
    named: bool
    """Whether a batch carries an id of ours, so that one is found for certain."""
    found_again: bool
    """Whether its provider tells what was begun, so that a creation whose answer was lost may be looked for."""
    most_lines: int
    """Of one batch: far below the provider's limit, so that little is in memory at a time."""

    def packed(self, lines: Sequence[tuple[str, bytes]], endpoint: str) -> bytes:
        """Requests and the ids under which they travel, as they are uploaded or created."""

    async def upload(self, name: str, data: bytes) -> str:
        """The provider's id of an input file."""

    async def create(self, parcel: Parcel, hours: int, data: bytes) -> Remote:
        """Begin a batch: of the parcel's file, or of ``data`` where there are no files. ``unknown`` where it may have begun
        all the same.
        """

    async def look(self, parcel: Parcel, taken: frozenset[str]) -> Remote | None:
        """The batch that was begun for a parcel, if there is one; where ids do not tell, none of those that are taken."""

    async def poll(self, remote: str) -> Remote:
        """How it is. ``lost`` where the provider does not know it."""

    async def cancel(self, remote: str) -> Remote:
        """Ask it to stop."""

    def results(self, parcel: Parcel) -> AsyncIterator[Result]:
        """Every line of the results that can be read, in the provider's order."""

    async def delete(self, parcel: Parcel) -> None:
        """Remove what lies at the provider; what is gone already is gone."""


class BatchCalls:
    """Exchanges with one provider."""

    def __init__(self, link: ProviderLink, upstream: Upstream, headers: tuple[tuple[bytes, bytes], ...] = ()) -> None:
        self.link = link
        self._upstream = upstream
        self._headers = tuple(pair for pair in link.headers if pair[0] != b"content-type") + headers

    async def call(
        self, method: str, path: str, body: bytes = b"", kind: bytes = b"application/json", *, most: int = MOST_ANSWER
    ) -> bytes:
        """An answer's body. Raises `BatchTrouble`."""
        try:
            response = await self._upstream.send(self._request(method, path, body, kind))
        except UpstreamFailure as failure:
            raise BatchTrouble("unknown" if failure.sent else "unsent", failure.message) from None
        try:
            answer = await response.read(most)
        except UpstreamFailure as failure:
            raise BatchTrouble("unknown", failure.message) from None
        finally:
            response.close()
        if response.status != 200:
            event = refused_event(response.status, answer)
            words = f"{self.link.name} answered {response.status} to {method} {path.partition('?')[0]}"
            raise BatchTrouble(event, words, response.status)
        return answer

    async def remove(self, path: str) -> None:
        """Delete what may be gone already, or is not to be deleted. Raises `BatchTrouble` for everything else."""
        try:
            await self.call("DELETE", path)
        except BatchTrouble as trouble:
            if trouble.event not in ("lost", "refused"):
                raise

    def known(self, found: Remote | None) -> Remote:
        """The batch that was read from an answer. Raises `BatchTrouble` where there was none."""
        if found is None:
            raise BatchTrouble("unknown", f"{self.link.name} answered with something that is no batch")
        return found

    async def lines(self, path: str) -> AsyncIterator[bytes]:
        """An answer's lines as they come, empty ones left out. Raises `BatchTrouble`."""
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
        headers = (*self._headers, (b"content-type", kind)) if body else self._headers
        timeouts = msgspec.structs.replace(_TIMEOUTS, connect=self.link.timeouts.connect)
        return UpstreamRequest(self.link.origin, method, path, headers, body, timeouts)


class ByPath:
    """What the APIs without files have in common, where what was begun lies below one path.

    Args:
        calls: to the provider.
        path: where it is begun.
        read: what an answer tells of it; None for anything else.
    """

    files = False

    def __init__(self, calls: BatchCalls, path: str, read: Callable[[bytes], Remote | None]) -> None:
        self._calls = calls
        self._path = path
        self._told = read

    async def upload(self, name: str, data: bytes) -> str:  # noqa: ARG002 - the contract's shape
        """As `BatchApi`: there are no files."""
        return ""

    async def poll(self, remote: str) -> Remote:
        """As `BatchApi`."""
        return self._read(await self._calls.call("GET", f"{self._path}/{remote}"))

    async def cancel(self, remote: str) -> Remote:
        """As `BatchApi`; what is over stays as it is."""
        return self._read(await self._calls.call("POST", f"{self._path}/{remote}/cancel", b"{}"))

    async def delete(self, parcel: Parcel) -> None:
        """As `BatchApi`."""
        if parcel.remote:
            await self._calls.remove(f"{self._path}/{parcel.remote}")

    def _read(self, body: bytes) -> Remote:
        return self._calls.known(self._told(body))
